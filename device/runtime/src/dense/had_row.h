/* SPDX-License-Identifier: Apache-2.0 */
/* One row of the 4-bit weight view, SPEC.md 5.1: used by the training forward and by had_view.c. */
#ifndef HAD_ROW_H
#define HAD_ROW_H

#include <stdint.h>

#include "hadapt/dot.h"
#include "hadapt/learner.h"

/* Quantiser of a row of masters, and the row's multiplier M_o for inputs of scale x_scale. */
had_multiplier had_row_prepare(had_quantizer *q, const had_master *w, const had_layer *layer,
                               uint32_t row, had_scale x_scale);

/* y of one accumulator, before saturation to 16 bits: |acc >> shift| < 2^15, so |v m| < 2^30. */
static inline int32_t had_row_output(int32_t acc, uint32_t acc_shift, had_multiplier m,
                                     int32_t bias) {
    return had_rhu(had_rhu(acc, acc_shift) * m.m, m.sh) + bias;
}

/* Row `row` of the 4-bit weights of a group, from masters. */
void had_row_quantize(had_learner *ln, const had_layer *layer, had_weight *wq, const had_master *w,
                      const had_quantizer *prepared, uint32_t row);

/* Value of a row of weights per master step: s f_o. */
had_scale had_row_scale(const had_layer *layer, uint32_t row);

#endif
