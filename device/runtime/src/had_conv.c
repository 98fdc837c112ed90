/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution, SPEC.md 4.1.
 *
 * Bounds: |acc| <= 127 sum |w| < 2^31 by a rule of the model; after acc_shift below 2^15 but for rounding; times
 * m < 2^15 below 2^30 + 2^29. The bias is added in 64 bits.
 */
#include "had_window.h"

static int32_t dot(const int8_t *x, const int8_t *w, uint32_t terms) {
    int32_t acc = 0;
    for (uint32_t i = 0U; i < terms; i++) {
        acc += x[i] * w[i];
    }
    return acc;
}

/* All of a window for one output channel; `inputs` channels a group, the group's start at `channel`. */
static int32_t window_sum(const int8_t *x, const int8_t *w, const had_window *at, had_span rows,
                          had_span columns, uint32_t inputs, uint32_t channel) {
    int32_t acc = 0;
    /* Neighbouring pixels of an ungrouped, undilated row are one run of memory. */
    uint32_t whole = inputs == at->in_channels && at->dilation_width == 1U ? 1U : 0U;
    for (uint32_t i = rows.first; i < rows.last; i++) {
        const int8_t *row = w + i * at->kernel_width * inputs;
        if (whole != 0U && columns.first < columns.last) {
            acc += dot(had_pixel(x, at, rows, columns, i, columns.first),
                       row + columns.first * inputs, (columns.last - columns.first) * inputs);
            continue;
        }
        for (uint32_t j = columns.first; j < columns.last; j++) {
            acc += dot(had_pixel(x, at, rows, columns, i, j) + channel, row + j * inputs, inputs);
        }
    }
    return acc;
}

static int32_t output_of(const had_conv_node *node, int32_t acc, uint32_t o) {
    int64_t y = had_rhu(had_rhu(acc, node->acc_shift[o]) * node->mult[o], node->shift[o]);
    y += node->bias[o];
    return (int32_t)(y < INT16_MIN ? INT16_MIN : (y > INT16_MAX ? INT16_MAX : y));
}

void had_conv(int8_t *out, const int8_t *x, const had_conv_node *node) {
    const had_window *at = &node->window;
    const had_prepared p = had_prepare(&node->out);
    uint32_t inputs = (uint32_t)at->in_channels / node->groups;
    uint32_t outputs = (uint32_t)at->out_channels / node->groups;
    uint32_t terms = (uint32_t)at->kernel_height * at->kernel_width * inputs;
    for (uint32_t r = 0U; r < at->out_height; r++) {
        had_span rows = had_rows(at, r);
        for (uint32_t s = 0U; s < at->out_width; s++) {
            had_span columns = had_columns(at, s);
            for (uint32_t o = 0U; o < at->out_channels; o++) {
                int32_t acc = window_sum(x, node->weight + o * terms, at, rows, columns, inputs,
                                         o / outputs * inputs);
                *out++ = had_requantize(&p, output_of(node, acc, o));
            }
        }
    }
}
