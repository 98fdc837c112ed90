/* SPDX-License-Identifier: Apache-2.0 */
/* Operands of products by pairs of terms, and the product in plain C for tests on a host; bounds in had_dsp.h. */
#include <string.h>

#include "had_dsp.h"

#if HAD_DSP
#define WORDS (HAD_BATCH_STRIDE / 4U)
#define HIGH_NIBBLES 0xF000F000U

/* Two terms of two columns: the first one's bytes 0 and 2, the second one's nibbles at 12 and 28. */
static inline uint32_t packed(uint32_t first, uint32_t second, uint32_t raise) {
    return had_add16(first, (second & HIGH_NIBBLES) ^ raise);
}

void had_dsp_pack(int8_t *x, uint32_t rows, uint32_t raise) {
    uint32_t *a = (uint32_t *)(void *)x;
    for (; rows > 0U; rows -= rows < 2U ? rows : 2U) {
        uint32_t below[WORDS];
        (void)memcpy(below, a + WORDS, sizeof below);
        for (uint32_t j = WORDS; j-- > 0U;) {
            uint32_t v = a[j];
            uint32_t next = below[j];
            had_exchange(&v, &next);
            a[2U * j] = packed(had_bytes_even(v), v << 4, raise);
            a[2U * j + 1U] = packed(had_bytes_even(next), next << 4, raise);
        }
        a += 2U * WORDS;
    }
}

/* Bytes: both columns of a term, then of the next one. */
static inline uint32_t unpacked(uint32_t word, uint32_t raise) {
    uint32_t second = (had_add16(word, 0x00080008U) >> 12 & 0x000F000FU) ^ 0x00080008U;
    second += raise != 0U ? 0U : 0x00F800F8U; /* minus 8 */
    return (word & 0x00FF00FFU) | (second & 0x00FF00FFU) << 8;
}

void had_dsp_unpack(int8_t *x, uint32_t rows, uint32_t raise) {
    uint32_t *a = (uint32_t *)(void *)x;
    for (; rows > 0U; rows -= rows < 2U ? rows : 2U) {
        uint32_t below[WORDS];
        for (uint32_t j = 0U; j < WORDS; j++) {
            uint32_t v = unpacked(a[2U * j], raise);
            below[j] = unpacked(a[2U * j + 1U], raise);
            had_exchange(&v, below + j);
            a[j] = v;
        }
        (void)memcpy(a + WORDS, below, sizeof below);
        a += 2U * WORDS;
    }
}

void had_dsp_pack_rows(uint32_t *to, const int8_t *x, uint32_t terms) {
    for (const int8_t *end = x + terms; x != end; x += 4) {
        uint32_t v[4];
        for (uint32_t r = 0U; r < 4U; r++) {
            (void)memcpy(v + r, x + r * HAD_BATCH_STRIDE, sizeof *v);
        }
        *to++ = packed(had_bytes_even(v[0]), v[1] << 12, 0U);
        *to++ = packed(had_bytes_even(v[2]), v[3] << 12, 0U);
        *to++ = packed(had_bytes_odd(v[0]), v[1] << 4, 0U);
        *to++ = packed(had_bytes_odd(v[2]), v[3] << 4, 0U);
    }
}

void had_dsp_pack_four(int8_t *x) {
    uint32_t block[HAD_TAPS * WORDS];
    had_dsp_pack_rows(block, x, HAD_BATCH_STRIDE);
    (void)memcpy(x, block, sizeof block);
}

/* A word of it, from 8 times the sum of the row's weights. */
static inline uint32_t start_of(int32_t sum, uint32_t terms) {
#if HAD_DSP_FIELDS
    (void)terms;
    return HAD_DSP_START + ((uint32_t)sum << 12);
#else
    return (terms > 16U ? 0xF000U : 0xF800U) | (uint32_t)sum << 16;
#endif
}

void had_dsp_sums(uint32_t *sums, const had_weight *w, uint32_t terms) {
    while (terms > 0U) {
        uint32_t tile = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (const had_weight *end = w + HAD_GROUP_WORDS(tile); w != end; w += HAD_WORDS) {
            s0 = had_smlad(w[0], 0x00080008U, s0);
            s1 = had_smlad(w[1], 0x00080008U, s1);
            s2 = had_smlad(w[2], 0x00080008U, s2);
            s3 = had_smlad(w[3], 0x00080008U, s3);
        }
        *sums++ = start_of(s0, tile);
        *sums++ = start_of(s1, tile);
        *sums++ = start_of(s2, tile);
        *sums++ = start_of(s3, tile);
        terms -= tile;
    }
}

