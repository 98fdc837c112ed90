/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walsh-Hadamard transforms, SPEC.md 1.7: passes of radix 4, and one of radix 2 where the order asks for it.
 *
 * Bound: a block of n values of magnitude M gives n M. Callers: 16-bit errors (2^21 for n = 64), 4-bit
 * activations (960), masters times row factors (2^15 * 2^8 * 2^6 = 2^29).
 */
#include "hadapt/fwht.h"

#include "../cores/had_fwht_mve.h"

/* Passes h and 2 h at once, on every group of 4 h values. */
static inline void radix4(int32_t *v, uint32_t count, uint32_t h) {
#if HAD_MVE_ASSEMBLY
    if (h == 1U && count % 16U == 0U) {
        had_mve_neighbours(v, count);
        return;
    }
    for (uint32_t at = 0U; h % 4U == 0U && at < count; at += 4U * h) {
        had_mve_group4(v + at, h);
    }
    if (h % 4U == 0U) {
        return;
    }
#endif
    for (int32_t *group = v; group != v + count; group += 4U * h) {
        for (int32_t *a = group; a != group + h; a++) {
            int32_t even = a[0] + a[h];
            int32_t odd = a[0] - a[h];
            int32_t sum = a[2U * h] + a[3U * h];
            int32_t difference = a[2U * h] - a[3U * h];
            a[0] = even + sum;
            a[2U * h] = even - sum;
            a[h] = odd + difference;
            a[3U * h] = odd - difference;
        }
    }
}

static inline void radix2(int32_t *v, uint32_t count, uint32_t h) {
#if HAD_MVE_ASSEMBLY
    for (uint32_t at = 0U; h % 4U == 0U && at < count; at += 2U * h) {
        had_mve_group2(v + at, h);
    }
    if (h % 4U == 0U) {
        return;
    }
#endif
    for (int32_t *group = v; group != v + count; group += 2U * h) {
        for (int32_t *a = group; a != group + h; a++) {
            int32_t sum = a[0] + a[h];
            a[h] = a[0] - a[h];
            a[0] = sum;
        }
    }
}

/* Passes for `order` elements that lie `unit` apart; constant steps let compilers use constant offsets. */
static inline void transform(int32_t *v, uint32_t count, uint32_t order, uint32_t unit) {
    if (order >= 4U) {
        radix4(v, count, unit);
    }
    if (order >= 16U) {
        radix4(v, count, 4U * unit);
    }
    if (order >= 64U) {
        radix4(v, count, 16U * unit);
    }
    if (order == 2U || order == 8U || order == 32U) {
        radix2(v, count, order / 2U * unit);
    }
}

void had_fwht_row(int32_t *v, uint32_t count) {
    transform(v, count, HAD_ORDER, 1U);
}

void had_fwht_pairs(int32_t *v, uint32_t count) {
    transform(v, count, HAD_ORDER / 2U, 1U);
}

#if !HAD_FWHT_THUMB
void had_fwht_columns(int32_t v[HAD_ORDER * HAD_LANES]) {
    transform(v, HAD_ORDER * HAD_LANES, HAD_ORDER, HAD_LANES);
}
#endif
