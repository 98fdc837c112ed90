/* SPDX-License-Identifier: Apache-2.0 */
/* Integer scales, SPEC.md 1.4 and 1.5: value mantissa * 2^exponent, 2^14 <= mantissa < 2^15. */
#ifndef HADAPT_SCALE_H
#define HADAPT_SCALE_H

#include <stdint.h>

/* The exponent is held in 32 bits, so that no schedule from outside can overflow it. */
typedef struct had_scale {
    int32_t mantissa;
    int32_t exponent;
} had_scale;

/* v times a scale is about (v * m + half) >> sh. */
typedef struct had_multiplier {
    int32_t m;   /* 0 .. 2^15 - 1 */
    uint32_t sh; /* 0 .. 30; 0 .. 62 from had_multiplier64_of */
} had_multiplier;

/* 1, 1/7 and 1/15. */
#define HAD_SCALE_ONE ((had_scale){1 << 14, -14})
#define HAD_SCALE_INV7 ((had_scale){18725, -17})
#define HAD_SCALE_INV15 ((had_scale){17476, -18})

/* Number of bits of v; 0 for 0. */
uint32_t had_bitlen(uint32_t v);

/* 0: division is made of multiplications, for the core has none. */
#ifndef HAD_DIVIDES
#if defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 1
#define HAD_DIVIDES 0
#else
#define HAD_DIVIDES 1
#endif
#endif

/* floor(n / d), 1 <= d < 2^16. */
#if HAD_DIVIDES
static inline uint32_t had_divide(uint32_t n, uint32_t d) {
    return n / d;
}
#else
uint32_t had_divide(uint32_t n, uint32_t d);
#endif

/* The scale nearest to v, 1 <= v < 2^31. */
had_scale had_scale_from_int(uint32_t v);

/* a * b, mantissa rounded half up. */
had_scale had_scale_mul(had_scale a, had_scale b);

/* 1 / a, mantissa rounded down. */
had_scale had_scale_recip(had_scale a);

/* a * 2^shift. */
had_scale had_scale_pow2(had_scale a, int32_t shift);

/* Scale of a tensor quantised with range amax >= 1: s * amax / qmax; inverse_qmax from above. */
had_scale had_scale_quantized(had_scale s, int32_t amax, had_scale inverse_qmax);

/* SPEC.md 1.5, for |v| < 2^15. */
had_multiplier had_multiplier_of(had_scale a);

/* SPEC.md 6.3 c, for 64-bit products. */
had_multiplier had_multiplier64_of(had_scale a);

#endif
