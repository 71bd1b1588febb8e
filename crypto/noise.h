#ifndef CRYPTO_NOISE_H
#define CRYPTO_NOISE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/aead.h"
#include "crypto/key.h"
#include "crypto/peer_id.h"

/* Security by Noise (libp2p specs, noise/README.md): the XX handshake with
 * identity payloads and early muxer negotiation, then sealed records.
 *
 * A machine without I/O, time or randomness.  Every message, of the handshake
 * and after, is a 16-bit big-endian length and that many bytes. */

enum {
    NOISE_HEADER_BYTES = 2,
    NOISE_RECORD_BODY_BYTES_MAX = 65535,   /* Noise, section 3: ciphertext with tag */
    NOISE_PLAIN_BYTES_MAX = 65519,         /* the same less the tag */
    /* One handshake message, either way.  A payload with an RSA 8192 key and
     * signature takes 2.2 KiB; the rest is room for extensions.  Our bound: a
     * stranger may make us hold this much. */
    NOISE_HANDSHAKE_MESSAGE_BYTES_MAX = 4096,
    NOISE_HANDSHAKE_SEND_BYTES_MAX = NOISE_HEADER_BYTES + NOISE_HANDSHAKE_MESSAGE_BYTES_MAX,
    NOISE_MUXERS_MAX = 8,                  /* that we offer; we have one */
    NOISE_MUXERS_REMOTE_MAX = 100,         /* go-libp2p ignores a longer list, so do we */
    NOISE_SEED_BYTES = 32,
};

/* The Noise identity of a node: an X25519 pair with its signature, made once
 * and used for all connections.  Immutable, may be shared by workers. */
struct noise_static;
struct verified;
struct x25519_pairs;

/* Makes the pair from `seed` (random, never stored) and signs it.  `identity`
 * is borrowed for the call only.
 * Returns 0, P2P_ERR_CALL_NOMEM, P2P_ERR_CALL_CRYPTO. */
int noise_static_new(struct noise_static **statics, const struct key *identity,
                     const uint8_t seed[NOISE_SEED_BYTES]);
/* Wipes; NULL is fine. */
void noise_static_free(struct noise_static *statics);

/* One handshake, about 6 KiB, to be freed when it is done or has failed. */
struct noise_handshake;

/* `statics` is borrowed until the free.  `expected` (may be NULL) is copied:
 * the dialler always has one.  `ephemeral_seed` must be fresh random bytes.  `muxers` are protocol
 * names in order of preference, borrowed until the free; 0 of them switches
 * early muxer negotiation off.  NULL when memory is short or muxer_count is over NOISE_MUXERS_MAX. */
struct noise_handshake *noise_handshake_new(const struct noise_static *statics, bool initiator,
                                            const struct peer_id *expected,
                                            const uint8_t ephemeral_seed[NOISE_SEED_BYTES],
                                            const char *const *muxers, size_t muxer_count);
/* What handshakes of one thread may share, borrowed until the free (either may be
 * NULL): signatures that `verified` knows are not checked again, and it learns
 * those that are right; the ephemeral pair is one of `pairs`. */
void noise_handshake_share(struct noise_handshake *handshake, struct verified *verified, struct x25519_pairs *pairs);
/* Wipes; NULL is fine. */
void noise_handshake_free(struct noise_handshake *handshake);

/* Takes the peer's bytes, in any cuts, and says in `taken` how many: never
 * beyond the message that is due, so 0 while it is ours to send, and bytes
 * after the handshake stay for the records.  After each call, call send.
 * Returns 0; P2P_ERR_CONN_PROTOCOL (not a handshake message, or over its
 * bound), P2P_ERR_CONN_AUTH (a tag, key or signature is wrong),
 * P2P_ERR_CONN_PEER_ID (not the one expected).  An error is for good: secrets are
 * wiped, there is nothing to send, and every call repeats it. */
int noise_handshake_recv(struct noise_handshake *handshake, const uint8_t *data, size_t length,
                         size_t *taken);

/* Writes the message that is due, whole, or 0 bytes when there is none.
 * NOISE_HANDSHAKE_SEND_BYTES_MAX always suffice.
 * Returns 0, P2P_ERR_CALL_SHORT (nothing happened), or the error of recv. */
int noise_handshake_send(struct noise_handshake *handshake, uint8_t *out, size_t capacity,
                         size_t *written);

/* All sent and all received, signature and id verified. */
bool noise_handshake_done(const struct noise_handshake *handshake);

/* Results, once done (asserted), borrowed until the free. */
const struct public_key *noise_handshake_remote_key(const struct noise_handshake *handshake);
const struct peer_id *noise_handshake_remote_id(const struct noise_handshake *handshake);
/* The first of the initiator's muxers that the responder has too, as one of
 * our own `muxers`; NULL when the peer named none, or none in common, or more
 * than NOISE_MUXERS_REMOTE_MAX: then the muxer is found by multistream-select. */
const char *noise_handshake_muxer(const struct noise_handshake *handshake);

/* What a connection keeps.  Wipe it with noise_keys_wipe. */
struct noise_keys {
    uint8_t send_key[AEAD_KEY_BYTES];
    uint8_t recv_key[AEAD_KEY_BYTES];
    uint64_t send_nonce;
    uint64_t recv_nonce;
};

static_assert(sizeof(struct noise_keys) <= 112, "budget of a connection");

/* Once, when done (asserted): hands over the keys and wipes the handshake's. */
void noise_handshake_split(struct noise_handshake *handshake, struct noise_keys *keys);
void noise_keys_wipe(struct noise_keys *keys);

/* Bytes on the wire of a record with so much plaintext. */
static inline size_t noise_record_bytes(size_t plain_bytes)
{
    return NOISE_HEADER_BYTES + plain_bytes + AEAD_TAG_BYTES;
}

/* Writes one record, length included, of the pieces together (at most
 * NOISE_PLAIN_BYTES_MAX; none or empty is legal).  No piece may overlap `out`,
 * save that a single one may lie at out + NOISE_HEADER_BYTES.
 * Returns 0; P2P_ERR_CALL_INVALID (too long), P2P_ERR_CALL_SHORT,
 * P2P_ERR_CONN_LIMIT (2^64 - 1 records were sent: close), P2P_ERR_CALL_CRYPTO.
 * The nonce advances only on success. */
int noise_seal(struct noise_keys *keys, struct aead_context *aead, uint8_t *out, size_t capacity,
               size_t *written, const struct aead_piece *pieces, size_t piece_count);

/* Opens the body of one record, without its length, in place: the plaintext
 * is the first *plain_length bytes (may be 0).
 * Returns 0; P2P_ERR_CONN_PROTOCOL (shorter than a tag), P2P_ERR_CONN_AUTH (forged,
 * replayed, cut or out of order), P2P_ERR_CONN_LIMIT.  An error is for good: close. */
int noise_open(struct noise_keys *keys, struct aead_context *aead, uint8_t *body, size_t body_length,
               size_t *plain_length);

#endif
