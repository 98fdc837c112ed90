/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a packet: envelope, signature, manifest, SPEC.md 11.2. */
#ifndef HAD_ENVELOPE_H
#define HAD_ENVELOPE_H

#include "had_cbor.h"
#include "hadapt/packet.h"

/*
 * Whether the head is complete: HAD_CBOR_OK, and the payload's length; HAD_CBOR_MORE; HAD_CBOR_BAD.
 */
uint32_t had_envelope_scan(const had_packet *packet, uint32_t *payload_bytes);

/* Checks 1 to 5 of SPEC.md 11.3 on a complete head; fills the manifest's part of the packet. */
uint32_t had_envelope_verify(had_packet *packet, const had_trust *trust);

#endif
