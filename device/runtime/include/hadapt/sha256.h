/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), streaming. */
#ifndef HADAPT_SHA256_H
#define HADAPT_SHA256_H

#include <stdint.h>

#define HAD_SHA256_BYTES 32U /* of a digest */

/* A hash under way. */
typedef struct had_sha256 {
    uint32_t h[8];
    uint32_t length; /* bytes so far, below 2^29 */
    uint8_t block[64];
} had_sha256;

/* Begin; data in pieces of any size; the digest. */
void had_sha256_begin(had_sha256 *ctx);
void had_sha256_update(had_sha256 *ctx, const void *data, uint32_t bytes);
void had_sha256_end(had_sha256 *ctx, uint8_t digest[HAD_SHA256_BYTES]);

#endif
