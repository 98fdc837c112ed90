/* SPDX-License-Identifier: Apache-2.0 */
/* Whose packets a device takes, SPEC.md 13.1, and the hook that checks signatures. */
#ifndef HADAPT_TRUST_H
#define HADAPT_TRUST_H

#include <stdint.h>

#include "hadapt/status.h"

/* Of a public key, a name-based UUID (RFC 4122) and a signature. */
#define HAD_KEY_BYTES 32U
#define HAD_UUID_BYTES 16U
#define HAD_SIGNATURE_BYTES 64U

/* Identity and keys of a device. */
typedef struct had_trust {
    uint32_t sequence; /* of the last packet that was accepted */
    uint32_t provisioned;
    uint8_t vendor[HAD_UUID_BYTES];
    uint8_t klass[HAD_UUID_BYTES];
    uint8_t root[HAD_KEY_BYTES];    /* Ed25519; signs key packets */
    uint8_t release[HAD_KEY_BYTES]; /* Ed25519; signs update packets */
} had_trust;

_Static_assert(sizeof(had_trust) == 104U, "trust is stored as it lies in memory");

/*
 * Port hook: Ed25519 (RFC 8032) of a message. The platform's own (PSA, TF-M, mbedTLS), or
 * port/verify_ed25519.c on a library. HAD_ERR_REFUSED: the signature is wrong.
 */
HAD_CHECKED had_status had_port_verify(const uint8_t key[HAD_KEY_BYTES],
                                       const uint8_t signature[HAD_SIGNATURE_BYTES],
                                       const uint8_t *message, uint32_t bytes);

#endif
