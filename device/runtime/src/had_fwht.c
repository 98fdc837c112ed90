/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walsh-Hadamard transforms, SPEC.md 1.7.
 *
 * Bound: a block of n values of magnitude M gives n M. Callers: 16-bit errors (2^21 for n = 64), 4-bit
 * activations (960), masters times row factors (2^15 * 2^8 * 2^6 = 2^29).
 */
#include "hadapt/fwht.h"

void had_fwht_row(int32_t *v, uint32_t count) {
    for (uint32_t h = 1U; h < HAD_ORDER; h *= 2U) {
        for (uint32_t i = 0U; i < count; i += 2U * h) {
            int32_t *a = v + i;
            int32_t *b = a + h;
            for (uint32_t j = 0U; j < h; j++) {
                int32_t sum = a[j] + b[j];
                b[j] = a[j] - b[j];
                a[j] = sum;
            }
        }
    }
}

void had_fwht_columns(int32_t v[HAD_ORDER * HAD_LANES]) {
    for (uint32_t h = 1U; h < HAD_ORDER; h *= 2U) {
        for (uint32_t i = 0U; i < HAD_ORDER; i += 2U * h) {
            /* Rows i .. i + h - 1 and the h rows below them: one run of h * HAD_LANES values each. */
            int32_t *a = v + i * HAD_LANES;
            int32_t *b = a + h * HAD_LANES;
            for (uint32_t j = 0U; j < h * HAD_LANES; j++) {
                int32_t sum = a[j] + b[j];
                b[j] = a[j] - b[j];
                a[j] = sum;
            }
        }
    }
}
