/* SPDX-License-Identifier: Apache-2.0 */
/* Trainable layers in inference: batch of one, committed view, frozen ranges, SPEC.md 5. */
#include "../cores/had_mve_rows.h"
#include "had_row.h"
#include "hadapt/dot.h"
#include "hadapt/infer.h"

/* With fine inference the rests of x lie behind it, and those of its sums behind them. */
#ifdef HAD_FINE_INFERENCE
#define PARTS 2U
#define SHIFT(layer) ((uint32_t)(layer)->fine_shift)
#define MVE_OUTPUTS 0
#else
#define PARTS 1U
#define SHIFT(layer) ((uint32_t)(layer)->forward_shift)
#define MVE_OUTPUTS HAD_MVE_ASSEMBLY
#endif

/* Outputs o .. o + HAD_VIEW_ROWS - 1, those behind the last of no meaning. |acc| <= D, see had_forward.c. */
static void products(const had_learner *ln, int32_t *acc, const int8_t *x, const int32_t *sums,
                     const had_layer *layer, uint32_t o) {
    const uint32_t *w =
        ln->view.words + layer->view_at + o / HAD_VIEW_ROWS * HAD_VIEW_GROUP(layer->inputs);
    had_dot_packed(acc, x, w, layer->inputs, sums, HAD_IS_POSITIVE(layer));
#ifdef HAD_FINE_INFERENCE
    int32_t rests[HAD_VIEW_ROWS];
    had_dot_packed(rests, x + layer->inputs, w, layer->inputs, sums + HAD_PACKED_SUMS, 0U);
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r++) {
        acc[r] = 16 * acc[r] + rests[r]; /* |acc| <= 16 D + D < 2^31, SPEC.md 18.2 */
    }
#endif
}

static void packed_sums(int32_t *sums, const int8_t *x, uint32_t inputs) {
    had_dot_packed_sums(sums, x, inputs);
#ifdef HAD_FINE_INFERENCE
    had_dot_packed_sums(sums + HAD_PACKED_SUMS, x + inputs, inputs);
#endif
}

static int16_t output(const had_learner *ln, int32_t acc, const had_layer *layer, uint32_t o) {
    uint32_t at = layer->bias_at + o;
    had_multiplier m = {ln->view.mult[at], ln->view.shift[at]};
    int32_t bias = had_rhu16(ln->committed.bias[at]);
    return had_saturate_s16(had_row_output(acc, SHIFT(layer), m, bias));
}

#if HAD_LAYERS > 1
/* Outputs at once: 4-bit inputs of the next layer. */
#define AT_ONCE (MVE_OUTPUTS ? 4U * HAD_VIEW_ROWS : HAD_VIEW_ROWS)

#if !MVE_OUTPUTS
/* had_quant_positive of `count` outputs, o and on: bounds of their 16 bits and of the quantiser are one. */
static void quantize_outputs(const had_learner *ln, int8_t *out, const int32_t *acc,
                             const had_layer *layer, uint32_t o, uint32_t count) {
    const had_quantizer q = ln->view.x[layer->index + 1U];
    const int32_t most = INT16_MAX >> q.k < q.limit ? INT16_MAX >> q.k : q.limit;
    const uint32_t shift = SHIFT(layer);
    const int32_t half = (int32_t)((1U << shift) >> 1);
    const uint16_t *mult = ln->view.mult + layer->bias_at + o;
    const uint8_t *after = ln->view.shift + layer->bias_at + o;
    const int32_t *bias = ln->committed.bias + layer->bias_at + o;
    for (uint32_t r = 0U; r < count; r++) {
        int32_t v = ((acc[r] + half) >> shift) * mult[r] + (int32_t)((1U << after[r]) >> 1);
        v = had_clamp(((v >> after[r]) + had_rhu16(bias[r])) >> q.k, 0, most);
        out[r] = (int8_t)had_quant_small(v, q.r, 128U);
#ifdef HAD_FINE_INFERENCE
        out[layer->outputs + r] = had_quant_rest(v * q.r);
#endif
    }
}
#endif

void had_infer_hidden(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer) {
    int32_t acc[AT_ONCE];
    int32_t sums[PARTS * HAD_PACKED_SUMS];
    packed_sums(sums, x, layer->inputs);
    for (uint32_t o = 0U; o < layer->outputs; o += AT_ONCE) {
        uint32_t left = layer->outputs - o;
        uint32_t count = left < AT_ONCE ? left : AT_ONCE;
        for (uint32_t r = 0U; r < count; r += HAD_VIEW_ROWS) {
            products(ln, acc + r, x, sums, layer, o + r);
        }
#if MVE_OUTPUTS
        uint32_t at = layer->bias_at + o;
        had_mve_hidden(out + o, acc, SHIFT(layer), ln->view.mult + at, ln->view.shift + at,
                       ln->committed.bias + at, &ln->view.x[layer->index + 1U], count);
#else
        quantize_outputs(ln, out + o, acc, layer, o, count);
#endif
    }
}
#endif

void had_infer_head(const had_learner *ln, int16_t *logits, const int8_t *x, const had_layer *layer,
                    uint32_t rows) {
    int32_t acc[HAD_VIEW_ROWS];
    int32_t sums[PARTS * HAD_PACKED_SUMS];
    packed_sums(sums, x, layer->inputs);
    for (uint32_t o = 0U; o < rows; o++) {
        if (o % HAD_VIEW_ROWS == 0U) {
            products(ln, acc, x, sums, layer, o);
        }
        logits[o] = output(ln, acc[o % HAD_VIEW_ROWS], layer, o);
    }
}
