/* SPDX-License-Identifier: Apache-2.0 */
/* The learner's operations, SPEC.md 8.3, but for training (had_train.c). */
#include "../arithmetic/had_cold.h"

#include "hadapt/learner.h"

#include "had_committed.h"
#include "hadapt/correction.h"
#include "hadapt/exemplar.h"
#include "hadapt/infer.h"
#include "hadapt/memory.h"
#include "hadapt/plan.h"

static void load_tables(had_learner *ln) {
    had_copy *copy = &ln->working;
    copy->step = 0U;
    copy->n_classes = HAD_INITIAL_CLASSES;
    for (uint32_t l = 0U; l < HAD_LAYERS; l++) {
        copy->tracked[l] = had_layers[l].in_amax * 256;
    }
    for (uint32_t j = 0U; j < HAD_MASTER_COUNT; j++) {
        ln->master[j] = had_initial_master[j];
    }
    for (uint32_t j = 0U; j < HAD_BIAS_COUNT; j++) {
        copy->bias[j] = had_initial_bias[j];
    }
#if HAD_BIAS_CORRECTION
    copy->correction = had_no_correction();
#endif
#if HAD_KEEP_PROTOTYPES
    for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
        for (uint32_t j = 0U; j <= HAD_FEATURES; j++) {
            copy->prototype[c][j] = had_initial_prototype[c][j];
        }
    }
#endif
}

void had_init(had_learner *ln) {
    load_tables(ln);
    had_committed_take(ln);
    had_committed_lies(ln, HAD_AT_TABLES);
#if HAD_COMMITTED_IN_FLASH
    ln->unread = 0U;
#endif
    ln->session.active = 0U;
    ln->trained = 0U;
    ln->importing = 0U;
    HAD_COUNT(ln->counters = (had_counters){0};)
    had_exemplars_init(&ln->exemplars);
    had_view_refresh(ln);
}

had_status had_idle(const had_learner *ln) {
    return had_steps_left(ln) > 0U || ln->importing != 0U ? HAD_ERR_STATE
                                                          : had_committed_was_read(ln);
}

had_status had_between_steps(const had_learner *ln) {
    uint32_t in_step = had_steps_left(ln) > 0U && (ln->session.operation | ln->session.row) != 0U;
    return ln->importing != 0U || in_step != 0U ? HAD_ERR_STATE : had_committed_was_read(ln);
}

uint32_t had_argmax(const int16_t *logits, uint32_t classes) {
    uint32_t best = 0U;
    for (uint32_t c = 1U; c < classes; c++) {
        best = logits[c] > logits[best] ? c : best;
    }
    return best;
}

static void infer_linear(had_learner *ln, had_inference *out) {
    had_plan_logits(ln, out->n_classes);
#if HAD_BIAS_CORRECTION
    had_correct(&ln->committed.correction, had_plan_at_logits(ln), out->n_classes);
#endif
    out->logits = had_plan_at_logits(ln);
    out->label = had_argmax(out->logits, out->n_classes);
}

static had_status infer_nearest(had_learner *ln, had_inference *out) {
#if HAD_KEEP_PROTOTYPES
    return had_prototype_nearest(ln, &out->label, had_plan_at_features(ln));
#else
    (void)ln;
    (void)out;
    return HAD_ERR_STATE;
#endif
}

had_status had_infer(had_learner *ln, had_inference *out, const uint8_t *raw, uint32_t head) {
    if (head != HAD_HEAD_LINEAR && head != HAD_HEAD_NEAREST_MEAN) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_committed_was_read(ln);
    if (status != HAD_OK) {
        return status;
    }
    *out = (had_inference){0U, ln->committed.n_classes, 0};
    had_plan_x0(ln, raw);
    had_plan_features(ln);
    if (head == HAD_HEAD_NEAREST_MEAN) {
        return infer_nearest(ln, out);
    }
    infer_linear(ln, out);
    return HAD_OK;
}

/* x0 lies in the inference arena. */
static had_status learn_here(had_learner *ln, uint32_t label, uint32_t prototype_only) {
    if (prototype_only == 0U) {
        /* The arena's first bytes are free between training sessions. */
        uint8_t *packed = ln->arena.bytes;
        had_x0_pack(packed, had_plan_at_x0(ln));
        had_status status = had_exemplar_arrive(&ln->exemplars, packed, label);
        if (status != HAD_OK) {
            return status;
        }
    }
#if HAD_KEEP_PROTOTYPES
    had_plan_features(ln);
    had_prototype_add(ln, label, had_plan_at_features(ln));
#endif
    return HAD_OK;
}

had_status had_learn(had_learner *ln, const uint8_t *raw, uint32_t label, uint32_t prototype_only) {
    if (label >= ln->working.n_classes) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_idle(ln);
    if (status != HAD_OK) {
        return status;
    }
    had_plan_x0(ln, raw);
    had_x0_clear_rests(had_plan_at_x0(ln));
    return learn_here(ln, label, prototype_only);
}

had_status had_learn_x0(had_learner *ln, const uint8_t *packed, uint32_t label,
                        uint32_t prototype_only) {
    if (label >= ln->working.n_classes || had_x0_is_valid(packed) == 0U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_idle(ln);
    if (status != HAD_OK) {
        return status;
    }
    had_x0_unpack(had_plan_at_x0(ln), packed);
    return learn_here(ln, label, prototype_only);
}

had_status had_add_class(had_learner *ln, uint32_t *label) {
    had_status status = had_idle(ln);
    if (status != HAD_OK) {
        return status;
    }
    if (ln->working.n_classes >= HAD_MAX_CLASSES) {
        return HAD_ERR_FULL;
    }
    *label = ln->working.n_classes;
    ln->working.n_classes += 1U;
    return HAD_OK;
}

static had_status commit(had_learner *ln, uint32_t hold, uint32_t steps) {
    had_status status = had_idle(ln);
    if (status != HAD_OK) {
        return status;
    }
    had_exemplar_drop_replaced(&ln->exemplars);
    uint32_t known = ln->committed.n_classes;
    /* Features are those of the new network, so it becomes current first. */
    had_committed_take(ln);
    had_view_refresh(ln);
#if HAD_BIAS_CORRECTION
    ln->working.correction =
        had_correction_renewed(ln, &ln->working.correction, known, hold, steps);
    ln->committed.correction = ln->working.correction;
#endif
    (void)known;
    (void)hold;
    (void)steps;
    had_features_refresh(ln);
    had_herd_and_trim(ln);
#if HAD_KEEP_PROTOTYPES
    if (ln->trained != 0U) {
        had_prototypes_retake(ln);
        ln->committed = ln->working;
    }
#endif
    ln->session.active = 0U;
    ln->trained = 0U;
    return HAD_OK;
}

had_status had_commit(had_learner *ln) {
    return commit(ln, 0U, 0U);
}

#if HAD_BIAS_CORRECTION
had_status had_commit_corrected(had_learner *ln, uint32_t hold, uint32_t steps) {
    if (hold < 1U || hold > HAD_HOLD_MAX || steps < 1U || steps > 255U) {
        return HAD_ERR_ARGUMENT;
    }
    return commit(ln, hold, steps);
}
#endif

void had_rollback(had_learner *ln) {
    had_committed_restore(ln);
    had_exemplar_drop_staged(&ln->exemplars);
    ln->session.active = 0U;
    ln->trained = 0U;
    ln->importing = 0U;
}
