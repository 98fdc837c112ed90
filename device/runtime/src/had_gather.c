/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing a batch, SPEC.md 8.2. Products of two 16-bit numbers stay below 2^32. */
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

/* Position of a class: the number-th of those that have samples. */
static uint32_t filled_class(const had_exemplars *ex, uint32_t number) {
    uint32_t label = 0U;
    for (;;) {
        if (ex->class_start[label + 1U] > ex->class_start[label]) {
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
        count += ex->class_start[label + 1U] > ex->class_start[label] ? 1U : 0U;
    }
    return count;
}

/* Position in canonical order that a random word stands for. */
static uint32_t draw_sample(const had_exemplars *ex, uint32_t word, uint32_t classes) {
    if (classes == 0U) {
        return ((word >> 16) * ex->count) >> 16;
    }
    uint32_t label = filled_class(ex, ((word & 0xFFFFU) * classes) >> 16);
    uint32_t first = ex->class_start[label];
    uint32_t samples = (uint32_t)ex->class_start[label + 1U] - first;
    return first + (((word >> 16) * samples) >> 16);
}

void had_gather(had_learner *ln, int8_t *x0, uint8_t *labels, uint32_t begin, uint32_t end) {
    const had_exemplars *ex = &ln->exemplars;
    if (begin == 0U) {
        start_step(ln);
    }
    uint32_t key = had_tensor_key(ln->step.key, HAD_TENSOR_SAMPLER);
    uint32_t classes = ln->session.config.sampling == HAD_SAMPLE_BALANCED ? filled_classes(ex) : 0U;
    for (uint32_t b = begin; b < end; b++) {
        uint32_t slot = ex->order[draw_sample(ex, had_mix(key + b), classes)];
        labels[b] = ex->label[slot];
        for (uint32_t i = 0U; i < HAD_X0_SIZE; i++) {
            x0[i * HAD_BATCH_STRIDE + b] = had_nibble(ex->packed[slot], i, HAD_X0_SIGNED);
        }
    }
#if HAD_BATCH < HAD_BATCH_STRIDE
    for (uint32_t b = HAD_BATCH; end == HAD_BATCH && b < HAD_BATCH_STRIDE; b++) {
        for (uint32_t i = 0U; i < HAD_X0_SIZE; i++) {
            x0[i * HAD_BATCH_STRIDE + b] = 0;
        }
    }
#endif
}
