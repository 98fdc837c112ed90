/* SPDX-License-Identifier: Apache-2.0 */
/* The CBOR that packets use: definite lengths, shortest heads, no recursion (SPEC.md 11). */
#ifndef HAD_CBOR_H
#define HAD_CBOR_H

#include <stdint.h>

enum had_cbor_major {
    HAD_CBOR_UINT = 0,
    HAD_CBOR_NEGATIVE = 1, /* value v stands for -1 - v */
    HAD_CBOR_BYTES = 2,
    HAD_CBOR_TEXT = 3,
    HAD_CBOR_ARRAY = 4,
    HAD_CBOR_MAP = 5,
    HAD_CBOR_TAG = 6
};

enum had_cbor_fault {
    HAD_CBOR_OK,
    HAD_CBOR_MORE, /* the bytes end before the item does */
    HAD_CBOR_BAD
};

/* A place in bytes. After a fault nothing moves and every value is 0. */
typedef struct had_cursor {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t fault;
} had_cursor;

/* Value of the next head, which must be of this major type. */
uint32_t had_cbor_head(had_cursor *c, uint32_t major);

/* The next head must have exactly this value. */
void had_cbor_expect(had_cursor *c, uint32_t major, uint32_t value);

/* The next bytes must be these. */
void had_cbor_match(had_cursor *c, const uint8_t *bytes, uint32_t count);

/* Byte string of exactly `count` bytes; where it lies, or null after a fault. */
const uint8_t *had_cbor_bytes(had_cursor *c, uint32_t count);

/* A cursor over the content of the next byte string. */
had_cursor had_cbor_inside(had_cursor *c);

/* Nothing may be left. */
void had_cbor_end(had_cursor *c);

#endif
