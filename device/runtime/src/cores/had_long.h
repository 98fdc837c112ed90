/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of an octet by long multiplications: a word of two rows of weights times a half of two columns of x makes
 * four products in 64 bits.
 *
 * Weights: w + 2^24 w' of two rows; x: x + 4096 x' of two columns, packed in place of the two bytes (as a signed half
 * |x + 4096 x'| <= 7 + 28672 < 2^15; of x in [0, 15] as an unsigned one, <= 61455). Their product adds w x, w x', w' x and
 * w' x' to fields at 0, 12, 24 and 36. Each field starts a tile raised by 2^(acc_bits-1): S = raise + sum, for
 * |sum| <= 32 * 105 lies in [-3360, 3488 + 128), so it is within acc_bits if and only if its twelve bits say so: no other
 * multiple of 4096 away is in range. The lowest field out of range shows, for those below it lend nothing.
 * Saturated tiles stay raised and are added up in the fields: 16 tiles * 255 < 4096.
 */
#ifndef HAD_LONG_H
#define HAD_LONG_H

#include "../kernels/had_tile.h"
#include "hadapt/dot.h"

#if HAD_LONG
#define HAD_LONG_TILES 16U
#define HAD_LONG_MAX (1 << (HAD_ACC_BITS - 1)) /* what a field is raised by */
_Static_assert(HAD_TILE_K *HAD_TERM_MAX + 2 * HAD_LONG_MAX <= 4096, "fields out of range show");
_Static_assert(HAD_TILE_K * 56U < 2048U, "sums of x - 8, and of [-7, 7], fit a signed field");
_Static_assert(HAD_LONG_TILES * (2 * HAD_LONG_MAX - 1) < 4096, "saturated tiles fit a field");
_Static_assert(HAD_LANES == 4U && HAD_TAPS == 4U, "two pairs of columns a block");

/* Four sums of a tile not all within acc_bits: saturated, and raised again; w its weights up to end. */
void had_long_saturate(uint64_t sums[4], const int32_t *w, const int32_t *end, uint32_t kind);

/* Pack feature-major x in place, `rows` rows. */
void had_long_pack(int8_t *x, uint32_t rows);

/* Pack four rows in place: four columns of HAD_BATCH_STRIDE terms. */
void had_long_pack_four(int8_t *x);
#endif

#endif
