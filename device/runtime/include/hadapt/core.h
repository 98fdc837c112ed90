/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kernels are built, decided here and nowhere else. Every variant gives the same bits.
 *
 * HAD_ROWS of the generated configuration: 1 is plain loops; 2 or 4 are rows of weights in the fields of a word or two;
 * 8 are an octet, eight rows in the fields of four words, for M0, and M3 (HAD_LONG), or on hosts, where it defines
 * HAD_PANEL_TERMS, eight rows against a panel. Where the core has the DSP extension (M4, M7, M33, M55), HAD_DSP is 1: two halves of a word, each
 * with a field of 12 bits, go through one multiplication. Builds that count saturations keep the 16-bit
 * fields. HAD_DSP_IN_C builds the same kernels from plain C, for tests on a host.
 *
 * HAD_MVE of the generated configuration: the layout that the vectors of an M55 take, see had_mve.h. Where the
 * core has none, or builds count, its kernels are plain C.
 */
#ifndef HADAPT_CORE_H
#define HADAPT_CORE_H

#include <stdint.h>

#include "hadapt_config.h"

/* 1: operands lie as the vectors of an M55 take them. */
#ifndef HAD_MVE
#define HAD_MVE 0
#endif

/* 1: eight rows of weights in bytes. */
#if HAD_ROWS == 8U && (defined(HAD_PANEL_TERMS) || HAD_MVE)
#define HAD_PANEL 1
#else
#define HAD_PANEL 0
#endif

/* 1: eight rows of weights in the fields of four words, for M0 and M3. */
#if HAD_ROWS == 8U && !HAD_PANEL
#define HAD_OCTET 1
#else
#define HAD_OCTET 0
#endif

/* acc_shift of SPEC.md 5.2 or ds of 6.3 a: 0 where codegen has seen to it that no product leaves 15 bits. */
#if HAD_ROWS > 1U && (!HAD_PANEL || HAD_MVE)
#define HAD_SHIFT_OF(shift) 0U
#else
#define HAD_SHIFT_OF(shift) (shift)
#endif

/*
 * 1: an octet's four products a long multiplication, where the core has one (M3); in plain C with HAD_LONG_IN_C. Other
 * tiles, accumulators of more than 8 bits and builds that count keep two products a multiplication.
 */
#if HAD_OCTET && !defined(HAD_COUNTERS) &&                                                         \
    ((defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 2) || defined(HAD_LONG_IN_C)) &&               \
    !HAD_SATURATE_EVERY_ADD && HAD_ACC_BITS <= 8 && HAD_TILE_K % 4U == 0U && HAD_TILE_K <= 32U &&  \
    HAD_ORDER >= 4U && HAD_BATCH_STRIDE <= 252U && HAD_TILES <= 16U &&                             \
    HAD_MAX_CLASSES <= 16U * HAD_TILE_K
#define HAD_LONG 1
#else
#define HAD_LONG 0
#endif

/* 1: its product is written for Thumb. */
#if HAD_LONG && !defined(HAD_LONG_IN_C)
#define HAD_LONG_ASSEMBLY 1
#else
#define HAD_LONG_ASSEMBLY 0
#endif

/* 1: the product of an octet is, for ARMv6-M: whole groups of four terms. */
#if HAD_OCTET && !defined(HAD_COUNTERS) && defined(__thumb__) && defined(__OPTIMIZE__) &&          \
    __ARM_ARCH_ISA_THUMB == 1 && HAD_TILE_K % 4U == 0U && HAD_ORDER >= 4U
#define HAD_OCTET_THUMB1 1
#else
#define HAD_OCTET_THUMB1 0
#endif

/* Inference takes four products of a byte each from a multiplication where a field costs a copy and a mask. */
#if HAD_OCTET && (!defined(__thumb__) || __ARM_ARCH_ISA_THUMB == 1)
#define HAD_PACKED_BYTES 1
#else
#define HAD_PACKED_BYTES 0
#endif

/* 1: the transform of a block is written for Thumb with double loads. */
#if defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 2 && HAD_LANES == 4U && HAD_ORDER >= 4U &&       \
    !HAD_MVE
#define HAD_FWHT_THUMB 1
#else
#define HAD_FWHT_THUMB 0
#endif

/* 1: the kernels of the DSP extension are built. */
#if (defined(__ARM_FEATURE_DSP) || defined(HAD_DSP_IN_C)) && !defined(HAD_COUNTERS) &&             \
    (defined(HAD_INFERENCE_ONLY) ||                                                                \
     (HAD_ROWS == 4U && HAD_LANES == 4U && HAD_TILE_K % 4U == 0U && HAD_TILE_K <= 32U &&           \
      HAD_ORDER >= 4U && HAD_BATCH_STRIDE <= 252U))
#define HAD_DSP 1
#else
#define HAD_DSP 0
#endif

/* 1: the view of inference lies as its instructions take it; where convolutions learn rows are read one by one. */
#if HAD_DSP && !defined(HAD_CONV_LAYERS)
#define HAD_VIEW_DSP 1
#else
#define HAD_VIEW_DSP 0
#endif

