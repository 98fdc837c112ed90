/* SPDX-License-Identifier: Apache-2.0 */
/* Products of 16 terms at once on a Cortex-M55; layout and bounds in had_mve.h. */
#include "had_mve.h"

#if HAD_MVE
#define ROWS 8U
#define VECTORS(terms) (((terms) + HAD_MVE_TERMS - 1U) / HAD_MVE_TERMS)

#if HAD_MVE_ASSEMBLY
/* A vector of a row of weights, with that of both columns; the last of a tile moves on to the next. */
#define TIMES(a, at, back, x, y, s, t)                                                             \
    "vldrw.u32 q4, [%[w], #16+" at "]" back "\n\t"                                                 \
    "vmladav" a ".s8 %[" s "], " x ", q4\n\t"                                                      \
    "vmladav" a ".s8 %[" t "], " y ", q4\n\t"
#define ONE(n, back, s, t) TIMES("", "16*" n, back, "q0", "q2", s, t)
#define TWO(n, back, s, t) ONE(n, "", s, t) TIMES("a", "128+16*" n, back, "q1", "q3", s, t)
/* Sums of two rows to the lanes of q. */
#define PAIR(row, n, m, back, q)                                                                   \
    row(n, "", "a", "b") row(m, back, "c", "d") "vmov " q "[2], " q "[0], %[a], %[c]\n\t"          \
                                                "vmov " q "[3], " q "[1], %[b], %[d]\n\t"
/* Sums in the halves of q5 to the top of a half, saturated there, and down again into the totals. */
#if HAD_ACC_BITS < 16
#define ADD(total) "vqshl.s16 q5, q5, %[up]\n\tvqdmlah.s16 " total ", q5, %[down]\n\t"
#else
#define ADD(total) "vadd.i16 " total ", " total ", q5\n\t"
#endif
#define FOUR(row, end, n0, n1, n2, n3, back)                                                       \
    PAIR(row, n0, n1, "", "q5") PAIR(row, n2, n3, back, "q4") "vmovnt.i32 q5, q4\n\t" end
#define EIGHT(row, back)                                                                           \
    FOUR(row, ADD("q6"), "0", "1", "2", "3", "")                                                   \
    FOUR(row, ADD("q7"), "4", "5", "6", "7", back)
#define LOAD(x, y) "vldrw.u32 " x ", [%[x]], #16\n\tvldrw.u32 " y ", [%[y]], #16\n\t"

#if HAD_TILE_K == 32U
#define WHOLE LOAD("q0", "q2") LOAD("q1", "q3") EIGHT(TWO, "!")
#else
#define WHOLE LOAD("q0", "q2") EIGHT(ONE, "!")
#endif
#if HAD_TILE_K == 32U && !HAD_MVE_ONE_TILE && VECTORS(HAD_BATCH_PADDED) % 2U == 1U
#define LAST "wls lr, %[odd], 3f\n\t" LOAD("q0", "q2") EIGHT(ONE, "") "3:\n\t"
#define ODD(vectors) ((vectors) & 1U)
#else
#define LAST ""
#define ODD(vectors) 0U
#endif

#define PITCH (2U * HAD_MVE_CHUNK)
/* Bytes from a total to that of lane j of four rows. */
static const uint16_t place[8] = {0U,    2U * PITCH, 2U,         2U * PITCH + 2U,
                                  PITCH, 3U * PITCH, PITCH + 2U, 3U * PITCH + 2U};

/* Two columns by eight rows. */
static inline __attribute__((always_inline)) void two_columns(had_total *out, const int8_t *x,
                                                              const int8_t *y, const had_weight *w,
                                                              uint32_t tiles, uint32_t odd) {
    uint32_t a, b, c, d;
    __asm__ volatile(
        "sub %[w], %[w], #16\n\t"
        "vmov.i32 q6, #0\n\t"
        "vmov.i32 q7, #0\n\t"
        "wls lr, %[tiles], 2f\n"
        "1:\n\t" WHOLE "le lr, 1b\n"
        "2:\n\t" LAST "vldrh.u16 q0, [%[place]]\n\t"
        "vstrh.16 q6, [%[out], q0]\n\t"
        "add %[out], %[out], %[four]\n\t"
        "vstrh.16 q7, [%[out], q0]"
        : [x] "+r"(x), [y] "+r"(y), [w] "+r"(w), [out] "+r"(out), [a] "=&Te"(a), [b] "=&Te"(b),
          [c] "=&Te"(c), [d] "=&Te"(d)
        : [tiles] "r"(tiles), [odd] "r"(odd), [place] "r"(place), [up] "I"(16 - HAD_ACC_BITS),
          [down] "r"(1U << (HAD_ACC_BITS - 1U)), [four] "I"(4U * PITCH)
        : "cc", "memory", "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7");
}

void had_mve_product(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, uint32_t pitch,
                     const had_weight *w, uint32_t terms, const had_counted *counted) {
    uint32_t odd = ODD(VECTORS(terms));
    uint32_t tiles = odd != 0U ? VECTORS(terms) / 2U : (terms + HAD_TILE_K - 1U) / HAD_TILE_K;
    for (const had_total *end = out + ((counted->lanes + 1U) & ~1U); out != end; out += 2) {
        two_columns(out, x, x + pitch, w, tiles, odd);
        x += 2U * pitch;
    }
}

