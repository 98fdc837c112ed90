/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included first where a file costs little of a step or of an inference: on small cores GCC then builds it for size, whatever
 * the level of the others. The Makefile does so by -Os, which also leaves the high registers of ARMv6-M alone;
 * the pragma is for other builds. Without optimisation nothing changes.
 */
#ifndef HAD_COLD_H
#define HAD_COLD_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) &&                           \
    (defined(__arm__) || defined(__riscv))
#pragma GCC optimize("Os")
#endif

#endif
