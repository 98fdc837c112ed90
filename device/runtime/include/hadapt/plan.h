/* SPDX-License-Identifier: Apache-2.0 */
/* The generated call plan (hadapt_plan.c). */
#ifndef HADAPT_PLAN_H
#define HADAPT_PLAN_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Rows [begin, end) of operation op of a training step. HAD_ERR_ARGUMENT: no such operation. */
HAD_CHECKED had_status had_plan_train(had_learner *ln, uint32_t op, uint32_t begin, uint32_t end);

/* Raw sample to x0: input stage and frozen layers. The result is had_plan_at_x0(ln). */
void had_plan_x0(had_learner *ln, const uint8_t *raw);

/* x0 to features: the trainable layers below the head. */
void had_plan_features(had_learner *ln);

/* Features to the logits of the first `rows` classes. */
void had_plan_logits(had_learner *ln, uint32_t rows);

/* Vectors of the inference arena: HAD_X0_SIZE, HAD_FEATURES and HAD_MAX_CLASSES values. */
int8_t *had_plan_at_x0(had_learner *ln);
int8_t *had_plan_at_features(had_learner *ln);
int16_t *had_plan_at_logits(had_learner *ln);

#endif