/* Four rows of any tensor: a tile is packed at a time. */
void had_dot_row(had_total out[HAD_ROWS * HAD_TAPS], const int8_t *x, const had_weight *w,
                 uint32_t terms, const had_counted *counted) {
    (void)counted;
    (void)memset(out, 0, HAD_ROWS * HAD_TAPS * sizeof *out);
    for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
        uint32_t block[HAD_TILE_K];
        had_total sums[HAD_ROWS * HAD_TAPS];
        uint32_t tile = terms - k < HAD_TILE_K ? terms - k : HAD_TILE_K;
        had_dsp_pack_rows(block, x + k, tile);
        had_dsp_rows(sums, block, w + HAD_GROUP_WORDS(k), tile, 0, 1U);
        for (uint32_t j = 0U; j < HAD_ROWS * HAD_TAPS; j++) {
            out[j] = (had_total)(out[j] + sums[j]);
        }
    }
}

#if !HAD_DSP_ASSEMBLY
#define CHUNK_PAIRS(sums) ((sums) != 0 ? 8U : 16U)

/* A row by two columns, some pairs: halves are the two sums; packed x lies `step` words apart. */
static uint32_t chunk(const uint32_t *x, uint32_t step, const had_weight *w, uint32_t pairs) {
    int32_t acc = 0;
    for (uint32_t p = 0U; p < pairs; p++) {
        acc = had_smlad(x[p * step], w[p * HAD_WORDS], acc);
    }
    int32_t low = (acc & 0x7FF) - (acc & 0x800);
    return had_halves(low, (acc - low) >> 12);
}

static uint32_t row_of(const uint32_t *x, uint32_t step, const had_weight *w, uint32_t terms,
                       const uint32_t *sums) {
    uint32_t total = 0U;
    uint32_t left = (terms + 1U) / 2U;
    while (left > 0U) {
        uint32_t pairs = left < HAD_TILE_K / 2U ? left : HAD_TILE_K / 2U;
#if HAD_DSP_FIELDS
        uint32_t tile = sums != 0 ? (*sums - HAD_DSP_START) << 4 : 0U;
#else
        uint32_t tile = sums != 0 ? *sums & 0xFFFF0000U : 0U;
#endif
        left -= pairs;
        while (pairs > 0U) {
            uint32_t part = pairs < CHUNK_PAIRS(sums) ? pairs : CHUNK_PAIRS(sums);
            tile = had_add16(tile, chunk(x, step, w, part));
            x += part * step;
            w += part * HAD_WORDS;
            pairs -= part;
        }
#if HAD_ACC_BITS < 16
        tile = had_saturate_acc16(tile);
#endif
        total = had_add16(total, tile);
        sums += sums != 0 ? HAD_ROWS : 0U;
    }
    return total;
}

static void product(had_total *out, const void *x, uint32_t step, const had_weight *w,
                    uint32_t terms, const uint32_t *sums) {
    for (uint32_t r = 0U; r < HAD_ROWS; r++) {
        for (uint32_t c = 0U; c < HAD_LANES; c += 2U) {
            const uint32_t *column = (const uint32_t *)x + c / 2U;
            uint32_t both = row_of(column, step, w + r, terms, sums != 0 ? sums + r : 0);
            (void)memcpy(out + r * HAD_LANES + c, &both, sizeof both);
        }
    }
}

void had_dsp_columns(had_total out[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const uint32_t *sums) {
    product(out, x, 2U * WORDS, w, terms, sums);
}

void had_dsp_rows(had_total *out, const uint32_t *x, const had_weight *w, uint32_t terms,
                  const uint32_t *sums, uint32_t blocks) {
    for (; blocks > 0U; blocks--) {
        product(out, x, 2U, w, terms, sums);
        x += HAD_BATCH_STRIDE;
        out += HAD_ROWS * HAD_TAPS;
    }
}
#endif
#else
typedef int had_dsp_is_left_out; /* a core without it, or another variant is chosen */
#endif
