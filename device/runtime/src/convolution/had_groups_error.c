/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input gradient of a trainable convolution of several groups, SPEC.md 14.3 d. The errors over one input pixel
 * and group are gathered, transformed and multiplied before the next ones; layer->outputs_padded is Tpad.
 */
#include "../cores/had_dsp.h"
#include "../dense/had_block.h"
#include "../kernels/had_panel.h"
#include "had_conv_layer.h"
#include "hadapt/fwht.h"
#include "hadapt/random.h"

#if defined(HAD_CONV_LAYERS) && HAD_LAYERS > 1
static uint32_t lanes_left(uint32_t column) {
    return HAD_BATCH - column < HAD_LANES ? HAD_BATCH - column : HAD_LANES;
}

static int16_t *put_errors(int16_t *over, const int16_t *from, uint32_t count) {
    for (uint32_t j = 0U; j < count * HAD_BATCH_STRIDE; j++) {
        *over++ = from != 0 ? from[j] : (int16_t)0;
    }
    return over;
}

/* Errors d over group g of input pixel q: Tpad rows of the batch. */
static void gather(int16_t *over, const had_layer *layer, const int16_t *d, uint32_t q,
                   uint32_t g) {
    const had_window *w = &layer->conv->window;
    uint32_t outputs = (uint32_t)layer->outputs / layer->conv->groups;
    uint32_t y = q / w->in_width + w->pad_top;
    uint32_t x = q % w->in_width + w->pad_left;
    const int16_t *end = over + (uint32_t)layer->outputs_padded * HAD_BATCH_STRIDE;
    for (uint32_t i = 0U; i < w->kernel_height; i++) {
        uint32_t r = had_over(y, i * w->dilation_height, w->stride_height, w->out_height);
        for (uint32_t j = 0U; j < w->kernel_width; j++) {
            uint32_t s = had_over(x, j * w->dilation_width, w->stride_width, w->out_width);
            const int16_t *from = 0;
            if (r < w->out_height && s < w->out_width) {
                uint32_t at = (r * w->out_width + s) * layer->outputs + g * outputs;
                from = d + at * HAD_BATCH_STRIDE;
            }
            over = put_errors(over, from, outputs);
        }
    }
    while (over != end) {
        *over++ = 0;
    }
}

/* HAD_ORDER terms from `first` on in batch columns from `column` on, transformed; other lanes are zero. */
static void load_block(int32_t *block, const int16_t *over, uint32_t first, uint32_t column) {
    uint32_t columns = lanes_left(column);
    over += first * HAD_BATCH_STRIDE + column;
    for (uint32_t r = 0U; r < HAD_ORDER; r++) {
        for (uint32_t c = 0U; c < HAD_LANES; c++) {
            block[r * HAD_LANES + c] = c < columns ? over[r * HAD_BATCH_STRIDE + c] : 0;
        }
    }
    had_fwht_columns(block);
}

void had_groups_error_range(had_learner *ln, const had_layer *layer, const int16_t *d,
                            int16_t *over, int32_t *block, uint32_t begin, uint32_t end) {
    int32_t amax = begin == 0U ? 0 : ln->step.error_max;
    for (uint32_t q = begin; ln->step.flow[layer->index].d_max > 0 && q < end; q++) {
        for (uint32_t g = 0U; g < layer->conv->groups; g++) {
            gather(over, layer, d, q, g);
            for (uint32_t b = 0U; b < HAD_BATCH; b += HAD_LANES) {
                for (uint32_t t = 0U; t < layer->outputs_padded; t += HAD_ORDER) {
                    load_block(block, over, t, b);
                    amax = had_block_max(block, amax);
                }
            }
        }
    }
    ln->step.error_max = amax;
}

/* Terms first .. first + HAD_ORDER - 1 of w_c in lane 0, transformed. */
static void load_weights(int32_t *block, const had_learner *ln, const had_layer *layer, uint32_t c,
                         uint32_t first) {
    const struct had_conv_layer *conv = layer->conv;
    uint32_t outputs = (uint32_t)layer->outputs / conv->groups;
    uint32_t channels = (uint32_t)conv->window.in_channels / conv->groups;
    uint32_t taps = (uint32_t)conv->window.kernel_height * conv->window.kernel_width;
    const had_master *w = ln->master + layer->master_at + c % channels;
    for (uint32_t r = 0U; r < HAD_ORDER; r++) {
        uint32_t t = first + r;
        uint32_t o = c / channels * outputs + t % outputs;
        block[r * HAD_LANES] = 0;
        if (t < taps * outputs) {
            block[r * HAD_LANES] =
                w[o * layer->inputs + t / outputs * channels] * layer->row_factor[o];
        }
        for (uint32_t lane = 1U; lane < HAD_LANES; lane++) {
            block[r * HAD_LANES + lane] = 0;
        }
    }
    had_fwht_columns(block);
}

