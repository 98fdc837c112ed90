/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax cross-entropy and its gradient, SPEC.md 6.2.
 *
 * Bounds: -z <= 65535, times 23637 plus 2^(fy+7) <= 2^22 is below 2^31. e <= 2^15 and at most 250 classes,
 * so sum < 2^23; R <= 2^16, e R <= 2^31, plus 2^(15+sb) <= 2^22 is below 2^32.
 */
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

/* 2^15 exp(-drop 2^-fy), drop >= 0. */
static uint32_t exponential(uint32_t drop, uint32_t frac_bits) {
    uint32_t t = (drop * 23637U + (1U << (frac_bits + 7U))) >> (frac_bits + 8U);
    uint32_t shift = t >> 6;
    if (shift > 15U) {
        return 0U;
    }
    uint32_t e = exp2_table[t & 63U];
    return shift == 0U ? e : (e + (1U << (shift - 1U))) >> shift;
}

/* Lowest index of the maximum of a column. */
static uint32_t column_argmax(const int16_t *y, uint32_t classes) {
    uint32_t best = 0U;
    for (uint32_t c = 1U; c < classes; c++) {
        if (y[c * HAD_BATCH_STRIDE] > y[best * HAD_BATCH_STRIDE]) {
            best = c;
        }
    }
    return best;
}

/* Replace the logits of a column by its errors; returns p[label]. */
static uint32_t column_errors(had_flow *flow, int16_t *y, uint32_t classes, uint32_t label,
                              int32_t y_max, uint32_t frac_bits) {
    uint32_t sum = 0U;
    for (uint32_t c = 0U; c < classes; c++) {
        sum += exponential((uint32_t)(y_max - y[c * HAD_BATCH_STRIDE]), frac_bits);
    }
    uint32_t sb = had_bitlen(sum) - 16U;
    uint32_t reciprocal = (1U << 31) / (sum >> sb);
    uint32_t p_label = 0U;
    for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
        int16_t *at = y + c * HAD_BATCH_STRIDE;
        int32_t d = 0;
        if (c < classes) {
            uint32_t e = exponential((uint32_t)(y_max - *at), frac_bits);
            uint32_t p = (e * reciprocal + (1U << (15U + sb))) >> (16U + sb);
            p_label = c == label ? p : p_label;
            d = had_clamp((int32_t)p - (c == label ? 32768 : 0), -32767, 32767);
        }
        *at = (int16_t)d;
        flow->d_max = had_abs(d) > flow->d_max ? had_abs(d) : flow->d_max;
    }
    return p_label;
}

void had_loss(had_learner *ln, const had_layer *head, int16_t *yd, const uint8_t *labels,
              uint32_t begin, uint32_t end) {
    had_flow *flow = &ln->step.flow[head->index];
    uint32_t classes = ln->working.n_classes;
    if (begin == 0U) {
        flow->d_scale = (had_scale){1 << 14, -29};
        flow->d_max = 0;
        ln->step.correct = 0U;
        ln->step.confidence = 0U;
    }
    for (uint32_t b = begin; b < end; b++) {
        uint32_t best = column_argmax(yd + b, classes);
        int32_t y_max = yd[best * HAD_BATCH_STRIDE + b];
        ln->step.correct += best == labels[b] ? 1U : 0U;
        ln->step.confidence +=
            column_errors(flow, yd + b, classes, labels[b], y_max, head->out_frac_bits) >> 8;
    }
#if HAD_BATCH < HAD_BATCH_STRIDE
    for (uint32_t b = HAD_BATCH; end == HAD_BATCH && b < HAD_BATCH_STRIDE; b++) {
        for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
            yd[c * HAD_BATCH_STRIDE + b] = 0;
        }
    }
#endif
}
