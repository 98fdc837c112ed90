/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of a window of sensor samples, SPEC.md 15.1. */
#include "../arithmetic/had_bytes.h"
#include "hadapt/features.h"

#define HALF_RANGE 32768U

/* What one pass over an axis finds; |sum| <= 2^25, squares <= 2^40, moved <= 2^26 for windows of 1024. */
typedef struct axis_sums {
    uint64_t squares;
    int32_t sum;
    uint32_t moved;
    int32_t least;
    int32_t most;
} axis_sums;

/*@ assigns \nothing;
    ensures -32768 <= \result <= 32767; */
static int32_t sample(const uint8_t *raw, uint32_t at) {
    return (int32_t)(had_load_u16(raw + 2U * at) ^ HALF_RANGE) - (int32_t)HALF_RANGE;
}

/*@ requires \valid_read(spec) && 2 <= spec->window <= 1024;
    assigns \nothing;
    ensures -33554432 <= \result.sum <= 33554432 && \result.squares <= 1099511627776;
    ensures \result.moved <= 67108864 && -32768 <= \result.least <= \result.most <= 32767; */
static axis_sums scan(const uint8_t *raw, uint32_t axis, const had_window_stats *spec) {
    int32_t x = sample(raw, axis);
    axis_sums s = {0U, 0, 0U, x, x};
    int32_t before = x;
    /*@ loop invariant 0 <= t <= spec->window && -32768 <= before <= 32767;
        loop invariant -32768 * t <= s.sum <= 32768 * t && s.squares <= 1073741824 * t;
        loop invariant s.moved <= 65535 * t && -32768 <= s.least <= s.most <= 32767;
        loop assigns t, x, before, s;
        loop variant spec->window - t; */
    for (uint32_t t = 0U; t < spec->window; t++) {
        x = sample(raw, t * spec->axes + axis);
        s.sum += x;
        s.squares += (uint64_t)(uint32_t)(x * x);
        s.moved += (uint32_t)(x < before ? before - x : x - before);
        s.least = x < s.least ? x : s.least;
        s.most = x > s.most ? x : s.most;
        before = x;
    }
    return s;
}

/* floor(sqrt(v)), digit by digit. */
static uint32_t root(uint64_t v) {
    uint64_t bit = (uint64_t)1U << 62;
    uint64_t result = 0U;
    while (bit > v) {
        bit >>= 2;
    }
    while (bit != 0U) {
        uint64_t next = result >> 1;
        if (v >= result + bit) {
            v -= result + bit;
            next += bit;
        }
        result = next;
        bit >>= 2;
    }
    return (uint32_t)result;
}

static uint32_t deviation(const axis_sums *s, uint32_t extra, const had_window_stats *spec) {
    uint32_t n = spec->window;
    int64_t sum = s->sum;
    uint64_t scatter = n * s->squares - (uint64_t)(sum * sum); /* <= 2^50 */
    uint64_t square = (scatter << (2U * extra)) / (n * (n - spec->ddof));
    uint32_t r = root(square);
    return r + (square - (uint64_t)r * r > r ? 1U : 0U);
}

static void put(uint8_t *out, uint32_t at, uint32_t value) {
    had_store_u16(out + 2U * at, value);
}

/*@ assigns \nothing;
    ensures \result <= 32767 && (value <= 32767 ==> \result == value); */
static uint32_t saturated(uint32_t value) {
    return value > HALF_RANGE - 1U ? HALF_RANGE - 1U : value;
}

void had_features_window_stats(uint8_t *out, const uint8_t *raw, const had_window_stats *spec) {
    uint32_t n = spec->window;
    for (uint32_t axis = 0U; axis < spec->axes; axis++) {
        axis_sums s = scan(raw, axis, spec);
        uint32_t extra = spec->extra_bits[axis];
        uint32_t at = HAD_WINDOW_STATISTICS * axis;
        /* the offset keeps the dividend positive: floor, not towards zero */
        uint32_t above = (uint32_t)(2 * s.sum + (int32_t)(n + 2U * HALF_RANGE * n)) / (2U * n);
        uint32_t difference = ((s.moved << (extra + 1U)) + n - 1U) / (2U * (n - 1U));
        put(out, at, above - HALF_RANGE);
        put(out, at + 1U, saturated(deviation(&s, extra, spec)));
        put(out, at + 2U, (uint32_t)s.least);
        put(out, at + 3U, (uint32_t)s.most);
        put(out, at + 4U, saturated(difference));
    }
}
