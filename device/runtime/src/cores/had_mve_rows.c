/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of values on the vectors of a Cortex-M55. */
#include "had_mve_rows.h"

#include "had_mve.h"

#if HAD_MVE_ASSEMBLY
/* Tail-predicated loops: vectors of fewer values at the end. */
#define LOOP(bits, n) "wlstp." bits " lr, " n ", 2f\n1:\n\t"
#define END "letp lr, 1b\n2:"

#if HAD_MASTER_BITS == 8
#define MASTER "8"
#define LOAD_MASTER_VECTOR "vldrb.u8 q0, [%[w]], #16\n\t"
#else
#define MASTER "16"
#define LOAD_MASTER_VECTOR "vldrh.u16 q0, [%[w]], #16\n\t"
#endif

#if HAD_MASTER_BITS == 8
/*
 * 16 masters in the tops of halves times a factor R of 15 bits that stands for r = R 2^s and less than 2^s more. The
 * quotient is the same: with |w| <= 127 and a range a < 2^11 what w r lacks is below |w| 2^s < 2^25 / a, and 7 w / a is
 * at least 1 / 2 a away from a half, or is one; then r is below its ratio, or exact, as R is then too. Halves are whole
 * at the end too: an odd row's last one has a byte from behind it, which counts for nothing.
 */
void had_mve_quantize_masters(int8_t *to, const had_master *w, const had_quantizer *q,
                              uint32_t count) {
    uint32_t s = 17U - (uint32_t)__builtin_clz((uint32_t)q->r | 1U << 17); /* 15 bits stay */
    __asm__ volatile(LOOP("8", "%[n]") "vldrb.u8 q0, [%[w]], #16\n\t"
                                       "vshllt.s8 q1, q0, #8\n\t"
                                       "vshllb.s8 q0, q0, #8\n\t"
                                       "vqdmulh.s16 q1, q1, %[r]\n\t"
                                       "vqdmulh.s16 q0, q0, %[r]\n\t"
                                       "vrshl.s16 q1, %[down]\n\t"
                                       "vrshl.s16 q0, %[down]\n\t"
                                       "vmovnt.i16 q0, q1\n\t"
                                       "vstrw.32 q0, [%[to]], #128\n\t" END
                     : [to] "+l"(to), [w] "+l"(w)
                     : [n] "r"((count + 1U) & ~1U), [r] "r"(q->r >> s), [down] "r"((int32_t)s - 19)
                     : "cc", "memory", "lr", "q0", "q1");
}
#else
void had_mve_quantize_masters(int8_t *to, const had_master *w, const had_quantizer *q,
                              uint32_t count) {
    int32_t k = -(int32_t)q->k;
    for (; count > 0U; count -= count < HAD_MVE_TERMS ? count : HAD_MVE_TERMS) {
        int8_t *at = to;
        __asm__ volatile(
            LOOP("32", "%[n]") "vldrh.s32 q0, [%[w]], #8\n\t"
                               "vshl.s32 q0, %[k]\n\t"
                               "vmul.i32 q0, q0, %[r]\n\t"
                               "vrshr.s32 q0, q0, #26\n\t"
                               "vstrb.32 q0, [%[to]], #4\n\t" END
            : [to] "+l"(at), [w] "+l"(w)
            : [n] "r"(count < HAD_MVE_TERMS ? count : HAD_MVE_TERMS), [r] "r"(q->r), [k] "r"(k)
            : "cc", "memory", "lr", "q0");
        to += HAD_MVE_TERMS * HAD_ROWS;
    }
}
#endif

int32_t had_mve_amax_masters(const had_master *w, uint32_t count) {
    int32_t amax = 0;
    __asm__ volatile(LOOP(MASTER, "%[n]") LOAD_MASTER_VECTOR "vmaxav.s" MASTER
                                                             " %[amax], q0\n\t" END
                     : [w] "+r"(w), [amax] "+r"(amax)
                     : [n] "r"(count)
                     : "cc", "memory", "lr", "q0");
    return amax;
}

