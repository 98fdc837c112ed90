/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products for the vectors of a Cortex-M55 (HAD_MVE of the generated configuration): 16 terms at once, eight rows of
 * weights by two columns of x.
 *
 * A column of x goes on with zeros to a whole tile; weights lie vector by vector, in a vector of terms row by row. What
 * they hold behind the last term, or in rows that are not there, changes no result. Sums are kept in 16-bit halves:
 * |sum of a tile| <= tile_k * 105 < 2^15, and |total| <= D < 2^15 (codegen chooses this variant for such models only).
 *
 * The view of inference has a byte for the weights of two rows, w_0 + 16 w_1, |w| <= 7: one rounding shift is w_1, and the
 * sum of w_0 is that of bytes less 16 times that of w_1. Groups of eight rows lie tile by tile as well, in a tile the
 * pairs of rows (0, 1), (4, 5), (2, 3), (6, 7); zero from the last term to a whole tile.
 */
#ifndef HAD_MVE_H
#define HAD_MVE_H

#include "../kernels/had_tile.h"
#include "hadapt/dot.h"

#if HAD_MVE
#define HAD_MVE_TERMS 16U /* of a vector */
#define HAD_MVE_ROUND(n) (((n) + HAD_TILE_K - 1U) / HAD_TILE_K * HAD_TILE_K)

_Static_assert(HAD_FIELDS_FIT, "the sum of a tile must fit 16 bits");
_Static_assert(HAD_TILE_K == 16U || HAD_TILE_K == 32U, "a tile is one or two vectors");
_Static_assert(HAD_BATCH_STRIDE % 16U == 0U && HAD_LANES % 2U == 0U, "whole vectors, whole pairs");

#define HAD_MVE_CHUNK HAD_COLUMNS
#define HAD_MVE_ONE_TILE (HAD_BATCH_PADDED <= HAD_TILE_K) /* a batch is */

/* Byte of term k of a row of the view, in its group. */
static inline uint32_t had_mve_view_at(uint32_t row, uint32_t k) {
    uint32_t pair = row / 2U;
    uint32_t place = (pair & 1U) * 2U + (pair >> 1);
    return (k / HAD_TILE_K * (HAD_VIEW_ROWS / 2U) + place) * HAD_TILE_K + k % HAD_TILE_K;
}

/*
 * out[r * HAD_MVE_CHUNK + c] = dot(column c of x, row r) of counted->lanes columns, at most HAD_MVE_CHUNK and one more
 * where they are odd, that lie `pitch` bytes apart.
 */
void had_mve_product(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, uint32_t pitch,
                     const had_weight *w, uint32_t terms, const had_counted *counted);

/* The same of rows of xh. */
#if HAD_MVE_ASSEMBLY && HAD_MVE_ONE_TILE
void had_mve_rows(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, const had_weight *w,
                  const had_counted *counted);
#else
static inline void had_mve_rows(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x,
                                const had_weight *w, const had_counted *counted) {
    had_mve_product(out, x, HAD_BATCH_STRIDE, w, HAD_BATCH_PADDED, counted);
}
#endif

/* had_dot_columns of the operand that had_mve_turn has made. */
static inline void had_dot_columns(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x,
                                   const had_weight *w, uint32_t terms,
                                   const had_counted *counted) {
    had_mve_product(out, x, HAD_MVE_ROUND(terms), w, terms, counted);
}

/* The operand of feature-major x. */
void had_mve_turn(int8_t *to, const int8_t *x, uint32_t terms);
#endif

#endif
