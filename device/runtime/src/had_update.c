/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update of masters, with stochastic rounding, SPEC.md 6.3 b. Its bounds stand in had_weight_grad.c.
 */
#include "had_update.h"

#include "hadapt/quant.h"
#include "hadapt/random.h"

#if HAD_ROWS != 8U
/* draw: u << 14. |w - delta| beyond the clamp is rare. */
static inline void update_one(had_master *w, int32_t acc, const had_update *update, uint32_t draw) {
    int32_t delta = (acc * update->step.m + (int32_t)(draw >> update->round)) >> update->step.sh;
    int32_t next = *w - delta;
    if ((uint32_t)next + HAD_MASTER_MAX > 2U * HAD_MASTER_MAX) {
        next = next < 0 ? -HAD_MASTER_MAX : HAD_MASTER_MAX;
        HAD_COUNT(update->tally->masters_saturated += 1U;)
    }
    *w = (had_master)next;
}

/* Masters i .. i + taps - 1 of a row. One word serves two neighbours: rows start at even indices. */
static void update_taps(had_master *w, const int32_t *acc, const had_update *row, uint32_t i,
                        uint32_t taps) {
    const had_update update = *row;
    uint32_t key = update.key + (i >> 1);
    for (; taps > 1U; taps -= 2U) {
        uint32_t word = had_mix(key);
        update_one(w, acc[0], &update, (word << 16) >> 2);
        update_one(w + 1, acc[1], &update, (word >> 16) << 14);
        w += 2;
        acc += 2;
        key++;
    }
    if (taps > 0U) {
        update_one(w, acc[0], &update, (had_mix(key) << 16) >> 2);
    }
}

void had_update_rows(had_master *w, const had_weight *dt, const int8_t *xh,
                     const had_update *update, uint32_t rows, uint32_t inputs) {
    had_counted counted = {0U, 0U, 0U, 0};
    HAD_COUNT(counted.tally = &update->tally->product[HAD_P_WEIGHT];
              for (uint32_t r = 0U; r < rows; r++) { counted.row_bits |= update[r].live << r; })
    for (uint32_t i = 0U; i < inputs; i += HAD_TAPS) {
        int32_t acc[HAD_ROWS * HAD_TAPS];
        uint32_t taps = inputs - i < HAD_TAPS ? inputs - i : HAD_TAPS;
        counted.lanes = taps;
        had_dot_row(acc, xh, dt, HAD_BATCH_PADDED, &counted);
        for (uint32_t r = 0U; r < rows; r++) {
            if (update[r].live != 0U) {
                update_taps(w + r * inputs + i, acc + r * HAD_TAPS, update + r, i, taps);
            }
        }
        xh += HAD_TAPS * HAD_BATCH_STRIDE;
    }
}
#else
typedef int had_update_is_left_out; /* see had_update_panel.c */
#endif
