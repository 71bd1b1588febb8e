#ifndef NET_IDENTIFY_H
#define NET_IDENTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/peer_id.h"
#include "crypto/wire.h"
#include "net/multiaddr.h"
#include "net/peer_record.h"

/* identify and identify push (libp2p specs, identify/README.md), without I/O.
 * The one who tells writes identify_encode()'s bytes and closes its direction;
 * the one who asks feeds an identify_reader until the end of the stream. */

enum {
    IDENTIFY_MESSAGES_MAX = 10,            /* read and merged; go-libp2p, js-libp2p */
    IDENTIFY_MESSAGE_BYTES_MAX = 8192,     /* of each message read; go-libp2p, js-libp2p */
    IDENTIFY_PROTOCOLS_MAX = 1024,         /* kept; go-libp2p, maxPeerProtocols */
    IDENTIFY_ADDRS_MAX = 500,              /* kept; go-libp2p, connectedPeerMaxAddrs */
    IDENTIFY_PROTOCOL_BYTES_MAX = 1000,    /* a longer one cannot be negotiated; go, js: 1,024 in all */
    IDENTIFY_VERSION_SIZE = 128,           /* ours: protocolVersion and agentVersion, with the NUL; cut */
    IDENTIFY_SENT_MESSAGE_BYTES_MAX = 4096, /* with its length; rust-libp2p reads no more */
    IDENTIFY_SPLIT_BYTES = 2048,           /* longer with the record: the record goes apart; go-libp2p */
    IDENTIFY_ENCODED_BYTES_MAX = 2 * IDENTIFY_SENT_MESSAGE_BYTES_MAX, /* of both messages */
    IDENTIFY_RECORD_BYTES_MAX = IDENTIFY_SENT_MESSAGE_BYTES_MAX - 8, /* of ours; a longer one is not sent */
    IDENTIFY_DEFERRED_RECORD_BYTES_MAX = 1024, /* ours: a longer one is opened at once */
    IDENTIFY_FIELDS_MAX = 8192,            /* of all messages; ours: 5 times what is kept */
    IDENTIFY_READER_BYTES_MAX = IDENTIFY_MESSAGES_MAX * (IDENTIFY_MESSAGE_BYTES_MAX + 2), /* buffered */
    IDENTIFY_READER_MEMORY_MAX = IDENTIFY_READER_BYTES_MAX +
        (IDENTIFY_PROTOCOLS_MAX + IDENTIFY_ADDRS_MAX) * 16, /* with the tables of the result */
};

#define IDENTIFY_PROTOCOL "/ipfs/id/1.0.0"
#define IDENTIFY_PUSH_PROTOCOL "/ipfs/id/push/1.0.0"

/* ---- telling ---- */

/* UTF-8 without control characters, as the protobuf's strings must be and peers
 * may print them. */
bool identify_is_text(struct wire_span text);

/* What we say of ourselves; all of it stays the caller's. */
struct identify_info {
    struct wire_span public_key;         /* protobuf of the public key */
    const struct multiaddr *addrs;       /* those identify_announce_filter() lets through */
    size_t addr_count;
    const char *const *protocols;        /* terminated strings */
    size_t protocol_count;
    const struct multiaddr *observed;    /* the remote's address; NULL or of length 0: not said */
    const char *protocol_version;        /* NULL: not said; cut at IDENTIFY_VERSION_SIZE - 1 bytes */
    const char *agent_version;           /* the same */
    struct wire_span signed_record;      /* a sealed peer record; {NULL, 0}: none */
};

/* Writes one or two messages, each at most IDENTIFY_SENT_MESSAGE_BYTES_MAX with
 * its length.  What does not fit is left out, addresses first, from the end of
 * their list, then protocols.  Never fails with a capacity of
 * IDENTIFY_ENCODED_BYTES_MAX.  Returns 0 or P2P_ERR_CALL_SHORT. */
int identify_encode(uint8_t *out, size_t capacity, size_t *written, const struct identify_info *info);

/* ---- asking ---- */

/* The caller's memory, with a heap buffer that grows as bytes come, to at most
 * IDENTIFY_READER_MEMORY_MAX. */
struct identify_reader {
    uint8_t *bytes;
    struct wire_span *tables;
    uint32_t length, capacity;
    uint32_t message;      /* where the message under way starts */
    uint8_t message_count; /* whole ones */
    int16_t error;         /* 0, or what identify_recv failed with */
    bool defer_record;     /* the caller's wish, set after init: see record_deferred */
};

/* Views into the reader: valid until identify_reader_fini(). */
struct identify_result {
    bool key_mismatch;          /* it holds a key of somebody else: nothing of it was taken */
    bool has_public_key;        /* it held the key of the authenticated peer */
    bool has_signed_record;     /* a valid one: `addrs` are those of the record */
    bool record_deferred;       /* with defer_record only: one that tells the addresses of the unsigned list,
                                 * so nothing hangs on it and its signature was not checked; before it is
                                 * handed to anybody, peer_record_open must take it */
    bool has_listen_addrs;      /* unsigned addresses were in it, whatever became of them */
    uint64_t record_seq;
    struct wire_span public_key;    /* its protobuf as sent */
    struct wire_span signed_record; /* the sealed record as sent, when valid or deferred */
    struct multiaddr observed;      /* how the peer sees us, without /p2p; length 0: not said or malformed */
    const struct wire_span *protocols;
    size_t protocol_count;
    const struct wire_span *addrs;  /* binary multiaddrs, each valid, without the peer's /p2p at the end */
    size_t addr_count;
    char protocol_version[IDENTIFY_VERSION_SIZE]; /* UTF-8 without control characters, which become '?' */
    char agent_version[IDENTIFY_VERSION_SIZE];
};

void identify_reader_init(struct identify_reader *reader);
void identify_reader_fini(struct identify_reader *reader);

/* The peer's bytes, in any cut.  Returns 0; P2P_ERR_STREAM_PROTOCOL (a bad
 * length); P2P_ERR_STREAM_LIMIT (a message too long or too many: known as soon
 * as it is announced); P2P_ERR_CALL_NOMEM.  Errors are final. */
int identify_recv(struct identify_reader *reader, const uint8_t *data, size_t length);

/* The peer closed its direction.  `authenticated` is the peer at the other end.
 * Addresses that do not parse or end in another peer's id, and protocols that
 * could not be negotiated, are dropped; a signed record that is not valid, not
 * of this peer or not signed by it, is ignored.  The caller still puts each
 * address through identify_accept_filter().
 * Returns 0; P2P_ERR_STREAM_PROTOCOL (nothing, a part, or no protobuf);
 * P2P_ERR_STREAM_LIMIT (too many fields); P2P_ERR_CALL_NOMEM; the error of an earlier identify_recv. */
int identify_finish(struct identify_reader *reader, struct identify_result *result,
                    const struct peer_id *authenticated);

/* Address number `index` as a value. */
void identify_addr(const struct identify_result *result, size_t index, struct multiaddr *addr);

/* ---- which addresses go over which connection ----
 *
 * Over a loopback connection all; to a private remote all but loopback; to a
 * public one public addresses only; unspecified and link-local ones never.  A
 * remote of no known scope counts as private.  (go-libp2p, identify/id.go,
 * filterAddrs.) */

/* Whether to tell `remote` of our address. */
bool identify_announce_filter(const struct multiaddr *addr, const struct multiaddr *remote);

/* Whether to believe an address that `remote` told of itself. */
bool identify_accept_filter(const struct multiaddr *addr, const struct multiaddr *remote);

#endif
