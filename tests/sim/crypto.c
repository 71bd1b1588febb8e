#include "tests/sim/sim.h"

#include "crypto/aead.h"
#include "crypto/crypto.h"
#include "crypto/key.h"

#include <openssl/rand.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names, of --wrap */

/* Chance of the libraries comes from the seed.  And a stand-in for the ciphers
 * that costs little and still tells a wrong key, nonce, order or byte: chosen at
 * the start of a run.  The linker puts these functions before the real ones
 * (--wrap), so that the production code does not know. */

static bool cheap;
static uint64_t state;

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

/* ---- chance --------------------------------------------------------------------- */

static void fill(void *out, size_t length)
{
    for (uint8_t *byte = out; length > 0; length--)
        *byte++ = (uint8_t)mix(state += 0x9e3779b97f4a7c15u);
}

static const char *name(void)
{
    return "seeded";
}

static uint32_t random_word(void)
{
    uint32_t word;

    fill(&word, sizeof(word));
    return word;
}

static struct randombytes_implementation seeded = {.implementation_name = name, .random = random_word, .buf = fill};

static int openssl_fill(unsigned char *out, int length)
{
    fill(out, (size_t)length);
    return 1;
}

static int always(void)
{
    return 1;
}

void sim_crypto_set(uint64_t seed, bool real)
{
    static const RAND_METHOD method = {NULL, openssl_fill, NULL, NULL, openssl_fill, always};

    cheap = false;
    randombytes_set_implementation(&seeded);
    if (crypto_init() != 0) /* it draws, the first time */
        abort();
    cheap = !real;
    state = seed;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    RAND_set_rand_method(&method);
#pragma GCC diagnostic pop
}

/* ---- ciphers -------------------------------------------------------------------- */

int __wrap_crypto_self_test(void);
int __real_crypto_self_test(void);

int __wrap_crypto_self_test(void)
{
    return cheap ? 0 : __real_crypto_self_test();
}

static uint64_t begin(const uint8_t key[AEAD_KEY_BYTES], uint64_t nonce, const uint8_t *ad, size_t ad_length)
{
    uint64_t word, sum = mix(nonce + 1);

    for (size_t i = 0; i < AEAD_KEY_BYTES; i += 8) {
        memcpy(&word, key + i, 8);
        sum = mix(sum ^ word);
    }
    for (size_t i = 0; i < ad_length; i++)
        sum = (sum ^ ad[i]) * 1099511628211u;
    return sum;
}

/* The sum over words that were read, and in which place.  Bytes past the last
 * whole word count as one. */
static uint64_t add(uint64_t sum, const uint8_t *bytes, size_t length)
{
    uint64_t word;

    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
    }
    for (; length > 0; length--)
        sum = (sum ^ *bytes++) * 1099511628211u;
    return sum;
}

static void write_tag(uint8_t *out, uint64_t sum)
{
    uint64_t tag[2] = {mix(sum), mix(sum + 1)};

    memcpy(out, tag, AEAD_TAG_BYTES);
}

int __wrap_aead_seal(struct aead_context *context, const uint8_t *key, uint64_t nonce, const uint8_t *ad,
                     size_t ad_length, uint8_t *out, const struct aead_piece *pieces, size_t piece_count);
int __real_aead_seal(struct aead_context *context, const uint8_t *key, uint64_t nonce, const uint8_t *ad,
                     size_t ad_length, uint8_t *out, const struct aead_piece *pieces, size_t piece_count);

/* Bytes travel as they are. */
int __wrap_aead_seal(struct aead_context *context, const uint8_t *key, uint64_t nonce, const uint8_t *ad,
                     size_t ad_length, uint8_t *out, const struct aead_piece *pieces, size_t piece_count)
{
    size_t length = 0;

    if (!cheap)
        return __real_aead_seal(context, key, nonce, ad, ad_length, out, pieces, piece_count);
    for (size_t i = 0; i < piece_count; i++) {
        memmove(out + length, pieces[i].data, pieces[i].length);
        length += pieces[i].length;
    }
    write_tag(out + length, add(begin(key, nonce, ad, ad_length), out, length));
    return 0;
}

int __wrap_aead_open(struct aead_context *context, const uint8_t *key, uint64_t nonce, const uint8_t *ad,
                     size_t ad_length, uint8_t *out, const uint8_t *in, size_t length);
int __real_aead_open(struct aead_context *context, const uint8_t *key, uint64_t nonce, const uint8_t *ad,
                     size_t ad_length, uint8_t *out, const uint8_t *in, size_t length);

