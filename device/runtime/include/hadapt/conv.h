/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trainable convolutions, SPEC.md 14: operations of a training step on rows [begin, end), and inference.
 *
 * Training tensors are those of hadapt/train.h: a feature is a pair (pixel, channel), channels innermost.
 */
#ifndef HADAPT_CONV_H
#define HADAPT_CONV_H

#include <stdint.h>

#include "hadapt/front.h"
#include "hadapt/train.h"

#ifdef HAD_CONV_LAYERS
/* The pool behind a convolution. */
enum had_pool { HAD_POOL_NONE, HAD_POOL_AVERAGE, HAD_POOL_MAX };

/* Windows of a layer and of its pool. */
struct had_conv_layer {
    had_window window;
    uint16_t pool; /* enum had_pool */
    uint16_t pool_height;
    uint16_t pool_width;
    uint16_t pooled_width; /* windows of the pool side by side */
    uint16_t groups;
    uint16_t top; /* upper bound of the outputs; 0: none */
};

/* Multiplier and bias of an output, made with its row of weights. */
typedef struct had_gain {
    int32_t m;
    int32_t sh;
    int32_t bias;
} had_gain;

/* Rows of 4-bit weights and their gains, outputs begin .. end - 1. wq holds all rows, in groups. */
void had_conv_view(had_learner *ln, const had_layer *layer, had_weight *wq, had_gain *gain,
                   uint32_t begin, uint32_t end);

/* y of output pixels begin .. end - 1; patch holds the unrolled rows of one pixel. */
void had_conv_forward(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x,
                      int8_t *patch, const had_weight *wq, const had_gain *gain, uint32_t begin,
                      uint32_t end);

/* z and pass bits of windows begin .. end - 1 of the pool. */
void had_pool_forward(had_learner *ln, const had_layer *layer, int16_t *z, uint8_t *pass,
                      const int16_t *y, uint32_t begin, uint32_t end);

/* Error of y from that of z, for output pixels begin .. end - 1. */
void had_pool_backward(had_learner *ln, const had_layer *layer, int16_t *d, const int16_t *dz,
                       const uint8_t *pass, uint32_t begin, uint32_t end);

/* As had_error_range, for output pixels begin .. end - 1. */
void had_conv_error_range(had_learner *ln, const had_layer *layer, const int16_t *d, int32_t *block,
                          uint32_t begin, uint32_t end);

/* As had_error_quantize, for output pixels begin .. end - 1. */
void had_conv_error_quantize(had_learner *ln, const had_layer *layer, int8_t *dh, const int16_t *d,
                             int32_t *block, uint32_t begin, uint32_t end);

/* Rows of wh of terms begin .. end - 1; wh holds all of them. */
void had_conv_weight_quantize(had_learner *ln, const had_layer *layer, had_weight *wh,
                              int32_t *block, uint32_t begin, uint32_t end);

/* Error at the layer below, input pixels begin .. end - 1. */
void had_conv_input_gradient(had_learner *ln, const had_layer *layer, int16_t *d_below, int8_t *dh,
                             const uint8_t *mask, const had_weight *wh, uint32_t begin,
                             uint32_t end);

/* As had_error_range for a convolution of several groups, input pixels begin .. end - 1. */
void had_groups_error_range(had_learner *ln, const had_layer *layer, const int16_t *d,
                            int16_t *over, int32_t *block, uint32_t begin, uint32_t end);

/* Largest magnitude of its transformed weights, input channels begin .. end - 1. */
void had_groups_weight_range(had_learner *ln, const had_layer *layer, int32_t *block,
                             uint32_t begin, uint32_t end);

/* Rows of wh of input channels begin .. end - 1; wh holds all of them. */
void had_groups_weight_quantize(had_learner *ln, const had_layer *layer, had_weight *wh,
                                int32_t *block, uint32_t begin, uint32_t end);

/* Error at the layer below, input pixels begin .. end - 1; over and dh hold one pixel's and group's. */
void had_groups_input_gradient(had_learner *ln, const had_layer *layer, int16_t *d_below,
                               const int16_t *d, int16_t *over, int32_t *block, int8_t *dh,
                               const uint8_t *mask, const had_weight *wh, uint32_t begin,
                               uint32_t end);

/* Maximum of each channel's transformed error; row o P + p is channel o at pixel p. */
void had_conv_row_range(had_learner *ln, const had_layer *layer, const int16_t *d, int32_t *row,
                        int32_t *amax, uint32_t begin, uint32_t end);

/* Weight gradient and, with the last pixel of a channel, its update; rows as before. */
void had_conv_weight_gradient(had_learner *ln, const had_layer *layer, const int16_t *d,
                              const int8_t *xh, int32_t *row, had_weight *dt, int32_t *acc,
                              const int32_t *amax, uint32_t begin, uint32_t end);

/*
 * Inference: 4-bit input to 4-bit input of the next layer. patch holds one unrolled row, sums a value an
 * output.
 */
void had_infer_conv(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer,
                    int8_t *patch, int32_t *sums);

#ifdef HAD_RESIDUAL
/* Where a block starts: its input is the shortcut of the layer that adds it, for output pixels begin .. end - 1. */
void had_shortcut(had_learner *ln, const had_layer *layer, int16_t *y, const int8_t *x,
                  const had_layer *first, uint32_t begin, uint32_t end);

/* The error of a side layer is that of the layer which adds its outputs: scale and maximum. */
void had_share_error(had_learner *ln, const had_layer *side, const had_layer *layer, uint32_t begin,
                     uint32_t end);

/* To the error d of a block's input the one of the shortcut, from_flow its own; input pixels begin .. end - 1. */
void had_join_errors(had_learner *ln, const had_layer *first, int16_t *d, const int16_t *from,
                     const uint8_t *mask, const had_layer *layer, uint32_t begin, uint32_t end);

/* Outputs of a side layer in inference: a shortcut. */
void had_infer_side(const had_learner *ln, int16_t *shortcut, const int8_t *x,
                    const had_layer *layer, int8_t *patch, int32_t *sums);

/* A block's input as the shortcut of its last layer. */
void had_infer_identity(const had_learner *ln, int16_t *shortcut, const int8_t *x,
                        const had_layer *layer, const had_layer *first);

/* As had_infer_conv, with a shortcut added to the outputs. */
void had_infer_added(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer,
                     int8_t *patch, int32_t *sums, const int16_t *shortcut);
#endif
#endif

#endif
