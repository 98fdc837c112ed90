/* SPDX-License-Identifier: Apache-2.0 */
/* Products of 16 terms at once on a Cortex-M55; layout and bounds in had_mve.h. */
#include "had_mve.h"

#if HAD_MVE
#define ROWS 8U

#if HAD_MVE_ASSEMBLY
#if HAD_ACC_BITS < 16
#define SATURATE "ssat16 %[a], %[bits], %[a]\n\t"
#else
#define SATURATE ""
#endif

/* End of a tile: both columns' sums, saturated, to the row's totals. */
#define END(n)                                                                                     \
    "pkhbt %[a], %[a], %[b], lsl #16\n\t" SATURATE "sadd16 %[t" n "], %[t" n "], %[a]\n\t"
/* A row of weights, rows `pitch` bytes apart, of one or two vectors; columns are in q0 (q1) and q2 (q3). */
#define PRODUCTS1(n, pitch)                                                                        \
    "vldrw.u32 q4, [%[w], #" n "*" pitch "]\n\t"                                                   \
    "vmladav.s8 %[a], q0, q4\n\t"                                                                  \
    "vmladav.s8 %[b], q2, q4\n\t"
#define PRODUCTS2(n)                                                                               \
    "vldrw.u32 q4, [%[w], #" n "*32]\n\t"                                                          \
    "vldrw.u32 q5, [%[w], #" n "*32+16]\n\t"                                                       \
    "vmladav.s8 %[a], q0, q4\n\t"                                                                  \
    "vmladav.s8 %[b], q2, q4\n\t"                                                                  \
    "vmladava.s8 %[a], q1, q5\n\t"                                                                 \
    "vmladava.s8 %[b], q3, q5\n\t"
#define ONE(n, pitch) PRODUCTS1(n, pitch) END(n)
#define TWO(n) PRODUCTS2(n) END(n)
#define ONES(p)                                                                                    \
    ONE("0", p) ONE("1", p) ONE("2", p) ONE("3", p) ONE("4", p) ONE("5", p) ONE("6", p) ONE("7", p)
#define TWOS TWO("0") TWO("1") TWO("2") TWO("3") TWO("4") TWO("5") TWO("6") TWO("7")
#define TOTALS(t)                                                                                  \
    [t0] "+r"((t)[0]), [t1] "+r"((t)[1]), [t2] "+r"((t)[2]), [t3] "+r"((t)[3]), [t4] "+r"((t)[4]), \
        [t5] "+r"((t)[5]), [t6] "+r"((t)[6]), [t7] "+r"((t)[7])

/* A vector of both columns, the second one's `other` bytes behind; they move on by `step`. */
#define VECTOR(first, second)                                                                      \
    "vldrw.u32 q" first ", [%[x]]\n\t"                                                             \
    "vldrw.u32 q" second ", [%[x], %[other]]\n\t"                                                  \
    "add %[x], %[x], %[step]\n\t"
#define LOOP "add %[w], %[w], %[tile]\n\tsubs %[n], %[n], #1\n\tbne 1b"

/* Two columns by eight rows, in whole tiles, then what is left: one vector, or two. */
static inline __attribute__((always_inline)) void
pair_of_columns(uint32_t total[ROWS], const int8_t *x, const uint32_t other, const uint32_t step,
                const had_weight *w, uint32_t terms) {
    uint32_t a, b;
    uint32_t vectors = HAD_MVE_ROUND(terms) / HAD_MVE_TERMS;
#if HAD_TILE_K == 32U
    uint32_t tiles = vectors / 2U;
    if (tiles > 0U) {
        __asm__ volatile(
            "1:\n\t" VECTOR("0", "2") VECTOR("1", "3") TWOS LOOP
            : TOTALS(total), [x] "+r"(x), [w] "+r"(w), [n] "+r"(tiles), [a] "=&Te"(a), [b] "=&Te"(b)
            : [bits] "I"(HAD_ACC_BITS), [other] "i"(other), [step] "i"(step),
              [tile] "i"(ROWS * HAD_TILE_K)
            : "cc", "memory", "q0", "q1", "q2", "q3", "q4", "q5");
    }
    vectors &= 1U;
#endif
    if (vectors > 0U) {
        __asm__ volatile("1:\n\t" VECTOR("0", "2") ONES("%c[pitch]") LOOP
                         : TOTALS(total), [x] "+r"(x), [w] "+r"(w), [n] "+r"(vectors),
                           [a] "=&Te"(a), [b] "=&Te"(b)
                         : [bits] "I"(HAD_ACC_BITS), [other] "i"(other), [step] "i"(step),
                           [tile] "i"(ROWS * HAD_TILE_K), [pitch] "i"(HAD_TILE_K)
                         : "cc", "memory", "q0", "q2", "q4");
    }
}

