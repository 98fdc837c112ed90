/* SPDX-License-Identifier: Apache-2.0 */
/* Why a packet or a commit was refused: numbers of SPEC.md 13.3. */
#ifndef HADAPT_REASON_H
#define HADAPT_REASON_H

/* Numbers of SPEC.md 13.3, in the order of the checks. */
enum had_reason {
    HAD_REASON_NONE = 0,
    HAD_REASON_FORM = 1,
    HAD_REASON_KEY_ID = 2,
    HAD_REASON_MANIFEST_DIGEST = 3,
    HAD_REASON_SIGNATURE = 4,
    HAD_REASON_MANIFEST = 5,
    HAD_REASON_VENDOR = 6,
    HAD_REASON_CLASS = 7,
    HAD_REASON_SEQUENCE = 8,
    HAD_REASON_BASE = 9,
    HAD_REASON_PAYLOAD = 10,
    HAD_REASON_PAYLOAD_DIGEST = 11,
    HAD_REASON_LENGTH = 12,
    HAD_REASON_RESULT = 13,
    HAD_REASON_VALUES = 14,
    HAD_REASON_UNCOMMITTED = 15,
    HAD_REASON_CLASS_DROP = 16,
    HAD_REASON_MEAN_DROP = 17,
    HAD_REASON_NEW_FLOOR = 18,
    HAD_REASON_KEPT = 19 /* at boot: what flash kept could not be taken whole */
};

#endif
