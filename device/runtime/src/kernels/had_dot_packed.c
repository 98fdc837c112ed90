/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturating products of one 4-bit vector with HAD_VIEW_ROWS rows of packed weights: inference.
 *
 * A word holds one weight of eight rows, each plus 8: n = sum of n_r 16^r, 1 <= n_r <= 15. Rows r and r + 4 share
 * the 16-bit fields of a sum. 8 times the sum of x is taken away from both at the end of a tile: what is left
 * is the exact sum, |sum| <= tile_k * 105 < 2^15. |total| <= min(ceil(terms / tile_k) 2^(acc_bits-1), terms * 105).
 */
#include "had_tile.h"
#include "hadapt/dot.h"

#if !HAD_MVE && !HAD_VIEW_DSP
#define BIAS 8

/* Where totals are summed in fields: what is taken from a tile's fields, less what they are raised by. */
void had_dot_packed_sums(int32_t sums[HAD_PACKED_SUMS], const int8_t *x, uint32_t terms) {
    while (terms > 0U) {
        uint32_t left = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        int32_t sum = 0;
        terms -= left;
        for (const int8_t *end = x + left; x != end; x++) {
            sum += *x;
        }
#if HAD_TOTALS_FIT
        sum = (int32_t)(HAD_BOTH(BIAS) * (uint32_t)sum - HAD_RAISE);
#endif
        *sums++ = sum;
    }
}

#if HAD_FIELDS_FIT
uint32_t had_saturate_fields(uint32_t word) {
    if ((word & HAD_BEYOND) == 0U) {
        return word;
    }
    int32_t fields = (int32_t)(word - HAD_RAISE);
    int32_t low = had_field_low(fields);
    int32_t high = had_saturate_acc(had_field_high(fields, low));
    return (uint32_t)had_saturate_acc(low) + (uint32_t)high * 65536U + HAD_RAISE;
}
#endif

#if HAD_PACKED_THUMB
/* had_packed_v6m.c or had_packed_v7m.c is chosen */
#elif HAD_FIELDS_FIT
/* Sums of rows 0 and 4, 1 and 5, 2 and 6, 3 and 7. */
typedef struct had_pairs {
    uint32_t p0, p1, p2, p3;
} had_pairs;

#define FORCE static inline __attribute__((always_inline))

#if HAD_PACKED_BYTES
#define NIBBLES 0x0F0F0F0FU
#define BYTES 0x00FF00FFU

/*
 * One multiplication makes four products of a byte each: of x in [0, 15] below 2^8, of x in [-7, 7] from -105 to 105,
 * and between 0 and 2^8 once `raise`, 128 a byte, is added. all is the sum of words, odd that of their odd bytes,
 * and all - odd 2^8 that of the even ones. Words wrap. First for the even nibbles, then for the odd ones.
 */
typedef struct had_bytes {
    uint32_t all0, odd0, all1, odd1;
} had_bytes;

FORCE void add_term(had_bytes *s, uint32_t word, uint32_t value, uint32_t raise) {
    uint32_t product = (word & NIBBLES) * value + raise;
    s->all0 += product;
    s->odd0 += product >> 8 & BYTES;
    product = (word >> 4 & NIBBLES) * value + raise;
    s->all1 += product;
    s->odd1 += product >> 8 & BYTES;
}

FORCE void add_terms(had_bytes *s, const int8_t *x, const uint32_t *w, const uint32_t *end,
                     uint32_t raise) {
    for (; w != end; w++) {
        add_term(s, *w, (uint32_t)*x++, raise);
    }
}

FORCE had_pairs pairs(const int8_t *x, const uint32_t *w, uint32_t terms, uint32_t positive) {
    had_bytes s = {0U, 0U, 0U, 0U};
    uint32_t raise = HAD_PACKED_SIGNED && positive == 0U ? 0x80808080U : 0U;
    uint32_t whole = terms & ~3U;
    if (whole > 0U) {
        add_terms(&s, x, w, w + whole, raise);
    }
    for (uint32_t k = whole; k < terms; k++) {
        add_term(&s, w[k], (uint32_t)x[k], raise);
    }
    uint32_t raised = (raise & BYTES) * terms;
    raise *= terms;
    s.odd0 -= raised;
    s.odd1 -= raised;
    return (had_pairs){s.all0 - raise - (s.odd0 << 8), s.all1 - raise - (s.odd1 << 8), s.odd0,
                       s.odd1};
}
#elif defined(__ARM_FEATURE_MVE)
#define FIELDS 0x000F000FU

/* In the form that compilers make vectors of. */
FORCE had_pairs pairs(const int8_t *x, const uint32_t *w, uint32_t terms, uint32_t positive) {
    had_pairs s = {0U, 0U, 0U, 0U};
    for (uint32_t k = 0U; k < terms; k++) {
        uint32_t value = (uint32_t)x[k];
        s.p0 += (w[k] & FIELDS) * value;
        s.p1 += (w[k] >> 4 & FIELDS) * value;
        s.p2 += (w[k] >> 8 & FIELDS) * value;
        s.p3 += (w[k] >> 12 & FIELDS) * value;
    }
    (void)positive;
    return s;
}
#else
#define FIELDS 0x000F000FU

