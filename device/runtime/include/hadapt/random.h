/* SPDX-License-Identifier: Apache-2.0 */
/* Counter-based random words, SPEC.md 1.3. Inline: a draw costs a few instructions. */
#ifndef HADAPT_RANDOM_H
#define HADAPT_RANDOM_H

#include <stdint.h>

/* Tensor numbers of trainable layer l, and of the sampler. */
#define HAD_TENSOR_ERROR_INPUT(l) (8U * (uint32_t)(l) + 0U)
#define HAD_TENSOR_ERROR_WEIGHT(l) (8U * (uint32_t)(l) + 1U)
#define HAD_TENSOR_ACTIVATION(l) (8U * (uint32_t)(l) + 2U)
#define HAD_TENSOR_UPDATE(l) (8U * (uint32_t)(l) + 3U)
#define HAD_TENSOR_BLOCK(l) (8U * (uint32_t)(l) + 4U)
#define HAD_TENSOR_SAMPLER 0xFFFF0000U

/* Loaded, not spelled out: compilers for small cores make twenty additions of a known factor. */
extern const uint32_t had_mix_factors[2];

/* The hash of SPEC.md 1.3: every bit of x reaches every bit of the result. */
static inline uint32_t had_mix(uint32_t x) {
    x ^= x >> 16;
    x *= had_mix_factors[0];
    x ^= x >> 15;
    x *= had_mix_factors[1];
    x ^= x >> 16;
    return x;
}

/* Part of the key that is constant within a step. */
static inline uint32_t had_step_key(uint32_t seed, uint32_t step) {
    return had_mix(had_mix(seed) + step);
}

/* Key of a tensor within a step. */
static inline uint32_t had_tensor_key(uint32_t step_key, uint32_t tensor) {
    return had_mix(step_key + tensor);
}

/* 8-bit draw with this index. */
static inline uint32_t had_draw8(uint32_t key, uint32_t index) {
    return (had_mix(key + (index >> 2)) >> (8U * (index & 3U))) & 0xFFU;
}

#endif
