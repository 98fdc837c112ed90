/* SPDX-License-Identifier: Apache-2.0 */
/* Input gradient of a trainable convolution, SPEC.md 14.3 a: its operands dh and wh, and the product. */
#include "../cores/had_dsp.h"
#include "../dense/had_block.h"
#include "../kernels/had_panel.h"
#include "had_conv_layer.h"
#include "hadapt/random.h"

#if defined(HAD_CONV_LAYERS) && HAD_LAYERS > 1
static uint32_t lanes_left(uint32_t column, uint32_t end) {
    return end - column < HAD_LANES ? end - column : HAD_LANES;
}

void had_conv_error_range(had_learner *ln, const had_layer *layer, const int16_t *d, int32_t *block,
                          uint32_t begin, uint32_t end) {
    int32_t amax = begin == 0U ? 0 : ln->step.error_max;
    uint32_t pixel = (uint32_t)layer->outputs * HAD_BATCH_STRIDE;
    for (uint32_t p = begin; ln->step.flow[layer->index].d_max > 0 && p < end; p++) {
        for (uint32_t b = 0U; b < HAD_BATCH; b += HAD_LANES) {
            for (uint32_t o = 0U; o < layer->outputs; o += HAD_ORDER) {
                had_block_errors(block, d + p * pixel, layer, o, b, lanes_left(b, HAD_BATCH));
                amax = had_block_max(block, amax);
            }
        }
    }
    ln->step.error_max = amax;
}

/* A block of dh; `index` is the draw of its first output in batch column 0 of the block. */
static void quantize_block(had_learner *ln, const had_layer *layer, int8_t *dh,
                           const int32_t *block, uint32_t index, uint32_t columns) {
    const had_quantizer q = ln->step.error;
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_INPUT(layer->index));
    for (uint32_t c = 0U; c < columns; c++) {
        for (uint32_t r = 0U; r < HAD_ORDER; r++) {
            uint32_t u = had_draw8(key, index + c * layer->outputs_padded + r);
            int32_t v = block[r * HAD_LANES + c];
            dh[r * HAD_BATCH_STRIDE + c] = had_quant_stochastic(v, &q, u);
            HAD_COUNT(had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_DH],
                                        v >> q.k, -q.limit, q.limit, dh[r * HAD_BATCH_STRIDE + c]);)
        }
    }
}

static void clear_errors(had_learner *ln, const had_layer *layer, int8_t *dh, uint32_t begin,
                         uint32_t end) {
    uint32_t pixel = (uint32_t)layer->outputs_padded * HAD_BATCH_STRIDE;
    for (uint32_t j = begin * pixel; j < end * pixel; j++) {
        dh[j] = 0;
    }
    ln->step.error_scale = HAD_SCALE_ONE;
    HAD_COUNT(had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_DH],
                              (end - begin) * HAD_BATCH * layer->outputs_padded);)
}

void had_conv_error_quantize(had_learner *ln, const had_layer *layer, int8_t *dh, const int16_t *d,
                             int32_t *block, uint32_t begin, uint32_t end) {
    had_step *step = &ln->step;
    if (step->flow[layer->index].d_max == 0) {
        return;
    }
    if (step->error_max == 0) { /* the pool passes none of it on */
        clear_errors(ln, layer, dh, begin, end);
        return;
    }
    if (begin == 0U) {
        step->error = had_quantizer_of(step->error_max, 7U, HAD_QUANT_SHIFT);
        step->error_scale =
            had_scale_quantized(step->flow[layer->index].d_scale, step->error_max, HAD_SCALE_INV7);
    }
    for (uint32_t p = begin; p < end; p++) {
        const int16_t *from = d + p * layer->outputs * HAD_BATCH_STRIDE;
        int8_t *to = dh + p * layer->outputs_padded * HAD_BATCH_STRIDE;
        had_clear_columns(to, layer->outputs_padded);
        for (uint32_t b = 0U; b < HAD_BATCH; b += HAD_LANES) {
            for (uint32_t o = 0U; o < layer->outputs; o += HAD_ORDER) {
                uint32_t index = (p * HAD_BATCH + b) * layer->outputs_padded + o;
                uint32_t columns = lanes_left(b, HAD_BATCH);
                had_block_errors(block, from, layer, o, b, columns);
                quantize_block(ln, layer, to + o * HAD_BATCH_STRIDE + b, block, index, columns);
            }
        }
    }
}

