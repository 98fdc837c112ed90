/* SPDX-License-Identifier: Apache-2.0 */
/* Inference kernels, SPEC.md 3, 4 and 5, batch of one. */
#ifndef HADAPT_INFER_H
#define HADAPT_INFER_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Recompute the view from the committed state. */
void had_view_refresh(had_learner *ln);

/* Raw sample (int16 little-endian) to the first quantised vector. */
void had_input_stage_run(int8_t *out, const uint8_t *raw, const had_input_stage *stage);

/* One frozen layer. */
void had_frozen(int8_t *out, const int8_t *x, const had_frozen_layer *layer);

/* One trainable layer below the head: 4-bit input to 4-bit input of the next layer. */
void had_infer_hidden(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer);

/* The head: logits of the first `rows` classes. */
void had_infer_head(const had_learner *ln, int16_t *logits, const int8_t *x, const had_layer *layer,
                    uint32_t rows);

/* Lowest index of the maximum. */
uint32_t had_argmax(const int16_t *logits, uint32_t classes);

#endif
