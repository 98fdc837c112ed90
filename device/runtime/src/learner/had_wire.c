/* SPDX-License-Identifier: Apache-2.0 */
/* The wire protocol, SPEC.md 10: commands, and the lengths they take. */
#include "../arithmetic/had_cold.h"

#include "hadapt/wire.h"

#include "../arithmetic/had_bytes.h"
#include "../field/had_wire_field.h"
#include "hadapt/exemplar.h"
#include "hadapt/state.h"

#define RAW_BYTES (2U * HAD_INPUTS)
#define LEARN_HEAD 2U
#define INFER_HEAD 2U
#define PUT_HEAD 4U
#define TRAIN_HEAD 12U
#define RATE_BYTES 8U
#define ANY UINT32_MAX

/* The one device of this program. */
static had_learner device;

typedef struct had_reply {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t length;
} had_reply;

/* Room for `bytes` more; null if there is none. */
static uint8_t *extend(had_reply *reply, uint32_t bytes) {
    if (bytes > reply->capacity - reply->length) {
        return 0;
    }
    reply->length += bytes;
    return reply->bytes + (reply->length - bytes);
}

static had_status put_u16(had_reply *reply, uint32_t value) {
    uint8_t *at = extend(reply, 2U);
    if (at == 0) {
        return HAD_ERR_SIZE;
    }
    had_store_u16(at, value);
    return HAD_OK;
}

static had_status put_u32s(had_reply *reply, const uint32_t *values, uint32_t count) {
    uint8_t *at = extend(reply, 4U * count);
    if (at == 0) {
        return HAD_ERR_SIZE;
    }
    for (uint32_t i = 0U; i < count; i++) {
        had_store_u32(at + 4U * i, values[i]);
    }
    return HAD_OK;
}

static had_status put_bytes(had_reply *reply, const uint8_t *src, uint32_t count) {
    uint8_t *at = extend(reply, count);
    if (at == 0) {
        return HAD_ERR_SIZE;
    }
    for (uint32_t i = 0U; i < count; i++) {
        at[i] = src[i];
    }
    return HAD_OK;
}

static had_status put_free_slots(had_reply *reply) {
    return put_u16(reply, HAD_SLOTS - device.exemplars.count);
}

static had_status put_hash(had_reply *reply) {
    uint8_t *at = extend(reply, HAD_SHA256_BYTES);
    return at == 0 ? HAD_ERR_SIZE : had_state_hash(&device, at);
}

static uint32_t units_per_step(void) {
    uint32_t units = 0U;
    for (uint32_t op = 0U; op < HAD_OPERATIONS; op++) {
        units += had_operations[op].rows * had_operations[op].units;
    }
    return units;
}

static had_status handle_info(had_reply *reply, const uint8_t *req, uint32_t length) {
    const uint32_t words[10] = {
        HAD_INPUTS,
        HAD_FEATURES,
        HAD_X0_SIZE,
        HAD_X0_BYTES,
        device.working.n_classes,
        HAD_MAX_CLASSES,
        HAD_EXEMPLAR_SLOTS,
        HAD_STAGING_SLOTS,
        device.exemplars.count,
        had_exemplar_staged(&device.exemplars),
    };
    const uint32_t counts[4] = {device.working.step, had_steps_left(&device), HAD_STATE_BYTES,
                                units_per_step()};
    had_status status = put_bytes(reply, had_model_id, sizeof had_model_id);
    for (uint32_t i = 0U; i < 10U && status == HAD_OK; i++) {
        status = put_u16(reply, words[i]);
    }
    (void)req;
    (void)length;
    return status == HAD_OK ? put_u32s(reply, counts, 4U) : status;
}

