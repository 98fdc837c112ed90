/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of feature-major x, HAD_LANES columns at once, with HAD_ROWS rows of weights.
 *
 * |total| <= min(ceil(terms / tile_k) 2^(acc_bits-1), terms * 105) < 2^31; see had_tile.h for a tile.
 */
#include "../cores/had_packed.h"
#include "had_panel.h"

#if HAD_DSP || HAD_OCTET || HAD_MVE
typedef int
    had_dot_columns_is_left_out; /* had_dsp_product.c, had_octet.c or had_dot_mve.c is chosen */
#elif HAD_PANEL
void had_dot_columns(int32_t out[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted) {
    had_panel_product(out, HAD_LANES, (const uint8_t *)x, w, terms, HAD_LANES / HAD_PANEL_BLOCK,
                      counted);
}
#elif HAD_ROWS > 1U
void had_dot_columns(int32_t out[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted) {
    int32_t total[HAD_SUMS];
    int32_t sums[HAD_SUMS];
    const int32_t *before = 0;
    while (terms > HAD_TILE_K) {
        had_packed_tile(sums, x, HAD_BATCH_STRIDE, 1U, w, HAD_TILE_K);
        had_packed_add(total, before, sums, counted);
        before = total;
        x += HAD_TILE_K * HAD_BATCH_STRIDE;
        w += HAD_TILE_K * HAD_WORDS;
        terms -= HAD_TILE_K;
    }
    had_packed_tile(sums, x, HAD_BATCH_STRIDE, 1U, w, terms);
    had_packed_end(out, before, sums, counted);
}
#else
#if HAD_SATURATE_EVERY_ADD
static void tile(had_acc *restrict acc, const int8_t *restrict x, const int8_t *restrict w,
                 uint32_t terms, uint32_t counted, had_tally *tally) {
    for (uint32_t k = 0U; k < terms; k++) {
        int32_t weight = w[k];
        HAD_COUNT(for (uint32_t c = 0U; c < HAD_LANES && c < counted; c++) {
            int32_t sum = acc[c] + x[c] * weight;
            tally->total += 1U;
            tally->saturated += sum != had_saturate_acc(sum) ? 1U : 0U;
        })
        HAD_UNROLL_LANES
        for (uint32_t c = 0U; c < HAD_LANES; c++) {
            acc[c] = (had_acc)had_saturate_acc(acc[c] + x[c] * weight);
        }
        x += HAD_BATCH_STRIDE;
    }
    (void)counted;
    (void)tally;
}
#else
static void tile(had_acc *restrict acc, const int8_t *restrict x, const int8_t *restrict w,
                 uint32_t terms, uint32_t counted, had_tally *tally) {
    for (uint32_t k = 0U; k < terms; k++) {
        int32_t weight = w[k];
        HAD_UNROLL_LANES
        for (uint32_t c = 0U; c < HAD_LANES; c++) {
            acc[c] = (had_acc)(acc[c] + x[c] * weight);
        }
        x += HAD_BATCH_STRIDE;
    }
    HAD_COUNT(for (uint32_t c = 0U; c < counted; c++) {
        tally->total += 1U;
        tally->saturated += acc[c] != had_saturate_acc(acc[c]) ? 1U : 0U;
    })
    (void)counted;
    (void)tally;
}
#endif

void had_dot_columns(int32_t total[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted) {
    for (uint32_t c = 0U; c < HAD_LANES; c++) {
        total[c] = 0;
    }
    while (terms > 0U) {
        uint32_t part = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        had_acc acc[HAD_LANES] = {0};
        tile(acc, x, w, part, counted->lanes, counted->tally);
        HAD_UNROLL_LANES
        for (uint32_t c = 0U; c < HAD_LANES; c++) {
            total[c] += had_saturate_acc(acc[c]);
        }
        x += part * HAD_BATCH_STRIDE;
        w += part;
        terms -= part;
    }
}
#endif
