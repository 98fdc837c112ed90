/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops over whole rows for hosts with wide vectors (HAD_ROWS 8): the same values as the element-wise code they
 * stand for, in a form that compilers make vectors of. Bounds as there.
 */
#ifndef HAD_WIDE_H
#define HAD_WIDE_H

#include <string.h>

#include "../cores/had_mve_rows.h"
#include "hadapt/quant.h"
#include "hadapt/random.h"
#include "hadapt/train.h"

#if HAD_PANEL && !defined(HAD_COUNTERS)
#define HAD_WIDE 1
#else
#define HAD_WIDE 0
#endif

#if HAD_WIDE
#define HAD_WIDE_DRAWS (HAD_BATCH_PADDED < 64U ? HAD_BATCH_PADDED : 64U) /* at once */

#if !HAD_MVE_ASSEMBLY
/* 8-bit draws: bytes of the words from `key` on, the low one first, as they lie in memory. */
static inline void had_wide_draws(uint8_t u[HAD_WIDE_DRAWS], uint32_t key) {
    uint32_t word[HAD_WIDE_DRAWS / 4U];
    for (uint32_t j = 0U; j < HAD_WIDE_DRAWS / 4U; j++) {
        word[j] = had_mix(key + j);
    }
    memcpy(u, word, sizeof word);
}
#endif

/* q of `count` values, within the quantiser's range, draws from word `key` on. */
static inline void had_wide_quantize(int8_t *restrict q, const int32_t *restrict v,
                                     const had_quantizer *prepared, uint32_t key, uint32_t count) {
#if HAD_MVE_ASSEMBLY
    had_mve_quantize_drawn(q, v, prepared, key, count);
#else
    const had_quantizer z = *prepared;
    for (uint32_t first = 0U; first < count; first += HAD_WIDE_DRAWS) {
        uint8_t u[HAD_WIDE_DRAWS];
        uint32_t left = count - first < HAD_WIDE_DRAWS ? count - first : HAD_WIDE_DRAWS;
        had_wide_draws(u, key + first / 4U);
        for (uint32_t j = 0U; j < left; j++) {
            q[first + j] = (int8_t)had_quant_within(v[first + j], &z, u[j]);
        }
    }
#endif
}

/* Eight bits of a mask: bit c is set where y[c] > 0. */
static inline uint8_t had_wide_mask(const int16_t *y) {
    uint8_t positive[8];
    uint64_t bytes;
    for (uint32_t c = 0U; c < 8U; c++) {
        positive[c] = y[c] > 0 ? 1U : 0U;
    }
    memcpy(&bytes, positive, sizeof bytes);
    return (uint8_t)(bytes * 0x0102040810204080U >> 56); /* byte c, 0 or 1, to bit c */
}

/* All ones where the mask's bit is set, else 0, for the first `columns` columns; 0 behind them. */
static inline void had_wide_keep(int16_t keep[HAD_LANES], const uint8_t *mask, uint32_t columns) {
    for (uint32_t b = 0U; b < HAD_LANES; b += 8U) {
        uint32_t bits = mask[b / 8U];
        for (uint32_t c = 0U; c < 8U; c++) {
            keep[b + c] = (int16_t)-(int32_t)(bits >> c & 1U);
        }
    }
    for (uint32_t b = columns; b < HAD_LANES; b++) {
        keep[b] = 0;
    }
}
#endif

#endif
