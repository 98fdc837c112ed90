/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over all that is kept (SPEC.md 12.2), to flash or from it: saving and loading cannot differ in
 * order, because they are the same code.
 */
#ifndef HAD_ARCHIVE_H
#define HAD_ARCHIVE_H

#include <stdint.h>

#include "hadapt/sha256.h"
#include "hadapt/store.h"

#define HAD_PAGE_BYTES 64U /* what is programmed at once; every program unit divides it */

enum had_archive_mode { HAD_ARCHIVE_SAVE, HAD_ARCHIVE_LOAD };

typedef struct had_archive {
    uint32_t mode;
    uint32_t at;  /* flash address of the next byte, when loading, or of the page, when saving */
    uint32_t end; /* first address that it may not touch */
    uint32_t unit;
    uint32_t fill;         /* bytes in the page */
    uint32_t committed_at; /* flash address of the committed payload */
    had_status status;
    had_sha256 sha; /* of what was saved */
    uint8_t page[HAD_PAGE_BYTES];
} had_archive;

/* Save or load some bytes; nothing happens after a failure. */
void had_archive_move(had_archive *ar, void *data, uint32_t bytes);

/* Program what is left in the page, filled with 0xFF to a unit. */
void had_archive_flush(had_archive *ar);

/* The body of a slot. Loading: HAD_ERR_FORMAT for values that no learner could have. */
void had_image_move(had_archive *ar, const had_image *image);

#endif
