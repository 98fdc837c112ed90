/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs to the next layer's 4-bit input, with the range of the batch, SPEC.md 5.3. */
#include "../arithmetic/had_cold.h"

#include "../cores/had_dsp_values.h"
#include "../cores/had_mve_rows.h"
#include "../kernels/had_wide.h"
#include "hadapt/expand.h"
#include "hadapt/train.h"
#ifdef HAD_CONV_LAYERS
#include "hadapt/conv.h"
#endif

#if HAD_LAYERS > 1
/* Scale, quantiser and tracked range of the input of layer l, from the largest output of the batch. */
static void start(had_learner *ln, const had_layer *layer) {
    uint32_t next = had_next(layer);
    int32_t top = ln->step.flow[layer->index].y_max;
    int32_t amax = had_widen(top, had_layers[next].x_range);
    had_scale grid = {1 << 14, -14 - (int32_t)layer->out_frac_bits};
    had_scale scale = HAD_SCALE_ONE;
    if (amax > 0) {
        scale = had_scale_quantized(grid, amax, HAD_SCALE_INV15);
        ln->step.activation = had_quantizer_of(amax, 15U, HAD_QUANT_SHIFT);
    }
    ln->step.flow[next].x_scale = scale;
    /* tracked is within [0, 32767 * 256], so the difference fits 32 bits. */
    ln->working.tracked[next] += (top * 256 - ln->working.tracked[next]) >> 4;
}

static void activate_row(int8_t *restrict x, uint8_t *restrict mask, const int16_t *restrict y,
                         const had_quantizer *prepared, uint32_t begin, uint32_t end) {
    const had_quantizer q = *prepared;
#if HAD_MVE_ASSEMBLY || HAD_DSP_VALUES
    uint32_t whole = (begin & 7U) == 0U ? (end - begin) & ~7U : 0U;
#if HAD_MVE_ASSEMBLY
    if (whole > 0U) {
        had_mve_activate(x + begin, mask + begin / 8U, y + begin, prepared, whole);
        begin += whole;
    }
#else
    if (q.k == 0U) {
        had_dsp_activate(x + begin, mask + begin / 8U, y + begin, q.r, whole);
        begin += whole;
    }
#endif
#endif
#if HAD_WIDE && !HAD_MVE_ASSEMBLY
    for (uint32_t b = begin; b < end; b++) {
        x[b] = had_quant_positive(y[b], &q);
    }
    for (; (begin & 7U) == 0U && begin + 8U <= end; begin += 8U) {
        mask[begin >> 3] = had_wide_mask(y + begin);
    }
    for (uint32_t b = begin; b < end; b++) {
        uint32_t bit = 1U << (b & 7U);
        uint32_t rest = mask[b >> 3] & ~bit;
        mask[b >> 3] = (uint8_t)(y[b] > 0 ? rest | bit : rest);
    }
#else
    for (uint32_t b = begin; b < end;) {
        uint32_t bits = mask[b >> 3] & ~(~0U << (b & 7U)); /* of columns before */
        do {
            int32_t v = y[b] > 0 ? y[b] : 0; /* within the batch's range: below its limit */
            bits |= (v > 0 ? 1U : 0U) << (b & 7U);
            x[b] = (int8_t)had_quant_small(v >> q.k, q.r, 128U);
            b++;
        } while ((b & 7U) != 0U && b < end);
        mask[(b - 1U) >> 3] = (uint8_t)bits;
    }
#endif
}

#ifdef HAD_CONV_LAYERS
/* No error passes a bound that is reached. */
static void mask_bound(uint8_t *mask, const int16_t *y, int32_t top, uint32_t begin, uint32_t end) {
    for (uint32_t b = begin; b < end; b++) {
        uint32_t kept = (uint32_t)mask[b >> 3] & ~(1U << (b & 7U));
        mask[b >> 3] = (uint8_t)(y[b] >= top ? kept : mask[b >> 3]);
    }
}
#endif

/* All outputs are at most 0. */
static void clear_row(int8_t *x, uint8_t *mask, uint32_t begin, uint32_t end) {
    for (uint32_t b = begin; b < end; b++) {
        x[b] = 0;
        mask[b >> 3] = (uint8_t)(mask[b >> 3] & ~(1U << (b & 7U)));
    }
}

#ifdef HAD_COUNTERS
static void count_row(had_learner *ln, const had_layer *layer, const int8_t *x, const int16_t *y,
                      uint32_t begin, uint32_t end) {
    had_tensor_tally *tally = &ln->counters.layer[had_next(layer)].tensor[HAD_T_X];
    if (ln->step.flow[layer->index].y_max == 0) {
        had_tally_zeros(tally, end - begin);
        return;
    }
    for (uint32_t b = begin; b < end; b++) {
        /* What ReLU takes away is not a clip. */
        had_tally_element(tally, y[b] >> ln->step.activation.k, INT32_MIN,
                          ln->step.activation.limit, x[b]);
    }
}
#endif

void had_activate(had_learner *ln, const had_layer *layer, int8_t *x, uint8_t *mask,
                  const int16_t *y, uint32_t begin, uint32_t end) {
    if (begin == 0U) {
        start(ln, layer);
    }
    for (uint32_t o = 0U; o < had_out_values(layer); o++) {
        if (ln->step.flow[layer->index].y_max > 0) {
            activate_row(x, mask, y, &ln->step.activation, begin, end);
#ifdef HAD_CONV_LAYERS
            if (layer->conv != 0 && layer->conv->top != 0U) {
                mask_bound(mask, y, layer->conv->top, begin, end);
            }
#endif
        } else {
            clear_row(x, mask, begin, end);
        }
        HAD_COUNT(count_row(ln, layer, x, y, begin, end);)
        for (uint32_t b = HAD_BATCH; end == HAD_BATCH && b < HAD_BATCH_STRIDE; b++) {
            x[b] = 0;
        }
        x += HAD_BATCH_STRIDE;
        mask += HAD_MASK_BYTES;
        y += HAD_BATCH_STRIDE;
    }
#ifdef HAD_EXPANSIONS
    if (end == HAD_BATCH) {
        had_expand_mask(ln, layer, mask - layer->outputs * HAD_MASK_BYTES);
    }
#endif
}
#else
typedef int had_activate_is_left_out; /* a head alone has no layer below */
#endif
