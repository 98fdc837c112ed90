/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating product of one 4-bit vector with a row of packed weights: inference.
 *
 * |total| <= min(ceil(terms / tile_k) 2^(acc_bits-1), terms * 105); see had_tile.h for a tile.
 */
#include "had_tile.h"
#include "hadapt/dot.h"
#include "hadapt/exemplar.h"

int32_t had_dot_packed(const int8_t *x, const uint8_t *w, uint32_t terms) {
    int32_t total = 0;
    for (uint32_t start = 0U; start < terms; start += HAD_TILE_K) {
        uint32_t end = terms - start < HAD_TILE_K ? terms : start + HAD_TILE_K;
        int32_t acc = 0;
        for (uint32_t k = start; k < end; k++) {
            acc += x[k] * had_nibble(w, k, 1U);
#if HAD_SATURATE_EVERY_ADD
            acc = had_saturate_acc(acc);
#endif
        }
        total += had_saturate_acc(acc);
    }
    return total;
}
