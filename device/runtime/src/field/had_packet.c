/* SPDX-License-Identifier: Apache-2.0 */
/* Update packets, SPEC.md 11.3: every check in its order, and what follows when all hold. */
#include "../arithmetic/had_cold.h"

#include "hadapt/packet.h"

#if HAD_FIELD

#include <string.h>

#include "../learner/had_committed.h"
#include "../learner/had_fields.h"
#include "had_decoder.h"
#include "had_envelope.h"
#include "hadapt/exemplar.h"
#include "hadapt/state.h"

enum phase { PHASE_CLOSED, PHASE_HEAD, PHASE_PAYLOAD, PHASE_WHOLE };

/* Form faults have a status of their own. */
static had_status status_of(uint32_t reason) {
    switch (reason) {
    case HAD_REASON_FORM:
    case HAD_REASON_MANIFEST:
    case HAD_REASON_PAYLOAD:
    case HAD_REASON_LENGTH:
        return HAD_ERR_FORMAT;
    case HAD_REASON_UNCOMMITTED:
        return HAD_ERR_STATE;
    default:
        return HAD_ERR_REFUSED;
    }
}

/* Once the payload has begun, the working copy and staged exemplars are the packet's. */
static had_status refuse(had_packet *packet, had_node *node, uint32_t reason) {
    if (packet->phase >= PHASE_PAYLOAD && packet->is_key == 0U) {
        had_rollback(node->learner);
    }
    node->learner->importing = 0U;
    node->reason = reason;
    packet->phase = PHASE_CLOSED;
    return status_of(reason);
}

had_status had_packet_begin(had_packet *packet, had_node *node, uint32_t total) {
    had_learner *ln = node->learner;
    had_status idle = node->trust.provisioned == 0U ? HAD_ERR_STATE : had_idle(ln);
    idle = idle == HAD_OK ? had_committed_is_kept(ln) : idle;
    if (idle != HAD_OK) {
        return idle;
    }
    *packet = (had_packet){.phase = PHASE_HEAD, .total = total};
    ln->importing = HAD_IMPORTING_PACKET;
    node->reason = HAD_REASON_NONE;
    return HAD_OK;
}

/* The range is inside of the export, and there is no session: only flash that holds the committed copy can fail. */
static uint32_t has_digest(had_learner *ln, const uint8_t *expected, uint32_t source) {
    uint8_t digest[HAD_SHA256_BYTES];
    uint32_t importing = ln->importing;
    ln->importing = 0U;
    had_status status =
        had_export(ln, digest, HAD_STATE_BYTES - HAD_SHA256_BYTES, HAD_SHA256_BYTES, source);
    ln->importing = importing;
    return status == HAD_OK && memcmp(digest, expected, sizeof digest) == 0 ? 1U : 0U;
}

/* Checks 6 to 9 of SPEC.md 11.3. */
static uint32_t judge_manifest(const had_packet *packet, had_node *node) {
    had_learner *ln = node->learner;
    const had_trust *trust = &node->trust;
    if (memcmp(packet->vendor, trust->vendor, sizeof trust->vendor) != 0) {
        return HAD_REASON_VENDOR;
    }
    if (memcmp(packet->klass, trust->klass, sizeof trust->klass) != 0) {
        return HAD_REASON_CLASS;
    }
    if (packet->sequence <= trust->sequence) {
        return HAD_REASON_SEQUENCE;
    }
    if (packet->is_key != 0U) {
        /* One key for both would be taken for the root's, and no update could follow. */
        return memcmp(packet->key, trust->root, sizeof trust->root) == 0 ? HAD_REASON_MANIFEST
                                                                         : HAD_REASON_NONE;
    }
    if (packet->size != HAD_STATE_BYTES - HAD_SHA256_BYTES ||
        has_digest(ln, packet->base, HAD_EXPORT_COMMITTED) == 0U) {
        return HAD_REASON_BASE;
    }
    if (ln->trained != 0U || had_exemplar_staged(&ln->exemplars) != 0U ||
        has_digest(ln, packet->base, HAD_EXPORT_WORKING) == 0U) {
        return HAD_REASON_UNCOMMITTED;
    }
    return HAD_REASON_NONE;
}

