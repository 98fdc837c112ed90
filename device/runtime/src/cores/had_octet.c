/* SPDX-License-Identifier: Apache-2.0 */
/* Products of an octet in plain C; bounds in had_octet.h. */
#include "had_octet.h"

#if HAD_OCTET && !HAD_LONG && !HAD_OCTET_THUMB1
/* Raised sums of a tile: two rows a word. */
typedef struct had_octet {
    uint32_t a0, a1, a2, a3;
} had_octet;

#ifdef HAD_COUNTERS
static void count(const had_counted *counted, int32_t sum, uint32_t row) {
    if ((counted->row_bits >> row & 1U) != 0U) {
        counted->tally->total += 1U;
        counted->tally->saturated += sum != had_saturate_acc(sum) ? 1U : 0U;
    }
}

static void count_tile(const had_octet *sums, const had_counted *counted) {
    const uint32_t s[HAD_WORDS] = {sums->a0, sums->a1, sums->a2, sums->a3};
    for (uint32_t i = 0U; i < HAD_WORDS; i++) {
        int32_t fields = (int32_t)(s[i] - HAD_RAISE);
        int32_t low = had_field_low(fields);
        count(counted, low, 2U * i);
        count(counted, had_field_high(fields, low), 2U * i + 1U);
    }
}
#endif

/* Raised sums of a tile. */
static inline had_octet tile(const int8_t *x, const int32_t *w, uint32_t terms, uint32_t step) {
    had_octet s = {HAD_RAISE, HAD_RAISE, HAD_RAISE, HAD_RAISE};
    for (const int32_t *end = w + terms * HAD_WORDS; w != end; w += HAD_WORDS) {
        uint32_t value = (uint32_t)*x;
        s.a0 += value * (uint32_t)w[0];
        s.a1 += value * (uint32_t)w[1];
        s.a2 += value * (uint32_t)w[2];
        s.a3 += value * (uint32_t)w[3];
        x += step;
    }
    return s;
}

/* The same, saturated. */
static inline had_octet saturated_tile(const int8_t *x, const int32_t *w, uint32_t terms,
                                       uint32_t step, const had_counted *counted) {
    had_octet s = tile(x, w, terms, step);
    HAD_COUNT(count_tile(&s, counted);)
    (void)counted;
    if (((s.a0 | s.a1 | s.a2 | s.a3) & HAD_BEYOND) != 0U) {
        s.a0 = had_saturate_fields(s.a0);
        s.a1 = had_saturate_fields(s.a1);
        s.a2 = had_saturate_fields(s.a2);
        s.a3 = had_saturate_fields(s.a3);
    }
    return s;
}

/* Totals of one column more, of the first tile the first ones; they are left raised once. */
static inline void put(int32_t total[HAD_WORDS], const had_octet *s, uint32_t first) {
    if (first != 0U) {
        total[0] = (int32_t)s->a0;
        total[1] = (int32_t)s->a1;
        total[2] = (int32_t)s->a2;
        total[3] = (int32_t)s->a3;
    } else {
        total[0] = (int32_t)((uint32_t)total[0] + s->a0 - HAD_RAISE);
        total[1] = (int32_t)((uint32_t)total[1] + s->a1 - HAD_RAISE);
        total[2] = (int32_t)((uint32_t)total[2] + s->a2 - HAD_RAISE);
        total[3] = (int32_t)((uint32_t)total[3] + s->a3 - HAD_RAISE);
    }
}

/* A tile of all columns. */
static inline void columns(int32_t *total, const int8_t *x, const int32_t *w, uint32_t terms,
                           uint32_t step, uint32_t next, uint32_t first,
                           const had_counted *counted) {
    const int32_t *end = total + HAD_PRODUCTS(HAD_LANES);
    HAD_COUNT(end = total + HAD_PRODUCTS(counted->lanes);)
    for (; total != end; total += HAD_WORDS) {
        had_octet s = saturated_tile(x, w, terms, step, counted);
        put(total, &s, first);
        x += next;
    }
}

void had_octet_product(int32_t total[HAD_PRODUCTS(HAD_LANES)], const int8_t *x, const int32_t *w,
                       uint32_t terms, uint32_t step, uint32_t next, const had_counted *counted) {
    const int8_t *end = x + terms * step;
    for (uint32_t first = 1U; x != end; first = 0U) {
        uint32_t left = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        if (step == 1U) {
            columns(total, x, w, left, 1U, next, first, counted);
        } else {
            columns(total, x, w, left, HAD_BATCH_STRIDE, 1U, first, counted);
        }
        x += left * step;
        w += left * HAD_WORDS;
        terms -= left;
    }
}
#else
typedef int had_octet_is_left_out; /* another variant is chosen */
#endif
