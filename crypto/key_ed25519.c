#include <sodium.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/key_scheme.h"

/* peer-ids.md, "Ed25519" */
enum {
    PUBLIC_BYTES = 32,
    PRIVATE_BYTES = 64,     /* seed, public */
    PRIVATE_OLD_BYTES = 96, /* seed, public, public */
    SIGNATURE_BYTES = 64,
};

/* Any 32 bytes are a key by their form, as in other implementations; what is
 * no point, or of low order, verifies nothing. */
static int public_check(const uint8_t *data, size_t length)
{
    (void)data;
    return length == PUBLIC_BYTES ? 0 : P2P_ERR_CALL_MALFORMED;
}

static int verify(const uint8_t *data, size_t data_length, const uint8_t *message, size_t length,
                  const uint8_t *signature, size_t signature_length)
{
    (void)data_length;
    if (signature_length != SIGNATURE_BYTES)
        return P2P_ERR_CALL_CRYPTO;
    if (crypto_sign_verify_detached(signature, message, length, data) != 0)
        return P2P_ERR_CALL_CRYPTO;
    return 0;
}

void key_ed25519_from_seed(struct key *key, const uint8_t seed[KEY_SEED_BYTES])
{
    uint8_t public_half[PUBLIC_BYTES];

    crypto_sign_seed_keypair(public_half, key->ed25519, seed);
    key_public_set(&key->public_key, KEY_ED25519, public_half, sizeof(public_half));
}

static int generate(struct key *key, unsigned rsa_bits)
{
    uint8_t seed[KEY_SEED_BYTES];

    (void)rsa_bits;
    randombytes_buf(seed, sizeof(seed));
    key_ed25519_from_seed(key, seed);
    crypto_wipe(seed, sizeof(seed));
    return 0;
}

static int private_read(struct key *key, const uint8_t *data, size_t length)
{
    if (length != PRIVATE_BYTES && length != PRIVATE_OLD_BYTES)
        return P2P_ERR_CALL_MALFORMED;
    key_ed25519_from_seed(key, data);
    if (!crypto_equal(key->ed25519 + KEY_SEED_BYTES, data + KEY_SEED_BYTES, PUBLIC_BYTES))
        return P2P_ERR_CALL_MALFORMED;
    if (length == PRIVATE_OLD_BYTES && memcmp(data + 32, data + 64, PUBLIC_BYTES) != 0)
        return P2P_ERR_CALL_MALFORMED;
    return 0;
}

static int private_write(const struct key *key, struct wire_writer *writer)
{
    wire_write_bytes(writer, key->ed25519, PRIVATE_BYTES);
    return 0;
}

static int sign(const struct key *key, uint8_t *signature, size_t *signature_length,
                const uint8_t *message, size_t length)
{
    crypto_sign_detached(signature, NULL, message, length, key->ed25519);
    *signature_length = SIGNATURE_BYTES;
    return 0;
}

const struct key_scheme key_scheme_ed25519 = {
    public_check, public_check, verify, generate, private_read, private_write, sign,
};
