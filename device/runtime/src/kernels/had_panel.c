/* SPDX-License-Identifier: Apache-2.0 */
/* Products of panels; layout and bounds in had_panel.h. */
#include "had_panel.h"

#if HAD_PANEL && !HAD_MVE
#define PAIR_BYTES (2U * HAD_PANEL_BLOCK)
#define TILE_PAIRS (HAD_TILE_K / 2U)

#if defined(__AVX512BW__)
#include <immintrin.h>
#define VECTOR_BYTES 64U
#define ROWS_AT_ONCE 8U
typedef __m512i had_vector;
#define PAIR(w) _mm512_set1_epi16(w)
#define ADD_PRODUCT(acc, x, w) _mm512_add_epi16(acc, _mm512_maddubs_epi16(x, w))
#elif defined(__AVX2__)
#include <immintrin.h>
#define VECTOR_BYTES 32U
#define ROWS_AT_ONCE 4U
typedef __m256i had_vector;
#define PAIR(w) _mm256_set1_epi16(w)
#define ADD_PRODUCT(acc, x, w) _mm256_add_epi16(acc, _mm256_maddubs_epi16(x, w))
#elif defined(__SSSE3__)
#include <tmmintrin.h>
#define VECTOR_BYTES 16U
#define ROWS_AT_ONCE 2U
typedef __m128i had_vector;
#define PAIR(w) _mm_set1_epi16(w)
#define ADD_PRODUCT(acc, x, w) _mm_add_epi16(acc, _mm_maddubs_epi16(x, w))
#endif

/* What a tile's sum starts from: -HAD_PANEL_BIAS times the sum of a row's weights. */
static int16_t start_of(const had_weight *w, uint32_t terms) {
    int16_t sum = 0;
    for (uint32_t k = 0U; k < terms; k++) {
        sum = (int16_t)(sum + w[k]);
    }
    return (int16_t)(-HAD_PANEL_BIAS * sum);
}

#ifdef VECTOR_BYTES
#define VECTORS (PAIR_BYTES / VECTOR_BYTES)

/* Terms 2 k and 2 k + 1 of a row, the earlier one in the low byte. */
static inline int16_t pair_of(const had_weight *w, uint32_t k) {
    int16_t pair;
    __builtin_memcpy(&pair, w + 2U * k, sizeof pair);
    return pair;
}

/* Exact sums of ROWS_AT_ONCE rows from `first` on, for one block of columns. */
static inline void tile_rows(int16_t sums[8][HAD_PANEL_BLOCK], const uint8_t *panel,
                             const had_weight *w, const int16_t *start, uint32_t pairs) {
    had_vector acc[ROWS_AT_ONCE][VECTORS];
    for (uint32_t r = 0U; r < ROWS_AT_ONCE; r++) {
        for (uint32_t v = 0U; v < VECTORS; v++) {
            acc[r][v] = PAIR(start[r]);
        }
    }
    for (uint32_t k = 0U; k < pairs; k++) {
        had_vector x[VECTORS];
        __builtin_memcpy(x, panel + k * PAIR_BYTES, PAIR_BYTES);
        for (uint32_t r = 0U; r < ROWS_AT_ONCE; r++) {
            had_vector pair = PAIR(pair_of(w + r * HAD_PANEL_TERMS, k));
            for (uint32_t v = 0U; v < VECTORS; v++) {
                acc[r][v] = ADD_PRODUCT(acc[r][v], x[v], pair);
            }
        }
    }
    for (uint32_t r = 0U; r < ROWS_AT_ONCE; r++) {
        __builtin_memcpy(sums[r], acc[r], PAIR_BYTES);
    }
}

static void tile(int16_t sums[8][HAD_PANEL_BLOCK], const uint8_t *panel, const had_weight *w,
                 const int16_t start[8], uint32_t pairs) {
    for (uint32_t first = 0U; first < 8U; first += ROWS_AT_ONCE) {
        tile_rows(sums + first, panel, w + first * HAD_PANEL_TERMS, start + first, pairs);
    }
}
#else
/* Portable: compilers make vectors of the inner loop. */
static void tile(int16_t sums[8][HAD_PANEL_BLOCK], const uint8_t *panel, const had_weight *w,
                 const int16_t start[8], uint32_t pairs) {
    for (uint32_t r = 0U; r < 8U; r++) {
        int16_t acc[HAD_PANEL_BLOCK];
        for (uint32_t c = 0U; c < HAD_PANEL_BLOCK; c++) {
            acc[c] = start[r];
        }
        for (uint32_t k = 0U; k < pairs; k++) {
            const uint8_t *x = panel + k * PAIR_BYTES;
            int16_t even = w[r * HAD_PANEL_TERMS + 2U * k];
            int16_t odd = w[r * HAD_PANEL_TERMS + 2U * k + 1U];
            for (uint32_t c = 0U; c < HAD_PANEL_BLOCK; c++) {
                acc[c] = (int16_t)(acc[c] + x[2U * c] * even + x[2U * c + 1U] * odd);
            }
        }
        for (uint32_t c = 0U; c < HAD_PANEL_BLOCK; c++) {
            sums[r][c] = acc[c];
        }
    }
}
#endif

#if HAD_ACC_BITS >= 16
typedef int32_t had_part;
#else
typedef int16_t had_part;
#endif
/* Tiles whose saturated sums a had_part holds. */
#define PART_TILES (HAD_ACC_BITS >= 16 ? UINT32_MAX : 32767U >> (HAD_ACC_BITS - 1))

