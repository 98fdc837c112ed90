/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products by pairs of terms in the halves of a word, two rows of weights in 12-bit fields of each half.
 *
 * A chunk is 32 terms of [-7, 7] or 16 of [0, 15], both by [-7, 7]: |sum| <= 32 * 49 = 1568 or
 * 16 * 105 = 1680, below 2^11, so a word's two sums come apart again. They are kept in 16-bit halves:
 * |sum of a tile| <= tile_k * 105 < 2^15 and |total| <= D < 2^15 (codegen, see had_packed.h). Weights:
 * |w + 4096 w'| <= 7 + 28672 < 2^15.
 */
#ifndef HAD_DSP_H
#define HAD_DSP_H

#include "hadapt/dot.h"

#if HAD_DSP
#define HAD_QUAD 4U
#define HAD_SUMS (HAD_WORDS * HAD_QUAD)
#define HAD_CHUNK_SIGNED 32U
#define HAD_CHUNK_POSITIVE 16U

#if defined(__GNUC__) && !defined(__clang__)
#define HAD_UNROLL_SUMS _Pragma("GCC unroll 8")
#else
#define HAD_UNROLL_SUMS
#endif

/* Spelled out: compilers would call memset for so little. */
static inline void had_dsp_clear(uint32_t total[HAD_SUMS]) {
    total[0] = total[1] = total[2] = total[3] = 0U;
    total[4] = total[5] = total[6] = total[7] = 0U;
}

/* Accumulators: value of x of rows 0 and 1, then of rows 2 and 3. Sums of a tile are those of its chunks. */
static inline void had_dsp_store(uint32_t tile[HAD_SUMS], const int32_t acc[HAD_SUMS],
                                 uint32_t first) {
    if (first != 0U) {
        HAD_UNROLL_SUMS
        for (uint32_t i = 0U; i < HAD_SUMS; i++) {
            tile[i] = had_fields12(acc[i]);
        }
    } else {
        HAD_UNROLL_SUMS
        for (uint32_t i = 0U; i < HAD_SUMS; i++) {
            tile[i] = had_add16(tile[i], had_fields12(acc[i]));
        }
    }
}

/*
 * Rows 2 j and 2 j + 1 of x, four columns at a time: two columns of both, then the other two. Done twice it
 * is undone.
 */
void had_dsp_exchange(int8_t *x, uint32_t rows);

/* End of a tile: totals, in halves, plus the saturated sums. */
void had_dsp_add(uint32_t total[HAD_SUMS], const uint32_t tile[HAD_SUMS]);

/* Each row gets its totals: out[row][value of x]. */
void had_dsp_end(int32_t out[HAD_ROWS * HAD_QUAD], const uint32_t total[HAD_SUMS]);
#endif

#endif
