/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four functions that C compilers call on their own, so that no C library is linked.
 * KEEP_LOOP stops a compiler from turning a loop here into a call of the very function it is in.
 */
#include <stdint.h>
#include <string.h>

#define KEEP_LOOP __asm__ volatile("" ::: "memory")
#define WORD_BYTES sizeof(uint32_t)

typedef uint32_t __attribute__((may_alias)) any_word;

static int is_aligned(const void *a, const void *b) {
    return (((uintptr_t)a | (uintptr_t)b) & (WORD_BYTES - 1U)) == 0U;
}

static void copy_up(uint8_t *to, const uint8_t *from, size_t n) {
    if (is_aligned(to, from)) {
        for (; n >= WORD_BYTES; n -= WORD_BYTES) {
            *(any_word *)(void *)to = *(const any_word *)(const void *)from;
            to += WORD_BYTES;
            from += WORD_BYTES;
            KEEP_LOOP;
        }
    }
    for (; n > 0U; n--) {
        *to++ = *from++;
        KEEP_LOOP;
    }
}

void *memcpy(void *restrict dst, const void *restrict src, size_t n) {
    copy_up(dst, src, n);
    return dst;
}

void *memmove(void *dst, const void *src, size_t n) {
    uint8_t *to = dst;
    const uint8_t *from = src;
    if ((uintptr_t)to <= (uintptr_t)from) {
        copy_up(to, from, n);
        return dst;
    }
    while (n > 0U) {
        n--;
        to[n] = from[n];
        KEEP_LOOP;
    }
    return dst;
}

void *memset(void *dst, int value, size_t n) {
    uint8_t *to = dst;
    uint8_t byte = (uint8_t)((unsigned int)value & 0xFFU);
    uint32_t word = (uint32_t)byte * 0x01010101U;
    for (; n > 0U && !is_aligned(to, to); n--) {
        *to++ = byte;
        KEEP_LOOP;
    }
    for (; n >= WORD_BYTES; n -= WORD_BYTES) {
        *(any_word *)(void *)to = word;
        to += WORD_BYTES;
        KEEP_LOOP;
    }
    for (; n > 0U; n--) {
        *to++ = byte;
        KEEP_LOOP;
    }
    return dst;
}

int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *left = a;
    const uint8_t *right = b;
    for (; n > 0U; n--, left++, right++) {
        if (*left != *right) {
            return (int)*left - (int)*right;
        }
        KEEP_LOOP;
    }
    return 0;
}
