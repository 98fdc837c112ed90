/* SPDX-License-Identifier: Apache-2.0 */
/* State import, SPEC.md 9: streamed into the working copy, judged at the end. */
#include "../arithmetic/had_cold.h"

#include <string.h>

#include "../arithmetic/had_bytes.h"
#include "had_committed.h"
#include "had_fields.h"
#include "hadapt/state.h"

#define PAYLOAD_END (HAD_STATE_HEADER_BYTES + HAD_STATE_PAYLOAD_BYTES)
#define TRACKED_MAX (32767 * 256)

had_status had_import_begin(had_learner *ln, uint32_t total) {
    if (had_steps_left(ln) > 0U || ln->importing == HAD_IMPORTING_PACKET) {
        return HAD_ERR_STATE;
    }
    if (total != HAD_STATE_BYTES) {
        return HAD_ERR_FORMAT;
    }
    had_status kept = had_committed_is_kept(ln);
    if (kept != HAD_OK) {
        return kept;
    }
    had_import *import = &ln->arena.import;
    had_sha256_begin(&import->sha);
    import->received = 0U;
    ln->importing = HAD_IMPORTING_STATE;
    return HAD_OK;
}

static had_status refuse(had_learner *ln, had_status status) {
    had_committed_restore(ln);
    ln->session.active = 0U;
    ln->trained = 0U;
    ln->importing = 0U;
    return status;
}

static void store_payload(const had_learner *ln, uint32_t at, const uint8_t *src, uint32_t count) {
    for (uint32_t f = 0U; f < HAD_FIELDS && count > 0U; f++) {
        had_field field = had_field_of(ln, f);
        if (at < field.bytes) {
            uint32_t part = field.bytes - at < count ? field.bytes - at : count;
            memcpy((uint8_t *)field.data + at, src, part);
            src += part;
            count -= part;
            at = 0U;
        } else {
            at -= field.bytes;
        }
    }
}

/* Bytes that lie wholly within header, payload or digest. */
static void store_part(had_learner *ln, const uint8_t *src, uint32_t at, uint32_t count) {
    had_import *import = &ln->arena.import;
    if (at < HAD_STATE_HEADER_BYTES) {
        memcpy(import->header + at, src, count);
    } else if (at < PAYLOAD_END) {
        store_payload(ln, at - HAD_STATE_HEADER_BYTES, src, count);
    } else {
        memcpy(import->digest + (at - PAYLOAD_END), src, count);
        return;
    }
    had_sha256_update(&import->sha, src, count);
}

static uint32_t part_end(uint32_t at) {
    if (at < HAD_STATE_HEADER_BYTES) {
        return HAD_STATE_HEADER_BYTES;
    }
    return at < PAYLOAD_END ? PAYLOAD_END : HAD_STATE_BYTES;
}

had_status had_import_data(had_learner *ln, const uint8_t *src, uint32_t count) {
    had_import *import = &ln->arena.import;
    if (ln->importing != HAD_IMPORTING_STATE) {
        return HAD_ERR_STATE;
    }
    if (count > HAD_STATE_BYTES - import->received) {
        return refuse(ln, HAD_ERR_FORMAT);
    }
    while (count > 0U) {
        uint32_t room = part_end(import->received) - import->received;
        uint32_t part = room < count ? room : count;
        store_part(ln, src, import->received, part);
        import->received += part;
        src += part;
        count -= part;
    }
    return HAD_OK;
}

/* Magic, version, flags, model, length and class count. */
static uint32_t header_is_valid(const uint8_t *header) {
    uint8_t expected[HAD_STATE_HEADER_BYTES];
    uint32_t n_classes = had_load_u16(header + 28);
    had_state_header(expected, n_classes, header[6] & HAD_STATE_TRAINED);
    return n_classes >= 1U && n_classes <= HAD_MAX_CLASSES &&
           memcmp(header, expected, sizeof expected) == 0;
}

#if HAD_KEEP_PROTOTYPES
static uint32_t prototypes_are_valid(const had_copy *copy) {
    for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
        int32_t count = copy->prototype[c][0];
        for (uint32_t j = 1U; j <= HAD_FEATURES; j++) {
            if (count < 0 || count > 255 || had_abs(copy->prototype[c][j]) > 15 * count) {
                return 0U;
            }
        }
    }
    return 1U;
}
#endif

uint32_t had_values_are_valid(const had_learner *ln) {
    const had_copy *copy = &ln->working;
    for (uint32_t j = 0U; j < HAD_MASTER_COUNT; j++) {
        if (ln->master[j] < -HAD_MASTER_MAX) {
            return 0U;
        }
    }
    for (uint32_t l = 1U; l < HAD_LAYERS; l++) {
        if (copy->tracked[l] < 0 || copy->tracked[l] > TRACKED_MAX) {
            return 0U;
        }
    }
#if HAD_BIAS_CORRECTION
    const had_correction *k = &copy->correction;
    if (k->first > k->last || k->last > HAD_MAX_CLASSES || k->alpha < 0 || k->alpha > 16383) {
        return 0U;
    }
#endif
#if HAD_KEEP_PROTOTYPES
    return prototypes_are_valid(copy);
#else
    return 1U;
#endif
}

had_status had_import_end(had_learner *ln) {
    had_import *import = &ln->arena.import;
    uint8_t digest[HAD_SHA256_BYTES];
    if (ln->importing != HAD_IMPORTING_STATE) {
        return HAD_ERR_STATE;
    }
    if (import->received != HAD_STATE_BYTES || header_is_valid(import->header) == 0U) {
        return refuse(ln, HAD_ERR_FORMAT);
    }
    had_sha256_end(&import->sha, digest);
    if (memcmp(digest, import->digest, sizeof digest) != 0) {
        return refuse(ln, HAD_ERR_DIGEST);
    }
    if (had_values_are_valid(ln) == 0U) {
        return refuse(ln, HAD_ERR_FORMAT);
    }
    ln->working.n_classes = had_load_u16(import->header + 28);
    ln->session.active = 0U;
    ln->trained = import->header[6] & HAD_STATE_TRAINED;
    ln->importing = 0U;
    return HAD_OK;
}
