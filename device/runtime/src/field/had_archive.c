/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to and from flash in pages, and the body of a slot, SPEC.md 12.2. */
#include "../arithmetic/had_cold.h"

#include "had_archive.h"

#if HAD_FIELD

#include <string.h>

#include "../learner/had_committed.h"
#include "../learner/had_fields.h"
#include "hadapt/exemplar.h"
#include "hadapt/infer.h"
#include "hadapt/state.h"

#define FLAG_WORKING 1U
#define FLAG_TRAINED 2U
#define FLAG_SESSION 4U

static void program_page(had_archive *ar, uint32_t bytes) {
    if (ar->status == HAD_OK && bytes > ar->end - ar->at) {
        ar->status = HAD_ERR_SIZE;
    }
    if (ar->status == HAD_OK) {
        ar->status = had_flash_program(ar->at, ar->page, bytes);
    }
    ar->at += bytes;
    ar->fill = 0U;
}

void had_archive_flush(had_archive *ar) {
    uint32_t bytes = (ar->fill + ar->unit - 1U) / ar->unit * ar->unit;
    memset(ar->page + ar->fill, 0xFF, bytes - ar->fill);
    if (bytes > 0U) {
        program_page(ar, bytes);
    }
}

static void save(had_archive *ar, const uint8_t *src, uint32_t bytes) {
    had_sha256_update(&ar->sha, src, bytes);
    while (bytes > 0U && ar->status == HAD_OK) {
        uint32_t room = HAD_PAGE_BYTES - ar->fill;
        uint32_t part = bytes < room ? bytes : room;
        memcpy(ar->page + ar->fill, src, part);
        ar->fill += part;
        src += part;
        bytes -= part;
        if (ar->fill == HAD_PAGE_BYTES) {
            program_page(ar, HAD_PAGE_BYTES);
        }
    }
}

static void load(had_archive *ar, uint8_t *dst, uint32_t bytes) {
    if (ar->status == HAD_OK && bytes > ar->end - ar->at) {
        ar->status = HAD_ERR_FORMAT;
    }
    if (ar->status == HAD_OK) {
        ar->status = had_flash_read(dst, ar->at, bytes);
        ar->at += bytes;
    }
}

void had_archive_move(had_archive *ar, void *data, uint32_t bytes) {
    if (ar->mode == HAD_ARCHIVE_SAVE) {
        save(ar, data, bytes);
    } else {
        load(ar, data, bytes);
    }
}

/* A loaded number beyond its bound is a fault. */
static void require(had_archive *ar, uint32_t holds) {
    if (ar->status == HAD_OK && holds == 0U) {
        ar->status = HAD_ERR_FORMAT;
    }
}

static uint32_t move_u32(had_archive *ar, uint32_t value) {
    had_archive_move(ar, &value, 4U);
    return value;
}

static void save_copy(had_archive *ar, const had_learner *ln, uint32_t source) {
    for (uint32_t f = 0U; f < HAD_FIELDS && ar->status == HAD_OK; f++) {
        had_reader reader;
        had_read_field(&reader, ln, source, f);
        do {
            save(ar, reader.data, reader.bytes);
        } while (had_read_next(&reader) != 0U);
        ar->status = ar->status == HAD_OK ? reader.status : ar->status;
    }
}

/* Either copy is loaded into the working one. */
static void move_copy(had_archive *ar, had_learner *ln, uint32_t source) {
    if (ar->mode == HAD_ARCHIVE_SAVE) {
        save_copy(ar, ln, source);
        return;
    }
    for (uint32_t f = 0U; f < HAD_FIELDS && ar->status == HAD_OK; f++) {
        had_field field = had_field_of(ln, f);
        load(ar, field.data, field.bytes);
    }
    require(ar, had_values_are_valid(ln));
}

/* 1: the model part follows; 0: it is of another model. */
static uint32_t move_model_id(had_archive *ar) {
    uint8_t id[sizeof had_model_id];
    memcpy(id, had_model_id, sizeof id);
    had_archive_move(ar, id, sizeof id);
    return ar->status == HAD_OK && memcmp(id, had_model_id, sizeof id) == 0;
}

static void move_sample(had_archive *ar, had_exemplars *ex, uint32_t slot, uint8_t *packed) {
    uint8_t state = ex->state[slot];
    uint8_t label = ex->label[slot];
    uint16_t rank = ex->rank[slot];
    uint32_t loads = ar->mode == HAD_ARCHIVE_LOAD ? 1U : 0U;
    had_archive_move(ar, &state, 1U);
    had_archive_move(ar, &label, 1U);
    had_archive_move(ar, &rank, 2U);
    had_archive_move(ar, loads != 0U ? packed : ex->packed[slot], HAD_X0_BYTES);
    if (loads == 0U || ar->status != HAD_OK) {
        return;
    }
    require(ar, (state == HAD_SLOT_COMMITTED || state == HAD_SLOT_STAGED) &&
                    label < HAD_MAX_CLASSES && had_x0_is_valid(packed) != 0U &&
                    (state == HAD_SLOT_STAGED || rank < HAD_RANK_STAGED));
    if (ar->status == HAD_OK) {
        ar->status = had_exemplar_stage(ex, packed, label, rank);
    }
    if (ar->status == HAD_OK) {
        ex->state[ex->hint] = state;
    }
}

