/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of values on the vectors of a Cortex-M55: what the loops do that they stand for, with the same bounds.
 * In assembly, for GCC 12 miscompiles its own functions for these instructions.
 */
#ifndef HAD_MVE_ROWS_H
#define HAD_MVE_ROWS_H

#include "../dense/had_update.h"
#include "hadapt/dot.h"
#include "hadapt/layer.h"
#include "hadapt/quant.h"
#include "hadapt/random.h"

#if HAD_MVE_ASSEMBLY
/* had_quant_small(w >> q.k, q.r, 128) of the `count` masters of a row, to its places in a group. */
void had_mve_quantize_masters(int8_t *to, const had_master *w, const had_quantizer *q,
                              uint32_t count);

/* Largest magnitude of masters, and of `count` words. */
int32_t had_mve_amax_masters(const had_master *w, uint32_t count);
int32_t had_mve_amax(const int32_t *v, uint32_t count, int32_t so_far);

/* had_quant_within of `count` values, a multiple of 4, with the 8-bit draws from word `key` on. */
void had_mve_quantize_drawn(int8_t *to, const int32_t *v, const had_quantizer *q, uint32_t key,
                            uint32_t count);

/* `rows` rows of a block, from rows of `pitch` masters times their factors: those of `columns` lanes, zero in the others. */
void had_mve_block_weights(int32_t *block, const had_master *w, const uint8_t *factor,
                           uint32_t pitch, uint32_t rows, uint32_t columns);

/* had_quant_within of at most 16 rows of a block, to nearest: value (r, lane) to its place in a group. */
void had_mve_quantize_block(int8_t *to, const int32_t *block, const had_quantizer *q);

/* Update of `count` masters, the first draw being the low half of word `key`. */
void had_mve_update(had_master *w, const had_total *acc, const had_update *update, uint32_t key,
                    uint32_t count);

/* y of `count` accumulators, SPEC.md 5.2; returns the largest, at least y_max. */
int32_t had_mve_outputs(int16_t *y, const had_total *acc, had_multiplier m, int32_t bias,
                        int32_t y_max, uint32_t count);

/*
 * Errors of one input where its mask has bits, of `lanes` columns at most, else 0, in `columns` columns, a multiple of
 * eight; returns the largest magnitude, at least d_max.
 */
int32_t had_mve_mask_errors(int16_t *d, const had_total *acc, const uint8_t *mask, uint32_t lanes,
                            uint32_t columns, int32_t d_max);

/* had_activate of `count` columns, a multiple of eight: q's range is no less than any y. */
void had_mve_activate(int8_t *x, uint8_t *mask, const int16_t *y, const had_quantizer *q,
                      uint32_t count);

/* Pairs of packed values of x0 to two rows each of a column. */
void had_mve_unpack(int8_t *x0, const uint8_t *packed, uint32_t pairs);

/* had_quant_positive of the outputs of `count` accumulators of an inference, rounded biases being rhu(bias, 16). */
void had_mve_hidden(int8_t *out, const int32_t *acc, uint32_t acc_shift, const uint16_t *mult,
                    const uint8_t *shift, const int32_t *bias, const had_quantizer *q,
                    uint32_t count);

/* had_input_stage_run; low and shift as in had_quant_static. */
void had_mve_input_stage(int8_t *out, const uint8_t *raw, const had_input_stage *stage,
                         const had_quantizer *q, int32_t low, uint32_t shift);
#endif

#endif