#ifdef HAD_COUNTERS
static void count(const had_counted *counted, int16_t sums[8][HAD_PANEL_BLOCK], uint32_t column) {
    for (uint32_t r = 0U; r < 8U; r++) {
        for (uint32_t c = 0U; c < HAD_PANEL_BLOCK; c++) {
            if ((counted->row_bits >> r & 1U) != 0U && column + c < counted->lanes) {
                int32_t sum = sums[r][c];
                counted->tally->total += 1U;
                counted->tally->saturated += sum != had_saturate_acc(sum) ? 1U : 0U;
            }
        }
    }
}
#endif

static void add_tile(had_part *restrict part, int16_t sums[8][HAD_PANEL_BLOCK]) {
    for (uint32_t r = 0U; r < 8U; r++) {
        for (uint32_t c = 0U; c < HAD_PANEL_BLOCK; c++) {
            int32_t sum = had_saturate_acc(sums[r][c]);
            part[r * HAD_PANEL_COLUMNS + c] = (had_part)(part[r * HAD_PANEL_COLUMNS + c] + sum);
        }
    }
}

static void clear_part(had_part *part, uint32_t columns) {
    for (uint32_t r = 0U; r < 8U; r++) {
        for (uint32_t c = 0U; c < columns; c++) {
            part[r * HAD_PANEL_COLUMNS + c] = 0;
        }
    }
}

/* Totals from the parts, which begin again. */
static void flush(int32_t *restrict out, uint32_t stride, had_part *restrict part, uint32_t columns,
                  uint32_t add) {
    for (uint32_t r = 0U; r < 8U; r++) {
        int32_t *to = out + r * stride;
        had_part *from = part + r * HAD_PANEL_COLUMNS;
        for (uint32_t c = 0U; c < columns; c++) {
            to[c] = (add != 0U ? to[c] : 0) + from[c];
        }
    }
    clear_part(part, columns);
}

void had_panel_product(int32_t *out, uint32_t stride, const uint8_t *panel, const had_weight *w,
                       uint32_t terms, uint32_t blocks, const had_counted *counted) {
    had_part part[8U * HAD_PANEL_COLUMNS];
    uint32_t columns = blocks * HAD_PANEL_BLOCK;
    uint32_t block_bytes = (terms + 1U) / 2U * PAIR_BYTES;
    uint32_t parts = 0U;
    uint32_t flushed = 0U;
    clear_part(part, columns);
    while (terms > 0U) {
        int16_t start[8];
        uint32_t taken = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        for (uint32_t r = 0U; r < 8U; r++) {
            start[r] = start_of(w + r * HAD_PANEL_TERMS, taken);
        }
        for (uint32_t b = 0U; b < blocks; b++) {
            int16_t sums[8][HAD_PANEL_BLOCK];
            tile(sums, panel + b * block_bytes, w, start, (taken + 1U) / 2U);
            HAD_COUNT(count(counted, sums, b * HAD_PANEL_BLOCK);)
            add_tile(part + b * HAD_PANEL_BLOCK, sums);
        }
        panel += TILE_PAIRS * PAIR_BYTES;
        w += taken;
        terms -= taken;
        parts++;
        if (parts == PART_TILES) {
            flush(out, stride, part, columns, flushed);
            flushed = 1U;
            parts = 0U;
        }
    }
    flush(out, stride, part, columns, flushed);
    (void)counted;
}

void had_panel_columns(uint8_t *panel, const int8_t *x, uint32_t terms) {
    for (uint32_t first = 0U; first < HAD_LANES; first += HAD_PANEL_BLOCK) {
        for (uint32_t k = 0U; k < terms; k += 2U) {
            const int8_t *even = x + k * HAD_BATCH_STRIDE + first;
            uint32_t whole = k + 1U < terms ? 1U : 0U;
            const int8_t *odd = whole != 0U ? even + HAD_BATCH_STRIDE : even;
            uint8_t keep = whole != 0U ? 0xFFU : 0U; /* the last pair may have one term only */
            for (uint32_t c = 0U; c < HAD_PANEL_BLOCK; c++) {
                panel[2U * c] = (uint8_t)(even[c] + HAD_PANEL_BIAS);
                panel[2U * c + 1U] = (uint8_t)((uint8_t)(odd[c] + HAD_PANEL_BIAS) & keep);
            }
            panel += PAIR_BYTES;
        }
    }
}

void had_panel_rows(uint8_t *panel, const int8_t *xh, uint32_t rows) {
    uint32_t pairs = HAD_BATCH_PADDED / 2U;
    for (uint32_t i = 0U; i < rows; i++) {
        const int8_t *x = xh + i * HAD_BATCH_STRIDE;
        uint8_t *to = panel + i / HAD_PANEL_BLOCK * pairs * PAIR_BYTES + i % HAD_PANEL_BLOCK * 2U;
        for (uint32_t k = 0U; k < pairs; k++) {
            to[0] = (uint8_t)(x[2U * k] + HAD_PANEL_BIAS);
            to[1] = (uint8_t)(x[2U * k + 1U] + HAD_PANEL_BIAS);
            to += PAIR_BYTES;
        }
    }
}
#else
typedef int had_panel_is_left_out; /* another variant is chosen */
#endif
