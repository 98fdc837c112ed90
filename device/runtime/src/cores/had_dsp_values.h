/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of the batch two a word with the DSP extension: transforms, ranges, quantisers, activations.
 *
 * Four neighbours are two words, (v0, v2) and (v1, v3). had_dsp_bytes and had_dsp_halves transform them over the batch but for
 * the butterfly of those two words, by SADD16, SSUB16 and SASX, which leaves the halves of each word exchanged: of
 * the words a and b of a row the values transformed are a + b in 0 and 2, a - b in 1 and 3, those of 0 and 1 being high halves.
 * Bound: |v| < 2^15 when all is done, so halves that wrapped on the way are right at the end.
 */
#ifndef HAD_DSP_VALUES_H
#define HAD_DSP_VALUES_H

#include <string.h>

#include "had_dsp.h"
#include "hadapt/quant.h"

#if HAD_DSP && HAD_ORDER >= 16
#define HAD_DSP_VALUES 1

/* Half a transform of a row of HAD_BATCH_PADDED bytes, or errors; row: as many halves. */
void had_dsp_bytes(int32_t *row, const int8_t *x);
void had_dsp_halves(int32_t *row, const int16_t *d);

/* Largest magnitude of the values that `row` gives, at least amax. With x: its halves, which fit bytes, go there. */
int32_t had_dsp_grow(const int32_t *row, int32_t amax, int8_t *x);

/* xh from a row, or (row 0) from the bytes that had_dsp_grow has left in it; r of a quantiser, key of the first word. */
void had_dsp_draw(int8_t *xh, const int32_t *row, int32_t r, uint32_t key);

/* A row of the errors of the weight gradient, from a row. */
void had_dsp_draw_errors(had_weight *dt, const int32_t *row, int32_t r, uint32_t key);

/* Outputs to 4-bit inputs and their mask bits: `count` columns, a multiple of eight; r of a quantiser that drops no bits. */
void had_dsp_activate(int8_t *x, uint8_t *mask, const int16_t *y, int32_t r, uint32_t count);
#else
#define HAD_DSP_VALUES 0
#endif

#if HAD_DSP
static inline uint32_t had_word_at(const void *at) {
    uint32_t v;
    (void)memcpy(&v, at, sizeof v);
    return v;
}

#if HAD_DSP_ASSEMBLY
/* acc + ((r v.low) >> 16), and the same of v.high. */
static inline int32_t had_smlawb(int32_t r, uint32_t v, uint32_t acc) {
    return __smlawb(r, (int32_t)v, (int32_t)acc);
}

static inline int32_t had_smlawt(int32_t r, uint32_t v, uint32_t acc) {
    return __smlawt(r, (int32_t)v, (int32_t)acc);
}

/* The larger ones of the halves. */
static inline uint32_t had_max16(uint32_t a, uint32_t b) {
    uint32_t unused;
    __asm__("ssub16 %1, %0, %2\n\tsel %0, %0, %2" : "+r"(a), "=&r"(unused) : "r"(b));
    return a;
}

/* Halves below zero become 0. */
static inline uint32_t had_positive16(uint32_t v) {
    __asm__("usat16 %0, #15, %0" : "+r"(v));
    return v;
}

/* acc + v.low m, and the same of v.high; m in 16 bits. */
static inline int32_t had_smlabb(uint32_t v, int32_t m, int32_t acc) {
    return __smlabb((int32_t)v, m, acc);
}

static inline int32_t had_smlatb(uint32_t v, int32_t m, int32_t acc) {
    return __smlatb((int32_t)v, m, acc);
}

/* Two numbers saturated to 16 bits, in the halves. */
static inline uint32_t had_saturated16(int32_t low, int32_t high) {
    uint32_t v;
    __asm__("ssat %0, #16, %2\n\tssat %1, #16, %1\n\tpkhbt %0, %0, %1, lsl #16"
            : "=&r"(v), "+r"(high)
            : "r"(low));
    return v;
}

/* All bits of a half where its bit 0 or 1 is set. */
static inline uint32_t had_keep16(uint32_t bits) {
    uint32_t high;
    __asm__("sbfx %1, %0, #1, #1\n\tsbfx %0, %0, #0, #1\n\tpkhbt %0, %0, %1, lsl #16"
            : "+r"(bits), "=&r"(high));
    return bits;
}

/* Two sums with 10 bits too many, of the first one's rest eight bits, in the halves. */
static inline uint32_t had_quotients(int32_t low, int32_t high) {
    __asm__("sbfx %0, %0, #10, #8\n\tpkhbt %0, %0, %1, lsl #6" : "+&r"(low) : "r"(high));
    return (uint32_t)low;
}
#else
static inline int32_t had_smlawb(int32_t r, uint32_t v, uint32_t acc) {
    return (int32_t)(((int64_t)r * had_half(v, 0U)) >> 16) + (int32_t)acc;
}

static inline int32_t had_smlawt(int32_t r, uint32_t v, uint32_t acc) {
    return (int32_t)(((int64_t)r * had_half(v, 1U)) >> 16) + (int32_t)acc;
}

static inline uint32_t had_max16(uint32_t a, uint32_t b) {
    uint32_t low = had_half(a, 0U) >= had_half(b, 0U) ? a : b;
    uint32_t high = had_half(a, 1U) >= had_half(b, 1U) ? a : b;
    return (low & 0xFFFFU) | (high & 0xFFFF0000U);
}

static inline uint32_t had_positive16(uint32_t v) {
    return had_max16(v, 0U);
}

static inline int32_t had_smlabb(uint32_t v, int32_t m, int32_t acc) {
    return acc + had_half(v, 0U) * m;
}

static inline int32_t had_smlatb(uint32_t v, int32_t m, int32_t acc) {
    return acc + had_half(v, 1U) * m;
}

static inline uint32_t had_saturated16(int32_t low, int32_t high) {
    return had_halves(had_saturate_s16(low), had_saturate_s16(high));
}

static inline uint32_t had_keep16(uint32_t bits) {
    return ((bits & 1U) != 0U ? 0xFFFFU : 0U) | ((bits & 2U) != 0U ? 0xFFFF0000U : 0U);
}

static inline uint32_t had_quotients(int32_t low, int32_t high) {
    return had_halves((int8_t)(uint8_t)((uint32_t)low >> 10), high >> 10);
}
#endif

/* |v| of the halves, |v| < 2^15. */
static inline uint32_t had_abs16(uint32_t v) {
    return had_max16(v, had_sub16(0U, v));
}

/* The larger half, 0 <= v < 2^15. */
static inline int32_t had_larger_half(uint32_t v) {
    int32_t low = (int32_t)(v & 0xFFFFU);
    int32_t high = (int32_t)(v >> 16);
    return low > high ? low : high;
}
#endif

#endif