static had_status handle_infer(had_reply *reply, const uint8_t *req, uint32_t length) {
    had_inference result;
    (void)length;
    if (req[1] != 0U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_infer(&device, &result, req + INFER_HEAD, req[0]);
    if (status == HAD_OK) {
        status = put_u16(reply, result.label);
    }
    if (status == HAD_OK) {
        status = put_u16(reply, result.n_classes);
    }
    uint32_t logits = result.logits != 0 ? result.n_classes : 0U;
    for (uint32_t c = 0U; c < logits && status == HAD_OK; c++) {
        status = put_u16(reply, (uint32_t)result.logits[c] & 0xFFFFU);
    }
    return status;
}

static had_status handle_learn(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)length;
    if (req[1] > 1U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_learn(&device, req + LEARN_HEAD, req[0], req[1]);
    return status != HAD_OK ? status : put_free_slots(reply);
}

static had_status handle_learn_x0(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)length;
    if (req[1] > 1U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_learn_x0(&device, req + LEARN_HEAD, req[0], req[1]);
    return status != HAD_OK ? status : put_free_slots(reply);
}

static had_status handle_add_class(had_reply *reply, const uint8_t *req, uint32_t length) {
    uint32_t label = 0U;
    (void)req;
    (void)length;
    had_status status = had_add_class(&device, &label);
    return status != HAD_OK ? status : put_u16(reply, label);
}

static had_rate load_rate(const uint8_t *src) {
    int32_t exponent = (int32_t)(had_load_u16(src + 6) ^ 0x8000U) - 0x8000;
    return (had_rate){had_load_u32(src), {(int32_t)had_load_u16(src + 4), exponent}};
}

static had_status handle_train_begin(had_reply *reply, const uint8_t *req, uint32_t length) {
    had_train_config config = {.seed = had_load_u32(req), .steps = had_load_u32(req + 4)};
    (void)reply;
    config.sampling = req[8];
    config.rates = req[9];
    config.distill = req[10];
    config.soften = req[11] & 0xFU;
    config.hold = (uint32_t)req[11] >> 4;
    if (length != TRAIN_HEAD + RATE_BYTES * config.rates) {
        return HAD_ERR_FORMAT;
    }
    if (config.rates > HAD_SCHEDULE_MAX) {
        return HAD_ERR_ARGUMENT;
    }
    for (uint32_t i = 0U; i < config.rates; i++) {
        config.rate[i] = load_rate(req + TRAIN_HEAD + RATE_BYTES * i);
    }
    return had_train_begin(&device, &config);
}

static had_status handle_train(had_reply *reply, const uint8_t *req, uint32_t length) {
    had_train_report report;
    (void)length;
    had_status status = had_train(&device, &report, had_load_u32(req));
    const uint32_t values[5] = {report.units, report.steps_left, report.samples, report.correct,
                                report.confidence};
    return status != HAD_OK ? status : put_u32s(reply, values, 5U);
}

static had_status handle_commit(had_reply *reply, const uint8_t *req, uint32_t length) {
    if (length == 1U) {
        return HAD_ERR_FORMAT;
    }
    had_status status =
        length == 0U ? had_field_commit(&device) : had_field_commit_corrected(&device, req);
    return status != HAD_OK ? status : put_hash(reply);
}

static had_status handle_rollback(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)req;
    (void)length;
    had_rollback(&device);
    return put_hash(reply);
}

static had_status handle_export(had_reply *reply, const uint8_t *req, uint32_t length) {
    uint32_t offset = had_load_u32(req);
    uint32_t count = had_load_u16(req + 4);
    uint32_t source = req[6];
    (void)length;
    if (req[7] != 0U) {
        return HAD_ERR_ARGUMENT;
    }
    uint8_t *at = extend(reply, count);
    return at == 0 ? HAD_ERR_SIZE : had_export(&device, at, offset, count, source);
}

static had_status handle_import_begin(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)reply;
    (void)length;
    return had_import_begin(&device, had_load_u32(req));
}

static had_status handle_import_data(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)reply;
    return had_import_data(&device, req, length);
}

static had_status handle_import_end(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)req;
    (void)length;
    had_status status = had_import_end(&device);
    return status != HAD_OK ? status : put_hash(reply);
}

static had_status handle_put_exemplar(had_reply *reply, const uint8_t *req, uint32_t length) {
    (void)length;
    if (req[1] != 0U) {
        return HAD_ERR_ARGUMENT;
    }
    had_status status = had_put_exemplar(&device, req + PUT_HEAD, req[0], had_load_u16(req + 2));
    return status != HAD_OK ? status : put_free_slots(reply);
}

static had_status handle_get_exemplar(had_reply *reply, const uint8_t *req, uint32_t length) {
    const had_exemplars *ex = &device.exemplars;
    uint32_t index = had_load_u16(req);
    (void)length;
    if (index >= ex->count) {
        return HAD_ERR_ARGUMENT;
    }
    uint32_t slot = ex->order[index];
    had_status status = put_u16(reply, ex->label[slot]); /* the label and a zero byte */
    if (status == HAD_OK) {
        status = put_u16(reply, ex->rank[slot]);
    }
    return status != HAD_OK ? status : put_bytes(reply, ex->packed[slot], HAD_X0_BYTES);
}

static had_status handle_counters(had_reply *reply, const uint8_t *req, uint32_t length) {
    had_status status = req[0] > 1U ? HAD_ERR_ARGUMENT : HAD_OK;
    uint32_t reset = req[0];
    (void)reply;
    (void)length;
#ifdef HAD_COUNTERS
    if (status == HAD_OK) {
        const uint32_t *values = (const uint32_t *)(const void *)&device.counters;
        status = put_u32s(reply, values, (uint32_t)(sizeof device.counters / 4U));
    }
    if (status == HAD_OK && reset != 0U) {
        device.counters = (had_counters){0};
    }
#endif
    (void)reset;
    return status;
}

