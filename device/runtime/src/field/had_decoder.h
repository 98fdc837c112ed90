/* SPDX-License-Identifier: Apache-2.0 */
/* Payload of a packet, SPEC.md 11.4, into the working copy. */
#ifndef HAD_DECODER_H
#define HAD_DECODER_H

#include "hadapt/packet.h"

/* The working copy must be the base state. */
void had_decoder_begin(had_decoder *d);

/* One byte more. HAD_ERR_FORMAT: malformed; the working copy is then of no meaning. */
HAD_CHECKED had_status had_decoder_feed(had_decoder *d, had_learner *ln, uint8_t byte);

/* There are no more bytes. HAD_ERR_FORMAT: too few, or too many. */
HAD_CHECKED had_status had_decoder_end(had_decoder *d, had_learner *ln);

#endif
