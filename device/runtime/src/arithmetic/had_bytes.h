/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian fields in byte buffers. */
#ifndef HAD_BYTES_H
#define HAD_BYTES_H

#include <stdint.h>

static inline uint32_t had_load_u16(const uint8_t *p) {
    return (uint32_t)p[0] | ((uint32_t)p[1] << 8);
}

static inline uint32_t had_load_u32(const uint8_t *p) {
    return had_load_u16(p) | (had_load_u16(p + 2) << 16);
}

static inline void had_store_u16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v & 0xFFU);
    p[1] = (uint8_t)((v >> 8) & 0xFFU);
}

static inline void had_store_u32(uint8_t *p, uint32_t v) {
    had_store_u16(p, v & 0xFFFFU);
    had_store_u16(p + 2, v >> 16);
}

#endif
