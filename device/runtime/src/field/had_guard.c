/* SPDX-License-Identifier: Apache-2.0 */
/* The forgetting guard, SPEC.md 13.2. */
#include "../arithmetic/had_cold.h"

#include "hadapt/flash.h"
#include "hadapt/guard.h"

#if HAD_FIELD

#include <string.h>

#include "../learner/had_committed.h"
#include "hadapt/correction.h"
#include "hadapt/exemplar.h"
#include "hadapt/infer.h"
#include "hadapt/plan.h"
#include "hadapt/reason.h"

#define THOUSAND 1000

void had_guard_init(had_guard *guard) {
    *guard = (had_guard){.limits = {HAD_GUARD_OFF, HAD_GUARD_OFF, HAD_GUARD_OFF}};
}

had_status had_guard_add(had_guard *guard, const uint8_t *packed, uint32_t label) {
    if (label >= HAD_MAX_CLASSES || had_x0_is_valid(packed) == 0U) {
        return HAD_ERR_ARGUMENT;
    }
    (void)guard;
#if HAD_GUARD_SLOTS > 0
    if (guard->count < HAD_GUARD_SLOTS) {
        guard->label[guard->count] = (uint8_t)label;
        memcpy(guard->packed[guard->count], packed, HAD_X0_BYTES);
        guard->count += 1U;
        return HAD_OK;
    }
#endif
    return HAD_ERR_FULL;
}

/* Right answers per class, by the copy that is committed and viewed. */
static void score(const had_guard *guard, had_learner *ln, uint16_t right[HAD_MAX_CLASSES]) {
    uint32_t classes = ln->committed.n_classes;
    memset(right, 0, HAD_MAX_CLASSES * sizeof right[0]);
    for (uint32_t j = 0U; j < guard->count; j++) {
        had_x0_unpack(had_plan_at_x0(ln), guard->packed[j]);
        had_plan_features(ln);
        had_plan_logits(ln, classes);
#if HAD_BIAS_CORRECTION
        had_correct(&ln->committed.correction, had_plan_at_logits(ln), classes);
#endif
        uint32_t label = had_argmax(had_plan_at_logits(ln), classes);
        uint32_t hit = label == guard->label[j] ? 1U : 0U;
        right[guard->label[j]] = (uint16_t)(right[guard->label[j]] + hit);
    }
}

/* Score what a commit would make of the working copy. */
static void score_new(had_guard *guard, had_learner *ln, const had_fit *fit) {
    uint32_t at = HAD_AT_WORKING;
    had_committed_swap(ln, &at);
#if HAD_BIAS_CORRECTION
    had_correction kept = ln->committed.correction;
    had_exemplar_set_aside(&ln->exemplars);
    ln->committed.correction =
        had_correction_renewed(ln, &kept, ln->working.n_classes, fit->hold, fit->steps);
    score(guard, ln, guard->after);
    ln->committed.correction = kept;
    had_exemplar_bring_back(&ln->exemplars);
#else
    (void)fit;
    score(guard, ln, guard->after);
#endif
    had_committed_swap(ln, &at);
}

static void count_reserved(had_guard *guard) {
    memset(guard->reserved, 0, sizeof guard->reserved);
    for (uint32_t j = 0U; j < guard->count; j++) {
        uint32_t c = guard->label[j];
        guard->reserved[c] = (uint16_t)(guard->reserved[c] + 1U);
    }
}

/* floor(1000 (before - after) / reserved), reserved > 0 */
static int32_t drop_of(const had_guard *guard, uint32_t c) {
    int32_t lost = THOUSAND * ((int32_t)guard->before[c] - (int32_t)guard->after[c]);
    int32_t count = guard->reserved[c];
    return lost >= 0 ? lost / count : -((-lost + count - 1) / count);
}

static uint32_t judge_old(had_guard *guard, uint32_t classes) {
    uint32_t limit = guard->limits.class_drop;
    guard->classes = 0U;
    guard->drop = 0;
    uint32_t reason = HAD_REASON_NONE;
    for (uint32_t c = 0U; c < classes; c++) {
        if (guard->reserved[c] == 0U) {
            continue;
        }
        int32_t drop = drop_of(guard, c);
        guard->classes += 1U;
        guard->drop += drop;
        if (limit != HAD_GUARD_OFF && drop > (int32_t)limit && reason == HAD_REASON_NONE) {
            guard->at_class = c;
            reason = HAD_REASON_CLASS_DROP;
        }
    }
    int32_t allowed = (int32_t)(guard->limits.mean_drop * guard->classes);
    if (reason == HAD_REASON_NONE && guard->limits.mean_drop != HAD_GUARD_OFF &&
        guard->drop > allowed) {
        reason = HAD_REASON_MEAN_DROP;
    }
    return reason;
}

static uint32_t judge_new(had_guard *guard, uint32_t first, uint32_t classes) {
    for (uint32_t c = first; c < classes && guard->limits.new_floor != HAD_GUARD_OFF; c++) {
        uint32_t floor = guard->limits.new_floor * guard->reserved[c];
        if ((uint32_t)THOUSAND * guard->after[c] < floor) {
            guard->at_class = c;
            return HAD_REASON_NEW_FLOOR;
        }
    }
    return HAD_REASON_NONE;
}

had_status had_guard_check(had_guard *guard, had_learner *ln, const had_fit *fit,
                           uint32_t *reason) {
    uint32_t old_classes = ln->committed.n_classes;
    uint32_t new_classes = ln->working.n_classes;
    *reason = HAD_REASON_NONE;
    had_status status = had_idle(ln);
    if (status != HAD_OK || guard->count == 0U) {
        return status;
    }
    count_reserved(guard);
    score(guard, ln, guard->before);
    score_new(guard, ln, fit);
    status = had_committed_was_read(ln);
    if (status != HAD_OK) {
        return status;
    }
    guard->at_class = 0U;
    *reason = judge_old(guard, old_classes);
    if (*reason == HAD_REASON_NONE) {
        *reason = judge_new(guard, old_classes, new_classes);
    }
    return *reason == HAD_REASON_NONE ? HAD_OK : HAD_ERR_REFUSED;
}

#endif
