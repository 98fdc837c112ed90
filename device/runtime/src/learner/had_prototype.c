/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prototypes: sums of features per class, SPEC.md 8.5.
 *
 * Bounds: n_c <= 255 and |f| <= 15, so |S| <= 3825; |n f - S| <= 7650, its square is below 2^26, D < 2^26 *
 * features, and D n^2 < 2^42 * features.
 */
#include "../arithmetic/had_cold.h"

#include "hadapt/memory.h"

#if HAD_KEEP_PROTOTYPES
#include "hadapt/exemplar.h"

#define COUNT_MAX 255
#define COUNT_HALVED 128

void had_prototype_add(had_learner *ln, uint32_t label, const int8_t *features) {
    int16_t *count = ln->working.prototype[label];
    int16_t *sum = count + 1;
    if (*count == COUNT_MAX) {
        *count = COUNT_HALVED;
        for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
            sum[j] = (int16_t)((sum[j] + 1) >> 1);
        }
    }
    *count = (int16_t)(*count + 1);
    for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
        sum[j] = (int16_t)(sum[j] + features[j]);
    }
}

static void clear(had_learner *ln) {
    for (uint32_t c = 0U; c < HAD_MAX_CLASSES; c++) {
        for (uint32_t j = 0U; j <= HAD_FEATURES; j++) {
            ln->working.prototype[c][j] = 0;
        }
    }
}

void had_prototypes_retake(had_learner *ln) {
    had_herd *herd = &ln->arena.herd;
    int8_t *features = (int8_t *)herd->mean; /* free after herding, and large enough */
    clear(ln);
    for (uint32_t p = 0U; p < ln->exemplars.count; p++) {
        uint32_t slot = ln->exemplars.order[p];
        for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
            features[j] = (int8_t)had_feature(had_features_of(ln, slot), j);
        }
        had_prototype_add(ln, ln->exemplars.label[slot], features);
    }
}

static int64_t distance(const int16_t *prototype, const int8_t *features) {
    int64_t total = 0;
    for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
        int32_t difference = prototype[0] * features[j] - prototype[1U + j];
        total += (int64_t)difference * difference;
    }
    return total;
}

had_status had_prototype_nearest(const had_learner *ln, uint32_t *label, const int8_t *features) {
    int64_t best_distance = 0;
    int64_t best_count = 0;
    for (uint32_t c = 0U; c < ln->committed.n_classes; c++) {
        const int16_t *prototype = ln->committed.prototype[c];
        int64_t count = prototype[0];
        if (count > 0) {
            int64_t d = distance(prototype, features);
            if (best_count == 0 || d * best_count * best_count < best_distance * count * count) {
                best_distance = d;
                best_count = count;
                *label = c;
            }
        }
    }
    return best_count > 0 ? HAD_OK : HAD_ERR_STATE;
}
#else
typedef int had_prototypes_are_left_out;
#endif