void had_mve_columns(had_total out[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted) {
    (void)counted;
    for (const had_total *end = out + HAD_LANES; out != end; out += 2) {
        uint32_t total[ROWS] = {0U, 0U, 0U, 0U, 0U, 0U, 0U, 0U};
        pair_of_columns(total, x, HAD_MVE_TERMS, 2U * HAD_MVE_TERMS, w, terms);
        for (uint32_t r = 0U; r < ROWS; r++) {
            __builtin_memcpy(out + r * HAD_LANES, total + r, sizeof *total);
        }
        x += 2U * HAD_MVE_ROUND(terms);
    }
}

#if HAD_MVE_ONE_TILE
#define STORE(n)                                                                                   \
    "pkhbt %[a], %[a], %[b], lsl #16\n\t" SATURATE "str %[a], [%[out], #" n "*%c[row]]\n\t"
#if HAD_BATCH_PADDED > 16U
#define LOAD                                                                                       \
    "vldrw.u32 q0, [%[x]]\n\t"                                                                     \
    "vldrw.u32 q1, [%[x], #16]\n\t"                                                                \
    "vldrw.u32 q2, [%[x], %[stride]]\n\t"                                                          \
    "vldrw.u32 q3, [%[x], %[stride]+16]\n\t"
#define ROW(n) PRODUCTS2(n) STORE(n)
#else
#define LOAD                                                                                       \
    "vldrw.u32 q0, [%[x]]\n\t"                                                                     \
    "vldrw.u32 q2, [%[x], %[stride]]\n\t"
#define ROW(n) PRODUCTS1(n, "%c[pitch]") STORE(n)
#endif

/* The whole product is one tile: no totals. */
void had_mve_rows(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, const had_weight *w,
                  uint32_t columns, const had_counted *counted) {
    uint32_t a, b;
    uint32_t n = (columns + 1U) / 2U;
    (void)counted;
    __asm__ volatile("1:\n\t" LOAD ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6")
                         ROW("7") "add %[x], %[x], %[step]\n\t"
                                  "add %[out], %[out], #4\n\t"
                                  "subs %[n], %[n], #1\n\t"
                                  "bne 1b"
                     : [x] "+r"(x), [out] "+r"(out), [n] "+r"(n), [a] "=&Te"(a), [b] "=&Te"(b)
                     : [w] "r"(w), [bits] "I"(HAD_ACC_BITS), [pitch] "i"(HAD_TILE_K),
                       [stride] "i"(HAD_BATCH_STRIDE), [step] "I"(2U * HAD_BATCH_STRIDE),
                       [row] "i"(2U * HAD_MVE_CHUNK)
                     : "cc", "memory", "q0", "q1", "q2", "q3", "q4", "q5");
}
#else
void had_mve_rows(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, const had_weight *w,
                  uint32_t columns, const had_counted *counted) {
    (void)counted;
    for (uint32_t c = 0U; c < columns; c += 2U) {
        uint32_t total[ROWS] = {0U, 0U, 0U, 0U, 0U, 0U, 0U, 0U};
        pair_of_columns(total, x, HAD_BATCH_STRIDE, HAD_MVE_TERMS, w, HAD_BATCH_PADDED);
        for (uint32_t r = 0U; r < ROWS; r++) {
            __builtin_memcpy(out + r * HAD_MVE_CHUNK + c, total + r, sizeof *total);
        }
        x += 2U * HAD_BATCH_STRIDE;
    }
}
#endif

#else
/* Saturated sum of a tile; the vectors of x lie `step` apart. */
static int32_t tile(const int8_t *x, uint32_t step, const had_weight *w, uint32_t terms,
                    const had_counted *counted, uint32_t counts) {
    int32_t sum = 0;
    for (uint32_t k = 0U; k < terms; k++) {
        sum += x[k / HAD_MVE_TERMS * step + k % HAD_MVE_TERMS] * w[k];
    }
    int32_t value = had_saturate_acc(sum);
    HAD_COUNT(counted->tally->total += counts;
              counted->tally->saturated += value != sum ? counts : 0U;)
    (void)counted;
    (void)counts;
    return value;
}

/* One column by eight rows. */
static void product(had_total *out, uint32_t stride, const int8_t *x, uint32_t step,
                    const had_weight *w, uint32_t terms, const had_counted *counted,
                    uint32_t counts) {
    for (uint32_t r = 0U; r < ROWS; r++) {
        int32_t total = 0;
        for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
            uint32_t part = terms - k < HAD_TILE_K ? terms - k : HAD_TILE_K;
            total += tile(x + k / HAD_MVE_TERMS * step, step, w + had_weight_at(k, r), part,
                          counted, counts & counted->row_bits >> r);
        }
        out[r * stride] = (had_total)total;
    }
}

