/* SPDX-License-Identifier: Apache-2.0 */
/* Networks that grow: blocks of rows for tasks to come, SPEC.md 16. */
#ifndef HADAPT_EXPAND_H
#define HADAPT_EXPAND_H

#include "hadapt/learner.h"

#ifdef HAD_EXPANSIONS
/* g_l of the layers from HAD_EXPANSION_FIRST on; generated. */
extern const had_master had_expansion_draw[HAD_LAYERS - 1U - HAD_EXPANSION_FIRST];

/* Find the session's block, and draw it if it is new. HAD_ERR_FULL: none is left. */
HAD_CHECKED had_status had_expand(had_learner *ln, had_session *session);

/* Clear the mask bits of outputs that do not learn in this session. */
void had_expand_mask(const had_learner *ln, const had_layer *layer, uint8_t *mask);

/* Clear row i of xh if column i does not learn in this session. */
void had_expand_column(const had_learner *ln, const had_layer *layer, int8_t *xh, uint32_t i);
#endif

#endif
