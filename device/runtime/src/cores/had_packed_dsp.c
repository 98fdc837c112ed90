/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inference with the DSP extension: products of one 4-bit vector with a group of the view; layout in had_dsp.h.
 *
 * A half of a word of weights, even and odd row masked out of it, is (w_0 + 8) + 4096 w_1; a multiplication of halves makes
 * four products. Sums start at 2048 - 8 sum of x, so that their low field is 2048 + s_0, which 12 bits hold while
 * |s_0| < 2048: |s_0| <= tile_k * 49 <= 1568 for x in [-7, 7] and <= 7 sum of x for x in [0, 15]. Where that may be more,
 * which it seldom is, a tile is taken in parts of 16 terms, 16 * 105 = 1680.
 *
 * had_dot_packed_sums gives what the sums of each tile start from, its lowest bit set where parts are needed, and behind
 * them, for all groups of rows, x as pairs of halves; where that would be long, the terms of the last, shorter tile.
 */
#include "../kernels/had_tile.h"
#include "had_dsp.h"

#if HAD_VIEW_DSP
#define FIELD 2048
#define SUM_MOST ((FIELD - 1) / 7)
#define PART_QUADS 4U
#define TILE_QUADS (HAD_TILE_K / 4U)
#define QUADS(terms) (((terms) + 3U) / 4U)
#define MASK 0xF00FF00FU
#define ONES 0x00010001U

_Static_assert(HAD_TILE_K * 49U < FIELD && 4U * PART_QUADS * HAD_TERM_MAX < FIELD,
               "a low field has 12 bits");

/* Sums of the pairs of rows of a group. */
typedef struct had_quads {
    uint32_t a[4];
} had_quads;

/* Where a product is: totals in halves, x of the next tile, its weights, its start, and the end of the weights. */
typedef struct had_run {
    had_quads total;
    const int8_t *x;
    const uint32_t *w;
    const int32_t *start;
    const uint32_t *end;
} had_run;

static inline uint32_t word_of(const int8_t *x, uint32_t terms) {
    uint32_t word = 0U;
    if (terms >= 4U) {
        __builtin_memcpy(&word, x, sizeof word);
        return word;
    }
    for (uint32_t k = 0U; k < terms; k++) {
        word |= (uint32_t)(uint8_t)x[k] << (8U * k);
    }
    return word;
}

void had_dot_packed_sums(int32_t sums[HAD_PACKED_SUMS], const int8_t *x, uint32_t terms) {
    uint32_t *to = (uint32_t *)(sums + HAD_TILES);
    while (terms > 0U) {
        uint32_t tile = terms < HAD_TILE_K ? terms : HAD_TILE_K;
        int32_t sum = 0;
        terms -= tile;
        for (; tile > 0U; tile -= tile < 4U ? tile : 4U) {
            uint32_t word = word_of(x, tile);
            uint32_t even = had_bytes_even(word);
            uint32_t odd = had_bytes_odd(word);
            sum = had_smlad(even, ONES, had_smlad(odd, ONES, sum));
            x += 4;
#if HAD_VIEW_PAIRS
            *to++ = even;
            *to++ = odd;
#else
            if (terms == 0U) {
                *to++ = word;
            }
#endif
        }
        *sums++ = (FIELD - 8 * sum) | (sum > SUM_MOST ? 1 : 0);
    }
}

#if HAD_VIEW_PAIRS
#define QUAD_BYTES 8U /* of x */
static inline uint32_t pair_at(const int8_t *x, uint32_t n) {
    uint32_t word;
    __builtin_memcpy(&word, x + 4U * n, sizeof word);
    return word;
}
#else
#define QUAD_BYTES 4U
static inline uint32_t pair_at(const int8_t *x, uint32_t n) {
    uint32_t word;
    __builtin_memcpy(&word, x + n / 2U * 4U, sizeof word);
    return n % 2U == 0U ? had_bytes_even(word) : had_bytes_odd(word);
}
#endif

static uint32_t halves(int32_t sum) {
    return ((((uint32_t)sum & 0xFFFU) - FIELD) & 0xFFFFU) | ((uint32_t)sum << 4 & 0xFFFF0000U);
}

