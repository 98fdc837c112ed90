/* SPDX-License-Identifier: Apache-2.0 */
/* The update of masters from the weight gradient, SPEC.md 6.3 b. */
#ifndef HAD_UPDATE_H
#define HAD_UPDATE_H

#include "hadapt/dot.h"
#include "hadapt/layer.h"

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

#endif
