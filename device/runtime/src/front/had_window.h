/* SPDX-License-Identifier: Apache-2.0 */
/* Windows and requantisation of the front, SPEC.md 4.1. */
#ifndef HAD_WINDOW_H
#define HAD_WINDOW_H

#include "hadapt/front.h"
#include "hadapt/quant.h"

/* The requantisation, prepared: one division a node. */
typedef struct had_prepared {
    had_quantizer q;
    int32_t low;
    uint32_t shift;
} had_prepared;

static inline had_prepared had_prepare(const had_requant *out) {
    had_prepared p;
    p.shift = out->qmax == 127U ? HAD_QUANT_SHIFT_S8 : HAD_QUANT_SHIFT;
    p.q = had_quantizer_of(out->amax, out->qmax, p.shift);
    p.low = out->nonnegative != 0U ? 0 : -p.q.limit;
    return p;
}

static inline int8_t had_requantize(const had_prepared *p, int32_t y) {
    return had_quant_static(had_saturate_s16(y), &p->q, p->low, p->shift);
}

/* Kernel positions along one axis that lie inside: [first, last), input position start + i dilation. */
typedef struct had_span {
    int32_t start; /* of kernel position 0, may be negative */
    uint32_t first;
    uint32_t last;
} had_span;

static inline had_span had_span_of(uint32_t at, uint32_t stride, uint32_t pad, uint32_t dilation,
                                   uint32_t kernel, uint32_t size) {
    had_span span;
    span.start = (int32_t)(at * stride) - (int32_t)pad;
    span.first = 0U;
    if (span.start < 0) {
        span.first = ((uint32_t)-span.start + dilation - 1U) / dilation;
    }
    span.last = 0U;
    if (span.start < (int32_t)size) {
        span.last = ((uint32_t)((int32_t)size - 1 - span.start)) / dilation + 1U;
    }
    span.last = span.last < kernel ? span.last : kernel;
    span.first = span.first < span.last ? span.first : span.last;
    return span;
}

static inline had_span had_rows(const had_window *w, uint32_t r) {
    return had_span_of(r, w->stride_height, w->pad_top, w->dilation_height, w->kernel_height,
                       w->in_height);
}

static inline had_span had_columns(const had_window *w, uint32_t s) {
    return had_span_of(s, w->stride_width, w->pad_left, w->dilation_width, w->kernel_width,
                       w->in_width);
}

/* The pixel under kernel position (i, j), which lies inside. */
static inline const int8_t *had_pixel(const int8_t *x, const had_window *w, had_span rows,
                                      had_span columns, uint32_t i, uint32_t j) {
    uint32_t y = (uint32_t)(rows.start + (int32_t)(i * w->dilation_height));
    uint32_t c = (uint32_t)(columns.start + (int32_t)(j * w->dilation_width));
    return x + (y * w->in_width + c) * w->in_channels;
}

#endif
