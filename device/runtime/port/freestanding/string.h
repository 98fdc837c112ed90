/* SPDX-License-Identifier: Apache-2.0 */
/* <string.h> of the device builds, which link no C library: the functions of mem.c. */
#ifndef HADAPT_FREESTANDING_STRING_H
#define HADAPT_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif
