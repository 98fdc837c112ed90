/* SPDX-License-Identifier: Apache-2.0 */
/* Slots, SPEC.md 12.1: boot finds the old or the new state, whenever power ends. */
#include "../arithmetic/had_cold.h"

#include "hadapt/store.h"

#if HAD_FIELD

#include <string.h>

#include "../arithmetic/had_bytes.h"
#include "../learner/had_committed.h"
#include "had_archive.h"
#include "had_journal.h"

#define DIGEST_AT 32U
#define BODY_AT HAD_STORE_HEADER_BYTES
#define FORMAT_VERSION 1U

static const uint8_t magic[4] = {'H', 'A', 'D', 'P'};

typedef struct had_slot {
    uint32_t sequence;
    uint32_t body_bytes;
    uint32_t wear;
} had_slot;

static void make_header(uint8_t header[DIGEST_AT], const had_slot *slot) {
    memset(header, 0, DIGEST_AT);
    memcpy(header, magic, sizeof magic);
    had_store_u16(header + 4, FORMAT_VERSION);
    had_store_u32(header + 8, slot->sequence);
    had_store_u32(header + 12, slot->body_bytes);
    had_store_u32(header + 16, slot->wear);
}

/* SHA-256 of body and header as they lie in flash. */
static had_status digest_slot(had_sha256 *sha, const had_slot *slot, uint32_t at) {
    uint8_t part[HAD_PAGE_BYTES];
    had_status status = HAD_OK;
    had_sha256_begin(sha);
    for (uint32_t done = 0U; done < slot->body_bytes && status == HAD_OK; done += sizeof part) {
        uint32_t left = slot->body_bytes - done;
        uint32_t bytes = left < sizeof part ? left : (uint32_t)sizeof part;
        status = had_flash_read(part, at + BODY_AT + done, bytes);
        if (status == HAD_OK) {
            had_sha256_update(sha, part, bytes);
        }
    }
    make_header(part, slot);
    had_sha256_update(sha, part, DIGEST_AT);
    return status;
}

/* Read and judge a slot. *valid: header and body are whole. */
static had_status read_slot(const had_store *store, uint32_t index, had_slot *slot,
                            uint32_t *valid) {
    uint8_t header[HAD_STORE_HEADER_BYTES];
    uint8_t expected[DIGEST_AT];
    had_sha256 sha;
    uint32_t at = index * store->slot_bytes;
    *valid = 0U;
    had_status status = had_flash_read(header, at, sizeof header);
    if (status != HAD_OK) {
        return status;
    }
    *slot =
        (had_slot){had_load_u32(header + 8), had_load_u32(header + 12), had_load_u32(header + 16)};
    make_header(expected, slot);
    if (memcmp(header, expected, sizeof expected) != 0 ||
        slot->body_bytes > store->slot_bytes - BODY_AT) {
        return HAD_OK;
    }
    status = digest_slot(&sha, slot, at);
    had_sha256_end(&sha, expected);
    *valid = memcmp(header + DIGEST_AT, expected, sizeof expected) == 0;
    return status;
}

/* Find the current slot; what is known of wear. *body_bytes: of the current slot. */
static had_status find_current(had_store *store, uint32_t *body_bytes) {
    store->current = HAD_STORE_NONE;
    store->sequence = 0U;
    for (uint32_t i = 0U; i < HAD_STORE_SLOTS; i++) {
        had_slot slot;
        uint32_t valid;
        had_status status = read_slot(store, i, &slot, &valid);
        if (status != HAD_OK) {
            return status;
        }
        store->wear[i] = valid != 0U ? slot.wear : 0U;
        if (valid != 0U && slot.sequence > store->sequence) {
            store->current = i;
            store->sequence = slot.sequence;
            *body_bytes = slot.body_bytes;
        }
    }
    return HAD_OK;
}

static uint32_t round_up(uint32_t bytes, uint32_t unit) {
    return (bytes + unit - 1U) / unit * unit;
}

static had_archive archive_of(const had_store *store, uint32_t mode, uint32_t slot,
                              uint32_t body_bytes) {
    uint32_t at = slot * store->slot_bytes + BODY_AT;
    had_archive ar = {.mode = mode, .at = at, .unit = store->flash.program_bytes};
    ar.end = at + body_bytes;
    ar.status = HAD_OK;
    had_sha256_begin(&ar.sha);
    return ar;
}

