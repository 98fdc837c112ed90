/* SPDX-License-Identifier: Apache-2.0 */
/* Result of every function that can fail. Values go over the wire as int8: never renumber. */
#ifndef HADAPT_STATUS_H
#define HADAPT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum had_status {
    HAD_OK = 0,             /* done */
    HAD_ERR_IO = -1,        /* the transport ended or failed */
    HAD_ERR_FRAME = -2,     /* reserved bytes of a request are not zero */
    HAD_ERR_SIZE = -3,      /* a payload is longer than the device takes, or not of the exact length */
    HAD_ERR_COMMAND = -4,   /* no such command */
    HAD_ERR_ARGUMENT = -5,  /* a value is outside its stated range */
    HAD_ERR_STATE = -6,     /* not possible now: not initialised, training under way, ... */
    HAD_ERR_FORMAT = -7,    /* a blob has another magic, version or model digest */
    HAD_ERR_CHECKSUM = -8,  /* a blob's or a flash slot's checksum is wrong */
    HAD_ERR_CLASS = -9,     /* unknown class */
    HAD_ERR_FULL = -10,     /* no class slot or exemplar slot is left */
    HAD_ERR_EMPTY = -11,    /* nothing to work on: no class, no exemplar, no candidate */
    HAD_ERR_REFUSED = -12,  /* the forgetting guard refused; the old state is back */
    HAD_ERR_SUPPORT = -13,  /* left out of this build */
    HAD_ERR_INTERNAL = -14  /* an invariant does not hold */
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
