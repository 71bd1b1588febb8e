#include "crypto/verified.h"

#include "crypto/sha256.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct digest {
    uint8_t bytes[SHA256_BYTES];
};

/* The most recently used first; all zero is an empty place, and no digest. */
struct verified {
    struct digest sets[VERIFIED_SETS][VERIFIED_WAYS];
};

static_assert((VERIFIED_SETS & (VERIFIED_SETS - 1)) == 0, "a set is found by bits");
static_assert(sizeof(struct verified) == (size_t)VERIFIED_ENTRIES_MAX * SHA256_BYTES, "said in the header");

struct verified *verified_new(void)
{
    return calloc(1, sizeof(struct verified));
}

void verified_free(struct verified *verified)
{
    free(verified);
}

/* Each part with its length, so that no two cuts of the same bytes are alike. */
static void put(struct sha256 *sha, const uint8_t *data, size_t length)
{
    uint64_t bytes = length;

    sha256_update(sha, &bytes, sizeof(bytes));
    sha256_update(sha, data, length);
}

static struct digest digest_of(const struct public_key *key, const uint8_t *message, size_t length,
                               const uint8_t *signature, size_t signature_length)
{
    struct digest digest = {{0}};
    struct sha256 sha;

    sha256_init(&sha);
    put(&sha, key->bytes, key->length);
    put(&sha, message, length);
    put(&sha, signature, signature_length);
    sha256_final(&sha, digest.bytes);
    return digest;
}

static struct digest *set_of(struct verified *verified, const struct digest *digest)
{
    size_t index = digest->bytes[0] | (size_t)digest->bytes[1] << 8;

    return verified->sets[index & (VERIFIED_SETS - 1)];
}

/* Puts it first in its set; those before `place` move on by one, what was there goes. */
static void bring_forward(struct digest *set, size_t place, const struct digest *digest)
{
    memmove(&set[1], &set[0], place * sizeof(*set));
    set[0] = *digest;
}

static bool is_known(struct digest *set, const struct digest *digest)
{
    for (size_t place = 0; place < VERIFIED_WAYS; place++) {
        if (memcmp(&set[place], digest, sizeof(*digest)) == 0) {
            bring_forward(set, place, digest);
            return true;
        }
    }
    return false;
}

int verified_check(struct verified *verified, const struct public_key *key, const uint8_t *message, size_t length,
                   const uint8_t *signature, size_t signature_length)
{
    struct digest digest;
    struct digest *set;
    int error;

    if (verified == NULL)
        return public_key_verify(key, message, length, signature, signature_length);
    digest = digest_of(key, message, length, signature, signature_length);
    set = set_of(verified, &digest);
    if (is_known(set, &digest))
        return 0;
    error = public_key_verify(key, message, length, signature, signature_length);
    if (error == 0)
        bring_forward(set, VERIFIED_WAYS - 1, &digest);
    return error;
}
