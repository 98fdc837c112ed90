/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bias correction, SPEC.md 8.8.
 *
 * Bounds: alpha < 2^14 and |y| <= 2^15, so a product stays below 2^29. A sample's |sum e| <= 2^16, times
 * y below 2^31, and there are fewer than 2^16 samples: the sums fit 64 bits.
 */
#include "../arithmetic/had_cold.h"

#include "hadapt/correction.h"

#include "hadapt/exemplar.h"
#include "hadapt/plan.h"
#include "hadapt/train.h"

#if HAD_BIAS_CORRECTION
#define ALPHA_ONE (1 << 12)
#define ALPHA_MAX 16383
#define ALPHA_STEP 512

void had_correct(const had_correction *correction, int16_t *logits, uint32_t classes) {
    uint32_t last = correction->last < classes ? correction->last : classes;
    for (uint32_t c = correction->first; c < last; c++) {
        int32_t scaled = (correction->alpha * logits[c] + (1 << 11)) >> 12;
        logits[c] = had_saturate_s16(scaled + correction->beta);
    }
}

/* One of the two numbers while it is fitted. */
typedef struct had_descent {
    int32_t value;
    int32_t step;
    int32_t sign; /* the last that was not 0 */
} had_descent;

static void descend(had_descent *d, int64_t gradient, int32_t low, int32_t high) {
    int32_t sign = (gradient > 0 ? 1 : 0) - (gradient < 0 ? 1 : 0);
    if (sign * d->sign < 0) {
        d->step = d->step > 1 ? d->step >> 1 : 1;
    }
    d->sign = sign != 0 ? sign : d->sign;
    d->value = had_clamp(d->value - sign * d->step, low, high);
}

typedef struct had_gradients {
    int64_t alpha;
    int64_t beta;
} had_gradients;

/* Add a sample's part; y: its logits. */
static void add_sample(had_learner *ln, had_gradients *g, const int16_t *y, uint32_t label,
                       const had_correction *correction) {
    int16_t *z = had_plan_at_logits(ln);
    uint16_t *p = (uint16_t *)z;
    for (uint32_t c = 0U; c < correction->last; c++) {
        z[c] = y[c];
    }
    had_correct(correction, z, correction->last);
    had_probabilities(p, z, correction->last, had_layers[HAD_LAYERS - 1U].out_frac_bits);
    for (uint32_t c = correction->first; c < correction->last; c++) {
        int64_t e = (int64_t)p[c] - (c == label ? 32768 : 0);
        g->alpha += e * y[c];
        g->beta += e;
    }
}

/* Slot of the number-th held-out sample; HAD_SLOTS if there are fewer. */
static uint32_t held_slot(const had_exemplars *ex, uint32_t classes, uint32_t number) {
    for (uint32_t label = 0U; label < classes; label++) {
        uint32_t first = (uint32_t)ex->part_start[label] + ex->part_count[label];
        uint32_t held = (uint32_t)ex->class_start[label + 1U] - first;
        if (number < held) {
            return ex->order[first + number];
        }
        number -= held;
    }
    return HAD_SLOTS;
}

/* Logits of all held-out samples; returns their number. */
static uint32_t take_logits(had_learner *ln, uint32_t classes) {
    uint32_t count = 0U;
    uint32_t slot = held_slot(&ln->exemplars, classes, 0U);
    while (slot < HAD_SLOTS) {
        had_x0_unpack(had_plan_at_x0(ln), ln->exemplars.packed[slot]);
        had_plan_features(ln);
        had_plan_logits(ln, classes);
        const int16_t *logits = had_plan_at_logits(ln);
        for (uint32_t c = 0U; c < classes; c++) {
            ln->held[count][c] = logits[c];
        }
        count++;
        slot = held_slot(&ln->exemplars, classes, count);
    }
    return count;
}

had_correction had_correction_fit(had_learner *ln, uint32_t known, uint32_t hold, uint32_t steps) {
    uint32_t classes = ln->committed.n_classes;
    uint32_t frac_bits = had_layers[HAD_LAYERS - 1U].out_frac_bits;
    had_descent alpha = {ALPHA_ONE, ALPHA_STEP, 0};
    had_descent beta = {0, frac_bits > 0U ? 1 << (frac_bits - 1U) : 1, 0};
    had_correction fitted = {(uint16_t)known, (uint16_t)classes, ALPHA_ONE, 0};
    had_exemplar_index(&ln->exemplars);
    had_exemplar_part(&ln->exemplars, 0U, hold);
    uint32_t count = known < classes ? take_logits(ln, classes) : 0U;
    if (count == 0U) {
        return had_no_correction();
    }
    for (uint32_t k = 0U; k < steps; k++) {
        had_gradients g = {0, 0};
        for (uint32_t i = 0U; i < count; i++) {
            uint32_t slot = held_slot(&ln->exemplars, classes, i);
            add_sample(ln, &g, ln->held[i], ln->exemplars.label[slot], &fitted);
        }
        descend(&alpha, g.alpha, 0, ALPHA_MAX);
        descend(&beta, g.beta, -32768, 32767);
        fitted.alpha = (int16_t)alpha.value;
        fitted.beta = (int16_t)beta.value;
    }
    return fitted;
}

had_correction had_correction_renewed(had_learner *ln, const had_correction *kept, uint32_t known,
                                      uint32_t hold, uint32_t steps) {
    if (steps > 0U) {
        return had_correction_fit(ln, known, hold, steps);
    }
    return ln->trained != 0U ? had_no_correction() : *kept;
}
#endif
