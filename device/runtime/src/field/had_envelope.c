/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope, COSE_Sign1 and manifest of a packet: one fixed shape, SPEC.md 11.2. */
#include "../arithmetic/had_cold.h"

#include "had_envelope.h"

#if HAD_FIELD

#include <string.h>

#define TAG_ENVELOPE 107U
#define TAG_SIGN1 18U
#define MANIFEST_MAX_BYTES 512U
#define KID_BYTES 8U
#define SHA256_ID 15U  /* -16 */
#define ED25519_ID 18U /* -19 */
#define EDDSA_ID 7U    /* -8 */
#define PARTS_WITH_PAYLOAD 3U
#define DIGEST_CBOR_BYTES 36U

static const uint8_t payload_name[2] = {'#', 'w'};

/* Up to the payload's bytes, or to the end where there is none. */
static had_cursor scan(const had_packet *packet, had_cursor *auth, had_cursor *manifest,
                       uint32_t *payload_bytes) {
    had_cursor c = {packet->head, packet->head + packet->head_bytes, HAD_CBOR_OK};
    had_cbor_expect(&c, HAD_CBOR_TAG, TAG_ENVELOPE);
    uint32_t parts = had_cbor_head(&c, HAD_CBOR_MAP);
    had_cbor_expect(&c, HAD_CBOR_UINT, 2U);
    *auth = had_cbor_inside(&c);
    had_cbor_expect(&c, HAD_CBOR_UINT, 3U);
    *manifest = had_cbor_inside(&c);
    *payload_bytes = 0U;
    if (c.fault == HAD_CBOR_OK && parts == PARTS_WITH_PAYLOAD) {
        had_cbor_expect(&c, HAD_CBOR_TEXT, sizeof payload_name);
        had_cbor_match(&c, payload_name, sizeof payload_name);
        *payload_bytes = had_cbor_head(&c, HAD_CBOR_BYTES);
    } else if (c.fault == HAD_CBOR_OK && parts != 2U) {
        c.fault = HAD_CBOR_BAD;
    }
    return c;
}

uint32_t had_envelope_scan(const had_packet *packet, uint32_t *payload_bytes) {
    had_cursor auth;
    had_cursor manifest;
    had_cursor c = scan(packet, &auth, &manifest, payload_bytes);
    if (c.fault == HAD_CBOR_OK &&
        (uint32_t)((auth.end - auth.at) + (manifest.end - manifest.at)) > MANIFEST_MAX_BYTES) {
        return HAD_CBOR_BAD;
    }
    return c.fault;
}

/* bstr([-16, bstr of 32]): where the 32 bytes are. */
static const uint8_t *digest_item(had_cursor *c) {
    had_cursor inner = had_cbor_inside(c);
    had_cbor_expect(&inner, HAD_CBOR_ARRAY, 2U);
    had_cbor_expect(&inner, HAD_CBOR_NEGATIVE, SHA256_ID);
    const uint8_t *digest = had_cbor_bytes(&inner, HAD_SHA256_BYTES);
    had_cbor_end(&inner);
    c->fault = c->fault == HAD_CBOR_OK ? inner.fault : c->fault;
    return digest;
}

typedef struct auth_parts {
    const uint8_t *digest; /* of the manifest */
    had_cursor protected_header;
    const uint8_t *kid;
    const uint8_t *signature;
} auth_parts;

static uint32_t read_auth(had_cursor c, auth_parts *parts) {
    had_cbor_expect(&c, HAD_CBOR_ARRAY, 2U);
    parts->digest = digest_item(&c);
    had_cursor block = had_cbor_inside(&c);
    had_cbor_end(&c);
    had_cbor_expect(&block, HAD_CBOR_TAG, TAG_SIGN1);
    had_cbor_expect(&block, HAD_CBOR_ARRAY, 4U);
    parts->protected_header = had_cbor_inside(&block);
    had_cbor_expect(&block, HAD_CBOR_MAP, 0U);
    had_cbor_match(&block, (const uint8_t[]){0xF6U}, 1U); /* nil: the payload is detached */
    parts->signature = had_cbor_bytes(&block, HAD_SIGNATURE_BYTES);
    had_cbor_end(&block);
    had_cursor header = parts->protected_header;
    had_cbor_expect(&header, HAD_CBOR_MAP, 2U);
    had_cbor_expect(&header, HAD_CBOR_UINT, 1U);
    uint32_t algorithm = had_cbor_head(&header, HAD_CBOR_NEGATIVE);
    had_cbor_expect(&header, HAD_CBOR_UINT, 4U);
    parts->kid = had_cbor_bytes(&header, KID_BYTES);
    had_cbor_end(&header);
    return c.fault == HAD_CBOR_OK && block.fault == HAD_CBOR_OK && header.fault == HAD_CBOR_OK &&
           (algorithm == ED25519_ID || algorithm == EDDSA_ID);
}

/* ["Signature1", bstr(protected), h'', bstr([-16, digest])] and its signature. */
static uint32_t signature_is_valid(const auth_parts *parts, const uint8_t *key) {
    static const uint8_t start[12] = {0x84, 0x6A, 'S', 'i', 'g', 'n', 'a', 't', 'u', 'r', 'e', '1'};
    static const uint8_t middle[7] = {0x40, 0x58, DIGEST_CBOR_BYTES, 0x82, 0x2F, 0x58, 0x20};
    uint8_t message[sizeof start + 1U + 13U + sizeof middle + HAD_SHA256_BYTES];
    uint32_t header = (uint32_t)(parts->protected_header.end - parts->protected_header.at);
    uint8_t *at = message;
    memcpy(at, start, sizeof start);
    at += sizeof start;
    *at++ = (uint8_t)(0x40U | header); /* 13 bytes at most: the form is fixed */
    memcpy(at, parts->protected_header.at, header);
    at += header;
    memcpy(at, middle, sizeof middle);
    at += sizeof middle;
    memcpy(at, parts->digest, HAD_SHA256_BYTES);
    at += HAD_SHA256_BYTES;
    return had_port_verify(key, parts->signature, message, (uint32_t)(at - message)) == HAD_OK;
}

