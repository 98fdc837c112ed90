/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of HAD_ORDER features by HAD_LANES columns, loaded and transformed, SPEC.md 6.3 a. */
#ifndef HAD_BLOCK_H
#define HAD_BLOCK_H

#include <stdint.h>

#include "hadapt/learner.h"

/*
 * Transformed errors of outputs first .. first + HAD_ORDER - 1 (zero beyond the last) in `columns` batch
 * columns from `column` on; the other lanes are zero. |v| <= HAD_ORDER * 2^15.
 */
void had_block_errors(int32_t *block, const int16_t *d, const had_layer *layer, uint32_t first,
                      uint32_t column, uint32_t columns);

/* The same of masters times row factors, columns being inputs. |v| <= HAD_ORDER * 2^23. */
void had_block_weights(int32_t *block, const had_master *w, const had_layer *layer, uint32_t first,
                       uint32_t column, uint32_t columns);

/* Largest magnitude in a block, at least `so_far`. */
int32_t had_block_max(const int32_t *block, int32_t so_far);

/* Zeros behind the batch in rows of dh: the product reads them, in lanes whose results are dropped. */
static inline void had_clear_columns(int8_t *dh, uint32_t rows) {
    for (const int8_t *end = dh + rows * HAD_BATCH_STRIDE; dh != end; dh += HAD_BATCH_STRIDE) {
        for (uint32_t b = HAD_BATCH; b < HAD_BATCH_STRIDE; b++) {
            dh[b] = 0;
        }
    }
}

#endif