enum had_command {
    CMD_INFO = 0x01,
    CMD_INFER = 0x02,
    CMD_LEARN = 0x03,
    CMD_ADD_CLASS = 0x04,
    CMD_TRAIN_BEGIN = 0x05,
    CMD_TRAIN = 0x06,
    CMD_COMMIT = 0x07,
    CMD_ROLLBACK = 0x08,
    CMD_HASH = 0x09,
    CMD_EXPORT = 0x0A,
    CMD_IMPORT_BEGIN = 0x0B,
    CMD_IMPORT_DATA = 0x0C,
    CMD_IMPORT_END = 0x0D,
    CMD_PUT_EXEMPLAR = 0x0E,
    CMD_GET_EXEMPLAR = 0x0F,
    CMD_COUNTERS = 0x10,
    CMD_LEARN_X0 = 0x11,
};

/* Bytes of a request's payload. */
typedef struct had_lengths {
    uint32_t shortest;
    uint32_t longest;
} had_lengths;

/* By command. Longer payloads than the buffer never get here, so ANY is bounded too. */
static const had_lengths lengths[] = {
    [CMD_INFO] = {0U, 0U},
    [CMD_INFER] = {INFER_HEAD + RAW_BYTES, INFER_HEAD + RAW_BYTES},
    [CMD_LEARN] = {LEARN_HEAD + RAW_BYTES, LEARN_HEAD + RAW_BYTES},
    [CMD_ADD_CLASS] = {0U, 0U},
    [CMD_TRAIN_BEGIN] = {TRAIN_HEAD, ANY},
    [CMD_TRAIN] = {4U, 4U},
    [CMD_COMMIT] = {0U, 2U * HAD_BIAS_CORRECTION},
    [CMD_ROLLBACK] = {0U, 0U},
    [CMD_HASH] = {0U, 0U},
    [CMD_EXPORT] = {8U, 8U},
    [CMD_IMPORT_BEGIN] = {4U, 4U},
    [CMD_IMPORT_DATA] = {0U, ANY},
    [CMD_IMPORT_END] = {0U, 0U},
    [CMD_PUT_EXEMPLAR] = {PUT_HEAD + HAD_X0_BYTES, PUT_HEAD + HAD_X0_BYTES},
    [CMD_GET_EXEMPLAR] = {2U, 2U},
    [CMD_COUNTERS] = {1U, 1U},
    [CMD_LEARN_X0] = {LEARN_HEAD + HAD_X0_BYTES, LEARN_HEAD + HAD_X0_BYTES},
};

/* A switch and no table of functions: the worst stack can then be read from the call graph. */
static had_status dispatch(uint8_t command, had_reply *reply, const uint8_t *req, uint32_t length) {
    switch (command) {
    case CMD_INFO:
        return handle_info(reply, req, length);
    case CMD_INFER:
        return handle_infer(reply, req, length);
    case CMD_LEARN:
        return handle_learn(reply, req, length);
    case CMD_ADD_CLASS:
        return handle_add_class(reply, req, length);
    case CMD_TRAIN_BEGIN:
        return handle_train_begin(reply, req, length);
    case CMD_TRAIN:
        return handle_train(reply, req, length);
    case CMD_COMMIT:
        return handle_commit(reply, req, length);
    case CMD_ROLLBACK:
        return handle_rollback(reply, req, length);
    case CMD_HASH:
        return put_hash(reply);
    case CMD_EXPORT:
        return handle_export(reply, req, length);
    case CMD_IMPORT_BEGIN:
        return handle_import_begin(reply, req, length);
    case CMD_IMPORT_DATA:
        return handle_import_data(reply, req, length);
    case CMD_IMPORT_END:
        return handle_import_end(reply, req, length);
    case CMD_PUT_EXEMPLAR:
        return handle_put_exemplar(reply, req, length);
    case CMD_GET_EXEMPLAR:
        return handle_get_exemplar(reply, req, length);
    case CMD_COUNTERS:
        return handle_counters(reply, req, length);
    case CMD_LEARN_X0:
        return handle_learn_x0(reply, req, length);
    default:
        return HAD_ERR_COMMAND;
    }
}

had_status had_wire_boot(void) {
    return had_field_boot(&device);
}

had_status had_wire_handle(uint8_t command, const uint8_t *req, uint32_t req_len, uint8_t *resp,
                           uint32_t resp_cap, uint32_t *resp_len) {
    had_reply reply = {resp, resp_cap, 0U};
    *resp_len = 0U;
#if HAD_FIELD
    if (command >= HAD_FIELD_FIRST && command <= HAD_FIELD_LAST) {
        return had_field_handle(command, req, req_len, resp, resp_cap, resp_len);
    }
#endif
    if (command == 0U || command >= sizeof lengths / sizeof lengths[0]) {
        return HAD_ERR_COMMAND;
    }
    if (req_len < lengths[command].shortest || req_len > lengths[command].longest) {
        return HAD_ERR_FORMAT;
    }
    had_field_before(&device, command, req, req_len);
    had_status status = dispatch(command, &reply, req, req_len);
    status = status == HAD_OK ? had_field_after() : status;
    *resp_len = status == HAD_OK ? reply.length : 0U;
    return status;
}
