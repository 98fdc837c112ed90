/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input gradient in the Hadamard domain of the outputs, SPEC.md 6.3 a.
 *
 * |acc| <= D for Opad terms of [-7, 7] and ds = bitlen(D) - 15, so rhu(acc, ds) is within 16 bits but for
 * the rounding of D itself.
 */
#include "../arithmetic/had_cold.h"
#include "../arithmetic/had_grow.h"
#include "../cores/had_dsp_values.h"
#include "../cores/had_long.h"
#include "../kernels/had_panel.h"
#include "../kernels/had_wide.h"
#include "had_block.h"
#include "hadapt/dot.h"
#include "hadapt/train.h"

#if HAD_LAYERS > 1
#define AT_ONCE (HAD_LANES > HAD_ROWS ? HAD_LANES : HAD_ROWS) /* inputs */

static uint32_t lanes_left(uint32_t column, uint32_t end) {
    return end - column < HAD_LANES ? end - column : HAD_LANES;
}

void had_weight_range(had_learner *ln, const had_layer *layer, int32_t *block, uint32_t begin,
                      uint32_t end) {
    const had_master *w = ln->master + layer->master_at;
    int32_t amax = begin == 0U ? 0 : ln->step.weight_max;
    if (ln->step.flow[layer->index].d_max > 0) {
        for (uint32_t i = begin; i < end; i += HAD_LANES) {
            for (uint32_t o = 0U; o < layer->outputs; o += HAD_ORDER) {
                had_block_weights(block, w, layer, o, i, lanes_left(i, end));
                amax = had_block_max(block, amax);
            }
        }
    }
    ln->step.weight_max = amax;
}

#if HAD_WIDE
/* A block of wh: quantised as it lies, then each input's terms into its row. */
static void quantize_block(had_weight *wh, uint32_t first, const int32_t *block,
                           const had_quantizer *prepared, uint32_t columns) {
#if HAD_MVE_ASSEMBLY
    for (uint32_t r = 0U; r < HAD_ORDER; r += HAD_MVE_TERMS) {
        had_mve_quantize_block(wh + had_weight_at(first + r, 0U), block + r * HAD_LANES, prepared);
    }
    (void)columns; /* the others are quantised as well: they are zero */
#else
    const had_quantizer q = *prepared;
    int8_t values[HAD_ORDER * HAD_LANES];
    for (uint32_t j = 0U; j < HAD_ORDER * HAD_LANES; j++) {
        values[j] = had_quant_nearest(block[j], &q);
    }
    for (uint32_t c = 0U; c < columns; c++) {
        for (uint32_t r = 0U; r < HAD_ORDER; r++) {
            wh[had_weight_at(first + r, c)] = values[r * HAD_LANES + c];
        }
    }
#endif
}
#elif HAD_OCTET
/* A block of wh: HAD_LANES inputs, two a word; lanes behind the last input are zero. */
static void quantize_block(had_weight *wh, const int32_t *block, const had_quantizer *prepared) {
    const had_quantizer q = *prepared;
    for (const int32_t *end = block + HAD_ORDER * HAD_LANES; block != end; block += HAD_LANES) {
        for (uint32_t c = 0U; c < HAD_LANES; c += 2U) {
            wh[c / 2U] = had_quant_within(block[c], &q, 128U) +
                         had_quant_within(block[c + 1U], &q, 128U) * HAD_SECOND;
        }
        wh += HAD_WORDS;
    }
}
#else
/* A column of a block: terms first .. of one input. */
static void quantize_column(had_weight *group, uint32_t first, uint32_t row, const int32_t *column,
                            const had_quantizer *prepared) {
    const had_quantizer q = *prepared;
#if HAD_DSP
    /* Nearest: what floor takes below the range at k > 0, where r < 2^17, rounds to -7 as well. */
    for (had_weight *to = group + first / 2U * HAD_WORDS + row,
                    *end = to + HAD_ORDER / 2U * HAD_WORDS;
         to != end; to += HAD_WORDS) {
        *to = had_quotients(had_smlawb(q.r, (uint32_t)(column[0] >> q.k), 1U << 9),
                            had_smlawb(q.r, (uint32_t)(column[HAD_LANES] >> q.k), 1U << 9));
        column += 2U * HAD_LANES;
    }
#elif HAD_ORDER == 1
    had_put_last(group, first, row, had_quant_within(column[0], &q, 128U));
#else
    for (uint32_t r = first; r < first + HAD_ORDER; r += 2U) {
        had_put_pair(group, r, row, had_quant_within(column[0], &q, 128U),
                     had_quant_within(column[HAD_LANES], &q, 128U));
        column += 2U * HAD_LANES;
    }
#endif
}
#endif

