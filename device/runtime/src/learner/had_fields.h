/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of a state copy in the order of SPEC.md 8.7, as they are hashed, exported and imported. */
#ifndef HAD_FIELDS_H
#define HAD_FIELDS_H

#include <stdint.h>

#include "hadapt/learner.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "State fields are taken as they lie in memory: a little-endian core is required."
#endif

/* step; masters and biases per layer; tracked ranges; correction; prototypes (n_c is stored as int16, <= 255). */
#define HAD_FIELDS (1U + 2U * HAD_LAYERS + 1U + HAD_BIAS_CORRECTION + HAD_KEEP_PROTOTYPES)

typedef struct had_field {
    void *data;
    uint32_t bytes;
} had_field;

/* Field number < HAD_FIELDS of a copy. Callers with a const copy do not write through it. */
had_field had_field_of(const had_copy *copy, uint32_t number);

/* 0 for values that no learner could have: they would break the kernels' bounds. */
uint32_t had_values_are_valid(const had_copy *copy);

/* Header of an exported state, SPEC.md 9. */
void had_state_header(uint8_t header[HAD_STATE_HEADER_BYTES], uint32_t n_classes, uint32_t trained);

/* Flag of the header: steps were trained since the last commit. */
#define HAD_STATE_TRAINED 4U

#endif
