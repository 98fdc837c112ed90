/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer targets over every parser of a field device; TARGET chooses one. Each starts from the same device.
 * What a checksum, digest or signature would stop at once is mended first where the first byte is odd, so that
 * the parser behind it sees strange bytes too. What a device accepts it must be able to live with: it then
 * infers, trains, commits, and starts again from flash to the same hash.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arithmetic/had_bytes.h"
#include "field/had_decoder.h"
#include "fuzz_seed.h"
#include "hadapt/node.h"
#include "hadapt/packet.h"
#include "hadapt/state.h"
#include "hadapt/wire.h"
#include "learner/had_fields.h"
#include "port/flash_faults.h"

#define TARGET_PACKET 1
#define TARGET_PAYLOAD 2
#define TARGET_STORE 3
#define TARGET_WIRE 4
#define TARGET_IMPORT 5

#define CELLS (HAD_FLASH_BLOCKS * HAD_FLASH_BLOCK_BYTES)
#define SLOT_BYTES (CELLS / HAD_STORE_SLOTS)
#define BUFFER_BYTES 2048U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static had_learner learner;
static had_node node;
static had_packet packet;
/* The device that every input meets: provisioned, with samples kept and reserved. */
static struct {
    uint32_t ready;
    had_learner learner;
    had_node node;
    uint8_t cells[CELLS];
} first;

had_status had_port_verify(const uint8_t key[HAD_KEY_BYTES],
                           const uint8_t signature[HAD_SIGNATURE_BYTES], const uint8_t *message,
                           uint32_t bytes) {
    (void)key;
    (void)message;
    (void)bytes;
    return (signature[0] & 1U) == 0U ? HAD_OK : HAD_ERR_REFUSED;
}

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static uint8_t *cells(void) {
    uint32_t bytes;
    return had_flash_cells(&bytes);
}

static void make_first(void) {
    const had_guard_limits limits = {900U, 500U, HAD_GUARD_OFF};
    require(had_node_boot(&node, &learner) == HAD_OK);
    require(had_node_provision(&node, seed_identity) == HAD_OK);
    require(had_node_guard_add(&node, seed_sample, 0U) == HAD_OK);
    require(had_node_guard_limits(&node, &limits) == HAD_OK);
    first.learner = learner;
    first.node = node;
    memcpy(first.cells, cells(), CELLS);
    first.ready = 1U;
}

static void start(void) {
    if (first.ready == 0U) {
        make_first();
    }
    learner = first.learner;
    node = first.node;
    memcpy(cells(), first.cells, CELLS);
}

/* Whatever was accepted: use it, keep it, and find it again. */
static void live(void) {
    static const uint8_t raw[2U * HAD_INPUTS] = {0x10, 0x20, 0x7F, 0x80, 0xFF, 0x01};
    const had_fit fit = {1U, 3U};
    const had_train_config config = {.seed = 1U,
                                     .steps = 1U,
                                     .sampling = HAD_SAMPLE_BALANCED,
                                     .rates = 1U,
                                     .distill = 100U,
                                     .soften = 1U,
                                     .rate = {{0U, {20000, -16}}}};
    had_inference result;
    had_train_report report;
    uint8_t before[HAD_SHA256_BYTES];
    uint8_t after[HAD_SHA256_BYTES];
    (void)!had_infer(&learner, &result, raw, HAD_HEAD_LINEAR);
    (void)!had_infer(&learner, &result, raw, HAD_HEAD_NEAREST_MEAN);
    (void)!had_learn(&learner, raw, 0U, 0U);
    if (had_train_begin(&learner, &config) == HAD_OK || had_steps_left(&learner) > 0U) {
        (void)!had_train(&learner, &report, 1U << 16);
    }
    if (had_steps_left(&learner) == 0U) {
        (void)!had_node_commit(&node, &fit);
        (void)!had_infer(&learner, &result, raw, HAD_HEAD_LINEAR);
    }
    if (had_node_checkpoint(&node) == HAD_OK) {
        require(had_state_hash(&learner, before) == HAD_OK);
        require(had_node_boot(&node, &learner) == HAD_OK);
        require(had_state_hash(&learner, after) == HAD_OK);
        require(memcmp(before, after, sizeof before) == 0 && node.reason == HAD_REASON_NONE);
    }
}

static void digest(uint8_t out[HAD_SHA256_BYTES], const uint8_t *data, uint32_t bytes) {
    had_sha256 sha;
    had_sha256_begin(&sha);
    had_sha256_update(&sha, data, bytes);
    had_sha256_end(&sha, out);
}

