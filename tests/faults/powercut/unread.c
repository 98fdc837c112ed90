/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device with its committed masters in flash (SPEC.md 12.5) whose flash fails for a while, but not its power: a save
 * after a commit, the reads of a rollback, and those at the end of the guard's score.
 */
#include <string.h>

#include "hadapt/node.h"
#include "hadapt/packet.h"
#include "hadapt/port.h"
#include "hadapt/state.h"
#include "port/flash_faults.h"
#include "powercut_session.h"

static had_learner learner;
static had_node node;
static const had_fit no_fit = {0U, 0U};
static uint8_t raw[2U * HAD_INPUTS];

static void require(uint32_t line, uint32_t holds) {
    static char text[] = "FAILED: line 000\n";
    if (holds != 0U) {
        return;
    }
    for (uint32_t i = 0U; i < 3U; i++) {
        text[15U - i] = (char)('0' + line % 10U);
        line /= 10U;
    }
    (void)!had_port_write((const uint8_t *)text, sizeof text - 1U);
    had_port_exit(1);
}
#define REQUIRE(holds) require(__LINE__, (holds) ? 1U : 0U)

had_status had_port_verify(const uint8_t key[HAD_KEY_BYTES],
                           const uint8_t signature[HAD_SIGNATURE_BYTES], const uint8_t *message,
                           uint32_t bytes) {
    (void)key;
    (void)signature;
    (void)message;
    (void)bytes;
    return HAD_OK;
}

static void flash_fails(uint32_t fails) {
    had_faults = (had_flash_faults){.off = fails};
}

static had_status begin(uint32_t seed) {
    const had_train_config config = {.seed = seed,
                                     .steps = 2U,
                                     .sampling = HAD_SAMPLE_BALANCED,
                                     .rates = 1U,
                                     .rate = {{0U, {RATE_MANTISSA, RATE_EXPONENT}}}};
    return had_train_begin(&learner, &config);
}

static void train(uint32_t seed) {
    had_train_report report;
    REQUIRE(begin(seed) == HAD_OK);
    REQUIRE(had_node_record(&node, 0x05U, 0, 0U) == HAD_OK);
    REQUIRE(had_train(&learner, &report, UINT32_MAX) == HAD_OK && report.steps_left == 0U);
}

static had_status infer(void) {
    had_inference answer;
    return had_infer(&learner, &answer, raw, HAD_HEAD_LINEAR);
}

static void hash(uint8_t digest[HAD_SHA256_BYTES]) {
    REQUIRE(had_state_hash(&learner, digest) == HAD_OK);
}

static had_status export_digest(uint8_t digest[HAD_SHA256_BYTES]) {
    return had_export(&learner, digest, HAD_STATE_BYTES - HAD_SHA256_BYTES, HAD_SHA256_BYTES,
                      HAD_EXPORT_COMMITTED);
}

/* A commit whose save fails is current, but nothing may overwrite the only masters it has. */
static void failed_save(void) {
    uint8_t trained[HAD_SHA256_BYTES];
    uint8_t found[HAD_SHA256_BYTES];
    had_packet packet;
    train(1U);
    flash_fails(1U);
    REQUIRE(had_node_commit(&node, &no_fit) == HAD_ERR_IO);
    hash(trained);
    REQUIRE(begin(2U) == HAD_ERR_IO);
    flash_fails(0U);
    REQUIRE(begin(2U) == HAD_ERR_IO);
    REQUIRE(had_import_begin(&learner, HAD_STATE_BYTES) == HAD_ERR_IO);
    REQUIRE(had_packet_begin(&packet, &node, 100U) == HAD_ERR_IO);
    REQUIRE(infer() == HAD_OK);
    had_rollback(&learner);
    hash(found);
    REQUIRE(memcmp(found, trained, sizeof found) == 0);
    REQUIRE(had_node_checkpoint(&node) == HAD_OK);
    REQUIRE(had_node_boot(&node, &learner) == HAD_OK);
    hash(found);
    REQUIRE(memcmp(found, trained, sizeof found) == 0);
}

/* Flash fails in a rollback: nothing is served from the pieces, until one succeeds. */
static void failed_rollback(void) {
    uint8_t before[HAD_SHA256_BYTES];
    uint8_t found[HAD_SHA256_BYTES];
    hash(before);
    train(2U);
    hash(found);
    REQUIRE(memcmp(found, before, sizeof found) != 0);
    flash_fails(1U);
    had_rollback(&learner);
    REQUIRE(had_state_hash(&learner, found) == HAD_ERR_IO);
    REQUIRE(infer() == HAD_ERR_IO && begin(3U) == HAD_ERR_IO);
    REQUIRE(had_commit(&learner) == HAD_ERR_IO && export_digest(found) == HAD_ERR_IO);
    flash_fails(0U);
    REQUIRE(had_node_checkpoint(&node) == HAD_ERR_IO && begin(3U) == HAD_ERR_IO);
    had_rollback(&learner);
    hash(found);
    REQUIRE(memcmp(found, before, sizeof found) == 0);
    REQUIRE(infer() == HAD_OK && had_node_record(&node, 0x08U, 0, 0U) == HAD_OK);
}

/* Flash fails when the guard puts the committed view back. */
static void failed_guard(void) {
    static had_view view;
    uint8_t found[HAD_SHA256_BYTES];
    uint8_t before[HAD_SHA256_BYTES];
    hash(before);
    train(4U);
    view = learner.view;
    flash_fails(1U);
    REQUIRE(had_node_commit(&node, &no_fit) == HAD_ERR_IO && infer() == HAD_ERR_IO);
    flash_fails(0U);
    REQUIRE(had_node_commit(&node, &no_fit) == HAD_ERR_IO);
    had_rollback(&learner);
    hash(found);
    REQUIRE(memcmp(found, before, sizeof found) == 0);
    REQUIRE(memcmp(view.words, learner.view.words, sizeof view.words) == 0 && infer() == HAD_OK);
}

int main(void) {
    static const had_guard_limits limits = {1000U, 1000U, HAD_GUARD_OFF};
    REQUIRE(had_port_open() == HAD_OK && had_node_boot(&node, &learner) == HAD_OK);
    REQUIRE(had_node_provision(&node, identity_bytes) == HAD_OK);
    REQUIRE(had_learn_x0(&learner, samples[0] + 1, samples[0][0], 0U) == HAD_OK);
    failed_save();
    failed_rollback();
    REQUIRE(had_node_guard_add(&node, samples[0] + 1, samples[0][0]) == HAD_OK);
    REQUIRE(had_node_guard_limits(&node, &limits) == HAD_OK);
    failed_guard();
    (void)!had_port_write((const uint8_t *)"all held\n", 9U);
    had_port_exit(0);
}
