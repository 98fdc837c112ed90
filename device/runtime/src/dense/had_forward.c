/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Training forward, SPEC.md 5.1 and 5.2: HAD_ROWS outputs at a time, all batch columns.
 *
 * |acc| <= D and acc_shift = bitlen(D) - 15, so |rhu(acc)| < 2^15; times m < 2^15 below 2^30.
 */
#include "../cores/had_dsp_values.h"
#include "../cores/had_long.h"
#include "../cores/had_mve_rows.h"
#include "../kernels/had_panel.h"
#include "had_row.h"
#include "hadapt/dot.h"
#include "hadapt/train.h"

typedef struct had_output {
    had_multiplier m;
    int32_t bias;
} had_output;

#define AT_ONCE (HAD_OCTET ? 2U : 1U) /* rows that are quantised together */

static uint32_t lanes_left(uint32_t column) {
    return HAD_BATCH % HAD_COLUMNS == 0U || column + HAD_COLUMNS <= HAD_BATCH
               ? HAD_COLUMNS
               : (column < HAD_BATCH ? HAD_BATCH - column : 0U);
}

/* A master in its row's range, which is widened: nothing is clipped; of 8 bits no bit is dropped either. */
static inline int32_t quantize(had_master w, const had_quantizer *q) {
    return had_quant_small(HAD_MASTER_BITS == 8 ? w : w >> q->k, q->r, 128U);
}

#if HAD_OCTET
/* Two rows of the weights of a group, from masters: each word at once. */
static void quantize_pair(had_weight *wq, const had_master *w, const had_master *next,
                          const had_quantizer *prepared, uint32_t inputs) {
    const had_quantizer q0 = prepared[0];
    const had_quantizer q1 = prepared[1];
    const had_weight *end = wq + inputs * HAD_WORDS;
    for (; wq != end; wq += HAD_WORDS) {
        *wq = quantize(*w++, &q0) + quantize(*next++, &q1) * HAD_SECOND;
    }
    for (; inputs % 4U != 0U; inputs++) {
        *wq = 0;
        wq += HAD_WORDS;
    }
}
#else
void had_row_quantize(had_learner *ln, const had_layer *layer, had_weight *wq, const had_master *w,
                      const had_quantizer *prepared, uint32_t row) {
    const had_quantizer q = *prepared;
    uint32_t inputs = layer->inputs;
    uint32_t i = 0U;
#if HAD_MVE_ASSEMBLY
    had_mve_quantize_masters(wq + had_weight_at(0U, row), w, &q, inputs);
    i = inputs;
#elif HAD_DSP_MASTERS
    had_dsp_quantize(wq + row, w, q.r, inputs);
    i = inputs;
#endif
    for (; i + 1U < inputs; i += 2U) {
        had_put_pair(wq, i, row, quantize(w[i], &q), quantize(w[i + 1U], &q));
    }
    if (i < inputs) {
        had_put_last(wq, i, row, quantize(w[i], &q));
    }
#if !HAD_MVE
    had_put_padding(wq, inputs, row);
#endif
    HAD_COUNT(for (i = 0U; i < inputs; i++) {
        had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_WQ], w[i] >> q.k, -q.limit,
                          q.limit, quantize(w[i], &q));
    })
    (void)ln;
}
#endif

/* Multiplier and bias of row `row` of a layer, and the quantiser of its masters. */
static had_output prepare(const had_learner *ln, const had_layer *layer, had_quantizer *q,
                          uint32_t row) {
    const had_master *w = ln->master + layer->master_at + row * layer->inputs;
    had_scale x_scale = ln->step.flow[layer->index].x_scale;
    return (had_output){had_row_prepare(q, w, layer, row, x_scale),
                        had_rhu16(ln->working.bias[layer->bias_at + row])};
}

#if HAD_OCTET && defined(HAD_COUNTERS)
static void count_row(had_learner *ln, const had_layer *layer, const had_quantizer *q,
                      uint32_t row) {
    const had_master *w = ln->master + layer->master_at + row * layer->inputs;
    for (uint32_t i = 0U; i < layer->inputs; i++) {
        had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_WQ], w[i] >> q->k,
                          -q->limit, q->limit, quantize(w[i], q));
    }
}
#endif

/* `rows` rows of weights from row `row` on, in the places of a group; their multipliers and biases. */
static void prepare_rows(had_learner *ln, const had_layer *layer, had_weight *wq,
                         had_output out[HAD_ROWS], uint32_t row, uint32_t rows) {
    const had_master *w = ln->master + layer->master_at + row * layer->inputs;
    for (uint32_t r = 0U; r < HAD_ROWS; r += AT_ONCE) {
        had_quantizer q[AT_ONCE] = {0}; /* of a row behind the last one: gives zeros */
        for (uint32_t j = 0U; j < AT_ONCE && r + j < rows; j++) {
            out[r + j] = prepare(ln, layer, q + j, row + r + j);
#if HAD_OCTET
            HAD_COUNT(count_row(ln, layer, q + j, row + r + j);)
#endif
        }
        const had_master *first = r < rows ? w + r * layer->inputs : w;
#if HAD_OCTET
        const had_master *second = r + 1U < rows ? first + layer->inputs : w;
        quantize_pair(wq + r / 2U, first, second, q, layer->inputs);
#else
        if (r < rows) {
            had_row_quantize(ln, layer, wq, first, q, r);
        } else {
            had_clear_row(wq, layer->inputs, r);
        }
#endif
    }
}

