/* SPDX-License-Identifier: Apache-2.0 */
/* The forgetting guard, SPEC.md 13.2. */
#ifndef HADAPT_GUARD_H
#define HADAPT_GUARD_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Reserved samples; what is allocated for them; the limit that is none. */
#ifndef HAD_GUARD_SLOTS
#define HAD_GUARD_SLOTS 0U
#endif
#define HAD_GUARD_ALLOCATED (HAD_GUARD_SLOTS > 0U ? HAD_GUARD_SLOTS : 1U)
#define HAD_GUARD_OFF 0xFFFFU

/* Limits in thousandths; HAD_GUARD_OFF: none. */
typedef struct had_guard_limits {
    uint32_t class_drop;
    uint32_t mean_drop;
    uint32_t new_floor;
} had_guard_limits;

/* The reserved samples and what the last score found. */
typedef struct had_guard {
    had_guard_limits limits;
    uint32_t count;
    uint32_t classes;                   /* of the last score: classes compared, P */
    int32_t drop;                       /* and the sum of their drops */
    uint32_t at_class;                  /* class of the last refusal */
    uint16_t reserved[HAD_MAX_CLASSES]; /* scratch: reserved, and right before and after */
    uint16_t before[HAD_MAX_CLASSES];
    uint16_t after[HAD_MAX_CLASSES];
    uint8_t label[HAD_GUARD_ALLOCATED];
    uint8_t packed[HAD_GUARD_ALLOCATED][HAD_X0_BYTES];
} had_guard;

/* No samples, no limits. */
void had_guard_init(had_guard *guard);

/* Reserve a sample. HAD_ERR_ARGUMENT: label or values. HAD_ERR_FULL: no guard slot is left. */
HAD_CHECKED had_status had_guard_add(had_guard *guard, const uint8_t *packed, uint32_t label);

/* How a commit would make its correction: SPEC.md 8.8; 0, 0 for one without. */
typedef struct had_fit {
    uint32_t hold;
    uint32_t steps;
} had_fit;

/*
 * Score the committed copy, and the working one as a commit would make it. HAD_ERR_REFUSED: a limit is
 * broken, and *reason says which (SPEC.md 13.2). The learner is as it was in either case, but for targets of
 * distillation. HAD_ERR_STATE: training under way. HAD_ERR_IO: see had_rollback.
 */
HAD_CHECKED had_status had_guard_check(had_guard *guard, had_learner *ln, const had_fit *fit,
                                       uint32_t *reason);

#endif
