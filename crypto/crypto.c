#include "crypto/crypto.h"

#include <sodium.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/aead.h"
#include "crypto/sha256.h"

int crypto_init(void)
{
    return sodium_init() < 0 ? P2P_ERR_NODE_SYSTEM : 0;
}

void crypto_wipe(void *data, size_t length)
{
    sodium_memzero(data, length);
}

bool crypto_equal(const void *a, const void *b, size_t length)
{
    return sodium_memcmp(a, b, length) == 0;
}

/* RFC 8439, 2.8.2 */
static const char rfc8439_text[] =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    "sunscreen would be it.";
static const uint8_t rfc8439_ad[] = {0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
static const uint8_t rfc8439_iv[AEAD_IV_BYTES] = {7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47};
static const uint8_t rfc8439_opening[] = {0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb};
static const uint8_t rfc8439_tag[AEAD_TAG_BYTES] = {
    0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91,
};

/* FIPS 180-4, "abc" */
static const uint8_t sha256_abc[SHA256_BYTES] = {
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
};

/* RFC 7748, 5.2: one round of the iterated test, scalar = point = 9 */
static const uint8_t x25519_once[32] = {
    0x42, 0x2c, 0x8e, 0x7a, 0x62, 0x27, 0xd7, 0xbc, 0xa1, 0x35, 0x0b, 0x3e, 0x2b, 0xb7, 0x27, 0x9f,
    0x78, 0x97, 0xb8, 0x7b, 0xb6, 0x85, 0x4b, 0x78, 0x3c, 0x60, 0xe8, 0x03, 0x11, 0xae, 0x30, 0x79,
};

static bool hash_works(void)
{
    uint8_t digest[SHA256_BYTES];

    sha256_digest(digest, "abc", 3);
    return memcmp(digest, sha256_abc, sizeof(digest)) == 0;
}

static bool curve_works(void)
{
    static const uint8_t nine[32] = {9};
    uint8_t shared[32];

    return crypto_scalarmult_curve25519(shared, nine, nine) == 0 &&
           memcmp(shared, x25519_once, sizeof(shared)) == 0;
}

static bool published_aead_works(struct aead_context *aead)
{
    uint8_t key[AEAD_KEY_BYTES], out[sizeof(rfc8439_text) - 1 + AEAD_TAG_BYTES];
    struct aead_piece piece = {(const uint8_t *)rfc8439_text, sizeof(rfc8439_text) - 1};

    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)(0x80 + i);
    return aead_seal_iv(aead, key, rfc8439_iv, rfc8439_ad, sizeof(rfc8439_ad), out, &piece, 1) == 0 &&
           memcmp(out, rfc8439_opening, sizeof(rfc8439_opening)) == 0 &&
           memcmp(out + piece.length, rfc8439_tag, sizeof(rfc8439_tag)) == 0 &&
           aead_open_iv(aead, key, rfc8439_iv, rfc8439_ad, sizeof(rfc8439_ad), out, out, sizeof(out)) == 0 &&
           memcmp(out, rfc8439_text, piece.length) == 0;
}

enum {
    COMPARED_BYTES_MAX = AEAD_EVP_BYTES_MIN + 64,
};

/* The same `length` bytes through one library, opened by the other. */
static bool libraries_agree(struct aead_context *aead, size_t length)
{
    uint8_t key[AEAD_KEY_BYTES] = {1, 2, 3}, text[COMPARED_BYTES_MAX];
    uint8_t one[COMPARED_BYTES_MAX + AEAD_TAG_BYTES], other[COMPARED_BYTES_MAX + AEAD_TAG_BYTES];
    struct aead_piece piece = {text, length};

    memset(text, (int)length, sizeof(text));
    aead_context_choose(aead, 0);
    if (aead_seal(aead, key, length, NULL, 0, one, &piece, 1) != 0)
        return false;
    aead_context_choose(aead, SIZE_MAX);
    if (aead_seal(aead, key, length, NULL, 0, other, &piece, 1) != 0 ||
        memcmp(one, other, length + AEAD_TAG_BYTES) != 0)
        return false;
    aead_context_choose(aead, 0);
    return aead_open(aead, key, length, NULL, 0, other, other, length + AEAD_TAG_BYTES) == 0 &&
           memcmp(other, text, length) == 0;
}

int crypto_self_test(void)
{
    struct aead_context *aead = aead_context_new();
    bool works = aead != NULL && hash_works() && curve_works();

    if (works) {
        aead_context_choose(aead, SIZE_MAX);
        works = published_aead_works(aead);
        aead_context_choose(aead, 0);
        works = works && published_aead_works(aead);
    }
    for (size_t length = AEAD_EVP_BYTES_MIN - 64; works && length <= COMPARED_BYTES_MAX; length++)
        works = libraries_agree(aead, length);
    aead_context_free(aead);
    return works ? 0 : P2P_ERR_NODE_SYSTEM;
}
