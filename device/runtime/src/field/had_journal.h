/* SPDX-License-Identifier: Apache-2.0 */
/* Journal of a slot, SPEC.md 12.3. */
#ifndef HAD_JOURNAL_H
#define HAD_JOURNAL_H

#include "hadapt/store.h"

#define HAD_CMD_ADD_CLASS 0x04U
#define HAD_CMD_PUT_EXEMPLAR 0x0EU
#define HAD_CMD_LEARN_X0 0x11U
#define HAD_CMD_GUARD_ADD 0x26U

/* Carry out the records of the current slot; sets journal_at. */
HAD_CHECKED had_status had_journal_replay(had_store *store, const had_image *image);

#endif
