/* SPDX-License-Identifier: Apache-2.0 */
/* Small changes between two saves, SPEC.md 12.3. */
#include "../arithmetic/had_cold.h"

#include "had_journal.h"

#if HAD_FIELD

#include <string.h>

#include "../arithmetic/had_bytes.h"
#include "had_archive.h"
#include "hadapt/exemplar.h"

#define CRC_POLYNOMIAL 0xEDB88320U /* IEEE 802.3, reflected */
#define CRC_BYTES 4U
#define ERASED 0xFFU

typedef struct had_record {
    uint32_t bytes; /* of the payload */
    uint8_t head[HAD_RECORD_HEAD_BYTES];
    uint8_t payload[HAD_RECORD_BYTES + CRC_BYTES];
} had_record;

static uint32_t crc32(uint32_t crc, const uint8_t *src, uint32_t bytes) {
    crc = ~crc;
    for (uint32_t i = 0U; i < bytes; i++) {
        crc ^= src[i];
        for (uint32_t bit = 0U; bit < 8U; bit++) {
            crc = (crc >> 1) ^ (CRC_POLYNOMIAL & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}

static uint32_t record_crc(const had_store *store, const had_record *record) {
    uint8_t sequence[4];
    had_store_u32(sequence, store->sequence);
    uint32_t crc = crc32(0U, sequence, sizeof sequence);
    crc = crc32(crc, record->head, sizeof record->head);
    return crc32(crc, record->payload, record->bytes);
}

static uint32_t size_in_flash(const had_store *store, uint32_t payload) {
    uint32_t unit = store->flash.program_bytes;
    return (HAD_RECORD_HEAD_BYTES + payload + CRC_BYTES + unit - 1U) / unit * unit;
}

static uint32_t address(const had_store *store) {
    return store->current * store->slot_bytes + store->journal_at;
}

/* The next record, or *whole = 0. */
static had_status read_record(const had_store *store, had_record *record, uint32_t *whole) {
    *whole = 0U;
    if (had_store_room(store) < HAD_RECORD_HEAD_BYTES + CRC_BYTES) {
        return HAD_OK;
    }
    had_status status = had_flash_read(record->head, address(store), sizeof record->head);
    record->bytes = had_load_u16(record->head + 2);
    if (status != HAD_OK || record->head[1] != 0U || record->bytes > HAD_RECORD_BYTES ||
        size_in_flash(store, record->bytes) > had_store_room(store)) {
        return status;
    }
    status = had_flash_read(record->payload, address(store) + HAD_RECORD_HEAD_BYTES,
                            record->bytes + CRC_BYTES);
    *whole = status == HAD_OK &&
             had_load_u32(record->payload + record->bytes) == record_crc(store, record);
    return status;
}

static had_status carry_out(const had_image *image, const had_record *record) {
    const uint8_t *p = record->payload;
    uint32_t label;
    switch (record->head[0]) {
    case HAD_CMD_ADD_CLASS:
        return record->bytes != 0U ? HAD_ERR_FORMAT : had_add_class(image->learner, &label);
    case HAD_CMD_LEARN_X0:
        return record->bytes != 2U + HAD_X0_BYTES || p[1] > 1U
                   ? HAD_ERR_FORMAT
                   : had_learn_x0(image->learner, p + 2, p[0], p[1]);
    case HAD_CMD_PUT_EXEMPLAR:
        return record->bytes != 4U + HAD_X0_BYTES
                   ? HAD_ERR_FORMAT
                   : had_put_exemplar(image->learner, p + 4, p[0], had_load_u16(p + 2));
    case HAD_CMD_GUARD_ADD:
        return record->bytes != 2U + HAD_X0_BYTES ? HAD_ERR_FORMAT
                                                  : had_guard_add(image->guard, p + 2, p[0]);
    default:
        return HAD_ERR_FORMAT;
    }
}

/* The learning log, as it was saved, lacks what the journal holds. */
static had_status repeat(const had_image *image, const had_record *record) {
    had_status status = carry_out(image, record);
    if (status == HAD_OK) {
        had_log_request(image->log, record->head[0], record->payload, record->bytes);
    }
    return status;
}

/* Whether the rest of the slot can be programmed. */
static had_status rest_is_erased(const had_store *store, uint32_t *erased) {
    uint8_t part[HAD_PAGE_BYTES];
    uint32_t end = (store->current + 1U) * store->slot_bytes;
    had_status status = HAD_OK;
    *erased = 1U;
    for (uint32_t at = address(store); at < end && status == HAD_OK && *erased != 0U;) {
        uint32_t bytes = end - at < sizeof part ? end - at : (uint32_t)sizeof part;
        status = had_flash_read(part, at, bytes);
        for (uint32_t i = 0U; i < bytes; i++) {
            *erased = part[i] == ERASED ? *erased : 0U;
        }
        at += bytes;
    }
    return status;
}

had_status had_journal_replay(had_store *store, const had_image *image) {
    had_record record = {0};
    uint32_t whole;
    uint32_t erased;
    had_status status = read_record(store, &record, &whole);
    while (status == HAD_OK && whole != 0U) {
        if (repeat(image, &record) != HAD_OK) {
            store->journal_at = store->slot_bytes;
            store->lost = 1U;
            return HAD_OK;
        }
        store->journal_at += size_in_flash(store, record.bytes);
        status = read_record(store, &record, &whole);
    }
    if (status == HAD_OK) {
        status = rest_is_erased(store, &erased);
        store->journal_at = erased != 0U ? store->journal_at : store->slot_bytes;
    }
    return status;
}

had_status had_store_append(had_store *store, const had_image *image, uint8_t command,
                            const uint8_t *payload, uint32_t bytes) {
    had_record record = {.bytes = bytes, .head = {command, 0U}};
    if (bytes > HAD_RECORD_BYTES) {
        return HAD_ERR_SIZE;
    }
    if (store->current == HAD_STORE_NONE || size_in_flash(store, bytes) > had_store_room(store)) {
        return had_store_save(store, image);
    }
    had_store_u16(record.head + 2, bytes);
    if (bytes > 0U) {
        memcpy(record.payload, payload, bytes);
    }
    had_store_u32(record.payload + bytes, record_crc(store, &record));
    had_archive ar = {.mode = HAD_ARCHIVE_SAVE, .at = address(store), .status = HAD_OK};
    ar.unit = store->flash.program_bytes;
    ar.end = ar.at + size_in_flash(store, bytes);
    had_sha256_begin(&ar.sha);
    had_archive_move(&ar, record.head, sizeof record.head);
    had_archive_move(&ar, record.payload, bytes + CRC_BYTES);
    had_archive_flush(&ar);
    /* After a failure the place is no longer clean: the next change is a save. */
    store->journal_at =
        ar.status == HAD_OK ? store->journal_at + size_in_flash(store, bytes) : store->slot_bytes;
    return ar.status;
}

#endif
