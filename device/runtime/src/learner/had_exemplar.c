/* SPDX-License-Identifier: Apache-2.0 */
/* Stored samples, SPEC.md 8.1: one array of slots, and the slots in canonical order. */
#include "../arithmetic/had_cold.h"

#include "hadapt/exemplar.h"

#include <string.h>

uint32_t had_exemplar_find(const had_exemplars *ex, uint32_t label, uint32_t rank) {
    uint32_t low = 0U;
    uint32_t high = ex->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2U;
        uint32_t slot = ex->order[middle];
        uint32_t before =
            ex->label[slot] < label || (ex->label[slot] == label && ex->rank[slot] < rank);
        low = before != 0U ? middle + 1U : low;
        high = before != 0U ? high : middle;
    }
    return low;
}

/* Whether the sample at a position of the order has this label and rank. */
static uint32_t is_at(const had_exemplars *ex, uint32_t position, uint32_t label, uint32_t rank) {
    uint32_t slot = position < ex->count ? ex->order[position] : 0U;
    return position < ex->count && ex->label[slot] == label && ex->rank[slot] == rank;
}

/* There is one: count < HAD_SLOTS. */
static uint32_t free_slot(const had_exemplars *ex) {
    uint32_t slot = ex->hint;
    while (ex->state[slot] != HAD_SLOT_FREE) {
        slot = slot + 1U < HAD_SLOTS ? slot + 1U : 0U;
    }
    return slot;
}

/* Slots from `position` on move up by one. */
static void insert(had_exemplars *ex, uint32_t position, uint32_t slot) {
    memmove(&ex->order[position + 1U], &ex->order[position],
            (ex->count - position) * sizeof ex->order[0]);
    ex->order[position] = (uint16_t)slot;
    ex->count += 1U;
}

had_status had_exemplar_stage(had_exemplars *ex, const uint8_t *packed, uint32_t label,
                              uint32_t rank) {
    uint32_t position = had_exemplar_find(ex, label, rank);
    /* A committed sample of the same rank stays in front until the commit. */
    if (is_at(ex, position, label, rank) != 0U &&
        ex->state[ex->order[position]] == HAD_SLOT_COMMITTED) {
        position++;
    }
    if (is_at(ex, position, label, rank) != 0U) {
        return HAD_ERR_ARGUMENT;
    }
    if (ex->count >= HAD_SLOTS) {
        return HAD_ERR_FULL;
    }
    uint32_t slot = free_slot(ex);
    insert(ex, position, slot);
    for (uint32_t j = 0U; j < HAD_X0_BYTES; j++) {
        ex->packed[slot][j] = packed[j];
    }
    ex->label[slot] = (uint8_t)label;
    ex->rank[slot] = (uint16_t)rank;
    ex->state[slot] = HAD_SLOT_STAGED;
    ex->hint = slot;
    return HAD_OK;
}

had_status had_exemplar_arrive(had_exemplars *ex, const uint8_t *packed, uint32_t label) {
    uint32_t first = had_exemplar_find(ex, label, HAD_RANK_STAGED);
    uint32_t arrived = had_exemplar_find(ex, label + 1U, 0U) - first;
    if (arrived >= HAD_RANK_STAGED) {
        return HAD_ERR_FULL;
    }
    return had_exemplar_stage(ex, packed, label, HAD_RANK_STAGED + arrived);
}

