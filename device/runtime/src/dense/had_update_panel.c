/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update of masters for cores with wide vectors, SPEC.md 6.3 b: as had_update.c, in loops that compilers
 * make vectors of. Its bounds stand in had_weight_grad.c.
 */
#include <string.h>

#include "../cores/had_mve_rows.h"
#include "../kernels/had_panel.h"
#include "had_update.h"
#include "hadapt/quant.h"
#include "hadapt/random.h"

#if HAD_PANEL
#if HAD_MVE
#define CHUNK HAD_MVE_CHUNK
#else
#define CHUNK HAD_PANEL_CHUNK
#endif

#if !HAD_MVE_ASSEMBLY
/* 16-bit draws: halves of words, the low one first, as they lie in memory. */
static void draw(uint16_t u[CHUNK], uint32_t key) {
    uint32_t word[CHUNK / 2U];
    for (uint32_t j = 0U; j < CHUNK / 2U; j++) {
        word[j] = had_mix(key + j);
    }
    memcpy(u, word, sizeof word);
}

static void update_row(had_master *restrict w, const had_total *restrict acc, const had_update *row,
                       uint32_t first, uint32_t count) {
    const had_update update = *row;
    uint16_t u[CHUNK];
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

#endif

/* Products of `count` inputs from `first` on; xh as had_operand_rows gives it. */
static void products(had_total acc[8U * CHUNK], const int8_t *xh, const had_weight *dt,
                     uint32_t first, uint32_t count, had_counted *counted) {
    counted->lanes = count;
#if HAD_MVE
    had_mve_rows(acc, xh + first * HAD_BATCH_STRIDE, dt, counted);
#else
    had_panel_product(acc, CHUNK, (const uint8_t *)xh + first * HAD_BATCH_PADDED, dt,
                      HAD_BATCH_PADDED, (count + HAD_PANEL_BLOCK - 1U) / HAD_PANEL_BLOCK, counted);
#endif
}

void had_update_rows(had_master *w, const had_weight *dt, const int8_t *xh,
                     const had_update *update, uint32_t rows, uint32_t inputs) {
    had_counted counted = {0U, 0U, 0, 0};
    HAD_COUNT(counted.tally = &update->tally->product[HAD_P_WEIGHT];
              for (uint32_t r = 0U; r < rows; r++) { counted.row_bits |= update[r].live << r; })
    for (uint32_t i = 0U; i < inputs; i += CHUNK) {
        had_total acc[8U * CHUNK];
        uint32_t left = inputs - i < CHUNK ? inputs - i : CHUNK;
        products(acc, xh, dt, i, left, &counted);
        for (uint32_t r = 0U; r < rows; r++) {
            if (update[r].live != 0U) {
#if HAD_MVE_ASSEMBLY
                had_mve_update(w + r * inputs + i, acc + r * CHUNK, update + r,
                               update[r].key + i / 2U, left);
#else
                update_row(w + r * inputs + i, acc + r * CHUNK, update + r, i, left);
#endif
            }
        }
    }
}
#else
typedef int had_update_panel_is_left_out; /* another variant is chosen */
#endif
