/* SPDX-License-Identifier: Apache-2.0 */
/* Operand dh of the input gradient: the error transformed over outputs, SPEC.md 6.3 a. */
#include "../arithmetic/had_cold.h"
#include "had_block.h"
#include "hadapt/random.h"
#include "hadapt/train.h"

#if HAD_LAYERS > 1
static uint32_t lanes_left(uint32_t column, uint32_t end) {
    return end - column < HAD_LANES ? end - column : HAD_LANES;
}

void had_error_range(had_learner *ln, const had_layer *layer, const int16_t *d, int32_t *block,
                     uint32_t begin, uint32_t end) {
    int32_t amax = begin == 0U ? 0 : ln->step.error_max;
    if (ln->step.flow[layer->index].d_max > 0) {
        for (uint32_t b = begin; b < end; b += HAD_LANES) {
            for (uint32_t o = 0U; o < layer->outputs; o += HAD_ORDER) {
                had_block_errors(block, d, layer, o, b, lanes_left(b, end));
                amax = had_block_max(block, amax);
            }
        }
    }
    ln->step.error_max = amax;
}

#if HAD_ORDER == 1
/* Without a transform there is no padding, and four draws of a word may belong to two columns. */
static void quantize_block(had_learner *ln, const had_layer *layer, int8_t *dh,
                           const int32_t *block, uint32_t first, uint32_t column,
                           uint32_t columns) {
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_INPUT(layer->index));
    for (uint32_t c = 0U; c < columns; c++) {
        uint32_t u = had_draw8(key, (column + c) * layer->outputs_padded + first);
        dh[c] = had_quant_stochastic(block[c], &ln->step.error, u);
    }
}
#else
/* Indices b Opad + o: four consecutive outputs share one word. */
static void quantize_block(had_learner *ln, const had_layer *layer, int8_t *dh,
                           const int32_t *block, uint32_t first, uint32_t column,
                           uint32_t columns) {
    const had_quantizer q = ln->step.error;
    uint32_t words = (uint32_t)layer->outputs_padded >> 2;
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_INPUT(layer->index)) +
                   column * words + (first >> 2);
    for (uint32_t r = 0U; r < HAD_ORDER; r += 4U) {
        for (uint32_t c = 0U; c < columns; c++) {
            uint32_t word = had_mix(key + c * words + (r >> 2));
            for (uint32_t j = 0U; j < 4U; j++) {
                int32_t v = block[(r + j) * HAD_LANES + c];
                dh[(r + j) * HAD_BATCH_STRIDE + c] = had_quant_stochastic(v, &q, word & 0xFFU);
                word >>= 8;
            }
        }
    }
}
#endif

#ifdef HAD_COUNTERS
static void count_block(had_learner *ln, const had_layer *layer, const int8_t *dh,
                        const int32_t *block, uint32_t columns) {
    const had_quantizer *q = &ln->step.error;
    had_tensor_tally *tally = &ln->counters.layer[layer->index].tensor[HAD_T_DH];
    for (uint32_t r = 0U; r < HAD_ORDER; r++) {
        for (uint32_t c = 0U; c < columns; c++) {
            had_tally_element(tally, block[r * HAD_LANES + c] >> q->k, -q->limit, q->limit,
                              dh[r * HAD_BATCH_STRIDE + c]);
        }
    }
}
#endif

void had_error_quantize(had_learner *ln, const had_layer *layer, int8_t *dh, const int16_t *d,
                        int32_t *block, uint32_t begin, uint32_t end) {
    had_step *step = &ln->step;
    if (step->flow[layer->index].d_max == 0) {
        return;
    }
    if (begin == 0U) {
        step->error = had_quantizer_of(step->error_max, 7U, HAD_QUANT_SHIFT);
        step->error_scale =
            had_scale_quantized(step->flow[layer->index].d_scale, step->error_max, HAD_SCALE_INV7);
        had_clear_columns(dh, layer->outputs_padded);
    }
    for (uint32_t b = begin; b < end; b += HAD_LANES) {
        for (uint32_t o = 0U; o < layer->outputs; o += HAD_ORDER) {
            int8_t *at = dh + o * HAD_BATCH_STRIDE + b;
            had_block_errors(block, d, layer, o, b, lanes_left(b, end));
            quantize_block(ln, layer, at, block, o, b, lanes_left(b, end));
            HAD_COUNT(count_block(ln, layer, at, block, lanes_left(b, end));)
        }
    }
}
#else
typedef int had_error_is_left_out; /* a head alone has no layer below */
#endif