void had_groups_weight_range(had_learner *ln, const had_layer *layer, int32_t *block,
                             uint32_t begin, uint32_t end) {
    int32_t amax = begin == 0U ? 0 : ln->step.weight_max;
    for (uint32_t c = begin; ln->step.flow[layer->index].d_max > 0 && c < end; c++) {
        for (uint32_t t = 0U; t < layer->outputs_padded; t += HAD_ORDER) {
            load_weights(block, ln, layer, c, t);
            amax = had_block_max(block, amax);
        }
    }
    ln->step.weight_max = amax;
}

/* Words of the weights of a group of the convolution: its channels, in groups of rows. */
static uint32_t group_words(const had_layer *layer) {
    uint32_t channels = (uint32_t)layer->conv->window.in_channels / layer->conv->groups;
    return had_groups(channels) * HAD_GROUP_WORDS((uint32_t)layer->outputs_padded);
}

static void put_block(had_learner *ln, const had_layer *layer, had_weight *rows, uint32_t first,
                      uint32_t row, const int32_t *block) {
    const had_quantizer q = ln->step.weight;
#if HAD_ORDER == 1
    had_put_last(rows, first, row, had_quant_nearest(block[0], &q));
#else
    for (uint32_t r = 0U; r < HAD_ORDER; r += 2U) {
        had_put_pair(rows, first + r, row, had_quant_nearest(block[r * HAD_LANES], &q),
                     had_quant_nearest(block[(r + 1U) * HAD_LANES], &q));
    }
#endif
    HAD_COUNT(for (uint32_t r = 0U; r < HAD_ORDER; r++) {
        int32_t v = block[r * HAD_LANES];
        had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_WH], v >> q.k, -q.limit,
                          q.limit, had_quant_nearest(v, &q));
    })
    (void)layer;
}

void had_groups_weight_quantize(had_learner *ln, const had_layer *layer, had_weight *wh,
                                int32_t *block, uint32_t begin, uint32_t end) {
    uint32_t channels = (uint32_t)layer->conv->window.in_channels / layer->conv->groups;
    had_step *step = &ln->step;
    if (step->flow[layer->index].d_max == 0) {
        return;
    }
    if (begin == 0U && step->weight_max > 0) {
        step->weight = had_quantizer_of(step->weight_max, 7U, HAD_QUANT_SHIFT);
    }
    for (uint32_t c = begin; c < end; c++) {
        uint32_t row = c % channels;
        had_weight *rows = wh + c / channels * group_words(layer) +
                           row / HAD_ROWS * HAD_GROUP_WORDS((uint32_t)layer->outputs_padded);
        uint32_t last = row + 1U == channels ? HAD_ROWS : row % HAD_ROWS + 1U;
        row %= HAD_ROWS;
        if (step->weight_max == 0) {
            had_clear_row(rows, layer->outputs_padded, row);
            HAD_COUNT(had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_WH],
                                      layer->outputs_padded);)
        }
        for (uint32_t t = 0U; step->weight_max > 0 && t < layer->outputs_padded; t += HAD_ORDER) {
            load_weights(block, ln, layer, c, t);
            put_block(ln, layer, rows, t, row, block);
        }
        if (step->weight_max > 0) {
            had_put_padding(rows, layer->outputs_padded, row);
        }
        for (row++; row < last; row++) { /* rows that are not there */
            had_clear_row(rows, layer->outputs_padded, row);
        }
    }
}

/* dh of the gathered errors; `index` is the draw of term 0 in batch column 0. */
static void quantize_errors(had_learner *ln, const had_layer *layer, int8_t *dh,
                            const int16_t *over, int32_t *block, uint32_t index) {
    const had_quantizer q = ln->step.error;
    uint32_t padded = layer->outputs_padded;
    if (ln->step.error_max == 0) { /* windows that cover no pixel */
        for (uint32_t j = 0U; j < padded * HAD_BATCH_STRIDE; j++) {
            dh[j] = 0;
        }
        HAD_COUNT(had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_DH],
                                  HAD_BATCH * padded);)
        return;
    }
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_INPUT(layer->index));
    for (uint32_t b = 0U; b < HAD_BATCH; b += HAD_LANES) {
        for (uint32_t t = 0U; t < padded; t += HAD_ORDER) {
            int8_t *to = dh + t * HAD_BATCH_STRIDE + b;
            load_block(block, over, t, b);
            for (uint32_t j = 0U; j < HAD_ORDER * lanes_left(b); j++) {
                uint32_t c = j / HAD_ORDER;
                uint32_t r = j % HAD_ORDER;
                int32_t v = block[r * HAD_LANES + c];
                uint32_t u = had_draw8(key, index + (b + c) * padded + t + r);
                to[r * HAD_BATCH_STRIDE + c] = had_quant_stochastic(v, &q, u);
                HAD_COUNT(had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_DH],
                                            v >> q.k, -q.limit, q.limit,
                                            to[r * HAD_BATCH_STRIDE + c]);)
            }
        }
    }
    for (uint32_t t = 0U; t < padded; t++) { /* read in lanes whose results are dropped */
        for (uint32_t b = HAD_BATCH; b < HAD_BATCH_STRIDE; b++) {
            dh[t * HAD_BATCH_STRIDE + b] = 0;
        }
    }
}