int __wrap_aead_open(struct aead_context *context, const uint8_t *key, uint64_t nonce, const uint8_t *ad,
                     size_t ad_length, uint8_t *out, const uint8_t *in, size_t length)
{
    uint8_t tag[AEAD_TAG_BYTES];

    if (!cheap)
        return __real_aead_open(context, key, nonce, ad, ad_length, out, in, length);
    if (length < AEAD_TAG_BYTES)
        return P2P_ERR_CALL_CRYPTO;
    length -= AEAD_TAG_BYTES;
    write_tag(tag, add(begin(key, nonce, ad, ad_length), in, length));
    if (memcmp(tag, in + length, AEAD_TAG_BYTES) != 0) {
        memset(out, 0, length);
        return P2P_ERR_CALL_CRYPTO;
    }
    memmove(out, in, length);
    return 0;
}

/* ---- handshakes: a shared secret that both can make, and a signature ------------- */

int __wrap_crypto_scalarmult_curve25519_base(unsigned char *out, const unsigned char *secret);
int __real_crypto_scalarmult_curve25519_base(unsigned char *out, const unsigned char *secret);

int __wrap_crypto_scalarmult_curve25519_base(unsigned char *out, const unsigned char *secret)
{
    if (!cheap)
        return __real_crypto_scalarmult_curve25519_base(out, secret);
    for (int i = 0; i < 32; i++)
        out[i] = secret[i] ^ 0x5a;
    return 0;
}

int __wrap_crypto_scalarmult_curve25519(unsigned char *out, const unsigned char *secret, const unsigned char *point);
int __real_crypto_scalarmult_curve25519(unsigned char *out, const unsigned char *secret, const unsigned char *point);

int __wrap_crypto_scalarmult_curve25519(unsigned char *out, const unsigned char *secret, const unsigned char *point)
{
    if (!cheap)
        return __real_crypto_scalarmult_curve25519(out, secret, point);
    for (int i = 0; i < 32; i++)
        out[i] = (unsigned char)((secret[i] ^ 0x5a) + point[i]);
    return 0;
}

struct x25519_pairs;
void __wrap_x25519_pairs_take(struct x25519_pairs *pairs, uint8_t *secret, uint8_t *public_half, const uint8_t *seed);
void __real_x25519_pairs_take(struct x25519_pairs *pairs, uint8_t *secret, uint8_t *public_half, const uint8_t *seed);

void __wrap_x25519_pairs_take(struct x25519_pairs *pairs, uint8_t *secret, uint8_t *public_half, const uint8_t *seed)
{
    if (!cheap) {
        __real_x25519_pairs_take(pairs, secret, public_half, seed);
        return;
    }
    memcpy(secret, seed, 32);
    __wrap_crypto_scalarmult_curve25519_base(public_half, secret);
}

static void sign(uint8_t out[64], const struct public_key *key, const uint8_t *message, size_t length)
{
    uint64_t sum = add(add(7, key->bytes, key->length), message, length);

    for (int i = 0; i < 8; i++, sum = mix(sum + 1))
        memcpy(out + (ptrdiff_t)8 * i, &sum, 8);
}

int __wrap_key_sign(const struct key *key, uint8_t *signature, size_t *signature_length, const uint8_t *message,
                    size_t length);
int __real_key_sign(const struct key *key, uint8_t *signature, size_t *signature_length, const uint8_t *message,
                    size_t length);

int __wrap_key_sign(const struct key *key, uint8_t *signature, size_t *signature_length, const uint8_t *message,
                    size_t length)
{
    if (!cheap)
        return __real_key_sign(key, signature, signature_length, message, length);
    sign(signature, key_public(key), message, length);
    *signature_length = 64;
    return 0;
}

int __wrap_public_key_verify(const struct public_key *key, const uint8_t *message, size_t length,
                             const uint8_t *signature, size_t signature_length);
int __real_public_key_verify(const struct public_key *key, const uint8_t *message, size_t length,
                             const uint8_t *signature, size_t signature_length);

int __wrap_public_key_verify(const struct public_key *key, const uint8_t *message, size_t length,
                             const uint8_t *signature, size_t signature_length)
{
    uint8_t right[64];

    if (!cheap)
        return __real_public_key_verify(key, message, length, signature, signature_length);
    sign(right, key, message, length);
    return signature_length == 64 && memcmp(right, signature, 64) == 0 ? 0 : P2P_ERR_CALL_CRYPTO;
}

/* NOLINTEND(bugprone-reserved-identifier) */