int32_t had_mve_amax(const int32_t *v, uint32_t count, int32_t so_far) {
    __asm__ volatile(LOOP("32", "%[n]") "vldrw.u32 q0, [%[v]], #16\n\t"
                                        "vmaxav.s32 %[amax], q0\n\t" END
                     : [v] "+r"(v), [amax] "+r"(so_far)
                     : [n] "r"(count)
                     : "cc", "memory", "lr", "q0");
    return so_far;
}

/* had_mix of words key .. key + 3 in q0; q1 is lost, key moves on. */
#define MIX                                                                                        \
    "vidup.u32 q0, %[key], #1\n\t"                                                                 \
    "vshr.u32 q1, q0, #16\n\t"                                                                     \
    "veor q0, q0, q1\n\t"                                                                          \
    "vmul.i32 q0, q0, %[f0]\n\t"                                                                   \
    "vshr.u32 q1, q0, #15\n\t"                                                                     \
    "veor q0, q0, q1\n\t"                                                                          \
    "vmul.i32 q0, q0, %[f1]\n\t"                                                                   \
    "vshr.u32 q1, q0, #16\n\t"                                                                     \
    "veor q0, q0, q1\n\t"

void had_mve_quantize_drawn(int8_t *to, const int32_t *v, const had_quantizer *q, uint32_t key,
                            uint32_t count) {
    uint32_t u[4];
    const uint32_t *at;
    uint32_t part;
    int32_t k = -(int32_t)q->k;
    __asm__ volatile(
        "vdup.32 q4, %[low]\n"
        "3:\n\t" MIX "vstrw.32 q0, [%[u]]\n\t"
        "mov %[at], %[u]\n\t"
        "cmp %[n], #16\n\t"
        "ite hs\n\t"
        "movhs %[part], #16\n\t"
        "movlo %[part], %[n]\n\t" LOOP("32", "%[part]") "vldrw.u32 q0, [%[v]], #16\n\t"
                                                        "vldrb.u32 q2, [%[at]], #4\n\t"
                                                        "vshl.s32 q0, %[k]\n\t"
                                                        "vshl.i32 q2, q2, #18\n\t"
                                                        "vmax.s32 q0, q0, q4\n\t"
                                                        "vmla.s32 q2, q0, %[r]\n\t"
                                                        "vshr.s32 q2, q2, #26\n\t"
                                                        "vstrb.32 q2, [%[to]], #4\n\t" END "\n\t"
                                                        "subs %[n], %[n], %[part]\n\t"
                                                        "bne 3b"
        : [to] "+l"(to), [v] "+r"(v), [n] "+r"(count), [at] "=&l"(at), [part] "=&r"(part),
          [key] "+Te"(key)
        : [u] "r"(u), [r] "r"(q->r), [k] "r"(k), [low] "r"(-q->limit), [f0] "r"(had_mix_factors[0]),
          [f1] "r"(had_mix_factors[1])
        : "cc", "memory", "lr", "q0", "q1", "q2", "q4");
}

#if HAD_MASTER_BITS == 8
#define LOAD_LANES "vldrbt.s16 q0, [%[w]]\n\t"
#else
#define LOAD_LANES "vldrht.u16 q0, [%[w]]\n\t"
#endif

/* Even lanes come before odd ones. */
void had_mve_block_weights(int32_t *block, const had_master *w, const uint8_t *factor,
                           uint32_t pitch, uint32_t rows, uint32_t columns) {
    uint32_t f;
    __asm__ volatile(
        "vctp.16 %[columns]\n\t"
        "dls lr, %[n]\n"
        "1:\n\t"
        "ldrb %[f], [%[factor]], #1\n\t"
        "vpst\n\t" LOAD_LANES "add %[w], %[w], %[pitch]\n\t"
        "vmovlt.s16 q1, q0\n\t"
        "vmovlb.s16 q0, q0\n\t"
        "vmul.i32 q1, q1, %[f]\n\t"
        "vmul.i32 q0, q0, %[f]\n\t"
        "vstrw.32 q1, [%[block], #16]\n\t"
        "vstrw.32 q0, [%[block]], #32\n\t"
        "le lr, 1b"
        : [w] "+r"(w), [block] "+r"(block), [factor] "+r"(factor), [f] "=&r"(f)
        : [n] "r"(rows), [columns] "r"(columns), [pitch] "r"(pitch * (HAD_MASTER_BITS / 8U))
        : "cc", "memory", "lr", "q0", "q1");
}

