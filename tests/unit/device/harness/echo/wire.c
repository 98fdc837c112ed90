/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that exercise the harness: good ones, and every way a device can go wrong. */
#include "hadapt/wire.h"

#include <string.h>

#include "hadapt/port.h"
#include "hadapt_config.h"

enum command {
    COMMAND_ECHO = 1,
    COMMAND_SUM = 2,   /* u32 n: sum of a generator's n words, with branches and division */
    COMMAND_CRASH = 3, /* undefined instruction, or a null read on the host */
    COMMAND_HANG = 4,
    COMMAND_RECURSE = 5,  /* u32 depth; left out with ECHO_NO_RECURSION, as is COMMAND_TABLE */
    COMMAND_STACK = 6,    /* answers u32: deepest stack so far */
    COMMAND_REFUSE = 7,   /* a negative status */
    COMMAND_GARBAGE = 8,  /* bytes that are no frame */
    COMMAND_LEAVE = 9,    /* exit code 3 */
    COMMAND_TABLE = 10,   /* u32 i, u32 x: the i-th function of a table */
    COMMAND_MUTE = 11,    /* closes in mid-reply */
    COMMAND_OVERRUN = 12, /* reads past an array, for the sanitizers */
    COMMAND_LOOP = 13     /* u32 n > 0: n times round a loop of exactly two instructions */
};

/* A .data and a .bss object, to see both set up. */
static uint32_t counter_from_data = 41U;
static uint32_t counter_from_bss;
static volatile uint32_t sink;

static uint32_t load(const uint8_t *src) {
    uint32_t value;
    memcpy(&value, src, sizeof value);
    return value;
}

static uint32_t step(uint32_t x) {
    x ^= x << 13;
    x ^= x >> 17;
    return x ^ (x << 5);
}

static uint32_t sum(uint32_t n) {
    uint32_t state = 2463534242U;
    uint64_t total = 0U;
    for (uint32_t i = 0U; i < n; i++) {
        state = step(state);
        if ((state & 3U) == 0U) {
            total += (uint64_t)state * (i + 1U);
        } else {
            total += (state / ((i & 7U) + 1U)) % 1000U;
        }
    }
    return (uint32_t)(total ^ (total >> 32));
}

static void crash(void) {
#if defined(__arm__) || defined(__riscv)
    __asm__ volatile(".short 0xde00"); /* UDF on Arm */
    __asm__ volatile(".word 0");       /* illegal on RISC-V, if the first was not */
#else
    volatile uint32_t *volatile nowhere = (uint32_t *)0;
    sink = *nowhere;
#endif
}

#ifndef ECHO_NO_RECURSION
__attribute__((noinline)) static uint32_t recurse(uint32_t depth) {
    volatile uint32_t frame[16] = {depth};
    return depth == 0U ? frame[0] : recurse(depth - 1U) + frame[depth & 15U] + 1U;
}

static uint32_t twice(uint32_t x) {
    return 2U * x;
}

__attribute__((noinline)) static uint32_t with_buffer(uint32_t x) {
    volatile uint32_t buffer[32];
    for (uint32_t i = 0U; i < 32U; i++) {
        buffer[i] = x + i;
    }
    return buffer[31];
}

typedef uint32_t (*function)(uint32_t x);
static const function functions[2] = {twice, with_buffer};

__attribute__((noinline)) static uint32_t dispatch(uint32_t index, uint32_t x) {
    return functions[index & 1U](x);
}
#endif

/* Two instructions a round on every core. */
static void loop(uint32_t n) {
#if defined(__thumb__)
    __asm__ volatile(".syntax unified\n1: subs %0, %0, #1\n\tbne 1b" : "+l"(n) : : "cc");
#elif defined(__riscv)
    __asm__ volatile("1: addi %0, %0, -1\n\tbnez %0, 1b" : "+r"(n));
#else
    sink = n;
#endif
}

static void garbage(void) {
    static const uint8_t bytes[16] = {0xDE, 0xAD, 0xBE, 0xEF, 1, 2,  3,  4,
                                      5,    6,    7,    8,    9, 10, 11, 12};
    sink = (uint32_t)had_port_write(bytes, sizeof bytes);
    sink = (uint32_t)had_port_flush();
}

static uint32_t overrun(uint32_t index) {
    uint8_t local[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    volatile uint8_t *bytes = local;
    return bytes[index];
}

had_status had_wire_boot(void) {
    counter_from_data++;
    counter_from_bss += 2U;
    return (counter_from_data == 42U && counter_from_bss == 2U) ? HAD_OK : HAD_ERR_STATE;
}

static had_status answer(uint8_t *resp, uint32_t *resp_len, uint32_t value) {
    memcpy(resp, &value, sizeof value);
    *resp_len = (uint32_t)sizeof value;
    return HAD_OK;
}

static had_status misbehave(uint8_t command) {
    switch (command) {
    case COMMAND_CRASH:
        crash();
        return HAD_OK;
    case COMMAND_HANG:
        for (;;) {
            sink++;
        }
    case COMMAND_GARBAGE:
        garbage();
        return HAD_OK;
    case COMMAND_LEAVE:
        had_port_exit(3);
    case COMMAND_MUTE:
        sink = (uint32_t)had_port_write((const uint8_t *)"\0\x0b", 2U);
        had_port_exit(0);
    case COMMAND_REFUSE:
        return HAD_ERR_STATE;
    default:
        return HAD_ERR_COMMAND;
    }
}

had_status had_wire_handle(uint8_t command, const uint8_t *req, uint32_t req_len, uint8_t *resp,
                           uint32_t resp_cap, uint32_t *resp_len) {
    uint32_t argument = req_len >= 4U ? load(req) : 0U;
    switch (command) {
    case COMMAND_ECHO:
        if (req_len > resp_cap) {
            return HAD_ERR_SIZE;
        }
        memcpy(resp, req, req_len);
        *resp_len = req_len;
        return HAD_OK;
    case COMMAND_SUM:
        return answer(resp, resp_len, sum(argument));
#ifndef ECHO_NO_RECURSION
    case COMMAND_RECURSE:
        return answer(resp, resp_len, recurse(argument));
    case COMMAND_TABLE:
        return req_len == 8U ? answer(resp, resp_len, dispatch(argument, load(&req[4])))
                             : HAD_ERR_SIZE;
#endif
    case COMMAND_LOOP:
        loop(argument);
        return HAD_OK;
    case COMMAND_STACK:
        return answer(resp, resp_len, had_port_stack_used());
    case COMMAND_OVERRUN:
        return answer(resp, resp_len, overrun(argument));
    default:
        return misbehave(command);
    }
}
