/* SPDX-License-Identifier: Apache-2.0 */
/* The update of masters from the weight gradient, SPEC.md 6.3 b. */
#ifndef HAD_UPDATE_H
#define HAD_UPDATE_H

#include "hadapt/dot.h"
#include "hadapt/learner.h"

/* What a row's update needs. */
typedef struct had_update {
    had_multiplier step; /* learning rate over master step, per accumulator unit */
    uint32_t round;      /* 30 - sh: brings a draw's 30 bits below 2^sh */
    uint32_t key;        /* of the row's first random word */
    uint32_t live;       /* 0: the row is left as it is */
    had_layer_tally *tally;
} had_update;

/*
 * Masters of `rows` rows, at most HAD_ROWS, w being the first one's. Rows of xh go on to a multiple of
 * HAD_TAPS inputs.
 */
void had_update_rows(had_master *w, const had_weight *dt, const int8_t *xh,
                     const had_update *update, uint32_t rows, uint32_t inputs);

/* What all rows of a layer share. */
typedef struct had_rates {
    had_scale per_sample; /* 1 / B */
    had_multiplier bias;
} had_rates;

had_rates had_rates_of(const had_learner *ln, const had_layer *layer);

/* Update of row o, whose error has the range amax. */
had_update had_update_of(had_learner *ln, const had_layer *layer, const had_rates *rates,
                         int32_t amax, uint32_t o);

/* Move the bias of row o; gradient is the exact sum of its errors. */
void had_bias_update(had_learner *ln, const had_layer *layer, const had_rates *rates,
                     int32_t gradient, uint32_t o);

#endif
