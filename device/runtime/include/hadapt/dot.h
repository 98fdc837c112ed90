/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of 4-bit operands, SPEC.md 1.8. One file a kernel; every variant gives the same bits.
 *
 * core.h chooses the variant: plain loops for any model, panels for hosts with wide vectors (had_panel.h), the
 * layout of a Cortex-M55's (had_mve.h), or
 * four or eight (an octet) rows of weights, in pairs in the 16-bit fields of a word, so that one multiplication of a
 * 32-bit core serves two products.
 */
#ifndef HADAPT_DOT_H
#define HADAPT_DOT_H

#include <stdint.h>

#include "hadapt/core.h"
#include "hadapt/counters.h"

#if HAD_DSP
typedef uint32_t had_weight; /* two terms of a row, in the halves */
#define HAD_WORDS 4U         /* a pair of terms */
#define HAD_TAPS 4U          /* values of x that had_dot_row takes at once */
#elif HAD_ROWS == 1U
typedef int8_t had_weight;
#define HAD_WORDS 1U
#define HAD_TAPS 2U
#elif HAD_PANEL
typedef int8_t had_weight;
#define HAD_WORDS 1U
#define HAD_TAPS 4U
#else
typedef int32_t had_weight; /* two rows: low + high * HAD_SECOND */
/* What the second row of a word of weights is multiplied by. */
#define HAD_SECOND (HAD_LONG ? 1 << 24 : 1 << 16)
#define HAD_WORDS (HAD_ROWS / 2U)
#define HAD_TAPS 4U
#endif

/* A product: 16 bits where codegen has seen to it that |total| < 2^15. */
#if HAD_MVE || HAD_DSP
typedef int16_t had_total;
#else
typedef int32_t had_total;
#endif

/* Weights of a group of HAD_ROWS rows; eight rows lie one behind the other, in rows of one length. */
#if HAD_DSP
#define HAD_GROUP_WORDS(terms) (((terms) + 1U) / 2U * HAD_WORDS) /* to whole pairs of terms */
#elif HAD_MVE
#define HAD_GROUP_WORDS(terms)                                                                     \
    (((terms) + HAD_TILE_K - 1U) / HAD_TILE_K * HAD_TILE_K * HAD_ROWS) /* to whole tiles */
#elif HAD_PANEL
#define HAD_GROUP_WORDS(terms) (8U * HAD_PANEL_TERMS)
#elif HAD_OCTET
#define HAD_GROUP_WORDS(terms) (((terms) + 3U) / 4U * 4U * HAD_WORDS)
#else
#define HAD_GROUP_WORDS(terms) ((terms) * HAD_WORDS)
#endif

#define HAD_VIEW_ROWS 8U /* rows of weights in a group of the inference view */

/* Words of a group of the view: one a term, on a Cortex-M55 to whole tiles, where four rows are taken at once to fours. */
#if HAD_MVE
#define HAD_VIEW_GROUP(terms) (((terms) + HAD_TILE_K - 1U) / HAD_TILE_K * HAD_TILE_K)
#define HAD_PACKED_SUMS (HAD_TILE_K / 4U)
#elif HAD_ROWS == 4U && !defined(HAD_CONV_LAYERS)
#define HAD_VIEW_GROUP(terms) (((terms) + 3U) & ~3U)
/* With the DSP extension x in pairs of halves follows, or if it is long the terms of its last tile. */
#define HAD_VIEW_PAIRS (HAD_TILES * HAD_TILE_K <= 512U)
#define HAD_PACKED_SUMS                                                                            \
    (HAD_TILES +                                                                                   \
     (HAD_VIEW_DSP ? HAD_TILE_K / (HAD_VIEW_PAIRS ? 2U : 4U) * (HAD_VIEW_PAIRS ? HAD_TILES : 1U)   \
                   : 0U))
#else
#define HAD_VIEW_GROUP(terms) (terms)
#define HAD_PACKED_SUMS HAD_TILES
#endif

/* Columns that had_dot_columns takes at once. */
#define HAD_COLUMNS (HAD_MVE ? 32U : HAD_LANES)

/* A value in both fields of a word. */
#define HAD_BOTH(v) ((uint32_t)(v) * 0x00010001U)
/* What sums of a tile, and totals of an octet, are raised by. */
#if HAD_ACC_BITS < 16
#define HAD_RAISE HAD_BOTH(1U << (HAD_ACC_BITS - 1))
#else
#define HAD_RAISE 0U
#endif

