/* SPDX-License-Identifier: Apache-2.0 */
/* Unrolled rows, means and masked errors, SPEC.md 14.1 to 14.3. */
#include "had_conv_layer.h"

#ifdef HAD_CONV_LAYERS
static int8_t *fill(int8_t *to, uint32_t bytes) {
    for (int8_t *end = to + bytes; to != end; to++) {
        *to = 0;
    }
    return to;
}

static int8_t *copy(int8_t *restrict to, const int8_t *restrict from, uint32_t bytes) {
    for (int8_t *end = to + bytes; to != end; to++) {
        *to = *from++;
    }
    return to;
}

void had_unroll(int8_t *patch, const int8_t *x, const struct had_conv_layer *conv, uint32_t group,
                uint32_t p, uint32_t bytes) {
    const had_window *w = &conv->window;
    had_span rows = had_rows(w, p / w->out_width);
    had_span columns = had_columns(w, p % w->out_width);
    uint32_t pixel = w->in_channels * bytes;
    uint32_t part = pixel / conv->groups;
    x += group * part;
    for (uint32_t i = 0U; i < w->kernel_height; i++) {
        if (i < rows.first || i >= rows.last) {
            patch = fill(patch, w->kernel_width * part);
            continue;
        }
        uint32_t y = (uint32_t)(rows.start + (int32_t)(i * w->dilation_height));
        patch = fill(patch, columns.first * part);
        for (uint32_t j = columns.first; j < columns.last; j++) {
            uint32_t at = (uint32_t)(columns.start + (int32_t)(j * w->dilation_width));
            patch = copy(patch, x + (y * w->in_width + at) * pixel, part);
        }
        patch = fill(patch, (w->kernel_width - columns.last) * part);
    }
}

void had_mask_errors(had_learner *ln, const had_layer *layer, int16_t *d_below, const int32_t *acc,
                     const uint8_t *mask, uint32_t column, uint32_t lanes) {
    had_flow *below = had_flow_below(ln, layer);
    for (uint32_t c = 0U; c < HAD_LANES; c++) {
        uint32_t b = column + c;
        uint32_t passes = (uint32_t)mask[b >> 3] >> (b & 7U) & 1U;
        int32_t rounded = had_rhu(acc[c], layer->error_shift);
        int32_t d = c < lanes && passes != 0U ? had_saturate_s16(rounded) : 0;
        d_below[b] = (int16_t)d;
        below->d_max = had_abs(d) > below->d_max ? had_abs(d) : below->d_max;
        HAD_COUNT(if (c < lanes && rounded != had_saturate_s16(rounded)) {
            ln->counters.layer[layer->index].errors_saturated += 1U;
        })
    }
}

had_mean had_mean_of(const struct had_conv_layer *conv) {
    uint32_t terms = (uint32_t)conv->pool_height * conv->pool_width;
    had_mean mean = {.drop = 0U};
    while ((32767U * terms) >> mean.drop > 32767U) {
        mean.drop++;
    }
    had_scale part = had_scale_recip(had_scale_from_int(terms));
    mean.m = had_multiplier_of(had_scale_pow2(part, (int32_t)mean.drop));
    return mean;
}
#else
typedef int had_conv_layer_is_left_out; /* no convolution is trained */
#endif
