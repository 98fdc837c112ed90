/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weight gradient in the Hadamard domain of the batch, and the update, SPEC.md 6.3 b and c.
 *
 * Bounds: |acc| <= 512 * 49 < 2^15, so |acc m| < 2^30, and the random addend is below 2^30: their sum fits
 * 32 bits. |delta| <= 2^30 and |w| < 2^15: the difference fits too. Bias: |g| <= 512 * 2^15 = 2^24, times
 * m < 2^15 below 2^39, plus half of 2^62 fits 64 bits.
 */
#include "had_row.h"
#include "hadapt/dot.h"
#include "hadapt/fwht.h"
#include "hadapt/random.h"
#include "hadapt/train.h"

/* What a row's update needs. */
typedef struct had_update {
    had_multiplier step; /* learning rate over master step, per accumulator unit */
    uint32_t key;        /* of the row's first random word */
    had_layer_tally *tally;
} had_update;

/* dt of one row; returns the range, 0 if the row is all zero. */
static int32_t quantize_errors(had_learner *ln, const had_layer *layer, int8_t *dt, int32_t *row,
                               const int16_t *d, uint32_t o) {
    int32_t amax = 0;
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        row[b] = d[b];
    }
    had_fwht_row(row, HAD_BATCH_PADDED);
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        amax = had_abs(row[b]) > amax ? had_abs(row[b]) : amax;
    }
    if (amax == 0) {
        HAD_COUNT(
            had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_DT], HAD_BATCH_PADDED);)
        return 0;
    }
    const had_quantizer q = had_quantizer_of(amax, 7U, HAD_QUANT_SHIFT);
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_ERROR_WEIGHT(layer->index));
    uint32_t index = o * HAD_BATCH_PADDED;
    uint32_t word = 0U;
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        if (b == 0U || ((index + b) & 3U) == 0U) {
            word = had_mix(key + ((index + b) >> 2)) >> (8U * ((index + b) & 3U));
        }
        dt[b] = had_quant_stochastic(row[b], &q, word & 0xFFU);
        word >>= 8;
        HAD_COUNT(had_tally_element(&ln->counters.layer[layer->index].tensor[HAD_T_DT],
                                    row[b] >> q.k, -q.limit, q.limit, dt[b]);)
    }
    return amax;
}

/* a of SPEC.md 6.3 b, without its order. */
static had_multiplier step_size(const had_learner *ln, const had_layer *layer, int32_t amax,
                                uint32_t o) {
    const had_step *step = &ln->step;
    had_scale s3 = had_scale_quantized(step->flow[layer->index].d_scale, amax, HAD_SCALE_INV7);
    had_scale gradient = had_scale_mul(step->rate, had_scale_mul(s3, step->activation_scale));
    had_scale per_master = had_scale_mul(had_scale_recip(had_row_scale(layer, o)),
                                         had_scale_recip(had_scale_from_int(HAD_BATCH)));
    had_scale a = had_scale_mul(gradient, per_master);
    return had_multiplier_of(had_scale_pow2(a, -HAD_ORDER_LOG2));
}

static had_master updated(had_master w, int32_t acc, had_multiplier m, uint32_t u,
                          had_layer_tally *tally) {
    int32_t delta = (acc * m.m + (int32_t)((u << 14) >> (30U - m.sh))) >> m.sh;
    int32_t next = had_clamp(w - delta, -HAD_MASTER_MAX, HAD_MASTER_MAX);
    HAD_COUNT(tally->masters_saturated += next != w - delta ? 1U : 0U;)
    (void)tally;
    return (had_master)next;
}

/* One word serves two neighbours: rows start at even indices. */
static void update_row(had_master *w, const int8_t *dt, const int8_t *xh, uint32_t inputs,
                       const had_update *update) {
    uint32_t word = 0U;
    had_tally *product = 0;
    HAD_COUNT(product = &update->tally->product[HAD_P_WEIGHT];)
    for (uint32_t i = 0U; i < inputs; i++) {
        word = (i & 1U) == 0U ? had_mix(update->key + (i >> 1)) : word >> 16;
        int32_t acc = had_dot_row(dt, xh, HAD_BATCH_PADDED, product);
        w[i] = updated(w[i], acc, update->step, word & 0xFFFFU, update->tally);
        xh += HAD_BATCH_STRIDE;
    }
}

static void update_weights(had_learner *ln, const had_layer *layer, const int8_t *dt,
                           const int8_t *xh, int32_t amax, uint32_t o) {
    uint32_t words = ((uint32_t)layer->inputs + 1U) / 2U;
    had_update update;
    update.step = step_size(ln, layer, amax, o);
    update.key = had_tensor_key(ln->step.key, HAD_TENSOR_UPDATE(layer->index)) + o * words;
    update.tally = 0;
    HAD_COUNT(update.tally = &ln->counters.layer[layer->index];)
    update_row(ln->working.master + layer->master_at + o * layer->inputs, dt, xh, layer->inputs,
               &update);
}

static int32_t updated_bias(int32_t bias, int32_t gradient, had_multiplier m) {
    int64_t half = m.sh == 0U ? 0 : (int64_t)1 << (m.sh - 1U);
    int64_t next = bias - (((int64_t)gradient * m.m + half) >> m.sh);
    return (int32_t)(next < INT32_MIN ? INT32_MIN : (next > INT32_MAX ? INT32_MAX : next));
}

static void update_bias(had_learner *ln, const had_layer *layer, const int16_t *d, uint32_t o) {
    had_scale rate = had_scale_mul(ln->step.rate, ln->step.flow[layer->index].d_scale);
    had_scale a = had_scale_mul(rate, had_scale_recip(had_scale_from_int(HAD_BATCH)));
    had_multiplier m = had_multiplier64_of(had_scale_pow2(a, (int32_t)layer->out_frac_bits + 16));
    int32_t *bias = &ln->working.bias[layer->bias_at + o];
    int32_t gradient = 0;
    for (uint32_t b = 0U; b < HAD_BATCH; b++) {
        gradient += d[b];
    }
    *bias = updated_bias(*bias, gradient, m);
}

void had_weight_gradient(had_learner *ln, const had_layer *layer, const int16_t *d,
                         const int8_t *xh, int32_t *row, int8_t *dt, uint32_t begin, uint32_t end) {
    uint32_t rows = layer->is_head != 0U ? ln->working.n_classes : layer->outputs;
    uint32_t last = end < rows ? end : rows;
    if (ln->step.flow[layer->index].d_max == 0) {
        return;
    }
    for (uint32_t o = begin; o < last; o++) {
        const int16_t *errors = d + o * HAD_BATCH_STRIDE;
        int32_t amax = quantize_errors(ln, layer, dt, row, errors, o);
        if (amax > 0 && ln->step.activation_max > 0) {
            update_weights(ln, layer, dt, xh, amax, o);
        }
        update_bias(ln, layer, errors, o);
    }
}
