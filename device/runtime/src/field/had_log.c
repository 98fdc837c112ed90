/* SPDX-License-Identifier: Apache-2.0 */
/* Learning log, SPEC.md 13.4. */
#include "../arithmetic/had_cold.h"

#include "hadapt/log.h"

#if HAD_FIELD

#include <string.h>

#include "../arithmetic/had_bytes.h"
#include "had_journal.h"
#include "hadapt/state.h"

#define CMD_TRAIN_BEGIN 0x05U
#define CMD_COMMIT 0x07U
#define FORMAT_VERSION 1U
#define RECORD_HEAD 2U
#define SESSION_HEAD 12U
#define RATE_BYTES 8U

had_status had_log_restart(had_log *log, const had_learner *ln) {
    log->whole = 1U;
    log->bytes = 0U;
    log->mark = 0U;
    return had_state_hash(ln, log->base);
}

/* Room for the next record and its head, or null: then the log is no longer whole. */
static uint8_t *next(had_log *log, uint8_t command, uint32_t bytes) {
    if (log->whole == 0U || bytes + RECORD_HEAD > HAD_LOG_BYTES - log->bytes) {
        log->whole = 0U;
        return 0;
    }
    uint8_t *at = log->record + log->bytes;
    at[0] = command;
    at[1] = (uint8_t)bytes;
    log->bytes += bytes + RECORD_HEAD;
    return at + RECORD_HEAD;
}

/* A sample's label and what belongs to it, then the first bytes of the digest of its packed x0. */
static void add_sample(had_log *log, uint8_t command, const uint8_t *payload, uint32_t head) {
    uint8_t digest[HAD_SHA256_BYTES];
    had_sha256 sha;
    uint8_t *at = next(log, command, head + HAD_LOG_DIGEST_BYTES);
    if (at == 0) {
        return;
    }
    had_sha256_begin(&sha);
    had_sha256_update(&sha, payload + head, HAD_X0_BYTES);
    had_sha256_end(&sha, digest);
    memcpy(at, payload, head);
    memcpy(at + head, digest, HAD_LOG_DIGEST_BYTES);
}

void had_log_request(had_log *log, uint8_t command, const uint8_t *payload, uint32_t bytes) {
    if (command == HAD_CMD_ADD_CLASS) {
        (void)next(log, command, 0U);
    } else if (command == HAD_CMD_LEARN_X0 || command == HAD_CMD_PUT_EXEMPLAR) {
        add_sample(log, command, payload, bytes - HAD_X0_BYTES);
    } else {
        /* Nothing that the learner keeps. */
    }
}

void had_log_session(had_log *log, const had_train_config *config) {
    uint8_t *at = next(log, CMD_TRAIN_BEGIN, SESSION_HEAD + RATE_BYTES * config->rates);
    if (at == 0) {
        return;
    }
    had_store_u32(at, config->seed);
    had_store_u32(at + 4, config->steps);
    at[8] = (uint8_t)config->sampling;
    at[9] = (uint8_t)config->rates;
    at[10] = (uint8_t)config->distill;
    at[11] = (uint8_t)(config->soften | config->hold << 4);
    for (uint32_t i = 0U; i < config->rates; i++) {
        uint8_t *rate = at + SESSION_HEAD + RATE_BYTES * i;
        had_store_u32(rate, config->rate[i].start);
        had_store_u16(rate + 4, (uint32_t)config->rate[i].scale.mantissa);
        had_store_u16(rate + 6, (uint32_t)config->rate[i].scale.exponent);
    }
}

had_status had_log_commit(had_log *log, const had_learner *ln, uint32_t hold, uint32_t steps) {
    uint8_t *at = next(log, CMD_COMMIT, hold != 0U ? 2U : 0U);
    if (at == 0) {
        return had_log_restart(log, ln);
    }
    if (hold != 0U) {
        at[0] = (uint8_t)hold;
        at[1] = (uint8_t)steps;
    }
    log->mark = log->bytes;
    return HAD_OK;
}

void had_log_rollback(had_log *log) {
    log->bytes = log->mark;
    log->whole = 1U;
}

void had_log_close(had_log *log) {
    log->whole = 0U;
}

had_status had_log_export(const had_log *log, const had_learner *ln, uint8_t *dst, uint32_t offset,
                          uint32_t count) {
    static const uint8_t magic[4] = {'H', 'A', 'D', 'L'};
    uint8_t header[HAD_LOG_HEADER_BYTES];
    uint32_t total = HAD_LOG_HEADER_BYTES + log->bytes;
    if (offset > total || count > total - offset) {
        return HAD_ERR_ARGUMENT;
    }
    memcpy(header, magic, sizeof magic);
    had_store_u16(header + 4, FORMAT_VERSION);
    had_store_u16(header + 6, log->whole);
    memcpy(header + 8, had_model_id, sizeof had_model_id);
    memcpy(header + 24, log->base, HAD_SHA256_BYTES);
    had_store_u32(header + 88, log->bytes);
    had_status status = had_state_hash(ln, header + 56);
    for (uint32_t i = 0U; i < count && status == HAD_OK; i++) {
        uint32_t at = offset + i;
        dst[i] = at < HAD_LOG_HEADER_BYTES ? header[at] : log->record[at - HAD_LOG_HEADER_BYTES];
    }
    return status;
}

#endif
