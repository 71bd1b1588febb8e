#ifndef CRYPTO_SHA256_H
#define CRYPTO_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* SHA-256 (FIPS 180-4), HMAC (RFC 2104) and HKDF (RFC 5869) on it.
 *
 * OpenSSL's low-level functions are used: they take the CPU's SHA instructions
 * and cost about 100 ns for 64 bytes, against 200 through EVP (a fetch and a
 * heap context) and 650 in libsodium.  No heap, no errors. */

enum {
    SHA256_BYTES = 32,
    SHA256_BLOCK_BYTES = 64,
    SHA256_HKDF_BYTES_MAX = 255 * 32, /* RFC 5869, 2.3 */
};

/* A running hash.  Caller's memory; copy it to fork it; wipe it if it saw secrets. */
struct sha256 {
    uint64_t opaque[14];
};

void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *data, size_t length);
void sha256_final(struct sha256 *sha, uint8_t out[SHA256_BYTES]);

/* All at once. */
void sha256_digest(uint8_t out[SHA256_BYTES], const void *data, size_t length);

/* HMAC-SHA-256; `key` may have any length.  `out` may overlap the inputs. */
void sha256_hmac(uint8_t out[SHA256_BYTES], const uint8_t *key, size_t key_length,
                 const void *data, size_t length);

/* HKDF-SHA-256, extract then expand.  out_length <= SHA256_HKDF_BYTES_MAX.
 * Noise's HKDF(ck, ikm, n) is this with salt = ck, no info, out_length = 32 n. */
void sha256_hkdf(uint8_t *out, size_t out_length, const uint8_t *salt, size_t salt_length,
                 const uint8_t *ikm, size_t ikm_length, const uint8_t *info, size_t info_length);

#endif
