/* SPDX-License-Identifier: Apache-2.0 */
/* A field device: what is kept when, SPEC.md 12.4. */
#include "hadapt/node.h"

#if HAD_FIELD

#include <string.h>

#include "../learner/had_committed.h"
#include "had_journal.h"
#include "hadapt/correction.h"
#include "hadapt/exemplar.h"

#define CMD_TRAIN_BEGIN 0x05U
#define CMD_ROLLBACK 0x08U
#define CMD_IMPORT_BEGIN 0x0BU
#define CMD_IMPORT_END 0x0DU

static had_image image_of(had_node *node) {
    return (had_image){node->learner, &node->trust, &node->guard, &node->log};
}

static had_status save(had_node *node) {
    const had_image image = image_of(node);
    return had_store_save(&node->store, &image);
}

had_status had_node_boot(had_node *node, had_learner *ln) {
    node->learner = ln;
    node->trust = (had_trust){0};
    node->reason = HAD_REASON_NONE;
    had_guard_init(&node->guard);
    had_init(ln);
    const had_image image = image_of(node);
    had_status status = had_log_restart(&node->log, ln);
    if (status == HAD_OK) {
        status = had_store_open(&node->store, &image);
    }
    node->reason = node->store.lost != 0U ? HAD_REASON_KEPT : HAD_REASON_NONE;
    return status;
}

/* Flash knows a session as it was last saved: a record would meet it there with steps left. */
static had_status append(had_node *node, uint8_t command, const uint8_t *payload, uint32_t bytes) {
    const had_image image = image_of(node);
    if (node->learner->session.active != 0U) {
        return had_store_save(&node->store, &image);
    }
    return had_store_append(&node->store, &image, command, payload, bytes);
}

had_status had_node_record(had_node *node, uint8_t command, const uint8_t *request,
                           uint32_t bytes) {
    switch (command) {
    case HAD_CMD_LEARN_X0:
    case HAD_CMD_PUT_EXEMPLAR:
    case HAD_CMD_ADD_CLASS:
        had_log_request(&node->log, command, request, bytes);
        return append(node, command, request, bytes);
    case CMD_TRAIN_BEGIN:
        had_log_session(&node->log, &node->learner->session.config);
        return save(node);
    case CMD_ROLLBACK:
        had_log_rollback(&node->log);
        return save(node);
    case CMD_IMPORT_BEGIN: /* even if it fails: the working copy is then the committed one */
        had_log_close(&node->log);
        return HAD_OK;
    case CMD_IMPORT_END:
        return save(node);
    default:
        return HAD_OK;
    }
}

static had_status commit(had_learner *ln, const had_fit *fit) {
    if ((fit->hold | fit->steps) == 0U) {
        return had_commit(ln);
    }
#if HAD_BIAS_CORRECTION
    return had_commit_corrected(ln, fit->hold, fit->steps);
#else
    return HAD_ERR_FORMAT;
#endif
}

/* Arguments are judged before the guard fits a correction with them. */
static had_status check_fit(const had_fit *fit) {
#if HAD_BIAS_CORRECTION
    uint32_t plain = (fit->hold | fit->steps) == 0U;
    uint32_t sound =
        fit->hold >= 1U && fit->hold <= HAD_HOLD_MAX && fit->steps >= 1U && fit->steps <= 255U;
    return plain != 0U || sound != 0U ? HAD_OK : HAD_ERR_ARGUMENT;
#else
    return (fit->hold | fit->steps) == 0U ? HAD_OK : HAD_ERR_FORMAT;
#endif
}

had_status had_node_commit(had_node *node, const had_fit *fit) {
    had_status status = check_fit(fit);
    if (status == HAD_OK) {
        status = had_guard_check(&node->guard, node->learner, fit, &node->reason);
    }
    if (status == HAD_ERR_REFUSED) {
        had_rollback(node->learner);
        had_log_rollback(&node->log);
        had_status saved = save(node);
        return saved != HAD_OK ? saved : status;
    }
    if (status == HAD_OK) {
        status = commit(node->learner, fit);
    }
    if (status == HAD_OK) {
        status = had_log_commit(&node->log, node->learner, fit->hold, fit->steps);
    }
    return status == HAD_OK ? save(node) : status;
}

had_status had_node_checkpoint(had_node *node) {
    return save(node);
}

had_status had_node_provision(had_node *node, const uint8_t *identity) {
    had_trust *trust = &node->trust;
    if (trust->provisioned != 0U || had_between_steps(node->learner) != HAD_OK) {
        return HAD_ERR_STATE;
    }
    if (memcmp(identity + 32, identity + 64, HAD_KEY_BYTES) == 0) {
        return HAD_ERR_ARGUMENT;
    }
    memcpy(trust->vendor, identity, sizeof trust->vendor);
    memcpy(trust->klass, identity + 16, sizeof trust->klass);
    memcpy(trust->root, identity + 32, sizeof trust->root);
    memcpy(trust->release, identity + 64, sizeof trust->release);
    trust->provisioned = 1U;
    return save(node);
}

had_status had_node_guard_add(had_node *node, const uint8_t *packed, uint32_t label) {
    uint8_t record[2U + HAD_X0_BYTES];
    had_status status = had_between_steps(node->learner);
    if (status == HAD_OK) {
        status = had_guard_add(&node->guard, packed, label);
    }
    if (status != HAD_OK) {
        return status;
    }
    record[0] = (uint8_t)label;
    record[1] = 0U;
    memcpy(record + 2, packed, HAD_X0_BYTES);
    return append(node, HAD_CMD_GUARD_ADD, record, sizeof record);
}

had_status had_node_log_restart(had_node *node) {
    had_learner *ln = node->learner;
    if (had_idle(ln) != HAD_OK || ln->trained != 0U || had_exemplar_staged(&ln->exemplars) != 0U ||
        had_copies_differ(ln) != 0U) {
        return HAD_ERR_STATE;
    }
    had_status status = had_log_restart(&node->log, ln);
    return status == HAD_OK ? save(node) : status;
}

had_status had_node_guard_limits(had_node *node, const had_guard_limits *limits) {
    if (limits->class_drop > HAD_GUARD_OFF || limits->mean_drop > HAD_GUARD_OFF ||
        limits->new_floor > HAD_GUARD_OFF) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_between_steps(node->learner);
    if (status != HAD_OK) {
        return status;
    }
    node->guard.limits = *limits;
    return save(node);
}

#endif
