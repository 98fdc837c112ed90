/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the 4-bit weight view, SPEC.md 5.1 and 5.2. */
#include "../arithmetic/had_cold.h"

#include "had_row.h"

#include "../arithmetic/had_grow.h"
#include "../cores/had_dsp.h"
#include "../cores/had_mve_rows.h"

had_scale had_row_scale(const had_layer *layer, uint32_t row) {
    return had_scale_mul(layer->scale, had_scale_from_int(layer->row_factor[row]));
}

static int32_t row_amax(const had_master *w, uint32_t inputs) {
#if HAD_MVE_ASSEMBLY
    return had_mve_amax_masters(w, inputs);
#elif HAD_DSP_MASTERS
    return had_dsp_amax(w, inputs);
#else
    int32_t amax = 0;
    const had_master *end = w + inputs;
#if !HAD_PANEL
    for (const had_master *whole = w + (inputs & ~3U); w != whole; w += 4) {
        amax = had_grow(amax, w[0]);
        amax = had_grow(amax, w[1]);
        amax = had_grow(amax, w[2]);
        amax = had_grow(amax, w[3]);
    }
#endif
    for (; w != end; w++) {
        amax = had_grow(amax, *w);
    }
    return amax;
#endif
}

had_multiplier had_row_prepare(had_quantizer *q, const had_master *w, const had_layer *layer,
                               uint32_t row, had_scale x_scale) {
    int32_t amax = row_amax(w, layer->inputs);
    had_scale scale = HAD_SCALE_ONE;
    *q = (had_quantizer){.r = 0, .limit = 1, .k = 0U}; /* of a row of zeros: gives zeros */
    if (amax > 0) {
        int32_t range = had_widen(amax, layer->w_range);
        *q = had_quantizer_of(range, 7U, HAD_QUANT_SHIFT);
        scale = had_scale_quantized(had_row_scale(layer, row), range, HAD_SCALE_INV7);
    }
    int32_t grid = (int32_t)layer->out_frac_bits + (int32_t)layer->forward_shift;
    return had_multiplier_of(had_scale_pow2(had_scale_mul(x_scale, scale), grid));
}
