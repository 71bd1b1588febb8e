#ifndef ACTORS_SESSION_STATE_H
#define ACTORS_SESSION_STATE_H

#include "actors/local.h"
#include "actors/registry.h"
#include "actors/session.h"
#include "actors/stream.h"
#include "crypto/noise.h"
#include "net/plaintext.h"
#include "net/yamux.h"
#include "runtime/buffer.h"
#include "runtime/driver.h"
#include "runtime/log.h"

#include <assert.h>

/* What the files of the session share: its state, and the calls between its
 * parts.  session.c is the actor and its life, session_handshake.c what happens
 * before streams, session_io.c bytes in and out, session_streams.c the muxer's
 * events and the opening of streams. */

enum session_phase {
    SESSION_CONNECTING, /* TCP */
    SESSION_SECURING,   /* multistream-select, then Noise or plaintext */
    SESSION_MUXING,     /* multistream-select inside the secure channel */
    SESSION_OPEN,
    SESSION_CLOSING,    /* streams have ended; what is queued and a GoAway go out */
    SESSION_DRAINING,   /* FIN sent; waiting for the peer's */
    SESSION_DEAD,
};

enum session_flags {
    SESSION_INITIATOR = 1 << 0,
    SESSION_SECURE = 1 << 1,       /* records, or the plaintext exchange, are done */
    SESSION_MUXER = 1 << 2,        /* yamux may speak */
    SESSION_MUXER_AGREED = 1 << 3, /* and the peer has agreed */
    SESSION_REGISTERED = 1 << 4,
    SESSION_SENDING = 1 << 5,      /* a send is in the driver */
    SESSION_BULK = 1 << 6,         /* receives go into large buffers */
    SESSION_RECEIVING_INTO = 1 << 7,
    SESSION_GOAWAY_SENT = 1 << 8,
    SESSION_PEER_GONE = 1 << 9,    /* the peer said GoAway */
    SESSION_EOF = 1 << 10,
    SESSION_COUNTED_HANDSHAKE = 1 << 11,
    SESSION_PUMPING = 1 << 12,
    SESSION_SWITCHING = 1 << 13,   /* multishot receive is being stopped for bulk */
    SESSION_PUSH_DUE = 1 << 14,
    SESSION_DEFERRED = 1 << 15,    /* handshake work waits for the next turn */
    SESSION_MULTISHOT = 1 << 16,   /* the driver's multishot receive is armed */
    SESSION_RETRYING = 1 << 17,    /* pending opens are being tried */
    SESSION_SETTLING = 1 << 18,    /* a message to ourselves stands behind the last multishot receive */
    SESSION_WRITERS_WAIT = 1 << 19, /* streams found no room for what they had to send */
    SESSION_SHED = 1 << 20,        /* the node was over its memory, and this connection held most */
    SESSION_PAUSED = 1 << 21,      /* bulk waits: the node is over its memory, and somebody sees to it */
    SESSION_UNREVIEWED = 1 << 22,  /* young: what the peer told may be as it came */
    SESSION_RECEIVING_LITTLE = 1 << 23, /* into a buffer for one record: memory was short */
    SESSION_SLOW = 1 << 24,        /* the last bytes came long after those before */
};

/* Only until the connection is open. */
struct session_handshake {
    struct session_handshake *next, *previous; /* of the worker's, local->handshakes */
    struct session *session;
    struct multistream select;      /* security, then muxer */
    struct noise_handshake *noise;
    struct plaintext *plaintext;
    struct slices deferred;         /* received, waits for the next turn's share of handshakes */
    struct slices out;              /* to be sent as it is, before the channel is secure */
    struct slices muxer_out;        /* plaintext of the muxer's negotiation, to be sealed first */
    struct actor_ref dialer;
    uint32_t dial_request;
    uint64_t deadline_ns;
    struct peer_id expected;
    struct peer_id peer;            /* who it is, once it is secure */
    bool select_done;               /* the security protocol is agreed, or the muxer */
    bool tcp_connected;
    bool refused;                   /* a proposal, by us: the peer has a `na` to read */
};

/* While there are streams, or something that has one now and then. */
struct session_busy {
    struct p2p_stream *streams;
    struct p2p_stream *ready;                  /* the last of a ring: its next is the first */
    struct p2p_stream *negotiating, *lingering; /* the oldest, whose previous is the youngest */
    struct p2p_stream *pending;                /* opens that wait for the backlog: a ring, too */
    struct session_identify *identify; /* our question, until it is answered */
    struct session_identify *push;     /* the peer's, until it has ended */
    struct session_ping *ping;
    uint16_t stream_count;
    uint16_t pending_count;
    uint64_t held_bytes;            /* received and unread, all streams */
    uint64_t queued_bytes;          /* in the streams' send queues */
};

struct session {
    struct yamux yamux;
    struct noise_keys keys;
    struct p2p_node *node;
    struct local *local;
    struct session_busy *busy;      /* never NULL */
    struct session_handshake *handshake;
    struct buffer *record;          /* bytes [begin, end): a record that is cut, or the bulk buffer */
    struct buffer *sending;         /* bytes [begin, end) are still to be sent */
    int socket;
    uint32_t flags;
    uint32_t turn_bytes;
    uint32_t close_code;
    int16_t error;                  /* why it ends */
    uint8_t phase;
    uint32_t told_bytes;            /* that the registry keeps of what the peer told here */
    uint64_t counted_bytes;         /* in the node's memory */
    uint64_t deadline_ns;           /* of the phase (closing, draining) */
    uint64_t last_recv_ns;
    uint64_t pinged_ns;             /* when we last measured the round trip */
    uint64_t stall_since_ns;        /* when the send in flight was last seen to make progress, or began */
    uint64_t stall_look_ns;         /* when to look again */
    uint64_t stall_acknowledged;    /* what the peer had taken at the last look */
    struct session *next, *previous; /* of the worker's, local->sessions */
    struct registry_connection entry;
};