void had_mve_columns(had_total out[HAD_ROWS * HAD_LANES], const int8_t *x, const had_weight *w,
                     uint32_t terms, const had_counted *counted) {
    for (uint32_t c = 0U; c < HAD_LANES; c++) {
        product(out + c, HAD_LANES, x + had_mve_at(c, 0U, terms), 2U * HAD_MVE_TERMS, w, terms,
                counted, c < counted->lanes ? 1U : 0U);
    }
}

void had_mve_rows(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, const had_weight *w,
                  uint32_t columns, const had_counted *counted) {
    for (uint32_t c = 0U; c < columns; c++) {
        product(out + c, HAD_MVE_CHUNK, x + c * HAD_BATCH_STRIDE, HAD_MVE_TERMS, w,
                HAD_BATCH_PADDED, counted, c < counted->lanes ? 1U : 0U);
    }
}
#endif

#if HAD_MVE_ASSEMBLY
/* Eight columns of a term at a time. */
static void turn(int8_t *to, const int8_t *x, uint32_t terms) {
    uint16_t place[8];
    for (uint32_t c = 0U; c < 8U; c++) {
        place[c] = (uint16_t)had_mve_at(c, 0U, terms);
    }
    for (; terms > 0U; terms -= terms < HAD_MVE_TERMS ? terms : HAD_MVE_TERMS) {
        int8_t *at = to;
        uint32_t n = terms < HAD_MVE_TERMS ? terms : HAD_MVE_TERMS;
        __asm__ volatile("vldrh.u16 q1, [%[place]]\n"
                         "1:\n\t"
                         "vldrb.u16 q0, [%[x]]\n\t"
                         "vstrb.16 q0, [%[to], q1]\n\t"
                         "add %[x], %[x], %[stride]\n\t"
                         "add %[to], %[to], #1\n\t"
                         "subs %[n], %[n], #1\n\t"
                         "bne 1b"
                         : [x] "+l"(x), [to] "+r"(at), [n] "+r"(n)
                         : [place] "r"(place), [stride] "i"(HAD_BATCH_STRIDE)
                         : "cc", "memory", "q0", "q1");
        to += 2U * HAD_MVE_TERMS;
    }
}

void had_mve_turn(int8_t *to, const int8_t *x, uint32_t terms) {
    for (uint32_t c = 0U; c < HAD_BATCH_STRIDE; c += 8U) {
        turn(to + had_mve_at(c, 0U, terms), x + c, terms);
    }
}
#else
void had_mve_turn(int8_t *to, const int8_t *x, uint32_t terms) {
    for (uint32_t c = 0U; c < HAD_BATCH_STRIDE; c++) {
        for (uint32_t k = 0U; k < terms; k++) {
            to[had_mve_at(c, k, terms)] = x[k * HAD_BATCH_STRIDE + c];
        }
    }
}
#endif
#else
typedef int had_dot_mve_is_left_out; /* another variant is chosen */
#endif
