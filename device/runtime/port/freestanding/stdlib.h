/* SPDX-License-Identifier: Apache-2.0 */
/* <stdlib.h> of the device builds, for the sources of the signature check: nothing that they link calls abort. */
#ifndef HADAPT_FREESTANDING_STDLIB_H
#define HADAPT_FREESTANDING_STDLIB_H

#include <stddef.h>

void abort(void);

#endif
