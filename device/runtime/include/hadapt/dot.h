/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of 4-bit operands, SPEC.md 1.8. One file a kernel; a build may replace one by a
 * variant for its core, which must give the same bits.
 */
#ifndef HADAPT_DOT_H
#define HADAPT_DOT_H

#include <stdint.h>

#include "hadapt/counters.h"

/*
 * HAD_LANES products at once: total[c] = dot(x[.][c], w), x being terms rows of HAD_BATCH_STRIDE
 * values (feature-major), w contiguous. The first counted lanes are counted in tally.
 */
void had_dot_columns(int32_t total[HAD_LANES], const int8_t *x, const int8_t *w, uint32_t terms,
                     uint32_t counted, had_tally *tally);

/* dot(a, b), both contiguous. */
int32_t had_dot_row(const int8_t *a, const int8_t *b, uint32_t terms, had_tally *tally);

/* dot(x, w), w packed two values a byte, the first in the low nibble. */
int32_t had_dot_packed(const int8_t *x, const uint8_t *w, uint32_t terms);

#endif
