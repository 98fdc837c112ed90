/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weight gradient in the Hadamard domain of the batch, and the update, SPEC.md 6.3 b and c.
 *
 * Bounds: |acc| <= 512 * 49 < 2^15, so |acc m| < 2^30, and the random addend is below 2^30: their sum fits
 * 32 bits. |delta| <= 2^30 and |w| < 2^15: the difference fits too. Bias: |g| <= 512 * 2^15 = 2^24, times
 * m < 2^15 below 2^39, plus half of 2^62 fits 64 bits.
 */
#include "../arithmetic/had_grow.h"
#include "../cores/had_dsp_values.h"
#include "../kernels/had_panel.h"
#include "../kernels/had_wide.h"
#include "had_row.h"
#include "had_update.h"
#include "hadapt/dot.h"
#include "hadapt/fwht.h"
#include "hadapt/random.h"
#include "hadapt/train.h"

#if HAD_WIDE
/* Terms of a row that lie together. */
#if HAD_MVE
#define SPAN HAD_MVE_TERMS
#else
#define SPAN HAD_BATCH_PADDED
#endif

/* Rows start at multiples of four draws. */
static void draw_errors(had_weight *dt, uint32_t r, const int32_t *row,
                        const had_quantizer *prepared, uint32_t key, uint32_t index) {
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b += SPAN) {
        uint32_t count = HAD_BATCH_PADDED - b < SPAN ? HAD_BATCH_PADDED - b : SPAN;
        had_wide_quantize(dt + had_weight_at(b, r), row + b, prepared, key + ((index + b) >> 2),
                          count);
    }
    had_put_padding(dt, HAD_BATCH_PADDED, r);
}
#elif HAD_ORDER == 1
/* Draws from index on: words are shared by four elements, by two rows only without a transform. */
static void draw_errors(had_weight *dt, uint32_t r, const int32_t *row,
                        const had_quantizer *prepared, uint32_t key, uint32_t index) {
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        had_put_last(dt, b, r, had_quant_within(row[b], prepared, had_draw8(key, index + b)));
    }
}
#else
static void draw_errors(had_weight *dt, uint32_t r, const int32_t *row,
                        const had_quantizer *prepared, uint32_t key, uint32_t index) {
    const had_quantizer q = *prepared;
    key += index >> 2;
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b += 4U) {
        uint32_t word = had_mix(key);
        int32_t v[4];
        v[0] = had_quant_within(row[b], &q, word & 0xFFU);
        v[1] = had_quant_within(row[b + 1U], &q, word >> 8 & 0xFFU);
        v[2] = had_quant_within(row[b + 2U], &q, word >> 16 & 0xFFU);
        v[3] = had_quant_within(row[b + 3U], &q, word >> 24);
        had_put_quad(dt, b, r, v);
        key++;
    }
}
#endif

/* Row of errors to `row`, transformed; returns its largest magnitude. */
static int32_t transform_errors(int32_t *row, const int16_t *d) {
    int32_t amax = 0;
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        row[b] = d[b];
    }
    had_fwht_row(row, HAD_BATCH_PADDED);
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        amax = had_grow(amax, row[b]);
    }
    return amax;
}

#if HAD_DSP_VALUES
static int32_t transform_small(int32_t *row, const int16_t *d) {
    had_dsp_halves(row, d);
    return had_dsp_grow(row, 0, 0);
}
#endif

/* Whether errors stay below 2^15 when transformed: two a word. */
static inline uint32_t are_small(const had_learner *ln, const had_layer *layer) {
    return HAD_DSP_VALUES && ln->step.flow[layer->index].d_max <= INT16_MAX / (int32_t)HAD_ORDER
               ? 1U
               : 0U;
}

/* Row r of a group's dt; returns the range, 0 if the row is all zero. */
static int32_t quantize_errors(had_learner *ln, const had_layer *layer, had_weight *dt, uint32_t r,
                               int32_t *row, const int16_t *d, uint32_t o) {
    uint32_t small = are_small(ln, layer);
#if HAD_DSP_VALUES
    int32_t amax = small != 0U ? transform_small(row, d) : transform_errors(row, d);
#else
    int32_t amax = transform_errors(row, d);
    (void)small;
#endif
    if (amax == 0) {
        had_clear_row(dt, HAD_BATCH_PADDED, r);
        HAD_COUNT(
            had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_DT], HAD_BATCH_PADDED);)
        return 0;
    }
    const had_quantizer q = had_quantizer_of(amax, 7U, HAD_QUANT_SHIFT);
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_WEIGHT(layer->index));
#if HAD_DSP_VALUES
    if (small != 0U) {
        had_dsp_draw_errors(dt + r, row, q.r, key + (o * HAD_BATCH_PADDED >> 2));
        return amax;
    }
