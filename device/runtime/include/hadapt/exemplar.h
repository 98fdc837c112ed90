/* SPDX-License-Identifier: Apache-2.0 */
/* Stored samples, SPEC.md 8.1: slots, their canonical order, packing. */
#ifndef HADAPT_EXEMPLAR_H
#define HADAPT_EXEMPLAR_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Free every slot. */
void had_exemplars_clear(had_exemplars *ex);

/* Load the model's exemplars as committed ones. */
void had_exemplars_init(had_exemplars *ex);

/*
 * Stage a packed sample under (label, rank); label < HAD_MAX_CLASSES.
 * HAD_ERR_ARGUMENT: (label, rank) is staged already. HAD_ERR_FULL: no free slot.
 */
HAD_CHECKED had_status had_exemplar_stage(had_exemplars *ex, const uint8_t *packed, uint32_t label,
                                          uint32_t rank);

/* Stage a sample that has just arrived: it gets the next staged rank of its class. */
HAD_CHECKED had_status had_exemplar_arrive(had_exemplars *ex, const uint8_t *packed,
                                           uint32_t label);

/*
 * put_exemplar of SPEC.md 8.3. HAD_ERR_ARGUMENT: label, rank, or values. HAD_ERR_STATE: training under
 * way. HAD_ERR_FULL: no free slot.
 */
HAD_CHECKED had_status had_put_exemplar(had_learner *ln, const uint8_t *packed, uint32_t label,
                                        uint32_t rank);

/* First position in canonical order of (label, rank) or what follows it. */
uint32_t had_exemplar_find(const had_exemplars *ex, uint32_t label, uint32_t rank);

/* Fill class_start from the order. */
void had_exemplar_index(had_exemplars *ex);

#if HAD_DISTILLATION
/*
 * Set what a session draws from: all samples, or those that arrived since the last commit; of all, but
 * what `hold` > 0 holds out, SPEC.md 8.8.
 */
void had_exemplar_part(had_exemplars *ex, uint32_t new_only, uint32_t hold);
#endif

/* Drop committed samples for which a staged one of the same label and rank is there. */
void had_exemplar_drop_replaced(had_exemplars *ex);

/* Take the same samples out of the order only, and put them back where they were. */
void had_exemplar_set_aside(had_exemplars *ex);
void had_exemplar_bring_back(had_exemplars *ex);

/* Drop every staged sample. */
void had_exemplar_drop_staged(had_exemplars *ex);

/* Number of staged samples. */
uint32_t had_exemplar_staged(const had_exemplars *ex);

/* Whether packed bytes hold values that x0 can have. */
uint32_t had_x0_is_valid(const uint8_t *packed);

/* 4-bit values to packed bytes, the first in the low half of a byte, and back. */
void had_x0_pack(uint8_t *packed, const int8_t *x0);
void had_x0_unpack(int8_t *x0, const uint8_t *packed);

/* Clear the rests behind x0, SPEC.md 18.1; nothing without fine inference. */
void had_x0_clear_rests(int8_t *x0);

/* Value i of packed 4-bit integers. */
static inline int8_t had_nibble(const uint8_t *packed, uint32_t i, uint32_t is_signed) {
    int32_t v = (packed[i >> 1] >> (4U * (i & 1U))) & 0xF;
    return (int8_t)(is_signed != 0U ? (v ^ 8) - 8 : v);
}

#endif
