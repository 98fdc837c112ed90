/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts the power of a field device at every flash operation of a session, in this process: on the host, or
 * in an emulator (SAMPLE: every how-manieth cut only).
 *
 * The session (powercut_session.h, made by the test) is a list of operations. Before each one the
 * whole device is set aside: RAM, flash. Then for every flash operation that it makes, and for each way in
 * which that one can be torn: put the device back, run into the cut, reboot from flash. What boot finds
 * must be exactly the state before or after the operation; the session then goes on from there, and must
 * end in the very state of the uncut session.
 */
#include <string.h>

#include "hadapt/node.h"
#include "hadapt/packet.h"
#include "hadapt/port.h"
#include "hadapt/state.h"
#include "port/flash_faults.h"
#include "powercut_session.h"

#ifndef SAMPLE
#define SAMPLE 1U
#endif
#define CELLS (HAD_FLASH_BLOCKS * HAD_FLASH_BLOCK_BYTES)

typedef struct device {
    had_learner learner;
    had_node node;
    uint8_t cells[CELLS];
} device;

typedef struct identity {
    uint8_t digest[HAD_SHA256_BYTES];
} identity;

static had_learner learner;
static had_node node;
static had_packet packet;
static device before[OPERATIONS];
static identity known[OPERATIONS + 1];

static void say(const char *text) {
    for (; *text != 0; text++) {
        (void)!had_port_write((const uint8_t *)text, 1U);
    }
}

static void say_number(uint32_t value) {
    char digits[11] = {0};
    uint32_t at = sizeof digits - 1U;
    do {
        at--;
        digits[at] = (char)('0' + value % 10U);
        value /= 10U;
    } while (value > 0U);
    say(digits + at);
}

static void fail(const char *what, uint32_t operation, uint32_t cut, uint32_t torn) {
    const char kind[2] = {session[operation].kind, 0};
    say("FAILED: ");
    say(what);
    say("; operation ");
    say_number(operation);
    say(", kind ");
    say(kind);
    say(", flash operation ");
    say_number(cut);
    say(", torn in 1 / 256: ");
    say_number(torn);
    say("\n");
    had_port_exit(1);
}

static void set_aside(device *copy) {
    uint32_t bytes;
    copy->learner = learner;
    copy->node = node;
    memcpy(copy->cells, had_flash_cells(&bytes), CELLS);
}

static void put_back(const device *copy) {
    uint32_t bytes;
    learner = copy->learner;
    node = copy->node;
    memcpy(had_flash_cells(&bytes), copy->cells, CELLS);
}

/* Everything that is to outlive a cut. */
static identity identify(void) {
    identity id;
    uint8_t part[HAD_SHA256_BYTES] = {0};
    had_sha256 sha;
    had_sha256_begin(&sha);
    if (had_state_hash(&learner, part) != HAD_OK) {
        fail("no state hash", 0U, 0U, 0U);
    }
    had_sha256_update(&sha, part, sizeof part);
    if (had_export(&learner, part, HAD_STATE_BYTES - 32U, 32U, HAD_EXPORT_COMMITTED) != HAD_OK) {
        fail("no export", 0U, 0U, 0U);
    }
    had_sha256_update(&sha, part, sizeof part);
    if (had_steps_left(&learner) > 0U) {
        had_sha256_update(&sha, &learner.session, sizeof learner.session);
    }
    for (uint32_t p = 0U; p < learner.exemplars.count; p++) {
        had_sha256_update(&sha, &learner.exemplars.state[learner.exemplars.order[p]], 1U);
    }
    had_sha256_update(&sha, &learner.trained, sizeof learner.trained);
    had_sha256_update(&sha, &node.trust, sizeof node.trust);
    had_sha256_update(&sha, &node.guard.limits, sizeof node.guard.limits);
    had_sha256_update(&sha, node.guard.label, node.guard.count);
    had_sha256_update(&sha, node.guard.packed, node.guard.count * HAD_X0_BYTES);
    had_sha256_update(&sha, &node.log, sizeof node.log - sizeof node.log.record + node.log.bytes);
    had_sha256_end(&sha, id.digest);
    return id;
}

