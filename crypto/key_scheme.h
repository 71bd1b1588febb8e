#ifndef CRYPTO_KEY_SCHEME_H
#define CRYPTO_KEY_SCHEME_H

#include <openssl/evp.h>

#include "crypto/key.h"
#include "crypto/wire.h"

/* What the key types do differently.  Private to key.c and its key_*.c. */

struct key {
    struct public_key public_key;
    uint8_t ed25519[64]; /* KEY_ED25519: seed, public */
    EVP_PKEY *pkey;      /* the other types */
};

struct key_scheme {
    /* Is `data`, the field of a public key, valid and in canonical form?
     * 0, P2P_ERR_CALL_MALFORMED, P2P_ERR_CALL_UNSUPPORTED. */
    int (*public_check)(const uint8_t *data, size_t length);

    /* The same without arithmetic: what a peer id needs. */
    int (*public_check_form)(const uint8_t *data, size_t length);

    /* `data` has passed public_check.  0 or P2P_ERR_CALL_CRYPTO. */
    int (*verify)(const uint8_t *data, size_t data_length, const uint8_t *message, size_t length,
                  const uint8_t *signature, size_t signature_length);

    /* These fill a zeroed key, its public half too, and return errors of key.h;
     * on error key_free cleans up. */
    int (*generate)(struct key *key, unsigned rsa_bits);
    int (*private_read)(struct key *key, const uint8_t *data, size_t length);

    /* The private data field; the writer's failure means no room. */
    int (*private_write)(const struct key *key, struct wire_writer *writer);

    int (*sign)(const struct key *key, uint8_t *signature, size_t *signature_length,
                const uint8_t *message, size_t length);
};

extern const struct key_scheme key_scheme_rsa;
extern const struct key_scheme key_scheme_ed25519;
extern const struct key_scheme key_scheme_secp256k1;
extern const struct key_scheme key_scheme_ecdsa;

/* Makes the canonical protobuf of a checked data field. */
void key_public_set(struct public_key *key, enum key_type type, const uint8_t *data, size_t length);

/* Fills an Ed25519 key from its seed. */
void key_ed25519_from_seed(struct key *key, const uint8_t seed[KEY_SEED_BYTES]);

/* SHA-256, then the signature of `pkey`'s own kind (RSA: PKCS#1 v1.5). */
int key_evp_sign(EVP_PKEY *pkey, uint8_t *signature, size_t *signature_length,
                 const uint8_t *message, size_t length);
int key_evp_verify(EVP_PKEY *pkey, const uint8_t *message, size_t length,
                   const uint8_t *signature, size_t signature_length);

/* Is this a canonical public key by its form alone?  For peer ids, which come
 * in lists: a point off the curve is found when it is used. */
bool key_public_form_ok(const uint8_t *protobuf, size_t length);

#endif