/* Results of a product with `columns` columns (or taps): those of all rows of a group. */
#if HAD_OCTET
#define HAD_PRODUCTS(columns) ((columns) * HAD_WORDS) /* words of two rows' totals, each raised */
#else
#define HAD_PRODUCTS(columns) ((columns) * HAD_ROWS)
#endif

/* Totals of one row among them. */
typedef struct had_line {
    const had_total *at;
    uint32_t round; /* of an octet: what takes the raise and the other row's sign away */
    uint32_t up;
} had_line;

/* Totals of row `row` of the products of `columns` columns. */
static inline had_line had_line_of(const had_total *products, uint32_t row, uint32_t columns) {
#if HAD_OCTET
    (void)columns;
    uint32_t odd = row & 1U;
    return (had_line){products + row / 2U, (odd << 15) - HAD_RAISE, 16U - 16U * odd};
#else
    return (had_line){products + row * columns, 0U, 0U};
#endif
}

/* Its total in one column. */
static inline int32_t had_line_total(const had_line *line, uint32_t column) {
#if HAD_OCTET
    return (int32_t)(((uint32_t)line->at[column * HAD_WORDS] + line->round) << line->up) >> 16;
#else
    return line->at[column];
#endif
}

/* How much of a product is counted: a bit for each row, and the lanes (or taps) that are no padding. */
typedef struct had_counted {
    uint32_t row_bits;
    uint32_t lanes;
    const uint32_t *
        sums; /* of x in [0, 15] with the DSP extension: see had_dsp_sums; with HAD_LONG the weights; else 0 */
    had_tally *tally;
} had_counted;

#if HAD_MVE
/* Place of term k of row `row`: vector by vector, in a vector of terms row by row. */
static inline uint32_t had_weight_at(uint32_t k, uint32_t row) {
    return (k / 16U * HAD_ROWS + row) * 16U + k % 16U;
}
#elif HAD_PANEL
static inline uint32_t had_weight_at(uint32_t k, uint32_t row) {
    return row * HAD_PANEL_TERMS + k;
}
#endif

/*
 * Set terms k and k + 1 of row `row` of a group's weights; k is even. Even rows come before the odd ones; all
 * rows of a term are set, those that are not there to 0.
 */
#if HAD_DSP
static inline void had_put_pair(had_weight *w, uint32_t k, uint32_t row, int32_t v0, int32_t v1) {
    w[k / 2U * HAD_WORDS + row] = ((uint32_t)v0 & 0xFFFFU) | (uint32_t)v1 << 16;
}

/* The last of an odd number of terms. */
static inline void had_put_last(had_weight *w, uint32_t k, uint32_t row, int32_t value) {
    had_put_pair(w, k, row, value, 0);
}

static inline void had_put_padding(had_weight *w, uint32_t terms, uint32_t row) {
    (void)w;
    (void)terms;
    (void)row;
}
#else
static inline void had_put_last(had_weight *w, uint32_t k, uint32_t row, int32_t value) {
#if HAD_ROWS == 1U
    (void)row;
    w[k] = (had_weight)value;
#elif HAD_PANEL
    w[had_weight_at(k, row)] = (had_weight)value;
#else
    had_weight *word = w + (k * HAD_WORDS + row / 2U);
    *word = (row & 1U) == 0U ? value : *word + value * HAD_SECOND;
#endif
}

static inline void had_put_pair(had_weight *w, uint32_t k, uint32_t row, int32_t v0, int32_t v1) {
    had_put_last(w, k, row, v0);
    had_put_last(w, k + 1U, row, v1);
}

/* Terms beyond the last that kernels read. */
static inline void had_put_padding(had_weight *w, uint32_t terms, uint32_t row) {
#if HAD_MVE
    for (; terms % 16U != 0U; terms++) {
        had_put_last(w, terms, row, 0);
    }
#elif HAD_OCTET
    for (; terms % 4U != 0U; terms++) {
        had_put_last(w, terms, row, 0);
    }
#else
    (void)w;
    (void)terms;
    (void)row;
#endif
}
#endif

/* Terms k to k + 3 of row `row` for had_dot_row, in the order in which it takes x apart. */
static inline void had_put_quad(had_weight *w, uint32_t k, uint32_t row, const int32_t v[4]) {
#if HAD_DSP
    had_put_pair(w, k, row, v[0], v[2]);
    had_put_pair(w, k + 2U, row, v[1], v[3]);
#else
    had_put_pair(w, k, row, v[0], v[1]);
    had_put_pair(w, k + 2U, row, v[2], v[3]);
#endif
}