/* One more byte of what comes before the payload. */
static uint32_t head_byte(had_packet *packet, had_node *node, uint8_t byte) {
    if (packet->head_bytes == sizeof packet->head) {
        return HAD_REASON_FORM;
    }
    packet->head[packet->head_bytes] = byte;
    packet->head_bytes += 1U;
    uint32_t payload = 0U;
    uint32_t fault = had_envelope_scan(packet, &payload);
    if (fault == HAD_CBOR_MORE) {
        return HAD_REASON_NONE;
    }
    if (fault != HAD_CBOR_OK) {
        return HAD_REASON_FORM;
    }
    if (payload != packet->total - packet->head_bytes || packet->total < packet->head_bytes) {
        return HAD_REASON_LENGTH;
    }
    uint32_t reason = had_envelope_verify(packet, &node->trust);
    reason = reason == HAD_REASON_NONE ? judge_manifest(packet, node) : reason;
    if (reason == HAD_REASON_NONE) {
        packet->payload_left = payload;
        packet->phase = payload > 0U ? PHASE_PAYLOAD : PHASE_WHOLE;
        had_sha256_begin(&packet->sha);
        had_decoder_begin(&packet->decoder);
    }
    return reason;
}

static uint32_t payload_byte(had_packet *packet, had_node *node, const uint8_t *byte) {
    had_sha256_update(&packet->sha, byte, 1U);
    packet->payload_left -= 1U;
    if (packet->payload_left == 0U) {
        packet->phase = PHASE_WHOLE;
    }
    return had_decoder_feed(&packet->decoder, node->learner, *byte) == HAD_OK ? HAD_REASON_NONE
                                                                              : HAD_REASON_PAYLOAD;
}

had_status had_packet_data(had_packet *packet, had_node *node, const uint8_t *src, uint32_t bytes) {
    if (packet->phase == PHASE_CLOSED || node->learner->importing != HAD_IMPORTING_PACKET) {
        return HAD_ERR_STATE;
    }
    for (uint32_t i = 0U; i < bytes; i++) {
        uint32_t reason = HAD_REASON_LENGTH;
        packet->received += 1U;
        if (packet->received <= packet->total && packet->phase == PHASE_HEAD) {
            reason = head_byte(packet, node, src[i]);
        } else if (packet->received <= packet->total && packet->phase == PHASE_PAYLOAD) {
            reason = payload_byte(packet, node, src + i);
        }
        if (reason != HAD_REASON_NONE) {
            return refuse(packet, node, reason);
        }
    }
    return HAD_OK;
}

/* Checks 11 to 14. */
static uint32_t judge_result(had_packet *packet, had_node *node) {
    had_learner *ln = node->learner;
    uint8_t digest[HAD_SHA256_BYTES];
    uint32_t reason;
    had_sha256_end(&packet->sha, digest);
    if (memcmp(digest, packet->digest, sizeof digest) != 0) {
        return HAD_REASON_PAYLOAD_DIGEST;
    }
    if (had_decoder_end(&packet->decoder, ln) != HAD_OK) {
        return HAD_REASON_PAYLOAD;
    }
    if (has_digest(ln, packet->result, HAD_EXPORT_WORKING) == 0U) {
        return HAD_REASON_RESULT;
    }
    if (had_values_are_valid(ln) == 0U) {
        return HAD_REASON_VALUES;
    }
    ln->importing = 0U;
    const had_fit none = {0U, 0U};
    /* If flash cannot be read there is no reason either: the commit then fails. */
    return had_guard_check(&node->guard, ln, &none, &reason) == HAD_OK ? HAD_REASON_NONE : reason;
}

static had_status accept_key(const had_packet *packet, had_node *node) {
    memcpy(node->trust.release, packet->key, sizeof node->trust.release);
    node->learner->importing = 0U;
    return HAD_OK;
}

had_status had_packet_end(had_packet *packet, had_node *node) {
    if (packet->phase == PHASE_CLOSED || node->learner->importing != HAD_IMPORTING_PACKET) {
        return HAD_ERR_STATE;
    }
    if (packet->phase != PHASE_WHOLE || packet->received != packet->total) {
        return refuse(packet, node, HAD_REASON_LENGTH);
    }
    had_status status;
    if (packet->is_key != 0U) {
        status = accept_key(packet, node);
    } else {
        uint32_t reason = judge_result(packet, node);
        if (reason != HAD_REASON_NONE) {
            return refuse(packet, node, reason);
        }
        status = had_commit(node->learner);
        if (status == HAD_OK) {
            status = had_log_restart(&node->log, node->learner);
        }
    }
    packet->phase = PHASE_CLOSED;
    if (status == HAD_OK) {
        node->trust.sequence = packet->sequence;
        status = had_node_checkpoint(node);
    }
    return status;
}

#endif
