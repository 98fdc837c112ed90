/* SPDX-License-Identifier: Apache-2.0 */
/* Bias correction, SPEC.md 8.8. */
#ifndef HADAPT_CORRECTION_H
#define HADAPT_CORRECTION_H

#include <stdint.h>

#include "hadapt/learner.h"

#if HAD_BIAS_CORRECTION
#define HAD_HOLD_MAX 7U /* largest hold of SPEC.md 8.8 */

/* The correction that changes nothing. */
static inline had_correction had_no_correction(void) {
    return (had_correction){0U, 0U, 1 << 12, 0};
}

/* Correct the logits of the first `classes` classes. */
void had_correct(const had_correction *correction, int16_t *logits, uint32_t classes);

/*
 * Fit to the held-out samples by the committed network, whose classes from `known` on are new.
 * Overwrites the targets and the logits of the inference arena.
 */
had_correction had_correction_fit(had_learner *ln, uint32_t known, uint32_t hold, uint32_t steps);

/* What a commit leaves: fitted in `steps` steps, or with steps = 0 none after training, else `kept`. */
had_correction had_correction_renewed(had_learner *ln, const had_correction *kept, uint32_t known,
                                      uint32_t hold, uint32_t steps);
#endif

#endif
