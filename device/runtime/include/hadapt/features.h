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

#endif
