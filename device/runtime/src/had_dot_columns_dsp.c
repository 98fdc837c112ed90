/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of feature-major x, four columns at once, with four rows of weights, by pairs of terms.
 *
 * |total| <= D < 2^15; bounds of a chunk in had_dsp.h. Rows of x are exchanged (had_dsp_exchange) and go on to a
 * multiple of four: what is there beyond the terms meets a weight of zero.
 */
#include <string.h>

#include "had_dsp.h"

#if HAD_DSP
#if HAD_DSP_ASSEMBLY
/* A pair of terms: x at two offsets, w moves on. In assembly, for the compilers' own code spills registers. */
#define COLUMN(at, n, rotate)                                                                      \
    "ldr %[v], [%[x], %[" at "]]\n\t"                                                              \
    "sxtb16 %[v], %[v]" rotate "\n\t"                                                              \
    "smlad %[a" n "], %[v], %[w0], %[a" n "]\n\t"                                                  \
    "smlad %[b" n "], %[v], %[w1], %[b" n "]\n\t"
#define PAIR(at, next)                                                                             \
    "ldrd %[w0], %[w1], [%[w]], #8\n\t" COLUMN(at, "0", "") COLUMN(at, "1", ", ror #8")            \
        COLUMN(next, "2", "") COLUMN(next, "3", ", ror #8")

static inline void pairs_of(int32_t s[HAD_SUMS], const int8_t *x, const uint32_t *w,
                            const uint32_t *end) {
    uint32_t v, w0, w1;
    __asm__ volatile(
        "1:\n\t" PAIR("s0", "s1") PAIR("s2", "s3") "add %[x], %[x], %[s4]\n\t"
                                                   "cmp %[w], %[end]\n\t"
                                                   "bne 1b"
        : [a0] "+r"(s[0]), [a1] "+r"(s[1]), [a2] "+r"(s[2]), [a3] "+r"(s[3]), [b0] "+r"(s[4]),
          [b1] "+r"(s[5]), [b2] "+r"(s[6]), [b3] "+r"(s[7]), [x] "+r"(x), [w] "+r"(w), [v] "=&r"(v),
          [w0] "=&r"(w0), [w1] "=&r"(w1)
        : [end] "r"(end), [s0] "i"(0), [s1] "i"(HAD_BATCH_STRIDE), [s2] "i"(2U * HAD_BATCH_STRIDE),
          [s3] "i"(3U * HAD_BATCH_STRIDE), [s4] "i"(4U * HAD_BATCH_STRIDE)
        : "cc", "memory");
}
#else
static void columns(int32_t *even, int32_t *odd, const int8_t *x, const uint32_t *w) {
    uint32_t both;
    (void)memcpy(&both, x, sizeof both);
    even[0] = had_smlad(had_bytes_even(both), w[0], even[0]);
    odd[0] = had_smlad(had_bytes_odd(both), w[0], odd[0]);
    even[4] = had_smlad(had_bytes_even(both), w[1], even[4]);
    odd[4] = had_smlad(had_bytes_odd(both), w[1], odd[4]);
}

static void pairs_of(int32_t s[HAD_SUMS], const int8_t *x, const uint32_t *w, const uint32_t *end) {
    for (; w != end; w += HAD_WORDS) {
        columns(s, s + 1, x, w);
        columns(s + 2, s + 3, x + HAD_BATCH_STRIDE, w);
        x += 2U * HAD_BATCH_STRIDE;
    }
}
#endif

void had_dot_columns(int32_t out[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted) {
    uint32_t total[HAD_SUMS];
    uint32_t tile[HAD_SUMS];
    const uint32_t most = counted->positive != 0U ? HAD_CHUNK_POSITIVE : HAD_CHUNK_SIGNED;
    had_dsp_clear(total);
    while (terms > 0U) {
        uint32_t left = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        uint32_t first = 1U;
        terms -= left;
        while (left > 0U) {
            int32_t acc[HAD_SUMS] = {0};
            uint32_t part = left < most ? left : most;
            const had_weight *end = w + HAD_GROUP_WORDS(part);
            pairs_of(acc, x, w, end);
            had_dsp_store(tile, acc, first);
            x += part * HAD_BATCH_STRIDE;
            w = end;
            left -= part;
            first = 0U;
        }
        had_dsp_add(total, tile);
    }
    had_dsp_end(out, total);
}
#else
typedef int had_dot_columns_dsp_is_left_out; /* a core without it, or plain loops are chosen */
#endif
