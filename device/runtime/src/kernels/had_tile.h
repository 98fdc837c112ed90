/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One tile of a product, SPEC.md 1.8.
 *
 * Bound before saturation: |acc| <= tile_k * 15 * 7 in mode tile; 2^(acc_bits-1) + 105 in mode every_add,
 * where acc_bits 32 never saturates and the first bound holds. Where it is below 2^15, 16-bit
 * accumulators suffice, and compilers fit twice as many lanes into a vector.
 */
#ifndef HAD_TILE_H
#define HAD_TILE_H

#include <stdint.h>

#include "hadapt/core.h"

#define HAD_TERM_MAX 105 /* 15 * 7 */

#if HAD_TILE_K * HAD_TERM_MAX <= 32767
typedef int16_t had_acc;
#else
typedef int32_t had_acc;
#endif

/* Whether a tile's exact sum fits a 16-bit field. */
#define HAD_FIELDS_FIT (!HAD_SATURATE_EVERY_ADD && HAD_TILE_K * HAD_TERM_MAX <= 32767)

#if HAD_ACC_BITS == 32
#define HAD_ACC_MAX INT32_MAX
#define HAD_ACC_MIN INT32_MIN
#else
#define HAD_ACC_MAX ((int32_t)((1U << (HAD_ACC_BITS - 1)) - 1U))
#define HAD_ACC_MIN (-HAD_ACC_MAX - 1)
#endif

/*@ assigns \nothing;
    ensures HAD_ACC_MIN <= \result <= HAD_ACC_MAX;
    ensures HAD_ACC_MIN <= v <= HAD_ACC_MAX ==> \result == v; */
static inline int32_t had_saturate_acc(int32_t v) {
    return v < HAD_ACC_MIN ? HAD_ACC_MIN : (v > HAD_ACC_MAX ? HAD_ACC_MAX : v);
}

/* Fields of word = low + high * 2^16, |low|, |high| < 2^15. */
static inline int32_t had_field_low(int32_t word) {
    return (int16_t)(uint16_t)((uint32_t)word & 0xFFFFU);
}

static inline int32_t had_field_high(int32_t word, int32_t low) {
    return (word - low) >> 16;
}

/* Bits of a raised word, of which none is set if and only if both fields are within acc_bits. */
#if HAD_ACC_BITS < 16
#define HAD_BEYOND HAD_BOTH(0xFFFFU - ((1U << HAD_ACC_BITS) - 1U))
#else
#define HAD_BEYOND 0U
#endif

/* A raised word saturated, and raised again; had_dot_packed.c. */
uint32_t had_saturate_fields(uint32_t word);

/* Where rows of weights share fields, so can totals: |total| <= D < 2^15. */
#define HAD_TOTALS_FIT (HAD_FIELDS_FIT && (HAD_ROWS == 2U || HAD_ROWS == 4U || HAD_OCTET))

/* 1: the product of inference is written for Thumb. */
#if defined(__thumb__) && defined(__OPTIMIZE__) && !defined(__ARM_FEATURE_MVE) && !HAD_VIEW_DSP && \
    HAD_TOTALS_FIT && HAD_TILE_K % 4U == 0U && HAD_TILE_K < 64U
#define HAD_PACKED_THUMB 1
#else
#define HAD_PACKED_THUMB 0
#endif

/* 1: the 4-bit input of an inference may be signed; rests are. */
#ifdef HAD_FINE_INFERENCE
#define HAD_PACKED_SIGNED 1
#else
#define HAD_PACKED_SIGNED HAD_X0_SIGNED
#endif

/* Lanes are kept in registers where there are few; compilers with vectors do better untold. */
#if HAD_LANES <= 4 && defined(__GNUC__) && !defined(__clang__)
#define HAD_UNROLL_LANES _Pragma("GCC unroll 4")
#else
#define HAD_UNROLL_LANES
#endif

#endif
