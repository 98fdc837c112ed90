/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products along contiguous rows: HAD_TAPS rows of x with HAD_ROWS rows of weights.
 *
 * |total| <= min(ceil(terms / tile_k) 2^(acc_bits-1), terms * 49): both operands are in [-7, 7].
 */
#include "../cores/had_packed.h"

#if HAD_DSP || HAD_OCTET
typedef int had_dot_row_is_left_out; /* had_dsp.c or had_octet.c is chosen */
#elif HAD_ROWS == 2U || HAD_ROWS == 4U
void had_dot_row(int32_t out[HAD_ROWS * HAD_TAPS], const int8_t *x, const had_weight *w,
                 uint32_t terms, const had_counted *counted) {
    int32_t total[HAD_SUMS];
    int32_t sums[HAD_SUMS];
    const int32_t *before = 0;
    while (terms > HAD_TILE_K) {
        had_packed_tile(sums, x, 1U, HAD_BATCH_STRIDE, w, HAD_TILE_K);
        had_packed_add(total, before, sums, counted);
        before = total;
        x += HAD_TILE_K * 1U;
        w += HAD_TILE_K * HAD_WORDS;
        terms -= HAD_TILE_K;
    }
    had_packed_tile(sums, x, 1U, HAD_BATCH_STRIDE, w, terms);
    had_packed_end(out, before, sums, counted);
}
#elif HAD_ROWS == 1U
/*@ requires terms <= 20000 && \valid_read(a + (0 .. terms - 1)) && \valid_read(b + (0 .. terms - 1));
    requires \forall integer k; 0 <= k < terms ==> -7 <= a[k] <= 7 && -7 <= b[k] <= 7;
    assigns \nothing;
    ensures HAD_ACC_MIN <= \result <= HAD_ACC_MAX; */
static int32_t tile(const int8_t *restrict a, const int8_t *restrict b, uint32_t terms,
                    had_tally *tally) {
    int32_t acc = 0;
    /*@ loop invariant 0 <= k <= terms && -49 * k <= acc <= 49 * k;
        loop assigns k, acc;
        loop variant terms - k; */
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

static int32_t row(const int8_t *a, const int8_t *b, uint32_t terms, had_tally *tally) {
    int32_t total = 0;
    while (terms > HAD_TILE_K) {
        total += tile(a, b, HAD_TILE_K, tally);
        a += HAD_TILE_K;
        b += HAD_TILE_K;
        terms -= HAD_TILE_K;
    }
    return total + tile(a, b, terms, tally);
}

void had_dot_row(int32_t total[HAD_ROWS * HAD_TAPS], const int8_t *x, const had_weight *w,
                 uint32_t terms, const had_counted *counted) {
    for (uint32_t t = 0U; t < counted->lanes; t++) {
        total[t] = row(w, x + t * HAD_BATCH_STRIDE, terms, counted->tally);
    }
}
#else
typedef int had_dot_row_is_left_out; /* see had_panel.h */
#endif
