/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax cross-entropy and its gradient, SPEC.md 6.2.
 *
 * Bounds: -z <= 65535, times 23637 plus 2^(fy+7+3) <= 2^25 is below 2^31. e <= 2^15 and at most 250 classes,
 * so sum < 2^23; R <= 2^16, e R <= 2^31, plus 2^(15+sb) <= 2^22 is below 2^32.
 */
#include "../arithmetic/had_cold.h"
#include "hadapt/train.h"

/* floor(2^15 2^(-f/64) + 1/2) */
static const uint16_t exp2_table[64] = {
    32768U, 32415U, 32066U, 31720U, 31379U, 31041U, 30706U, 30376U, 30048U, 29725U, 29405U,
    29088U, 28774U, 28464U, 28158U, 27855U, 27554U, 27258U, 26964U, 26674U, 26386U, 26102U,
    25821U, 25543U, 25268U, 24995U, 24726U, 24460U, 24196U, 23936U, 23678U, 23423U, 23170U,
    22921U, 22674U, 22430U, 22188U, 21949U, 21713U, 21479U, 21247U, 21019U, 20792U, 20568U,
    20347U, 20127U, 19911U, 19696U, 19484U, 19274U, 19066U, 18861U, 18658U, 18457U, 18258U,
    18061U, 17867U, 17674U, 17484U, 17296U, 17109U, 16925U, 16743U, 16562U,
};

/* Distillation computes powers in several places, and needs the logits beside them. */
#if HAD_DISTILLATION
#define ONCE __attribute__((noinline))
#else
#define ONCE
#endif

/* 2^15 exp(-drop 2^-fy), drop >= 0. */
ONCE static uint32_t exponential(uint32_t drop, uint32_t frac_bits) {
    uint32_t t = (drop * 23637U + (1U << (frac_bits + 7U))) >> (frac_bits + 8U);
    uint32_t shift = t >> 6;
    if (shift > 15U) {
        return 0U;
    }
    uint32_t e = exp2_table[t & 63U];
    return shift == 0U ? e : (e + (1U << (shift - 1U))) >> shift;
}

/* Softmax of logits in the grid 2^-frac_bits. */
typedef struct had_softmax {
    int32_t y_max;
    uint32_t frac_bits;
    uint32_t sb;
    uint32_t reciprocal;
} had_softmax;

/* Lowest index of the maximum of every stride-th value. */
static uint32_t argmax(const int16_t *y, uint32_t stride, uint32_t classes) {
    uint32_t best = 0U;
    for (uint32_t c = 1U; c < classes; c++) {
        if (y[c * stride] > y[best * stride]) {
            best = c;
        }
    }
    return best;
}

static had_softmax softmax_of_sum(uint32_t sum, int32_t y_max, uint32_t frac_bits) {
    uint32_t sb = had_bitlen(sum) - 16U;
    return (had_softmax){y_max, frac_bits, sb, had_divide(1U << 31, sum >> sb)};
}

/* p_c of SPEC.md 6.2, Q15, from its power e. */
static inline uint32_t share(const had_softmax *s, uint32_t e) {
    return (e * s->reciprocal + (1U << (15U + s->sb))) >> (16U + s->sb);
}

#if HAD_DISTILLATION
static had_softmax softmax_of(const int16_t *y, uint32_t stride, uint32_t classes, int32_t y_max,
                              uint32_t frac_bits) {
    uint32_t sum = 0U;
    for (uint32_t c = 0U; c < classes; c++) {
        sum += exponential((uint32_t)(y_max - y[c * stride]), frac_bits);
    }
    return softmax_of_sum(sum, y_max, frac_bits);
}

/* p_c of SPEC.md 6.2, Q15. */
static uint32_t probability(const had_softmax *s, int32_t y) {
    return share(s, exponential((uint32_t)(s->y_max - y), s->frac_bits));
}
#else
/* The same; the powers, of 16 bits, stay in place of the logits. */
static had_softmax softmax_of(int16_t *y, uint32_t stride, uint32_t classes, int32_t y_max,
                              uint32_t frac_bits) {
    uint32_t sum = 0U;
    for (uint32_t c = 0U; c < classes; c++) {
        uint32_t e = exponential((uint32_t)(y_max - y[c * stride]), frac_bits);
        y[c * stride] = (int16_t)(uint16_t)e;
        sum += e;
    }
    return softmax_of_sum(sum, y_max, frac_bits);
}

static inline uint32_t probability(const had_softmax *s, int32_t power) {
    return share(s, (uint16_t)power);
}
#endif