/* Terms of wh of one kernel position and channel k; groups do not reach over positions. */
static had_weight *group_of(had_weight *wh, const had_layer *layer, uint32_t k, uint32_t *row) {
    uint32_t channels = layer->conv->window.in_channels;
    uint32_t channel = k % channels;
    uint32_t group = k / channels * had_groups(channels) + channel / HAD_ROWS;
    *row = channel % HAD_ROWS;
    return wh + group * HAD_GROUP_WORDS((uint32_t)layer->outputs_padded);
}

static void put_column(had_weight *group, uint32_t first, uint32_t row, const int32_t *column,
                       const had_quantizer *prepared) {
    const had_quantizer q = *prepared;
#if HAD_ORDER == 1
    had_put_last(group, first, row, had_quant_nearest(column[0], &q));
#else
    for (uint32_t r = first; r < first + HAD_ORDER; r += 2U) {
        had_put_pair(group, r, row, had_quant_nearest(column[0], &q),
                     had_quant_nearest(column[HAD_LANES], &q));
        column += 2U * HAD_LANES;
    }
#endif
}

/* One term of every output, and behind the last channel of a position zeros up to a whole group. */
static void quantize_term(had_learner *ln, const had_layer *layer, had_weight *wh, int32_t *block,
                          uint32_t k) {
    const had_master *w = ln->master + layer->master_at;
    uint32_t row;
    uint32_t last = (k + 1U) % layer->conv->window.in_channels == 0U ? 1U : 0U;
    had_weight *group = group_of(wh, layer, k, &row);
    if (ln->step.weight_max == 0) {
        had_clear_row(group, layer->outputs_padded, row);
        HAD_COUNT(had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_WH],
                                  layer->outputs_padded);)
    }
    for (uint32_t o = 0U; ln->step.weight_max > 0 && o < layer->outputs; o += HAD_ORDER) {
        const had_quantizer q = ln->step.weight;
        had_block_weights(block, w, layer, o, k, 1U);
        put_column(group, o, row, block, &q);
        HAD_COUNT(for (uint32_t r = 0U; r < HAD_ORDER; r++) {
            int32_t v = block[r * HAD_LANES];
            had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_WH], v >> q.k,
                              -q.limit, q.limit, had_quant_nearest(v, &q));
        })
    }
    for (row++; last != 0U && row % HAD_ROWS != 0U; row++) {
        had_clear_row(group, layer->outputs_padded, row);
    }
}

void had_conv_weight_quantize(had_learner *ln, const had_layer *layer, had_weight *wh,
                              int32_t *block, uint32_t begin, uint32_t end) {
    had_step *step = &ln->step;
    if (step->flow[layer->index].d_max == 0) {
        return;
    }
    if (begin == 0U && step->weight_max > 0) {
        step->weight = had_quantizer_of(step->weight_max, 7U, HAD_QUANT_SHIFT);
    }
    for (uint32_t k = begin; k < end; k++) {
        quantize_term(ln, layer, wh, block, k);
    }
}

static void start(had_learner *ln, const had_layer *layer, int8_t *dh) {
    had_step *step = &ln->step;
    had_scale scale = HAD_SCALE_ONE;
    if (step->weight_max > 0) {
        scale = had_scale_quantized(layer->scale, step->weight_max, HAD_SCALE_INV7);
    }
    had_scale product = had_scale_mul(step->error_scale, scale);
    int32_t shift = (int32_t)layer->error_shift - HAD_ORDER_LOG2;
    had_flow_below(ln, layer)->d_scale = had_scale_pow2(product, shift);
    uint32_t pixels = had_out_pixels(&layer->conv->window);
    uint32_t pixel = (uint32_t)layer->outputs_padded * HAD_BATCH_STRIDE;
#if HAD_DSP
    had_dsp_pack(dh, pixels * layer->outputs_padded, 0U);
#elif HAD_PANEL
    for (uint32_t p = 0U; p < pixels; p++) {
        had_panel_columns(ln->panel + p * pixel, dh + p * pixel, layer->outputs_padded);
    }
#endif
    (void)dh;
    (void)pixel;
    (void)pixels;
}

