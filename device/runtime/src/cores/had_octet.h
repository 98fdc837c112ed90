/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of an octet: eight rows of weights, two in the 16-bit fields of each of four words a term, times one
 * value of x: what fourteen registers hold.
 *
 * A field holds the exact sum of a tile, |sum| <= tile_k * 105 < 2^15 (asserted), then the total of saturated
 * tiles, |total| <= D < 2^15 (codegen chooses this variant for such models only). While a tile is summed each
 * field is raised by 2^(acc_bits-1): words wrap, and no field is out of range if and only if none has a bit from
 * acc_bits on, which one test of all four words tells; few tiles saturate.
 */
#ifndef HAD_OCTET_H
#define HAD_OCTET_H

#include "../kernels/had_tile.h"
#include "hadapt/dot.h"

#if HAD_OCTET && !HAD_LONG
_Static_assert(HAD_FIELDS_FIT, "the sum of a tile must fit 16 bits");
_Static_assert(HAD_LANES == 4U && HAD_TAPS == 4U, "half an octet a block");

#endif

#endif
