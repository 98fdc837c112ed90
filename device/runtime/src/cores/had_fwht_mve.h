/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of the transform on the vectors of a Cortex-M55; bounds in had_fwht.c. */
#ifndef HAD_FWHT_MVE_H
#define HAD_FWHT_MVE_H

#include "hadapt/core.h"

#if HAD_MVE_ASSEMBLY
/* Four vectors, passes 1 and 2 of their order. */
#define HAD_MVE_BUTTERFLY                                                                          \
    "vadd.i32 q4, q0, q1\n\t"                                                                      \
    "vsub.i32 q5, q0, q1\n\t"                                                                      \
    "vadd.i32 q6, q2, q3\n\t"                                                                      \
    "vsub.i32 q7, q2, q3\n\t"                                                                      \
    "vadd.i32 q0, q4, q6\n\t"                                                                      \
    "vsub.i32 q2, q4, q6\n\t"                                                                      \
    "vadd.i32 q1, q5, q7\n\t"                                                                      \
    "vsub.i32 q3, q5, q7\n\t"
#define HAD_MVE_CLOBBERS "cc", "memory", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"

/* Passes 1 and 2 of every four neighbours, sixteen values at a time. */
static inline void had_mve_neighbours(int32_t *v, uint32_t count) {
    uint32_t n = count / 16U;
    __asm__ volatile("1:\n\t"
                     "vld40.32 {q0, q1, q2, q3}, [%[v]]\n\t"
                     "vld41.32 {q0, q1, q2, q3}, [%[v]]\n\t"
                     "vld42.32 {q0, q1, q2, q3}, [%[v]]\n\t"
                     "vld43.32 {q0, q1, q2, q3}, [%[v]]\n\t" HAD_MVE_BUTTERFLY
                     "vst40.32 {q0, q1, q2, q3}, [%[v]]\n\t"
                     "vst41.32 {q0, q1, q2, q3}, [%[v]]\n\t"
                     "vst42.32 {q0, q1, q2, q3}, [%[v]]\n\t"
                     "vst43.32 {q0, q1, q2, q3}, [%[v]]!\n\t"
                     "subs %[n], %[n], #1\n\t"
                     "bne 1b"
                     : [v] "+r"(v), [n] "+r"(n)
                     :
                     : HAD_MVE_CLOBBERS);
}

/* Passes h and 2 h of one group, h a multiple of 4. */
static inline void had_mve_group4(int32_t *v, uint32_t h) {
    int32_t *b = v + h;
    int32_t *c = b + h;
    int32_t *d = c + h;
    uint32_t n = h / 4U;
    __asm__ volatile("1:\n\t"
                     "vldrw.u32 q0, [%[a]]\n\t"
                     "vldrw.u32 q1, [%[b]]\n\t"
                     "vldrw.u32 q2, [%[c]]\n\t"
                     "vldrw.u32 q3, [%[d]]\n\t" HAD_MVE_BUTTERFLY "vstrw.32 q0, [%[a]], #16\n\t"
                     "vstrw.32 q1, [%[b]], #16\n\t"
                     "vstrw.32 q2, [%[c]], #16\n\t"
                     "vstrw.32 q3, [%[d]], #16\n\t"
                     "subs %[n], %[n], #1\n\t"
                     "bne 1b"
                     : [a] "+r"(v), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [n] "+r"(n)
                     :
                     : HAD_MVE_CLOBBERS);
}

static inline void had_mve_group2(int32_t *v, uint32_t h) {
    int32_t *b = v + h;
    uint32_t n = h / 4U;
    __asm__ volatile("1:\n\t"
                     "vldrw.u32 q0, [%[a]]\n\t"
                     "vldrw.u32 q1, [%[b]]\n\t"
                     "vadd.i32 q2, q0, q1\n\t"
                     "vsub.i32 q3, q0, q1\n\t"
                     "vstrw.32 q2, [%[a]], #16\n\t"
                     "vstrw.32 q3, [%[b]], #16\n\t"
                     "subs %[n], %[n], #1\n\t"
                     "bne 1b"
                     : [a] "+r"(v), [b] "+r"(b), [n] "+r"(n)
                     :
                     : "cc", "memory", "q0", "q1", "q2", "q3");
}
#endif

#endif
