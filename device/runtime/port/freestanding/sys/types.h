/* SPDX-License-Identifier: Apache-2.0 */
/* <sys/types.h> of the device builds, for the sources of the signature check, which need none of its types. */
#ifndef HADAPT_FREESTANDING_SYS_TYPES_H
#define HADAPT_FREESTANDING_SYS_TYPES_H

#include <stddef.h>

#endif
