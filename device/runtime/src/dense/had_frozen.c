/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input stage and frozen 8-bit layers, SPEC.md 3 and 4.
 *
 * Bounds: |raw - zero| < 2^16, times mult < 2^14 below 2^30, plus half of 2^30 below 2^31. |acc| <= I 127^2
 * < 2^31 for I <= 65535 * 2; after acc_shift below 2^15 but for rounding; times m < 2^15 below 2^30 + 2^29.
 */
#include "../cores/had_mve_rows.h"
#include "hadapt/infer.h"
#include "hadapt/quant.h"

static uint32_t shift_of(uint32_t qmax) {
    return qmax == 127U ? HAD_QUANT_SHIFT_S8 : HAD_QUANT_SHIFT;
}

void had_input_stage_run(int8_t *out, const uint8_t *raw, const had_input_stage *stage) {
    uint32_t shift = shift_of(stage->out_qmax);
    had_quantizer q = had_quantizer_of(stage->amax, stage->out_qmax, shift);
    int32_t low = stage->is_signed != 0U ? -q.limit : 0;
#if HAD_MVE_ASSEMBLY && !defined(HAD_FINE_INFERENCE)
    had_mve_input_stage(out, raw, stage, &q, low, shift);
#else
    /* bounds of 16 bits and of the quantiser are one */
    const int32_t most = had_clamp(q.limit, 0, INT16_MAX >> q.k);
    const int32_t least = had_clamp(low, INT16_MIN >> q.k, 0);
    const int32_t half = (int32_t)(1U << (shift - 1U));
    for (uint32_t i = 0U; i < stage->inputs; i++) {
        uint32_t word = (uint32_t)raw[2U * i] | ((uint32_t)raw[2U * i + 1U] << 8);
        int32_t value = (int16_t)(uint16_t)word;
        int32_t v = (value - stage->zero[i]) * stage->mult[i];
        uint32_t after = stage->shift[i];
        v = (v + (int32_t)((1U << after) >> 1)) >> after >> q.k;
        v = had_clamp(v, least, most) * q.r;
        out[i] = (int8_t)((v + half) >> shift);
#ifdef HAD_FINE_INFERENCE
        if (stage->out_qmax != 127U) {
            out[stage->inputs + i] = had_quant_rest(v);
        }
#endif
    }
#endif
}

static int16_t frozen_output(const int8_t *x, const had_frozen_layer *layer, uint32_t o) {
    const int8_t *w = layer->weight + o * layer->inputs;
    int32_t acc = 0;
    for (uint32_t i = 0U; i < layer->inputs; i++) {
        acc += x[i] * w[i];
    }
    int64_t y = had_rhu(had_rhu(acc, layer->acc_shift) * layer->mult[o], layer->shift[o]);
    y += layer->bias[o];
    return (int16_t)(y < INT16_MIN ? INT16_MIN : (y > INT16_MAX ? INT16_MAX : y));
}

void had_frozen(int8_t *out, const int8_t *x, const had_frozen_layer *layer) {
    uint32_t shift = shift_of(layer->out_qmax);
    had_quantizer q = had_quantizer_of(layer->out_amax, layer->out_qmax, shift);
    int32_t low = layer->relu != 0U ? 0 : -q.limit;
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        int16_t y = frozen_output(x, layer, o);
        out[o] = had_quant_static(y, &q, low, shift);
#ifdef HAD_FINE_INFERENCE
        if (layer->out_qmax != 127U) {
            out[layer->outputs + o] = had_quant_rest(had_quant_clip(y, &q, low) * q.r);
        }
#endif
    }
}