#ifdef HAD_COUNTERS
static void count_block(had_learner *ln, const had_layer *layer, const int32_t *block,
                        uint32_t columns) {
    const had_quantizer *q = &ln->step.weight;
    for (uint32_t j = 0U; j < HAD_ORDER * HAD_LANES; j++) {
        if (j % HAD_LANES < columns) {
            had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_WH], block[j] >> q->k,
                              -q->limit, q->limit, had_quant_nearest(block[j], q));
        }
    }
}
#endif

/* Operand wh of at most HAD_LANES inputs from `column` on, in their places in wh. */
static void quantize_lanes(had_learner *ln, const had_layer *layer, had_weight *wh, int32_t *block,
                           uint32_t column, uint32_t columns) {
    const had_master *w = ln->master + layer->master_at;
    const had_quantizer q = ln->step.weight;
    for (uint32_t o = 0U; o < layer->outputs; o += HAD_ORDER) {
        had_block_weights(block, w, layer, o, column, columns);
#if HAD_WIDE
        quantize_block(wh, o, block, &q, columns);
#elif HAD_OCTET
        quantize_block(wh + o * HAD_WORDS, block, &q);
#else
        for (uint32_t c = 0U; c < columns; c++) {
            had_weight *group =
                wh + c / HAD_ROWS * HAD_GROUP_WORDS((uint32_t)layer->outputs_padded);
            quantize_column(group, o, c % HAD_ROWS, block + c, &q);
        }
#endif
        HAD_COUNT(count_block(ln, layer, block, columns);)
    }
}

/* Operand wh of `columns` inputs from `column` on, in groups of HAD_ROWS inputs: Opad terms each. */
static void quantize_weights(had_learner *ln, const had_layer *layer, had_weight *wh,
                             int32_t *block, uint32_t column, uint32_t columns) {
    uint32_t terms = layer->outputs_padded;
#if HAD_OCTET
    for (uint32_t c = 0U; c < columns; c += HAD_LANES) {
        quantize_lanes(ln, layer, wh + c / 2U, block, column + c, lanes_left(c, columns));
    }
    columns = (columns + HAD_LANES - 1U) / HAD_LANES * HAD_LANES;
#else
    quantize_lanes(ln, layer, wh, block, column, columns);
#endif
    for (uint32_t c = columns; c % HAD_ROWS != 0U; c++) {
        had_clear_row(wh + c / HAD_ROWS * HAD_GROUP_WORDS(terms), terms, c % HAD_ROWS);
    }
}

/* All masters are zero, and so are the errors below. */
static void zero_weights(had_learner *ln, const had_layer *layer, had_weight *wh,
                         uint32_t columns) {
    uint32_t groups = (columns + HAD_ROWS - 1U) / HAD_ROWS;
    for (uint32_t j = 0U; j < groups * HAD_GROUP_WORDS((uint32_t)layer->outputs_padded); j++) {
        wh[j] = 0;
    }
    HAD_COUNT(had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_WH],
                              columns * layer->outputs_padded);)
    (void)ln;
    (void)layer;
}