/* 1: its product is written for Thumb. */
#if HAD_DSP && !defined(HAD_DSP_IN_C)
#define HAD_DSP_ASSEMBLY 1
#else
#define HAD_DSP_ASSEMBLY 0
#endif

/* 1: its instructions are used. */
#if HAD_MVE && defined(__ARM_FEATURE_MVE) && !defined(HAD_COUNTERS) && defined(__OPTIMIZE__) &&    \
    HAD_BATCH_STRIDE <= 480U
#define HAD_MVE_ASSEMBLY 1
#else
#define HAD_MVE_ASSEMBLY 0
#endif

#if HAD_DSP && !defined(HAD_DSP_IN_C)
#include <arm_acle.h>

/* acc + a.low b.low + a.high b.high */
static inline int32_t had_smlad(uint32_t a, uint32_t b, int32_t acc) {
    return __smlad((int16x2_t)a, (int16x2_t)b, acc);
}

/* Bytes 0 and 2, sign-extended into the halves. */
static inline uint32_t had_bytes_even(uint32_t v) {
    return (uint32_t)__sxtb16((int8x4_t)v);
}

/* The same of bytes 1 and 3. */
static inline uint32_t had_bytes_odd(uint32_t v) {
    __asm__("sxtb16 %0, %0, ror #8" : "+r"(v));
    return v;
}

/* Halves added, each for itself. */
static inline uint32_t had_add16(uint32_t a, uint32_t b) {
    return (uint32_t)__sadd16((int16x2_t)a, (int16x2_t)b);
}

/* Halves subtracted, each for itself. */
static inline uint32_t had_sub16(uint32_t a, uint32_t b) {
    return (uint32_t)__ssub16((int16x2_t)a, (int16x2_t)b);
}

#if defined(HAD_ACC_BITS) && HAD_ACC_BITS < 16
/* Halves saturated to HAD_ACC_BITS bits, each for itself. */
static inline uint32_t had_saturate_acc16(uint32_t v) {
    __asm__("ssat16 %0, %1, %0" : "+r"(v) : "I"(HAD_ACC_BITS));
    return v;
}
#endif

/* high = low + high, low = low - high: the butterfly within a word, its halves exchanged. */
static inline uint32_t had_cross16(uint32_t v) {
    return (uint32_t)__sasx((int16x2_t)v, (int16x2_t)v);
}

/* Two rows of four bytes to two columns each of a pair of rows, and back again. */
static inline void had_exchange(uint32_t *a, uint32_t *b) {
    uint32_t low;
    __asm__("pkhbt %0, %1, %2, lsl #16\n\tpkhtb %2, %2, %1, asr #16"
            : "=&r"(low), "+r"(*a), "+r"(*b));
    *a = low;
}

#elif HAD_DSP
/* Half 0, the low one, or 1 of a word, sign-extended. */
static inline int32_t had_half(uint32_t v, uint32_t half) {
    return (int16_t)(uint16_t)(v >> (16U * half));
}

/* A word of two halves. */
static inline uint32_t had_halves(int32_t low, int32_t high) {
    return ((uint32_t)low & 0xFFFFU) | (uint32_t)high << 16;
}

static inline int32_t had_smlad(uint32_t a, uint32_t b, int32_t acc) {
    return acc + had_half(a, 0U) * had_half(b, 0U) + had_half(a, 1U) * had_half(b, 1U);
}

static inline uint32_t had_bytes_even(uint32_t v) {
    return had_halves((int8_t)(uint8_t)v, (int8_t)(uint8_t)(v >> 16));
}

static inline uint32_t had_bytes_odd(uint32_t v) {
    return had_bytes_even(v >> 8);
}

static inline uint32_t had_add16(uint32_t a, uint32_t b) {
    return had_halves(had_half(a, 0U) + had_half(b, 0U), had_half(a, 1U) + had_half(b, 1U));
}

static inline uint32_t had_sub16(uint32_t a, uint32_t b) {
    return had_halves(had_half(a, 0U) - had_half(b, 0U), had_half(a, 1U) - had_half(b, 1U));
}

static inline uint32_t had_cross16(uint32_t v) {
    return had_halves(had_half(v, 0U) - had_half(v, 1U), had_half(v, 0U) + had_half(v, 1U));
}

static inline void had_exchange(uint32_t *a, uint32_t *b) {
    uint32_t low = (*a & 0xFFFFU) | *b << 16;
    *b = (*b & 0xFFFF0000U) | *a >> 16;
    *a = low;
}

#if defined(HAD_ACC_BITS) && HAD_ACC_BITS < 16
/* v saturated to HAD_ACC_BITS bits. */
static inline int32_t had_saturate_half(int32_t v) {
    const int32_t most = (1 << (HAD_ACC_BITS - 1)) - 1;
    return v < -most - 1 ? -most - 1 : (v > most ? most : v);
}

/* Halves saturated to HAD_ACC_BITS bits, each for itself. */
static inline uint32_t had_saturate_acc16(uint32_t v) {
    return had_halves(had_saturate_half(had_half(v, 0U)), had_saturate_half(had_half(v, 1U)));
}
#endif
#endif

#endif
