/* SPDX-License-Identifier: Apache-2.0 */
/* Result of every function that can fail. Values go over the wire as int8 (SPEC.md 10). */
#ifndef HADAPT_STATUS_H
#define HADAPT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Result of a function. */
typedef enum had_status {
    HAD_OK = 0,            /* done */
    HAD_ERR_ARGUMENT = -1, /* a value is outside its stated range */
    HAD_ERR_STATE = -2,    /* not possible now: busy, no session, nothing to do */
    HAD_ERR_FULL = -3,     /* no class slot or exemplar slot is left */
    HAD_ERR_FORMAT = -4,   /* a blob or frame has another magic, version, model or length */
    HAD_ERR_DIGEST = -5,   /* a blob's digest is wrong */
    HAD_ERR_IO = -6,       /* the transport ended or failed */
    HAD_ERR_COMMAND = -7,  /* no such command */
    HAD_ERR_SIZE = -8,     /* longer than the device takes */
    HAD_ERR_REFUSED = -9   /* a packet or a commit that the device does not trust */
} had_status;

/* The result must be looked at: ignoring it fails the build under -Werror. */
#if defined(__GNUC__) || defined(__clang__)
#define HAD_CHECKED __attribute__((warn_unused_result))
#else
#define HAD_CHECKED
#endif

#ifdef __cplusplus
}
#endif

#endif
