/* SPDX-License-Identifier: Apache-2.0 */
/* Power spectrum of a frame of audio, SPEC.md 15.2 a to c. */
#ifndef HAD_RFFT_H
#define HAD_RFFT_H

#include <stdint.h>

#include "hadapt/features.h"

/*
 * P_k, k = 1 .. fft / 2 - 1, of a frame: its lower 32 bits in z[2 k], the upper ones in z[2 k + 1]; z has fft values.
 * raw: `frame` int16, little-endian.
 */
void had_power_spectrum(int32_t *z, const uint8_t *raw, const had_mfcc *spec);

#endif
