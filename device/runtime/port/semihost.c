/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport of the device builds: semihosting on the special file ":tt", which is the emulator's or
 * the debug probe's standard input (mode 1) and output (mode 5).
 * Source: Arm, "Semihosting for AArch32 and AArch64"; "RISC-V Semihosting" for the call sequence.
 */
#include "semihost.h"

#include "hadapt/port.h"
#include "hadapt_config.h"
#include "layout.h"

#define SYS_OPEN 0x01U
#define SYS_WRITE0 0x04U
#define SYS_WRITE 0x05U
#define SYS_READ 0x06U
#define SYS_SEEK 0x0AU
#define SYS_FLEN 0x0CU
#define SYS_EXIT_EXTENDED 0x20U
#define ADP_STOPPED_APPLICATION_EXIT 0x20026U
#define MODE_READ_BINARY 1U
#define MODE_WRITE_BINARY 5U
#define MODE_UPDATE_BINARY 3U
#define MODE_MAKE_BINARY 7U
#define OPEN_FAILED 0xFFFFFFFFU

typedef struct port_state {
    uint32_t input;
    uint32_t output;
} port_state;

static port_state port;

#if defined(__arm__)
static uint32_t call(uint32_t operation, const void *block) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
#elif defined(__riscv)
/* The three instructions are a fixed sign: uncompressed, and within one 16-byte line. */
static uint32_t call(uint32_t operation, const void *block) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = block;
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     ".option pop\n"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}
#else
#error "no semihosting call for this core"
#endif

static uint32_t open_console(uint32_t mode) {
    static const char name[] = ":tt";
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, sizeof(name) - 1U};
    return call(SYS_OPEN, block);
}

/* One SYS_READ or SYS_WRITE; answers how many of the n bytes were moved. */
static uint32_t transfer(uint32_t operation, uint32_t handle, uint32_t address, uint32_t n) {
    const uint32_t block[3] = {handle, address, n};
    uint32_t left = call(operation, block);
    return left > n ? 0U : n - left;
}

HAD_CHECKED static had_status transfer_all(uint32_t operation, uint32_t handle, uint32_t address,
                                           uint32_t n) {
    while (n > 0U) {
        uint32_t moved = transfer(operation, handle, address, n);
        if (moved == 0U) {
            return HAD_ERR_IO;
        }
        address += moved;
        n -= moved;
    }
    return HAD_OK;
}

had_status had_port_open(void) {
    port.input = open_console(MODE_READ_BINARY);
    port.output = open_console(MODE_WRITE_BINARY);
    return (port.input == OPEN_FAILED || port.output == OPEN_FAILED) ? HAD_ERR_IO : HAD_OK;
}

had_status had_port_read(uint8_t *dst, uint32_t n) {
    return transfer_all(SYS_READ, port.input, (uint32_t)(uintptr_t)dst, n);
}

had_status had_port_write(const uint8_t *src, uint32_t n) {
    return transfer_all(SYS_WRITE, port.output, (uint32_t)(uintptr_t)src, n);
}

had_status had_port_flush(void) {
    return HAD_OK; /* nothing is held back */
}

void had_port_exit(int code) {
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}

uint32_t had_port_stack_used(void) {
    const uint32_t *word = had_link_stack_limit;
    while (word < had_link_stack_top && *word == HAD_STACK_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)had_link_stack_top - (uintptr_t)word);
}

#ifdef HAD_FLASH_FILE
#include "file.h"

static uint32_t kept;

static uint32_t open_kept(uint32_t mode) {
    static const char name[] = "flash.bin";
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, sizeof(name) - 1U};
    return call(SYS_OPEN, block);
}

had_status had_file_open(uint32_t *bytes) {
    kept = open_kept(MODE_UPDATE_BINARY);
    kept = kept != OPEN_FAILED ? kept : open_kept(MODE_MAKE_BINARY);
    if (kept == OPEN_FAILED) {
        return HAD_ERR_IO;
    }
    *bytes = call(SYS_FLEN, &kept);
    return *bytes != OPEN_FAILED ? HAD_OK : HAD_ERR_IO;
}

static had_status move_kept(uint32_t operation, uint32_t at, uint32_t address, uint32_t n) {
    const uint32_t block[2] = {kept, at};
    return call(SYS_SEEK, block) == 0U ? transfer_all(operation, kept, address, n) : HAD_ERR_IO;
}

had_status had_file_read(uint8_t *dst, uint32_t at, uint32_t n) {
    return move_kept(SYS_READ, at, (uint32_t)(uintptr_t)dst, n);
}

had_status had_file_write(uint32_t at, const uint8_t *src, uint32_t n) {
    return move_kept(SYS_WRITE, at, (uint32_t)(uintptr_t)src, n);
}
#endif

static char *put_hex(char *dst, uint32_t value) {
    for (uint32_t shift = 32U; shift > 0U; shift -= 4U) {
        uint32_t digit = (value >> (shift - 4U)) & 0xFU;
        *dst++ = (char)(digit < 10U ? '0' + (int)digit : 'a' + (int)digit - 10);
    }
    return dst;
}

static char *put_text(char *dst, const char *text) {
    while (*text != '\0') {
        *dst++ = *text++;
    }
    return dst;
}

void had_fault_report(uint32_t cause, uint32_t pc) {
    char line[48];
    char *end = put_text(line, "fault cause=");
    end = put_hex(end, cause);
    end = put_text(end, " pc=");
    end = put_hex(end, pc);
    end = put_text(end, "\n");
    *end = '\0';
    (void)call(SYS_WRITE0, line);
    had_port_exit(HAD_PORT_EXIT_FAULT);
}
