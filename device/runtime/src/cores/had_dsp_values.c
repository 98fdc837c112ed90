/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the batch two a word; what words hold, and bounds: had_dsp_values.h. */
#include "had_dsp_values.h"

#include "hadapt/random.h"

#if HAD_DSP_VALUES
#define WORDS (HAD_BATCH_PADDED / 2U)

static inline void butterfly(uint32_t *a, uint32_t *b) {
    uint32_t sum = had_add16(*a, *b);
    *b = had_sub16(*a, *b);
    *a = sum;
}

/* Sixteen values, but for the butterflies of words 0 and 1, 2 and 3, and so on. */
static inline void transform16(uint32_t *to, uint32_t v0, uint32_t v1, uint32_t v2, uint32_t v3,
                               uint32_t v4, uint32_t v5, uint32_t v6, uint32_t v7) {
    butterfly(&v0, &v2);
    butterfly(&v4, &v6);
    butterfly(&v0, &v4);
    butterfly(&v2, &v6);
    butterfly(&v1, &v3);
    butterfly(&v5, &v7);
    butterfly(&v1, &v5);
    butterfly(&v3, &v7);
    to[0] = had_cross16(v0);
    to[1] = had_cross16(v1);
    to[2] = had_cross16(v2);
    to[3] = had_cross16(v3);
    to[4] = had_cross16(v4);
    to[5] = had_cross16(v5);
    to[6] = had_cross16(v6);
    to[7] = had_cross16(v7);
}

/* Passes beyond sixteen values. */
static inline void transform_rest(uint32_t *row) {
    for (uint32_t h = 8U; h < HAD_ORDER / 2U; h *= 2U) {
        for (uint32_t *group = row; group != row + WORDS; group += 2U * h) {
            for (uint32_t *a = group; a != group + h; a++) {
                butterfly(a, a + h);
            }
        }
    }
}

void had_dsp_bytes(int32_t *row, const int8_t *x) {
    uint32_t *to = (uint32_t *)row;
    for (const int8_t *end = x + HAD_BATCH_PADDED; x != end; x += 16) {
        uint32_t a = had_word_at(x);
        uint32_t b = had_word_at(x + 4);
        uint32_t c = had_word_at(x + 8);
        uint32_t d = had_word_at(x + 12);
        transform16(to, had_bytes_even(a), had_bytes_odd(a), had_bytes_even(b), had_bytes_odd(b),
                    had_bytes_even(c), had_bytes_odd(c), had_bytes_even(d), had_bytes_odd(d));
        to += 8;
    }
    transform_rest((uint32_t *)row);
}

void had_dsp_halves(int32_t *row, const int16_t *d) {
    uint32_t *to = (uint32_t *)row;
    for (const int16_t *end = d + HAD_BATCH_PADDED; d != end; d += 16) {
        uint32_t v[8];
        (void)memcpy(v, d, sizeof v);
        had_exchange(v, v + 1);
        had_exchange(v + 2, v + 3);
        had_exchange(v + 4, v + 5);
        had_exchange(v + 6, v + 7);
        transform16(to, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]);
        to += 8;
    }
    transform_rest((uint32_t *)row);
}

/* Of a sum and a difference the larger magnitude is the sum of the magnitudes. */
static inline uint32_t grow(uint32_t most, const uint32_t *v) {
    return had_max16(most, had_add16(had_abs16(v[0]), had_abs16(v[1])));
}

/* Four bytes from their words. */
static inline void put_bytes(int8_t *x, uint32_t a, uint32_t b) {
    uint32_t bytes = (a & 0x00FF00FFU) | (b & 0x00FF00FFU) << 8;
    (void)memcpy(x, &bytes, sizeof bytes);
}