FORCE void add_term(had_pairs *s, uint32_t word, uint32_t value) {
    s->p0 += word * value;
    s->p1 += (word >> 4 & FIELDS) * value;
    s->p2 += (word >> 8 & FIELDS) * value;
    s->p3 += (word >> 12 & FIELDS) * value;
}

FORCE void add_terms(had_pairs *s, const int8_t *x, const uint32_t *w, const uint32_t *end) {
    for (; w != end; w += 4) {
        add_term(s, w[0], (uint32_t)x[0]);
        add_term(s, w[1], (uint32_t)x[1]);
        add_term(s, w[2], (uint32_t)x[2]);
        add_term(s, w[3], (uint32_t)x[3]);
        x += 4;
    }
}

/* The first pair is what the other three leave of the whole words: n = sum of pair_j 16^j. Words wrap. */
FORCE had_pairs pairs(const int8_t *x, const uint32_t *w, uint32_t terms, uint32_t positive) {
    had_pairs s = {0U, 0U, 0U, 0U};
    uint32_t whole = terms & ~3U;
    if (whole > 0U) {
        add_terms(&s, x, w, w + whole);
    }
    for (uint32_t k = whole; k < terms; k++) {
        add_term(&s, w[k], (uint32_t)x[k]);
    }
    s.p0 -= (s.p1 << 4) + (s.p2 << 8) + (s.p3 << 12);
    (void)positive;
    return s;
}
#endif

#if HAD_TOTALS_FIT
/* Totals of a tile more; while they are tested, fields are raised by 2^(acc_bits-1) as in had_octet.h. */
FORCE had_pairs add_tile(had_pairs total, had_pairs s, uint32_t bias) {
    s.p0 -= bias;
    s.p1 -= bias;
    s.p2 -= bias;
    s.p3 -= bias;
    if (((s.p0 | s.p1 | s.p2 | s.p3) & HAD_BEYOND) != 0U) {
        s.p0 = had_saturate_fields(s.p0);
        s.p1 = had_saturate_fields(s.p1);
        s.p2 = had_saturate_fields(s.p2);
        s.p3 = had_saturate_fields(s.p3);
    }
    total.p0 += s.p0 - HAD_RAISE;
    total.p1 += s.p1 - HAD_RAISE;
    total.p2 += s.p2 - HAD_RAISE;
    total.p3 += s.p3 - HAD_RAISE;
    return total;
}

static inline void put_fields(int32_t *total, uint32_t word) {
    int32_t low = had_field_low((int32_t)word);
    total[0] = low;
    total[HAD_VIEW_ROWS / 2U] = had_field_high((int32_t)word, low);
}

void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive) {
    had_pairs words = {0U, 0U, 0U, 0U};
    while (terms > 0U) {
        uint32_t left = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        had_pairs s = pairs(x, w, left, positive);
        words = add_tile(words, s, (uint32_t)*sums++);
        x += left;
        w += left;
        terms -= left;
    }
    put_fields(total, words.p0);
    put_fields(total + 1, words.p1);
    put_fields(total + 2, words.p2);
    put_fields(total + 3, words.p3);
}
#else
/* Saturated fields of a word to the totals of rows r and r + 4. */
static inline void add_fields(int32_t *total, uint32_t word, uint32_t bias) {
    int32_t fields = (int32_t)(word - bias);
    int32_t low = had_field_low(fields);
    int32_t high = had_field_high(fields, low);
    total[0] += had_saturate_acc(low);
    total[HAD_VIEW_ROWS / 2U] += had_saturate_acc(high);
}

static void tile(int32_t *total, const int8_t *x, const uint32_t *w, uint32_t terms, int32_t sum,
                 uint32_t positive) {
    const had_pairs s = pairs(x, w, terms, positive);
    const uint32_t bias = HAD_BOTH(BIAS) * (uint32_t)sum;
    add_fields(total, s.p0, bias);
    add_fields(total + 1, s.p1, bias);
    add_fields(total + 2, s.p2, bias);
    add_fields(total + 3, s.p3, bias);
}
#endif
#else
static void tile(int32_t *total, const int8_t *x, const uint32_t *w, uint32_t terms, int32_t sum,
                 uint32_t positive) {
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r++) {
        int32_t acc = 0;
        for (uint32_t k = 0U; k < terms; k++) {
            acc += x[k] * ((int32_t)(w[k] >> (4U * r) & 0xFU) - BIAS);
#if HAD_SATURATE_EVERY_ADD
            acc = had_saturate_acc(acc);
#endif
        }
        total[r] += had_saturate_acc(acc);
    }
    (void)sum;
    (void)positive;
}
#endif

#if !HAD_TOTALS_FIT
void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive) {
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r++) {
        total[r] = 0;
    }
    for (; terms > HAD_TILE_K; terms -= HAD_TILE_K) {
        tile(total, x, w, HAD_TILE_K, *sums++, positive);
        x += HAD_TILE_K;
        w += HAD_TILE_K;
    }
    tile(total, x, w, terms, *sums, positive);
}
#endif
#else
typedef int had_dot_packed_is_left_out; /* had_packed_mve.c or had_packed_dsp.c is chosen */
#endif
