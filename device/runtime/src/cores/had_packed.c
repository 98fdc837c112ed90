/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends of tiles in 16-bit fields; bounds in had_packed.h.
 *
 * Both fields of a word are within acc_bits if and only if, each raised by 2^(acc_bits-1), none has a bit
 * from acc_bits on: one test for two sums, and few tiles saturate.
 */
#include "had_packed.h"

#if (HAD_ROWS == 2U || HAD_ROWS == 4U) && !HAD_DSP
#define BOTH(v) ((v) * 0x00010001U)

#ifdef HAD_COUNTERS
static void count(const had_counted *counted, int32_t sum, uint32_t row, uint32_t lane) {
    if ((counted->row_bits >> row & 1U) != 0U && lane < counted->lanes) {
        counted->tally->total += 1U;
        counted->tally->saturated += sum != had_saturate_acc(sum) ? 1U : 0U;
    }
}
#endif

#if HAD_ACC_BITS < 16
static uint32_t saturates(int32_t word) {
    uint32_t raised = (uint32_t)word + BOTH(1U << (HAD_ACC_BITS - 1));
    return raised & BOTH(0xFFFFU - ((1U << HAD_ACC_BITS) - 1U));
}
#endif

/* Fields of one word of a tile, saturated. */
static inline void part(int32_t *low, int32_t *high, int32_t word) {
    *low = had_field_low(word);
    *high = had_field_high(word, *low);
#if HAD_ACC_BITS < 16
    if (saturates(word) != 0U) {
        *low = had_saturate_acc(*low);
        *high = had_saturate_acc(*high);
    }
#endif
}

#ifdef HAD_COUNTERS
static void count_tile(const int32_t *sums, const had_counted *counted) {
    for (uint32_t i = 0U; i < HAD_SUMS; i++) {
        int32_t low = had_field_low(sums[i]);
        count(counted, low, i / HAD_QUAD * 2U, i % HAD_QUAD);
        count(counted, had_field_high(sums[i], low), i / HAD_QUAD * 2U + 1U, i % HAD_QUAD);
    }
}
#endif

void had_packed_add(int32_t total[HAD_SUMS], const int32_t *before, const int32_t sums[HAD_SUMS],
                    const had_counted *counted) {
    HAD_COUNT(count_tile(sums, counted);)
    (void)counted;
    for (uint32_t i = 0U; i < HAD_SUMS; i++) {
        int32_t low;
        int32_t high;
        part(&low, &high, sums[i]);
        total[i] = (before != 0 ? before[i] : 0) + low + high * 65536;
    }
}

void had_packed_end(int32_t out[HAD_ROWS * HAD_QUAD], const int32_t *before,
                    const int32_t sums[HAD_SUMS], const had_counted *counted) {
    HAD_COUNT(count_tile(sums, counted);)
    (void)counted;
    for (uint32_t word = 0U; word < HAD_WORDS; word++) {
        for (const int32_t *end = sums + HAD_QUAD; sums != end; sums++) {
            part(out, out + HAD_QUAD, *sums);
            if (before != 0) {
                int32_t low = had_field_low(*before);
                out[0] += low;
                out[HAD_QUAD] += had_field_high(*before, low);
                before++;
            }
            out++;
        }
        out += HAD_QUAD;
    }
}
#else
typedef int had_packed_is_left_out; /* another variant is chosen */
#endif
