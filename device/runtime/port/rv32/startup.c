/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset and traps of RV32 in machine mode. No interrupt is used: every trap is a fault.
 * Source: The RISC-V Instruction Set Manual, volume II (mtvec, mcause, mepc, pmpcfg0, pmpaddr0).
 */
#include <stdint.h>

#include "layout.h"
#include "semihost.h"

#define GUARD_BYTES 4096U
#define PMP_NAPOT_LOCKED_NO_ACCESS 0x98U

int main(void);
void Reset_Handler(void);
void had_trap_entry(void);
__attribute__((noreturn, used)) void had_reset(void);

#define WITH_CSR(code) ".option push\n.option arch, +zicsr\n" code "\n.option pop\n"

/* The stack may be what failed: report on a fresh one. mtvec wants a multiple of four. */
__attribute__((naked, used, aligned(4))) void had_trap_entry(void) {
    __asm__ volatile(WITH_CSR("csrr a0, mcause\n"
                              "csrr a1, mepc\n"
                              "la sp, had_link_stack_top\n"
                              "j had_fault_report"));
}

__attribute__((naked, used, section(".vectors"))) void Reset_Handler(void) {
    __asm__ volatile(WITH_CSR("la sp, had_link_stack_top\n"
                              "la t0, had_trap_entry\n"
                              "csrw mtvec, t0\n"
                              "j had_reset"));
}

/* The addresses below the stack are code memory here: make them unusable, even to machine mode. */
static inline void guard_stack(void) {
    uint32_t base = (uint32_t)(uintptr_t)had_link_stack_limit - GUARD_BYTES;
    uint32_t napot = (base >> 2) | (GUARD_BYTES / 8U - 1U);
    __asm__ volatile(WITH_CSR("csrw pmpaddr0, %0\n"
                              "csrw pmpcfg0, %1")
                     :
                     : "r"(napot), "r"(PMP_NAPOT_LOCKED_NO_ACCESS)
                     : "memory");
}

void had_reset(void) {
    const uint32_t *sp;
    __asm__ volatile("mv %0, sp" : "=r"(sp));
    guard_stack();
    had_layout_init(sp);
    (void)main();
    for (;;) {
    }
}
