#ifndef NET_PEER_RECORD_H
#define NET_PEER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/envelope.h"
#include "crypto/peer_id.h"
#include "net/multiaddr.h"

/* Signed peer records (libp2p specs, RFC 0003): a peer's addresses, signed by
 * itself, in an envelope (crypto/envelope.h). */

enum {
    PEER_RECORD_ADDRS_MAX = 500, /* of one record; go-libp2p keeps as many (connectedPeerMaxAddrs) */
    PEER_RECORD_BYTES_MAX = ENVELOPE_PAYLOAD_BYTES_MAX, /* of the record inside the envelope */
    PEER_RECORD_SEALED_BYTES_MAX = ENVELOPE_BYTES_MAX,  /* of the whole */
};

#define PEER_RECORD_DOMAIN "libp2p-peer-record"

/* A record whose signature is right and that its own peer signed. */
struct peer_record {
    struct peer_id peer;
    uint64_t seq;             /* newer wins; nanoseconds of the wall clock by custom */
    struct wire_span payload; /* the record, inside the bytes opened */
};

/* Writes the envelope of a record of `key`'s own peer.  Addresses that do not
 * fit `capacity`, and those beyond PEER_RECORD_ADDRS_MAX, are left out from
 * the end.  Addresses of length 0 are skipped.
 * Returns 0; P2P_ERR_CALL_SHORT (not even without addresses); P2P_ERR_CALL_CRYPTO; P2P_ERR_CALL_NOMEM. */
int peer_record_seal(uint8_t *out, size_t capacity, size_t *length, const struct key *key, uint64_t seq,
                     const struct multiaddr *addrs, size_t addr_count);

/* Parses and verifies.  `record` points into `data` and is untouched on error.
 * Returns 0; P2P_ERR_CALL_MALFORMED; P2P_ERR_CALL_UNSUPPORTED (key type or
 * payload type); P2P_ERR_CALL_CRYPTO (signature, or signed by another peer). */
int peer_record_open(struct peer_record *record, const uint8_t *data, size_t length);

/* Parses and does not verify: for one who has the bytes from the peer itself,
 * over an authenticated connection, and hands them to nobody.  Opening costs a
 * signature's check, which is a third of a handshake.
 * Returns 0; P2P_ERR_CALL_MALFORMED; P2P_ERR_CALL_UNSUPPORTED (payload type). */
int peer_record_peek(struct peer_record *record, const uint8_t *data, size_t length);

/* Walks over the addresses: start with *offset 0.  Those that do not parse are
 * passed over.  False at the end. */
bool peer_record_next(const struct peer_record *record, size_t *offset, struct multiaddr *addr);

/* The same, but each as the bytes it came in, parsed by nobody yet. */
bool peer_record_next_bytes(const struct peer_record *record, size_t *offset, struct wire_span *bytes);

#endif
