/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks that grow, SPEC.md 16. A block that was never used is all zero and changes no result: so the state needs
 * no field for it. The kernels know nothing of blocks: rows are kept by the mask of the errors, columns by zeros in x.
 */
#include "hadapt/expand.h"

#include "had_committed.h"
#include "hadapt/random.h"
#include "hadapt/state.h"
#include "hadapt/train.h"

#ifdef HAD_EXPANSIONS
#define HEAD (HAD_LAYERS - 1U)

_Static_assert(HAD_EXPANSION_FIRST < HEAD, "a hidden layer has the blocks");

/* First row of a block in a layer that has blocks. */
static uint32_t first_row(const had_layer *layer, uint32_t block) {
    return layer->outputs - (HAD_EXPANSIONS - block) * HAD_EXPANSION_ROWS;
}

static uint32_t is_inside(uint32_t at, uint32_t first) {
    return at >= first && at < first + HAD_EXPANSION_ROWS ? 1U : 0U;
}

static uint32_t grows(const had_learner *ln) {
    return ln->session.config.sampling & HAD_SAMPLE_EXPANDS;
}

/* Whether only the columns of the block below learn. */
static uint32_t has_columns(const had_layer *layer) {
    return layer->index > HAD_EXPANSION_FIRST && layer->index < HEAD ? 1U : 0U;
}

/* 1: the block's masters in the lowest layer that has blocks are all zero. */
static uint32_t is_free(had_learner *ln, uint32_t source, uint32_t block) {
    const had_layer *layer = &had_layers[HAD_EXPANSION_FIRST];
    uint32_t first = first_row(layer, block);
    for (uint32_t o = first; o < first + HAD_EXPANSION_ROWS; o++) {
        const had_master *w = source == HAD_EXPORT_COMMITTED
                                  ? had_committed_row(ln, layer, o)
                                  : ln->master + layer->master_at + o * layer->inputs;
        for (uint32_t i = 0U; i < layer->inputs && w != 0; i++) {
            if (w[i] != 0) {
                return 0U;
            }
        }
    }
    return 1U;
}

/* u (2 g + 1) < 2^32. */
static had_master drawn(uint32_t key, uint32_t index, uint32_t g) {
    uint32_t word = had_mix(key + (index >> 1));
    uint32_t u = word >> (16U * (index & 1U)) & 0xFFFFU;
    return (had_master)((int32_t)(u * (2U * g + 1U) >> 16) - (int32_t)g);
}

static void draw_layer(had_learner *ln, const had_layer *layer, uint32_t block, uint32_t seed) {
    uint32_t g = (uint32_t)had_expansion_draw[layer->index - HAD_EXPANSION_FIRST];
    uint32_t key =
        had_tensor_key(had_step_key(seed, ln->working.step), HAD_TENSOR_BLOCK(layer->index));
    uint32_t even = (layer->inputs + 1U) & ~1U;
    uint32_t first = first_row(layer, block);
    uint32_t below = has_columns(layer) != 0U ? first_row(layer - 1, block) : 0U;
    for (uint32_t o = first; o < first + HAD_EXPANSION_ROWS; o++) {
        had_master *w = ln->master + layer->master_at + o * layer->inputs;
        for (uint32_t i = 0U; i < layer->inputs; i++) {
            if (has_columns(layer) == 0U || is_inside(i, below) != 0U) {
                w[i] = drawn(key, o * even + i, g);
            }
        }
    }
}

had_status had_expand(had_learner *ln, had_session *session) {
    uint32_t block = 0U;
    if ((session->config.sampling & HAD_SAMPLE_EXPANDS) == 0U) {
        return HAD_OK;
    }
    while (block < HAD_EXPANSIONS && is_free(ln, HAD_EXPORT_COMMITTED, block) == 0U) {
        block++;
    }
    if (had_committed_was_read(ln) != HAD_OK || block == HAD_EXPANSIONS) {
        return had_committed_was_read(ln) != HAD_OK ? HAD_ERR_IO : HAD_ERR_FULL;
    }
    session->block = block;
    if (is_free(ln, HAD_EXPORT_WORKING, block) != 0U) {
        for (uint32_t l = HAD_EXPANSION_FIRST; l < HEAD; l++) {
            draw_layer(ln, &had_layers[l], block, session->config.seed);
        }
    }
    return HAD_OK;
}

void had_expand_mask(const had_learner *ln, const had_layer *layer, uint8_t *mask) {
    uint32_t blocks = layer->index + 1U > HAD_EXPANSION_FIRST ? 1U : 0U;
    uint32_t first = blocks != 0U ? first_row(layer, ln->session.block) : 0U;
    if (grows(ln) == 0U) {
        return;
    }
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        for (uint32_t j = 0U; j < HAD_MASK_BYTES; j++) {
            mask[j] = blocks != 0U && is_inside(o, first) != 0U ? mask[j] : 0U;
        }
        mask += HAD_MASK_BYTES;
    }
}

void had_expand_column(const had_learner *ln, const had_layer *layer, int8_t *xh, uint32_t i) {
    if (grows(ln) == 0U || has_columns(layer) == 0U ||
        is_inside(i, first_row(layer - 1, ln->session.block)) != 0U) {
        return;
    }
    for (uint32_t b = 0U; b < HAD_BATCH_STRIDE; b++) {
        xh[b] = 0;
    }
}
#else
typedef int had_expand_is_left_out; /* the model reserves no blocks */
#endif
