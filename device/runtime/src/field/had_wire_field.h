/* SPDX-License-Identifier: Apache-2.0 */
/* What a field device adds to the wire, SPEC.md 13.3; nothing where HAD_FIELD is 0. */
#ifndef HAD_WIRE_FIELD_H
#define HAD_WIRE_FIELD_H

#include <stdint.h>

#include "hadapt/flash.h"
#include "hadapt/learner.h"

#define HAD_FIELD_FIRST 0x20U
#define HAD_FIELD_LAST 0x2AU

#if HAD_FIELD

/* Start the device from flash. */
HAD_CHECKED had_status had_field_boot(had_learner *ln);

/* Guarded commit; corrected: hold and steps of the fit. */
HAD_CHECKED had_status had_field_commit(had_learner *ln);
HAD_CHECKED had_status had_field_commit_corrected(had_learner *ln, const uint8_t fit[2]);

/* Before a command of section 10: remember what will be kept of its request; the reply may overwrite it. */
void had_field_before(had_learner *ln, uint8_t command, const uint8_t *req, uint32_t length);

/* After it was carried out: keep it. */
HAD_CHECKED had_status had_field_after(void);

/* Commands HAD_FIELD_FIRST to HAD_FIELD_LAST. */
HAD_CHECKED had_status had_field_handle(uint8_t command, const uint8_t *req, uint32_t req_len,
                                        uint8_t *resp, uint32_t resp_cap, uint32_t *resp_len);

#else

static inline had_status had_field_boot(had_learner *ln) {
    had_init(ln);
    return HAD_OK;
}

static inline had_status had_field_commit(had_learner *ln) {
    return had_commit(ln);
}

static inline had_status had_field_commit_corrected(had_learner *ln, const uint8_t fit[2]) {
#if HAD_BIAS_CORRECTION
    return had_commit_corrected(ln, fit[0], fit[1]);
#else
    (void)ln;
    (void)fit;
    return HAD_ERR_FORMAT; /* no such length passes */
#endif
}

static inline void had_field_before(had_learner *ln, uint8_t command, const uint8_t *req,
                                    uint32_t length) {
    (void)ln;
    (void)command;
    (void)req;
    (void)length;
}

static inline had_status had_field_after(void) {
    return HAD_OK;
}

#endif

#endif
