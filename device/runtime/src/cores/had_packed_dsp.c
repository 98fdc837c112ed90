/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inference with the DSP extension: products of one 4-bit vector with a group of the view; layout in had_dsp.h.
 *
 * A half of a word of weights, even and odd row masked out of it, is (w_0 + 8) + 4096 w_1; a multiplication of halves makes
 * four products. Sums start at 2048 - 8 sum of x, so that their low field is 2048 + s_0, which 12 bits hold while
 * |s_0| < 2048: |s_0| <= tile_k * 49 <= 1568 for x in [-7, 7] and <= 7 sum of x for x in [0, 15]. Where that may be more,
 * which it seldom is, a tile is taken in parts of 16 terms, 16 * 105 = 1680.
 */
#include "../kernels/had_tile.h"
#include "had_dsp.h"

#if HAD_VIEW_DSP
#define FIELD 2048
#define SUM_MOST ((FIELD - 1) / 7)
#define PART 16U
#define MASK 0xF00FF00FU

_Static_assert(HAD_TILE_K * 49U < FIELD && PART * HAD_TERM_MAX < FIELD, "a low field has 12 bits");

static int32_t sum_of(const int8_t *x, uint32_t terms) {
    int32_t sum = 0;
    for (uint32_t k = 0U; k < terms; k++) {
        sum += x[k];
    }
    return sum;
}

void had_dot_packed_sums(int32_t sums[HAD_PACKED_SUMS], const int8_t *x, uint32_t terms) {
    uint32_t left = terms % HAD_TILE_K;
    __builtin_memset(sums + HAD_TILES, 0, HAD_TILE_K);
    __builtin_memcpy(sums + HAD_TILES, x + (terms - left), left);
    for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
        sums[k / HAD_TILE_K] = sum_of(x + k, terms - k < HAD_TILE_K ? terms - k : HAD_TILE_K);
    }
}

/* Of the pairs of rows of a group: sums as fields, then as halves. */
typedef struct had_quads {
    uint32_t a0, a1, a2, a3;
} had_quads;

#define FORCE static inline __attribute__((always_inline))

#if HAD_DSP_ASSEMBLY && defined(__OPTIMIZE__)
/* Two words of weights by a pair of terms. */
#define PAIR(x)                                                                                    \
    "ldrd %[u], %[v], [%[w]], #8\n\t"                                                              \
    "and %[t], %[mask], %[u]\n\t"                                                                  \
    "and %[u], %[mask], %[u], ror #8\n\t"                                                          \
    "smlad %[a0], %[t], " x ", %[a0]\n\t"                                                          \
    "smlad %[a1], %[u], " x ", %[a1]\n\t"                                                          \
    "and %[t], %[mask], %[v]\n\t"                                                                  \
    "and %[v], %[mask], %[v], ror #8\n\t"                                                          \
    "smlad %[a2], %[t], " x ", %[a2]\n\t"                                                          \
    "smlad %[a3], %[v], " x ", %[a3]\n\t"
#define QUAD                                                                                       \
    "ldr %[x1], [%[x]], #4\n\t"                                                                    \
    "sxtb16 %[x0], %[x1]\n\t"                                                                      \
    "sxtb16 %[x1], %[x1], ror #8\n\t" PAIR("%[x0]") PAIR("%[x1]")

#define HALVES(a)                                                                                  \
    "ubfx %[t], %[" a "], #0, #12\n\t"                                                             \
    "pkhbt %[" a "], %[t], %[" a "], lsl #4\n\t"                                                   \
    "ssub16 %[" a "], %[" a "], %[u]\n\t"

