/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Residual blocks of trainable convolutions, SPEC.md 14.6: the identity as a shortcut, and the sum of two errors.
 *
 * Bounds: |x| <= 15 and |d| <= 2^15, times m < 2^15 below 2^30. Each part of a sum is about 2^14 at most.
 */
#include "had_conv_layer.h"

#ifdef HAD_RESIDUAL
/* x in the output grid of the layer that adds it. */
static had_multiplier identity_of(had_scale x_scale, const had_layer *layer) {
    return had_multiplier_of(had_scale_pow2(x_scale, layer->out_frac_bits));
}

static int32_t apply(int32_t v, had_multiplier m) {
    return had_rhu(v * m.m, m.sh);
}

void had_shortcut(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x,
                  const had_layer *first, uint32_t begin, uint32_t end) {
    const had_multiplier m = identity_of(ln->step.flow[first->index].x_scale, layer);
    uint32_t pixel = (uint32_t)layer->outputs * HAD_BATCH_STRIDE;
    for (uint32_t j = begin * pixel; j < end * pixel; j++) {
        y[j] = (int16_t)had_saturate_s16(apply(x[j], m));
    }
}

void had_share_error(had_learner *ln, const had_layer *side, const had_layer *layer, uint32_t begin,
                     uint32_t end) {
    ln->step.flow[side->index].d_scale = ln->step.flow[layer->index].d_scale;
    ln->step.flow[side->index].d_max = ln->step.flow[layer->index].d_max;
    (void)begin;
    (void)end;
}

/* The scale that holds errors of both flows in 15 bits. */
static had_scale common_scale(const had_flow *a, const had_flow *b) {
    had_scale one = had_scale_pow2(a->d_scale, (int32_t)had_bitlen((uint32_t)a->d_max));
    had_scale two = had_scale_pow2(b->d_scale, (int32_t)had_bitlen((uint32_t)b->d_max));
    uint32_t larger =
        one.exponent != two.exponent ? one.exponent > two.exponent : one.mantissa > two.mantissa;
    return had_scale_pow2(larger != 0U ? one : two, -14);
}

/* How the two errors of a block's input are added; a multiplier of 0 leaves one out. */
static void prepare(had_joining *join, had_flow *flow, const had_flow *from) {
    const had_multiplier same = {1, 0U};
    const had_multiplier none = {0, 0U};
    join->own = flow->d_max != 0 ? same : none;
    join->other = from->d_max != 0 ? same : none;
    if (flow->d_max == 0 || from->d_max == 0) {
        flow->d_scale = flow->d_max != 0 ? flow->d_scale : from->d_scale;
        return;
    }
    had_scale sum = common_scale(flow, from);
    had_scale unit = had_scale_recip(sum);
    join->own = had_multiplier_of(had_scale_mul(flow->d_scale, unit));
    join->other = had_multiplier_of(had_scale_mul(from->d_scale, unit));
    flow->d_scale = sum;
}

/* An error of which nothing was made is not read: its buffer holds anything. */
static int32_t part(const int16_t *d, uint32_t b, had_multiplier m) {
    return m.m != 0 ? apply(d[b], m) : 0;
}

void had_join_errors(had_learner *ln, const had_layer *first, int16_t *d, const int16_t *from,
                     const uint8_t *mask, const had_layer *layer, uint32_t begin, uint32_t end) {
    had_flow *flow = &ln->step.flow[had_below(first)];
    had_joining *join = &ln->step.joining;
    uint32_t channels = first->conv->window.in_channels;
    if (begin == 0U) {
        prepare(join, flow, layer->side != 0U ? &ln->step.side : &ln->step.flow[layer->index]);
        flow->d_max = 0;
    }
    for (uint32_t i = begin * channels; i < end * channels; i++) {
        for (uint32_t b = 0U; b < HAD_BATCH_STRIDE; b++) {
            uint32_t at = i * HAD_BATCH_STRIDE + b;
            uint32_t bits = b < HAD_BATCH ? mask[i * HAD_MASK_BYTES + (b >> 3)] : 0U;
            int32_t other = (bits >> (b & 7U) & 1U) != 0U ? part(from, at, join->other) : 0;
            int32_t sum = had_saturate_s16(part(d, at, join->own) + other);
            d[at] = (int16_t)sum;
            flow->d_max = had_abs(sum) > flow->d_max ? had_abs(sum) : flow->d_max;
        }
    }
}

void had_infer_identity(const had_learner *ln, int16_t *shortcut, const int8_t *x,
                        const had_layer *layer, const had_layer *first) {
    const had_multiplier m = identity_of(ln->view.x_scale[first->index], layer);
    uint32_t values = had_out_pixels(&layer->conv->window) * layer->outputs;
    for (uint32_t j = 0U; j < values; j++) {
        shortcut[j] = (int16_t)had_saturate_s16(apply(x[j], m));
    }
}
#else
typedef int had_residual_is_left_out; /* no residual block is trained */
#endif