typedef struct had_place {
    const int8_t *operand; /* dh, or its panels, at the first column */
    const had_weight *wh;  /* of the first group of channels wanted */
    uint32_t y;            /* of the input pixel, plus pad */
    uint32_t x;
} had_place;

/* Sums over all window positions that lie over the place; at most kernel_height kernel_width of them. */
static void sum_positions(int32_t *total, const had_layer *layer, const had_place *place,
                          const had_counted *counted) {
    const had_window *w = &layer->conv->window;
    uint32_t padded = layer->outputs_padded;
    uint32_t words = had_groups(w->in_channels) * HAD_GROUP_WORDS(padded);
    const had_weight *wh = place->wh;
    for (uint32_t j = 0U; j < HAD_ROWS * HAD_LANES; j++) {
        total[j] = 0;
    }
    for (uint32_t i = 0U; i < w->kernel_height; i++) {
        uint32_t r = had_over(place->y, i * w->dilation_height, w->stride_height, w->out_height);
        for (uint32_t j = 0U; j < w->kernel_width; j++) {
            uint32_t s = had_over(place->x, j * w->dilation_width, w->stride_width, w->out_width);
            if (r < w->out_height && s < w->out_width) {
                had_total acc[HAD_ROWS * HAD_LANES];
                uint32_t at = (r * w->out_width + s) * padded * HAD_BATCH_STRIDE;
                had_dot_columns(acc, place->operand + at, wh, padded, counted);
                for (uint32_t k = 0U; k < HAD_ROWS * HAD_LANES; k++) {
                    total[k] += acc[k];
                }
            }
            wh += words;
        }
    }
}

/* All channels of one input pixel. */
static void gradient_pixel(had_learner *ln, const had_layer *layer, int16_t *d_below,
                           const uint8_t *mask, had_place place) {
    uint32_t channels = layer->conv->window.in_channels;
    had_counted counted = {0U, 0U, 0, HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_INPUT)};
    const int8_t *operand = place.operand;
    for (uint32_t c = 0U; c < channels; c += HAD_ROWS) {
        uint32_t rows = had_group_rows(c, channels);
        counted.row_bits = (1U << rows) - 1U;
        for (uint32_t b = 0U; b < HAD_BATCH_STRIDE; b += HAD_LANES) {
            int32_t total[HAD_ROWS * HAD_LANES];
            counted.lanes = had_batch_lanes(b);
            place.operand = had_operand_at(operand, b, 0U);
            sum_positions(total, layer, &place, &counted);
            for (uint32_t r = 0U; r < rows; r++) {
                had_mask_errors(ln, layer, d_below + (c + r) * HAD_BATCH_STRIDE,
                                total + r * HAD_LANES, mask + (c + r) * HAD_MASK_BYTES, b,
                                counted.lanes);
            }
        }
        place.wh += HAD_GROUP_WORDS((uint32_t)layer->outputs_padded);
    }
}

void had_conv_input_gradient(had_learner *ln, const had_layer *layer, int16_t *d_below, int8_t *dh,
                             const uint8_t *mask, const had_weight *wh, uint32_t begin,
                             uint32_t end) {
    const had_window *w = &layer->conv->window;
    if (begin == 0U) {
        had_flow_below(ln, layer)->d_max = 0;
    }
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    if (begin == 0U) {
        start(ln, layer, dh);
    }
#if HAD_PANEL
    const int8_t *operand = (const int8_t *)ln->panel;
#else
    const int8_t *operand = dh;
#endif
    for (uint32_t q = begin; q < end; q++) {
        had_place place = {operand, wh, q / w->in_width + w->pad_top,
                           q % w->in_width + w->pad_left};
        gradient_pixel(ln, layer, d_below + q * w->in_channels * HAD_BATCH_STRIDE,
                       mask + q * w->in_channels * HAD_MASK_BYTES, place);
    }
}
#else
typedef int had_conv_error_is_left_out; /* no convolution is trained above another layer */
#endif
