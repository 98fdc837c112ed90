/* SPDX-License-Identifier: Apache-2.0 */
/* The committed network as inference reads it: packed 4-bit rows, multipliers, input quantisers. */
#include "had_row.h"
#include "hadapt/infer.h"
#include "hadapt/train.h"

/* Frozen range of the input of layer l >= 1, SPEC.md 5.3. tracked >= 0, so no overflow below 2^31. */
static int32_t frozen_range(const had_copy *copy, uint32_t l) {
    int32_t range = had_rhu(copy->tracked[l], 8U);
    return range < 1 ? 1 : range;
}

static void pack_row(uint8_t *packed, const int8_t *wq, uint32_t inputs) {
    for (uint32_t i = 0U; i < inputs; i += 2U) {
        uint32_t low = (uint32_t)wq[i] & 0xFU;
        uint32_t high = i + 1U < inputs ? (uint32_t)wq[i + 1U] & 0xFU : 0U;
        packed[i >> 1] = (uint8_t)(low | (high << 4));
    }
}

/* wq borrows the training arena's row buffer; no training runs here. */
static void refresh_layer(had_learner *ln, const had_layer *layer, had_scale x_scale, int8_t *wq) {
    uint32_t row_bytes = ((uint32_t)layer->inputs + 1U) / 2U;
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        const had_master *w = ln->committed.master + layer->master_at + o * layer->inputs;
        had_multiplier m = had_row_quantize(wq, w, layer, o, x_scale, 0);
        ln->view.mult[layer->bias_at + o] = (uint16_t)m.m;
        ln->view.shift[layer->bias_at + o] = (uint8_t)m.sh;
        pack_row(ln->view.nibbles + layer->view_at + o * row_bytes, wq, layer->inputs);
    }
}

void had_view_refresh(had_learner *ln) {
    had_scale x_scale = HAD_X0_SCALE;
    int8_t *wq = (int8_t *)ln->arena.bytes;
    for (uint32_t l = 0U; l < HAD_LAYERS; l++) {
        const had_layer *layer = &had_layers[l];
        if (l > 0U) {
            int32_t range = frozen_range(&ln->committed, l);
            had_scale grid = {1 << 14, -14 - (int32_t)had_layers[l - 1U].out_frac_bits};
            int32_t amax = had_widen(range, layer->x_range);
            ln->view.x[l] = had_quantizer_of(amax, 15U, HAD_QUANT_SHIFT);
            x_scale = had_scale_quantized(grid, amax, HAD_SCALE_INV15);
        }
        refresh_layer(ln, layer, x_scale, wq);
    }
}
