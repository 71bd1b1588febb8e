#ifndef NET_PLAINTEXT_H
#define NET_PLAINTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/key.h"
#include "crypto/peer_id.h"

/* The exchange of /plaintext/2.0.0 (libp2p specs, plaintext/README.md), without
 * I/O: both sides tell their id and public key, and nothing is proved.  It
 * serves tests, and networks that are safe by other means.  Both sides may
 * speak first.  Bytes past the exchange belong to the next layer. */

enum plaintext_limits {
    PLAINTEXT_EXCHANGE_BYTES_MAX = 2048, /* RSA 8192 takes 1.3 KiB, the rest is for unknown fields; ours */
    PLAINTEXT_SEND_BYTES_MAX = PLAINTEXT_EXCHANGE_BYTES_MAX + 2,
};

/* One exchange, about 2 KiB, to be freed when it is done or has failed. */
struct plaintext;

/* `own` is borrowed until the free; `expected` (may be NULL) is copied: the
 * dialer has one.  NULL when memory is short. */
struct plaintext *plaintext_new(const struct public_key *own, const struct peer_id *expected);
/* NULL is fine. */
void plaintext_free(struct plaintext *plaintext);

/* Takes bytes up to the end of the exchange.  0; P2P_ERR_CONN_PROTOCOL
 * (malformed, over its bound, a field is missing, no key we can read),
 * P2P_ERR_CONN_AUTH (the id is not that of the key), P2P_ERR_CONN_PEER_ID (not
 * the one expected).  An error is for good: every call repeats it. */
int plaintext_recv(struct plaintext *plaintext, const uint8_t *data, size_t length, size_t *taken);

/* Writes our exchange, once and whole, else 0 bytes.
 * PLAINTEXT_SEND_BYTES_MAX always suffice.  0 or P2P_ERR_CALL_SHORT. */
int plaintext_send(struct plaintext *plaintext, uint8_t *out, size_t capacity, size_t *written);

/* Ours is written and the peer's is read and agrees with itself. */
bool plaintext_done(const struct plaintext *plaintext);

/* Who it is, once done (asserted); borrowed until the free. */
const struct peer_id *plaintext_remote_id(const struct plaintext *plaintext);

#endif
