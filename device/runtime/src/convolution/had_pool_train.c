/* SPDX-License-Identifier: Apache-2.0 */
/* The pool behind a trainable convolution, SPEC.md 14.2 and 14.3. Sums: 32767 N < 2^31, N <= 65535. */
#include "had_conv_layer.h"

#ifdef HAD_CONV_LAYERS
/* First output pixel of window q. */
static uint32_t first_pixel(const struct had_conv_layer *conv, uint32_t q) {
    return q / conv->pooled_width * conv->pool_height * conv->window.out_width +
           q % conv->pooled_width * conv->pool_width;
}

static void set_bit(uint8_t *mask, uint32_t b) {
    mask[b >> 3] = (uint8_t)(mask[b >> 3] | 1U << (b & 7U));
}

/* What one value of z comes from: element (0, 0) of its window, and where its next ones lie. */
typedef struct had_cell {
    const struct had_conv_layer *conv;
    const int16_t *y;
    uint8_t *pass;
    uint32_t channels;
    uint32_t b;
} had_cell;

static uint32_t feature_of(const had_cell *cell, uint32_t i, uint32_t j) {
    return (i * cell->conv->window.out_width + j) * cell->channels;
}

static int32_t value_of(const had_cell *cell, uint32_t feature) {
    return cell->y[feature * HAD_BATCH_STRIDE + cell->b];
}

static int32_t average_of(const had_cell *cell, const had_mean *mean) {
    int32_t sum = 0;
    for (uint32_t i = 0U; i < cell->conv->pool_height; i++) {
        for (uint32_t j = 0U; j < cell->conv->pool_width; j++) {
            uint32_t feature = feature_of(cell, i, j);
            int32_t value = value_of(cell, feature);
            if (value > 0) {
                sum += value;
                if (cell->conv->top == 0U || value < cell->conv->top) {
                    set_bit(cell->pass + feature * HAD_MASK_BYTES, cell->b);
                }
            }
        }
    }
    return had_mean_value(mean, sum);
}

static int32_t largest_of(const had_cell *cell) {
    int32_t largest = 0;
    uint32_t at = 0U;
    for (uint32_t i = 0U; i < cell->conv->pool_height; i++) {
        for (uint32_t j = 0U; j < cell->conv->pool_width; j++) {
            uint32_t feature = feature_of(cell, i, j);
            int32_t value = value_of(cell, feature);
            at = value > largest ? feature : at;
            largest = value > largest ? value : largest;
        }
    }
    if (largest > 0) {
        set_bit(cell->pass + at * HAD_MASK_BYTES, cell->b);
    }
    return largest;
}

void had_pool_forward(had_learner *ln, const had_layer *layer, int16_t *z, uint8_t *pass,
                      const int16_t *y, uint32_t begin, uint32_t end) {
    const struct had_conv_layer *conv = layer->conv;
    const had_mean mean = had_mean_of(conv);
    int32_t z_max = begin == 0U ? 0 : ln->step.flow[layer->index].y_max;
    if (begin == 0U) {
        uint32_t bytes = had_out_pixels(&conv->window) * layer->outputs * HAD_MASK_BYTES;
        for (uint32_t j = 0U; j < bytes; j++) {
            pass[j] = 0U;
        }
    }
    for (uint32_t q = begin; q < end; q++) {
        uint32_t first = first_pixel(conv, q) * layer->outputs;
        for (uint32_t o = 0U; o < layer->outputs; o++) {
            had_cell cell = {conv, y + (first + o) * HAD_BATCH_STRIDE,
                             pass + (first + o) * HAD_MASK_BYTES, layer->outputs, 0U};
            for (; cell.b < HAD_BATCH; cell.b++) {
                int32_t value =
                    conv->pool == HAD_POOL_MAX ? largest_of(&cell) : average_of(&cell, &mean);
                z[(q * layer->outputs + o) * HAD_BATCH_STRIDE + cell.b] = (int16_t)value;
                z_max = value > z_max ? value : z_max;
            }
        }
    }
    ln->step.flow[layer->index].y_max = z_max;
}

/* Window of the pool over output pixel p; where none is, all pass bits are 0. */
static uint32_t window_of(const struct had_conv_layer *conv, uint32_t p) {
    return p / conv->window.out_width / conv->pool_height * conv->pooled_width +
           p % conv->window.out_width / conv->pool_width;
}

void had_pool_backward(had_learner *ln, const had_layer *layer, int16_t *d, const int16_t *dz,
                       const uint8_t *pass, uint32_t begin, uint32_t end) {
    const struct had_conv_layer *conv = layer->conv;
    had_flow *flow = &ln->step.flow[layer->index];
    if (flow->d_max == 0) {
        return;
    }
    if (begin == 0U && conv->pool == HAD_POOL_AVERAGE) {
        uint32_t terms = (uint32_t)conv->pool_height * conv->pool_width;
        had_scale part = had_scale_recip(had_scale_from_int(terms));
        flow->d_scale = had_scale_mul(flow->d_scale, part);
    }
    for (uint32_t p = begin; p < end; p++) {
        uint32_t q = window_of(conv, p);
        for (uint32_t o = 0U; o < layer->outputs; o++) {
            int16_t *to = d + (p * layer->outputs + o) * HAD_BATCH_STRIDE;
            const uint8_t *bits = pass + (p * layer->outputs + o) * HAD_MASK_BYTES;
            for (uint32_t b = 0U; b < HAD_BATCH_STRIDE; b++) { /* behind the batch no bit is set */
                uint32_t passes = (uint32_t)bits[b >> 3] >> (b & 7U) & 1U;
                uint32_t from = (q * layer->outputs + o) * HAD_BATCH_STRIDE + b;
                to[b] = passes != 0U ? dz[from] : 0;
            }
        }
    }
}
#else
typedef int had_pool_train_is_left_out; /* no convolution is trained */
#endif