/* Columns from `column` on that are taken at once. */
#define COLUMNS_AT(column)                                                                         \
    (HAD_BATCH_STRIDE % HAD_COLUMNS == 0U || HAD_BATCH_STRIDE - (column) > HAD_COLUMNS             \
         ? HAD_COLUMNS                                                                             \
         : HAD_BATCH_STRIDE - (column))

/* Scale of the result and quantiser of the weights. */
static void start(had_learner *ln, const had_layer *layer) {
    had_step *step = &ln->step;
    had_scale weight_scale = HAD_SCALE_ONE;
    if (step->weight_max > 0) {
        step->weight = had_quantizer_of(step->weight_max, 7U, HAD_QUANT_SHIFT);
        weight_scale = had_scale_quantized(layer->scale, step->weight_max, HAD_SCALE_INV7);
    }
    had_scale product = had_scale_mul(step->error_scale, weight_scale);
    int32_t shift = (int32_t)layer->error_shift - HAD_ORDER_LOG2;
    step->flow[layer->index - 1U].d_scale = had_scale_pow2(product, shift);
}

#if HAD_MVE_ASSEMBLY
/* Some errors of one input: masked, 16 bits, zero behind the batch. */
static void mask_errors(had_learner *ln, const had_layer *layer, int16_t *d_below, had_line acc,
                        const uint8_t *mask, uint32_t column, uint32_t lanes) {
    had_flow *below = &ln->step.flow[layer->index - 1U];
    below->d_max = had_mve_mask_errors(d_below + column, acc.at, mask + column / 8U, lanes,
                                       COLUMNS_AT(column), below->d_max);
}
#elif HAD_WIDE && !HAD_MVE
/* Some errors of one input: masked, 16 bits, zero behind the batch. */
static void mask_errors(had_learner *ln, const had_layer *layer, int16_t *restrict d_below,
                        had_line line, const uint8_t *mask, uint32_t column, uint32_t lanes) {
    const had_total *restrict acc = line.at;
    had_flow *below = &ln->step.flow[layer->index - 1U];
    uint32_t shift = HAD_SHIFT_OF(layer->error_shift);
    int32_t half = shift == 0U ? 0 : (int32_t)(1U << (shift - 1U));
    int32_t d_max = below->d_max;
    int16_t keep[HAD_LANES];
    had_wide_keep(keep, mask + column / 8U, lanes);
    d_below += column;
    for (uint32_t b = 0U; b < HAD_LANES; b++) {
        int32_t d = had_saturate_s16((acc[b] + half) >> shift) & keep[b];
        d_below[b] = (int16_t)d;
        d_max = had_abs(d) > d_max ? had_abs(d) : d_max;
    }
    below->d_max = d_max;
}
#elif HAD_DSP
/* Some errors of one input, two a word: masked, zero behind the batch. */
static void mask_errors(had_learner *ln, const had_layer *layer, int16_t *d_below, had_line acc,
                        const uint8_t *mask, uint32_t column, uint32_t lanes) {
    had_flow *below = &ln->step.flow[layer->index - 1U];
    uint32_t bits = (uint32_t)mask[column >> 3] >> (column & 7U) & ((1U << lanes) - 1U);
    uint32_t first = had_word_at(acc.at) & had_keep16(bits);
    uint32_t second = had_word_at(acc.at + 2) & had_keep16(bits >> 2);
    (void)memcpy(d_below + column, &first, sizeof first);
    (void)memcpy(d_below + column + 2U, &second, sizeof second);
    int32_t d_max = had_larger_half(had_max16(had_abs16(first), had_abs16(second)));
    below->d_max = d_max > below->d_max ? d_max : below->d_max;
}
#else
/* Some errors of one input: masked, 16 bits, zero behind the batch. */
static void mask_errors(had_learner *ln, const had_layer *layer, int16_t *d_below, had_line acc,
                        const uint8_t *mask, uint32_t column, uint32_t lanes) {
    had_flow *below = &ln->step.flow[layer->index - 1U];
    uint32_t shift = HAD_SHIFT_OF(layer->error_shift);
    int32_t half = shift == 0U ? 0 : (int32_t)(1U << (shift - 1U));
    int32_t d_max = below->d_max;
    uint32_t bits = 0U; /* a block never begins within a byte and ends beyond it */
    for (uint32_t c = 0U; c < COLUMNS_AT(column); c++) {
        bits = c % 8U == 0U ? (uint32_t)mask[(column + c) >> 3] >> ((column + c) & 7U) : bits >> 1;
        int32_t rounded = (had_line_total(&acc, c) + half) >> shift;
        int32_t d = c < lanes && (bits & 1U) != 0U ? had_saturate_s16(rounded) : 0;
        d_below[column + c] = (int16_t)d;
        d_max = had_grow(d_max, d);
        HAD_COUNT(if (c < lanes && rounded != had_saturate_s16(rounded)) {
            ln->counters.layer[layer->index].errors_saturated += 1U;
        })
    }
    below->d_max = d_max;
}
#endif

