/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a layer made, sent as a reply of command 0x7E before the reply to the request itself. In builds
 * that `hadapt diff` compares alone: their plan calls it behind every kernel.
 */
#include "hadapt/port.h"

#define TRACE_COMMAND 0x7EU

void had_trace(const void *data, uint32_t bytes);

void had_trace(const void *data, uint32_t bytes) {
    uint8_t head[8] = {0U, TRACE_COMMAND, 0U, 0U, 0U, 0U, 0U, 0U};
    for (uint32_t i = 0U; i < 4U; i++) {
        head[4U + i] = (uint8_t)(bytes >> (8U * i));
    }
    if (had_port_write(head, sizeof head) != HAD_OK ||
        had_port_write((const uint8_t *)data, bytes) != HAD_OK) {
        had_port_exit(1);
    }
}
