/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault handlers of the startup codes share. */
#ifndef HADAPT_PORT_SEMIHOST_H
#define HADAPT_PORT_SEMIHOST_H

#include <stdint.h>

/* Print one line (cause and program counter in hex) for people, then exit with 120. */
__attribute__((noreturn, used)) void had_fault_report(uint32_t cause, uint32_t pc);

#endif
