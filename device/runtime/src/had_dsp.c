/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of tiles and of products in the halves of words; bounds in had_dsp.h. */
#include "had_dsp.h"

#if HAD_DSP
void had_dsp_exchange(int8_t *x, uint32_t rows) {
    uint32_t *a = (uint32_t *)(void *)x;
    for (; rows > 0U; rows -= rows < 2U ? rows : 2U) {
        for (uint32_t j = 0U; j < HAD_BATCH_STRIDE / 4U; j++) {
            had_exchange(a, a + HAD_BATCH_STRIDE / 4U);
            a++;
        }
        a += HAD_BATCH_STRIDE / 4U;
    }
}

void had_dsp_add(uint32_t total[HAD_SUMS], const uint32_t tile[HAD_SUMS]) {
    HAD_UNROLL_SUMS
    for (uint32_t i = 0U; i < HAD_SUMS; i++) {
#if HAD_ACC_BITS < 16
        total[i] = had_add16(total[i], had_saturate_acc16(tile[i]));
#else
        total[i] = had_add16(total[i], tile[i]);
#endif
    }
}

void had_dsp_end(int32_t out[HAD_ROWS * HAD_QUAD], const uint32_t total[HAD_SUMS]) {
    for (uint32_t word = 0U; word < HAD_WORDS; word++) {
        for (uint32_t i = 0U; i < HAD_QUAD; i++) {
            out[i] = (int16_t)(uint16_t)(*total & 0xFFFFU);
            out[HAD_QUAD + i] = (int32_t)*total >> 16;
            total++;
        }
        out += 2U * HAD_QUAD;
    }
}
#else
typedef int had_dsp_is_left_out; /* a core without it, or plain loops are chosen */
#endif
