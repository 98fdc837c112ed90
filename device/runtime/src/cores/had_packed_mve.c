/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inference on a Cortex-M55: products of one 4-bit vector with a group of the view, and their outputs. Layout in had_mve.h.
 *
 * |sum of a tile| <= tile_k * 105 < 2^15, of its bytes <= tile_k * 15 * 119 < 2^16; |total| <= D < 2^15.
 */
#include "had_mve.h"
#include "had_mve_rows.h"

#if HAD_MVE
_Static_assert(HAD_TILE_K *HAD_TERM_MAX <= INT16_MAX, "the sum of a tile must fit 16 bits");

void had_dot_packed_sums(int32_t sums[HAD_PACKED_SUMS], const int8_t *x, uint32_t terms) {
    uint32_t left = terms % HAD_TILE_K;
    __builtin_memset(sums, 0, HAD_TILE_K);
    __builtin_memcpy(sums, x + (terms - left), left);
}

#if HAD_MVE_ASSEMBLY
/* The sum of bytes and that of high weights of a pair of rows: x is in q0 (and q1). */
#if HAD_TILE_K == 32U
#define LOAD_X "vldrb.u8 q0, [%[x]], #16\n\tvldrb.u8 q1, [%[x]], #16\n\t"
#define PAIR(all, high)                                                                            \
    "vldrw.u32 q2, [%[w]], #16\n\t"                                                                \
    "vldrw.u32 q3, [%[w]], #16\n\t"                                                                \
    "vmladav.s8 %[" all "], q0, q2\n\t"                                                            \
    "vmladava.s8 %[" all "], q1, q3\n\t"                                                           \
    "vrshr.s8 q2, q2, #4\n\t"                                                                      \
    "vrshr.s8 q3, q3, #4\n\t"                                                                      \
    "vmladav.s8 %[" high "], q0, q2\n\t"                                                           \
    "vmladava.s8 %[" high "], q1, q3\n\t"
#else
#define LOAD_X "vldrb.u8 q0, [%[x]], #16\n\t"
#define PAIR(all, high)                                                                            \
    "vldrw.u32 q2, [%[w]], #16\n\t"                                                                \
    "vmladav.s8 %[" all "], q0, q2\n\t"                                                            \
    "vrshr.s8 q2, q2, #4\n\t"                                                                      \
    "vmladav.s8 %[" high "], q0, q2\n\t"
#endif
/* Two pairs of rows to two lanes of each sum. */
#define PAIRS(one, other)                                                                          \
    PAIR("a0", "h0")                                                                               \
    PAIR("a1", "h1")                                                                               \
    "vmov q4[" other "], q4[" one "], %[a0], %[a1]\n\t"                                            \
    "vmov q5[" other "], q5[" one "], %[h0], %[h1]\n\t"
#if HAD_ACC_BITS < 16
#define SATURATE "vqshl.s16 q4, q4, %[bits]\n\tvshr.s16 q4, q4, %[bits]\n\t"
#else
#define SATURATE
#endif

void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive) {
    uint32_t a0, a1, h0, h1;
    uint32_t rest = terms % HAD_TILE_K != 0U ? 1U : 0U;
    (void)positive;
    __asm__ volatile("vmov.i32 q6, #0\n\t"
                     "mov lr, %[tiles]\n\t"
                     "cmp lr, #0\n\t"
                     "beq 2f\n"
                     "1:\n\t" LOAD_X PAIRS("0", "2")
                         PAIRS("1", "3") /* sums of bytes: q4, high: q5 */
                     "vmla.s32 q4, q5, %[minus16]\n\t"
                     "vmovnt.i32 q4, q5\n\t" SATURATE "vadd.i16 q6, q6, q4\n\t"
                     "le lr, 1b\n"
                     "2:\n\t"
                     "mov lr, %[rest]\n\t"
                     "mov %[x], %[tail]\n\t"
                     "mov %[rest], #0\n\t"
                     "cmp lr, #0\n\t"
                     "bne 1b\n\t"
                     "vmovlb.s16 q4, q6\n\t"
                     "vmovlt.s16 q5, q6\n\t"
                     "vst20.32 {q4, q5}, [%[total]]\n\t"
                     "vst21.32 {q4, q5}, [%[total]]"
                     : [x] "+r"(x), [w] "+r"(w), [rest] "+r"(rest), [a0] "=&Te"(a0),
                       [a1] "=&Te"(a1), [h0] "=&Te"(h0), [h1] "=&Te"(h1)
                     : [tiles] "r"(terms / HAD_TILE_K), [tail] "r"(sums), [total] "r"(total),
                       [minus16] "r"(-16), [bits] "I"(16 - HAD_ACC_BITS)
                     : "cc", "memory", "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q6");
}