void had_mve_quantize_block(int8_t *to, const int32_t *block, const had_quantizer *q) {
    static const uint16_t place[8] = {0U, 16U, 32U, 48U, 64U, 80U, 96U, 112U};
    int32_t k = -(int32_t)q->k;
    __asm__ volatile("vldrh.u16 q1, [%[place]]\n\t"
                     "vdup.32 q2, %[low]\n\t"
                     "dls lr, %[n]\n"
                     "1:\n\t"
                     "vldrw.u32 q0, [%[v]], #16\n\t"
                     "vldrw.u32 q3, [%[v]], #16\n\t"
                     "vshl.s32 q0, %[k]\n\t"
                     "vshl.s32 q3, %[k]\n\t"
                     "vmax.s32 q0, q0, q2\n\t"
                     "vmax.s32 q3, q3, q2\n\t"
                     "vmul.i32 q0, q0, %[r]\n\t"
                     "vmul.i32 q3, q3, %[r]\n\t"
                     "vrshr.s32 q0, q0, #26\n\t"
                     "vrshr.s32 q3, q3, #26\n\t"
                     "vmovnt.i32 q0, q3\n\t"
                     "vstrb.16 q0, [%[to], q1]\n\t"
                     "add %[to], %[to], #1\n\t"
                     "le lr, 1b"
                     : [to] "+r"(to), [v] "+r"(block)
                     : [n] "r"(HAD_ORDER < HAD_MVE_TERMS ? HAD_ORDER : HAD_MVE_TERMS),
                       [place] "r"(place), [r] "r"(q->r), [k] "r"(k), [low] "r"(-q->limit)
                     : "cc", "memory", "lr", "q0", "q1", "q2", "q3");
}

#if HAD_MASTER_BITS == 8
#define SUBTRACT                                                                                   \
    "vldrb.s16 q4, [%[w]]\n\t"                                                                     \
    "vqmovnb.s32 q3, q0\n\t"                                                                       \
    "vqmovnt.s32 q3, q2\n\t"                                                                       \
    "vqsub.s16 q4, q4, q3\n\t"                                                                     \
    "vmax.s16 q4, q4, q5\n\t"                                                                      \
    "vmin.s16 q4, q4, q6\n\t"                                                                      \
    "vctp.16 %[n]\n\t"                                                                             \
    "vpst\n\t"                                                                                     \
    "vstrbt.16 q4, [%[w]]\n\t"                                                                     \
    "add %[w], %[w], #8\n\t"
#else
#define SUBTRACT                                                                                   \
    "vldrh.u16 q4, [%[w]]\n\t"                                                                     \
    "vmovlb.s16 q3, q4\n\t"                                                                        \
    "vsub.i32 q0, q3, q0\n\t"                                                                      \
    "vmovlt.s16 q3, q4\n\t"                                                                        \
    "vsub.i32 q2, q3, q2\n\t"                                                                      \
    "vqmovnb.s32 q4, q0\n\t"                                                                       \
    "vqmovnt.s32 q4, q2\n\t"                                                                       \
    "vmax.s16 q4, q4, q5\n\t"                                                                      \
    "vctp.16 %[n]\n\t"                                                                             \
    "vpst\n\t"                                                                                     \
    "vstrht.16 q4, [%[w]]\n\t"                                                                     \
    "add %[w], %[w], #16\n\t"
#endif

