/* SPDX-License-Identifier: Apache-2.0 */
/* The wire of an inference-only network, SPEC.md 17. */
#include "../arithmetic/had_bytes.h"
#include "hadapt/network.h"
#include "hadapt/wire.h"

/* Where the whole runtime is compiled, a learner has no network. */
#ifdef HAD_OUTPUTS

#define CMD_INFO 0x01U
#define CMD_INFER 0x02U
#define INFER_HEAD 2U
#define INFO_BYTES 32U

/* The one network of this program. */
static had_network network;

static had_status info(uint8_t *resp, uint32_t capacity, uint32_t *length) {
    if (capacity < INFO_BYTES) {
        return HAD_ERR_SIZE;
    }
    for (uint32_t i = 0U; i < sizeof had_model_id; i++) {
        resp[i] = had_model_id[i];
    }
    had_store_u32(resp + 16, HAD_INPUTS);
    had_store_u32(resp + 20, HAD_OUTPUTS);
    had_store_u16(resp + 24, HAD_OUTPUT_SCALE_MANTISSA);
    had_store_u16(resp + 26, (uint32_t)(HAD_OUTPUT_SCALE_EXPONENT) & 0xFFFFU);
    had_store_u16(resp + 28, HAD_OUTPUT_ZERO_POINT);
    had_store_u16(resp + 30, 0U);
    *length = INFO_BYTES;
    return HAD_OK;
}

static had_status infer(const uint8_t *req, uint8_t *resp, uint32_t capacity, uint32_t *length) {
    if (capacity < HAD_OUTPUTS) {
        return HAD_ERR_SIZE;
    }
    if (req[0] != 0U || req[1] != 0U) {
        return HAD_ERR_ARGUMENT;
    }
    const int8_t *output = had_network_run(&network, req + INFER_HEAD);
    for (uint32_t i = 0U; i < HAD_OUTPUTS; i++) {
        resp[i] = (uint8_t)output[i];
    }
    *length = HAD_OUTPUTS;
    return HAD_OK;
}

had_status had_wire_boot(void) {
    return HAD_OK;
}

had_status had_wire_handle(uint8_t command, const uint8_t *req, uint32_t req_len, uint8_t *resp,
                           uint32_t resp_cap, uint32_t *resp_len) {
    *resp_len = 0U;
    switch (command) {
    case CMD_INFO:
        return req_len == 0U ? info(resp, resp_cap, resp_len) : HAD_ERR_FORMAT;
    case CMD_INFER:
        return req_len == INFER_HEAD + 2U * HAD_INPUTS ? infer(req, resp, resp_cap, resp_len)
                                                       : HAD_ERR_FORMAT;
    default:
        return HAD_ERR_COMMAND;
    }
}

#endif