static int same(const identity *a, const identity *b) {
    return memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

static had_status learn(const uint8_t *sample) {
    uint8_t request[2U + HAD_X0_BYTES] = {sample[0], 0U};
    memcpy(request + 2, sample + 1, HAD_X0_BYTES);
    had_status status = had_learn_x0(&learner, request + 2, request[0], 0U);
    return status != HAD_OK ? status : had_node_record(&node, 0x11U, request, sizeof request);
}

static had_status add_class(void) {
    uint32_t label;
    had_status status = had_add_class(&learner, &label);
    return status != HAD_OK ? status : had_node_record(&node, 0x04U, 0, 0U);
}

static had_status train_begin(uint32_t seed) {
    const had_train_config config = {.seed = seed,
                                     .steps = STEPS,
                                     .sampling = HAD_SAMPLE_BALANCED,
                                     .rates = 1U,
                                     .rate = {{0U, {RATE_MANTISSA, RATE_EXPONENT}}}};
    had_status status = had_train_begin(&learner, &config);
    return status != HAD_OK ? status : had_node_record(&node, 0x05U, 0, 0U);
}

/* One whole step, and a checkpoint. */
static had_status train_step(void) {
    had_train_report report;
    uint32_t left = had_steps_left(&learner);
    had_status status = HAD_OK;
    while (status == HAD_OK && had_steps_left(&learner) == left) {
        status = had_train(&learner, &report, 1U);
    }
    return status != HAD_OK ? status : had_node_checkpoint(&node);
}

static had_status update(void) {
    had_status status = had_packet_begin(&packet, &node, sizeof update_packet);
    for (uint32_t at = 0U; at < sizeof update_packet && status == HAD_OK; at += 50U) {
        uint32_t left = (uint32_t)sizeof update_packet - at;
        status = had_packet_data(&packet, &node, update_packet + at, left < 50U ? left : 50U);
    }
    return status != HAD_OK ? status : had_packet_end(&packet, &node);
}

static had_status run(uint32_t operation) {
    static const had_guard_limits limits = {1000U, 1000U, HAD_GUARD_OFF};
    static const had_fit no_fit = {0U, 0U};
    uint32_t argument = session[operation].argument;
    switch (session[operation].kind) {
    case 'v':
        return had_node_provision(&node, identity_bytes);
    case 'g':
        return had_node_guard_add(&node, samples[argument] + 1, samples[argument][0]);
    case 'm':
        return had_node_guard_limits(&node, &limits);
    case 'a':
        return add_class();
    case 'l':
        return learn(samples[argument]);
    case 'b':
        return train_begin(argument);
    case 't':
        return train_step();
    case 'c':
        return had_node_commit(&node, &no_fit);
    case 'r':
        had_rollback(&learner);
        return had_node_record(&node, 0x08U, 0, 0U);
    default:
        return update();
    }
}

/* The signature was checked by another test, on the device's own code. */
had_status had_port_verify(const uint8_t key[HAD_KEY_BYTES],
                           const uint8_t signature[HAD_SIGNATURE_BYTES], const uint8_t *message,
                           uint32_t bytes) {
    (void)message;
    (void)bytes;
    return memcmp(key, identity_bytes + 64, HAD_KEY_BYTES) == 0 &&
                   memcmp(signature, update_signature, HAD_SIGNATURE_BYTES) == 0
               ? HAD_OK
               : HAD_ERR_REFUSED;
}

/* The session without a cut. Answers how many flash operations each of its operations makes. */
static void uncut(uint32_t *flash_operations) {
    if (had_node_boot(&node, &learner) != HAD_OK) {
        fail("the first boot", 0U, 0U, 0U);
    }
    known[0] = identify();
    for (uint32_t i = 0U; i < OPERATIONS; i++) {
        set_aside(&before[i]);
        had_faults = (had_flash_faults){0};
        if (run(i) != HAD_OK) {
            fail("the session itself is refused", i, 0U, 0U);
        }
        flash_operations[i] = had_faults.operations;
        known[i + 1U] = identify();
    }
}

static void check_final_hash(void) {
    uint8_t hash[HAD_SHA256_BYTES];
    if (had_state_hash(&learner, hash) != HAD_OK || memcmp(hash, final_hash, sizeof hash) != 0) {
        fail("the uncut session does not end in the twin's state", 0U, 0U, 0U);
    }
}

/* One cut, the reboot, and the rest of the session. Answers 1 if boot found the new state. */
static uint32_t cut(uint32_t operation, uint32_t at, uint32_t torn) {
    put_back(&before[operation]);
    had_faults = (had_flash_faults){.countdown = at, .torn = torn};
    if (run(operation) != HAD_ERR_IO || had_faults.off == 0U) {
        fail("the cut did not show", operation, at, torn);
    }
    had_faults = (had_flash_faults){0};
    memset(&learner, 0x5A, sizeof learner);
    memset(&node, 0x5A, sizeof node);
    if (had_node_boot(&node, &learner) != HAD_OK) {
        fail("no boot", operation, at, torn);
    }
    identity found = identify();
    uint32_t is_new = same(&found, &known[operation + 1U]) ? 1U : 0U;
    if (is_new == 0U && !same(&found, &known[operation])) {
        fail("neither the old nor the new state", operation, at, torn);
    }
    for (uint32_t i = operation + is_new; i < OPERATIONS; i++) {
        if (run(i) != HAD_OK) {
            fail("the session cannot go on", i, at, torn);
        }
    }
    found = identify();
    if (!same(&found, &known[OPERATIONS])) {
        fail("another end", operation, at, torn);
    }
    return is_new;
}

int main(void) {
    static uint32_t flash_operations[OPERATIONS];
    static const uint32_t torn[] = {0U, 60U, 128U, 200U, 255U, 256U};
    const uint32_t ways = sizeof torn / sizeof torn[0];
    uint32_t possible = 0U;
    uint32_t cuts = 0U;
    uint32_t found_new = 0U;
    if (had_port_open() != HAD_OK) {
        had_port_exit(1);
    }
    uncut(flash_operations);
    check_final_hash();
    for (uint32_t i = 0U; i < OPERATIONS; i++) {
        for (uint32_t n = 0U; n < flash_operations[i] * ways; n++) {
            if (possible++ % SAMPLE == 0U) {
                found_new += cut(i, n / ways + 1U, torn[n % ways]);
                cuts++;
            }
        }
    }
    say_number(OPERATIONS);
    say(" operations, ");
    say_number(possible / ways);
    say(" flash operations, ");
    say_number(cuts);
    say(" cuts, ");
    say_number(found_new);
    say(" found the new state\n");
    had_port_exit(0);
}
