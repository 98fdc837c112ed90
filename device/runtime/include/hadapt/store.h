/* SPDX-License-Identifier: Apache-2.0 */
/* Slots in flash and their journal, SPEC.md 12. */
#ifndef HADAPT_STORE_H
#define HADAPT_STORE_H

#include <stdint.h>

#include "hadapt/flash.h"
#include "hadapt/guard.h"
#include "hadapt/learner.h"
#include "hadapt/log.h"
#include "hadapt/trust.h"

/* Slots of the area; no slot; bytes of a slot's and of a record's header. */
#ifndef HAD_STORE_SLOTS
#define HAD_STORE_SLOTS 2U
#endif
#define HAD_STORE_NONE UINT32_MAX
#define HAD_STORE_HEADER_BYTES 64U
#define HAD_RECORD_HEAD_BYTES 4U
/* Body of a slot at its largest, SPEC.md 12.2: a slot must hold it and its header. */
#define HAD_STORE_BODY_MAX_BYTES                                                                   \
    (104U + 16U + 12U + 2U * HAD_STATE_PAYLOAD_BYTES + 92U + 4U +                                  \
     HAD_SLOTS * (4U + HAD_X0_BYTES) + 16U + HAD_GUARD_SLOTS * (1U + HAD_X0_BYTES) + 12U +         \
     HAD_SHA256_BYTES + HAD_LOG_BYTES)
/* Longest payload of a journal record: an exemplar. */
#define HAD_RECORD_BYTES (4U + HAD_X0_BYTES)

_Static_assert(HAD_STORE_SLOTS >= 2U, "old and new need a slot each");

/* Where the area stands: slots, journal and wear. */
typedef struct had_store {
    had_flash_info flash;
    uint32_t slot_bytes;
    uint32_t current;    /* slot, or HAD_STORE_NONE */
    uint32_t sequence;   /* of the current slot; 0 without one */
    uint32_t journal_at; /* offset in the slot of the next record; slot_bytes: closed */
    uint32_t wear[HAD_STORE_SLOTS];
    uint32_t lost; /* 1: the last open could not take all that was kept */
} had_store;

/* All that is kept. */
typedef struct had_image {
    had_learner *learner;
    had_trust *trust;
    had_guard *guard;
    had_log *log;
} had_image;

/*
 * Find the current slot and load it, journal included; without one, the image is left as it is. A body of
 * another model or build gives its trust alone; a record that cannot be repeated ends the journal: store->lost
 * tells of both. HAD_ERR_ARGUMENT: the port describes a flash that cannot be. HAD_ERR_SIZE: the area is too
 * small for what this build may have to keep. HAD_ERR_IO.
 */
HAD_CHECKED had_status had_store_open(had_store *store, const had_image *image);

/*
 * Save everything into the next slot. HAD_ERR_STATE: in mid-step or with an import open.
 * HAD_ERR_SIZE: it does not fit. HAD_ERR_IO: the old slot is still current.
 */
HAD_CHECKED had_status had_store_save(had_store *store, const had_image *image);

/*
 * Append a change that was made; if the journal has no room, save instead.
 */
HAD_CHECKED had_status had_store_append(had_store *store, const had_image *image, uint8_t command,
                                        const uint8_t *payload, uint32_t bytes);

/* Bytes left in the journal. */
uint32_t had_store_room(const had_store *store);

#endif