#if HAD_DISTILLATION
/* Distillation of a row, SPEC.md 6.6. */
typedef struct had_teacher {
    had_softmax student;
    const uint8_t *target;
    uint32_t classes;
    int32_t weight;
    uint32_t soften;
} had_teacher;

static had_teacher teacher_of(const had_learner *ln, const int16_t *y, uint32_t b,
                              uint32_t frac_bits) {
    const had_session *session = &ln->session;
    had_teacher t = {.classes = session->old_classes};
    if (t.classes > 0U) {
        int32_t y_max = y[argmax(y, HAD_BATCH_STRIDE, t.classes) * HAD_BATCH_STRIDE];
        t.weight = (int32_t)session->config.distill;
        t.soften = session->config.soften;
        t.target = ln->target[had_batch_slot(ln, b)];
        t.student = softmax_of(y, HAD_BATCH_STRIDE, t.classes, y_max, frac_bits + t.soften);
    }
    return t;
}

/* |d| and |difference| <= 2^15, weight <= 255, soften <= 3: below 2^27. */
static int32_t distilled(const had_teacher *t, int32_t d, int32_t y, uint32_t c) {
    int32_t difference = 0;
    if (c < t->classes) {
        difference = (int32_t)probability(&t->student, y) - ((257 * t->target[c]) >> 1);
    }
    return ((256 - t->weight) * d + t->weight * (1 << t->soften) * difference + 128) >> 8;
}

#if HAD_BIAS_CORRECTION
void had_probabilities(uint16_t *p, const int16_t *logits, uint32_t classes, uint32_t frac_bits) {
    int32_t y_max = logits[argmax(logits, 1U, classes)];
    had_softmax s = softmax_of(logits, 1U, classes, y_max, frac_bits);
    for (uint32_t c = 0U; c < classes; c++) {
        p[c] = (uint16_t)probability(&s, logits[c]);
    }
}
#endif

void had_soft_targets(uint8_t *target, const int16_t *logits, uint32_t classes,
                      uint32_t frac_bits) {
    int32_t y_max = logits[argmax(logits, 1U, classes)];
    had_softmax s = softmax_of(logits, 1U, classes, y_max, frac_bits);
    for (uint32_t c = 0U; c < classes; c++) {
        target[c] = (uint8_t)((255U * probability(&s, logits[c]) + (1U << 14)) >> 15);
    }
}
#endif

/* Replace the logits of a column by its errors; returns p[label]. */
static uint32_t column_errors(had_learner *ln, const had_layer *head, int16_t *y, uint32_t b,
                              const had_softmax *softmax, uint32_t label) {
    had_flow *flow = &ln->step.flow[head->index];
    uint32_t p_label = 0U;
#if HAD_DISTILLATION
    const had_teacher teacher = teacher_of(ln, y, b, softmax->frac_bits);
#endif
    for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
        int16_t *at = y + c * HAD_BATCH_STRIDE;
        int32_t d = 0;
        if (c < ln->working.n_classes) {
            uint32_t p = probability(softmax, *at);
            p_label = c == label ? p : p_label;
            d = had_clamp((int32_t)p - (c == label ? 32768 : 0), -32767, 32767);
#if HAD_DISTILLATION
            d = had_clamp(distilled(&teacher, d, *at, c), -32767, 32767);
#endif
        }
        *at = (int16_t)d;
        flow->d_max = had_abs(d) > flow->d_max ? had_abs(d) : flow->d_max;
    }
    (void)b;
    return p_label;
}

void had_loss(had_learner *ln, const had_layer *head, int16_t *yd, const uint8_t *labels,
              uint32_t begin, uint32_t end) {
    uint32_t classes = ln->working.n_classes;
    if (begin == 0U) {
        ln->step.flow[head->index].d_scale = (had_scale){1 << 14, -29};
        ln->step.flow[head->index].d_max = 0;
        ln->step.correct = 0U;
        ln->step.confidence = 0U;
    }
    for (uint32_t b = begin; b < end; b++) {
        uint32_t best = argmax(yd + b, HAD_BATCH_STRIDE, classes);
        int32_t y_max = yd[best * HAD_BATCH_STRIDE + b];
        had_softmax softmax =
            softmax_of(yd + b, HAD_BATCH_STRIDE, classes, y_max, head->out_frac_bits);
        ln->step.correct += best == labels[b] ? 1U : 0U;
        ln->step.confidence += column_errors(ln, head, yd + b, b, &softmax, labels[b]) >> 8;
    }
#if HAD_BATCH < HAD_BATCH_STRIDE
    for (uint32_t b = HAD_BATCH; end == HAD_BATCH && b < HAD_BATCH_STRIDE; b++) {
        for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
            yd[c * HAD_BATCH_STRIDE + b] = 0;
        }
    }
#endif
}
