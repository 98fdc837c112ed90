/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training forward, SPEC.md 5.1 and 5.2: one output at a time, all batch columns.
 *
 * |acc| <= D and acc_shift = bitlen(D) - 15, so |rhu(acc)| < 2^15; times m < 2^15 below 2^30.
 */
#include "had_row.h"
#include "hadapt/dot.h"
#include "hadapt/train.h"

static uint32_t counted_lanes(uint32_t column) {
    return column + HAD_LANES <= HAD_BATCH ? HAD_LANES
                                           : (column < HAD_BATCH ? HAD_BATCH - column : 0U);
}

/* Outputs of HAD_LANES columns from their accumulators. */
static void rescale(int16_t *y, const int32_t *acc, uint32_t acc_shift, had_multiplier m,
                    int32_t bias) {
    for (uint32_t c = 0U; c < HAD_LANES; c++) {
        y[c] = had_saturate_s16(had_row_output(acc[c], acc_shift, m, bias));
    }
}

#ifdef HAD_COUNTERS
static void count_saturated(had_layer_tally *tally, const int32_t *acc, uint32_t lanes,
                            uint32_t acc_shift, had_multiplier m, int32_t bias) {
    for (uint32_t c = 0U; c < lanes; c++) {
        int32_t y = had_row_output(acc[c], acc_shift, m, bias);
        tally->outputs_saturated += y != had_saturate_s16(y) ? 1U : 0U;
    }
}
#endif

static void forward_row(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x,
                        const int8_t *wq, had_multiplier m, uint32_t row) {
    int32_t bias = had_rhu16(ln->working.bias[layer->bias_at + row]);
    for (uint32_t c = 0U; c < HAD_BATCH_STRIDE; c += HAD_LANES) {
        int32_t acc[HAD_LANES];
        had_dot_columns(acc, x + c, wq, layer->inputs, counted_lanes(c),
                        HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_FORWARD));
        rescale(y + c, acc, layer->forward_shift, m, bias);
        HAD_COUNT(count_saturated(&ln->counters.layer[layer->index], acc, counted_lanes(c),
                                  layer->forward_shift, m, bias);)
    }
}

void had_forward(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x, int8_t *wq,
                 uint32_t begin, uint32_t end) {
    had_flow *flow = &ln->step.flow[layer->index];
    int32_t y_max = begin == 0U ? 0 : flow->y_max;
    for (uint32_t o = begin; o < end; o++) {
        const had_master *w = ln->working.master + layer->master_at + o * layer->inputs;
        int16_t *row = y + o * HAD_BATCH_STRIDE;
        had_tensor_tally *tally = 0;
        HAD_COUNT(tally = &ln->counters.layer[layer->index].tensor[HAD_T_WQ];)
        had_multiplier m = had_row_quantize(wq, w, layer, o, flow->x_scale, tally);
        forward_row(ln, layer, row, x, wq, m, o);
        for (uint32_t b = 0U; b < HAD_BATCH; b++) {
            y_max = row[b] > y_max ? row[b] : y_max;
        }
    }
    flow->y_max = y_max;
}
