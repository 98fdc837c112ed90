/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products along contiguous rows: four rows of x with four rows of weights, by pairs of terms.
 *
 * |total| <= D < 2^15; x is in [-7, 7]; bounds of a chunk in had_dsp.h. Terms are a multiple of four, and
 * their weights are in the order had_put_quad gives them.
 */
#include <string.h>

#include "had_dsp.h"

#if HAD_DSP
#if HAD_DSP_ASSEMBLY
/* Four rows of x by a pair of terms; `rotate` picks it, `move` moves x on. The compilers' own code spills. */
#define TAP(at, n, rotate)                                                                         \
    "ldr %[v], [%[x]" at "\n\t"                                                                    \
    "sxtb16 %[v], %[v]" rotate "\n\t"                                                              \
    "smlad %[a" n "], %[v], %[w0], %[a" n "]\n\t"                                                  \
    "smlad %[b" n "], %[v], %[w1], %[b" n "]\n\t"
#define PAIR(rotate, move)                                                                         \
    "ldrd %[w0], %[w1], [%[w]], #8\n\t" TAP(", %[s1]]", "1", rotate) TAP(", %[s2]]", "2", rotate)  \
        TAP(", %[s3]]", "3", rotate) TAP(move, "0", rotate)

static inline void quads_of(int32_t s[HAD_SUMS], const int8_t *x, const uint32_t *w,
                            const uint32_t *end) {
    uint32_t v, w0, w1;
    __asm__ volatile("1:\n\t" PAIR("", "]") PAIR(", ror #8", "], #4") "cmp %[w], %[end]\n\t"
                                                                      "bne 1b"
                     : [a0] "+r"(s[0]), [a1] "+r"(s[1]), [a2] "+r"(s[2]), [a3] "+r"(s[3]),
                       [b0] "+r"(s[4]), [b1] "+r"(s[5]), [b2] "+r"(s[6]), [b3] "+r"(s[7]),
                       [x] "+r"(x), [w] "+r"(w), [v] "=&r"(v), [w0] "=&r"(w0), [w1] "=&r"(w1)
                     : [end] "r"(end), [s1] "i"(HAD_BATCH_STRIDE), [s2] "i"(2U * HAD_BATCH_STRIDE),
                       [s3] "i"(3U * HAD_BATCH_STRIDE)
                     : "cc", "memory");
}
#else
static void quads_of(int32_t s[HAD_SUMS], const int8_t *x, const uint32_t *w, const uint32_t *end) {
    for (; w != end; w += 2U * HAD_WORDS) {
        for (uint32_t t = 0U; t < HAD_TAPS; t++) {
            uint32_t four;
            (void)memcpy(&four, x + t * HAD_BATCH_STRIDE, sizeof four);
            s[t] = had_smlad(had_bytes_even(four), w[0], s[t]);
            s[4U + t] = had_smlad(had_bytes_even(four), w[1], s[4U + t]);
            s[t] = had_smlad(had_bytes_odd(four), w[2], s[t]);
            s[4U + t] = had_smlad(had_bytes_odd(four), w[3], s[4U + t]);
        }
        x += 4;
    }
}
#endif

void had_dot_row(int32_t out[HAD_ROWS * HAD_TAPS], const int8_t *x, const had_weight *w,
                 uint32_t terms, const had_counted *counted) {
    uint32_t total[HAD_SUMS];
    uint32_t tile[HAD_SUMS];
    (void)counted;
    had_dsp_clear(total);
    while (terms > 0U) {
        uint32_t left = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        uint32_t first = 1U;
        terms -= left;
        while (left > 0U) {
            int32_t acc[HAD_SUMS] = {0};
            uint32_t part = left < HAD_CHUNK_SIGNED ? left : HAD_CHUNK_SIGNED;
            const had_weight *end = w + HAD_GROUP_WORDS(part);
            quads_of(acc, x, w, end);
            had_dsp_store(tile, acc, first);
            x += part;
            w = end;
            left -= part;
            first = 0U;
        }
        had_dsp_add(total, tile);
    }
    had_dsp_end(out, total);
}
#else
typedef int had_dot_row_dsp_is_left_out; /* a core without it, or plain loops are chosen */
#endif
