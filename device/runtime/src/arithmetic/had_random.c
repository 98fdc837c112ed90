/* SPDX-License-Identifier: Apache-2.0 */
/* Factors of the hash, SPEC.md 1.3. */
#include "hadapt/random.h"

const uint32_t had_mix_factors[2] = {0x7feb352dU, 0x846ca68bU};
