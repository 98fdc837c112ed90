/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Herding and trimming, SPEC.md 8.4.
 *
 * Bounds: features are at most 15, a class has fewer than 2^16 samples and keeps at most 1023, so
 * |256 sum f| < 2^28 and |2 T| <= 2 * 1023 * 256 * 15 * 2 < 2^24, times f below 2^28; scores add up in
 * 64 bits.
 */
#include "../arithmetic/had_cold.h"

#include "hadapt/exemplar.h"
#include "hadapt/memory.h"
#include "hadapt/plan.h"

#define QUOTA_MAX 1023U
#define FEATURES_SIGNED ((HAD_LAYERS == 1) && HAD_X0_SIGNED)

int32_t had_feature(const uint8_t *packed, uint32_t j) {
    return had_nibble(packed, j, FEATURES_SIGNED);
}

#if HAD_LAYERS == 1
/* Features are x0 itself. */
void had_features_refresh(had_learner *ln) {
    (void)ln;
}

const uint8_t *had_features_of(const had_learner *ln, uint32_t slot) {
    return ln->exemplars.packed[slot];
}
#else
static void pack_features(uint8_t *packed, const int8_t *features) {
    for (uint32_t j = 0U; j < HAD_FEATURES; j += 2U) {
        uint32_t high = j + 1U < HAD_FEATURES ? (uint32_t)features[j + 1U] & 0xFU : 0U;
        packed[j >> 1] = (uint8_t)(((uint32_t)features[j] & 0xFU) | (high << 4));
    }
}

void had_features_refresh(had_learner *ln) {
    for (uint32_t p = 0U; p < ln->exemplars.count; p++) {
        uint32_t slot = ln->exemplars.order[p];
        had_x0_unpack(had_plan_at_x0(ln), ln->exemplars.packed[slot]);
        had_plan_features(ln);
        pack_features(ln->arena.herd.features[slot], had_plan_at_features(ln));
    }
}

const uint8_t *had_features_of(const had_learner *ln, uint32_t slot) {
    return ln->arena.herd.features[slot];
}
#endif

/* floor(a / b), 0 < b < 2^16: below zero -1 - floor((-1 - a) / b). */
static int32_t floor_divide(int32_t a, int32_t b) {
    uint32_t divisor = (uint32_t)b;
    return a >= 0 ? (int32_t)had_divide((uint32_t)a, divisor)
                  : -1 - (int32_t)had_divide((uint32_t)(-1 - a), divisor);
}

static void class_mean(had_learner *ln, const uint16_t *order, uint32_t samples) {
    had_herd *herd = &ln->arena.herd;
    int32_t n = (int32_t)samples;
    for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
        int32_t sum = 0;
        for (uint32_t p = 0U; p < samples; p++) {
            sum += had_feature(had_features_of(ln, order[p]), j);
        }
        herd->mean[j] = floor_divide(256 * sum + n / 2, n);
        herd->target[j] = 2 * herd->mean[j];
    }
}

/* 2 sum f T - 256 sum f^2 of a sample. */
static int64_t score(const had_herd *herd, const uint8_t *features) {
    int64_t total = 0;
    for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
        int32_t f = had_feature(features, j);
        total += f * (herd->target[j] - 256 * f);
    }
    return total;
}

/* Move position p of order to the front, the others keep their order. */
static void move_to_front(uint16_t *order, uint32_t p) {
    uint16_t slot = order[p];
    for (; p > 0U; p--) {
        order[p] = order[p - 1U];
    }
    order[0] = slot;
}

/* Choose `keep` of the samples: they come first in order, in the order of choice. */
static void herd_class(had_learner *ln, uint16_t *order, uint32_t samples, uint32_t keep) {
    had_herd *herd = &ln->arena.herd;
    class_mean(ln, order, samples);
    for (uint32_t k = 0U; k < keep; k++) {
        uint32_t best = k;
        int64_t best_score = INT64_MIN;
        for (uint32_t p = k; p < samples; p++) {
            int64_t value = score(herd, had_features_of(ln, order[p]));
            best = value > best_score ? p : best;
            best_score = value > best_score ? value : best_score;
        }
        move_to_front(order + k, best - k);
        for (uint32_t j = 0U; j < HAD_FEATURES; j++) {
            int32_t f = had_feature(had_features_of(ln, order[k]), j);
            herd->target[j] += 2 * herd->mean[j] - 512 * f;
        }
        ln->exemplars.rank[order[k]] = (uint16_t)k;
    }
}

static uint32_t quota_of(uint32_t n_classes) {
    uint32_t quota = had_divide(HAD_EXEMPLAR_SLOTS, n_classes);
    quota = quota > QUOTA_MAX ? QUOTA_MAX : quota;
#if HAD_CLASS_LIMIT > 0
    quota = quota > HAD_CLASS_LIMIT ? HAD_CLASS_LIMIT : quota;
#endif
    return quota;
}

/* Free what follows the first `keep` samples of a class, and move the kept ones up in order. */
static uint32_t keep_first(had_exemplars *ex, uint32_t to, uint32_t from, uint32_t samples,
                           uint32_t keep) {
    for (uint32_t p = 0U; p < samples; p++) {
        uint16_t slot = ex->order[from + p];
        ex->state[slot] = p < keep ? HAD_SLOT_COMMITTED : HAD_SLOT_FREE;
        if (p < keep) {
            ex->order[to + p] = slot;
        }
    }
    return to + keep;
}

void had_herd_and_trim(had_learner *ln) {
    had_exemplars *ex = &ln->exemplars;
    uint32_t quota = quota_of(ln->working.n_classes);
    uint32_t kept = 0U;
    had_exemplar_index(ex);
    for (uint32_t label = 0U; label < HAD_MAX_CLASSES; label++) {
        uint32_t first = ex->class_start[label];
        uint32_t samples = (uint32_t)ex->class_start[label + 1U] - first;
        uint32_t keep = samples < quota ? samples : quota;
        /* Arrivals have the highest ranks, so the last one tells whether there are any. */
        if (samples > 0U && ex->rank[ex->order[first + samples - 1U]] >= HAD_RANK_STAGED) {
            herd_class(ln, ex->order + first, samples, keep);
        }
        kept = keep_first(ex, kept, first, samples, keep);
    }
    ex->count = kept;
}
