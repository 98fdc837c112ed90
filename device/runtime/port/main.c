/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command loop: read a request, let the learner handle it, write the reply.
 *
 * Request: u8 command, u8 0, u16 0, u32 length, payload. Reply: i8 status, u8 command, u16 0,
 * u32 length, payload. Little-endian. Command 0x7F ends the program; so does the end of the input.
 * A payload that is too long is read and dropped, so the stream stays in step.
 */
#include <stdint.h>

#include "hadapt/port.h"
#include "hadapt/wire.h"
#include "hadapt_config.h"

#define HEADER_BYTES 8U
#define COMMAND_EXIT 0x7FU
#define EXIT_INPUT_CUT 2
#define EXIT_BOOT_FAILED 121

#ifndef HAD_WIRE_REQUEST_BYTES
#define HAD_WIRE_REQUEST_BYTES HAD_WIRE_MAX_BYTES
#endif
#ifndef HAD_WIRE_REPLY_BYTES
#define HAD_WIRE_REPLY_BYTES HAD_WIRE_MAX_BYTES
#endif

_Static_assert(HAD_WIRE_REQUEST_BYTES >= HEADER_BYTES, "requests need room");
_Static_assert(HAD_WIRE_REPLY_BYTES >= HEADER_BYTES, "replies need room");

typedef struct request {
    uint8_t command;
    had_status status; /* HAD_OK while the request is sound */
    uint32_t length;
} request;

/* Word aligned, so that handlers may read aligned words at aligned offsets. */
static _Alignas(8) uint8_t request_bytes[HAD_WIRE_REQUEST_BYTES];
static _Alignas(8) uint8_t reply_bytes[HAD_WIRE_REPLY_BYTES];

static uint32_t load_u32(const uint8_t src[4]) {
    return (uint32_t)src[0] | ((uint32_t)src[1] << 8) | ((uint32_t)src[2] << 16) |
           ((uint32_t)src[3] << 24);
}

static void store_u32(uint8_t dst[4], uint32_t value) {
    dst[0] = (uint8_t)(value & 0xFFU);
    dst[1] = (uint8_t)((value >> 8) & 0xFFU);
    dst[2] = (uint8_t)((value >> 16) & 0xFFU);
    dst[3] = (uint8_t)((value >> 24) & 0xFFU);
}

HAD_CHECKED static had_status drain(uint32_t n) {
    while (n > 0U) {
        uint32_t part = n < HAD_WIRE_REQUEST_BYTES ? n : HAD_WIRE_REQUEST_BYTES;
        had_status status = had_port_read(request_bytes, part);
        if (status != HAD_OK) {
            return status;
        }
        n -= part;
    }
    return HAD_OK;
}

HAD_CHECKED static had_status read_payload(request *req) {
    if (req->length > HAD_WIRE_REQUEST_BYTES) {
        req->status = HAD_ERR_SIZE;
        return drain(req->length);
    }
    return req->length > 0U ? had_port_read(request_bytes, req->length) : HAD_OK;
}

HAD_CHECKED static had_status reply(const request *req, uint32_t length) {
    uint8_t header[HEADER_BYTES] = {0};
    header[0] = (uint8_t)((uint32_t)req->status & 0xFFU);
    header[1] = req->command;
    store_u32(&header[4], length);
    had_status status = had_port_write(header, HEADER_BYTES);
    if (status == HAD_OK && length > 0U) {
        status = had_port_write(reply_bytes, length);
    }
    return status == HAD_OK ? had_port_flush() : status;
}

static uint32_t handle(request *req) {
    uint32_t length = 0U;
    had_port_mark_begin();
    req->status = had_wire_handle(req->command, request_bytes, req->length, reply_bytes,
                                  HAD_WIRE_REPLY_BYTES, &length);
    had_port_mark_end();
    if (length > HAD_WIRE_REPLY_BYTES) {
        req->status = HAD_ERR_SIZE;
    }
    return req->status == HAD_OK ? length : 0U;
}

/* One request from header to reply. Ends the program when asked to or when the input ends. */
static void serve_one(void) {
    uint8_t header[HEADER_BYTES];
    if (had_port_read(header, HEADER_BYTES) != HAD_OK) {
        had_port_exit(0);
    }
    request req = {.command = header[0], .status = HAD_OK, .length = load_u32(&header[4])};
    if (header[1] != 0U || header[2] != 0U || header[3] != 0U) {
        req.status = HAD_ERR_FORMAT;
    }
    if (read_payload(&req) != HAD_OK) {
        had_port_exit(EXIT_INPUT_CUT);
    }
    uint32_t length = 0U;
    if (req.status == HAD_OK && req.command != COMMAND_EXIT) {
        length = handle(&req);
    }
    if (reply(&req, length) != HAD_OK) {
        had_port_exit(EXIT_INPUT_CUT);
    }
    if (req.status == HAD_OK && req.command == COMMAND_EXIT) {
        had_port_exit(0);
    }
}

int main(void) {
    if (had_port_open() != HAD_OK || had_wire_boot() != HAD_OK) {
        had_port_exit(EXIT_BOOT_FAILED);
    }
    for (;;) {
        serve_one();
    }
}
