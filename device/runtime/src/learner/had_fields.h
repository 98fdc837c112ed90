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

/* Field number < HAD_FIELDS of the working copy. Callers with a const learner do not write through it. */
had_field had_field_of(const had_learner *ln, uint32_t number);

#define HAD_READ_BYTES 64U /* of a field that lies in flash, at once */

/* Field of either copy that is read part by part: whole where it lies in memory. */
typedef struct had_reader {
    const uint8_t *data; /* this part */
    uint32_t bytes;
    had_status status;
#if HAD_COMMITTED_IN_FLASH
    const had_learner *learner;
    const had_layer *layer; /* whose masters are read from flash; null: none */
    uint32_t left;          /* masters behind this part */
    had_master page[HAD_READ_BYTES / sizeof(had_master)];
#endif
} had_reader;

/* The first part of field number < HAD_FIELDS; source: enum had_export_source. */
void had_read_field(had_reader *reader, const had_learner *ln, uint32_t source, uint32_t number);

/* The next part, or 0: there is none, or flash could not be read (status). */
uint32_t had_read_next(had_reader *reader);

/* 0 for values of the working copy that no learner could have: they would break the kernels' bounds. */
uint32_t had_values_are_valid(const had_learner *ln);

/* Header of an exported state, SPEC.md 9. */
void had_state_header(uint8_t header[HAD_STATE_HEADER_BYTES], uint32_t n_classes, uint32_t trained);

/* Flag of the header: steps were trained since the last commit. */
#define HAD_STATE_TRAINED 4U

#endif