had_status had_put_exemplar(had_learner *ln, const uint8_t *packed, uint32_t label, uint32_t rank) {
    if (label >= ln->working.n_classes || rank >= HAD_RANK_STAGED ||
        had_x0_is_valid(packed) == 0U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_idle(ln);
    return status != HAD_OK ? status : had_exemplar_stage(&ln->exemplars, packed, label, rank);
}

void had_exemplar_index(had_exemplars *ex) {
    for (uint32_t label = 0U; label <= HAD_MAX_CLASSES; label++) {
        ex->class_start[label] = (uint16_t)had_exemplar_find(ex, label, 0U);
    }
}

#if HAD_DISTILLATION
#if HAD_BIAS_CORRECTION
/* Take the last samples of every class away, of each as many as the smallest can spare. */
static void hold_out(had_exemplars *ex, uint32_t hold) {
    uint32_t most = HAD_SLOTS;
    for (uint32_t label = 0U; label < HAD_MAX_CLASSES; label++) {
        uint32_t spare = (uint32_t)ex->part_count[label] >> hold;
        most = ex->part_count[label] > 0U && spare < most ? spare : most;
    }
    most = most > 0U ? most : 1U;
    for (uint32_t label = 0U; label < HAD_MAX_CLASSES; label++) {
        uint32_t samples = ex->part_count[label];
        uint32_t held = samples > most ? most : (samples > 0U ? samples - 1U : 0U);
        ex->part_count[label] = (uint16_t)(samples - held);
        ex->part_total -= held;
    }
}
#endif

void had_exemplar_part(had_exemplars *ex, uint32_t new_only, uint32_t hold) {
    ex->part_total = 0U;
    for (uint32_t label = 0U; label < HAD_MAX_CLASSES; label++) {
        uint32_t rank = new_only != 0U ? HAD_RANK_STAGED : 0U;
        uint32_t start = had_exemplar_find(ex, label, rank);
        uint32_t end = had_exemplar_find(ex, label + 1U, 0U);
        ex->part_start[label] = (uint16_t)start;
        ex->part_count[label] = (uint16_t)(end - start);
        ex->part_total += end - start;
    }
#if HAD_BIAS_CORRECTION
    if (hold > 0U) {
        hold_out(ex, hold);
    }
#endif
    (void)hold;
}
#endif

/* Positions p and p + 1 hold a committed sample and its staged replacement. */
static uint32_t is_replaced(const had_exemplars *ex, uint32_t p) {
    uint32_t slot = ex->order[p];
    return ex->state[slot] == HAD_SLOT_COMMITTED &&
           is_at(ex, p + 1U, ex->label[slot], ex->rank[slot]);
}

static void take_replaced(had_exemplars *ex, uint8_t state) {
    uint32_t kept = 0U;
    for (uint32_t p = 0U; p < ex->count; p++) {
        uint16_t slot = ex->order[p];
        if (is_replaced(ex, p) != 0U) {
            ex->state[slot] = state;
        } else {
            ex->order[kept] = slot;
            kept++;
        }
    }
    ex->count = kept;
}

void had_exemplar_drop_replaced(had_exemplars *ex) {
    take_replaced(ex, HAD_SLOT_FREE);
}

void had_exemplar_set_aside(had_exemplars *ex) {
    take_replaced(ex, HAD_SLOT_ASIDE);
}

void had_exemplar_bring_back(had_exemplars *ex) {
    for (uint32_t slot = 0U; slot < HAD_SLOTS; slot++) {
        if (ex->state[slot] == HAD_SLOT_ASIDE) {
            insert(ex, had_exemplar_find(ex, ex->label[slot], ex->rank[slot]), slot);
            ex->state[slot] = HAD_SLOT_COMMITTED;
        }
    }
}

void had_exemplar_drop_staged(had_exemplars *ex) {
    uint32_t kept = 0U;
    for (uint32_t p = 0U; p < ex->count; p++) {
        uint16_t slot = ex->order[p];
        if (ex->state[slot] == HAD_SLOT_STAGED) {
            ex->state[slot] = HAD_SLOT_FREE;
        } else {
            ex->order[kept] = slot;
            kept++;
        }
    }
    ex->count = kept;
}

uint32_t had_exemplar_staged(const had_exemplars *ex) {
    uint32_t staged = 0U;
    for (uint32_t p = 0U; p < ex->count; p++) {
        staged += ex->state[ex->order[p]] == HAD_SLOT_STAGED ? 1U : 0U;
    }
    return staged;
}

void had_exemplars_clear(had_exemplars *ex) {
    ex->count = 0U;
    ex->hint = 0U;
    for (uint32_t slot = 0U; slot < HAD_SLOTS_ALLOCATED; slot++) {
        ex->state[slot] = HAD_SLOT_FREE;
    }
}

void had_exemplars_init(had_exemplars *ex) {
    had_exemplars_clear(ex);
#if HAD_INITIAL_EXEMPLARS > 0
    for (uint32_t j = 0U; j < HAD_INITIAL_EXEMPLARS; j++) {
        /* The generator has checked the table: there is room, and no pair occurs twice. */
        (void)!had_exemplar_stage(ex, had_exemplar_packed[j], had_exemplar_label[j],
                                  had_exemplar_rank[j]);
    }
    for (uint32_t p = 0U; p < ex->count; p++) {
        ex->state[ex->order[p]] = HAD_SLOT_COMMITTED;
    }
#endif
}

uint32_t had_x0_is_valid(const uint8_t *packed) {
    for (uint32_t i = 0U; i < 2U * HAD_X0_BYTES; i++) {
        int32_t v = had_nibble(packed, i, HAD_X0_SIGNED);
        if (v == -8 || (i >= HAD_X0_SIZE && v != 0)) {
            return 0U;
        }
    }
    return 1U;
}

void had_x0_pack(uint8_t *packed, const int8_t *x0) {
    for (uint32_t i = 0U; i < HAD_X0_SIZE; i += 2U) {
        uint32_t high = i + 1U < HAD_X0_SIZE ? (uint32_t)x0[i + 1U] & 0xFU : 0U;
        packed[i >> 1] = (uint8_t)(((uint32_t)x0[i] & 0xFU) | (high << 4));
    }
}

void had_x0_unpack(int8_t *x0, const uint8_t *packed) {
    for (uint32_t i = 0U; i < HAD_X0_SIZE; i++) {
        x0[i] = had_nibble(packed, i, HAD_X0_SIGNED);
    }
    had_x0_clear_rests(x0);
}

void had_x0_clear_rests(int8_t *x0) {
#ifdef HAD_FINE_INFERENCE
    for (uint32_t i = 0U; i < HAD_X0_SIZE; i++) {
        x0[HAD_X0_SIZE + i] = 0;
    }
#endif
    (void)x0;
}