#if HAD_MVE_ONE_TILE
#if HAD_ACC_BITS < 16
#define SATURATE "vqshl.s16 q5, q5, %[up]\n\tvshr.s16 q5, q5, %[up]\n\t"
#else
#define SATURATE ""
#endif
#define STORE(out) SATURATE "vstrh.16 q5, [%[" out "], q7]\n\tadd %[" out "], %[" out "], #4\n\t"
#define ROWS_OF(row)                                                                               \
    FOUR(row, STORE("out"), "0", "1", "2", "3", "")                                                \
    FOUR(row, STORE("next"), "4", "5", "6", "7", "")
#if HAD_BATCH_PADDED > 16U
#define ALONE LOAD("q0", "q2") LOAD("q1", "q3") ROWS_OF(TWO)
#else
#define ALONE LOAD("q0", "q2") ROWS_OF(ONE)
#endif

/* The whole product is one tile: no totals. */
void had_mve_rows(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, const had_weight *w,
                  const had_counted *counted) {
    const int8_t *y = x + HAD_BATCH_STRIDE;
    had_total *next = out + 4U * HAD_MVE_CHUNK;
    uint32_t a, b, c, d;
    __asm__ volatile(
        "vldrh.u16 q7, [%[place]]\n\t"
        "dls lr, %[n]\n"
        "1:\n\t" ALONE "add %[x], %[x], %[stride]\n\t"
        "add %[y], %[y], %[stride]\n\t"
        "le lr, 1b"
        : [x] "+r"(x), [y] "+r"(y), [out] "+r"(out), [next] "+r"(next), [a] "=&Te"(a),
          [b] "=&Te"(b), [c] "=&Te"(c), [d] "=&Te"(d)
        : [w] "r"((uintptr_t)w - 16U), [n] "r"((counted->lanes + 1U) / 2U), [place] "r"(place),
          [up] "I"(16 - HAD_ACC_BITS), [stride] "I"(HAD_BATCH_STRIDE)
        : "cc", "memory", "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q7");
}
#endif
#else
/* Saturated sum of a tile, from term k of row r on. */
static int32_t tile(const int8_t *x, const had_weight *w, uint32_t k, uint32_t r, uint32_t terms,
                    const had_counted *counted) {
    int32_t sum = 0;
    for (uint32_t end = k + terms; k < end; k++) {
        sum += x[k] * w[had_weight_at(k, r)];
    }
    int32_t value = had_saturate_acc(sum);
    HAD_COUNT(uint32_t counts = counted->row_bits >> r & 1U; counted->tally->total += counts;
              counted->tally->saturated += value != sum ? counts : 0U;)
    (void)counted;
    return value;
}

void had_mve_product(had_total out[HAD_ROWS * HAD_MVE_CHUNK], const int8_t *x, uint32_t pitch,
                     const had_weight *w, uint32_t terms, const had_counted *counted) {
    for (uint32_t c = 0U; c < counted->lanes; c++) {
        for (uint32_t r = 0U; r < ROWS; r++) {
            int32_t total = 0;
            for (uint32_t k = 0U; k < terms; k += HAD_TILE_K) {
                uint32_t part = terms - k < HAD_TILE_K ? terms - k : HAD_TILE_K;
                total += tile(x, w, k, r, part, counted);
            }
            out[r * HAD_MVE_CHUNK + c] = (had_total)total;
        }
        x += pitch;
    }
}
#endif

/* Zeros behind the last term of each column, which weights meet that are not set. */
static void clear_behind(int8_t *to, uint32_t terms) {
    uint32_t behind = HAD_MVE_ROUND(terms) - terms;
    for (uint32_t c = 0U; behind > 0U && c < HAD_BATCH_STRIDE; c++) {
        to += terms;
        __builtin_memset(to, 0, behind);
        to += behind;
    }
}

void had_mve_turn(int8_t *to, const int8_t *x, uint32_t terms) {
    uint32_t pitch = HAD_MVE_ROUND(terms);
    clear_behind(to, terms);
#if HAD_MVE_ASSEMBLY
    for (uint32_t c = 0U; c < HAD_BATCH_STRIDE; c += 8U) { /* eight columns of a term at a time */
        int8_t *at = to + c * pitch;
        const int8_t *from = x + c;
        uint32_t lane = 0U;
        __asm__ volatile("vidup.u16 q1, %[lane], #1\n\t"
                         "vmul.i16 q1, q1, %[pitch]\n\t"
                         "dls lr, %[n]\n"
                         "1:\n\t"
                         "vldrb.u16 q0, [%[x]]\n\t"
                         "vstrb.16 q0, [%[to], q1]\n\t"
                         "add %[x], %[x], %[stride]\n\t"
                         "add %[to], %[to], #1\n\t"
                         "le lr, 1b"
                         : [x] "+l"(from), [to] "+r"(at), [lane] "+Te"(lane)
                         : [n] "r"(terms), [pitch] "r"(pitch), [stride] "i"(HAD_BATCH_STRIDE)
                         : "cc", "memory", "lr", "q0", "q1");
    }
#else
    for (uint32_t c = 0U; c < HAD_BATCH_STRIDE; c++) {
        for (uint32_t k = 0U; k < terms; k++) {
            to[c * pitch + k] = x[k * HAD_BATCH_STRIDE + c];
        }
    }
#endif
}
#else
typedef int had_dot_mve_is_left_out; /* another variant is chosen */
#endif
