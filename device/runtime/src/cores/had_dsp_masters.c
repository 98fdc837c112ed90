/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of 8-bit masters, four at a time, with the DSP extension.
 *
 * |w r| <= 7 2^26: (w r >> 16) + 2^9, then 10 bits less, is the rounded quotient of SPEC.md 1.6, for floors of floors are floors.
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

void had_dsp_quantize(had_weight *to, const had_master *w, int32_t r, uint32_t count) {
    const had_master *end = w + (count & ~3U);
    for (; w != end; w += 4) {
        int32_t even = (int32_t)had_bytes_even(four(w));
        int32_t odd = (int32_t)had_bytes_odd(four(w));
        to[0] = halves_of(__smlawb(r, even, HALF), __smlawb(r, odd, HALF));
        to[HAD_WORDS] = halves_of(__smlawt(r, even, HALF), __smlawt(r, odd, HALF));
        to += 2U * HAD_WORDS;
    }
    int32_t last[4] = {0};
    for (uint32_t j = 0U; j < (count & 3U); j++) {
        last[j] = __smlawb(r, w[j], HALF);
    }
    for (uint32_t j = 0U; j < (count & 3U); j += 2U) {
        *to = halves_of(last[j], last[j + 1U]);
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
