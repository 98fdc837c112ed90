/* SPDX-License-Identifier: Apache-2.0 */
/* Version of the interface between the runtime and generated sources. */
#ifndef HADAPT_VERSION_H
#define HADAPT_VERSION_H

/* Generated sources of another number do not compile. */
#define HAD_RUNTIME_FORMAT 1

#endif
