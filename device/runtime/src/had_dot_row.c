/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating product of two contiguous rows.
 *
 * |total| <= min(ceil(terms / tile_k) 2^(acc_bits-1), terms * 49): both operands are in [-7, 7].
 */
#include "had_tile.h"
#include "hadapt/dot.h"

static int32_t tile(const int8_t *restrict a, const int8_t *restrict b, uint32_t terms,
                    had_tally *tally) {
    int32_t acc = 0;
    for (uint32_t k = 0U; k < terms; k++) {
        acc += a[k] * b[k];
#if HAD_SATURATE_EVERY_ADD
        HAD_COUNT(tally->total += 1U; tally->saturated += acc != had_saturate_acc(acc) ? 1U : 0U;)
        acc = had_saturate_acc(acc);
#endif
    }
#if !HAD_SATURATE_EVERY_ADD
    HAD_COUNT(tally->total += 1U; tally->saturated += acc != had_saturate_acc(acc) ? 1U : 0U;)
#endif
    (void)tally;
    return had_saturate_acc(acc);
}

int32_t had_dot_row(const int8_t *a, const int8_t *b, uint32_t terms, had_tally *tally) {
    int32_t total = 0;
    while (terms > HAD_TILE_K) {
        total += tile(a, b, HAD_TILE_K, tally);
        a += HAD_TILE_K;
        b += HAD_TILE_K;
        terms -= HAD_TILE_K;
    }
    return total + tile(a, b, terms, tally);
}
