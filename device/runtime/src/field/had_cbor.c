/* SPDX-License-Identifier: Apache-2.0 */
/* CBOR items in the deterministic form, RFC 8949 4.2.1. */
#include "../arithmetic/had_cold.h"

#include "had_cbor.h"

#include "hadapt/flash.h"

#if HAD_FIELD

#define INFO_ONE_BYTE 24U
#define INFO_FOUR_BYTES 26U

static void set_fault(had_cursor *c, uint32_t fault) {
    c->fault = c->fault == HAD_CBOR_OK ? fault : c->fault;
}

static uint32_t left(const had_cursor *c) {
    return (uint32_t)(c->end - c->at);
}

static uint32_t next_byte(had_cursor *c) {
    if (c->fault != HAD_CBOR_OK || left(c) == 0U) {
        set_fault(c, HAD_CBOR_MORE);
        return 0U;
    }
    uint32_t value = *c->at;
    c->at++;
    return value;
}

/* A value of 1, 2 or 4 bytes that would not have fitted fewer. */
static uint32_t long_value(had_cursor *c, uint32_t info) {
    static const uint32_t smallest[3] = {24U, 0x100U, 0x10000U};
    uint32_t value = 0U;
    if (info > INFO_FOUR_BYTES) {
        set_fault(c, HAD_CBOR_BAD);
        return 0U;
    }
    for (uint32_t i = 0U; i < 1U << (info - INFO_ONE_BYTE); i++) {
        value = (value << 8) | next_byte(c);
    }
    if (c->fault == HAD_CBOR_OK && value < smallest[info - INFO_ONE_BYTE]) {
        set_fault(c, HAD_CBOR_BAD);
    }
    return c->fault == HAD_CBOR_OK ? value : 0U;
}

uint32_t had_cbor_head(had_cursor *c, uint32_t major) {
    uint32_t first = next_byte(c);
    uint32_t info = first & 0x1FU;
    if (c->fault == HAD_CBOR_OK && first >> 5 != major) {
        set_fault(c, HAD_CBOR_BAD);
    }
    if (c->fault != HAD_CBOR_OK) {
        return 0U;
    }
    return info < INFO_ONE_BYTE ? info : long_value(c, info);
}

void had_cbor_expect(had_cursor *c, uint32_t major, uint32_t value) {
    uint32_t found = had_cbor_head(c, major);
    if (c->fault == HAD_CBOR_OK && found != value) {
        set_fault(c, HAD_CBOR_BAD);
    }
}

void had_cbor_match(had_cursor *c, const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0U; i < count && c->fault == HAD_CBOR_OK; i++) {
        uint32_t found = next_byte(c);
        if (c->fault == HAD_CBOR_OK && found != bytes[i]) {
            set_fault(c, HAD_CBOR_BAD);
        }
    }
}

static const uint8_t *skip(had_cursor *c, uint32_t count) {
    if (c->fault == HAD_CBOR_OK && count > left(c)) {
        set_fault(c, HAD_CBOR_MORE);
    }
    if (c->fault != HAD_CBOR_OK) {
        return 0;
    }
    c->at += count;
    return c->at - count;
}

const uint8_t *had_cbor_bytes(had_cursor *c, uint32_t count) {
    had_cbor_expect(c, HAD_CBOR_BYTES, count);
    return skip(c, count);
}

had_cursor had_cbor_inside(had_cursor *c) {
    uint32_t count = had_cbor_head(c, HAD_CBOR_BYTES);
    const uint8_t *start = skip(c, count);
    if (start == 0) {
        return (had_cursor){c->at, c->at, c->fault};
    }
    return (had_cursor){start, start + count, HAD_CBOR_OK};
}

void had_cbor_end(had_cursor *c) {
    if (c->fault == HAD_CBOR_OK && left(c) != 0U) {
        set_fault(c, HAD_CBOR_BAD);
    }
}

#endif