#endif
    draw_errors(dt, r, row, &q, key, o * HAD_BATCH_PADDED);
    HAD_COUNT(for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        int32_t value = had_quant_within(row[b], &q, had_draw8(key, o * HAD_BATCH_PADDED + b));
        had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_DT], row[b] >> q.k,
                          -q.limit, q.limit, value);
    })
    return amax;
}

had_rates had_rates_of(const had_learner *ln, const had_layer *layer) {
    had_rates rates = {.per_sample = had_scale_recip(had_scale_from_int(HAD_BATCH))};
    had_scale rate = had_scale_mul(ln->step.rate, ln->step.flow[layer->index].d_scale);
    had_scale a = had_scale_mul(rate, rates.per_sample);
    rates.bias = had_multiplier64_of(had_scale_pow2(a, (int32_t)layer->out_frac_bits + 16));
    return rates;
}

/* a of SPEC.md 6.3 b, without its order. */
static had_multiplier step_size(const had_learner *ln, const had_layer *layer,
                                const had_rates *rates, int32_t amax, uint32_t o) {
    const had_step *step = &ln->step;
    had_scale s3 = had_scale_quantized(step->flow[layer->index].d_scale, amax, HAD_SCALE_INV7);
    had_scale gradient = had_scale_mul(step->rate, had_scale_mul(s3, step->activation_scale));
    had_scale per_master =
        had_scale_mul(had_scale_recip(had_row_scale(layer, o)), rates->per_sample);
    had_scale a = had_scale_mul(gradient, per_master);
    return had_multiplier_of(had_scale_pow2(a, -HAD_ORDER_LOG2));
}

had_update had_update_of(had_learner *ln, const had_layer *layer, const had_rates *rates,
                         int32_t amax, uint32_t o) {
    uint32_t words = ((uint32_t)layer->inputs + 1U) / 2U;
    had_update update = {.live = amax > 0 && ln->step.activation_max > 0 ? 1U : 0U};
    if (update.live != 0U) {
        update.step = step_size(ln, layer, rates, amax, o);
        update.round = 30U - update.step.sh;
        update.key = had_tensor_key(ln->step.key, HAD_TENSOR_UPDATE(layer->index)) + o * words;
    }
    HAD_COUNT(update.tally = &ln->counters.layer[layer->index];)
    return update;
}

static int32_t updated_bias(int32_t bias, int32_t gradient, had_multiplier m) {
    int64_t half = m.sh == 0U ? 0 : (int64_t)1 << (m.sh - 1U);
    int64_t next = bias - (((int64_t)gradient * m.m + half) >> m.sh);
    return (int32_t)(next < INT32_MIN ? INT32_MIN : (next > INT32_MAX ? INT32_MAX : next));
}

void had_bias_update(had_learner *ln, const had_layer *layer, const had_rates *rates,
                     int32_t gradient, uint32_t o) {
    int32_t *bias = &ln->working.bias[layer->bias_at + o];
    *bias = updated_bias(*bias, gradient, rates->bias);
}

static int32_t bias_gradient(const int16_t *d) {
    int32_t gradient = 0;
    for (uint32_t b = 0U; b < HAD_BATCH; b++) {
        gradient += d[b];
    }
    return gradient;
}

void had_weight_gradient(had_learner *ln, const had_layer *layer, const int16_t *d,
                         const int8_t *xh, int32_t *row, had_weight *dt, uint32_t begin,
                         uint32_t end) {
    uint32_t outputs = layer->is_head != 0U ? ln->working.n_classes : layer->outputs;
    uint32_t last = end < outputs ? end : outputs;
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    const had_rates rates = had_rates_of(ln, layer);
    xh = had_operand_rows(ln, xh, layer->inputs, begin);
    for (uint32_t o = begin; o < last; o += HAD_ROWS) {
        uint32_t rows = last - o < HAD_ROWS ? last - o : HAD_ROWS;
        had_update update[HAD_ROWS];
        uint32_t live = 0U;
        for (uint32_t r = 0U; r < rows; r++) {
            const int16_t *errors = d + (o + r) * HAD_BATCH_STRIDE;
            int32_t amax = quantize_errors(ln, layer, dt, r, row, errors, o + r);
            update[r] = had_update_of(ln, layer, &rates, amax, o + r);
            live += update[r].live;
            had_bias_update(ln, layer, &rates, bias_gradient(errors), o + r);
        }
        for (uint32_t r = rows; r < HAD_ROWS; r++) {
            had_clear_row(dt, HAD_BATCH_PADDED, r);
        }
        if (live > 0U) {
            had_update_rows(ln->master + layer->master_at + o * layer->inputs, dt, xh, update, rows,
                            layer->inputs);
        }
    }
}
