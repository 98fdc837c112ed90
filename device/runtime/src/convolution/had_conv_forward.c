/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forward pass of a trainable convolution, SPEC.md 14.2: the batch of one output pixel at a time is unrolled,
 * and the products are those of a dense layer. Bounds as in had_forward.c, with K terms.
 */
#include "../cores/had_dsp.h"
#include "../dense/had_row.h"
#include "../kernels/had_panel.h"
#include "had_conv_layer.h"

#ifdef HAD_CONV_LAYERS
void had_conv_view(had_learner *ln, const had_layer *layer, had_weight *wq, had_gain *gain,
                   uint32_t begin, uint32_t end) {
    uint32_t share = (uint32_t)layer->outputs / layer->conv->groups;
    for (uint32_t o = begin; o < end; o++) {
        const had_master *w = ln->master + layer->master_at + o * layer->inputs;
        uint32_t at = o % share;
        had_weight *group = wq + (o / share * had_groups(share) + at / HAD_ROWS) *
                                     HAD_GROUP_WORDS((uint32_t)layer->inputs);
        had_quantizer q;
        had_multiplier m =
            had_row_prepare(&q, w, layer, o, ln->step.flow[had_reads(layer)].x_scale);
        had_row_quantize(ln, layer, group, w, &q, at % HAD_ROWS);
        gain[o] = (had_gain){m.m, (int32_t)m.sh, had_rhu16(ln->working.bias[layer->bias_at + o])};
        for (at++; at >= share && at % HAD_ROWS != 0U; at++) {
            had_clear_row(group, layer->inputs, at % HAD_ROWS);
        }
    }
}

/* Outputs of some columns; returns the maximum, at least y_max. */
static int32_t rescale(had_learner *ln, const had_layer *layer, int16_t *y, const had_total *acc,
                       const had_gain *gain, uint32_t lanes, int32_t y_max) {
    const had_multiplier m = {gain->m, (uint32_t)gain->sh};
    int32_t top = had_top(layer->conv);
    for (uint32_t c = 0U; c < lanes; c++) {
        int32_t exact = had_row_output(acc[c], layer->forward_shift, m, gain->bias);
#ifdef HAD_RESIDUAL
        exact += layer->adds != 0U ? y[c] : 0; /* the shortcut lies where the sum will */
#endif
        int32_t value = had_saturate_s16(exact);
        HAD_COUNT(ln->counters.layer[layer->index].outputs_saturated += exact != value ? 1U : 0U;)
        value = value > top ? top : value;
        y[c] = (int16_t)value;
        y_max = value > y_max ? value : y_max;
    }
    (void)ln;
    return y_max;
}

/* All outputs of a group at one pixel; returns the maximum, at least y_max. */
static int32_t forward_pixel(had_learner *ln, const had_layer *layer, int16_t *y,
                             const int8_t *operand, const had_weight *wq, const had_gain *gain,
                             int32_t y_max) {
    had_counted counted = {0U, 0U, 0, HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_FORWARD)};
    uint32_t share = (uint32_t)layer->outputs / layer->conv->groups;
    for (uint32_t o = 0U; o < share; o += HAD_ROWS) {
        uint32_t rows = had_group_rows(o, share);
        counted.row_bits = (1U << rows) - 1U;
#if HAD_DSP
        uint32_t sums[HAD_DSP_SUMS];
        if (HAD_IS_POSITIVE(layer)) {
            had_dsp_sums(sums, wq, layer->inputs);
            counted.sums = sums;
        }
#endif
        for (uint32_t c = 0U; c < HAD_BATCH; c += HAD_LANES) {
            had_total acc[HAD_ROWS * HAD_LANES];
            counted.lanes = had_batch_lanes(c);
            had_dot_columns(acc, had_operand_at(operand, c, layer->inputs), wq, layer->inputs,
                            &counted);
            for (uint32_t r = 0U; r < rows; r++) {
                y_max = rescale(ln, layer, y + (o + r) * HAD_BATCH_STRIDE + c, acc + r * HAD_LANES,
                                gain + o + r, counted.lanes, y_max);
            }
        }
        wq += HAD_GROUP_WORDS((uint32_t)layer->inputs);
    }
    return y_max;
}

void had_conv_forward(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x,
                      int8_t *patch, const had_weight *wq, const had_gain *gain, uint32_t begin,
                      uint32_t end) {
    had_flow *flow = &ln->step.flow[layer->index];
    int32_t y_max = begin == 0U ? 0 : flow->y_max;
    uint32_t groups = layer->conv->groups;
    uint32_t share = (uint32_t)layer->outputs / groups;
    uint32_t words = had_groups(share) * HAD_GROUP_WORDS((uint32_t)layer->inputs);
    for (uint32_t at = begin * groups; at < end * groups; at++) {
        uint32_t g = at % groups;
        had_unroll(patch, x, layer->conv, g, at / groups, HAD_BATCH_STRIDE);
#if HAD_DSP
        had_dsp_pack(patch, layer->inputs, HAD_IS_POSITIVE(layer) ? HAD_DSP_RAISE : 0U);
#endif
        const int8_t *operand = had_operand_columns(ln, patch, layer->inputs, 0U);
        y_max = forward_pixel(ln, layer, y + at * share * HAD_BATCH_STRIDE, operand, wq + g * words,
                              gain + g * share, y_max);
    }
    flow->y_max = y_max;
}
#else
typedef int had_conv_forward_is_left_out; /* no convolution is trained */
#endif
