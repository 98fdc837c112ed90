/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power spectrum of a frame of audio, SPEC.md 15.2 a to c: windowed samples, two a complex number, through a transform of
 * half the size, then split.
 *
 * Bounds: windowed samples |y_i| <= 2^20 w_i + 1/2 and the window sums to frame / 2 <= 512, so every complex number on the
 * way is below M = 2^29 + 2^20 (2^29 of the samples, times 1 + 2^-11 for the tables' rounding, and roundings of 1 a stage).
 * Numbers are multiplied in two parts, v = 2^15 high + low: |high| <= 2^14 + 32 as a complex number, low in [0, 2^15), so
 * high c + high s stays below 2^30 and low c + low s + 2^14 below 2 (2^15 - 1)^2 + 2^14 < 2^31.
 */
#include "had_rfft.h"
#include "../arithmetic/had_bytes.h"

#define HALF_RANGE 32768U
#define LOW 0x7FFF
#define ROUND (1 << 14)

_Static_assert(2LL * LOW * INT16_MAX + ROUND <= INT32_MAX,
               "products of lower parts and their rounding");
_Static_assert(2LL * ((1 << 14) + 32) * INT16_MAX <= INT32_MAX, "products of upper parts");
_Static_assert((long long)INT16_MIN *INT16_MIN + (1 << 9) <= INT32_MAX, "windowed samples");

typedef struct complex {
    int32_t re;
    int32_t im;
} complex;

static int32_t windowed(const uint8_t *raw, uint32_t i, const had_mfcc *spec) {
    if (i >= spec->frame) {
        return 0;
    }
    uint32_t back = spec->frame - i;
    int32_t x = (int32_t)(had_load_u16(raw + 2U * i) ^ HALF_RANGE) - (int32_t)HALF_RANGE;
    return (x * spec->hann[i < back ? i : back] + (1 << 9)) >> 10; /* |x V| < 2^30 */
}

/* Windowed samples, two a number, in bit-reversed order. */
static void load(int32_t *z, const uint8_t *raw, const had_mfcc *spec) {
    uint32_t half = spec->fft / 2U;
    uint32_t reversed = 0U;
    for (uint32_t i = 0U; i < half; i++) {
        z[2U * reversed] = windowed(raw, 2U * i, spec);
        z[2U * reversed + 1U] = windowed(raw, 2U * i + 1U, spec);
        uint32_t bit = half >> 1;
        while ((reversed & bit) != 0U) {
            reversed ^= bit;
            bit >>= 1;
        }
        reversed |= bit;
    }
}

static inline int32_t rounded(int32_t high, int32_t low) {
    return high + ((low + ROUND) >> 15);
}

/* v (c - i s), rounded. */
static inline complex turned(complex v, int32_t c, int32_t s) {
    int32_t re = v.re >> 15;
    int32_t im = v.im >> 15;
    int32_t re_low = v.re & LOW;
    int32_t im_low = v.im & LOW;
    complex t = {rounded(re * c + im * s, re_low * c + im_low * s),
                 rounded(im * c - re * s, im_low * c - re_low * s)};
    return t;
}

/* turn(v, k) of SPEC.md 15.2, 0 <= k < fft / 2. */
static inline complex turn(complex v, uint32_t k, const had_mfcc *spec) {
    uint32_t quarter = spec->fft / 4U;
    if (k == 0U) {
        return v;
    }
    if (k == quarter) {
        complex t = {v.im, -v.re};
        return t;
    }
    return turned(v, spec->sine[k + quarter], spec->sine[k]);
}

/* a + t and a - t, in place of a and b. */
static inline void butterfly(int32_t *a, int32_t *b, complex t) {
    b[0] = a[0] - t.re;
    b[1] = a[1] - t.im;
    a[0] += t.re;
    a[1] += t.im;
}

/* The stages h = 1 and h = 2 at once: their factors are 1 and -i, nothing is rounded. */
static void first_stages(int32_t *z, uint32_t fft) {
    for (uint32_t at = 0U; at < fft; at += 8U) {
        int32_t *a = z + at;
        complex odd = {a[2], a[3]};
        complex last = {a[6], a[7]};
        butterfly(a, a + 2, odd);
        butterfly(a + 4, a + 6, last);
        complex sum = {a[4], a[5]};
        complex turned_difference = {a[7], -a[6]};
        butterfly(a, a + 4, sum);
        butterfly(a + 2, a + 6, turned_difference);
    }
}

/* Stage h: elements j and j + h of every block of 2 h, one factor after the other. */
static void stage(int32_t *z, uint32_t h, const had_mfcc *spec) {
    uint32_t stride = spec->fft / (2U * h);
    for (uint32_t j = 0U; j < h; j++) {
        uint32_t k = j * stride;
        if (k == 0U || 2U * j == h) {
            for (uint32_t at = 2U * j; at < spec->fft; at += 4U * h) {
                complex b = {z[at + 2U * h], z[at + 2U * h + 1U]};
                butterfly(z + at, z + at + 2U * h, turn(b, k, spec));
            }
            continue;
        }
        int32_t c = spec->sine[k + spec->fft / 4U];
        int32_t s = spec->sine[k];
        for (uint32_t at = 2U * j; at < spec->fft; at += 4U * h) {
            complex b = {z[at + 2U * h], z[at + 2U * h + 1U]};
            butterfly(z + at, z + at + 2U * h, turned(b, c, s));
        }
    }
}

/*
 * rhu(re^2 + im^2, 14) as two words. With v = 2^15 high + low it is 2^16 (high^2 + high^2) + 4 (high low + high low) +
 * rhu(low^2 + low^2, 14), all parts in 32 bits: |v| < 2^30 + 2^21, so high^2 + high^2 < 2^31, |high low + high low| < 2^31.
 */
static void put_power(int32_t *out, int32_t re, int32_t im) {
    int32_t re_high = re >> 15;
    int32_t im_high = im >> 15;
    int32_t re_low = re & LOW;
    int32_t im_low = im & LOW;
    uint32_t squares = (uint32_t)(re_high * re_high + im_high * im_high);
    int32_t middle = re_high * re_low + im_high * im_low;
    uint32_t least = (uint32_t)(re_low * re_low + im_low * im_low);
    int64_t power = (int64_t)((uint64_t)squares << 16) + (int64_t)middle * 4;
    power += (int64_t)((least + (1U << 13)) >> 14);
    out[0] = (int32_t)(uint32_t)((uint64_t)power & 0xFFFFFFFFU);
    out[1] = (int32_t)(uint32_t)((uint64_t)power >> 32);
}

/* The spectra of even and odd samples, A and B of SPEC.md 15.2 c, to the powers of bins k and fft / 2 - k. */
static void split(int32_t *z, uint32_t k, const had_mfcc *spec) {
    int32_t *z0 = z + 2U * k;
    int32_t *z1 = z + (spec->fft - 2U * k);
    complex a = {z0[0] + z1[0], z0[1] - z1[1]};
    complex b = {z0[1] + z1[1], z1[0] - z0[0]};
    complex t = turn(b, k, spec);
    put_power(z1, a.re - t.re, a.im - t.im);
    put_power(z0, a.re + t.re, a.im + t.im);
}

void had_power_spectrum(int32_t *z, const uint8_t *raw, const had_mfcc *spec) {
    uint32_t quarter = spec->fft / 4U;
    load(z, raw, spec);
    first_stages(z, spec->fft);
    for (uint32_t h = 4U; h <= quarter; h *= 2U) {
        stage(z, h, spec);
    }
    for (uint32_t k = 1U; k <= quarter; k++) {
        split(z, k, spec);
    }
}
