/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update of masters, with stochastic rounding, SPEC.md 6.3 b. Its bounds stand in had_weight_grad.c.
 */
#include "had_update.h"

#include "../cores/had_dsp.h"

#include "hadapt/quant.h"
#include "hadapt/random.h"

#if !HAD_PANEL
/* draw: u << 14. |w - delta| beyond the clamp is rare. */
static inline void update_one(had_master *w, int32_t acc, const had_update *update, uint32_t draw) {
    int32_t delta = (acc * update->step.m + (int32_t)(draw >> update->round)) >> update->step.sh;
    int32_t next = *w - delta;
    if (__builtin_expect((uint32_t)next + HAD_MASTER_MAX > 2U * HAD_MASTER_MAX, 0)) {
        next = next < 0 ? -HAD_MASTER_MAX : HAD_MASTER_MAX;
        HAD_COUNT(update->tally->masters_saturated += 1U;)
    }
    *w = (had_master)next;
}

#define STRETCH                                                                                    \
    ((HAD_DSP ? 8U : 4U) *                                                                         \
     HAD_TAPS) /* inputs whose products are taken before their masters are updated */

/*
 * Masters of a row from an even index on: HAD_TAPS totals lie together, those of all rows in between (of an octet: every HAD_WORDS words).
 * One word serves two neighbours: rows start at even indices. Not inlined: the loop needs every register.
 */
__attribute__((noinline)) static void update_row(had_master *w, had_line acc, const had_update *row,
                                                 uint32_t i, uint32_t count) {
    const had_update update = *row;
    uint32_t key = update.key + (i >> 1);
    uint32_t at = 0U;
#if HAD_DSP_MASTERS
    at = update.step.sh >= 16U ? count & ~3U : 0U; /* of fewer bits a step of no use */
    if (at != 0U) {
        had_dsp_update(w, acc.at, key, at, update.step.m << (32U - update.step.sh));
    }
    for (; at < count; at++) { /* few: in as little code as possible */
        uint32_t word = had_mix(key + at / 2U);
        int32_t total = acc.at[HAD_PRODUCTS(at & ~3U) + (at & 3U)];
        update_one(w + at, total, &update,
                   ((at & 1U) == 0U ? word << 16 : word & 0xFFFF0000U) >> 2);
    }
#else
    for (; at + 1U < count; at += 2U) {
        uint32_t word = had_mix(key);
        update_one(w + at, had_line_total(&acc, 0U), &update, (word << 16) >> 2);
        update_one(w + at + 1U, had_line_total(&acc, 1U), &update, (word >> 16) << 14);
#if HAD_OCTET
        acc.at += HAD_PRODUCTS(2U);
#else
        acc.at += (at + 2U) % HAD_TAPS != 0U ? 2U : (HAD_ROWS - 1U) * HAD_TAPS + 2U;
#endif
        key++;
    }
    if (at < count) {
        update_one(w + at, had_line_total(&acc, 0U), &update, (had_mix(key) << 16) >> 2);
    }
#endif
}

/* Products of all rows with `count` inputs. */
static inline void products(had_total *acc, const int8_t *xh, const had_weight *dt, uint32_t count,
                            had_counted *counted) {
#if HAD_DSP && HAD_DSP_FIELDS
    (void)counted;
    had_dsp_rows(acc, (const uint32_t *)(const void *)xh, dt, HAD_BATCH_PADDED, 0,
                 (count + HAD_TAPS - 1U) / HAD_TAPS);
#else
    for (uint32_t at = 0U; at < count; at += HAD_TAPS) {
        counted->lanes = count - at < HAD_TAPS ? count - at : HAD_TAPS;
#if HAD_DSP
        had_dsp_rows(acc, (const uint32_t *)(const void *)xh, dt, HAD_BATCH_PADDED, 0, 1U);
#else
        had_dot_row(acc, xh, dt, HAD_BATCH_PADDED, counted);
#endif
        acc += HAD_PRODUCTS(HAD_TAPS);
        xh += HAD_TAPS * HAD_BATCH_STRIDE;
    }
#endif
}

void had_update_rows(had_master *w, const had_weight *dt, const int8_t *xh,
                     const had_update *update, uint32_t rows, uint32_t inputs) {
    had_counted counted = {0U, 0U, 0, 0};
    HAD_COUNT(counted.tally = &update->tally->product[HAD_P_WEIGHT];
              for (uint32_t r = 0U; r < rows; r++) { counted.row_bits |= update[r].live << r; })
    for (uint32_t i = 0U; i < inputs; i += STRETCH) {
        had_total acc[HAD_PRODUCTS(STRETCH)];
        uint32_t count = inputs - i < STRETCH ? inputs - i : STRETCH;
        products(acc, xh, dt, count, &counted);
        xh += STRETCH * HAD_BATCH_STRIDE;
        for (uint32_t r = 0U; r < rows; r++) {
            if (update[r].live != 0U) {
                update_row(w + r * inputs + i, had_line_of(acc, r, HAD_TAPS), update + r, i, count);
            }
        }
    }
}
#else
typedef int had_update_is_left_out; /* see had_update_panel.c */
#endif
