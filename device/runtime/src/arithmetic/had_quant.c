/* SPDX-License-Identifier: Apache-2.0 */
/* The prepared quantiser, SPEC.md 1.6. qmax << S is at most 15 * 2^26 or 127 * 2^23, below 2^30. */
#include "had_cold.h"
#include "hadapt/quant.h"

#include "hadapt/scale.h"

had_quantizer had_quantizer_of(int32_t amax, uint32_t qmax, uint32_t shift) {
    uint32_t bits = had_bitlen((uint32_t)amax);
    had_quantizer q;
    q.k = bits > 15U ? bits - 15U : 0U;
    q.limit = amax >> q.k;
    q.r = (int32_t)had_divide(qmax << shift, (uint32_t)q.limit);
    return q;
}
