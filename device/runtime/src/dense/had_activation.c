/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operand xh of the weight gradient: the 4-bit input transformed over the batch, SPEC.md 6.3 b.
 * |v| <= HAD_ORDER * 15 = 960 at most, so the quantiser drops no bits and clips nothing.
 */
#include "../arithmetic/had_grow.h"
#include "../cores/had_dsp_values.h"
#include "../cores/had_long.h"
#include "../kernels/had_wide.h"
#include "hadapt/expand.h"
#include "hadapt/fwht.h"
#include "hadapt/random.h"
#include "hadapt/train.h"

#if HAD_DSP_VALUES
#define PAIRS 1
static inline void transform(int32_t *row, const int8_t *x, uint32_t positive) {
    (void)positive;
    had_dsp_bytes(row, x);
}

static inline int32_t grow_row(const int32_t *row, int32_t amax, int8_t *x, uint32_t stays) {
    return had_dsp_grow(row, amax, stays != 0U ? x : 0);
}
#elif HAD_ORDER == 1 || HAD_WIDE
#define PAIRS 0
static void transform(int32_t *row, const int8_t *x, uint32_t positive) {
    (void)positive;
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        row[b] = x[b];
    }
    had_fwht_row(row, HAD_BATCH_PADDED);
}

static int32_t grow_row(const int32_t *row, int32_t amax) {
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        amax = had_grow(amax, row[b]);
    }
    return amax;
}
#else
#define PAIRS 1
#define WORDS (HAD_BATCH_PADDED / 2U)

/* Two values a word: low + high * 2^16. */
static void pack_row(int32_t *row, const int8_t *x, uint32_t positive) {
#if HAD_LONG
    const int32_t half = positive != 0U ? 0 : 2048;
    const int32_t sign = positive != 0U ? 0 : 0x8000;
#endif
    (void)positive;
    for (const int32_t *end = row + WORDS; row != end; row++) {
#if HAD_LONG
        /* as had_forward has packed it: low + 4096 high */
        uint16_t packed;
        __builtin_memcpy(&packed, x, sizeof packed);
        int32_t v = ((int32_t)packed ^ sign) - sign;
        *row = v + ((v + half) >> 12) * (65536 - 4096);
#else
        *row = x[0] + x[1] * 65536;
#endif
        x += 2;
    }
}

/* All but the last butterfly; both values of a word stay below 2^10. */
static void transform(int32_t *row, const int8_t *x, uint32_t positive) {
    pack_row(row, x, positive);
    had_fwht_pairs(row, WORDS);
}

static inline int32_t low_of(int32_t word) {
    return (int16_t)(uint16_t)((uint32_t)word & 0xFFFFU);
}

/* Of a sum and a difference the larger magnitude is the sum of the magnitudes. */
static inline int32_t grow_row(const int32_t *row, int32_t amax, int8_t *x, uint32_t stays) {
    for (const int32_t *end = row + WORDS; row != end; row++) {
        int32_t low = low_of(*row);
        int32_t high = (*row - low) >> 16;
        int32_t most = had_abs(low) + had_abs(high);
        amax = most > amax ? most : amax;
        if (stays != 0U) {
            x[0] = (int8_t)low;
            x[1] = (int8_t)high;
            x += 2;
        }
    }
    return amax;
}
#endif

#if PAIRS
/*
 * Sums of half an order: where they have 8 bits the first pass leaves them in place of x, and the second
 * has nothing to transform.
 */
static inline uint32_t stay(const had_layer *layer) {
    return HAD_ORDER / 2 * (HAD_IS_POSITIVE(layer) != 0U ? 15 : 7) <= INT8_MAX ? 1U : 0U;
}
#endif

void had_activation_range(had_learner *ln, const had_layer *layer, int8_t *x, int32_t *row,
                          uint32_t begin, uint32_t end) {
    int32_t amax = begin == 0U ? 0 : ln->step.activation_max;
#if HAD_DSP
    if (begin == 0U && had_is_dense(layer) != 0U) {
        /* as before had_forward */
        had_dsp_unpack(x, layer->inputs, HAD_IS_POSITIVE(layer) ? HAD_DSP_RAISE : 0U);
    }
#endif
    if (ln->step.flow[layer->index].d_max > 0) {
        for (uint32_t i = begin; i < end; i++) {
            int8_t *values = x + i * HAD_BATCH_STRIDE;
            transform(row, values, HAD_IS_POSITIVE(layer));
#if PAIRS
            amax = stay(layer) != 0U ? grow_row(row, amax, values, 1U)
                                     : grow_row(row, amax, values, 0U);
#else
            amax = grow_row(row, amax);
#endif
        }
    }
    ln->step.activation_max = amax;
}

#if HAD_DSP_VALUES
/* Rows start at multiples of four draws. */
static inline void quantize_row(int8_t *xh, const int32_t *row, int32_t r, uint32_t key,
                                uint32_t index) {
    had_dsp_draw(xh, row, r, key + (index >> 2));
}

static inline void quantize_in_place(int8_t *xh, int32_t r, uint32_t key, uint32_t index) {
    had_dsp_draw(xh, 0, r, key + (index >> 2));
}
#elif HAD_ORDER == 1
/* Without a transform there is no padding, and four draws of a word may belong to two rows. */
static void quantize_row(int8_t *xh, const int32_t *row, int32_t r, uint32_t key, uint32_t index) {
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
        xh[b] = (int8_t)had_quant_small(row[b], r, had_draw8(key, index + b));
    }
}
#elif HAD_WIDE
/* Rows start at multiples of four draws. */
static void quantize_row(int8_t *xh, const int32_t *row, int32_t r, uint32_t key, uint32_t index) {
    const had_quantizer q = {.r = r, .limit = INT16_MAX, .k = 0U};
    had_wide_quantize(xh, row, &q, key + (index >> 2), HAD_BATCH_PADDED);
}
#else
/* The last butterfly, of two values. */
static inline void quantize_two(int8_t *xh, int32_t low, int32_t high, int32_t r, uint32_t u0,
                                uint32_t u1) {
    xh[0] = (int8_t)had_quant_small(low + high, r, u0);
    xh[1] = (int8_t)had_quant_small(low - high, r, u1);
}

