#ifndef CRYPTO_KEY_H
#define CRYPTO_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Identity keys (libp2p specs, peer-ids/peer-ids.md, "Keys").
 *
 * A key travels as the protobuf {1: type, 2: data}.  Public: RSA and ECDSA as
 * PKIX DER, Ed25519 as 32 bytes, secp256k1 as 33 (compressed).  Private: RSA
 * as PKCS#1 DER, ECDSA as SEC1 DER, Ed25519 as 64 bytes (seed, public), and
 * secp256k1 as 32.  Signatures: Ed25519; RSA PKCS#1 v1.5 with SHA-256; ECDSA
 * and secp256k1 in DER over SHA-256. */

enum {
    KEY_SEED_BYTES = 32,              /* Ed25519, RFC 8032 */
    KEY_RSA_BITS_MIN = 2048,          /* go-libp2p core/crypto/rsa_common.go */
    KEY_RSA_BITS_MAX = 8192,          /* the same: verifying longer ones costs too much */
    KEY_PUBLIC_BYTES_MAX = 1200,      /* protobuf of RSA 8192: 1024 of modulus, under 64 of DER */
    KEY_PRIVATE_BYTES_MAX = 6144,     /* protobuf of RSA 8192: 4.5 moduli, DER */
    KEY_SIGNATURE_BYTES_MAX = 1024,   /* RSA 8192 */
};

enum key_type {
    KEY_RSA = 0,
    KEY_ED25519 = 1,
    KEY_SECP256K1 = 2,
    KEY_ECDSA = 3,
};

/* A validated public key in its one canonical protobuf form.  A value: copy
 * and compare it freely.  Only the functions below make one. */
struct public_key {
    enum key_type type;
    uint16_t length;                       /* of bytes */
    uint16_t data_offset;                  /* where the field `data` starts in bytes; it runs to the end */
    uint8_t bytes[KEY_PUBLIC_BYTES_MAX];
};

/* A private key; opaque, wiped when freed.  Immutable: any thread may sign. */
struct key;

/* A fresh key.  rsa_bits counts for KEY_RSA only (2048 to 8192, a multiple of
 * 8; 0 means 2048).  Takes its randomness from libsodium or OpenSSL.  RSA
 * takes from 0.1 s to minutes: not on a worker.
 * Returns 0, P2P_ERR_CALL_INVALID, P2P_ERR_CALL_NOMEM, P2P_ERR_CALL_CRYPTO. */
int key_new_random(struct key **key, enum key_type type, unsigned rsa_bits);

/* The Ed25519 key of a seed. */
int key_new_seed(struct key **key, const uint8_t seed[KEY_SEED_BYTES]);

/* Reads a private key.  Ed25519 data of 96 bytes (public half twice) is read
 * too.  A public half that is not that of the private one is refused.
 * Returns 0, P2P_ERR_CALL_MALFORMED, P2P_ERR_CALL_UNSUPPORTED (type or curve),
 * P2P_ERR_CALL_NOMEM. */
int key_from_protobuf(struct key **key, const uint8_t *data, size_t length);

/* Writes it, in the form go-libp2p writes.  The caller wipes `out`.
 * Returns 0, P2P_ERR_CALL_SHORT, P2P_ERR_CALL_CRYPTO. */
int key_to_protobuf(const struct key *key, uint8_t *out, size_t capacity, size_t *length);

/* Borrowed, lives as long as the key. */
const struct public_key *key_public(const struct key *key);

/* Signs.  `signature` has room for KEY_SIGNATURE_BYTES_MAX.
 * Returns 0, P2P_ERR_CALL_CRYPTO, P2P_ERR_CALL_NOMEM. */
int key_sign(const struct key *key, uint8_t *signature, size_t *signature_length,
             const uint8_t *message, size_t length);

/* Wipes and frees; NULL is fine. */
void key_free(struct key *key);

/* Reads a public key: all validation happens here, before any use.  Unknown
 * fields and longer varints are tolerated as other implementations do; the
 * result holds the canonical form.
 * Returns 0, P2P_ERR_CALL_MALFORMED, P2P_ERR_CALL_UNSUPPORTED (type, curve, or
 * RSA bits out of range).  `key` is undefined on error. */
int public_key_from_protobuf(struct public_key *key, const uint8_t *data, size_t length);

/* Returns 0 when the signature is right, else P2P_ERR_CALL_CRYPTO. */
int public_key_verify(const struct public_key *key, const uint8_t *message, size_t length,
                      const uint8_t *signature, size_t signature_length);

bool public_key_equal(const struct public_key *a, const struct public_key *b);

#endif
