/* SPDX-License-Identifier: Apache-2.0 */
/* The committed network as inference reads it: packed 4-bit rows, multipliers, input quantisers. */
#include "../arithmetic/had_cold.h"

#include "../cores/had_dsp.h"
#include "../cores/had_mve.h"
#include "../learner/had_committed.h"
#include "had_row.h"
#include "hadapt/dot.h"
#include "hadapt/infer.h"
#include "hadapt/train.h"

/* Frozen range of the input of layer l >= 1, SPEC.md 5.3. tracked >= 0, so no overflow below 2^31. */
static int32_t frozen_range(const had_copy *copy, uint32_t l) {
    int32_t range = had_rhu(copy->tracked[l], 8U);
    return range < 1 ? 1 : range;
}

#if HAD_MVE
/* Row r of a group: the even one of a pair clears its bytes. */
static void pack_row(uint32_t *words, const had_master *w, const had_quantizer *q, uint32_t inputs,
                     uint32_t r) {
    uint8_t *bytes = (uint8_t *)words;
    for (uint32_t i = 0U; i < HAD_VIEW_GROUP(inputs); i++) {
        uint8_t *at = bytes + had_mve_view_at(r, i);
        uint32_t value = i < inputs ? (uint32_t)had_quant_nearest(w[i], q) : 0U;
        *at = (uint8_t)((r & 1U) == 0U ? value : *at + 16U * value);
    }
}
#elif HAD_VIEW_DSP
/* Row r of a group: the first one clears the words. */
static void pack_row(uint32_t *words, const had_master *w, const had_quantizer *q, uint32_t inputs,
                     uint32_t r) {
    for (uint32_t i = 0U; r == 0U && i < HAD_VIEW_GROUP(inputs); i++) {
        words[i] = 0U;
    }
    for (uint32_t i = 0U; i < inputs; i++) {
        uint32_t value = (uint32_t)had_quant_nearest(w[i], q) + ((r & 1U) == 0U ? 8U : 0U);
        words[had_dsp_view_word(r, i)] |= (value & 0xFU) << had_dsp_view_shift(r, i);
    }
}
#else
/* Row r of a group of HAD_VIEW_ROWS; the first one clears the words. */
static void pack_row(uint32_t *words, const had_master *w, const had_quantizer *q, uint32_t inputs,
                     uint32_t r) {
    for (uint32_t i = 0U; i < inputs; i++) {
        uint32_t nibble = (uint32_t)(had_quant_nearest(w[i], q) + 8);
        words[i] = (r == 0U ? 0U : words[i]) | (nibble << (4U * r));
    }
}
#endif

static void refresh_layer(had_learner *ln, const had_layer *layer, had_scale x_scale) {
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        const had_master *w = had_committed_row(ln, layer, o);
        if (w == 0) {
            return; /* nothing is inferred until it can be read: ln->unread */
        }
        uint32_t at = layer->view_at + o / HAD_VIEW_ROWS * HAD_VIEW_GROUP(layer->inputs);
        had_quantizer q;
        had_multiplier m = had_row_prepare(&q, w, layer, o, x_scale);
        ln->view.mult[layer->bias_at + o] = (uint16_t)m.m;
        ln->view.shift[layer->bias_at + o] = (uint8_t)m.sh;
        pack_row(ln->view.words + at, w, &q, layer->inputs, o % HAD_VIEW_ROWS);
    }
}

/* A side layer reads the input of the layer before it. */
#ifdef HAD_RESIDUAL
#define IS_SIDE(layer) ((layer)->side)
#define BELOW(l) had_layers[l].below
#else
#define IS_SIDE(layer) 0U
#define BELOW(l) ((l) - 1U)
#endif

void had_view_refresh(had_learner *ln) {
    had_scale x_scale = HAD_X0_SCALE;
    for (uint32_t l = 0U; l < HAD_LAYERS; l++) {
        const had_layer *layer = &had_layers[l];
        if (l > 0U && IS_SIDE(layer) == 0U) {
            int32_t range = frozen_range(&ln->committed, l);
            had_scale grid = {1 << 14, -14 - (int32_t)had_layers[BELOW(l)].out_frac_bits};
            int32_t amax = had_widen(range, layer->x_range);
            ln->view.x[l] = had_quantizer_of(amax, 15U, HAD_QUANT_SHIFT);
            x_scale = had_scale_quantized(grid, amax, HAD_SCALE_INV15);
        }
#ifdef HAD_RESIDUAL
        ln->view.x_scale[l] = x_scale;
#endif
#ifdef HAD_FINE_INFERENCE
        int32_t finer = (int32_t)layer->fine_shift - (int32_t)layer->forward_shift - 4;
        refresh_layer(ln, layer, had_scale_pow2(x_scale, finer));
#else
        refresh_layer(ln, layer, x_scale);
#endif
    }
}
