/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of a training step, SPEC.md 6 and 8.6, each on rows [begin, end).
 *
 * Training tensors are feature-major: one row of HAD_BATCH_STRIDE values per feature, the batch
 * contiguous, positions from HAD_BATCH on zero (in y: of no meaning). Per-tensor quantities start when
 * an operation runs with begin 0 and live in had_step, so that any slicing gives the same bits.
 */
#ifndef HADAPT_TRAIN_H
#define HADAPT_TRAIN_H

#include <stdint.h>

#include "hadapt/dot.h"
#include "hadapt/learner.h"

/* Bytes of a row of ReLU mask bits. */
#define HAD_MASK_BYTES ((HAD_BATCH_STRIDE + 7U) / 8U)

/* Draw the batch: x0 and labels of rows begin .. end - 1. */
void had_gather(had_learner *ln, int8_t *x0, uint8_t *labels, uint32_t begin, uint32_t end);

/* y = x W^T + b for outputs begin .. end - 1; wq holds layer->inputs terms of HAD_ROWS rows. */
void had_forward(had_learner *ln, const had_layer *layer, int16_t *y, int8_t *x, had_weight *wq,
                 uint32_t begin, uint32_t end);

/* Quantise outputs y to the next layer's input x, for batch rows begin .. end - 1. */
void had_activate(had_learner *ln, const had_layer *layer, int8_t *x, uint8_t *mask,
                  const int16_t *y, uint32_t begin, uint32_t end);

#if HAD_DISTILLATION
/* Slot of the sample in row b of the current step's batch. */
uint32_t had_batch_slot(const had_learner *ln, uint32_t b);

/* Q15 probabilities of `classes` logits; p may lie where the logits lie. */
void had_probabilities(uint16_t *p, const int16_t *logits, uint32_t classes, uint32_t frac_bits);

/* 8-bit targets of `classes` logits, SPEC.md 6.6. */
void had_soft_targets(uint8_t *target, const int16_t *logits, uint32_t classes, uint32_t frac_bits);
#endif

/* Logits to errors, in place, for batch rows begin .. end - 1. */
void had_loss(had_learner *ln, const had_layer *head, int16_t *yd, const uint8_t *labels,
              uint32_t begin, uint32_t end);

/* Maximum of the transformed error; block holds HAD_ORDER * HAD_LANES values. */
void had_error_range(had_learner *ln, const had_layer *layer, const int16_t *d, int32_t *block,
                     uint32_t begin, uint32_t end);

/* Maximum of the transformed weights, for inputs begin .. end - 1. */
void had_weight_range(had_learner *ln, const had_layer *layer, int32_t *block, uint32_t begin,
                      uint32_t end);

/* dh: layer->outputs_padded rows, for batch rows begin .. end - 1. */
void had_error_quantize(had_learner *ln, const had_layer *layer, int8_t *dh, const int16_t *d,
                        int32_t *block, uint32_t begin, uint32_t end);

/*
 * Error at the layer below, inputs begin .. end - 1. wh holds layer->outputs_padded terms for
 * HAD_LANES or HAD_ROWS inputs, whichever are more;
 * scale and maximum of the result go to the flow of the layer below.
 */
void had_input_gradient(had_learner *ln, const had_layer *layer, int16_t *d_below, int8_t *dh,
                        const uint8_t *mask, int32_t *block, had_weight *wh, uint32_t begin,
                        uint32_t end);

/* Maximum of the transformed input; row holds HAD_BATCH_PADDED values. */
void had_activation_range(had_learner *ln, const had_layer *layer, int8_t *x, int32_t *row,
                          uint32_t begin, uint32_t end);

/* Transform and quantise the input in place: x becomes xh. */
void had_activation_quantize(had_learner *ln, const had_layer *layer, int8_t *x, int32_t *row,
                             uint32_t begin, uint32_t end);

/* Weight gradient and update of outputs begin .. end - 1; dt: HAD_BATCH_PADDED terms. */
void had_weight_gradient(had_learner *ln, const had_layer *layer, const int16_t *d,
                         const int8_t *xh, int32_t *row, had_weight *dt, uint32_t begin,
                         uint32_t end);

/* Scale of x0; generated. */
#define HAD_X0_SCALE ((had_scale){HAD_X0_SCALE_MANTISSA, HAD_X0_SCALE_EXPONENT})

#endif