/* Outputs of some columns from their accumulators; returns the maximum, at least y_max. */
static int32_t rescale(had_learner *ln, const had_layer *layer, int16_t *y, had_line acc,
                       const had_output *out, uint32_t lanes, int32_t y_max) {
    const had_output o = *out;
#if HAD_MVE_ASSEMBLY
    y_max = had_mve_outputs(y, acc.at, o.m, o.bias, y_max, lanes);
#else
    uint32_t shift = HAD_SHIFT_OF(layer->forward_shift);
    for (uint32_t c = 0U; c < lanes; c++) {
        int32_t exact = had_row_output(had_line_total(&acc, c), shift, o.m, o.bias);
        int32_t value = had_saturate_s16(exact);
        y[c] = (int16_t)value;
        y_max = value > y_max ? value : y_max;
        HAD_COUNT(ln->counters.layer[layer->index].outputs_saturated += exact != value ? 1U : 0U;)
    }
#endif
    (void)ln;
    (void)layer;
    return y_max;
}

#if HAD_DSP
/* The same of whole columns, two a word; returns the maxima in the halves. */
static uint32_t rescale_whole(int16_t *y, const had_total *acc, const had_output *out,
                              uint32_t most) {
    const had_output o = *out;
    const int32_t half = o.m.sh == 0U ? 0 : 1 << (o.m.sh - 1U);
    for (uint32_t c = 0U; c < HAD_LANES; c += 2U) {
        uint32_t v = had_word_at(acc + c);
        v = had_saturated16((had_smlabb(v, o.m.m, half) >> o.m.sh) + o.bias,
                            (had_smlatb(v, o.m.m, half) >> o.m.sh) + o.bias);
        (void)memcpy(y + c, &v, sizeof v);
        most = had_max16(most, v);
    }
    return most;
}
#endif

/* All columns of `rows` outputs; returns the maximum, at least y_max. */
static int32_t forward_rows(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x,
                            const had_weight *wq, const had_output *out, uint32_t rows,
                            int32_t y_max) {
    had_counted counted = {(1U << rows) - 1U, 0U, 0,
                           HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_FORWARD)};
#if HAD_DSP
    uint32_t most = 0U;
    uint32_t sums[HAD_DSP_SUMS];
    if (HAD_IS_POSITIVE(layer)) {
        had_dsp_sums(sums, wq, layer->inputs);
        counted.sums = sums;
    }
#elif HAD_LONG
    counted.sums = HAD_IS_POSITIVE(layer) ? (const uint32_t *)wq : 0;
#endif
    for (uint32_t c = 0U; c < HAD_BATCH; c += HAD_COLUMNS) {
        had_total acc[HAD_PRODUCTS(HAD_COLUMNS)];
        counted.lanes = lanes_left(c);
        had_dot_columns(acc, had_operand_at(x, c, layer->inputs), wq, layer->inputs, &counted);
#if HAD_DSP
        for (uint32_t r = 0U; counted.lanes == HAD_LANES && r < rows; r++) {
            most = rescale_whole(y + r * HAD_BATCH_STRIDE + c, acc + r * HAD_LANES, out + r, most);
        }
        if (counted.lanes == HAD_LANES) {
            continue;
        }
#endif
        for (uint32_t r = 0U; r < rows; r++) {
            y_max = rescale(ln, layer, y + r * HAD_BATCH_STRIDE + c,
                            had_line_of(acc, r, HAD_COLUMNS), out + r, counted.lanes, y_max);
        }
    }
#if HAD_DSP
    y_max = had_larger_half(most) > y_max ? had_larger_half(most) : y_max;
#endif
    return y_max;
}

void had_forward(had_learner *ln, const had_layer *layer, int16_t *y, int8_t *x, had_weight *wq,
                 uint32_t begin, uint32_t end) {
    had_flow *flow = &ln->step.flow[layer->index];
    int32_t y_max = begin == 0U ? 0 : flow->y_max;
#if HAD_DSP
    if (begin == 0U) {
        /* and back in had_activation_range */
        had_dsp_pack(x, layer->inputs, HAD_IS_POSITIVE(layer) ? HAD_DSP_RAISE : 0U);
    }
#elif HAD_LONG
    if (begin == 0U) {
        had_long_pack(x, layer->inputs); /* had_activation_range reads it so */
    }
#endif
    const int8_t *operand = had_operand_columns(ln, x, layer->inputs, begin);
    for (uint32_t o = begin; o < end; o += HAD_ROWS) {
        uint32_t rows = end - o < HAD_ROWS ? end - o : HAD_ROWS;
        had_output out[HAD_ROWS];
        prepare_rows(ln, layer, wq, out, o, rows);
        y_max = forward_rows(ln, layer, y + o * HAD_BATCH_STRIDE, operand, wq, out, rows, y_max);
    }
    flow->y_max = y_max;
}
