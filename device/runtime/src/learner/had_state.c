/* SPDX-License-Identifier: Apache-2.0 */
/* State hash and export, SPEC.md 8.7 and 9. */
#include "../arithmetic/had_cold.h"

#include "hadapt/state.h"

#include <string.h>

#include "../arithmetic/had_bytes.h"
#include "had_committed.h"
#include "had_fields.h"

#define FORMAT_VERSION 1U
#define FLAGS                                                                                      \
    ((HAD_MASTER_BITS == 16 ? 1U : 0U) | (HAD_KEEP_PROTOTYPES ? 2U : 0U) |                         \
     (HAD_BIAS_CORRECTION ? 8U : 0U))

static had_field layer_field(had_copy *copy, had_master *masters, uint32_t number) {
    const had_layer *layer = &had_layers[number >> 1];
    if ((number & 1U) == 0U) {
        uint32_t bytes = (uint32_t)layer->outputs * layer->inputs * (HAD_MASTER_BITS / 8U);
        return (had_field){masters + layer->master_at, bytes};
    }
    return (had_field){copy->bias + layer->bias_at, 4U * (uint32_t)layer->outputs};
}

static had_field field_of(had_copy *copy, had_master *masters, uint32_t number) {
    if (number == 0U) {
        return (had_field){&copy->step, 4U};
    }
    number -= 1U;
    if (number < 2U * HAD_LAYERS) {
        return layer_field(copy, masters, number);
    }
    if (number == 2U * HAD_LAYERS) {
        return (had_field){copy->tracked + 1, 4U * (HAD_LAYERS - 1U)};
    }
#if HAD_BIAS_CORRECTION
    if (number == 2U * HAD_LAYERS + 1U) {
        return (had_field){&copy->correction, (uint32_t)sizeof copy->correction};
    }
#endif
#if HAD_KEEP_PROTOTYPES
    return (had_field){copy->prototype, (uint32_t)sizeof copy->prototype};
#else
    return (had_field){0, 0U};
#endif
}

had_field had_field_of(const had_learner *source, uint32_t number) {
    had_learner *ln = (had_learner *)(uintptr_t)source;
    return field_of(&ln->working, ln->master, number);
}

#if HAD_COMMITTED_IN_FLASH
void had_read_field(had_reader *reader, const had_learner *source, uint32_t copy, uint32_t number) {
    had_learner *ln = (had_learner *)(uintptr_t)source;
    uint32_t committed = copy == HAD_EXPORT_COMMITTED ? 1U : 0U;
    uint32_t is_master = number > 0U && number <= 2U * HAD_LAYERS ? number & 1U : 0U;
    had_field field = field_of(committed != 0U ? &ln->committed : &ln->working, ln->master, number);
    *reader = (had_reader){field.data, field.bytes, HAD_OK, .learner = ln};
    if (committed != 0U && is_master != 0U) {
        reader->layer = &had_layers[(number - 1U) >> 1];
        reader->left = field.bytes / (HAD_MASTER_BITS / 8U);
        (void)had_read_next(reader);
    }
}

uint32_t had_read_next(had_reader *reader) {
    const had_layer *layer = reader->layer;
    if (layer == 0 || reader->left == 0U || reader->status != HAD_OK) {
        return 0U;
    }
    uint32_t all = (uint32_t)layer->outputs * layer->inputs;
    uint32_t count = sizeof reader->page / sizeof reader->page[0];
    count = reader->left < count ? reader->left : count;
    reader->status =
        had_committed_read(reader->learner, reader->page, layer, all - reader->left, count);
    reader->left -= count;
    reader->data = (const uint8_t *)reader->page;
    reader->bytes = reader->status == HAD_OK ? count * (HAD_MASTER_BITS / 8U) : 0U;
    return reader->bytes;
}
#else
void had_read_field(had_reader *reader, const had_learner *source, uint32_t copy, uint32_t number) {
    had_learner *ln = (had_learner *)(uintptr_t)source;
    had_field field = copy == HAD_EXPORT_COMMITTED
                          ? field_of(&ln->committed, ln->committed_master, number)
                          : field_of(&ln->working, ln->master, number);
    *reader = (had_reader){field.data, field.bytes, HAD_OK};
}

uint32_t had_read_next(had_reader *reader) {
    (void)reader;
    return 0U;
}
#endif

static had_status hash_copy(had_sha256 *sha, const had_learner *ln, uint32_t source) {
    had_status status = HAD_OK;
    for (uint32_t f = 0U; f < HAD_FIELDS && status == HAD_OK; f++) {
        had_reader reader;
        had_read_field(&reader, ln, source, f);
        do {
            had_sha256_update(sha, reader.data, reader.bytes);
        } while (had_read_next(&reader) != 0U);
        status = reader.status;
    }
    return status;
}

