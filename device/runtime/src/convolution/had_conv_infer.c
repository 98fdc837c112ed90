/* SPDX-License-Identifier: Apache-2.0 */
/* A trainable convolution in inference, SPEC.md 14.4: batch of one, committed view, frozen ranges. */
#include "../dense/had_row.h"
#include "../kernels/had_tile.h"
#include "had_conv_layer.h"
#include "hadapt/infer.h"

#if defined(HAD_CONV_LAYERS) && HAD_LAYERS > 1
/*
 * Add y of an output at one pixel to the sum of its window: the sum or the maximum, none below 0; of a side layer y
 * itself. shortcut: that of the pixel; null: none.
 */
static int32_t add_output(const had_learner *ln, int32_t so_far, int32_t acc, uint32_t o,
                          const had_layer *layer, const int16_t *shortcut) {
    uint32_t at = layer->bias_at + o;
    int32_t top = had_top(layer->conv);
    had_multiplier m = {ln->view.mult[at], ln->view.shift[at]};
    int32_t y = had_row_output(acc, layer->forward_shift, m, had_rhu16(ln->committed.bias[at]));
#ifdef HAD_RESIDUAL
    if (layer->side != 0U) {
        return had_saturate_s16(y);
    }
    y += shortcut != 0 ? shortcut[o] : 0;
#endif
    (void)shortcut;
    y = y > top ? top : (y > 0 ? y : 0);
    if (layer->conv->pool != HAD_POOL_MAX) {
        return so_far + y;
    }
    return y > so_far ? y : so_far;
}

/* All outputs at one pixel. */
static void add_pixel(const had_learner *ln, int32_t *sums, const int8_t *patch,
                      const had_layer *layer, const int16_t *shortcut) {
    int32_t acc[HAD_VIEW_ROWS];
    int32_t tiles[HAD_TILES];
    had_dot_packed_sums(tiles, patch, layer->inputs);
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        if (o % HAD_VIEW_ROWS == 0U) {
            had_dot_packed(acc, patch,
                           ln->view.words + layer->view_at + o / HAD_VIEW_ROWS * layer->inputs,
                           layer->inputs, tiles, HAD_IS_POSITIVE(layer));
        }
        sums[o] = add_output(ln, sums[o], acc[o % HAD_VIEW_ROWS], o, layer, shortcut);
    }
}

/* x by row r of a group of the view. */
static int32_t dot_row(const int8_t *x, const uint32_t *words, uint32_t terms, uint32_t r) {
    int32_t total = 0;
    for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
        uint32_t end = terms - k < HAD_TILE_K ? terms : k + HAD_TILE_K;
        int32_t sum = 0;
        for (uint32_t j = k; j < end; j++) {
            sum += x[j] * ((int32_t)(words[j] >> (4U * r) & 0xFU) - 8);
#if HAD_SATURATE_EVERY_ADD
            sum = had_saturate_acc(sum);
#endif
        }
        total += had_saturate_acc(sum);
    }
    return total;
}

/* The outputs of a group at one pixel: each output has few terms, and rows of a word read different ones. */
static void add_group(const had_learner *ln, int32_t *sums, const int8_t *patch,
                      const had_layer *layer, uint32_t group, const int16_t *shortcut) {
    uint32_t share = (uint32_t)layer->outputs / layer->conv->groups;
    for (uint32_t o = group * share; o < (group + 1U) * share; o++) {
        const uint32_t *words = ln->view.words + layer->view_at + o / HAD_VIEW_ROWS * layer->inputs;
        int32_t acc = dot_row(patch, words, layer->inputs, o % HAD_VIEW_ROWS);
        sums[o] = add_output(ln, sums[o], acc, o, layer, shortcut);
    }
}

/* All outputs at output pixel p. */
static void add_outputs(const had_learner *ln, int32_t *sums, const int8_t *x,
                        const had_layer *layer, int8_t *patch, const int16_t *shortcut,
                        uint32_t p) {
    shortcut = shortcut != 0 ? shortcut + p * layer->outputs : 0;
    for (uint32_t g = 0U; g < layer->conv->groups; g++) {
        had_unroll(patch, x, layer->conv, g, p, 1U);
        if (layer->conv->groups == 1U) {
            add_pixel(ln, sums, patch, layer, shortcut);
        } else {
            add_group(ln, sums, patch, layer, g, shortcut);
        }
    }
}

static void infer(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer,
                  int8_t *patch, int32_t *sums, const int16_t *shortcut) {
    const struct had_conv_layer *conv = layer->conv;
    const had_quantizer q = ln->view.x[had_next(layer)];
    const had_mean mean = had_mean_of(conv);
    uint32_t windows = (uint32_t)layer->out_values / layer->outputs;
    for (uint32_t z = 0U; z < windows; z++) {
        uint32_t first = z / conv->pooled_width * conv->pool_height * conv->window.out_width +
                         z % conv->pooled_width * conv->pool_width;
        for (uint32_t o = 0U; o < layer->outputs; o++) {
            sums[o] = 0;
        }
        for (uint32_t i = 0U; i < conv->pool_height; i++) {
            for (uint32_t j = 0U; j < conv->pool_width; j++) {
                uint32_t p = first + i * conv->window.out_width + j;
                add_outputs(ln, sums, x, layer, patch, shortcut, p);
            }
        }
        for (uint32_t o = 0U; o < layer->outputs; o++) {
            int32_t value =
                conv->pool == HAD_POOL_AVERAGE ? had_mean_value(&mean, sums[o]) : sums[o];
            *out++ = had_quant_positive(value, &q);
        }
    }
}

void had_infer_conv(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer,
                    int8_t *patch, int32_t *sums) {
    infer(ln, out, x, layer, patch, sums, 0);
}

#ifdef HAD_RESIDUAL
void had_infer_added(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer,
                     int8_t *patch, int32_t *sums, const int16_t *shortcut) {
    infer(ln, out, x, layer, patch, sums, shortcut);
}

void had_infer_side(const had_learner *ln, int16_t *shortcut, const int8_t *x,
                    const had_layer *layer, int8_t *patch, int32_t *sums) {
    uint32_t pixels = had_out_pixels(&layer->conv->window);
    for (uint32_t p = 0U; p < pixels; p++) {
        add_outputs(ln, sums, x, layer, patch, 0, p);
        for (uint32_t o = 0U; o < layer->outputs; o++) {
            *shortcut++ = (int16_t)sums[o];
        }
    }
}
#endif
#else
typedef int had_conv_infer_is_left_out; /* no convolution is trained */
#endif
