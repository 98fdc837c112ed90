/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products in 16-bit fields: HAD_ROWS rows of weights in pairs, four values of x a term.
 *
 * A field holds the exact sum of a tile, |sum| <= tile_k * 105 < 2^15 (asserted), then the total of saturated
 * tiles, |total| <= D < 2^15 (codegen chooses this variant for such models only): so the fields of a word
 * come apart again, and no word overflows: |word| <= (2^15 - 1) (2^16 + 1) < 2^31.
 */
#ifndef HAD_PACKED_H
#define HAD_PACKED_H

#include "../kernels/had_tile.h"
#include "hadapt/dot.h"

#if (HAD_ROWS == 2U || HAD_ROWS == 4U) && !HAD_DSP
#define HAD_QUAD 4U
#define HAD_SUMS (HAD_WORDS * HAD_QUAD)

_Static_assert(HAD_FIELDS_FIT, "the sum of a tile must fit 16 bits");
_Static_assert(HAD_ROWS == 2U || HAD_ROWS == 4U, "one or two words of weights a term");
_Static_assert(HAD_LANES == HAD_QUAD && HAD_TAPS == HAD_QUAD, "four values of x a term");

/* Field sums by value of x: of rows 0 and 1 (a), and of rows 2 and 3 (b). */
typedef struct had_sums {
    int32_t a0, a1, a2, a3;
#if HAD_ROWS == 4U
    int32_t b0, b1, b2, b3;
#endif
} had_sums;

/* End of a tile but the last: total = before, if there is any, plus the saturated fields. */
void had_packed_add(int32_t total[HAD_SUMS], const int32_t *before, const int32_t sums[HAD_SUMS],
                    const had_counted *counted);

/* End of the last tile: the same, and each row gets its values: out[row][lane]. */
void had_packed_end(int32_t out[HAD_ROWS * HAD_QUAD], const int32_t *before,
                    const int32_t sums[HAD_SUMS], const had_counted *counted);

/* One term; the values of x lie `step` apart. */
static inline void had_packed_term(had_sums *s, const int8_t *x, uint32_t step, const int32_t *w) {
    int32_t w0 = w[0];
#if HAD_ROWS == 4U
    int32_t w1 = w[1];
#endif
    int32_t value = x[0];
    s->a0 += value * w0;
#if HAD_ROWS == 4U
    s->b0 += value * w1;
#endif
    value = x[step];
    s->a1 += value * w0;
#if HAD_ROWS == 4U
    s->b1 += value * w1;
#endif
    value = x[2U * step];
    s->a2 += value * w0;
#if HAD_ROWS == 4U
    s->b2 += value * w1;
#endif
    value = x[3U * step];
    s->a3 += value * w0;
#if HAD_ROWS == 4U
    s->b3 += value * w1;
#endif
}

/* A tile; value c of term k is x[k * term_step + c * lane_step], both steps constants where it is used. */
static inline void had_packed_tile(int32_t tile[HAD_SUMS], const int8_t *x, uint32_t term_step,
                                   uint32_t lane_step, const int32_t *w, uint32_t terms) {
    const int32_t *end = w + terms * HAD_WORDS;
    had_sums s = {0};
    if ((terms & 1U) != 0U) {
        had_packed_term(&s, x, lane_step, w);
        x += term_step;
        w += HAD_WORDS;
    }
    while (w != end) {
        had_packed_term(&s, x, lane_step, w);
        had_packed_term(&s, x + term_step, lane_step, w + HAD_WORDS);
        x += 2U * term_step;
        w += 2U * HAD_WORDS;
    }
    tile[0] = s.a0;
    tile[1] = s.a1;
    tile[2] = s.a2;
    tile[3] = s.a3;
#if HAD_ROWS == 4U
    tile[4] = s.b0;
    tile[5] = s.b1;
    tile[6] = s.b2;
    tile[7] = s.b3;
#endif
}
#endif

#endif
