/* SPDX-License-Identifier: Apache-2.0 */
/* had_port_verify on libsodium's portable Ed25519, which the build fetches (device/harness/ed25519.py). */
#include <stddef.h>
#include <stdint.h>

#include "hadapt/trust.h"

int crypto_sign_ed25519_verify_detached(const unsigned char *signature,
                                        const unsigned char *message, unsigned long long bytes,
                                        const unsigned char *key);
int sodium_is_zero(const unsigned char *bytes, size_t count);
int sodium_memcmp(const void *a, const void *b, size_t count);
void sodium_memzero(void *bytes, size_t count);

had_status had_port_verify(const uint8_t key[HAD_KEY_BYTES],
                           const uint8_t signature[HAD_SIGNATURE_BYTES], const uint8_t *message,
                           uint32_t bytes) {
    int result = crypto_sign_ed25519_verify_detached(signature, message, bytes, key);
    return result == 0 ? HAD_OK : HAD_ERR_REFUSED;
}

/* What that code calls of the rest of its library. Nothing here is secret: keys are public. */
int sodium_is_zero(const unsigned char *bytes, size_t count) {
    unsigned char seen = 0U;
    for (size_t i = 0U; i < count; i++) {
        seen = (unsigned char)(seen | bytes[i]);
    }
    return seen == 0U;
}

int sodium_memcmp(const void *a, const void *b, size_t count) {
    const unsigned char *left = a;
    const unsigned char *right = b;
    unsigned char seen = 0U;
    for (size_t i = 0U; i < count; i++) {
        seen = (unsigned char)(seen | (left[i] ^ right[i]));
    }
    return seen == 0U ? 0 : -1;
}

void sodium_memzero(void *bytes, size_t count) {
    volatile unsigned char *at = bytes;
    for (size_t i = 0U; i < count; i++) {
        at[i] = 0U;
    }
}
