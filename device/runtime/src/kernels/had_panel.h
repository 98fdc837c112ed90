/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products for cores with wide vectors, chosen by HAD_ROWS 8: the operand that all rows of weights share is
 * packed once into a panel, eight rows of weights at a time are multiplied with it.
 *
 * A panel holds x + HAD_PANEL_BIAS, 1 .. 23, in blocks of HAD_PANEL_BLOCK columns: for each pair of terms the
 * block's columns, two terms each. So a vector of bytes times a broadcast pair of weights gives one 16-bit sum
 * a column, |pair| <= 2 * 23 * 7, and a tile's sum starts from -HAD_PANEL_BIAS times the sum of its weights:
 * |sum| <= tile_k * (23 + 8) * 7 < 2^15 (codegen chooses this variant for such models only).
 */
#ifndef HAD_PANEL_H
#define HAD_PANEL_H

#include "../cores/had_mve.h"
#include "had_tile.h"
#include "hadapt/learner.h"
#include "hadapt/train.h"

#define HAD_PANEL_BIAS 8

#if HAD_PANEL && !HAD_MVE
#define HAD_PANEL_CHUNK 256U /* columns of a row's update at once */
#define HAD_PANEL_COLUMNS (HAD_LANES > HAD_PANEL_CHUNK ? HAD_LANES : HAD_PANEL_CHUNK)

_Static_assert(!HAD_SATURATE_EVERY_ADD && HAD_TILE_K % 2U == 0U, "whole tiles of pairs");
_Static_assert(HAD_BATCH_PADDED % 2U == 0U, "whole pairs of a batch");
_Static_assert(HAD_TILE_K * (15 + 2 * HAD_PANEL_BIAS) * 7 <= 32767, "a tile's sum fits 16 bits");
_Static_assert(HAD_LANES == HAD_BATCH_STRIDE && HAD_LANES % HAD_PANEL_BLOCK == 0U, "whole blocks");

/* Panel of feature-major x: `terms` rows of HAD_BATCH_STRIDE columns. */
void had_panel_columns(uint8_t *panel, const int8_t *x, uint32_t terms);

/* Panel whose columns are the rows of xh, HAD_BATCH_STRIDE apart, of HAD_BATCH_PADDED terms. */
void had_panel_rows(uint8_t *panel, const int8_t *xh, uint32_t rows);

/*
 * out[r * stride + c] = dot(column c, row r) for `blocks` blocks from `panel` on, at most
 * HAD_PANEL_COLUMNS columns; w: eight rows, HAD_PANEL_TERMS apart. Of an odd
 * number of terms the last pair's other half is 0 in the panel, and what the weights hold there is not used.
 */
void had_panel_product(int32_t *out, uint32_t stride, const uint8_t *panel, const had_weight *w,
                       uint32_t terms, uint32_t blocks, const had_counted *counted);
#endif

/* What had_dot_columns takes for x of `terms` rows; made when an operation begins. */
static inline const int8_t *had_operand_columns(had_learner *ln, const int8_t *x, uint32_t terms,
                                                uint32_t begin) {
#if HAD_MVE
    if (begin == 0U) {
        had_mve_turn((int8_t *)ln->panel, x, terms);
    }
    return (const int8_t *)ln->panel;
#elif HAD_PANEL
    if (begin == 0U) {
        had_panel_columns(ln->panel, x, terms);
    }
    return (const int8_t *)ln->panel;
#else
    (void)ln;
    (void)terms;
    (void)begin;
    return x;
#endif
}

/* Column c of it. */
static inline const int8_t *had_operand_at(const int8_t *operand, uint32_t c, uint32_t terms) {
#if HAD_MVE
    return operand + c * HAD_MVE_ROUND(terms);
#elif HAD_DSP
    (void)terms;
    return operand + 2U * c; /* two words a pair of terms */
#else
    (void)terms;
    return operand + c;
#endif
}

/* The same for the rows of xh, for had_update_rows. */
static inline const int8_t *had_operand_rows(had_learner *ln, const int8_t *xh, uint32_t rows,
                                             uint32_t begin) {
#if HAD_PANEL && !HAD_MVE
    if (begin == 0U) {
        had_panel_rows(ln->panel, xh, rows);
    }
    return (const int8_t *)ln->panel;
#else
    (void)ln;
    (void)rows;
    (void)begin;
    return xh;
#endif
}

#endif