/* The arena is idle: there is no step under way. */
static void move_samples(had_archive *ar, had_learner *ln) {
    had_exemplars *ex = &ln->exemplars;
    uint32_t count = move_u32(ar, ex->count);
    require(ar, count <= HAD_SLOTS);
    if (ar->mode == HAD_ARCHIVE_LOAD) {
        had_exemplars_clear(ex);
    }
    for (uint32_t p = 0U; p < count && ar->status == HAD_OK; p++) {
        uint32_t slot = ar->mode == HAD_ARCHIVE_SAVE ? ex->order[p] : 0U;
        move_sample(ar, ex, slot, ln->arena.bytes);
    }
}

static void move_guard(had_archive *ar, had_guard *guard) {
    had_archive_move(ar, &guard->limits, sizeof guard->limits);
    guard->count = move_u32(ar, guard->count);
    require(ar, guard->limits.class_drop <= HAD_GUARD_OFF &&
                    guard->limits.mean_drop <= HAD_GUARD_OFF &&
                    guard->limits.new_floor <= HAD_GUARD_OFF && guard->count <= HAD_GUARD_SLOTS);
    for (uint32_t j = 0U; j < guard->count && ar->status == HAD_OK; j++) {
        had_archive_move(ar, &guard->label[j], 1U);
        had_archive_move(ar, guard->packed[j], HAD_X0_BYTES);
        require(ar, guard->label[j] < HAD_MAX_CLASSES && had_x0_is_valid(guard->packed[j]) != 0U);
    }
}

static void move_log(had_archive *ar, had_log *log) {
    log->whole = move_u32(ar, log->whole);
    log->bytes = move_u32(ar, log->bytes);
    log->mark = move_u32(ar, log->mark);
    require(ar, log->whole <= 1U && log->mark <= log->bytes && log->bytes <= HAD_LOG_BYTES);
    had_archive_move(ar, log->base, sizeof log->base);
    if (ar->status == HAD_OK) {
        had_archive_move(ar, log->record, log->bytes);
    }
}

static uint32_t flags_of(const had_learner *ln) {
    return (ln->trained != 0U || had_copies_differ(ln) != 0U ? FLAG_WORKING : 0U) |
           (ln->trained != 0U ? FLAG_TRAINED : 0U) | (ln->session.active != 0U ? FLAG_SESSION : 0U);
}

static void move_copies(had_archive *ar, had_learner *ln, uint32_t flags) {
    uint32_t committed = move_u32(ar, ln->committed.n_classes);
    uint32_t working = move_u32(ar, ln->working.n_classes);
    require(ar, committed >= 1U && committed <= HAD_MAX_CLASSES && working >= 1U &&
                    working <= HAD_MAX_CLASSES);
    ar->committed_at = ar->at + ar->fill;
    move_copy(ar, ln, HAD_EXPORT_COMMITTED);
    if (ar->mode == HAD_ARCHIVE_LOAD) {
        ln->working.n_classes = committed;
        had_committed_take(ln);
        had_committed_lies(ln, ar->committed_at);
        ln->working.n_classes = working;
    }
    if ((flags & FLAG_WORKING) != 0U) {
        move_copy(ar, ln, HAD_EXPORT_WORKING);
    }
}

/* A session, but for what it opens with: targets of distillation are taken anew, and are the same. */
typedef struct had_place {
    had_train_config config;
    uint32_t done;
    uint32_t samples;
    uint32_t correct;
    uint32_t confidence;
} had_place;

_Static_assert(sizeof(had_place) == 92U, "it is stored as it lies in memory");

/* Opening the session anew checks its configuration. */
static void resume(had_archive *ar, had_learner *ln, const had_place *place) {
    had_session *session = &ln->session;
    require(ar, place->done <= place->config.steps);
    session->active = 0U;
    if (ar->status == HAD_OK && had_train_begin(ln, &place->config) != HAD_OK) {
        ar->status = HAD_ERR_FORMAT;
    }
    if (ar->status == HAD_OK) {
        session->done = place->done;
        session->samples = place->samples;
        session->correct = place->correct;
        session->confidence = place->confidence;
    }
}

void had_image_move(had_archive *ar, const had_image *image) {
    had_learner *ln = image->learner;
    const had_session *session = &ln->session;
    had_place place = {session->config, session->done, session->samples, session->correct,
                       session->confidence};
    had_archive_move(ar, image->trust, sizeof *image->trust);
    require(ar, image->trust->provisioned <= 1U);
    if (move_model_id(ar) == 0U) {
        return;
    }
    uint32_t flags = move_u32(ar, flags_of(ln));
    require(ar, flags <= (FLAG_WORKING | FLAG_TRAINED | FLAG_SESSION));
    move_copies(ar, ln, flags);
    if ((flags & FLAG_SESSION) != 0U) {
        had_archive_move(ar, &place, sizeof place);
    }
    move_samples(ar, ln);
    move_guard(ar, image->guard);
    move_log(ar, image->log);
    if (ar->mode == HAD_ARCHIVE_SAVE || ar->status != HAD_OK) {
        return;
    }
    ln->trained = (flags & FLAG_TRAINED) != 0U ? 1U : 0U;
    if ((flags & FLAG_SESSION) != 0U) {
        resume(ar, ln, &place);
    }
    had_view_refresh(ln);
}

#endif