/* Rows start at multiples of four draws. */
static void quantize_row(int8_t *xh, const int32_t *row, int32_t r, uint32_t key, uint32_t index) {
    key += index >> 2;
    for (const int32_t *end = row + WORDS; row != end; row += 2) {
        uint32_t word = had_mix(key);
        int32_t low[2] = {low_of(row[0]), low_of(row[1])};
        quantize_two(xh, low[0], (row[0] - low[0]) >> 16, r, word & 0xFFU, word >> 8 & 0xFFU);
        quantize_two(xh + 2, low[1], (row[1] - low[1]) >> 16, r, word >> 16 & 0xFFU, word >> 24);
        xh += 4;
        key++;
    }
}

/* The same of values that have stayed in place. */
static void quantize_in_place(int8_t *xh, int32_t r, uint32_t key, uint32_t index) {
    key += index >> 2;
    for (const int8_t *end = xh + HAD_BATCH_PADDED; xh != end; xh += 4) {
        uint32_t word = had_mix(key);
        quantize_two(xh, xh[0], xh[1], r, word & 0xFFU, word >> 8 & 0xFFU);
        quantize_two(xh + 2, xh[2], xh[3], r, word >> 16 & 0xFFU, word >> 24);
        key++;
    }
}
#endif

#ifdef HAD_COUNTERS
static void count_row(had_learner *ln, const had_layer *layer, const int8_t *xh,
                      const int32_t *row) {
    const had_quantizer *q = &ln->step.activation;
    had_tensor_tally *tally = &ln->counters.layer[layer->index].tensor[HAD_T_XH];
    for (uint32_t b = 0U; b < HAD_BATCH_PADDED; b++) {
#if !PAIRS
        int32_t v = row[b];
#else
        int32_t low = low_of(row[b / 2U]);
        int32_t high = (row[b / 2U] - low) >> 16;
        int32_t v = (b & 1U) == 0U ? low + high : low - high;
#endif
        had_tally_element(tally, v >> q->k, -q->limit, q->limit, xh[b]);
    }
}
#endif

/* The weight gradient takes HAD_TAPS rows at once, a convolution's from any row on: zeros behind the last. */
static void clear_padding(int8_t *x, const had_layer *layer) {
    uint32_t inputs = had_in_values(layer);
    uint32_t end = (inputs + HAD_TAPS - 1U) / HAD_TAPS * HAD_TAPS;
    end = had_is_dense(layer) != 0U ? end : inputs + HAD_TAPS - 1U;
    for (uint32_t i = inputs * HAD_BATCH_STRIDE; i < end * HAD_BATCH_STRIDE; i++) {
        x[i] = 0;
    }
}

/* xh of one input, from x or from the sums that stay in its place. */
static inline void quantize_values(int8_t *xh, int32_t *row, const had_layer *layer, int32_t r,
                                   uint32_t key, uint32_t index) {
#if PAIRS
    if (stay(layer) != 0U) {
        HAD_COUNT(pack_row(row, xh, 0U);)
        quantize_in_place(xh, r, key, index);
        return;
    }
#endif
    transform(row, xh, HAD_IS_POSITIVE(layer));
    quantize_row(xh, row, r, key, index);
}

void had_activation_quantize(had_learner *ln, const had_layer *layer, int8_t *x, int32_t *row,
                             uint32_t begin, uint32_t end) {
    had_step *step = &ln->step;
    if (step->flow[layer->index].d_max == 0) {
        return;
    }
    if (step->activation_max == 0) {
        HAD_COUNT(had_tally_zeros(&ln->counters.layer[layer->index].tensor[HAD_T_XH],
                                  (end - begin) * HAD_BATCH_PADDED);)
        return;
    }
    if (begin == 0U) {
        step->activation = had_quantizer_of(step->activation_max, 7U, HAD_QUANT_SHIFT);
        step->activation_scale = had_scale_quantized(step->flow[had_reads(layer)].x_scale,
                                                     step->activation_max, HAD_SCALE_INV7);
        clear_padding(x, layer);
    }
    uint32_t key = had_tensor_key(step->key, HAD_TENSOR_ACTIVATION(layer->index));
    for (uint32_t i = begin; i < end; i++) {
        int8_t *xh = x + i * HAD_BATCH_STRIDE;
        quantize_values(xh, row, layer, step->activation.r, key, i * HAD_BATCH_PADDED);
        HAD_COUNT(count_row(ln, layer, xh, row);)
#ifdef HAD_EXPANSIONS
        had_expand_column(ln, layer, xh, i);
#endif
#if HAD_DSP
        if (had_is_dense(layer) != 0U &&
            (i % HAD_TAPS == HAD_TAPS - 1U || i + 1U == layer->inputs)) {
            had_dsp_pack_four(x + (i & ~(HAD_TAPS - 1U)) * HAD_BATCH_STRIDE);
        }
#elif HAD_LONG
        if (i % HAD_TAPS == HAD_TAPS - 1U || i + 1U == layer->inputs) {
            had_long_pack_four(x + (i & ~(HAD_TAPS - 1U)) * HAD_BATCH_STRIDE);
        }
#endif
    }
}
