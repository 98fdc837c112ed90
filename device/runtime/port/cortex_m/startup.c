/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors, reset and faults of Cortex-M0 to M55. No interrupt is used: every exception but reset is
 * a fault. Source: Armv6-M, Armv7-M and Armv8-M Architecture Reference Manuals.
 */
#include <stdint.h>

#include "layout.h"
#include "semihost.h"

#define VECTOR_COUNT 16U
#define CPACR_ADDRESS 0xE000ED88U
#define CPACR_FP_FULL_ACCESS (0xFU << 20)

typedef struct vector_table {
    uint32_t *stack_top;
    void (*handler[VECTOR_COUNT - 1U])(void);
} vector_table;

_Static_assert(sizeof(vector_table) == VECTOR_COUNT * sizeof(uint32_t), "one word per vector");

int main(void);
void Reset_Handler(void);
void had_fault_entry(void);
__attribute__((noreturn, used)) void had_fault_decode(const uint32_t *frame, uint32_t exception);

/* The stack may be what failed: report on a fresh one. */
__attribute__((naked, used)) void had_fault_entry(void) {
    __asm__ volatile("mrs r0, msp\n"
                     "mrs r1, ipsr\n"
                     "ldr r2, =had_link_stack_top\n"
                     "msr msp, r2\n"
                     "ldr r2, =had_fault_decode\n"
                     "bx r2\n"
                     ".ltorg\n");
}

/* frame: what the core stacked (r0-r3, r12, lr, pc, xpsr); only read if it lies in the stack. */
void had_fault_decode(const uint32_t *frame, uint32_t exception) {
    uint32_t pc = 0U;
    if (frame >= had_link_stack_limit && frame + 8 <= had_link_stack_top) {
        pc = frame[6];
    }
    had_fault_report(exception, pc);
}

__attribute__((section(".vectors"), used)) static const vector_table vectors = {
    had_link_stack_top,
    {Reset_Handler, had_fault_entry, had_fault_entry, had_fault_entry, had_fault_entry,
     had_fault_entry, had_fault_entry, had_fault_entry, had_fault_entry, had_fault_entry,
     had_fault_entry, had_fault_entry, had_fault_entry, had_fault_entry, had_fault_entry},
};

/* Armv8-M checks the stack pointer itself. */
static inline void set_stack_limit(void) {
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    __asm__ volatile("msr msplim, %0" : : "r"(had_link_stack_limit));
#endif
}

/* Vector instructions use the floating-point registers, which reset leaves switched off. */
static inline void enable_vectors(void) {
#if defined(__ARM_FEATURE_MVE) || defined(__ARM_FP)
    volatile uint32_t *cpacr = (volatile uint32_t *)CPACR_ADDRESS;
    *cpacr |= CPACR_FP_FULL_ACCESS;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
}

__attribute__((noreturn)) void Reset_Handler(void) {
    const uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    set_stack_limit();
    enable_vectors();
    had_layout_init(sp);
    (void)main();
    for (;;) {
    }
}
