/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of a field device, SPEC.md 13.3. */
#include "../arithmetic/had_cold.h"

#include "had_wire_field.h"

#if HAD_FIELD

#include <string.h>

#include "../arithmetic/had_bytes.h"
#include "had_journal.h"
#include "hadapt/exemplar.h"
#include "hadapt/node.h"
#include "hadapt/packet.h"
#include "hadapt/plan.h"
#include "hadapt/state.h"

#define CMD_LEARN 0x03U
#define INFO_WORDS 12U
#define ANY UINT32_MAX

enum had_field_command {
    CMD_FIELD_INFO = 0x20,
    CMD_CHECKPOINT = 0x21,
    CMD_PROVISION = 0x22,
    CMD_PACKET_BEGIN = 0x23,
    CMD_PACKET_DATA = 0x24,
    CMD_PACKET_END = 0x25,
    CMD_GUARD_ADD = 0x26,
    CMD_GUARD_LIMITS = 0x27,
    CMD_REBOOT = 0x28,
    CMD_LOG = 0x29,
    CMD_LOG_RESTART = 0x2A
};

/* The one device of this program. */
static had_node node;
static had_packet packet;

/* What the command under way will have to keep. */
static struct {
    uint8_t command; /* 0: nothing */
    uint32_t bytes;
    uint8_t payload[HAD_RECORD_BYTES];
} pending;

had_status had_field_boot(had_learner *ln) {
    packet = (had_packet){0};
    return had_node_boot(&node, ln);
}

had_status had_field_commit(had_learner *ln) {
    (void)ln;
    const had_fit none = {0U, 0U};
    return had_node_commit(&node, &none);
}

had_status had_field_commit_corrected(had_learner *ln, const uint8_t fit[2]) {
    (void)ln;
    if (fit[0] == 0U || fit[1] == 0U) {
        return HAD_ERR_ARGUMENT;
    }
    const had_fit wanted = {fit[0], fit[1]};
    return had_node_commit(&node, &wanted);
}

void had_field_before(had_learner *ln, uint8_t command, const uint8_t *req, uint32_t length) {
    pending.command = command;
    pending.bytes = length < HAD_RECORD_BYTES ? length : HAD_RECORD_BYTES;
    if (command == CMD_LEARN) { /* kept as x0: smaller, and the same bits */
        pending.command = HAD_CMD_LEARN_X0;
        pending.bytes = 2U + HAD_X0_BYTES;
        had_plan_x0(ln, req + 2);
        memcpy(pending.payload, req, 2U);
        had_x0_pack(pending.payload + 2, had_plan_at_x0(ln));
    } else if (pending.bytes > 0U) {
        memcpy(pending.payload, req, pending.bytes);
    }
}

had_status had_field_after(void) {
    return had_node_record(&node, pending.command, pending.payload, pending.bytes);
}

typedef struct had_answer {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t *length;
} had_answer;

static had_status answer_hash(const had_answer *out, had_status status) {
    if (status != HAD_OK || out->capacity < HAD_SHA256_BYTES) {
        return status != HAD_OK ? status : HAD_ERR_SIZE;
    }
    *out->length = HAD_SHA256_BYTES;
    return had_state_hash(node.learner, out->bytes);
}

static uint32_t largest_wear(void) {
    uint32_t largest = 0U;
    for (uint32_t i = 0U; i < HAD_STORE_SLOTS; i++) {
        largest = node.store.wear[i] > largest ? node.store.wear[i] : largest;
    }
    return largest;
}

static had_status handle_info(const had_answer *out) {
    const uint32_t words[INFO_WORDS] = {
        node.trust.sequence,
        node.trust.provisioned,
        node.reason,
        node.guard.at_class,
        node.store.sequence,
        largest_wear(),
        node.store.flash.endurance,
        had_store_room(&node.store),
        node.guard.count,
        HAD_GUARD_SLOTS,
        node.guard.classes,
        (uint32_t)node.guard.drop,
    };
    uint32_t bytes = 4U * INFO_WORDS + HAD_SHA256_BYTES;
    if (out->capacity < bytes) {
        return HAD_ERR_SIZE;
    }
    for (uint32_t i = 0U; i < INFO_WORDS; i++) {
        had_store_u32(out->bytes + 4U * i, words[i]);
    }
    *out->length = bytes;
    return had_export(node.learner, out->bytes + 4U * INFO_WORDS,
                      HAD_STATE_BYTES - HAD_SHA256_BYTES, HAD_SHA256_BYTES, HAD_EXPORT_COMMITTED);
}

