/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network that runs and does not learn, SPEC.md 17: int8 in every tensor, no heap, no state between runs.
 *
 * hadapt_config.h has its sizes, and what the output stands for: real value = HAD_OUTPUT_SCALE_MANTISSA
 * 2^HAD_OUTPUT_SCALE_EXPONENT (output - HAD_OUTPUT_ZERO_POINT). A program without a transport calls
 * had_network_run and leaves port/ and had_network.c out.
 */
#ifndef HADAPT_NETWORK_H
#define HADAPT_NETWORK_H

#include <stdint.h>

#include "hadapt/layer.h"
#include "hadapt_config.h"

/* Working memory of a run; it may be used for anything else between two. */
typedef struct had_network {
    _Alignas(8) uint8_t infer[HAD_INFER_BYTES];
} had_network;

/*
 * Run on one raw sample: HAD_INPUTS int16, little-endian (manifest.json has their grid). Returns HAD_OUTPUTS
 * values, pixel by pixel, channels innermost; they lie in net and stay until it is used again.
 */
const int8_t *had_network_run(had_network *net, const uint8_t *raw);

#endif
