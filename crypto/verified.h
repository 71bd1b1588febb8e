#ifndef CRYPTO_VERIFIED_H
#define CRYPTO_VERIFIED_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/key.h"

/* Signatures that were checked before, and were right: a peer that comes back
 * shows the one that binds its Noise key to its identity once more, byte for
 * byte, and checking it is a quarter of a handshake.
 *
 * What is kept is a SHA-256 over key, message and signature, so a hit says the
 * same as a check.  Bounded; in a set the least recently used goes.  Not for
 * several threads. */

enum {
    VERIFIED_SETS = 512,
    VERIFIED_WAYS = 4,
    VERIFIED_ENTRIES_MAX = VERIFIED_SETS * VERIFIED_WAYS, /* 64 KiB */
};

struct verified;

/* NULL when memory is short. */
struct verified *verified_new(void);
/* NULL is fine. */
void verified_free(struct verified *verified);

/* As public_key_verify(), and remembers what is right.  `verified` may be NULL. */
int verified_check(struct verified *verified, const struct public_key *key, const uint8_t *message, size_t length,
                   const uint8_t *signature, size_t signature_length);

#endif