/* Sums of `quads` fours of terms in halves, added to those before. */
static void part(had_quads *s, const int8_t *x, const uint32_t *w, uint32_t quads, int32_t start) {
    int32_t a[4] = {start, start, start, start};
    for (uint32_t n = 0U; n < quads * 8U; n++) {
        uint32_t word = w[n / 2U];
        word = n % 2U == 0U ? word : word >> 8 | word << 24;
        a[n % 4U] = had_smlad(word & MASK, pair_at(x, n / 4U), a[n % 4U]);
    }
    for (uint32_t j = 0U; j < 4U; j++) {
        s->a[j] = had_add16(s->a[j], halves(a[j]));
    }
}

#if HAD_ACC_BITS < 16
#define SATURATED(word) had_saturate_acc16(word)
#else
#define SATURATED(word) (word)
#endif

/* The next tile, in parts where it needs some. */
static void add_tile(had_run *run) {
    had_quads s = {{0U, 0U, 0U, 0U}};
    uint32_t left = (uint32_t)(run->end - run->w) / 4U;
    int32_t start = *run->start++;
    uint32_t most = (start & 1) != 0 ? PART_QUADS : TILE_QUADS;
    left = left < TILE_QUADS ? left : TILE_QUADS;
    for (uint32_t taken; left > 0U; left -= taken) {
        taken = left < most ? left : most;
        if ((start & 1) != 0) {
            int32_t sum = 0;
            for (uint32_t n = 0U; n < 2U * taken; n++) {
                sum = had_smlad(pair_at(run->x, n), ONES, sum);
            }
            part(&s, run->x, run->w, taken, FIELD - 8 * sum);
        } else {
            part(&s, run->x, run->w, taken, start);
        }
        run->x += taken * QUAD_BYTES;
        run->w += taken * 4U;
    }
    for (uint32_t j = 0U; j < 4U; j++) {
        run->total.a[j] = had_add16(run->total.a[j], SATURATED(s.a[j]));
    }
}

#if HAD_DSP_ASSEMBLY && defined(__OPTIMIZE__)
/* Tiles up to the end, or to one that needs parts. */
void had_dsp_tiles(had_run *run);

#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)

/* clang-format off */
#if HAD_VIEW_PAIRS
#define LOAD_X "    ldrd r2, r3, [r0], #8\n"
#define QUAD_CODE "72"
#else
#define LOAD_X "    ldr.w r3, [r0], #4\n    sxtb16 r2, r3\n    sxtb16 r3, r3, ror #8\n"
#define QUAD_CODE "80"
#endif
/* A word by a pair of terms: two pairs of rows. */
#define WORD(w, x, a, b)                                                                           \
    "    and.w lr, r8, " w "\n"                                                                    \
    "    and.w " w ", r8, " w ", ror #8\n"                                                         \
    "    smlad " a ", lr, " x ", " a "\n"                                                          \
    "    smlad " b ", " w ", " x ", " b "\n"
#define QUAD                                                                                       \
    LOAD_X "    ldm.w r1!, {r9, r10, r11, r12}\n"                                                  \
    WORD("r9", "r2", "r4", "r5") WORD("r10", "r2", "r6", "r7")                                     \
    WORD("r11", "r3", "r4", "r5") WORD("r12", "r3", "r6", "r7")
#if HAD_ACC_BITS < 16
#define SATURATE(a) "    ssat16 " a ", #" TEXT(HAD_ACC_BITS) ", " a "\n"
#else
#define SATURATE(a)
#endif
#define HALVES(a)                                                                                  \
    "    ubfx lr, " a ", #0, #12\n"                                                                \
    "    pkhbt " a ", lr, " a ", lsl #4\n"                                                         \
    "    ssub16 " a ", " a ", r11\n" SATURATE(a)

