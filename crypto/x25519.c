#include "crypto/x25519.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"

struct pair {
    uint8_t secret[X25519_BYTES];
    uint8_t public_half[X25519_BYTES];
};

struct x25519_pairs {
    struct pair ready[X25519_PAIRS_MAX];
    size_t count;    /* of them */
    size_t expected;
    BN_CTX *numbers;
    BIGNUM *prime;   /* 2^255 - 19 */
};

struct x25519_pairs *x25519_pairs_new(void)
{
    struct x25519_pairs *pairs = calloc(1, sizeof(*pairs));

    if (pairs == NULL)
        return NULL;
    pairs->expected = 1;
    pairs->numbers = BN_CTX_new();
    pairs->prime = BN_new();
    if (pairs->numbers == NULL || pairs->prime == NULL || BN_set_bit(pairs->prime, 255) == 0 ||
        BN_sub_word(pairs->prime, 19) == 0) {
        x25519_pairs_free(pairs);
        return NULL;
    }
    return pairs;
}

void x25519_pairs_free(struct x25519_pairs *pairs)
{
    if (pairs == NULL)
        return;
    BN_CTX_free(pairs->numbers);
    BN_free(pairs->prime);
    crypto_wipe(pairs->ready, sizeof(pairs->ready));
    free(pairs);
}

void x25519_pairs_expect(struct x25519_pairs *pairs, size_t count)
{
    if (count == 0 && pairs->count > 0) {
        crypto_wipe(pairs->ready, sizeof(pairs->ready));
        pairs->count = 0;
    }
    pairs->expected = count < 1 ? 1 : count > X25519_PAIRS_MAX ? X25519_PAIRS_MAX : count;
}

/* ---- from the Edwards curve ----
 *
 * What is computed here becomes public, so it may take its time from it. */

/* The y of [secret]B, in constant time. */
static bool edwards_y(uint8_t y[X25519_BYTES], const uint8_t secret[X25519_BYTES])
{
    uint8_t scalar[X25519_BYTES];
    int error;

    memcpy(scalar, secret, sizeof(scalar));
    scalar[0] &= 248; /* as the ladder does */
    scalar[31] = (uint8_t)((scalar[31] & 127) | 64);
    error = crypto_scalarmult_ed25519_base_noclamp(y, scalar);
    y[31] &= 127; /* the sign of x */
    crypto_wipe(scalar, sizeof(scalar));
    return error == 0;
}

/* 1 + y and 1 - y, and the product of all 1 - y up to this one. */
struct fraction {
    BIGNUM *above, *below, *product;
};

static bool make_fraction(const struct x25519_pairs *pairs, struct fraction *out, const struct fraction *before,
                          const struct pair *pair)
{
    uint8_t y[X25519_BYTES];
    BN_CTX *numbers = pairs->numbers;

    out->above = BN_CTX_get(numbers);
    out->below = BN_CTX_get(numbers);
    out->product = BN_CTX_get(numbers);
    if (out->product == NULL || !edwards_y(y, pair->secret) || BN_lebin2bn(y, sizeof(y), out->above) == NULL)
        return false;
    return BN_sub(out->below, BN_value_one(), out->above) && BN_nnmod(out->below, out->below, pairs->prime, numbers) &&
           BN_add_word(out->above, 1) &&
           (before != NULL ? BN_mod_mul(out->product, before->product, out->below, pairs->prime, numbers)
                           : BN_copy(out->product, out->below) != NULL);
}

/* u = (1 + y) / (1 - y) of each: from the inverse of the last product to the
 * first, each step divides out one more factor. */
static bool divide(const struct x25519_pairs *pairs, const struct fraction *fractions, struct pair *out, size_t count)
{
    BN_CTX *numbers = pairs->numbers;
    BIGNUM *inverse = BN_CTX_get(numbers), *u = BN_CTX_get(numbers);

    if (u == NULL || BN_mod_inverse(inverse, fractions[count - 1].product, pairs->prime, numbers) == NULL)
        return false;
    for (size_t i = count; i-- > 0;) {
        if (!(i > 0 ? BN_mod_mul(u, inverse, fractions[i - 1].product, pairs->prime, numbers) != 0
                    : BN_copy(u, inverse) != NULL) ||
            !BN_mod_mul(u, u, fractions[i].above, pairs->prime, numbers) ||
            BN_bn2lebinpad(u, out[i].public_half, X25519_BYTES) != X25519_BYTES ||
            !BN_mod_mul(inverse, inverse, fractions[i].below, pairs->prime, numbers))
            return false;
    }
    return true;
}

static bool make(struct x25519_pairs *pairs, size_t count, const uint8_t seed[X25519_BYTES])
{
    struct fraction fractions[X25519_PAIRS_MAX];
    uint8_t secrets[X25519_PAIRS_MAX][X25519_BYTES];
    bool made = true;

    randombytes_buf_deterministic(secrets, count * X25519_BYTES, seed);
    BN_CTX_start(pairs->numbers);
    for (size_t i = 0; made && i < count; i++) {
        memcpy(pairs->ready[i].secret, secrets[i], X25519_BYTES);
        made = make_fraction(pairs, &fractions[i], i > 0 ? &fractions[i - 1] : NULL, &pairs->ready[i]);
    }
    made = made && divide(pairs, fractions, pairs->ready, count);
    BN_CTX_end(pairs->numbers);
    crypto_wipe(secrets, sizeof(secrets));
    if (!made) {
        crypto_wipe(pairs->ready, sizeof(pairs->ready));
        ERR_clear_error();
    }
    return made;
}

void x25519_pairs_take(struct x25519_pairs *pairs, uint8_t secret[X25519_BYTES], uint8_t public_half[X25519_BYTES],
                       const uint8_t seed[X25519_BYTES])
{
    struct pair *last;

    if (pairs != NULL && pairs->count == 0 && pairs->expected > 1 && make(pairs, pairs->expected, seed))
        pairs->count = pairs->expected;
    if (pairs == NULL || pairs->count == 0) { /* or memory is short */
        memcpy(secret, seed, X25519_BYTES);
        crypto_scalarmult_curve25519_base(public_half, secret);
        return;
    }
    last = &pairs->ready[--pairs->count];
    memcpy(secret, last->secret, X25519_BYTES);
    memcpy(public_half, last->public_half, X25519_BYTES);
    crypto_wipe(last, sizeof(*last));
}
