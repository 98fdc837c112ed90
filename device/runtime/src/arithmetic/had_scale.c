/* SPDX-License-Identifier: Apache-2.0 */
/* Integer scales, SPEC.md 1.4 and 1.5. Mantissas are below 2^15, so products are below 2^30. */
#include "hadapt/scale.h"

uint32_t had_bitlen(uint32_t v) {
#ifdef __ARM_FEATURE_CLZ
    return v == 0U ? 0U : 32U - (uint32_t)__builtin_clz(v);
#else
    uint32_t bits = 0U;
    for (; v > 0xFFU; v >>= 8) {
        bits += 8U;
    }
    while (v != 0U) {
        v >>= 1;
        bits++;
    }
    return bits;
#endif
}

/* A mantissa that rounding took to 2^15 is halved. */
static had_scale carry(uint32_t mantissa, int32_t exponent) {
    uint32_t over = mantissa >> 15;
    return (had_scale){(int32_t)(mantissa >> over), exponent + (int32_t)over};
}

had_scale had_scale_from_int(uint32_t v) {
    int32_t shift = (int32_t)had_bitlen(v) - 15;
    if (shift <= 0) {
        return (had_scale){(int32_t)(v << (uint32_t)(-shift)), shift};
    }
    return carry((v + (1U << (uint32_t)(shift - 1))) >> (uint32_t)shift, shift);
}

had_scale had_scale_mul(had_scale a, had_scale b) {
    uint32_t product = (uint32_t)a.mantissa * (uint32_t)b.mantissa;
    uint32_t shift = 14U + (product >> 29);
    uint32_t mantissa = (product + (1U << (shift - 1U))) >> shift;
    return carry(mantissa, a.exponent + b.exponent + (int32_t)shift);
}

had_scale had_scale_recip(had_scale a) {
    return carry(had_divide(1U << 29, (uint32_t)a.mantissa), -29 - a.exponent);
}

had_scale had_scale_pow2(had_scale a, int32_t shift) {
    return (had_scale){a.mantissa, a.exponent + shift};
}

had_scale had_scale_quantized(had_scale s, int32_t amax, had_scale inverse_qmax) {
    had_scale range = had_scale_mul(s, had_scale_from_int((uint32_t)amax));
    return had_scale_mul(range, inverse_qmax);
}

had_multiplier had_multiplier_of(had_scale a) {
    int32_t shift = -a.exponent;
    if (shift < 0) {
        return (had_multiplier){(1 << 15) - 1, 0U};
    }
    if (shift > 30) {
        int32_t drop = shift - 30 < 15 ? shift - 30 : 15;
        return (had_multiplier){a.mantissa >> drop, 30U};
    }
    return (had_multiplier){a.mantissa, (uint32_t)shift};
}

had_multiplier had_multiplier64_of(had_scale a) {
    int32_t shift = -a.exponent;
    if (shift < 0) {
        return (had_multiplier){(1 << 15) - 1, 0U};
    }
    if (shift > 62) {
        return (had_multiplier){0, 0U};
    }
    return (had_multiplier){a.mantissa, (uint32_t)shift};
}
