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
/* Where rows of weights share fields, so can totals: |total| <= D < 2^15. */
#define HAD_TOTALS_FIT (HAD_FIELDS_FIT && (HAD_ROWS == 2U || HAD_ROWS == 4U || HAD_OCTET))
#define BIAS 8
#define BOTH(v) ((uint32_t)(v) * 0x00010001U)

void had_dot_packed_sums(int32_t sums[HAD_PACKED_SUMS], const int8_t *x, uint32_t terms) {
    while (terms > 0U) {
        uint32_t left = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        int32_t sum = 0;
        terms -= left;
        for (const int8_t *end = x + left; x != end; x++) {
            sum += *x;
        }
        *sums++ = sum;
    }
}

#if HAD_FIELDS_FIT
/* Sums of rows 0 and 4, 1 and 5, 2 and 6, 3 and 7. */
typedef struct had_pairs {
    uint32_t p0, p1, p2, p3;
} had_pairs;

#define FORCE static inline __attribute__((always_inline))

#if HAD_PACKED_BYTES
#define NIBBLES 0x0F0F0F0FU
#ifdef HAD_FINE_INFERENCE
#define SIGNED_X 1 /* rests are */
#else
#define SIGNED_X HAD_X0_SIGNED
#endif
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

#if HAD_PACKED_ASSEMBLY
/* clang-format off */
/* A term; of signed x `sign` extends the value, and `add` adds 128 to each product. */
#define TERM(at, sign, add)                                                                        \
    "ldmia %[w]!, {r4}\n\t"                                                                        \
    "ldrb r5, [%[x], #" at "]\n\t" sign                                                            \
    "lsrs r6, r4, #4\n\t"                                                                          \
    "ands r6, %[nibbles]\n\t"                                                                      \
    "muls r6, r5, r6\n\t" add("r6")                                                                \
    "add %[all1], r6\n\t"                                                                          \
    "lsrs r6, r6, #8\n\t"                                                                          \
    "ands r6, %[bytes]\n\t"                                                                        \
    "add %[odd1], r6\n\t"                                                                          \
    "ands r4, %[nibbles]\n\t"                                                                      \
    "muls r4, r5, r4\n\t" add("r4")                                                                \
    "add %[all0], r4\n\t"                                                                          \
    "lsrs r4, r4, #8\n\t"                                                                          \
    "ands r4, %[bytes]\n\t"                                                                        \
    "add %[odd0], r4\n\t"
#define TERMS(sign, add)                                                                           \
    __asm__ volatile(".syntax unified\n1:\n\t"                                                     \
        TERM("0", sign, add) TERM("1", sign, add) TERM("2", sign, add) TERM("3", sign, add)        \
        "adds %[x], #4\n\t"                                                                        \
        "cmp %[w], %[end]\n\t"                                                                     \
        "bne 1b"                                                                                   \
        : [all0] "+h"(s->all0), [odd0] "+h"(s->odd0), [all1] "+h"(s->all1), [odd1] "+h"(s->odd1),  \
          [x] "+l"(x), [w] "+l"(w)                                                                 \
        : [end] "h"(end), [nibbles] "l"(NIBBLES), [bytes] "l"(BYTES), [r_] "l"(raise)              \
        : "cc", "memory", "r4", "r5", "r6")
#define RAISED(r) "adds " r ", %[r_]\n\t"
#define AS_IS(r)
/* clang-format on */

/* Whole groups of four terms, w up to `end`. */
FORCE void add_terms(had_bytes *s, const int8_t *x, const uint32_t *w, const uint32_t *end,
                     uint32_t raise) {
    if (raise != 0U) {
        TERMS("sxtb r5, r5\n\t", RAISED);
    } else {
        TERMS("", AS_IS);
    }
}
#else
FORCE void add_terms(had_bytes *s, const int8_t *x, const uint32_t *w, const uint32_t *end,
                     uint32_t raise) {
    for (; w != end; w++) {
        add_term(s, *w, (uint32_t)*x++, raise);
    }
}
#endif

