/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of a trainable convolution share, SPEC.md 14. */
#ifndef HAD_CONV_LAYER_H
#define HAD_CONV_LAYER_H

#include "../front/had_window.h"
#include "hadapt/conv.h"

#ifdef HAD_CONV_LAYERS
static inline uint32_t had_out_pixels(const had_window *w) {
    return (uint32_t)w->out_height * w->out_width;
}

/* Groups of HAD_ROWS among `rows`. */
static inline uint32_t had_groups(uint32_t rows) {
    return (rows + HAD_ROWS - 1U) / HAD_ROWS;
}

/* Rows of the group that starts at `first`. */
static inline uint32_t had_group_rows(uint32_t first, uint32_t rows) {
    return rows - first < HAD_ROWS ? rows - first : HAD_ROWS;
}

/* Lanes from batch column `column` on that are no padding. */
static inline uint32_t had_batch_lanes(uint32_t column) {
    return column + HAD_LANES <= HAD_BATCH ? HAD_LANES
                                           : (column < HAD_BATCH ? HAD_BATCH - column : 0U);
}

/*
 * The unrolled row of output pixel p and a group: kernel_height kernel_width channels elements of `bytes`
 * bytes, zero where the window is outside.
 */
void had_unroll(int8_t *patch, const int8_t *x, const struct had_conv_layer *conv, uint32_t group,
                uint32_t p, uint32_t bytes);

/* Output coordinate whose kernel position lies over an input coordinate plus pad; `size` if none does. */
static inline uint32_t had_over(uint32_t padded, uint32_t step, uint32_t stride, uint32_t size) {
    if (step > padded) {
        return size;
    }
    uint32_t at = padded - step;
    if (stride > 1U) {
        if (at % stride != 0U) {
            return size;
        }
        at /= stride;
    }
    return at < size ? at : size;
}

/* Flow of the error that a layer's input gradient makes. */
static inline had_flow *had_flow_below(had_learner *ln, const had_layer *layer) {
#ifdef HAD_RESIDUAL
    if (layer->side != 0U) {
        return &ln->step.side;
    }
#endif
    return &ln->step.flow[had_below(layer)];
}

/* Some errors of one input from sums: masked, 16 bits, zero behind the batch. */
void had_mask_errors(had_learner *ln, const had_layer *layer, int16_t *d_below, const int32_t *acc,
                     const uint8_t *mask, uint32_t column, uint32_t lanes);

/* Largest output: the bound, or what 16 bits hold. */
static inline int32_t had_top(const struct had_conv_layer *conv) {
    return conv->top != 0U ? conv->top : 32767;
}

/* The mean of 16-bit values in a window of a pool, SPEC.md 14.2; sum <= 32767 terms. */
typedef struct had_mean {
    uint32_t drop;
    had_multiplier m;
} had_mean;

had_mean had_mean_of(const struct had_conv_layer *conv);

/* rhu(sum, drop) <= 2^15, times m < 2^15 below 2^30. */
static inline int32_t had_mean_value(const had_mean *mean, int32_t sum) {
    return had_saturate_s16(had_rhu(had_rhu(sum, mean->drop) * mean->m.m, mean->m.sh));
}
#endif

#endif
