/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HADAPT_CONFIG_H
#define HADAPT_CONFIG_H

#define HAD_WIRE_MAX_BYTES 4096U

#endif
