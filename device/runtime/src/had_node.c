/* SPDX-License-Identifier: Apache-2.0 */
/* A field device: what is kept when, SPEC.md 12.4. */
#include "hadapt/node.h"

#if HAD_FIELD

#include <string.h>

#include "had_journal.h"

#define CMD_TRAIN_BEGIN 0x05U
#define CMD_COMMIT 0x07U
#define CMD_ROLLBACK 0x08U
#define CMD_IMPORT_END 0x0DU

static had_image image_of(had_node *node) {
    return (had_image){node->learner, &node->trust, &node->guard};
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
    return had_store_open(&node->store, &image);
}

static had_status append(had_node *node, uint8_t command, const uint8_t *payload, uint32_t bytes) {
    const had_image image = image_of(node);
    return had_store_append(&node->store, &image, command, payload, bytes);
}

had_status had_node_record(had_node *node, uint8_t command, const uint8_t *request,
                           uint32_t bytes) {
    switch (command) {
    case HAD_CMD_LEARN_X0:
    case HAD_CMD_PUT_EXEMPLAR:
    case HAD_CMD_ADD_CLASS:
        return append(node, command, request, bytes);
    case CMD_COMMIT: /* one with a correction; had_node_commit has saved the other */
        return bytes != 0U ? save(node) : HAD_OK;
    case CMD_TRAIN_BEGIN:
    case CMD_ROLLBACK:
    case CMD_IMPORT_END:
        return save(node);
    default:
        return HAD_OK;
    }
}

had_status had_node_commit(had_node *node) {
    had_status status = had_guard_check(&node->guard, node->learner, &node->reason);
    if (status == HAD_ERR_REFUSED) {
        had_rollback(node->learner);
        had_status saved = save(node);
        return saved != HAD_OK ? saved : status;
    }
    if (status == HAD_OK) {
        status = had_commit(node->learner);
    }
    return status == HAD_OK ? save(node) : status;
}

had_status had_node_checkpoint(had_node *node) {
    return save(node);
}

had_status had_node_provision(had_node *node, const uint8_t *identity) {
    had_trust *trust = &node->trust;
    if (trust->provisioned != 0U) {
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
    had_status status = had_guard_add(&node->guard, packed, label);
    if (status != HAD_OK) {
        return status;
    }
    record[0] = (uint8_t)label;
    record[1] = 0U;
    memcpy(record + 2, packed, HAD_X0_BYTES);
    return append(node, HAD_CMD_GUARD_ADD, record, sizeof record);
}

had_status had_node_guard_limits(had_node *node, const had_guard_limits *limits) {
    if (limits->class_drop > HAD_GUARD_OFF || limits->mean_drop > HAD_GUARD_OFF ||
        limits->new_floor > HAD_GUARD_OFF) {
        return HAD_ERR_ARGUMENT;
    }
    node->guard.limits = *limits;
    return save(node);
}

#endif
