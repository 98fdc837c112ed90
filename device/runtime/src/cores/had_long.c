/* SPDX-License-Identifier: Apache-2.0 */
/* Operands of long multiplications, and the product in plain C for tests on a host; bounds in had_long.h. */
#include <string.h>

#include "had_long.h"

#if HAD_LONG
/* A value in all four fields. */
#define FIELDS(v) ((uint64_t)(v) * 0x1001001001U)

/* The half of two columns. */
static inline void put_half(int8_t *to, int32_t x0, int32_t x1) {
    uint16_t half = (uint16_t)((uint32_t)(x0 + x1 * 4096) & 0xFFFFU);
    (void)memcpy(to, &half, sizeof half);
}

void had_long_pack(int8_t *x, uint32_t rows) {
    for (const int8_t *end = x + rows * HAD_BATCH_STRIDE; x != end; x += 4) {
        put_half(x, x[0], x[1]);
        put_half(x + 2, x[2], x[3]);
    }
}

void had_long_pack_four(int8_t *x) {
    int8_t block[4U * HAD_BATCH_STRIDE];
    (void)memcpy(block, x, sizeof block);
    for (const int8_t *from = block; from != block + HAD_BATCH_STRIDE; from++) {
        put_half(x, from[0], from[HAD_BATCH_STRIDE]);
        put_half(x + 2, from[2U * HAD_BATCH_STRIDE], from[3U * HAD_BATCH_STRIDE]);
        x += 4;
    }
}

static inline int32_t signed_field(int64_t v) {
    uint32_t low = (uint32_t)((uint64_t)v & 0xFFFU);
    return (int32_t)(low ^ 0x800U) - 0x800;
}

/* Fields around two centres, one a row: saturated and raised. */
static uint64_t saturated(uint64_t sums, const int32_t centre[2]) {
    int64_t rest = (int64_t)(sums - FIELDS(HAD_LONG_MAX));
    uint64_t result = 0U;
    for (uint32_t field = 0U; field < 4U; field++) {
        int32_t c = centre[field / 2U];
        int32_t sum = c + signed_field(rest - c);
        rest = (rest - sum) >> 12;
        uint32_t raised = (uint32_t)(had_saturate_acc(sum) + HAD_LONG_MAX);
        result |= (uint64_t)raised << (12U * field);
    }
    return result;
}

/* 8 times the sums of two rows of weights: about these lie sums with x in [0, 15]. */
static void centres(int32_t centre[2], const int32_t *w, const int32_t *end) {
    int64_t sum = 0;
    for (; w < end; w += HAD_WORDS) {
        sum += *w;
    }
    int32_t low = signed_field(sum);
    centre[0] = 8 * low;
    centre[1] = 8 * (int32_t)((sum - low) >> 24);
}

void had_long_saturate(uint64_t sums[4], const int32_t *w, const int32_t *end, uint32_t kind) {
    for (uint32_t pair = 0U; pair < 2U; pair++) {
        int32_t centre[2] = {0, 0};
        if (kind == HAD_LONG_POSITIVE) {
            centres(centre, w + pair, end);
        }
        sums[pair] = saturated(sums[pair], centre);
        sums[2U + pair] = saturated(sums[2U + pair], centre);
    }
}

#if !HAD_LONG_ASSEMBLY
#define BEYOND (0xFFFFFFFFFFFFFFFFU - FIELDS(2 * HAD_LONG_MAX - 1))

static int32_t half_of(const int8_t *x, uint32_t kind) {
    uint16_t half;
    (void)memcpy(&half, x, sizeof half);
    return kind == HAD_LONG_POSITIVE ? (int32_t)half : (int16_t)half;
}

/* Four sums of a tile, raised: two pairs of rows by two pairs of columns. */
static void tile(uint64_t sums[4], const int8_t *x, uint32_t step, const int32_t *w,
                 const int32_t *end, uint32_t kind) {
    for (uint32_t j = 0U; j < 4U; j++) {
        const int8_t *column = x + (j & 2U);
        sums[j] = FIELDS(HAD_LONG_MAX);
        for (const int32_t *at = w; at < end; at += HAD_WORDS) {
            sums[j] += (uint64_t)((int64_t)half_of(column, kind) * at[j & 1U]);
            column += step;
        }
    }
    if (((sums[0] | sums[1] | sums[2] | sums[3]) & BEYOND) != 0U) {
        had_long_saturate(sums, w, end, kind);
    }
}

/* Fields `field` and two above of a sum of tiles: a word of two rows' totals, raised once. */
static int32_t unpacked(uint64_t sum, uint32_t field, uint32_t raises) {
    uint32_t low = (uint32_t)(sum >> (12U * field)) & 0xFFFU;
    uint32_t high = (uint32_t)(sum >> (12U * field + 24U)) & 0xFFFU;
    return (int32_t)(low + high * 65536U - (raises - 1U) * HAD_RAISE);
}

/* Two words of weights a term, those of four rows, by four columns. */
static void half_product(int32_t *total, const int8_t *x, uint32_t step, const int32_t *w,
                         const int32_t *end, uint32_t kind) {
    uint64_t all[4] = {0U, 0U, 0U, 0U};
    uint32_t tiles = 0U;
    while (w < end) {
        const int32_t *stop =
            end - w > (int32_t)(HAD_TILE_K * HAD_WORDS) ? w + HAD_TILE_K * HAD_WORDS : end;
        uint64_t sums[4];
        tile(sums, x, step, w, stop, kind);
        for (uint32_t j = 0U; j < 4U; j++) {
            all[j] += sums[j];
        }
        x += HAD_TILE_K * step;
        w = stop;
        tiles++;
    }
    for (uint32_t j = 0U; j < 4U; j++) {
        int32_t *to = total + (j >> 1) * 2U * HAD_WORDS + (j & 1U);
        to[0] = unpacked(all[j], 0U, tiles);
        to[HAD_WORDS] = unpacked(all[j], 1U, tiles);
    }
}

void had_long_product(int32_t total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x, const int32_t *w,
                      uint32_t terms, uint32_t kind) {
    uint32_t step = kind == HAD_LONG_ROWS ? 4U : HAD_BATCH_STRIDE;
    const int32_t *end = w + terms * HAD_WORDS;
    half_product(total, x, step, w, end, kind);
    half_product(total + 2, x, step, w + 2, end, kind);
}
#endif
#else
typedef int had_long_is_left_out; /* another variant is chosen */
#endif
