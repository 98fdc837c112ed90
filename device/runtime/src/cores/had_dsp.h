/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products by pairs of terms in the halves of a word, two columns of x in 12-bit fields of each half: a
 * multiplication of halves makes four products.
 *
 * Packed x: for a pair of terms k, k + 1 and four columns two words, whose halves are x[k][0] + 4096 x[k][1] and the same
 * of k + 1, then columns 2 and 3. |x + 4096 x'| <= 7 + 28672 < 2^15; of x in [0, 15] the second column is packed
 * as x' - 8, from -32768 to 15 + 28672. A chunk is 32 terms of [-7, 7] or 16 of [0, 15], by [-7, 7]: the low field's
 * |sum| <= 32 * 49 = 1568 or 16 * 105 = 1680, below 2^11, so the two come apart again. The high field has 20 bits. Sums of
 * a tile and totals are 16-bit halves: |sum of a tile| <= tile_k * 105 < 2^15 and |total| <= D < 2^15 (codegen).
 *
 * The view of inference has four words for four terms of eight rows, two for terms k and k + 2, two for k + 1 and k + 3, of each two the
 * first for rows 0 to 3. A half of a word is a term; of its nibbles the lowest is an even row's weight plus 8, the
 * highest an odd row's weight, and the other two are so once the word is turned by eight bits.
 */
#ifndef HAD_DSP_H
#define HAD_DSP_H

#include "hadapt/dot.h"
#include "hadapt/layer.h"

#if HAD_DSP
#define HAD_DSP_RAISE 0x80008000U /* of packed x in [0, 15] */
#define HAD_DSP_SUMS (HAD_TILES * HAD_ROWS)

/* 1: tiles are of 8 bits, and so few that their sums can be added in the 12-bit fields: had_dsp_fields.c. */
#if HAD_ACC_BITS == 8 && HAD_TILES <= 16U && HAD_MAX_CLASSES <= 16U * HAD_TILE_K &&                \
    HAD_BATCH_PADDED <= 16U * HAD_TILE_K && !defined(HAD_CONV_LAYERS)
#define HAD_DSP_FIELDS 1
#else
#define HAD_DSP_FIELDS 0
#endif

/* What both fields of a sum start from there. */
#define HAD_DSP_START 0x00080080U

/* Bits by which the nibble of term k of a row of the view is shifted, in word had_dsp_view_word of its group. */
static inline uint32_t had_dsp_view_shift(uint32_t row, uint32_t k) {
    static const uint8_t place[4] = {0U, 12U, 8U, 20U};
    return (place[row % 4U] + (k >> 1 & 1U) * 16U) % 32U;
}

static inline uint32_t had_dsp_view_word(uint32_t row, uint32_t k) {
    return (k & ~3U) + (k & 1U) * 2U + row / 4U;
}

/* Pack feature-major x in place, `rows` rows; to an even number: what is there meets a weight of zero. */
void had_dsp_pack(int8_t *x, uint32_t rows, uint32_t raise);

/* The other way round. */
void had_dsp_unpack(int8_t *x, uint32_t rows, uint32_t raise);

/* Pack `terms` terms, a multiple of four, of four contiguous rows of x; the terms of a pair are two apart. */
void had_dsp_pack_rows(uint32_t *to, const int8_t *x, uint32_t terms);

/* The same in place. */
void had_dsp_pack_four(int8_t *x);

/*
 * For products with x in [0, 15], four words a tile: in the high half what the packing has taken away, 8 times the sum of
 * a row's weights; in the low one -2048 for each chunk, by which the kernel raises the low field. With HAD_DSP_FIELDS instead
 * what a row's sums start from, with 8 times the sum of its weights in the high field.
 */
void had_dsp_sums(uint32_t *sums, const had_weight *w, uint32_t terms);

/*
 * had_dsp_columns for rows as had_dsp_pack_rows gives them; `blocks` times HAD_TAPS rows, 1 where HAD_DSP_FIELDS is 0, each
 * HAD_TAPS * HAD_BATCH_STRIDE bytes behind the one before.
 */
void had_dsp_rows(had_total *out, const uint32_t *x, const had_weight *w, uint32_t terms,
                  const uint32_t *sums, uint32_t blocks);

#if HAD_DSP_ASSEMBLY && HAD_MASTER_BITS == 8
#define HAD_DSP_MASTERS 1
/* had_quant_small(w, r, 128) of `count` masters, to a row of weights. */
void had_dsp_quantize(had_weight *to, const had_master *w, int32_t r, uint32_t count);

/* The update of `count` masters, a multiple of four that is not 0: step is m 2^(32 - sh), sh >= 16; the first word's key. */
void had_dsp_update(had_master *w, const had_total *acc, uint32_t key, uint32_t count,
                    int32_t step);

/* Largest magnitude of `count` masters. */
int32_t had_dsp_amax(const had_master *w, uint32_t count);
#endif
#endif

#ifndef HAD_DSP_MASTERS
#define HAD_DSP_MASTERS 0
#endif

#endif