static uint32_t is_kid_of(const uint8_t *kid, const uint8_t *key) {
    uint8_t digest[HAD_SHA256_BYTES];
    had_sha256 sha;
    had_sha256_begin(&sha);
    had_sha256_update(&sha, key, HAD_KEY_BYTES);
    had_sha256_end(&sha, digest);
    return memcmp(kid, digest, KID_BYTES) == 0;
}

static uint32_t digest_is_of(const uint8_t *digest, const had_cursor *manifest) {
    uint8_t actual[HAD_SHA256_BYTES];
    had_sha256 sha;
    had_sha256_begin(&sha);
    had_sha256_update(&sha, manifest->at, (uint32_t)(manifest->end - manifest->at));
    had_sha256_end(&sha, actual);
    return memcmp(digest, actual, sizeof actual) == 0;
}

static void read_parameters(had_cursor *c, had_packet *packet) {
    had_cbor_expect(c, HAD_CBOR_MAP, packet->is_key != 0U ? 3U : 6U);
    had_cbor_expect(c, HAD_CBOR_UINT, 1U);
    packet->vendor = had_cbor_bytes(c, HAD_UUID_BYTES);
    had_cbor_expect(c, HAD_CBOR_UINT, 2U);
    packet->klass = had_cbor_bytes(c, HAD_UUID_BYTES);
    if (packet->is_key != 0U) {
        had_cbor_expect(c, HAD_CBOR_NEGATIVE, 2U);
        packet->key = had_cbor_bytes(c, HAD_KEY_BYTES);
        return;
    }
    had_cbor_expect(c, HAD_CBOR_UINT, 3U);
    packet->result = digest_item(c);
    had_cbor_expect(c, HAD_CBOR_UINT, 14U);
    packet->size = had_cbor_head(c, HAD_CBOR_UINT);
    had_cbor_expect(c, HAD_CBOR_NEGATIVE, 0U);
    packet->base = digest_item(c);
    had_cbor_expect(c, HAD_CBOR_NEGATIVE, 1U);
    packet->digest = digest_item(c);
}

/* {2: [[component]], 4: bstr([20, {parameters}, 1, 15, 2, 15])} */
static uint32_t read_common(had_cursor c, had_packet *packet) {
    static const uint8_t conditions[4] = {0x01, 0x0F, 0x02, 0x0F};
    const uint8_t component = packet->is_key != 0U ? (uint8_t)'k' : (uint8_t)'w';
    had_cbor_match(&c, (const uint8_t[]){0xA2, 0x02, 0x81, 0x81, 0x41, component, 0x04}, 7U);
    had_cursor shared = had_cbor_inside(&c);
    had_cbor_end(&c);
    had_cbor_match(&shared, (const uint8_t[]){0x86, 0x14}, 2U);
    read_parameters(&shared, packet);
    had_cbor_match(&shared, conditions, sizeof conditions);
    had_cbor_end(&shared);
    return c.fault == HAD_CBOR_OK && shared.fault == HAD_CBOR_OK;
}

static uint32_t read_manifest(had_cursor c, had_packet *packet) {
    /* 7: bstr([3, 15]), 20: bstr([20, {21: "#w"}, 21, 15, 3, 15]) */
    static const uint8_t commands[18] = {0x07, 0x43, 0x82, 0x03, 0x0F, 0x14, 0x4B, 0x86, 0x14,
                                         0xA1, 0x15, 0x62, '#',  'w',  0x15, 0x0F, 0x03, 0x0F};
    had_cbor_expect(&c, HAD_CBOR_MAP, packet->is_key != 0U ? 3U : 5U);
    had_cbor_match(&c, (const uint8_t[]){0x01, 0x01, 0x02}, 3U);
    packet->sequence = had_cbor_head(&c, HAD_CBOR_UINT);
    had_cbor_expect(&c, HAD_CBOR_UINT, 3U);
    uint32_t sound = read_common(had_cbor_inside(&c), packet);
    if (packet->is_key == 0U) {
        had_cbor_match(&c, commands, sizeof commands);
    }
    had_cbor_end(&c);
    return sound != 0U && c.fault == HAD_CBOR_OK && packet->sequence >= 1U;
}

uint32_t had_envelope_verify(had_packet *packet, const had_trust *trust) {
    had_cursor auth;
    had_cursor manifest;
    auth_parts parts;
    uint32_t payload_bytes;
    (void)scan(packet, &auth, &manifest, &payload_bytes);
    if (read_auth(auth, &parts) == 0U) {
        return HAD_REASON_FORM;
    }
    uint32_t by_root = is_kid_of(parts.kid, trust->root);
    if (by_root == 0U && is_kid_of(parts.kid, trust->release) == 0U) {
        return HAD_REASON_KEY_ID;
    }
    if (digest_is_of(parts.digest, &manifest) == 0U) {
        return HAD_REASON_MANIFEST_DIGEST;
    }
    if (signature_is_valid(&parts, by_root != 0U ? trust->root : trust->release) == 0U) {
        return HAD_REASON_SIGNATURE;
    }
    packet->is_key = by_root;
    uint32_t kinds_agree = (payload_bytes == 0U) == (by_root != 0U);
    return kinds_agree != 0U && read_manifest(manifest, packet) != 0U ? HAD_REASON_NONE
                                                                      : HAD_REASON_MANIFEST;
}

#endif
