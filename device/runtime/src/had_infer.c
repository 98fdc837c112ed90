/* SPDX-License-Identifier: Apache-2.0 */
/* Trainable layers in inference: batch of one, committed view, frozen ranges, SPEC.md 5. */
#include "had_row.h"
#include "hadapt/dot.h"
#include "hadapt/infer.h"

/* |acc| <= D; see had_forward.c for the bounds. */
static int16_t output(const had_learner *ln, const int8_t *x, const had_layer *layer, uint32_t o) {
    uint32_t row_bytes = ((uint32_t)layer->inputs + 1U) / 2U;
    uint32_t at = layer->bias_at + o;
    had_multiplier m = {ln->view.mult[at], ln->view.shift[at]};
    int32_t acc =
        had_dot_packed(x, ln->view.nibbles + layer->view_at + o * row_bytes, layer->inputs);
    int32_t bias = had_rhu16(ln->committed.bias[at]);
    return had_saturate_s16(had_row_output(acc, layer->forward_shift, m, bias));
}

#if HAD_LAYERS > 1
void had_infer_hidden(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer) {
    const had_quantizer q = ln->view.x[layer->index + 1U];
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        out[o] = had_quant_positive(output(ln, x, layer, o), &q);
    }
}
#endif

void had_infer_head(const had_learner *ln, int16_t *logits, const int8_t *x, const had_layer *layer,
                    uint32_t rows) {
    for (uint32_t o = 0U; o < rows; o++) {
        logits[o] = output(ln, x, layer, o);
    }
}
