/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 after FIPS 180-4; written for size, with a rolling message schedule of 16 words. */
#include "hadapt/sha256.h"

static const uint32_t round_constant[64] = {
    0x428a2f98U, 0x71374491U, 0xb5c0fbcfU, 0xe9b5dba5U, 0x3956c25bU, 0x59f111f1U, 0x923f82a4U,
    0xab1c5ed5U, 0xd807aa98U, 0x12835b01U, 0x243185beU, 0x550c7dc3U, 0x72be5d74U, 0x80deb1feU,
    0x9bdc06a7U, 0xc19bf174U, 0xe49b69c1U, 0xefbe4786U, 0x0fc19dc6U, 0x240ca1ccU, 0x2de92c6fU,
    0x4a7484aaU, 0x5cb0a9dcU, 0x76f988daU, 0x983e5152U, 0xa831c66dU, 0xb00327c8U, 0xbf597fc7U,
    0xc6e00bf3U, 0xd5a79147U, 0x06ca6351U, 0x14292967U, 0x27b70a85U, 0x2e1b2138U, 0x4d2c6dfcU,
    0x53380d13U, 0x650a7354U, 0x766a0abbU, 0x81c2c92eU, 0x92722c85U, 0xa2bfe8a1U, 0xa81a664bU,
    0xc24b8b70U, 0xc76c51a3U, 0xd192e819U, 0xd6990624U, 0xf40e3585U, 0x106aa070U, 0x19a4c116U,
    0x1e376c08U, 0x2748774cU, 0x34b0bcb5U, 0x391c0cb3U, 0x4ed8aa4aU, 0x5b9cca4fU, 0x682e6ff3U,
    0x748f82eeU, 0x78a5636fU, 0x84c87814U, 0x8cc70208U, 0x90befffaU, 0xa4506cebU, 0xbef9a3f7U,
    0xc67178f2U,
};

static uint32_t rotate(uint32_t x, uint32_t n) {
    return (x >> n) | (x << (32U - n));
}

static uint32_t load_word(const uint8_t *p) {
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | (uint32_t)p[3];
}

static uint32_t next_word(uint32_t w[16], uint32_t t) {
    uint32_t a = w[(t + 1U) & 15U];
    uint32_t b = w[(t + 14U) & 15U];
    uint32_t s0 = rotate(a, 7U) ^ rotate(a, 18U) ^ (a >> 3);
    uint32_t s1 = rotate(b, 17U) ^ rotate(b, 19U) ^ (b >> 10);
    w[t & 15U] += s0 + w[(t + 9U) & 15U] + s1;
    return w[t & 15U];
}

static void compress(uint32_t h[8], const uint8_t block[64]) {
    uint32_t w[16];
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3];
    uint32_t e = h[4], f = h[5], g = h[6], last = h[7];
    for (uint32_t t = 0U; t < 64U; t++) {
        uint32_t word = t < 16U ? (w[t] = load_word(block + 4U * t)) : next_word(w, t);
        uint32_t s1 = rotate(e, 6U) ^ rotate(e, 11U) ^ rotate(e, 25U);
        uint32_t t1 = last + s1 + ((e & f) ^ (~e & g)) + round_constant[t] + word;
        uint32_t s0 = rotate(a, 2U) ^ rotate(a, 13U) ^ rotate(a, 22U);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        last = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
    h[5] += f;
    h[6] += g;
    h[7] += last;
}

void had_sha256_begin(had_sha256 *ctx) {
    static const uint32_t start[8] = {0x6a09e667U, 0xbb67ae85U, 0x3c6ef372U, 0xa54ff53aU,
                                      0x510e527fU, 0x9b05688cU, 0x1f83d9abU, 0x5be0cd19U};
    for (uint32_t i = 0U; i < 8U; i++) {
        ctx->h[i] = start[i];
    }
    ctx->length = 0U;
}

void had_sha256_update(had_sha256 *ctx, const void *data, uint32_t bytes) {
    const uint8_t *p = data;
    for (uint32_t i = 0U; i < bytes; i++) {
        ctx->block[ctx->length & 63U] = p[i];
        ctx->length += 1U;
        if ((ctx->length & 63U) == 0U) {
            compress(ctx->h, ctx->block);
        }
    }
}

void had_sha256_end(had_sha256 *ctx, uint8_t digest[HAD_SHA256_BYTES]) {
    static const uint8_t one = 0x80U;
    static const uint8_t zero = 0U;
    uint32_t length = ctx->length;
    uint8_t bits[8] = {0U};
    for (uint32_t i = 0U; i < 4U; i++) {
        bits[4U + i] = (uint8_t)((length << 3) >> (24U - 8U * i));
    }
    had_sha256_update(ctx, &one, 1U);
    while ((ctx->length & 63U) != 56U) {
        had_sha256_update(ctx, &zero, 1U);
    }
    had_sha256_update(ctx, bits, 8U);
    for (uint32_t i = 0U; i < HAD_SHA256_BYTES; i++) {
        digest[i] = (uint8_t)(ctx->h[i >> 2] >> (24U - 8U * (i & 3U)));
    }
}
