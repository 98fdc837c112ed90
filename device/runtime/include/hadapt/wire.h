/* SPDX-License-Identifier: Apache-2.0 */
/* The wire protocol, SPEC.md 10. One device per program: had_wire.c owns its learner. */
#ifndef HADAPT_WIRE_H
#define HADAPT_WIRE_H

#include <stdint.h>

#include "hadapt/status.h"

/* Start the device from the model's tables. */
HAD_CHECKED had_status had_wire_boot(void);

/*
 * Carry out one request. The payload may be anything: it is checked. resp may be the same buffer as
 * req. On failure *resp_len is 0.
 */
HAD_CHECKED had_status had_wire_handle(uint8_t command, const uint8_t *req, uint32_t req_len,
                                       uint8_t *resp, uint32_t resp_cap, uint32_t *resp_len);

#endif