/* All terms of a row to 0, padding too; on a Cortex-M55 nothing hangs on a row that is not there. */
static inline void had_clear_row(had_weight *w, uint32_t terms, uint32_t row) {
#if HAD_MVE
    (void)w;
    (void)terms;
    (void)row;
#else
    for (uint32_t k = 0U; k + 1U < terms; k += 2U) {
        had_put_pair(w, k, row, 0, 0);
    }
    if ((terms & 1U) != 0U) {
        had_put_last(w, terms - 1U, row, 0);
    }
    had_put_padding(w, terms, row);
#endif
}

#if HAD_LONG
/* Columns of x: rows packed by had_long_pack_four, or by had_long_pack of values in [-7, 7] or [0, 15]. */
#define HAD_LONG_ROWS 0U
#define HAD_LONG_SIGNED 1U
#define HAD_LONG_POSITIVE 2U

/* Eight rows of weights times four columns of packed x; to be read by had_line. */
void had_long_product(int32_t total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x, const int32_t *w,
                      uint32_t terms, uint32_t kind);
#elif HAD_OCTET
/*
 * Eight rows of weights times four columns of x, `next` apart, whose values lie `step` apart: HAD_BATCH_STRIDE, or 1.
 * To be read by had_line.
 */
void had_octet_product(int32_t total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x, const int32_t *w,
                       uint32_t terms, uint32_t step, uint32_t next, const had_counted *counted);
#endif

/*
 * HAD_ROWS times HAD_COLUMNS products, to be read by had_line: total[r][c] = dot(x[.][c], w[.][r]), x being terms
 * rows of HAD_BATCH_STRIDE values (feature-major), w terms times HAD_WORDS weights.
 */
#if HAD_LONG
static inline void had_dot_columns(int32_t total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x,
                                   const had_weight *w, uint32_t terms,
                                   const had_counted *counted) {
    uint32_t kind = counted->sums != 0 ? HAD_LONG_POSITIVE : HAD_LONG_SIGNED;
    had_long_product(total, x, w, terms, kind);
}
#elif HAD_OCTET
static inline void had_dot_columns(int32_t total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x,
                                   const had_weight *w, uint32_t terms,
                                   const had_counted *counted) {
    had_octet_product(total, x, w, terms, HAD_BATCH_STRIDE, 1U, counted);
}
#elif HAD_DSP
/* x is what had_dsp_pack has made of its columns. */
void had_dsp_columns(had_total total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x, const had_weight *w,
                     uint32_t terms, const uint32_t *sums);

/* The same, of counted->sums. */
static inline void had_dot_columns(had_total total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x,
                                   const had_weight *w, uint32_t terms,
                                   const had_counted *counted) {
    had_dsp_columns(total, x, w, terms, counted->sums);
}
#elif !HAD_MVE /* see had_mve.h */
void had_dot_columns(had_total total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted);
#endif

/*
 * HAD_ROWS times HAD_TAPS products: total[r][t] = dot(x[t][.], w[.][r]), x rows of HAD_BATCH_STRIDE
 * values in [-7, 7], all HAD_TAPS of them.
 */
#if HAD_LONG
static inline void had_dot_row(int32_t total[HAD_PRODUCTS(HAD_TAPS)], const int8_t *x,
                               const had_weight *w, uint32_t terms, const had_counted *counted) {
    (void)counted;
    had_long_product(total, x, w, terms, HAD_LONG_ROWS);
}
#elif HAD_OCTET
static inline void had_dot_row(int32_t total[HAD_PRODUCTS(HAD_TAPS)], const int8_t *x,
                               const had_weight *w, uint32_t terms, const had_counted *counted) {
    had_octet_product(total, x, w, terms, 1U, HAD_BATCH_STRIDE, counted);
}
#else
void had_dot_row(had_total total[HAD_PRODUCTS(HAD_TAPS)], const int8_t *x, const had_weight *w,
                 uint32_t terms, const had_counted *counted);
#endif

/*
 * What had_dot_packed takes with every group of rows: sums of x by tile; with the DSP extension also, on a Cortex-M55
 * only, the terms behind the last whole tile and zeros.
 */
void had_dot_packed_sums(int32_t sums[HAD_PACKED_SUMS], const int8_t *x, uint32_t terms);

/*
 * total[r] = dot(x, row r) of HAD_VIEW_ROWS rows; nibble r of w[k] is weight k of row r plus 8; had_mve.h
 * and had_dsp.h have layouts of their own. positive: x is in [0, 15], not in [-7, 7].
 */
void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive);

#endif
