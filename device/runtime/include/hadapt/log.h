/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learning log, SPEC.md 13.4: what a device has learned since a state that is named by its hash, without a
 * sample. Who has that state and the samples can repeat the learning to the same hash.
 */
#ifndef HADAPT_LOG_H
#define HADAPT_LOG_H

#include <stdint.h>

#include "hadapt/correction.h"
#include "hadapt/learner.h"
#include "hadapt/sha256.h"

#ifndef HAD_LOG_BYTES
/* A session that stages every slot. */
#define HAD_LOG_BYTES (128U + 14U * HAD_SLOTS)
#endif
/* An export, but for the records; of a record; the digest of a sample in it. */
#define HAD_LOG_HEADER_BYTES 92U
#define HAD_LOG_DIGEST_BYTES 8U

/* The records, and where they begin. */
typedef struct had_log {
    uint32_t whole; /* 0: something since the mark is not in it */
    uint32_t bytes;
    uint32_t mark;                  /* bytes at the last commit */
    uint8_t base[HAD_SHA256_BYTES]; /* state hash where it begins */
    uint8_t record[HAD_LOG_BYTES];
} had_log;

/* Begin anew from the state as it is. HAD_ERR_STATE: in mid-step or import. */
HAD_CHECKED had_status had_log_restart(had_log *log, const had_learner *ln);

/* A request that was carried out: LEARN_X0, PUT_EXEMPLAR, ADD_CLASS; others are left out. */
void had_log_request(had_log *log, uint8_t command, const uint8_t *payload, uint32_t bytes);

/* A session was opened. */
void had_log_session(had_log *log, const had_train_config *config);

/* A commit was made, with a correction or without; a log that lacks something begins anew behind it. */
HAD_CHECKED had_status had_log_commit(had_log *log, const had_learner *ln, uint32_t hold,
                                      uint32_t steps);

/* Everything since the last commit was given up. */
void had_log_rollback(had_log *log);

/* Something has changed that no record tells of. */
void had_log_close(had_log *log);

/*
 * Part of the export. HAD_ERR_ARGUMENT: it lies outside. HAD_ERR_STATE: in mid-step or import, when the state has
 * no hash.
 */
HAD_CHECKED had_status had_log_export(const had_log *log, const had_learner *ln, uint8_t *dst,
                                      uint32_t offset, uint32_t count);

#endif
