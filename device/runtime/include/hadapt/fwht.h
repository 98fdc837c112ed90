/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast Walsh-Hadamard transform of order HAD_ORDER, SPEC.md 1.7: exact, unnormalised, in place.
 * Each of the log2(n) passes grows magnitudes by one bit at most; callers give |v| < 2^25.
 */
#ifndef HADAPT_FWHT_H
#define HADAPT_FWHT_H

#include <stdint.h>

#include "hadapt/core.h"

/* Consecutive blocks of HAD_ORDER along v; count is a multiple of HAD_ORDER. */
void had_fwht_row(int32_t *v, uint32_t count);

/*
 * All but the butterflies of neighbours, on words that hold two neighbours as low + high * 2^16; magnitudes
 * stay below 2^15 / HAD_ORDER. count is in words.
 */
void had_fwht_pairs(int32_t *v, uint32_t count);

/* HAD_LANES transforms side by side: element r of lane c is v[r * HAD_LANES + c]. */
void had_fwht_columns(int32_t v[HAD_ORDER * HAD_LANES]);

#endif