FORCE had_pairs pairs(const int8_t *x, const uint32_t *w, uint32_t terms, uint32_t positive) {
    had_bytes s = {0U, 0U, 0U, 0U};
    uint32_t raise = SIGNED_X && positive == 0U ? 0x80808080U : 0U;
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

#if HAD_PACKED_ASSEMBLY
#define WORD(n)                                                                                    \
    "ldrsb r6, [%[x]], #1\n\t"                                                                     \
    "mla %[p0], r" n ", r6, %[p0]\n\t"                                                             \
    "and r8, %[fields], r" n ", lsr #4\n\t"                                                        \
    "mla %[p1], r8, r6, %[p1]\n\t"                                                                 \
    "and r8, %[fields], r" n ", lsr #8\n\t"                                                        \
    "mla %[p2], r8, r6, %[p2]\n\t"                                                                 \
    "and r8, %[fields], r" n ", lsr #12\n\t"                                                       \
    "mla %[p3], r8, r6, %[p3]\n\t"

/* Whole groups of four terms, w up to `end`. */
FORCE void add_terms(had_pairs *s, const int8_t *x, const uint32_t *w, const uint32_t *end) {
    __asm__ volatile("1:\n\t"
                     "ldrd r4, r5, [%[w]], #8\n\t" WORD("4")
                         WORD("5") "ldrd r4, r5, [%[w]], #8\n\t" WORD("4")
                             WORD("5") "cmp %[w], %[end]\n\t"
                                       "bne 1b"
                     : [p0] "+r"(s->p0), [p1] "+r"(s->p1), [p2] "+r"(s->p2), [p3] "+r"(s->p3),
                       [x] "+r"(x), [w] "+r"(w)
                     : [end] "r"(end), [fields] "r"(FIELDS)
                     : "cc", "memory", "r4", "r5", "r6", "r8");
}
#else
FORCE void add_terms(had_pairs *s, const int8_t *x, const uint32_t *w, const uint32_t *end) {
    for (; w != end; w += 4) {
        add_term(s, w[0], (uint32_t)x[0]);
        add_term(s, w[1], (uint32_t)x[1]);
        add_term(s, w[2], (uint32_t)x[2]);
        add_term(s, w[3], (uint32_t)x[3]);
        x += 4;
    }
}
#endif

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
#if HAD_ACC_BITS < 16
#define RAISE BOTH(1U << (HAD_ACC_BITS - 1))
#define BEYOND BOTH(0xFFFFU - ((1U << HAD_ACC_BITS) - 1U))

/* A raised word whose fields are not both within acc_bits. */
static __attribute__((noinline)) uint32_t saturate(uint32_t word) {
    int32_t fields = (int32_t)(word - RAISE);
    int32_t low = had_field_low(fields);
    int32_t high = had_saturate_acc(had_field_high(fields, low));
    return (uint32_t)had_saturate_acc(low) + (uint32_t)high * 65536U + RAISE;
}
#else
#define RAISE 0U
#endif

/* Totals of a tile more; while they are tested, fields are raised by 2^(acc_bits-1) as in had_octet.h. */
FORCE had_pairs add_tile(had_pairs total, had_pairs s, uint32_t bias) {
    bias -= RAISE;
    s.p0 -= bias;
    s.p1 -= bias;
    s.p2 -= bias;
    s.p3 -= bias;
#if HAD_ACC_BITS < 16
    if (((s.p0 | s.p1 | s.p2 | s.p3) & BEYOND) != 0U) {
        s.p0 = (s.p0 & BEYOND) != 0U ? saturate(s.p0) : s.p0;
        s.p1 = (s.p1 & BEYOND) != 0U ? saturate(s.p1) : s.p1;
        s.p2 = (s.p2 & BEYOND) != 0U ? saturate(s.p2) : s.p2;
        s.p3 = (s.p3 & BEYOND) != 0U ? saturate(s.p3) : s.p3;
    }
#endif
    total.p0 += s.p0 - RAISE;
    total.p1 += s.p1 - RAISE;
    total.p2 += s.p2 - RAISE;
    total.p3 += s.p3 - RAISE;
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
        words = add_tile(words, s, BOTH(BIAS) * (uint32_t)*sums++);
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
    const uint32_t bias = BOTH(BIAS) * (uint32_t)sum;
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

#if !HAD_TOTALS_FIT || !HAD_FIELDS_FIT
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