/* r0 x, r1 weights, r4 to r7 sums, r8 mask; [sp] end of the tile, [sp, #8] run. */
__asm__(
    "    .syntax unified\n"
    "    .section .text.had_dsp_tiles, \"ax\", %progbits\n"
    "    .align 2\n"
    "    .global had_dsp_tiles\n"
    "    .type had_dsp_tiles, %function\n"
    "    .thumb_func\n"
    "had_dsp_tiles:\n"
    "    push {r0, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
    "    sub sp, #8\n"
    "    mov r12, r0\n"
    "    movw r8, #0xF00F\n"
    "    movt r8, #0xF00F\n"
    "    ldrd r0, r1, [r12, #16]\n"
    "1:\n"
    "    ldrd r2, r3, [r12, #24]\n"
    "    subs r3, r3, r1\n"
    "    beq 9f\n"
    "    ldr r4, [r2], #4\n"
    "    lsls r5, r4, #31\n"
    "    bmi 9f\n"
    "    str.w r2, [r12, #24]\n"
    "    mov r5, r4\n"
    "    mov r6, r4\n"
    "    mov r7, r4\n"
    "    cmp r3, #" TEXT(HAD_TILE_K) " * 4\n"
#if HAD_TILE_K % 16U == 0U
    "    blo 5f\n"
    "    add.w lr, r1, #" TEXT(HAD_TILE_K) " * 4\n"
    "    str.w lr, [sp]\n"
#else
    "    it hi\n"
    "    movhi r3, #" TEXT(HAD_TILE_K) " * 4\n"
    "    b 5f\n"
#endif
    "    .align 2\n"
    "2:\n" QUAD QUAD QUAD QUAD
    "    ldr.w lr, [sp]\n"
    "    cmp r1, lr\n"
    "    bne 2b\n"
    "    mov.w r11, #2048\n"
    HALVES("r4") HALVES("r5") HALVES("r6") HALVES("r7")
    "    ldr.w r12, [sp, #8]\n"
    "    ldm.w r12, {r2, r3, r9, r10}\n"
    "    sadd16 r2, r2, r4\n"
    "    sadd16 r3, r3, r5\n"
    "    sadd16 r9, r9, r6\n"
    "    sadd16 r10, r10, r7\n"
    "    stm.w r12, {r2, r3, r9, r10}\n"
    "    b 1b\n"
    "5: @ of r3 / 16 fours of terms\n"
    "    add.w lr, r1, r3\n"
    "    str.w lr, [sp]\n"
    "    rsbs r3, r3, #0\n"
    "    ubfx r3, r3, #4, #2\n"
    "    movs r2, #" QUAD_CODE "\n"
    "    adr.w lr, 2b\n"
    "    mla lr, r3, r2, lr\n"
    "    adds.w lr, lr, #1\n"
    "    bx lr\n"
    "9:\n"
    "    strd r0, r1, [r12, #16]\n"
    "    add sp, #8\n"
    "    pop {r0, r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"
    "    .size had_dsp_tiles, . - had_dsp_tiles\n"
    "    .text\n"
);
/* clang-format on */
#else
static inline void had_dsp_tiles(had_run *run) {
    (void)run; /* one by one */
}
#endif

void had_dot_packed(int32_t total[HAD_VIEW_ROWS], const int8_t *x, const uint32_t *w,
                    uint32_t terms, const int32_t sums[HAD_PACKED_SUMS], uint32_t positive) {
    had_run run = {{{0U, 0U, 0U, 0U}}, x, w, sums, w + 4U * QUADS(terms)};
#if HAD_VIEW_PAIRS
    run.x = (const int8_t *)(sums + HAD_TILES);
#else
    const uint32_t *whole = w + terms / HAD_TILE_K * HAD_TILE_K;
    run.end = whole;
#endif
    for (had_dsp_tiles(&run); run.w != run.end; had_dsp_tiles(&run)) {
        add_tile(&run);
    }
#if !HAD_VIEW_PAIRS
    run.x = (const int8_t *)(sums + HAD_TILES);
    run.end = w + 4U * QUADS(terms);
    for (had_dsp_tiles(&run); run.w != run.end; had_dsp_tiles(&run)) {
        add_tile(&run);
    }
#endif
    (void)x;
    (void)positive;
    for (uint32_t r = 0U; r < HAD_VIEW_ROWS; r += 2U) {
        uint32_t both = run.total.a[r / 2U];
        total[r] = (int16_t)(uint16_t)(both & 0xFFFFU);
        total[r + 1U] = (int16_t)(uint16_t)(both >> 16);
    }
}
#else
typedef int had_packed_dsp_is_left_out; /* another variant is chosen */
#endif
