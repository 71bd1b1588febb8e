#ifndef CRYPTO_X25519_H
#define CRYPTO_X25519_H

#include <stddef.h>
#include <stdint.h>

/* Ephemeral X25519 pairs (RFC 7748), several at a time.
 *
 * The public half of one pair is a ladder of its own.  Of several it is a
 * multiplication of the Edwards curve's base point, for which libsodium has a
 * table, carried over to the Montgomery curve (RFC 7748, 4.1); that takes an
 * inversion, which all of them share.  So a pair costs 20 us instead of 39 when
 * sixteen are made. */

enum { X25519_BYTES = 32, X25519_PAIRS_MAX = 16 };

/* Pairs that wait for their handshake.  Not for several threads. */
struct x25519_pairs;

/* NULL when memory is short. */
struct x25519_pairs *x25519_pairs_new(void);
/* Wipes; NULL is fine. */
void x25519_pairs_free(struct x25519_pairs *pairs);

/* So many handshakes are under way: as many pairs (X25519_PAIRS_MAX at most) are
 * made together when the next one is wanted.  1 at first; with 0 those that wait
 * are wiped. */
void x25519_pairs_expect(struct x25519_pairs *pairs, size_t count);

/* A pair that nobody else has or will have.  `seed` is fresh and random, and
 * is the secret half itself when no others are made with it, as without
 * `pairs` (NULL). */
void x25519_pairs_take(struct x25519_pairs *pairs, uint8_t secret[X25519_BYTES], uint8_t public_half[X25519_BYTES],
                       const uint8_t seed[X25519_BYTES]);

#endif