void had_mve_hidden(int8_t *out, const int32_t *acc, uint32_t acc_shift, const uint16_t *mult,
                    const uint8_t *shift, const int32_t *bias, const had_quantizer *q,
                    uint32_t count) {
    int32_t most = INT16_MAX >> q->k < q->limit ? INT16_MAX >> q->k : q->limit;
    __asm__ volatile(
        "vdup.32 q2, %[most]\n\t"
        "vmov.i32 q3, #0\n\t"
        "wlstp.32 lr, %[n], 2f\n"
        "1:\n\t"
        "vldrw.s32 q0, [%[acc]], #16\n\t"
        "vrshl.s32 q0, %[before]\n\t"
        "vldrh.u32 q1, [%[m]], #8\n\t"
        "vmul.i32 q0, q0, q1\n\t"
        "vldrb.u32 q1, [%[sh]], #4\n\t"
        "vneg.s32 q1, q1\n\t"
        "vrshl.s32 q0, q0, q1\n\t"
        "vldrw.s32 q1, [%[bias]], #16\n\t"
        "vrshr.s32 q1, q1, #16\n\t"
        "vadd.i32 q0, q0, q1\n\t"
        "vshl.s32 q0, %[k]\n\t"
        "vmax.s32 q0, q0, q3\n\t"
        "vmin.s32 q0, q0, q2\n\t"
        "vmul.i32 q0, q0, %[r]\n\t"
        "vrshr.s32 q0, q0, #26\n\t"
        "vstrb.32 q0, [%[out]], #4\n\t"
        "letp lr, 1b\n"
        "2:"
        : [out] "+l"(out), [acc] "+r"(acc), [m] "+l"(mult), [sh] "+l"(shift), [bias] "+r"(bias)
        : [n] "r"(count), [before] "r"(-(int32_t)acc_shift), [k] "r"(-(int32_t)q->k), [r] "r"(q->r),
          [most] "r"(most)
        : "cc", "memory", "lr", "q0", "q1", "q2", "q3");
}

void had_mve_input_stage(int8_t *out, const uint8_t *raw, const had_input_stage *stage,
                         const had_quantizer *q, int32_t low, uint32_t shift) {
    int32_t most = INT16_MAX >> q->k < q->limit ? INT16_MAX >> q->k : q->limit;
    int32_t least = -(INT16_MAX >> q->k) - 1 > low ? -(INT16_MAX >> q->k) - 1 : low;
    const int16_t *zero = stage->zero;
    const int16_t *mult = stage->mult;
    const uint8_t *sh = stage->shift;
    __asm__ volatile(
        "vdup.32 q2, %[most]\n\t"
        "vdup.32 q3, %[least]\n\t"
        "vdup.32 q5, %[end]\n\t"
        "wlstp.32 lr, %[n], 2f\n"
        "1:\n\t"
        "vldrb.u16 q0, [%[raw]], #8\n\t" /* bytes, low ones at even places */
        "vshr.u32 q1, q0, #16\n\t"
        "vsli.16 q0, q1, #8\n\t"
        "vmovlb.s16 q0, q0\n\t"
        "vldrh.s32 q1, [%[zero]], #8\n\t"
        "vsub.i32 q0, q0, q1\n\t"
        "vldrh.s32 q1, [%[m]], #8\n\t"
        "vmul.i32 q0, q0, q1\n\t"
        "vldrb.u32 q1, [%[sh]], #4\n\t"
        "vneg.s32 q1, q1\n\t"
        "vrshl.s32 q0, q0, q1\n\t"
        "vshl.s32 q0, %[k]\n\t"
        "vmax.s32 q0, q0, q3\n\t"
        "vmin.s32 q0, q0, q2\n\t"
        "vmul.i32 q0, q0, %[r]\n\t"
        "vrshl.s32 q0, q0, q5\n\t"
        "vstrb.32 q0, [%[out]], #4\n\t"
        "letp lr, 1b\n"
        "2:"
        : [out] "+l"(out), [raw] "+l"(raw), [zero] "+l"(zero), [m] "+l"(mult), [sh] "+l"(sh)
        : [n] "r"((uint32_t)stage->inputs), [k] "r"(-(int32_t)q->k), [r] "r"(q->r),
          [most] "r"(most), [least] "r"(least), [end] "r"(-(int32_t)shift)
        : "cc", "memory", "lr", "q0", "q1", "q2", "q3", "q5");
}
#else
/* Saturated sum of a tile of one row of the view. */
static int32_t tile(const int8_t *x, const int8_t *bytes, uint32_t terms, uint32_t high) {
    int32_t sum = 0;
    for (uint32_t k = 0U; k < terms; k++) {
        int32_t second = (bytes[k] + 8) >> 4;
        sum += x[k] * (high != 0U ? second : bytes[k] - 16 * second);
    }
    return had_saturate_acc(sum);
}

void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive) {
    const int8_t *bytes = (const int8_t *)w;
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r++) {
        total[r] = 0;
        for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
            uint32_t part = terms - k < HAD_TILE_K ? terms - k : HAD_TILE_K;
            const int8_t *from = part < HAD_TILE_K ? (const int8_t *)sums : x + k;
            total[r] += tile(from, bytes + had_mve_view_at(r, k), part, r & 1U);
        }
    }
    (void)positive;
}
#endif
#else
typedef int had_packed_mve_is_left_out; /* another variant is chosen */
#endif
