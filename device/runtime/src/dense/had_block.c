/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of the transforms over outputs, SPEC.md 6.3 a; bounds in had_block.h. */
#include "../arithmetic/had_cold.h"

#include "had_block.h"

#include "../arithmetic/had_grow.h"
#include "../cores/had_mve_rows.h"
#include "../kernels/had_tile.h"

#include "hadapt/fwht.h"

#define BLOCK_VALUES (HAD_ORDER * HAD_LANES)

static uint32_t block_rows(const had_layer *layer, uint32_t first) {
    uint32_t rows = layer->outputs - first;
    return rows < HAD_ORDER ? rows : HAD_ORDER;
}

/* Zeros where `rows` rows of so many columns leave some: behind whole rows, or everywhere. */
static void clear(int32_t *block, uint32_t rows, uint32_t columns) {
    for (uint32_t j = columns == HAD_LANES ? rows * HAD_LANES : 0U; j < BLOCK_VALUES; j++) {
        block[j] = 0;
    }
}

void had_block_errors(int32_t *block, const int16_t *d, const had_layer *layer, uint32_t first,
                      uint32_t column, uint32_t columns) {
    uint32_t rows = block_rows(layer, first);
    d += first * HAD_BATCH_STRIDE + column;
    clear(block, rows, columns);
    for (uint32_t r = 0U; columns == HAD_LANES && r < rows; r++) {
        HAD_UNROLL_LANES
        for (uint32_t c = 0U; c < HAD_LANES; c++) {
            block[r * HAD_LANES + c] = d[r * HAD_BATCH_STRIDE + c];
        }
    }
    for (uint32_t r = 0U; columns != HAD_LANES && r < rows; r++) {
        for (uint32_t c = 0U; c < columns; c++) {
            block[r * HAD_LANES + c] = d[r * HAD_BATCH_STRIDE + c];
        }
    }
    had_fwht_columns(block);
}

void had_block_weights(int32_t *block, const had_master *w, const had_layer *layer, uint32_t first,
                       uint32_t column, uint32_t columns) {
    uint32_t rows = block_rows(layer, first);
    w += first * layer->inputs + column;
#if HAD_MVE_ASSEMBLY
    clear(block, rows, HAD_LANES);
    had_mve_block_weights(block, w, layer->row_factor + first, layer->inputs, rows, columns);
#else
    clear(block, rows, columns);
    for (uint32_t r = 0U; r < rows; r++) {
        int32_t factor = layer->row_factor[first + r];
        if (columns == HAD_LANES) {
            HAD_UNROLL_LANES
            for (uint32_t c = 0U; c < HAD_LANES; c++) {
                block[r * HAD_LANES + c] = w[c] * factor;
            }
        } else {
            for (uint32_t c = 0U; c < columns; c++) {
                block[r * HAD_LANES + c] = w[c] * factor;
            }
        }
        w += layer->inputs;
    }
#endif
    had_fwht_columns(block);
}

int32_t had_block_max(const int32_t *block, int32_t so_far) {
#if HAD_MVE_ASSEMBLY
    return had_mve_amax(block, BLOCK_VALUES, so_far);
#else
    const int32_t *end = block + BLOCK_VALUES;
#if HAD_LANES == 4U
    for (; block != end; block += 4) {
        so_far = had_grow(so_far, block[0]);
        so_far = had_grow(so_far, block[1]);
        so_far = had_grow(so_far, block[2]);
        so_far = had_grow(so_far, block[3]);
    }
#else
    for (; block != end; block++) {
        so_far = had_grow(so_far, *block);
    }
#endif
    return so_far;
#endif
}