#if TARGET == TARGET_PACKET
/*
 * Odd: two bytes of length, a manifest, and what follows it, in an envelope whose key id and digest are right;
 * bit 1: the root's key.
 */
static uint32_t wrap(uint8_t *out, uint32_t by_root, const uint8_t *data, uint32_t size) {
    uint32_t manifest = size >= 2U ? had_load_u16(data) : 0U;
    uint32_t at = SEED_AUTH_BYTES;
    data += size >= 2U ? 2U : size;
    size -= size >= 2U ? 2U : size;
    manifest = manifest < size ? manifest : size;
    memcpy(out, seed_auth[by_root], SEED_AUTH_BYTES);
    digest(out + SEED_DIGEST_AT, data, manifest);
    out[at++] = 0x03;
    out[at++] = 0x59;
    out[at++] = (uint8_t)(manifest >> 8);
    out[at++] = (uint8_t)manifest;
    if (manifest < 256U) { /* the shortest head, or it is refused as such */
        at -= 3U;
        if (manifest >= 24U) {
            out[at++] = 0x58;
            out[at++] = (uint8_t)manifest;
        } else {
            out[at++] = (uint8_t)(0x40U | manifest);
        }
    }
    memcpy(out + at, data, size);
    return at + size;
}

static void run(uint32_t flags, const uint8_t *data, uint32_t size) {
    static uint8_t buffer[BUFFER_BYTES];
    uint32_t bytes = size;
    uint8_t before[HAD_SHA256_BYTES];
    uint8_t after[HAD_SHA256_BYTES];
    if ((flags & 1U) != 0U) {
        bytes = wrap(buffer, flags >> 1 & 1U, data, size);
    } else {
        memcpy(buffer, data, size);
    }
    require(had_state_hash(&learner, before) == HAD_OK);
    had_status status = had_packet_begin(&packet, &node, bytes);
    for (uint32_t at = 0U; at < bytes && status == HAD_OK; at += 41U) {
        status = had_packet_data(&packet, &node, buffer + at, bytes - at < 41U ? bytes - at : 41U);
    }
    if (status == HAD_OK) {
        status = had_packet_end(&packet, &node);
    }
    if (status != HAD_OK) {
        require(had_state_hash(&learner, after) == HAD_OK);
        require(memcmp(before, after, sizeof before) == 0);
        require(memcmp(&first.node.trust, &node.trust, sizeof node.trust) == 0);
    } else {
        live();
    }
}
#endif

#if TARGET == TARGET_PAYLOAD
static void run(uint32_t flags, const uint8_t *data, uint32_t size) {
    had_decoder decoder;
    had_status status = HAD_OK;
    (void)flags;
    learner.importing = HAD_IMPORTING_PACKET;
    had_decoder_begin(&decoder);
    for (uint32_t i = 0U; i < size && status == HAD_OK; i++) {
        status = had_decoder_feed(&decoder, &learner, data[i]);
    }
    if (status == HAD_OK) {
        status = had_decoder_end(&decoder, &learner);
    }
    learner.importing = 0U;
    if (status != HAD_OK || had_values_are_valid(&learner) == 0U) {
        had_rollback(&learner);
    } else {
        live();
    }
}
#endif

