/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included first where no inner loop of a step or of an inference lies: GCC then builds the file for size, whatever the
 * level of the others. Without optimisation nothing changes.
 */
#ifndef HAD_COLD_H
#define HAD_COLD_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("Os")
#endif

#endif
