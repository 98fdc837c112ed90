/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the front without a window, and its input stage, SPEC.md 4.1. Sums stay below 2^23 + 2^29. */
#include "had_window.h"

void had_input_image(int8_t *out, const uint8_t *raw, const had_input_stage *stage, uint32_t pixels,
                     uint32_t planar) {
    uint32_t shift = stage->out_qmax == 127U ? HAD_QUANT_SHIFT_S8 : HAD_QUANT_SHIFT;
    had_quantizer q = had_quantizer_of(stage->amax, stage->out_qmax, shift);
    int32_t low = stage->is_signed != 0U ? -q.limit : 0;
    for (uint32_t p = 0U; p < pixels; p++) {
        for (uint32_t c = 0U; c < stage->inputs; c++) {
            uint32_t at = planar != 0U ? c * pixels + p : p * stage->inputs + c;
            uint32_t word = (uint32_t)raw[2U * at] | ((uint32_t)raw[2U * at + 1U] << 8);
            int32_t value = (int32_t)(word ^ 0x8000U) - 0x8000;
            int32_t v = had_rhu((value - stage->zero[c]) * stage->mult[c], stage->shift[c]);
            *out++ = had_quant_static(had_saturate_s16(v), &q, low, shift);
        }
    }
}

void had_add(int8_t *out, const int8_t *a, const int8_t *b, const had_add_node *node) {
    const had_prepared p = had_prepare(&node->out);
    for (uint32_t i = 0U; i < node->size; i++) {
        int32_t sum = a[i] * node->mult_a + b[i] * node->mult_b;
        out[i] = had_requantize(&p, had_rhu(sum, node->shift));
    }
}

void had_part(int8_t *out, const int8_t *x, const had_part_node *node) {
    const had_prepared p = had_prepare(&node->out);
    for (uint32_t i = 0U; i < node->pixels; i++) {
        int8_t *to = out + i * node->out_channels + node->first;
        for (uint32_t c = 0U; c < node->channels; c++) {
            int32_t y = had_rhu(*x++ * node->mult, node->shift);
            to[c] = had_requantize(&p, y);
        }
    }
}

void had_table(int8_t *out, const int8_t *x, const had_table_node *node) {
    for (uint32_t i = 0U; i < node->size; i++) {
        out[i] = node->table[x[i] + 128];
    }
}
