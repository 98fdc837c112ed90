/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features of raw signals, SPEC.md 15: from int16 samples to the int16 values that the input stage reads.
 *
 * The firmware calls them by itself where a model was quantized with `features`; they can be called
 * alone as well, for nothing of the learner is touched.
 */
#ifndef HADAPT_FEATURES_H
#define HADAPT_FEATURES_H

#include <stdint.h>

/* An axis: mean, deviation, minimum, maximum, mean absolute difference. */
#define HAD_WINDOW_STATISTICS 5U

/* Statistics of a window of sensor samples, SPEC.md 15.1. */
typedef struct had_window_stats {
    const uint8_t *extra_bits; /* an axis: 0 .. 4, of deviation and mean absolute difference */
    uint16_t window;           /* samples an axis: 2 .. 1024 */
    uint16_t axes;             /* 1 .. 64 */
    uint8_t ddof;              /* the deviation's divisor is window - ddof: 0 or 1 */
} had_window_stats;

/*
 * out: axes x HAD_WINDOW_STATISTICS values; raw: window x axes values, the axes of a sample side by side. Both
 * int16, little-endian. They do not overlap.
 */
void had_features_window_stats(uint8_t *out, const uint8_t *raw, const had_window_stats *spec);

/* Mel-frequency cepstral coefficients of one channel of audio, SPEC.md 15.2; the tables are named there. */
typedef struct had_mfcc {
    const int16_t *hann;       /* V, the first half: frame / 2 + 1 */
    const int16_t *sine;       /* S: 3 fft / 4 */
    const uint16_t *edge;      /* b: mels + 2 */
    const uint16_t *rise;      /* R of the bins edge[0] .. edge[mels + 1] - 1 */
    const uint16_t *logarithm; /* G: 65 */
    const int16_t *cosine;     /* D: coefficients x mels */
    uint64_t floor;            /* g: 2^13 .. 2^43 */
    uint16_t window;           /* samples of the signal: frame .. 65535 */
    uint16_t frame;            /* samples: 2 .. fft */
    uint16_t step;             /* samples: at least 1 */
    uint16_t fft;              /* points: a power of two, 64 .. 1024 */
    uint16_t mels;             /* 1 .. 128 */
    uint16_t coefficients;     /* 1 .. mels */
    uint8_t shift;             /* q + 10 - F: 1 .. 31 */
} had_mfcc;

/* Bytes of `scratch` of had_features_mfcc: the spectrum of one frame, and the logarithms of its bands. */
#define HAD_MFCC_SCRATCH_BYTES(fft, mels) (4U * (fft) + 2U * (mels))

/*
 * out: coefficients of every frame, frame by frame, (1 + (window - frame) / step) x coefficients values; raw: window
 * values. Both int16, little-endian. scratch: HAD_MFCC_SCRATCH_BYTES, aligned to 4 bytes. None overlaps another.
 */
void had_features_mfcc(uint8_t *out, const uint8_t *raw, const had_mfcc *spec, int32_t *scratch);

/* The same of one frame: `frame` values of raw to `coefficients` values of out. */
void had_features_mfcc_frame(uint8_t *out, const uint8_t *raw, const had_mfcc *spec,
                             int32_t *scratch);

#endif
