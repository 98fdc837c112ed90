/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mel-frequency cepstral coefficients, SPEC.md 15.2.
 *
 * Bounds: powers below 2^47, together below 2^46 by Parseval (SPEC.md); times weights of 2^15 and with a floor of 2^43 the
 * energies stay below 2^62. Logarithms are below 2^15 in magnitude, cosines too, their sum over 128 bands below 2^37.
 */
#include "../arithmetic/had_bytes.h"
#include "had_rfft.h"
#include "hadapt/features.h"

#define ONE 32768U
#define FLOOR_BITS 43
#define FRACTION 16U

/* power times weight <= 2^15, by halves of words: no product is wider than 32 bits. */
static uint64_t weighted(const int32_t *power, uint32_t weight) {
    uint32_t low = (uint32_t)power[0];
    uint64_t high = (uint64_t)((uint32_t)power[1] * weight) << 32;
    return high + ((uint64_t)((low >> 16) * weight) << 16) + (low & 0xFFFFU) * weight;
}

/* l of SPEC.md 15.2 e. */
static int16_t logarithm(uint64_t energy, const uint16_t *table) {
    uint32_t high = (uint32_t)(energy >> 32);
    uint32_t word = high != 0U ? high : (uint32_t)energy;
    uint32_t bits = high != 0U ? 32U : 0U;
    for (uint32_t step = 16U; step != 0U; step >>= 1) {
        if (word >> step != 0U) {
            word >>= step;
            bits += step;
        }
    }
    uint64_t v = bits > FRACTION ? energy >> (bits - FRACTION) : energy << (FRACTION - bits);
    uint32_t i = (uint32_t)(v >> 10) & 63U;
    uint32_t rise = (uint32_t)table[i + 1U] - table[i];
    uint32_t fraction = table[i] + ((rise * ((uint32_t)v & 1023U) + 512U) >> 10);
    int32_t log = ((int32_t)bits - FLOOR_BITS) * (int32_t)ONE + (int32_t)fraction;
    return (int16_t)((log + 16) >> 5);
}

/* Logarithms of the bands' energies, from a power spectrum. */
static void bands(int16_t *logs, const int32_t *power, const had_mfcc *spec) {
    const uint16_t *rise = spec->rise;
    uint64_t energy = 0U; /* of the band that falls in segment s */
    for (uint32_t s = 0U; s <= spec->mels; s++) {
        uint64_t next = spec->floor;
        for (uint32_t k = spec->edge[s]; k < spec->edge[s + 1U]; k++) {
            const int32_t *p = power + 2U * k;
            uint64_t rising = weighted(p, *rise++);
            next += rising;
            energy += (((uint64_t)(uint32_t)p[1] << 32 | (uint32_t)p[0]) << 15) - rising;
        }
        if (s != 0U) {
            logs[s - 1U] = logarithm(energy, spec->logarithm);
        }
        energy = next;
    }
}

static int32_t coefficient(const int16_t *logs, const int16_t *cosine, const had_mfcc *spec) {
    int64_t sum = 0;
    for (uint32_t m = 0U; m < spec->mels; m++) {
        sum += (int32_t)logs[m] * cosine[m];
    }
    sum = (sum + ((int64_t)1 << (spec->shift - 1U))) >> spec->shift;
    return (int32_t)(sum > INT16_MAX ? INT16_MAX : (sum < INT16_MIN ? INT16_MIN : sum));
}

void had_features_mfcc_frame(uint8_t *out, const uint8_t *raw, const had_mfcc *spec,
                             int32_t *scratch) {
    int16_t *logs = (int16_t *)(void *)(scratch + spec->fft);
    had_power_spectrum(scratch, raw, spec);
    bands(logs, scratch, spec);
    for (uint32_t j = 0U; j < spec->coefficients; j++) {
        int32_t value = coefficient(logs, spec->cosine + j * spec->mels, spec);
        had_store_u16(out + 2U * j, (uint32_t)value);
    }
}

void had_features_mfcc(uint8_t *out, const uint8_t *raw, const had_mfcc *spec, int32_t *scratch) {
    uint32_t last = (uint32_t)spec->window - spec->frame;
    for (uint32_t at = 0U; at <= last; at += spec->step) {
        had_features_mfcc_frame(out, raw + 2U * at, spec, scratch);
        out += 2U * spec->coefficients;
    }
}