static void start(had_learner *ln, const had_layer *layer) {
    had_step *step = &ln->step;
    had_scale scale = HAD_SCALE_ONE;
    if (step->weight_max > 0) {
        scale = had_scale_quantized(layer->scale, step->weight_max, HAD_SCALE_INV7);
    }
    step->error_scale = HAD_SCALE_ONE;
    if (step->error_max > 0) {
        step->error = had_quantizer_of(step->error_max, 7U, HAD_QUANT_SHIFT);
        step->error_scale =
            had_scale_quantized(step->flow[layer->index].d_scale, step->error_max, HAD_SCALE_INV7);
    }
    had_scale product = had_scale_mul(step->error_scale, scale);
    int32_t shift = (int32_t)layer->error_shift - HAD_ORDER_LOG2;
    had_flow_below(ln, layer)->d_scale = had_scale_pow2(product, shift);
}

/* Errors of the channels of a group, from its operand. */
static void multiply(had_learner *ln, const had_layer *layer, int16_t *d_below, const uint8_t *mask,
                     const int8_t *operand, const had_weight *wh) {
    uint32_t channels = (uint32_t)layer->conv->window.in_channels / layer->conv->groups;
    had_counted counted = {0U, 0U, 0, HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_INPUT)};
    for (uint32_t c = 0U; c < channels; c += HAD_ROWS) {
        uint32_t rows = had_group_rows(c, channels);
        counted.row_bits = (1U << rows) - 1U;
        for (uint32_t b = 0U; b < HAD_BATCH_STRIDE; b += HAD_LANES) {
            had_total products[HAD_ROWS * HAD_LANES];
            int32_t acc[HAD_ROWS * HAD_LANES];
            counted.lanes = had_batch_lanes(b);
            had_dot_columns(products, had_operand_at(operand, b, layer->outputs_padded), wh,
                            layer->outputs_padded, &counted);
            for (uint32_t j = 0U; j < HAD_ROWS * HAD_LANES; j++) {
                acc[j] = products[j];
            }
            for (uint32_t r = 0U; r < rows; r++) {
                had_mask_errors(ln, layer, d_below + (c + r) * HAD_BATCH_STRIDE,
                                acc + r * HAD_LANES, mask + (c + r) * HAD_MASK_BYTES, b,
                                counted.lanes);
            }
        }
        wh += HAD_GROUP_WORDS((uint32_t)layer->outputs_padded);
    }
}

void had_groups_input_gradient(had_learner *ln, const had_layer *layer, int16_t *d_below,
                               const int16_t *d, int16_t *over, int32_t *block, int8_t *dh,
                               const uint8_t *mask, const had_weight *wh, uint32_t begin,
                               uint32_t end) {
    uint32_t groups = layer->conv->groups;
    uint32_t channels = (uint32_t)layer->conv->window.in_channels / groups;
    if (begin == 0U) {
        had_flow_below(ln, layer)->d_max = 0;
    }
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    if (begin == 0U) {
        start(ln, layer);
    }
    for (uint32_t at = begin * groups; at < end * groups; at++) {
        uint32_t first = at * channels; /* value of the input */
        gather(over, layer, d, at / groups, at % groups);
        quantize_errors(ln, layer, dh, over, block, at * HAD_BATCH * layer->outputs_padded);
#if HAD_DSP
        had_dsp_pack(dh, layer->outputs_padded, 0U);
#endif
        const int8_t *operand = had_operand_columns(ln, dh, layer->outputs_padded, 0U);
        multiply(ln, layer, d_below + first * HAD_BATCH_STRIDE, mask + first * HAD_MASK_BYTES,
                 operand, wh + at % groups * group_words(layer));
    }
}
#else
typedef int had_groups_error_is_left_out; /* no convolution is trained above another layer */
#endif
