/* SPDX-License-Identifier: Apache-2.0 */
/* Largest magnitude of many values. */
#ifndef HAD_GROW_H
#define HAD_GROW_H

#include "hadapt/core.h"
#include "hadapt/quant.h"

/* Larger of amax and |v|, |v| <= 2^30. Wide vectors compare; a small core takes a branch that is rare. */
static inline int32_t had_grow(int32_t amax, int32_t v) {
#if HAD_PANEL || defined(__ARM_FEATURE_MVE)
    return had_abs(v) > amax ? had_abs(v) : amax;
#else
    if (__builtin_expect((uint32_t)v + (uint32_t)amax > 2U * (uint32_t)amax, 0)) {
        amax = had_abs(v);
    }
    return amax;
#endif
}

#endif
