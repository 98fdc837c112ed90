/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Division for cores that have none: ARMv6-M. A third of the instructions of compilers' helpers.
 *
 * D = d 2^s lies in [2^15, 2^16). r tends to 2^31 / D: 95490 - D is within 9 % of it, each step squares what is
 * missing, and 95490 (2^17 - 95490) < 2^32. Roundings leave r between 2^31 / D - 3 and 2^31 / D + 1; one less and no
 * digit is too large. The first digit leaves a rest below 9 2^(16+s) / 2^s < 2^20, the second next to nothing.
 */
#include "hadapt/scale.h"

#if !HAD_DIVIDES
uint32_t had_divide(uint32_t n, uint32_t d) {
    uint32_t s = 16U - had_bitlen(d);
    uint32_t wide = d << s;
    uint32_t r = 95490U - wide;
    r = (r * ((1U << 17) - (r * wide >> 15))) >> 16;
    r = (r * ((1U << 17) - (r * wide >> 15))) >> 16;
    r = (r * ((1U << 17) - (r * wide >> 15))) >> 16;
    r -= 1U;
    uint32_t quotient = ((n >> 16) * r >> 15) << s;
    uint32_t rest = n - quotient * d;
    uint32_t digit = (rest >> 4) * r >> (27U - s);
    quotient += digit;
    for (rest -= digit * d; rest >= d; rest -= d) {
        quotient++;
    }
    return quotient;
}
#else
typedef int had_divide_is_left_out; /* the core divides */
#endif