/* session.c */
/* Ends it now, without words; `error` is why. */
void session_end(struct session *session, int error);
/* Ends it in order: streams take no more, what is queued goes out, then a GoAway
 * with `code` and the FIN; then streams fail with `error`. */
void session_close(struct session *session, int error, uint32_t code);
/* Of length 0 as long as it is not secure, and after the end. */
const struct peer_id *session_peer(const struct session *session);
/* A yamux ping: the round trip, and whether the peer is there. */
void session_measure(struct session *session);
/* Actor calls from outside a handler (a public call on the worker). */
struct actor_context session_context(struct session *session);
void session_wake(struct session *session);
/* The session that is open for calls: not closing. */
static inline bool session_is_open(const struct session *session)
{
    return session->phase == SESSION_OPEN;
}

/* session_handshake.c */
/* Readies the machines; the first words lie in handshake->out. */
int session_handshake_begin(struct session *session, bool initiator, const struct peer_id *expected,
                            uint64_t deadline_ns);
void session_handshake_free(struct session *session);
/* Takes handshake bytes as long as the channel is not secure; *taken is less
 * than length when records begin. */
int session_handshake_recv(struct session *session, const uint8_t *data, size_t length, size_t *taken);
/* The same for the muxer's negotiation inside the secure channel, as long as
 * the muxer is not agreed. */
int session_muxer_recv(struct session *session, const uint8_t *data, size_t length, size_t *taken);

/* session_io.c */
void session_received(struct session *session, struct message *message);
void session_sent(struct session *session, struct message *message);
/* Seals and sends what there is, unless a send is in flight. */
void session_flush(struct session *session);
void session_receive_mode(struct session *session);
/* Feeds what was deferred. */
void session_feed_deferred(struct session *session);

/* session_streams.c */
/* Has session->busy be written to.  0 or P2P_ERR_CALL_NOMEM. */
int session_be_busy(struct session *session);
/* From now on, and when nothing is there to be busy with: all in it reads as 0. */
void session_be_idle(struct session *session);
/* Plaintext of the secure channel, inside `buffer`. */
int session_muxed(struct session *session, struct buffer *buffer, uint32_t offset, uint32_t length);
/* Takes a new stream of ours; its fate is told through it. */
void session_open_stream(struct session *session, struct p2p_stream *stream);
/* Nobody waits any more for it to open. */
void session_give_up_open(struct session *session, struct p2p_stream *stream);
void session_retry_pending(struct session *session);
void session_stream_ready(struct session *session, struct p2p_stream *stream);
void session_run_ready(struct session *session);
void session_stream_deadline(struct session *session, struct p2p_stream *stream, bool linger);
void session_expire_streams(struct session *session, uint64_t now_ns);
uint64_t session_streams_deadline(const struct session *session);
/* The muxer and the session let go of it. */
void session_stream_forget(struct session *session, struct p2p_stream *stream);
/* If both directions are finished and nobody reads, lets go. */
void session_stream_settle(struct session *session, struct p2p_stream *stream);
/* What came before the end may still be read, unless it is to be `dropped`. */
void session_fail_streams(struct session *session, int error, bool dropped);
/* Streams take no more writes: the connection is about to end. */
void session_stop_writing(struct session *session);
/* Received bytes were read or dropped. */
void session_stream_consumed(struct session *session, struct p2p_stream *stream, uint32_t bytes);

/* session_budget.c */
/* Bytes that any stream may have queued now, and that this one may still queue. */
uint64_t session_send_max(const struct session *session);
uint64_t session_send_room(const struct session *session, const struct p2p_stream *stream);
/* A buffer is taken whole or not at all, so one may go beyond the room there is. */
bool session_takes_buffer(const struct session *session, const struct p2p_stream *stream, uint32_t length);
/* It has more to send than there was room for: WRITABLE will tell it when. */
void session_writer_waits(struct session *session, struct p2p_stream *stream);
void session_wake_writers(struct session *session);
void session_enforce_budget(struct session *session);
/* It holds so much that memory is dearer than copies. */
bool session_is_pressed(const struct session *session);
/* Tells the node's memory what it holds now. */
void session_count_memory(struct session *session);
/* Drops all that it holds, and closes. */
void session_shed(struct session *session);

/* session_identify.c, session_ping.c */
void session_identify_begin(struct session *session);
void session_identify_push(struct session *session);
/* A stream of ours to the peer, not yet opened: session_open_stream(). */
struct p2p_stream *session_stream_new(struct session *session, const char *name,
                                      const struct p2p_stream_callbacks *callbacks, void *user);
extern const struct p2p_stream_callbacks session_identify_callbacks, session_push_callbacks;
void session_identify_free(struct session *session);
/* That the peer's messages take while they are read. */
uint32_t session_identify_bytes(const struct session *session);
void session_ping_ask(struct session *session, struct waiter *waiter);
void session_ping_free(struct session *session, int error);

static inline uint64_t session_now(const struct session *session)
{
    return worker_now_ns(session->local->worker);
}

#endif