#if TARGET == TARGET_STORE
static uint32_t crc32(uint32_t crc, const uint8_t *src, uint32_t bytes) {
    crc = ~crc;
    for (uint32_t i = 0U; i < bytes; i++) {
        crc ^= src[i];
        for (uint32_t bit = 0U; bit < 8U; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}

/* A record of the journal with a right check sum. Returns: bytes of the input it took. */
static uint32_t add_record(uint32_t *at, const uint8_t *data, uint32_t size) {
    uint8_t record[4U + 255U + 4U];
    static const uint8_t sequence[4] = {9U, 0U, 0U, 0U};
    uint32_t length = size >= 2U ? data[1] : 0U;
    uint32_t unit = HAD_FLASH_PROGRAM_BYTES;
    if (size < 2U || length > size - 2U) {
        return size;
    }
    uint32_t whole = (4U + length + 4U + unit - 1U) / unit * unit;
    if (*at + whole <= SLOT_BYTES) {
        had_store_u32(record, data[0]);
        had_store_u16(record + 2, length);
        memcpy(record + 4, data + 2, length);
        had_store_u32(record + 4 + length, crc32(crc32(0U, sequence, 4U), record, 4U + length));
        memcpy(cells() + *at, record, 8U + length);
        *at += whole;
    }
    return 2U + length;
}

/* Odd: two bytes of length, a body, records, in a slot whose digest and check sums are right. */
static void write_slot(const uint8_t *data, uint32_t size) {
    uint8_t *slot = cells();
    uint8_t part[BUFFER_BYTES + 32U];
    uint32_t body = size >= 2U ? had_load_u16(data) : 0U;
    data += size >= 2U ? 2U : size;
    size -= size >= 2U ? 2U : size;
    body = body < size ? body : size;
    memset(slot, 0, 64U);
    memcpy(slot, "HADP", 4U);
    slot[4] = 1U;
    slot[8] = 9U;
    had_store_u32(slot + 12, body);
    slot[16] = 3U;
    memcpy(part, data, body);
    memcpy(part + body, slot, 32U);
    digest(slot + 32, part, body + 32U);
    memcpy(slot + 64, data, body);
    uint32_t at = (64U + body + HAD_FLASH_PROGRAM_BYTES - 1U) / HAD_FLASH_PROGRAM_BYTES *
                  HAD_FLASH_PROGRAM_BYTES;
    for (uint32_t used = body; used < size;) {
        used += add_record(&at, data + used, size - used);
    }
}

static void run(uint32_t flags, const uint8_t *data, uint32_t size) {
    memset(cells(), 0xFF, CELLS);
    if ((flags & 1U) != 0U) {
        write_slot(data, size);
    } else {
        memcpy(cells(), data, size);
    }
    require(had_node_boot(&node, &learner) == HAD_OK);
    live();
}
#endif

#if TARGET == TARGET_WIRE
/* Commands one after another: code, length, payload. Budgets are bounded, or one input takes for ever. */
static void run(uint32_t flags, const uint8_t *data, uint32_t size) {
    uint8_t request[256];
    static uint8_t reply[HAD_WIRE_MAX_BYTES];
    uint32_t bytes = 0U;
    (void)flags;
    require(had_wire_boot() == HAD_OK);
    for (uint32_t at = 0U; at + 2U <= size;) {
        uint32_t length = data[at + 1U];
        uint8_t command = data[at];
        length = length < size - at - 2U ? length : size - at - 2U;
        memcpy(request, data + at + 2U, length);
        if (command == 0x06U && length == 4U) {
            had_store_u32(request, had_load_u32(request) & 0x3FFFU);
        }
        had_status status = had_wire_handle(command, request, length, reply, sizeof reply, &bytes);
        require(bytes <= sizeof reply && (status == HAD_OK || bytes == 0U));
        at += 2U + length;
    }
    /* It must still be able to start. */
    require(had_wire_boot() == HAD_OK);
}
#endif

#if TARGET == TARGET_IMPORT
static void run(uint32_t flags, const uint8_t *data, uint32_t size) {
    static uint8_t state[HAD_STATE_BYTES];
    memset(state, 0, sizeof state);
    uint32_t head = HAD_STATE_HEADER_BYTES;
    uint32_t room = HAD_STATE_BYTES;
    if ((flags & 1U) != 0U) { /* flags, classes, payload */
        uint32_t classes = size > 0U ? data[0] : 0U;
        had_state_header(state, classes, classes & 1U);
        uint32_t bytes = size > 1U ? size - 1U : 0U;
        bytes = bytes < HAD_STATE_PAYLOAD_BYTES ? bytes : HAD_STATE_PAYLOAD_BYTES;
        memcpy(state + head, size > 1U ? data + 1 : data, bytes);
        digest(state + HAD_STATE_BYTES - 32U, state, HAD_STATE_BYTES - 32U);
    } else {
        room = size < HAD_STATE_BYTES ? size : HAD_STATE_BYTES;
        memcpy(state, data, room);
    }
    had_status status = had_import_begin(&learner, HAD_STATE_BYTES);
    for (uint32_t at = 0U; at < room && status == HAD_OK; at += 29U) {
        status = had_import_data(&learner, state + at, room - at < 29U ? room - at : 29U);
    }
    if (status == HAD_OK && had_import_end(&learner) == HAD_OK) {
        live();
    }
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0U || size > BUFFER_BYTES / 2U) {
        return 0;
    }
    start();
    run(data[0], data + 1, (uint32_t)size - 1U);
    return 0;
}
