/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saturation, clip and zero counters, SPEC.md 6.5. Present only in builds with HAD_COUNTERS; otherwise
 * every macro here is empty and the pointers handed around are null.
 */
#ifndef HADAPT_COUNTERS_H
#define HADAPT_COUNTERS_H

#include <stdint.h>

#include "hadapt_config.h"

/* The order is that of the reply to COUNTERS. */
enum had_tensor { HAD_T_X, HAD_T_WQ, HAD_T_DH, HAD_T_WH, HAD_T_DT, HAD_T_XH, HAD_TENSORS };
/* Products of a step, in the same order. */
enum had_product { HAD_P_FORWARD, HAD_P_INPUT, HAD_P_WEIGHT, HAD_PRODUCTS };

/* Of a tensor: values quantised, clipped to the range, and zero afterwards. */
typedef struct had_tensor_tally {
    uint32_t elements;
    uint32_t clipped;
    uint32_t zeros;
} had_tensor_tally;

/* Of a product: tiles, and those that saturated. */
typedef struct had_tally {
    uint32_t total; /* tiles; additions in mode every_add */
    uint32_t saturated;
} had_tally;

/* All that is counted of a layer. */
typedef struct had_layer_tally {
    had_tensor_tally tensor[HAD_TENSORS];
    had_tally product[HAD_PRODUCTS];
    uint32_t masters_saturated;
    uint32_t outputs_saturated; /* y */
    uint32_t errors_saturated;  /* d' made by the layer's input gradient */
} had_layer_tally;

/* All that is counted, as the reply to COUNTERS. */
typedef struct had_counters {
    had_layer_tally layer[HAD_LAYERS];
} had_counters;

_Static_assert(sizeof(had_counters) == 4U * 27U * HAD_LAYERS, "had_counters is a list of u32");

/* Code that is there in counting builds only, and a product's tally; null in others. */
#ifdef HAD_COUNTERS
#define HAD_COUNT(...) __VA_ARGS__
#define HAD_PRODUCT_TALLY(ln, l, p) (&(ln)->counters.layer[l].product[p])
#else
#define HAD_COUNT(...)
#define HAD_PRODUCT_TALLY(ln, l, p) ((had_tally *)0)
#endif

/* One quantised element: v >> k before clipping to [low, limit], q after rounding. */
static inline void had_tally_element(had_tensor_tally *t, int32_t shifted, int32_t low,
                                     int32_t limit, int32_t q) {
    t->elements += 1U;
    t->clipped += (shifted < low || shifted > limit) ? 1U : 0U;
    t->zeros += q == 0 ? 1U : 0U;
}

/* A tensor, or row, that is all zero. */
static inline void had_tally_zeros(had_tensor_tally *t, uint32_t elements) {
    t->elements += elements;
    t->zeros += elements;
}

#endif
