/* SPDX-License-Identifier: Apache-2.0 */
/* Herding, trimming and prototypes, SPEC.md 8.4 and 8.5. */
#ifndef HADAPT_MEMORY_H
#define HADAPT_MEMORY_H

#include <stdint.h>

#include "hadapt/learner.h"

/* Features of every stored sample by the committed network, into the arena. */
void had_features_refresh(had_learner *ln);

/* Packed features of the sample in a slot; had_features_refresh came before. */
const uint8_t *had_features_of(const had_learner *ln, uint32_t slot);

/* Feature j of packed features. */
int32_t had_feature(const uint8_t *packed, uint32_t j);

/* Choose what each class keeps, give ranks, free the rest; nothing is staged afterwards. */
void had_herd_and_trim(had_learner *ln);

#if HAD_KEEP_PROTOTYPES
/* Add one feature vector to the working prototype of a class. */
void had_prototype_add(had_learner *ln, uint32_t label, const int8_t *features);

/* Take all working prototypes anew from the stored samples; had_features_refresh came before. */
void had_prototypes_retake(had_learner *ln);

/* Class of the nearest mean among the committed prototypes. HAD_ERR_STATE: there is none. */
HAD_CHECKED had_status had_prototype_nearest(const had_learner *ln, uint32_t *label,
                                             const int8_t *features);
#endif

#endif
