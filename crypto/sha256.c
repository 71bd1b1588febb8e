/* OpenSSL 3 calls its low-level hash functions deprecated; sha256.h says why
 * we use them all the same.  This is the only file that does. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/sha256.h"

#include <assert.h>
#include <openssl/sha.h>
#include <string.h>

#include "crypto/crypto.h"

static_assert(sizeof(SHA256_CTX) <= sizeof(struct sha256), "the context must fit");
static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct sha256), "and be aligned");

/* These three can only fail for a digest of another size. */
static void must(int ok)
{
    assert(ok == 1);
}

void sha256_init(struct sha256 *sha)
{
    must(SHA256_Init((SHA256_CTX *)sha));
}

void sha256_update(struct sha256 *sha, const void *data, size_t length)
{
    if (length > 0)
        must(SHA256_Update((SHA256_CTX *)sha, data, length));
}

void sha256_final(struct sha256 *sha, uint8_t out[SHA256_BYTES])
{
    must(SHA256_Final(out, (SHA256_CTX *)sha));
}

void sha256_digest(uint8_t out[SHA256_BYTES], const void *data, size_t length)
{
    struct sha256 sha;

    sha256_init(&sha);
    sha256_update(&sha, data, length);
    sha256_final(&sha, out);
}

/* HMAC as two hashes that have taken in the key already: copied for each message. */
struct hmac_key {
    struct sha256 inner;
    struct sha256 outer;
};

static void hmac_key_init(struct hmac_key *hmac, const uint8_t *key, size_t key_length)
{
    uint8_t block[SHA256_BLOCK_BYTES] = {0};

    if (key_length > sizeof(block))
        sha256_digest(block, key, key_length);
    else if (key_length > 0)
        memcpy(block, key, key_length);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36;
    sha256_init(&hmac->inner);
    sha256_update(&hmac->inner, block, sizeof(block));
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5c;
    sha256_init(&hmac->outer);
    sha256_update(&hmac->outer, block, sizeof(block));
    crypto_wipe(block, sizeof(block));
}

static void hmac_finish(uint8_t out[SHA256_BYTES], const struct hmac_key *hmac, struct sha256 *inner)
{
    struct sha256 outer = hmac->outer;
    uint8_t digest[SHA256_BYTES];

    sha256_final(inner, digest);
    sha256_update(&outer, digest, sizeof(digest));
    sha256_final(&outer, out);
    crypto_wipe(&outer, sizeof(outer));
    crypto_wipe(digest, sizeof(digest));
}

void sha256_hmac(uint8_t out[SHA256_BYTES], const uint8_t *key, size_t key_length,
                 const void *data, size_t length)
{
    struct hmac_key hmac;
    struct sha256 inner;

    hmac_key_init(&hmac, key, key_length);
    inner = hmac.inner;
    sha256_update(&inner, data, length);
    hmac_finish(out, &hmac, &inner);
    crypto_wipe(&inner, sizeof(inner));
    crypto_wipe(&hmac, sizeof(hmac));
}

void sha256_hkdf(uint8_t *out, size_t out_length, const uint8_t *salt, size_t salt_length,
                 const uint8_t *ikm, size_t ikm_length, const uint8_t *info, size_t info_length)
{
    uint8_t prk[SHA256_BYTES], block[SHA256_BYTES];
    struct hmac_key hmac;
    struct sha256 inner;
    uint8_t counter = 0;

    assert(out_length <= SHA256_HKDF_BYTES_MAX);
    sha256_hmac(prk, salt, salt_length, ikm, ikm_length); /* extract */
    hmac_key_init(&hmac, prk, sizeof(prk));
    for (size_t done = 0; done < out_length; done += SHA256_BYTES) { /* expand */
        size_t part = out_length - done < SHA256_BYTES ? out_length - done : SHA256_BYTES;

        inner = hmac.inner;
        sha256_update(&inner, block, counter == 0 ? 0 : sizeof(block));
        sha256_update(&inner, info, info_length);
        counter++;
        sha256_update(&inner, &counter, 1);
        hmac_finish(block, &hmac, &inner);
        memcpy(out + done, block, part);
    }
    crypto_wipe(&inner, sizeof(inner));
    crypto_wipe(&hmac, sizeof(hmac));
    crypto_wipe(block, sizeof(block));
    crypto_wipe(prk, sizeof(prk));
}
