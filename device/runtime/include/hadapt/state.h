/* SPDX-License-Identifier: Apache-2.0 */
/* State hash and state bytes, SPEC.md 8.7 and 9. */
#ifndef HADAPT_STATE_H
#define HADAPT_STATE_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Bytes of an exported state: header, payload, digest. */
#define HAD_STATE_BYTES (HAD_STATE_HEADER_BYTES + HAD_STATE_PAYLOAD_BYTES + HAD_SHA256_BYTES)

/* Hash of the working state. HAD_ERR_STATE in the middle of a step or of an import. */
HAD_CHECKED had_status had_state_hash(const had_learner *ln, uint8_t hash[HAD_SHA256_BYTES]);

/* Which copy is exported. */
enum had_export_source { HAD_EXPORT_COMMITTED, HAD_EXPORT_WORKING };

/*
 * Bytes offset .. offset + count - 1 of a copy of the state. HAD_ERR_ARGUMENT: outside of it, or no such
 * source. HAD_ERR_STATE: the working copy in training or import. HAD_ERR_IO: flash that holds the committed copy.
 */
HAD_CHECKED had_status had_export(const had_learner *ln, uint8_t *dst, uint32_t offset,
                                  uint32_t count, uint32_t source);

/*
 * Replace the working state by exported bytes: begin, data in pieces of any size, end. All of it is
 * judged at the end; a state that is refused (HAD_ERR_FORMAT, HAD_ERR_DIGEST) leaves the working
 * state as committed. HAD_ERR_STATE: training under way, or not begun.
 */
HAD_CHECKED had_status had_import_begin(had_learner *ln, uint32_t total);
HAD_CHECKED had_status had_import_data(had_learner *ln, const uint8_t *src, uint32_t count);
HAD_CHECKED had_status had_import_end(had_learner *ln);

#endif
