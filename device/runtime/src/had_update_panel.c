/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update of masters for cores with wide vectors, SPEC.md 6.3 b: as had_update.c, in loops that compilers
 * make vectors of. Its bounds stand in had_weight_grad.c.
 */
#include <string.h>

#include "had_panel.h"
#include "had_update.h"
#include "hadapt/quant.h"
#include "hadapt/random.h"

#if HAD_PANEL
/* 16-bit draws: halves of words, the low one first, as they lie in memory. */
static void draw(uint16_t u[HAD_PANEL_CHUNK], uint32_t key) {
    uint32_t word[HAD_PANEL_CHUNK / 2U];
    for (uint32_t j = 0U; j < HAD_PANEL_CHUNK / 2U; j++) {
        word[j] = had_mix(key + j);
    }
    memcpy(u, word, sizeof word);
}

static void update_row(had_master *restrict w, const int32_t *restrict acc, const had_update *row,
                       uint32_t first, uint32_t count) {
    const had_update update = *row;
    uint16_t u[HAD_PANEL_CHUNK];
    draw(u, update.key + first / 2U);
    for (uint32_t i = 0U; i < count; i++) {
        uint32_t addend = (uint32_t)u[i] << 14 >> update.round;
        int32_t delta = (acc[i] * update.step.m + (int32_t)addend) >> update.step.sh;
        int32_t next = w[i] - delta;
        int32_t clamped = had_clamp(next, -HAD_MASTER_MAX, HAD_MASTER_MAX);
        HAD_COUNT(update.tally->masters_saturated += next != clamped ? 1U : 0U;)
        w[i] = (had_master)clamped;
    }
}

void had_update_rows(had_master *w, const had_weight *dt, const int8_t *xh,
                     const had_update *update, uint32_t rows, uint32_t inputs) {
    had_counted counted = {0U, 0U, 0U, 0};
    HAD_COUNT(counted.tally = &update->tally->product[HAD_P_WEIGHT];
              for (uint32_t r = 0U; r < rows; r++) { counted.row_bits |= update[r].live << r; })
    const uint8_t *panel = (const uint8_t *)xh;
    for (uint32_t i = 0U; i < inputs; i += HAD_PANEL_CHUNK) {
        int32_t acc[8U * HAD_PANEL_CHUNK];
        uint32_t left = inputs - i < HAD_PANEL_CHUNK ? inputs - i : HAD_PANEL_CHUNK;
        counted.lanes = left;
        had_panel_product(acc, HAD_PANEL_CHUNK, panel, dt, HAD_BATCH_PADDED,
                          (left + HAD_PANEL_BLOCK - 1U) / HAD_PANEL_BLOCK, &counted);
        for (uint32_t r = 0U; r < rows; r++) {
            if (update[r].live != 0U) {
                update_row(w + r * inputs + i, acc + r * HAD_PANEL_CHUNK, update + r, i, left);
            }
        }
        panel += HAD_BATCH_PADDED * HAD_PANEL_CHUNK;
    }
}
#else
typedef int had_update_panel_is_left_out; /* another variant is chosen */
#endif
