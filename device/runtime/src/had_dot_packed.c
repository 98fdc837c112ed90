/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of one 4-bit vector with HAD_VIEW_ROWS rows of packed weights: inference.
 *
 * A word holds one weight of eight rows, each plus 8; rows r and r + 4 share a product. The sum of 8 x is
 * taken away from both fields at the end of a tile: what is left is the exact sum, |sum| <= tile_k * 105 < 2^15.
 * |total| <= min(ceil(terms / tile_k) 2^(acc_bits-1), terms * 105).
 */
#include "had_tile.h"
#include "hadapt/dot.h"

#define BIAS 8U
#define BOTH_FIELDS 0x00010001U

#if HAD_FIELDS_FIT
#define FIELDS 0x000F000FU

static void add_fields(int32_t *total, uint32_t word, uint32_t bias, uint32_t first) {
    int32_t fields = (int32_t)(word - bias);
    int32_t low = had_field_low(fields);
    int32_t high = had_saturate_acc(had_field_high(fields, low));
    low = had_saturate_acc(low);
    total[0] = first != 0U ? low : total[0] + low;
    total[HAD_VIEW_ROWS / 2U] = first != 0U ? high : total[HAD_VIEW_ROWS / 2U] + high;
}

static void tile(int32_t *total, const int8_t *x, const uint32_t *w, uint32_t terms,
                 uint32_t first) {
    uint32_t a0 = 0U, a1 = 0U, a2 = 0U, a3 = 0U, sum = 0U;
    for (uint32_t k = 0U; k < terms; k++) {
        uint32_t word = w[k];
        uint32_t value = (uint32_t)x[k];
        sum += value;
        a0 += (word & FIELDS) * value;
        a1 += (word >> 4 & FIELDS) * value;
        a2 += (word >> 8 & FIELDS) * value;
        a3 += (word >> 12 & FIELDS) * value;
    }
    uint32_t bias = sum * (BIAS * BOTH_FIELDS);
    add_fields(total, a0, bias, first);
    add_fields(total + 1, a1, bias, first);
    add_fields(total + 2, a2, bias, first);
    add_fields(total + 3, a3, bias, first);
}
#else
static void tile(int32_t *total, const int8_t *x, const uint32_t *w, uint32_t terms,
                 uint32_t first) {
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r++) {
        int32_t acc = 0;
        for (uint32_t k = 0U; k < terms; k++) {
            acc += x[k] * ((int32_t)(w[k] >> (4U * r) & 0xFU) - (int32_t)BIAS);
#if HAD_SATURATE_EVERY_ADD
            acc = had_saturate_acc(acc);
#endif
        }
        acc = had_saturate_acc(acc);
        total[r] = first != 0U ? acc : total[r] + acc;
    }
}
#endif

void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms) {
    for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
        uint32_t part = terms - k < HAD_TILE_K ? terms - k : HAD_TILE_K;
        tile(total, x + k, w + k, part, k == 0U ? 1U : 0U);
    }
}