/*
 * Eight masters at a time, those of even and of odd index apart: even ones take the low halves of random words.
 * A delta beyond 16 bits saturates where masters have 8 (the result then does too), and is exact where they have 16.
 */
void had_mve_update(had_master *w, const had_total *acc, const had_update *update, uint32_t key,
                    uint32_t count) {
    int32_t draw = 14 - (int32_t)update->round;
    int32_t sh = -(int32_t)update->step.sh;
    __asm__ volatile(
        "vdup.16 q5, %[low]\n\t"
        "vneg.s16 q6, q5\n"
        "1:\n\t" MIX "vldrh.u16 q4, [%[acc]], #16\n\t"
        "vmovlt.u16 q2, q0\n\t"
        "vmovlb.u16 q0, q0\n\t"
        "vmovlb.s16 q3, q4\n\t"
        "vmovlt.s16 q4, q4\n\t"
        "vshl.u32 q0, %[draw]\n\t"
        "vshl.u32 q2, %[draw]\n\t"
        "vmla.s32 q0, q3, %[m]\n\t"
        "vmla.s32 q2, q4, %[m]\n\t"
        "vshl.s32 q0, %[sh]\n\t"
        "vshl.s32 q2, %[sh]\n\t" SUBTRACT "subs %[n], %[n], #8\n\t"
        "bgt 1b"
        : [w] "+l"(w), [acc] "+r"(acc), [n] "+r"(count), [key] "+Te"(key)
        : [low] "r"(-HAD_MASTER_MAX), [f0] "r"(had_mix_factors[0]), [f1] "r"(had_mix_factors[1]),
          [draw] "r"(draw), [m] "r"(update->step.m), [sh] "r"(sh)
        : "cc", "memory", "q0", "q1", "q2", "q3", "q4", "q5", "q6");
}

int32_t had_mve_outputs(int16_t *y, const had_total *acc, had_multiplier m, int32_t bias,
                        int32_t y_max, uint32_t count) {
    int32_t after = -(int32_t)m.sh;
    __asm__ volatile("1:\n\t"
                     "vldrh.u16 q2, [%[acc]], #16\n\t"
                     "vmovlb.s16 q0, q2\n\t"
                     "vmovlt.s16 q1, q2\n\t"
                     "vmul.i32 q0, q0, %[m]\n\t"
                     "vmul.i32 q1, q1, %[m]\n\t"
                     "vrshl.s32 q0, %[after]\n\t"
                     "vrshl.s32 q1, %[after]\n\t"
                     "vadd.i32 q0, q0, %[bias]\n\t"
                     "vadd.i32 q1, q1, %[bias]\n\t"
                     "vqmovnb.s32 q2, q0\n\t"
                     "vqmovnt.s32 q2, q1\n\t"
                     "vctp.16 %[n]\n\t"
                     "vpstt\n\t"
                     "vmaxvt.s16 %[most], q2\n\t"
                     "vstrht.16 q2, [%[y]], #16\n\t"
                     "subs %[n], %[n], #8\n\t"
                     "bgt 1b"
                     : [y] "+r"(y), [acc] "+r"(acc), [n] "+r"(count), [most] "+r"(y_max)
                     : [after] "r"(after), [m] "r"(m.m), [bias] "r"(bias)
                     : "cc", "memory", "q0", "q1", "q2");
    return y_max;
}

/* Bits of a mask. */
static const uint16_t bit[8] = {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U};

