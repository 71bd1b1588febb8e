#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include <stddef.h>
#include <stdint.h>

/* ChaCha20-Poly1305 (RFC 8439) with Noise's nonces: four zero bytes, then the
 * counter as 64 bits little-endian (Noise revision 34, section 12.3).
 *
 * Two libraries make the same bytes: libsodium has the lower cost per call,
 * OpenSSL the lower cost per byte.  Nothing is allocated per record: a worker
 * has one context, and the key is set with each record. */

enum {
    AEAD_KEY_BYTES = 32,
    AEAD_IV_BYTES = 12,
    AEAD_TAG_BYTES = 16,
    AEAD_EVP_BYTES_MIN = 192,     /* from here on OpenSSL; measured, see aead.c */
    AEAD_GATHER_BYTES = 16384,    /* pieces below are first copied together: a copy is cheaper than a call */
    AEAD_BYTES_MAX = 1u << 30,    /* of one record: what every library's int holds; Noise stops at 65,535 */
};

/* Of one worker, used by one thread at a time. */
struct aead_context;

/* NULL when memory or the cipher is missing. */
struct aead_context *aead_context_new(void);
/* Wipes the last key; NULL is fine. */
void aead_context_free(struct aead_context *context);

/* From which length of text on OpenSSL is used: 0 always, SIZE_MAX never.  For
 * comparing the two; a new context has AEAD_EVP_BYTES_MIN. */
void aead_context_choose(struct aead_context *context, size_t evp_bytes_min);

struct aead_piece {
    const uint8_t *data;
    size_t length;
};

/* Encrypts the pieces, one after the other, and appends the tag.  `out` has
 * room for their sum + AEAD_TAG_BYTES.  A single piece may be `out` itself (in
 * place); else no piece may overlap `out`.  `ad` may be NULL with length 0.
 * Returns 0, P2P_ERR_CALL_INVALID (too long) or P2P_ERR_CALL_CRYPTO. */
int aead_seal(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES], uint64_t nonce,
              const uint8_t *ad, size_t ad_length, uint8_t *out,
              const struct aead_piece *pieces, size_t piece_count);

/* Checks and decrypts `length` bytes (ciphertext and tag) to length -
 * AEAD_TAG_BYTES bytes of `out`, which may be `in` itself (in place).
 * Returns 0, or P2P_ERR_CALL_CRYPTO when the tag is wrong or missing; then
 * `out` holds zeros. */
int aead_open(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES], uint64_t nonce,
              const uint8_t *ad, size_t ad_length, uint8_t *out,
              const uint8_t *in, size_t length);

/* The 12 bytes that Noise makes of a counter. */
void aead_make_iv(uint8_t iv[AEAD_IV_BYTES], uint64_t nonce);

/* The same two with all 12 bytes of the nonce given (RFC 8439). */
int aead_seal_iv(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES],
                 const uint8_t iv[AEAD_IV_BYTES], const uint8_t *ad, size_t ad_length, uint8_t *out,
                 const struct aead_piece *pieces, size_t piece_count);
int aead_open_iv(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES],
                 const uint8_t iv[AEAD_IV_BYTES], const uint8_t *ad, size_t ad_length, uint8_t *out,
                 const uint8_t *in, size_t length);

#endif
