/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committed copy, and where its masters are: in RAM, or with HAD_COMMITTED_IN_FLASH in the current slot, in the
 * model's tables, or between a commit and its save in the working copy (SPEC.md 12.5).
 */
#ifndef HAD_COMMITTED_H
#define HAD_COMMITTED_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Working becomes committed. */
void had_committed_take(had_learner *ln);

/* Committed becomes working; if flash cannot be read, ln->unread is set. */
void had_committed_restore(had_learner *ln);

/* Row o of a layer's committed masters, valid until the next call; null if flash cannot be read. */
const had_master *had_committed_row(had_learner *ln, const had_layer *layer, uint32_t o);

/*
 * Exchange the copies, and refresh the view: it then shows what a commit would make current. *at: HAD_AT_WORKING at
 * first, afterwards what has to be given to exchange them back.
 */
void had_committed_swap(had_learner *ln, uint32_t *at);

/* 1: the copies differ. */
uint32_t had_copies_differ(const had_learner *ln);

/* The committed payload lies at this flash address now. */
static inline void had_committed_lies(had_learner *ln, uint32_t at) {
#if HAD_COMMITTED_IN_FLASH
    ln->committed_at = at;
#else
    (void)ln;
    (void)at;
#endif
}

/* HAD_ERR_IO: working masters must not change, for they are the only committed ones, or flash could not be read. */
static inline had_status had_committed_is_kept(const had_learner *ln) {
#if HAD_COMMITTED_IN_FLASH
    return ln->committed_at == HAD_AT_WORKING || ln->unread != 0U ? HAD_ERR_IO : HAD_OK;
#else
    (void)ln;
    return HAD_OK;
#endif
}

/* HAD_ERR_IO: flash could not be read. */
static inline had_status had_committed_was_read(const had_learner *ln) {
#if HAD_COMMITTED_IN_FLASH
    return ln->unread != 0U ? HAD_ERR_IO : HAD_OK;
#else
    (void)ln;
    return HAD_OK;
#endif
}

#if HAD_COMMITTED_IN_FLASH
/* Masters first .. first + count - 1 of a layer of the committed copy. */
HAD_CHECKED had_status had_committed_read(const had_learner *ln, had_master *dst,
                                          const had_layer *layer, uint32_t first, uint32_t count);
#endif

#endif
