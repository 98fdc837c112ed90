/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of 4-bit operands, SPEC.md 1.8. One file a kernel; every variant gives the same bits.
 *
 * HAD_ROWS, from the generated configuration, chooses the variant: 1 is plain loops for any model; 8 is for
 * hosts with wide vectors, see had_panel.h; 2 or 4 rows of weights go in pairs into the 16-bit fields of a word, so that
 * one multiplication of a 32-bit core serves two products.
 */
#ifndef HADAPT_DOT_H
#define HADAPT_DOT_H

#include <stdint.h>

#include "hadapt/counters.h"

#if HAD_ROWS == 1U
typedef int8_t had_weight;
#define HAD_WORDS 1U
#define HAD_TAPS 2U
#elif HAD_ROWS == 8U
typedef int8_t had_weight;
#define HAD_WORDS 1U
#define HAD_TAPS 4U
#else
typedef int32_t had_weight; /* two rows: low + high * 2^16 */
#define HAD_WORDS (HAD_ROWS / 2U)
#define HAD_TAPS 4U
#endif

/* Weights of a group of HAD_ROWS rows; eight rows lie one behind the other, in rows of one length. */
#if HAD_ROWS == 8U
#define HAD_GROUP_WORDS(terms) (8U * HAD_PANEL_TERMS)
#else
#define HAD_GROUP_WORDS(terms) ((terms) * HAD_WORDS)
#endif

#define HAD_VIEW_ROWS 8U /* rows of weights in a word of the inference view */

/* How much of a product is counted: a bit for each row, and the lanes (or taps) that are no padding. */
typedef struct had_counted {
    uint32_t row_bits;
    uint32_t lanes;
    had_tally *tally;
} had_counted;

/*
 * Set row `row` of a term's weights to value. Even rows come before the odd ones; all rows of a term are
 * set, those that are not there to 0.
 */
static inline void had_put_weight(had_weight *term, uint32_t row, int32_t value) {
#if HAD_ROWS == 1U
    (void)row;
    *term = (had_weight)value;
#elif HAD_ROWS == 8U
    term[row * HAD_PANEL_TERMS] = (had_weight)value;
#else
    had_weight *word = term + row / 2U;
    *word = (row & 1U) == 0U ? value : *word + value * 65536;
#endif
}

static inline void had_clear_row(had_weight *w, uint32_t terms, uint32_t row) {
    for (uint32_t k = 0U; k < terms; k++) {
        had_put_weight(w + k * HAD_WORDS, row, 0);
    }
}

/*
 * HAD_ROWS times HAD_LANES products: total[r][c] = dot(x[.][c], w[.][r]), x being terms rows of
 * HAD_BATCH_STRIDE values (feature-major), w terms times HAD_WORDS weights.
 */
void had_dot_columns(int32_t total[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted);

/*
 * HAD_ROWS times HAD_TAPS products: total[r][t] = dot(x[t][.], w[.][r]), x rows of HAD_BATCH_STRIDE
 * values in [-7, 7], all HAD_TAPS of them.
 */
void had_dot_row(int32_t total[HAD_ROWS * HAD_TAPS], const int8_t *x, const had_weight *w,
                 uint32_t terms, const had_counted *counted);

/*
 * total[r] = dot(x, row r) of HAD_VIEW_ROWS rows; nibble r of w[k] is weight k of row r plus 8.
 */
void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms);

#endif