static had_status handle_guard_add(const had_answer *out, const uint8_t *req) {
    had_status status = req[1] != 0U ? HAD_ERR_ARGUMENT : HAD_OK;
    if (status == HAD_OK) {
        status = had_node_guard_add(&node, req + 2, req[0]);
    }
    if (status == HAD_OK) {
        had_store_u16(out->bytes, HAD_GUARD_SLOTS - node.guard.count);
        *out->length = 2U;
    }
    return status;
}

static had_status handle_guard_limits(const uint8_t *req) {
    const had_guard_limits limits = {had_load_u16(req), had_load_u16(req + 2),
                                     had_load_u16(req + 4)};
    return had_node_guard_limits(&node, &limits);
}

static had_status handle_log(const had_answer *out, const uint8_t *req) {
    uint32_t count = had_load_u16(req + 4);
    if (had_load_u16(req + 6) != 0U) {
        return HAD_ERR_ARGUMENT;
    }
    if (count > out->capacity) {
        return HAD_ERR_SIZE;
    }
    *out->length = count;
    return had_log_export(&node.log, node.learner, out->bytes, had_load_u32(req), count);
}

static had_status dispatch(uint8_t command, const had_answer *out, const uint8_t *req,
                           uint32_t length) {
    switch (command) {
    case CMD_FIELD_INFO:
        return handle_info(out);
    case CMD_CHECKPOINT:
        return had_node_checkpoint(&node);
    case CMD_PROVISION:
        return had_node_provision(&node, req);
    case CMD_PACKET_BEGIN:
        return had_packet_begin(&packet, &node, had_load_u32(req));
    case CMD_PACKET_DATA:
        return had_packet_data(&packet, &node, req, length);
    case CMD_PACKET_END:
        return answer_hash(out, had_packet_end(&packet, &node));
    case CMD_GUARD_ADD:
        return handle_guard_add(out, req);
    case CMD_GUARD_LIMITS:
        return handle_guard_limits(req);
    case CMD_LOG:
        return handle_log(out, req);
    case CMD_LOG_RESTART:
        return had_node_log_restart(&node);
    default:
        return answer_hash(out, had_field_boot(node.learner));
    }
}

had_status had_field_handle(uint8_t command, const uint8_t *req, uint32_t req_len, uint8_t *resp,
                            uint32_t resp_cap, uint32_t *resp_len) {
    static const uint32_t lengths[] = {
        [CMD_FIELD_INFO - HAD_FIELD_FIRST] = 0U,
        [CMD_CHECKPOINT - HAD_FIELD_FIRST] = 0U,
        [CMD_PROVISION - HAD_FIELD_FIRST] = HAD_IDENTITY_BYTES,
        [CMD_PACKET_BEGIN - HAD_FIELD_FIRST] = 4U,
        [CMD_PACKET_DATA - HAD_FIELD_FIRST] = ANY,
        [CMD_PACKET_END - HAD_FIELD_FIRST] = 0U,
        [CMD_GUARD_ADD - HAD_FIELD_FIRST] = 2U + HAD_X0_BYTES,
        [CMD_GUARD_LIMITS - HAD_FIELD_FIRST] = 6U,
        [CMD_REBOOT - HAD_FIELD_FIRST] = 0U,
        [CMD_LOG - HAD_FIELD_FIRST] = 8U,
        [CMD_LOG_RESTART - HAD_FIELD_FIRST] = 0U,
    };
    const had_answer out = {resp, resp_cap, resp_len};
    uint32_t length = lengths[command - HAD_FIELD_FIRST];
    if (length != ANY && length != req_len) {
        return HAD_ERR_FORMAT;
    }
    had_status status = dispatch(command, &out, req, req_len);
    *resp_len = status == HAD_OK ? *resp_len : 0U;
    return status;
}

#endif
