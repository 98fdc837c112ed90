/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed update packets, SPEC.md 11: read as a stream, judged before anything is written, applied in one
 * step. One packet at a time; while it is open the learner's rules of an open import hold.
 */
#ifndef HADAPT_PACKET_H
#define HADAPT_PACKET_H

#include <stdint.h>

#include "hadapt/node.h"
#include "hadapt/sha256.h"

#define HAD_PACKET_HEAD_BYTES                                                                      \
    536U /* envelope up to the payload: auth and manifest of 512, and heads */

/* Reader of a payload: bits in, changes of the working copy out. */
typedef struct had_decoder {
    uint64_t bits;  /* not yet used, the next one lowest */
    uint32_t count; /* how many */
    uint32_t phase;
    uint32_t field;
    uint32_t rows; /* of the field */
    uint32_t columns;
    uint32_t width; /* bits of a value */
    uint32_t row;
    uint32_t column;
    uint32_t mode;
    uint32_t k;
    uint32_t gap_k;
    uint32_t changes;   /* left in a sparse row */
    uint32_t exemplars; /* left */
    uint32_t label;
    uint32_t rank;
    uint32_t coding; /* of exemplars */
    uint32_t value;  /* of the exemplar */
} had_decoder;

/* A packet that is being read, in all its memory. */
typedef struct had_packet {
    uint32_t phase;
    uint32_t total; /* bytes announced, and seen */
    uint32_t received;
    uint32_t head_bytes;
    uint32_t payload_left;
    uint32_t sequence;
    uint32_t is_key; /* key packet */
    uint32_t size;
    const uint8_t *vendor; /* into head */
    const uint8_t *klass;
    const uint8_t *base;
    const uint8_t *result;
    const uint8_t *digest; /* of the payload */
    const uint8_t *key;
    had_sha256 sha;
    had_decoder decoder;
    uint8_t head[HAD_PACKET_HEAD_BYTES];
} had_packet;

_Static_assert(sizeof(had_packet) <= 1024U, "a packet is read in 1 KB");

/*
 * Begin, data in pieces of any size, end. HAD_ERR_FORMAT, HAD_ERR_REFUSED: the packet is refused,
 * node->reason says why, and the device is as it was. HAD_ERR_STATE: not provisioned, training or import
 * under way, no packet open, or uncommitted learning.
 */
HAD_CHECKED had_status had_packet_begin(had_packet *packet, had_node *node, uint32_t total);
HAD_CHECKED had_status had_packet_data(had_packet *packet, had_node *node, const uint8_t *src,
                                       uint32_t bytes);
HAD_CHECKED had_status had_packet_end(had_packet *packet, had_node *node);

#endif