static void hash_samples(had_sha256 *sha, const had_exemplars *ex) {
    uint8_t head[3];
    had_store_u16(head, ex->count);
    had_sha256_update(sha, head, 2U);
    for (uint32_t p = 0U; p < ex->count; p++) {
        uint32_t slot = ex->order[p];
        head[0] = ex->label[slot];
        had_store_u16(head + 1, ex->rank[slot]);
        had_sha256_update(sha, head, 3U);
        had_sha256_update(sha, ex->packed[slot], HAD_X0_BYTES);
    }
}

had_status had_state_hash(const had_learner *ln, uint8_t hash[HAD_SHA256_BYTES]) {
    static const uint8_t magic[10] = {'H', 'A', 'D', 'S', 'T', 'A', 'T', 'E', FORMAT_VERSION, 0U};
    had_status status = had_between_steps(ln);
    if (status != HAD_OK) {
        return status;
    }
    uint8_t classes[2];
    had_sha256 sha;
    had_sha256_begin(&sha);
    had_sha256_update(&sha, magic, sizeof magic);
    had_sha256_update(&sha, had_model_id, sizeof had_model_id);
    had_store_u16(classes, ln->working.n_classes);
    had_sha256_update(&sha, classes, 2U);
    status = hash_copy(&sha, ln, HAD_EXPORT_WORKING);
    hash_samples(&sha, &ln->exemplars);
    had_sha256_end(&sha, hash);
    return status;
}

void had_state_header(uint8_t header[HAD_STATE_HEADER_BYTES], uint32_t n_classes,
                      uint32_t trained) {
    static const uint8_t magic[4] = {'H', 'A', 'D', 'S'};
    memcpy(header, magic, sizeof magic);
    had_store_u16(header + 4, FORMAT_VERSION);
    had_store_u16(header + 6, FLAGS | (trained != 0U ? HAD_STATE_TRAINED : 0U));
    memcpy(header + 8, had_model_id, sizeof had_model_id);
    had_store_u32(header + 24, HAD_STATE_PAYLOAD_BYTES);
    had_store_u16(header + 28, n_classes);
    had_store_u16(header + 30, 0U);
}

/* Piece of the export that is being written: [offset, offset + count) of the whole. */
typedef struct had_window {
    uint8_t *dst;
    uint32_t offset;
    uint32_t count;
    uint32_t at; /* place in the export of the part that comes next */
} had_window;

static void put_part(had_window *window, const uint8_t *data, uint32_t bytes) {
    uint32_t start = window->at;
    uint32_t end = start + bytes;
    uint32_t from = start > window->offset ? start : window->offset;
    uint32_t last = window->offset + window->count;
    uint32_t to = end < last ? end : last;
    if (from < to) {
        memcpy(window->dst + (from - window->offset), data + (from - start), to - from);
    }
    window->at = end;
}

static had_status export_digest(const had_learner *ln, uint32_t source, const uint8_t *header,
                                uint8_t *digest) {
    had_sha256 sha;
    had_sha256_begin(&sha);
    had_sha256_update(&sha, header, HAD_STATE_HEADER_BYTES);
    had_status status = hash_copy(&sha, ln, source);
    had_sha256_end(&sha, digest);
    return status;
}

/* The payload, as far as the window shows it. */
static had_status put_payload(had_window *window, const had_learner *ln, uint32_t source) {
    had_status status = HAD_OK;
    for (uint32_t f = 0U; f < HAD_FIELDS && status == HAD_OK; f++) {
        had_reader reader;
        had_read_field(&reader, ln, source, f);
        do {
            put_part(window, reader.data, reader.bytes);
        } while (had_read_next(&reader) != 0U);
        status = reader.status;
    }
    return status;
}

static had_status export_copy(const had_learner *ln, uint32_t source, uint8_t *dst, uint32_t offset,
                              uint32_t count) {
    uint32_t is_working = source == HAD_EXPORT_WORKING ? 1U : 0U;
    const had_copy *copy = is_working != 0U ? &ln->working : &ln->committed;
    uint8_t header[HAD_STATE_HEADER_BYTES];
    uint8_t digest[HAD_SHA256_BYTES];
    had_window window = {dst, offset, count, 0U};
    if (offset > HAD_STATE_BYTES || count > HAD_STATE_BYTES - offset) {
        return HAD_ERR_ARGUMENT;
    }
    had_state_header(header, copy->n_classes, is_working != 0U ? ln->trained : 0U);
    put_part(&window, header, sizeof header);
    had_status status = put_payload(&window, ln, source);
    if (status == HAD_OK && offset + count > window.at) {
        status = export_digest(ln, source, header, digest);
        put_part(&window, digest, sizeof digest);
    }
    return status;
}

had_status had_export(const had_learner *ln, uint8_t *dst, uint32_t offset, uint32_t count,
                      uint32_t source) {
    if (source == HAD_EXPORT_COMMITTED) {
        return export_copy(ln, source, dst, offset, count);
    }
    if (source != HAD_EXPORT_WORKING) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_idle(ln);
    return status != HAD_OK ? status : export_copy(ln, source, dst, offset, count);
}
