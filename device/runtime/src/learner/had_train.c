/* SPDX-License-Identifier: Apache-2.0 */
/* Training sessions in slices, SPEC.md 7 and 8.6. */
#include "../arithmetic/had_cold.h"

#include "had_committed.h"
#include "hadapt/correction.h"
#include "hadapt/exemplar.h"
#include "hadapt/expand.h"
#include "hadapt/learner.h"
#include "hadapt/plan.h"
#include "hadapt/train.h"

static uint32_t rates_are_valid(const had_train_config *config) {
    if (config->rates < 1U || config->rates > HAD_SCHEDULE_MAX || config->rate[0].start != 0U) {
        return 0U;
    }
    for (uint32_t i = 0U; i < config->rates; i++) {
        int32_t m = config->rate[i].scale.mantissa;
        uint32_t ascends = i == 0U || config->rate[i].start > config->rate[i - 1U].start;
        /* As wide as the wire's: flash may hold any number (a finding of the fuzzer). */
        int32_t e = config->rate[i].scale.exponent;
        if (m < (1 << 14) || m >= (1 << 15) || ascends == 0U || e < INT16_MIN || e > INT16_MAX) {
            return 0U;
        }
    }
    return 1U;
}

#if HAD_DISTILLATION
#define SAMPLING_MAX HAD_SAMPLE_NEW_BALANCED
#define DISTILL_MAX 255U
#define SOFTEN_MAX 3U

/* What is drawn from, and of whom to learn; HAD_ERR_STATE: nothing to draw from. */
static had_status prepare(had_learner *ln, had_session *session) {
    had_exemplar_part(&ln->exemplars, session->config.sampling & 2U, session->config.hold);
    if (ln->exemplars.part_total == 0U) {
        return HAD_ERR_STATE;
    }
    if (session->config.distill > 0U) {
        uint32_t known = ln->committed.n_classes;
        session->old_classes = known < ln->working.n_classes ? known : ln->working.n_classes;
        session->targets_left = ln->exemplars.count;
    }
    return HAD_OK;
}

/* Targets of one sample more. */
static void take_target(had_learner *ln) {
    had_session *session = &ln->session;
    uint32_t slot = ln->exemplars.order[ln->exemplars.count - session->targets_left];
    uint32_t frac_bits = had_layers[HAD_LAYERS - 1U].out_frac_bits + session->config.soften;
    had_x0_unpack(had_plan_at_x0(ln), ln->exemplars.packed[slot]);
    had_plan_features(ln);
    had_plan_logits(ln, session->old_classes);
#if HAD_BIAS_CORRECTION
    had_correct(&ln->committed.correction, had_plan_at_logits(ln), session->old_classes);
#endif
    had_soft_targets(ln->target[slot], had_plan_at_logits(ln), session->old_classes, frac_bits);
    session->targets_left -= 1U;
}
#else
#define SAMPLING_MAX HAD_SAMPLE_BALANCED
#define DISTILL_MAX 0U
#define SOFTEN_MAX 0U
#endif

#ifdef HAD_EXPANSIONS
#define SAMPLING_FLAGS HAD_SAMPLE_EXPANDS
#else
#define SAMPLING_FLAGS 0U
#endif

#if HAD_BIAS_CORRECTION
#define HOLD_MAX HAD_HOLD_MAX
#else
#define HOLD_MAX 0U
#endif

/* Weight, temperature and hold-out; no temperature without a weight, new samples with hold-out. */
static uint32_t method_is_valid(const had_train_config *config) {
    return config->distill <= DISTILL_MAX && config->soften <= SOFTEN_MAX &&
           (config->distill > 0U || config->soften == 0U) && config->hold <= HOLD_MAX &&
           (config->hold == 0U || (config->sampling & 2U) == 0U);
}

had_status had_train_begin(had_learner *ln, const had_train_config *config) {
    if (config->steps == 0U || (config->sampling & ~SAMPLING_FLAGS) > SAMPLING_MAX ||
        rates_are_valid(config) == 0U || method_is_valid(config) == 0U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status idle = had_idle(ln);
    idle = idle == HAD_OK ? had_committed_is_kept(ln) : idle;
    if (idle != HAD_OK || ln->exemplars.count == 0U) {
        return idle != HAD_OK ? idle : HAD_ERR_STATE;
    }
    had_exemplar_index(&ln->exemplars);
    had_session session = {.config = *config, .active = 1U};
#if HAD_DISTILLATION
    had_status status = prepare(ln, &session);
    if (status != HAD_OK) {
        return status;
    }
#endif
#ifdef HAD_EXPANSIONS
    had_status grown = had_expand(ln, &session);
    if (grown != HAD_OK) {
        return grown;
    }
#endif
    ln->session = session;
    return HAD_OK;
}

uint32_t had_steps_left(const had_learner *ln) {
    return ln->session.active != 0U ? ln->session.config.steps - ln->session.done : 0U;
}

static void end_step(had_learner *ln) {
    ln->working.step += 1U;
    ln->session.done += 1U;
    ln->session.operation = 0U;
    ln->session.samples += HAD_BATCH;
    ln->session.correct += ln->step.correct;
    ln->session.confidence += ln->step.confidence;
    ln->trained = 1U;
}

static uint32_t add_units(uint32_t used, uint64_t units) {
    return units > UINT32_MAX - used ? UINT32_MAX : used + (uint32_t)units;
}

/*
 * Rows that bring the used units to at least the budget, or all that are left of the operation. Where they are fewer
 * they are counted, not divided: small cores have no division.
 */
static uint32_t rows_to_run(const had_session *session, uint32_t *used, uint32_t budget) {
    const had_operation *op = &had_operations[session->operation];
    uint32_t rows = op->rows - session->row;
    uint64_t units = (uint64_t)rows * op->units;
    if (units > budget - *used) {
        rows = 0U;
        for (units = 0U; units < budget - *used; units += op->units) {
            rows++;
        }
    }
    *used = add_units(*used, units);
    return rows;
}

static had_status run_rows(had_learner *ln, uint32_t rows) {
    had_session *session = &ln->session;
    uint32_t first = session->row;
    had_status status = had_plan_train(ln, session->operation, first, first + rows);
    session->row += rows;
    if (session->row == had_operations[session->operation].rows) {
        session->row = 0U;
        session->operation += 1U;
        if (session->operation == HAD_OPERATIONS) {
            end_step(ln);
        }
    }
    return status;
}

had_status had_train(had_learner *ln, had_train_report *report, uint32_t budget) {
    had_status status = ln->session.active != 0U ? HAD_OK : HAD_ERR_STATE;
    uint32_t used = 0U;
    while (status == HAD_OK && used < budget && had_steps_left(ln) > 0U) {
#if HAD_DISTILLATION
        if (ln->session.targets_left > 0U) {
            take_target(ln);
            used = add_units(used, HAD_TARGET_UNITS);
            continue;
        }
#endif
        status = run_rows(ln, rows_to_run(&ln->session, &used, budget));
    }
    report->units = used;
    report->steps_left = had_steps_left(ln);
    report->samples = ln->session.samples;
    report->correct = ln->session.correct;
    report->confidence = ln->session.confidence;
    return status;
}