static had_status load_slot(had_store *store, const had_image *image, uint32_t body_bytes) {
    had_archive ar = archive_of(store, HAD_ARCHIVE_LOAD, store->current, body_bytes);
    had_image_move(&ar, image);
    if (ar.status == HAD_OK && ar.at == ar.end) {
        store->journal_at = round_up(BODY_AT + body_bytes, store->flash.program_bytes);
        return had_journal_replay(store, image);
    }
    /* A whole body, but not of this model or build: a device that did not start would be worse. */
    had_init(image->learner);
    had_guard_init(image->guard);
    if (image->trust->provisioned > 1U) {
        *image->trust = (had_trust){0};
    }
    store->lost = 1U;
    had_status status = had_log_restart(image->log, image->learner);
    return ar.status == HAD_ERR_IO ? ar.status : status;
}

static had_status check_flash(const had_store *store) {
    const had_flash_info *flash = &store->flash;
    uint32_t sound = flash->program_bytes > 0U && HAD_PAGE_BYTES % flash->program_bytes == 0U &&
                     flash->block_bytes > 0U && flash->block_bytes % HAD_PAGE_BYTES == 0U;
    if (sound == 0U) {
        return HAD_ERR_ARGUMENT;
    }
    return store->slot_bytes < BODY_AT + HAD_STORE_BODY_MAX_BYTES ? HAD_ERR_SIZE : HAD_OK;
}

had_status had_store_open(had_store *store, const had_image *image) {
    uint32_t body_bytes = 0U;
    had_status status = had_flash_open(&store->flash);
    if (status != HAD_OK) {
        return status;
    }
    store->slot_bytes = store->flash.blocks / HAD_STORE_SLOTS * store->flash.block_bytes;
    store->journal_at = store->slot_bytes;
    store->lost = 0U;
    status = check_flash(store);
    if (status != HAD_OK) {
        return status;
    }
    status = find_current(store, &body_bytes);
    return status != HAD_OK || store->current == HAD_STORE_NONE
               ? status
               : load_slot(store, image, body_bytes);
}

static uint32_t largest_wear(const had_store *store) {
    uint32_t largest = 0U;
    for (uint32_t i = 0U; i < HAD_STORE_SLOTS; i++) {
        largest = store->wear[i] > largest ? store->wear[i] : largest;
    }
    return largest;
}

static had_status erase_slot(had_store *store, uint32_t slot) {
    uint32_t blocks = store->slot_bytes / store->flash.block_bytes;
    had_status status = HAD_OK;
    store->wear[slot] = (store->wear[slot] != 0U ? store->wear[slot] : largest_wear(store)) + 1U;
    for (uint32_t b = 0U; b < blocks && status == HAD_OK; b++) {
        status = had_flash_erase(slot * blocks + b);
    }
    return status;
}

static had_status write_header(const had_store *store, had_archive *ar, uint32_t index,
                               const had_slot *slot) {
    uint8_t header[HAD_STORE_HEADER_BYTES];
    make_header(header, slot);
    had_sha256_update(&ar->sha, header, DIGEST_AT);
    had_sha256_end(&ar->sha, header + DIGEST_AT);
    return had_flash_program(index * store->slot_bytes, header, sizeof header);
}

had_status had_store_save(had_store *store, const had_image *image) {
    had_status status = had_between_steps(image->learner);
    if (status != HAD_OK) {
        return status;
    }
    uint32_t index = store->current == HAD_STORE_NONE ? 0U : store->current + 1U;
    index = index < HAD_STORE_SLOTS ? index : 0U;
    /* Until this save is whole, flash lacks a change: no record may follow the ones that are there. */
    store->journal_at = store->slot_bytes;
    status = erase_slot(store, index);
    had_archive ar = archive_of(store, HAD_ARCHIVE_SAVE, index, store->slot_bytes - BODY_AT);
    uint32_t start = ar.at;
    ar.status = status;
    had_image_move(&ar, image);
    had_slot slot = {store->sequence + 1U, ar.at + ar.fill - start, store->wear[index]};
    had_archive_flush(&ar);
    status = ar.status == HAD_OK ? write_header(store, &ar, index, &slot) : ar.status;
    if (status == HAD_OK) {
        had_committed_lies(image->learner, ar.committed_at);
        store->current = index;
        store->sequence = slot.sequence;
        store->journal_at = round_up(BODY_AT + slot.body_bytes, store->flash.program_bytes);
    }
    return status;
}

uint32_t had_store_room(const had_store *store) {
    return store->slot_bytes - store->journal_at;
}

#endif
