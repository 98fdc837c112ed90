/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounding, saturation and the quantiser of SPEC.md 1.1, 1.2 and 1.6.
 *
 * Bounds: the clipped value v' and limit a' satisfy |v'| <= a' < 2^15 and r <= qmax 2^S / a', so
 * |v' r| <= qmax 2^S <= 15 * 2^26 < 2^30; adding at most 2^26 stays below 2^31.
 */
#ifndef HADAPT_QUANT_H
#define HADAPT_QUANT_H

#include <stdint.h>

_Static_assert((-3 >> 1) == -2, "an arithmetic right shift is required");

#define HAD_QUANT_SHIFT 26U    /* S for qmax 7 and 15 */
#define HAD_QUANT_SHIFT_S8 23U /* S for qmax 127 */

/* Division by a range, prepared: one unsigned 32-bit division per tensor or row. */
typedef struct had_quantizer {
    int32_t r;
    int32_t limit; /* a', 1 .. 2^15 - 1 */
    uint32_t k;    /* bits dropped before clipping */
} had_quantizer;

/* Quantiser of range amax (1 .. 2^31 - 1) to qmax steps; shift is S. */
had_quantizer had_quantizer_of(int32_t amax, uint32_t qmax, uint32_t shift);

/* v / 2^shift, nearest, half up. |v| + 2^(shift-1) < 2^31. */
/*@ requires shift <= 30 && -1073741824 <= v <= 1073741823;
    assigns \nothing;
    ensures -1073741824 <= \result <= 1610612735;
    ensures \result == (shift == 0 ? v : (v + (1 << (shift - 1))) >> shift); */
static inline int32_t had_rhu(int32_t v, uint32_t shift) {
    return shift == 0U ? v : (v + (int32_t)(1U << (shift - 1U))) >> shift;
}

/* rhu(v, 16) of any 32-bit v, without overflow. */
static inline int32_t had_rhu16(int32_t v) {
    return (v >> 16) + ((v >> 15) & 1);
}

/* v, but at least low and at most high. */
/*@ requires low <= high;
    assigns \nothing;
    ensures low <= \result <= high && (low <= v <= high ==> \result == v);
    ensures (v < low ==> \result == low) && (v > high ==> \result == high); */
static inline int32_t had_clamp(int32_t v, int32_t low, int32_t high) {
    return v < low ? low : (v > high ? high : v);
}

/* v saturated to 16 bits. */
/*@ assigns \nothing;
    ensures -32768 <= v <= 32767 ==> \result == v; */
static inline int16_t had_saturate_s16(int32_t v) {
    return (int16_t)had_clamp(v, INT16_MIN, INT16_MAX);
}

/* Range with room, SPEC.md 5: range in sixteenths, 16 .. 255; amax <= 32767. */
/*@ requires 0 <= amax <= 32767 && 16 <= range <= 255;
    assigns \nothing;
    ensures 0 <= \result <= 8355585; */
static inline int32_t had_widen(int32_t amax, int32_t range) {
    return (amax * range) >> 4;
}

/* |v|. */
/*@ requires v > -2147483648;
    assigns \nothing;
    ensures 0 <= \result && (\result == v || \result == -v); */
static inline int32_t had_abs(int32_t v) {
    return v < 0 ? -v : v;
}

/*@ predicate prepared(had_quantizer *q) =
      1 <= q->limit <= 32767 && 0 <= q->r && q->limit * q->r <= 1006632960 && q->k <= 16; */

/* v' of SPEC.md 1.6: low is 0 or -limit. */
/*@ requires \valid_read(q) && prepared(q) && -q->limit <= low <= 0;
    assigns \nothing;
    ensures low <= \result <= q->limit; */
static inline int32_t had_quant_clip(int32_t v, const had_quantizer *q, int32_t low) {
    return had_clamp(v >> q->k, low, q->limit);
}

/* Nearest, signed, 4 bits. */
/*@ requires \valid_read(q) && prepared(q);
    assigns \nothing; */
static inline int8_t had_quant_nearest(int32_t v, const had_quantizer *q) {
    int32_t clipped = had_quant_clip(v, q, -q->limit);
    return (int8_t)((clipped * q->r + (1 << (HAD_QUANT_SHIFT - 1U))) >> HAD_QUANT_SHIFT);
}

/* Nearest, values below zero become 0, 4 bits. */
/*@ requires \valid_read(q) && prepared(q);
    assigns \nothing; */
static inline int8_t had_quant_positive(int32_t v, const had_quantizer *q) {
    int32_t clipped = had_quant_clip(v, q, 0);
    return (int8_t)((clipped * q->r + (1 << (HAD_QUANT_SHIFT - 1U))) >> HAD_QUANT_SHIFT);
}

/* Stochastic, signed, 4 bits; u is the element's 8-bit draw. */
/*@ requires \valid_read(q) && prepared(q) && u <= 255;
    assigns \nothing; */
static inline int8_t had_quant_stochastic(int32_t v, const had_quantizer *q, uint32_t u) {
    int32_t clipped = had_quant_clip(v, q, -q->limit);
    return (int8_t)((clipped * q->r + (int32_t)(u << (HAD_QUANT_SHIFT - 8U))) >> HAD_QUANT_SHIFT);
}

/*
 * The same two where q's range is no less than the magnitude of any v: above the limit is nothing, and below
 * it at most what floor takes away where k > 0.
 */
/*@ requires \valid_read(q) && prepared(q) && u <= 255 && v >> q->k <= q->limit;
    assigns \nothing; */
static inline int32_t had_quant_within(int32_t v, const had_quantizer *q, uint32_t u) {
    int32_t shifted = v >> q->k;
    int32_t clipped = shifted < -q->limit ? -q->limit : shifted;
    return (clipped * q->r + (int32_t)(u << (HAD_QUANT_SHIFT - 8U))) >> HAD_QUANT_SHIFT;
}

/* For |v| < 2^15 in range: k is 0, and nothing is clipped. u 128 gives nearest. */
/*@ requires -1006632960 <= v * r <= 1006632960 && u <= 255;
    assigns \nothing; */
static inline int32_t had_quant_small(int32_t v, int32_t r, uint32_t u) {
    return (v * r + (int32_t)(u << (HAD_QUANT_SHIFT - 8U))) >> HAD_QUANT_SHIFT;
}

/* Rest of a value of 4 bits, in sixteenths, [-7, 7]; product is v' r, |product| < 2^30. SPEC.md 18.1. */
/*@ requires -1006632960 <= product <= 1006632960;
    assigns \nothing;
    ensures -7 <= \result <= 7; */
static inline int8_t had_quant_rest(int32_t product) {
    int32_t q = (product + (1 << (HAD_QUANT_SHIFT - 1U))) >> HAD_QUANT_SHIFT;
    int32_t rest = product - q * (1 << HAD_QUANT_SHIFT);
    rest = (rest + (1 << (HAD_QUANT_SHIFT - 5U))) >> (HAD_QUANT_SHIFT - 4U);
    return (int8_t)had_clamp(rest, -7, 7);
}

/* Any static quantiser, nearest: low is 0 or -limit, shift is S. */
static inline int8_t had_quant_static(int32_t v, const had_quantizer *q, int32_t low,
                                      uint32_t shift) {
    int32_t clipped = had_quant_clip(v, q, low);
    return (int8_t)((clipped * q->r + (int32_t)(1U << (shift - 1U))) >> shift);
}

#endif
