/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing a batch, SPEC.md 8.2. Products of two 16-bit numbers stay below 2^32. */
#include "../arithmetic/had_cold.h"
#include "../cores/had_mve_rows.h"
#include "hadapt/exemplar.h"
#include "hadapt/random.h"
#include "hadapt/train.h"

/* Learning rate of the session step that starts. */
static had_scale current_rate(const had_session *session) {
    uint32_t i = session->config.rates - 1U;
    while (i > 0U && session->config.rate[i].start > session->done) {
        i--;
    }
    return session->config.rate[i].scale;
}

static void start_step(had_learner *ln) {
    ln->step.key = had_step_key(ln->session.config.seed, ln->working.step);
    ln->step.rate = current_rate(&ln->session);
    ln->step.flow[0].x_scale = HAD_X0_SCALE;
}

/* Samples of a class that are drawn from. */
static uint32_t class_first(const had_exemplars *ex, uint32_t label) {
#if HAD_DISTILLATION
    return ex->part_start[label];
#else
    return ex->class_start[label];
#endif
}

static uint32_t class_count(const had_exemplars *ex, uint32_t label) {
#if HAD_DISTILLATION
    return ex->part_count[label];
#else
    return (uint32_t)ex->class_start[label + 1U] - ex->class_start[label];
#endif
}

/* Position of a class: the number-th of those that have samples. */
static uint32_t filled_class(const had_exemplars *ex, uint32_t number) {
    uint32_t label = 0U;
    for (;;) {
        if (class_count(ex, label) > 0U) {
            if (number == 0U) {
                return label;
            }
            number--;
        }
        label++;
    }
}

static uint32_t filled_classes(const had_exemplars *ex) {
    uint32_t count = 0U;
    for (uint32_t label = 0U; label < HAD_MAX_CLASSES; label++) {
        count += class_count(ex, label) > 0U ? 1U : 0U;
    }
    return count;
}

/* Position in canonical order that a random half word stands for, all classes alike. */
static uint32_t draw_of_all(const had_exemplars *ex, uint32_t half) {
#if HAD_DISTILLATION
    uint32_t number = (half * ex->part_total) >> 16;
    uint32_t label = 0U;
    while (number >= ex->part_count[label]) {
        number -= ex->part_count[label];
        label++;
    }
    return ex->part_start[label] + number;
#else
    return (half * ex->count) >> 16;
#endif
}

/* Position in canonical order that a random word stands for. */
static uint32_t draw_sample(const had_exemplars *ex, uint32_t word, uint32_t classes) {
    if (classes == 0U) {
        return draw_of_all(ex, word >> 16);
    }
    uint32_t label = filled_class(ex, ((word & 0xFFFFU) * classes) >> 16);
    return class_first(ex, label) + (((word >> 16) * class_count(ex, label)) >> 16);
}

/* Classes to draw evenly from; 0: draw evenly from samples. */
static uint32_t classes_to_draw(const had_learner *ln) {
    uint32_t balanced = ln->session.config.sampling & 1U;
    return balanced != 0U ? filled_classes(&ln->exemplars) : 0U;
}

#if HAD_DISTILLATION
uint32_t had_batch_slot(const had_learner *ln, uint32_t b) {
    const had_exemplars *ex = &ln->exemplars;
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_SAMPLER);
    return ex->order[draw_sample(ex, had_mix(key + b), classes_to_draw(ln))];
}
#endif

/* A sample as one column of the batch: both values of a byte at once. */
static void unpack_column(int8_t *x0, const uint8_t *packed) {
#if HAD_MVE_ASSEMBLY
    had_mve_unpack(x0, packed, HAD_X0_SIZE / 2U);
    x0 += HAD_X0_SIZE / 2U * 2U * HAD_BATCH_STRIDE;
    packed += HAD_X0_SIZE / 2U;
#else
    for (const uint8_t *end = packed + HAD_X0_SIZE / 2U; packed != end; packed++) {
        x0[0] = had_nibble(packed, 0U, HAD_X0_SIGNED);
        x0[HAD_BATCH_STRIDE] = had_nibble(packed, 1U, HAD_X0_SIGNED);
        x0 += 2U * HAD_BATCH_STRIDE;
    }
#endif
    if (HAD_X0_SIZE % 2U != 0U) {
        x0[0] = had_nibble(packed, 0U, HAD_X0_SIGNED);
    }
}

void had_gather(had_learner *ln, int8_t *x0, uint8_t *labels, uint32_t begin, uint32_t end) {
    const had_exemplars *ex = &ln->exemplars;
    if (begin == 0U) {
        start_step(ln);
    }
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_SAMPLER);
    uint32_t classes = classes_to_draw(ln);
    for (uint32_t b = begin; b < end; b++) {
        uint32_t slot = ex->order[draw_sample(ex, had_mix(key + b), classes)];
        labels[b] = ex->label[slot];
        unpack_column(x0 + b, ex->packed[slot]);
    }
#if HAD_BATCH < HAD_BATCH_STRIDE
    for (uint32_t b = HAD_BATCH; end == HAD_BATCH && b < HAD_BATCH_STRIDE; b++) {
        for (uint32_t i = 0U; i < HAD_X0_SIZE; i++) {
            x0[i * HAD_BATCH_STRIDE + b] = 0;
        }
    }
#endif
}
