/* SPDX-License-Identifier: Apache-2.0 */
/* A trainable convolution in inference, SPEC.md 14.4: batch of one, committed view, frozen ranges. */
#include "had_conv_layer.h"
#include "had_row.h"
#include "hadapt/infer.h"

#if defined(HAD_CONV_LAYERS) && HAD_LAYERS > 1
/* Add y of all outputs at one pixel to the sums of its window: the sum or the maximum, none below 0. */
static void add_pixel(const had_learner *ln, int32_t *sums, const int8_t *patch,
                      const had_layer *layer) {
    uint32_t largest = layer->conv->pool == HAD_POOL_MAX ? 1U : 0U;
    int32_t acc[HAD_VIEW_ROWS];
    int32_t tiles[HAD_TILES];
    had_dot_packed_sums(tiles, patch, layer->inputs);
    for (uint32_t o = 0U; o < layer->outputs; o++) {
        uint32_t at = layer->bias_at + o;
        if (o % HAD_VIEW_ROWS == 0U) {
            had_dot_packed(acc, patch,
                           ln->view.words + layer->view_at + o / HAD_VIEW_ROWS * layer->inputs,
                           layer->inputs, tiles, HAD_IS_POSITIVE(layer));
        }
        had_multiplier m = {ln->view.mult[at], ln->view.shift[at]};
        int32_t y = had_saturate_s16(had_row_output(acc[o % HAD_VIEW_ROWS], layer->forward_shift, m,
                                                    had_rhu16(ln->committed.bias[at])));
        y = y > 0 ? y : 0;
        sums[o] = largest == 0U ? sums[o] + y : (y > sums[o] ? y : sums[o]);
    }
}

void had_infer_conv(const had_learner *ln, int8_t *out, const int8_t *x, const had_layer *layer,
                    int8_t *patch, int32_t *sums) {
    const struct had_conv_layer *conv = layer->conv;
    const had_quantizer q = ln->view.x[layer->index + 1U];
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
                had_unroll(patch, x, &conv->window, first + i * conv->window.out_width + j, 1U);
                add_pixel(ln, sums, patch, layer);
            }
        }
        for (uint32_t o = 0U; o < layer->outputs; o++) {
            int32_t value =
                conv->pool == HAD_POOL_AVERAGE ? had_mean_value(&mean, sums[o]) : sums[o];
            *out++ = had_quant_positive(value, &q);
        }
    }
}
#else
typedef int had_conv_infer_is_left_out; /* no convolution is trained */
#endif