/* `terms` terms, the last one's four whole; sum that of x. */
FORCE had_quads part(const int8_t *x, const uint32_t *w, uint32_t terms, int32_t sum) {
    uint32_t start = (uint32_t)(FIELD - 8 * sum);
    had_quads s = {start, start, start, start};
    uint32_t quads = (terms + 3U) / 4U;
    const uint32_t *end = w + 4U * quads;
    uint32_t u, v, x0, x1;
    __asm__ volatile(
        "tst %[t], #1\n\t"
        "bne 2f\n"
        "1:\n\t" QUAD "2:\n\t" QUAD "cmp %[w], %[end]\n\t"
        "bne 1b\n\t"
        "mov %[u], #2048\n\t" HALVES("a0") HALVES("a1") HALVES("a2") HALVES("a3")
        : [a0] "+r"(s.a0), [a1] "+r"(s.a1), [a2] "+r"(s.a2), [a3] "+r"(s.a3), [x] "+r"(x),
          [w] "+r"(w), [t] "+r"(quads), [u] "=&r"(u), [v] "=&r"(v), [x0] "=&r"(x0), [x1] "=&r"(x1)
        : [end] "r"(end), [mask] "r"(MASK)
        : "cc", "memory");
    return s;
}
#else
FORCE uint32_t halves(int32_t sum) {
    return ((((uint32_t)sum & 0xFFFU) - FIELD) & 0xFFFFU) | ((uint32_t)sum << 4 & 0xFFFF0000U);
}

FORCE had_quads part(const int8_t *x, const uint32_t *w, uint32_t terms, int32_t sum) {
    int32_t a[4] = {FIELD - 8 * sum, FIELD - 8 * sum, FIELD - 8 * sum, FIELD - 8 * sum};
    for (uint32_t n = 0U; n < (terms + 3U) / 4U * 8U; n++) {
        const int8_t *at = x + n / 4U * 2U - n / 4U % 2U;
        uint32_t pair = ((uint32_t)at[0] & 0xFFFFU) | (uint32_t)at[2] << 16;
        uint32_t word = w[n / 2U];
        word = n % 2U == 0U ? word : word >> 8 | word << 24;
        a[n % 4U] = had_smlad(word & MASK, pair, a[n % 4U]);
    }
    return (had_quads){halves(a[0]), halves(a[1]), halves(a[2]), halves(a[3])};
}
#endif

#if HAD_ACC_BITS < 16
#define SATURATED(word) had_saturate_acc16(word)
#else
#define SATURATED(word) (word)
#endif

/* Totals of a tile more. */
static inline void add_tile(uint32_t total[4], had_quads s) {
    total[0] = had_add16(total[0], SATURATED(s.a0));
    total[1] = had_add16(total[1], SATURATED(s.a1));
    total[2] = had_add16(total[2], SATURATED(s.a2));
    total[3] = had_add16(total[3], SATURATED(s.a3));
}

/* A tile in parts. */
static __attribute__((noinline)) void add_parts(uint32_t total[4], const int8_t *x,
                                                const uint32_t *w, uint32_t terms) {
    had_quads sum = {0U, 0U, 0U, 0U};
    while (terms > 0U) {
        uint32_t taken = terms < PART ? terms : PART;
        had_quads s = part(x, w, taken, sum_of(x, taken));
        sum = (had_quads){had_add16(sum.a0, s.a0), had_add16(sum.a1, s.a1), had_add16(sum.a2, s.a2),
                          had_add16(sum.a3, s.a3)};
        x += taken;
        w += PART;
        terms -= taken;
    }
    add_tile(total, sum);
}

void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive) {
    uint32_t words[4] = {0U, 0U, 0U, 0U};
    const int32_t most = positive != 0U ? SUM_MOST : INT32_MAX;
    const int8_t *tail = (const int8_t *)(sums + HAD_TILES);
    for (; terms >= HAD_TILE_K; terms -= HAD_TILE_K) {
        if (*sums > most) {
            add_parts(words, x, w, HAD_TILE_K);
        } else {
            add_tile(words, part(x, w, HAD_TILE_K, *sums));
        }
        sums++;
        x += HAD_TILE_K;
        w += HAD_TILE_K;
    }
    if (terms > 0U) {
        add_parts(words, tail, w, terms);
    }
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r += 2U) {
        total[r] = (int16_t)(uint16_t)(words[r / 2U] & 0xFFFFU);
        total[r + 1U] = (int16_t)(uint16_t)(words[r / 2U] >> 16);
    }
}
#else
typedef int had_packed_dsp_is_left_out; /* another variant is chosen */
#endif
