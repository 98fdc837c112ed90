/* SPDX-License-Identifier: Apache-2.0 */
/* The two functions that main.c calls, for a firmware without a learner. */
#ifndef HADAPT_WIRE_H
#define HADAPT_WIRE_H

#include <stdint.h>

#include "hadapt/status.h"

HAD_CHECKED had_status had_wire_boot(void);
HAD_CHECKED had_status had_wire_handle(uint8_t command, const uint8_t *req, uint32_t req_len,
                                       uint8_t *resp, uint32_t resp_cap, uint32_t *resp_len);

#endif
