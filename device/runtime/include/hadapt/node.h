/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A field device, SPEC.md 12 and 13: a learner whose state outlives power, that takes signed packets and
 * refuses to forget. The learner's own functions are used as before; had_node_record makes what they
 * changed last.
 */
#ifndef HADAPT_NODE_H
#define HADAPT_NODE_H

#include <stdint.h>

#include "hadapt/guard.h"
#include "hadapt/reason.h"
#include "hadapt/store.h"
#include "hadapt/trust.h"

/* vendor, class, root key, release key */
#define HAD_IDENTITY_BYTES 96U

/* A field device: its learner, and what outlives power. */
typedef struct had_node {
    had_learner *learner;
    had_trust trust;
    had_guard guard;
    had_log log;
    had_store store;
    uint32_t reason; /* of the last refusal, enum had_reason */
} had_node;

/* Start from flash, or where there is nothing from the model's tables. */
HAD_CHECKED had_status had_node_boot(had_node *node, had_learner *ln);

/*
 * Keep what a command has just changed: its request as on the wire (SPEC.md 12.4), LEARN as LEARN_X0.
 * Commands that change nothing lasting are ignored.
 */
HAD_CHECKED had_status had_node_record(had_node *node, uint8_t command, const uint8_t *request,
                                       uint32_t bytes);

/*
 * Guarded commit, and save. HAD_ERR_REFUSED: the guard saw forgetting, the learner was rolled back, and
 * node->reason says why. With a fit as had_commit_corrected; HAD_ERR_FORMAT where no correction is held.
 */
HAD_CHECKED had_status had_node_commit(had_node *node, const had_fit *fit);

/* Save the working copy and the place in the session. HAD_ERR_STATE: in mid-step or import. */
HAD_CHECKED had_status had_node_checkpoint(had_node *node);

/*
 * Give the device its identity and keys, HAD_IDENTITY_BYTES. HAD_ERR_STATE: it has them.
 * HAD_ERR_ARGUMENT: both keys are the same.
 */
HAD_CHECKED had_status had_node_provision(had_node *node, const uint8_t *identity);

/* Reserve a sample for the guard, and keep it. See had_guard_add. */
HAD_CHECKED had_status had_node_guard_add(had_node *node, const uint8_t *packed, uint32_t label);

/* Begin the learning log anew, and keep it. HAD_ERR_STATE: there is uncommitted learning. */
HAD_CHECKED had_status had_node_log_restart(had_node *node);

/* Set the guard's limits, and keep them. HAD_ERR_ARGUMENT: more than HAD_GUARD_OFF. */
HAD_CHECKED had_status had_node_guard_limits(had_node *node, const had_guard_limits *limits);

#endif