int32_t had_dsp_grow(const int32_t *row, int32_t amax, int8_t *x) {
    const uint32_t *v = (const uint32_t *)row;
    const uint32_t *end = v + WORDS;
    uint32_t most = 0U;
    if (x == 0) {
        for (; v != end; v += 2) {
            most = grow(most, v);
        }
    } else {
        for (; v != end; v += 2) {
            most = grow(most, v);
            put_bytes(x, v[0], v[1]);
            x += 4;
        }
    }
    int32_t larger = had_larger_half(most);
    return larger > amax ? larger : amax;
}

/*
 * Values 0 and 2, 1 and 3 of words a and b, stochastically rounded. The draw of a byte stands two bits higher, for
 * 10 bits are dropped; that of byte 2 above it is taken away with them.
 */
static inline void quantize4(uint32_t *a, uint32_t *b, int32_t r, uint32_t word) {
    uint32_t sum = had_add16(*a, *b);
    uint32_t difference = had_sub16(*a, *b);
    uint32_t even = word << 2 & 0x03FC03FCU;
    uint32_t odd = word >> 6 & 0x03FC03FCU;
    *a = had_quotients(had_smlawt(r, sum, even), had_smlawb(r, sum, even >> 16));
    *b = had_quotients(had_smlawt(r, difference, odd), had_smlawb(r, difference, odd >> 16));
}

void had_dsp_draw(int8_t *xh, const int32_t *row, int32_t r, uint32_t key) {
    const uint32_t *v = (const uint32_t *)row;
    const int8_t *end = xh + HAD_BATCH_PADDED;
    if (v == 0) {
        for (; xh != end; xh += 4) {
            uint32_t bytes = had_word_at(xh);
            uint32_t a = had_bytes_even(bytes);
            uint32_t b = had_bytes_odd(bytes);
            quantize4(&a, &b, r, had_mix(key++));
            put_bytes(xh, a, b);
        }
        return;
    }
    for (; xh != end; xh += 4) {
        uint32_t a = *v++;
        uint32_t b = *v++;
        quantize4(&a, &b, r, had_mix(key++));
        put_bytes(xh, a, b);
    }
}

void had_dsp_draw_errors(had_weight *dt, const int32_t *row, int32_t r, uint32_t key) {
    const uint32_t *v = (const uint32_t *)row;
    for (const uint32_t *end = v + WORDS; v != end; v += 2) {
        dt[0] = v[0];
        dt[HAD_WORDS] = v[1];
        quantize4(dt, dt + HAD_WORDS, r, had_mix(key++));
        dt += 2U * HAD_WORDS;
    }
}

/* Two columns to the sums of their quotients; returns bits 0 and 16 where they are above zero. */
static inline uint32_t activate2(int32_t sums[2], const int16_t *y, int32_t r) {
    uint32_t v = had_positive16(had_word_at(y));
    sums[0] = had_smlawb(r, v, 1U << 9);
    sums[1] = had_smlawt(r, v, 1U << 9);
    return (v + 0x7FFF7FFFU) >> 15 & 0x00010001U;
}

/* Four columns; returns their mask bits, 0 and 2 in the low half. */
static inline uint32_t activate4(int8_t *x, const int16_t *y, int32_t r) {
    int32_t a[2];
    int32_t b[2];
    uint32_t bits = activate2(a, y, r);
    bits |= activate2(b, y + 2, r) << 2;
    uint32_t bytes = had_quotients(a[0], b[0]) | had_quotients(a[1], b[1]) << 8;
    (void)memcpy(x, &bytes, sizeof bytes);
    return bits;
}

void had_dsp_activate(int8_t *x, uint8_t *mask, const int16_t *y, int32_t r, uint32_t count) {
    for (const int8_t *end = x + count; x != end; x += 8) {
        uint32_t bits = activate4(x, y, r);
        bits |= activate4(x + 4, y + 4, r) << 4;
        *mask++ = (uint8_t)(bits | bits >> 15);
        y += 8;
    }
}
#else
typedef int had_dsp_values_is_left_out; /* a core without it, another variant or a small order */
#endif
