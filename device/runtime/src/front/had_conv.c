/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution, SPEC.md 4.1.
 *
 * Bounds: |acc| <= 127 sum |w| < 2^31 by a rule of the model; after acc_shift below 2^15 but for rounding; times
 * m < 2^15 below 2^30 + 2^29. The bias is added in 64 bits.
 */
#include "had_window.h"
#include "hadapt/core.h"

/* Two output channels at once, which share every load of x. */
typedef struct had_pair {
    int32_t first;
    int32_t second;
} had_pair;

#if HAD_DSP
/* Spelled out: compilers make one load of it, and call nothing. */
static inline uint32_t word_at(const int8_t *from) {
    return (uint32_t)(uint8_t)from[0] | (uint32_t)(uint8_t)from[1] << 8 |
           (uint32_t)(uint8_t)from[2] << 16 | (uint32_t)(uint8_t)from[3] << 24;
}

/* Four terms a step. */
static inline int32_t add_four(int32_t acc, uint32_t even, uint32_t odd, const int8_t *w) {
    uint32_t word = word_at(w);
    acc = had_smlad(even, had_bytes_even(word), acc);
    return had_smlad(odd, had_bytes_odd(word), acc);
}
#endif

static had_pair dot(had_pair acc, const int8_t *x, const int8_t *w, const int8_t *v,
                    uint32_t terms) {
    const int8_t *end = x + terms;
#if HAD_DSP
    for (const int8_t *last = x + (terms & ~3U); x != last; x += 4) {
        uint32_t word = word_at(x);
        uint32_t even = had_bytes_even(word);
        uint32_t odd = had_bytes_odd(word);
        acc.first = add_four(acc.first, even, odd, w);
        acc.second = add_four(acc.second, even, odd, v);
        w += 4;
        v += 4;
    }
#else
    for (const int8_t *last = x + (terms & ~1U); x != last; x += 2) {
        int32_t a = x[0];
        int32_t b = x[1];
        acc.first += a * w[0] + b * w[1];
        acc.second += a * v[0] + b * v[1];
        w += 2;
        v += 2;
    }
#endif
    while (x != end) {
        acc.first += *x * *w++;
        acc.second += *x++ * *v++;
    }
    return acc;
}

/*
 * All of a window for two output channels, w and v being their weights; `inputs` channels a group, the group's
 * start at `channel`.
 */
static had_pair window_sums(const int8_t *x, const int8_t *w, const int8_t *v, const had_window *at,
                            had_span rows, had_span columns, uint32_t inputs, uint32_t channel) {
    had_pair acc = {0, 0};
    /* Neighbouring pixels of an ungrouped, undilated row are one run of memory. */
    uint32_t whole = inputs == at->in_channels && at->dilation_width == 1U ? 1U : 0U;
    uint32_t together = whole != 0U ? columns.last - columns.first : 1U;
    for (uint32_t i = rows.first; i < rows.last; i++) {
        for (uint32_t j = columns.first; j < columns.last; j += together) {
            uint32_t k = (i * at->kernel_width + j) * inputs;
            acc = dot(acc, had_pixel(x, at, rows, columns, i, j) + channel, w + k, v + k,
                      together * inputs);
        }
    }
    return acc;
}

/* The same for a group of one channel. */
static int32_t channel_sum(const int8_t *x, const int8_t *w, const had_window *at, had_span rows,
                           had_span columns, uint32_t channel) {
    int32_t acc = 0;
    uint32_t step = (uint32_t)at->dilation_width * at->in_channels;
    for (uint32_t i = rows.first; columns.first < columns.last && i < rows.last; i++) {
        const int8_t *value = had_pixel(x, at, rows, columns, i, columns.first) + channel;
        const int8_t *weight = w + i * at->kernel_width;
        for (uint32_t j = columns.first; j < columns.last; j++) {
            acc += *value * weight[j];
            value += step;
        }
    }
    return acc;
}

/*@ requires \valid_read(node) && \valid_read(node->acc_shift + o) && \valid_read(node->mult + o);
    requires \valid_read(node->shift + o) && \valid_read(node->bias + o);
    requires node->acc_shift[o] <= 30 && node->shift[o] <= 30;
    requires -1073741824 <= acc <= 1073741823 && -32767 <= node->mult[o] <= 32767;
    requires \let r = (node->acc_shift[o] == 0 ? acc
        : (acc + (1 << (node->acc_shift[o] - 1))) >> node->acc_shift[o]); -32767 <= r <= 32767;
    assigns \nothing;
    ensures -32768 <= \result <= 32767; */
static int32_t output_of(const had_conv_node *node, int32_t acc, uint32_t o) {
    int64_t y = had_rhu(had_rhu(acc, node->acc_shift[o]) * node->mult[o], node->shift[o]);
    y += node->bias[o];
    return (int32_t)(y < INT16_MIN ? INT16_MIN : (y > INT16_MAX ? INT16_MAX : y));
}

/* All channels of one output pixel. */
static int8_t *conv_pixel(int8_t *out, const int8_t *x, const had_conv_node *node,
                          const had_prepared *p, had_span rows, had_span columns) {
    const had_window *at = &node->window;
    uint32_t inputs = (uint32_t)at->in_channels / node->groups;
    uint32_t outputs = (uint32_t)at->out_channels / node->groups;
    uint32_t terms = (uint32_t)at->kernel_height * at->kernel_width * inputs;
    const int8_t *w = node->weight;
    for (uint32_t o = 0U; o < at->out_channels; o++) {
        uint32_t channel = o / outputs * inputs;
        if (inputs == 1U && node->groups > 1U) {
            int32_t acc = channel_sum(x, w, at, rows, columns, channel);
            *out++ = had_requantize(p, output_of(node, acc, o));
        } else {
            uint32_t paired = o % outputs + 1U < outputs ? 1U : 0U;
            had_pair acc =
                window_sums(x, w, w + paired * terms, at, rows, columns, inputs, channel);
            *out++ = had_requantize(p, output_of(node, acc.first, o));
            if (paired != 0U) {
                o++;
                w += terms;
                *out++ = had_requantize(p, output_of(node, acc.second, o));
            }
        }
        w += terms;
    }
    return out;
}

void had_conv(int8_t *out, const int8_t *x, const had_conv_node *node) {
    const had_window *at = &node->window;
    const had_prepared p = had_prepare(&node->out);
    for (uint32_t r = 0U; r < at->out_height; r++) {
        had_span rows = had_rows(at, r);
        for (uint32_t s = 0U; s < at->out_width; s++) {
            out = conv_pixel(out, x, node, &p, rows, had_columns(at, s));
        }
    }
}
