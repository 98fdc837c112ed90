/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The symbols of the linker script, and setting up RAM from them.
 *
 * The stack is the first thing in RAM: it grows towards addresses where nothing is (or a guard), so
 * an overflow is a fault and not a silent change of the learner's state.
 */
#ifndef HADAPT_PORT_LAYOUT_H
#define HADAPT_PORT_LAYOUT_H

#include <stdint.h>

#define HAD_STACK_PAINT 0xA5A5A5A5U

extern uint32_t had_link_stack_limit[];
extern uint32_t had_link_stack_top[];
extern const uint32_t had_link_data_load[];
extern uint32_t had_link_data_start[];
extern uint32_t had_link_data_end[];
extern uint32_t had_link_bss_start[];
extern uint32_t had_link_bss_end[];

/*
 * Fill the stack below `sp`, the stack pointer now, with paint; copy .data from flash; zero .bss.
 * Must be inlined, or it would paint its own frame.
 */
__attribute__((always_inline)) static inline void had_layout_init(const uint32_t *sp) {
    for (uint32_t *word = had_link_stack_limit; word < sp; word++) {
        *(volatile uint32_t *)word = HAD_STACK_PAINT;
    }
    const uint32_t *load = had_link_data_load;
    for (uint32_t *word = had_link_data_start; word < had_link_data_end; word++) {
        *word = *load++;
    }
    for (uint32_t *word = had_link_bss_start; word < had_link_bss_end; word++) {
        *word = 0U;
    }
}

#endif