int32_t had_mve_mask_errors(int16_t *d, const had_total *acc, const uint8_t *mask, uint32_t lanes,
                            uint32_t columns, int32_t d_max) {
    uint32_t bits;
    __asm__ volatile("vldrh.u16 q2, [%[bit]]\n\t"
                     "lsr lr, %[n], #3\n"
                     "1:\n\t"
                     "ldrb %[bits], [%[mask]], #1\n\t"
                     "vdup.16 q1, %[bits]\n\t"
                     "vand q1, q1, q2\n\t"
                     "vctp.16 %[lanes]\n\t"
                     "vpstt\n\t"
                     "vcmpt.i16 ne, q1, zr\n\t"
                     "vldrht.u16 q0, [%[acc]], #16\n\t"
                     "vmaxav.s16 %[most], q0\n\t"
                     "vstrh.16 q0, [%[d]], #16\n\t"
                     "sub %[lanes], %[lanes], #8\n\t"
                     "usat %[lanes], #8, %[lanes]\n\t"
                     "le lr, 1b"
                     : [d] "+r"(d), [acc] "+r"(acc), [mask] "+r"(mask), [lanes] "+r"(lanes),
                       [most] "+r"(d_max), [bits] "=&r"(bits)
                     : [n] "r"(columns), [bit] "r"(bit)
                     : "cc", "memory", "lr", "q0", "q1", "q2");
    return d_max;
}

void had_mve_activate(int8_t *x, uint8_t *mask, const int16_t *y, const had_quantizer *q,
                      uint32_t count) {
    uint32_t bits;
    __asm__ volatile(
        "vldrh.u16 q3, [%[bit]]\n\t"
        "vmov.i32 q4, #0\n"
        "1:\n\t"
        "vldrh.u16 q0, [%[y]], #16\n\t"
        "vmax.s16 q0, q0, q4\n\t"
        "mov %[bits], #0\n\t"
        "vpt.s16 gt, q0, q4\n\t"
        "vaddvat.u16 %[bits], q3\n\t"
        "vshl.s16 q0, %[k]\n\t"
        "vmovlt.s16 q1, q0\n\t"
        "vmovlb.s16 q0, q0\n\t"
        "vmul.i32 q1, q1, %[r]\n\t"
        "vmul.i32 q0, q0, %[r]\n\t"
        "vrshr.s32 q1, q1, #26\n\t"
        "vrshr.s32 q0, q0, #26\n\t"
        "vmovnt.i32 q0, q1\n\t"
        "vstrb.16 q0, [%[x]], #8\n\t"
        "strb %[bits], [%[mask]], #1\n\t"
        "subs %[n], %[n], #8\n\t"
        "bne 1b"
        : [x] "+l"(x), [mask] "+r"(mask), [y] "+r"(y), [n] "+r"(count), [bits] "=&Te"(bits)
        : [bit] "r"(bit), [k] "r"(-(int32_t)q->k), [r] "r"(q->r)
        : "cc", "memory", "q0", "q1", "q3", "q4");
}

#if HAD_X0_SIGNED
#define SIGN "s"
#else
#define SIGN "u"
#endif

void had_mve_unpack(int8_t *x0, const uint8_t *packed, uint32_t pairs) {
    static const uint16_t lane[8] = {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U};
    int8_t *second = x0 + HAD_BATCH_STRIDE;
    __asm__ volatile("vldrh.u16 q2, [%[lane]]\n\t"
                     "vmul.i16 q2, q2, %[pitch]\n\t"
                     "wlstp.16 lr, %[n], 2f\n"
                     "1:\n\t"
                     "vldrb.u16 q0, [%[packed]], #8\n\t"
                     "vshl.i16 q1, q0, #12\n\t"
                     "vshl.i16 q0, q0, #8\n\t"
                     "vshr." SIGN "16 q1, q1, #12\n\t"
                     "vshr." SIGN "16 q0, q0, #12\n\t"
                     "vstrb.16 q1, [%[x0], q2]\n\t"
                     "vstrb.16 q0, [%[second], q2]\n\t"
                     "add %[x0], %[x0], %[step]\n\t"
                     "add %[second], %[second], %[step]\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [x0] "+r"(x0), [second] "+r"(second), [packed] "+l"(packed)
                     : [n] "r"(pairs), [lane] "r"(lane), [pitch] "r"(2U * HAD_BATCH_STRIDE),
                       [step] "r"(16U * HAD_BATCH_STRIDE)
                     : "cc", "memory", "lr", "q0", "q1", "q2");
}
#else
typedef int had_mve_rows_is_left_out; /* plain loops do it */
#endif
