/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of 8-bit masters, four at a time, with the DSP extension.
 *
 * |w r| <= 7 2^26: (w r >> 16) + 2^9, then 10 bits less, is the rounded quotient of SPEC.md 1.6, for floors of floors are floors. Of
 * 64 r, where that has 32 bits, it is the high half of (64 w r >> 16) + 2^15.
 */
#include <string.h>

#include "../arithmetic/had_grow.h"
#include "had_dsp.h"

#if HAD_DSP_ASSEMBLY && HAD_MASTER_BITS == 8
#define HALF (1 << 9)

static inline uint32_t four(const had_master *w) {
    uint32_t v;
    (void)memcpy(&v, w, sizeof v);
    return v;
}

/* Two quotients of 10 bits too many, in the halves. */
static inline uint32_t halves_of(int32_t low, int32_t high) {
    __asm__("asr %0, %0, #10\n\tpkhbt %0, %0, %1, lsl #6" : "+&r"(low) : "r"(high));
    return (uint32_t)low;
}

/* High halves of two sums. */
static inline uint32_t high_halves(int32_t low, int32_t high) {
    __asm__("pkhtb %0, %1, %0, asr #16" : "+r"(low) : "r"(high));
    return (uint32_t)low;
}

void had_dsp_quantize(had_weight *to, const had_master *w, int32_t r, uint32_t count) {
    const had_master *end = w + count;
    if (r < 1 << 25) { /* not of a row below 14 */
        int32_t high = r << 6;
        for (const had_master *whole = w + (count & ~3U); w != whole; w += 4) {
            int32_t even = (int32_t)had_bytes_even(four(w));
            int32_t odd = (int32_t)had_bytes_odd(four(w));
            to[0] = high_halves(__smlawb(high, even, HALF << 6), __smlawb(high, odd, HALF << 6));
            to[HAD_WORDS] =
                high_halves(__smlawt(high, even, HALF << 6), __smlawt(high, odd, HALF << 6));
            to += 2U * HAD_WORDS;
        }
    }
    while (w != end) {
        int32_t first = __smlawb(r, *w++, HALF);
        *to = halves_of(first, w != end ? __smlawb(r, *w++, HALF) : 0);
        to += HAD_WORDS;
    }
}

int32_t had_dsp_amax(const had_master *w, uint32_t count) {
    uint32_t most = 0U;
    uint32_t least = 0U;
    const had_master *end = w + (count & ~3U);
    for (; w != end; w += 4) {
        uint32_t unused;
        __asm__("ssub8 %2, %3, %0\n\tsel %0, %3, %0\n\tssub8 %2, %1, %3\n\tsel %1, %3, %1"
                : "+&r"(most), "+&r"(least), "=&r"(unused)
                : "r"(four(w)));
    }
    int32_t amax = 0;
    for (uint32_t at = 0U; at < 32U; at += 8U) {
        amax = had_grow(amax, (int8_t)(uint8_t)(most >> at));
        amax = had_grow(amax, (int8_t)(uint8_t)(least >> at));
    }
    for (uint32_t j = 0U; j < (count & 3U); j++) {
        amax = had_grow(amax, w[j]);
    }
    return amax;
}
#else
typedef int had_dsp_masters_is_left_out; /* another core or variant, or masters of 16 bits */
#endif