/* Errors of `rows` inputs, at most HAD_ROWS. */
static void gradient_rows(had_learner *ln, const had_layer *layer, int16_t *d_below,
                          const int8_t *dh, const uint8_t *mask, const had_weight *wh,
                          uint32_t rows) {
    had_counted counted = {(1U << rows) - 1U, 0U, 0,
                           HAD_PRODUCT_TALLY(ln, layer->index, HAD_P_INPUT)};
    for (uint32_t b = 0U; b < HAD_BATCH_STRIDE; b += HAD_COLUMNS) {
        had_total acc[HAD_PRODUCTS(HAD_COLUMNS)];
        uint32_t left = b < HAD_BATCH ? HAD_BATCH - b : 0U;
        counted.lanes = left < HAD_COLUMNS ? left : HAD_COLUMNS;
        had_dot_columns(acc, had_operand_at(dh, b, layer->outputs_padded), wh,
                        layer->outputs_padded, &counted);
        for (uint32_t r = 0U; r < rows; r++) {
            mask_errors(ln, layer, d_below + r * HAD_BATCH_STRIDE, had_line_of(acc, r, HAD_COLUMNS),
                        mask + r * HAD_MASK_BYTES, b, counted.lanes);
        }
    }
}

void had_input_gradient(had_learner *ln, const had_layer *layer, int16_t *d_below, int8_t *dh,
                        const uint8_t *mask, int32_t *block, had_weight *wh, uint32_t begin,
                        uint32_t end) {
    if (begin == 0U) {
        ln->step.flow[layer->index - 1U].d_max = 0;
    }
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    if (begin == 0U) {
        start(ln, layer);
#if HAD_DSP
        had_dsp_pack(dh, layer->outputs_padded, 0U);
#elif HAD_LONG
        had_long_pack(dh, layer->outputs_padded);
#endif
    }
    const int8_t *operand = had_operand_columns(ln, dh, layer->outputs_padded, begin);
    for (uint32_t i = begin; i < end; i += AT_ONCE) {
        uint32_t columns = end - i < AT_ONCE ? end - i : AT_ONCE;
        if (ln->step.weight_max > 0) {
            quantize_weights(ln, layer, wh, block, i, columns);
        } else {
            zero_weights(ln, layer, wh, columns);
        }
        for (uint32_t c = 0U; c < columns; c += HAD_ROWS) {
            uint32_t rows = columns - c < HAD_ROWS ? columns - c : HAD_ROWS;
            gradient_rows(ln, layer, d_below + (i + c) * HAD_BATCH_STRIDE, operand,
                          mask + (i + c) * HAD_MASK_BYTES,
                          wh + c / HAD_ROWS * HAD_GROUP_WORDS((uint32_t)layer->outputs_padded),
                          rows);
        }
    }
}
#else
typedef int had_input_grad_is_left_out; /* a head alone has no layer below */
#endif
