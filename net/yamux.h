#ifndef NET_YAMUX_H
#define NET_YAMUX_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* yamux /yamux/1.0.0 (libp2p specs, yamux/README.md), with error codes in RST
 * and GoAway (specs 622, 623).  A machine without I/O: bytes in, one event a
 * call; what there is to say comes out a chunk a call.  It never keeps payload:
 * DATA is a span of the caller's bytes, and a chunk says how many bytes of a
 * stream's own queue go out with it.
 *
 * The memory of a stream is the caller's: a struct yamux_stream inside its own
 * stream structure, from yamux_open() or yamux_accept() until
 * yamux_forget(). */

enum yamux_limits {
    YAMUX_HEADER_BYTES = 12,
    YAMUX_WINDOW_BYTES_MIN = 262144,   /* the protocol's first window; cannot be smaller */
    YAMUX_WINDOW_BYTES_MAX = 16777216, /* go's maximum */
    /* Half a window used within so many round trips doubles it.  A peer that waits for it takes half a round trip
     * for that.  go has 4; what is more than needed only queues in sockets, and holds up pings. */
    YAMUX_WINDOW_GROWTH_RTTS = 2,
    YAMUX_WINDOW_GROWTH_BYTES_MIN = 16384, /* a smaller growth is not worth it; ours */
    YAMUX_ACK_BACKLOG_STREAMS_MAX = 256, /* opens of ours not yet acknowledged; yamux spec, "ACK backlog" */
    YAMUX_STREAMS_IN_MAX = 1024,       /* open at once by the peer (js: 1,000); beyond: RST, resource limit */
    YAMUX_STREAMS_OUT_MAX = 16384,     /* open at once by us */
    YAMUX_PONGS_MAX = 32,              /* waiting to be sent; go's bound, more are dropped */
    YAMUX_REFUSALS_MAX = 256,          /* RST waiting for streams that never were; beyond: GoAway */
    YAMUX_PAYLOAD_BYTES_MAX = 65507,   /* one frame in one Noise record: 65,519 - 12 */
    YAMUX_QUANTUM_BYTES = 16384,       /* a stream's turn while several have payload; rust's frame size */
    YAMUX_RIDE_BYTES_MAX = 1024,       /* of a stream's queue that ride on its SYN or ACK; ours */
};

/* Codes of a GoAway: yamux's own, then why a connection is closed (go-libp2p
 * core/network/conn.go). */
enum yamux_goaway {
    YAMUX_GOAWAY_NORMAL = 0,
    YAMUX_GOAWAY_PROTOCOL = 1,
    YAMUX_GOAWAY_INTERNAL = 2,
    YAMUX_GOAWAY_RESOURCE_LIMIT = 0x1001,
    YAMUX_GOAWAY_SHUTDOWN = 0x1006,
};

/* Codes of a RST (go-libp2p core/network/mux.go); 0 says nothing. */
enum yamux_reset_code {
    YAMUX_RESET_NONE = 0,
    YAMUX_RESET_NEGOTIATION = 0x1001,
    YAMUX_RESET_RESOURCE_LIMIT = 0x1002,
    YAMUX_RESET_RATE_LIMITED = 0x1003,
    YAMUX_RESET_PROTOCOL = 0x1004,
    YAMUX_RESET_SHUTDOWN = 0x1007,
};

enum yamux_event_type {
    YAMUX_EVENT_NONE,     /* all bytes were taken */
    YAMUX_EVENT_OPEN,     /* the peer opens `stream_id`: yamux_accept() or _refuse() before the next recv */
    YAMUX_EVENT_ACKED,    /* `stream`: the peer took the stream */
    YAMUX_EVENT_DATA,     /* `stream`: bytes [offset, offset + length) of what this call was given */
    YAMUX_EVENT_FIN,      /* `stream`: no more bytes from the peer */
    YAMUX_EVENT_RESET,    /* `stream`: reset by the peer with `code`; only yamux_forget() is left to do */
    YAMUX_EVENT_WRITABLE, /* `stream`: yamux_send_room() was 0 and the window is larger now */
    YAMUX_EVENT_PONG,     /* an answer to a ping of ours; `rtt_ns` */
    YAMUX_EVENT_GOAWAY,   /* the peer opens and accepts no more streams; `code`; once */
};

/* All fields are yamux.c's; `id` may be read. */
struct yamux_stream {
    struct yamux_stream *hash_next;
    struct yamux_stream *control_next, *control_prev; /* list of those with something short to say */
    struct yamux_stream *data_next, *data_prev;       /* list of those with payload that may be sent */
    uint64_t queued;        /* payload bytes of the caller's queue not yet in a chunk */
    uint64_t window_since_ns; /* when the last window update came due, or the stream began */
    uint32_t id;
    uint16_t state;         /* bits, yamux.c's */
    uint16_t pending;       /* bits of what is to be said, yamux.c's */
    uint32_t send_window;   /* bytes the peer allows us */
    uint32_t recv_window;   /* bytes the peer may still send */
    uint32_t recv_window_max; /* what the window is filled up to */
    uint32_t recv_unread;   /* bytes taken off the window and not yet consumed */
    uint32_t recv_consumed; /* what the next window update grants */
    uint32_t reset_code;
    int32_t deficit;        /* deficit round robin */
};

static_assert(sizeof(struct yamux_stream) <= 104, "the budget of a stream");

struct yamux_event {
    enum yamux_event_type type;
    struct yamux_stream *stream;
    uint32_t stream_id;
    uint32_t code;
    size_t offset;
    size_t length;
    uint64_t rtt_ns;
};

struct yamux_chunk {
    uint8_t header[YAMUX_HEADER_BYTES];
    struct yamux_stream *stream; /* whose frame it is; NULL: the connection's, or a forgotten stream's */
    uint32_t length;             /* payload bytes to take from the front of the stream's queue */
};

/* Room that windows may grow into beyond the first 256 KiB, shared by whoever
 * holds a pointer to it (the connections of a node, on all workers). */
struct yamux_budget {
    uint64_t used_bytes; /* atomic, relaxed: it counts and orders nothing */
    uint64_t max_bytes;
};

struct yamux_farewell; /* yamux.c's: a RST or FIN that outlives its stream */

/* See yamux.c; the size is a budget of the house. */
struct yamux {
    struct yamux_stream **buckets; /* heap, while there are streams */
    struct yamux_stream *control, *data; /* the first of their lists */
    struct yamux_stream *payload_stream; /* of the frame being read; NULL: drain */
    struct yamux_budget *budget;
    struct yamux_farewell *farewells; /* heap, while any wait: a ring */
    uint32_t *pongs;               /* heap, while more than one waits: those after the first */
    uint64_t hash_seed;
    uint64_t ping_sent_ns;         /* 0: none outstanding */
    uint64_t rtt_ns;               /* down at once, up slowly; 0: not known yet */
    uint32_t window_growth_bytes;  /* of this connection, beyond the first windows */
    uint32_t window_growth_max;
    uint32_t next_id;
    uint32_t goaway_code;
    uint32_t ping_value;
    uint32_t pong_first;
    uint32_t payload_left;         /* of the frame being read */
    int16_t error;                 /* what ended it, or 0 */
    uint16_t flags;
    uint16_t streams;              /* in the table */
    uint16_t streams_in, streams_out; /* those, and those whose farewell waits */
    uint16_t unacked;
    uint16_t farewell_head, farewell_count, farewell_room;
    uint16_t refusals;             /* farewells to streams that never were */
    uint8_t bucket_bits;
    uint8_t pong_count;
    uint8_t stage;                 /* of the frame being read */
    uint8_t header_filled;
    uint8_t header[YAMUX_HEADER_BYTES];
};

static_assert(sizeof(struct yamux) <= 144, "the budget of a connection without streams");

/* `client` is the connection's dialer (odd ids).  `budget` may be NULL;
 * `window_growth_max` bounds this connection's growth in bytes. */
void yamux_init(struct yamux *yamux, bool client, uint64_t hash_seed, struct yamux_budget *budget,
                uint32_t window_growth_max);
/* Streams must have been forgotten. */
void yamux_fini(struct yamux *yamux);

/* Takes bytes up to and including what one event needs; call again with the
 * rest until *taken == length and the event is NONE (an event may be left when
 * all bytes are taken).  Returns 0, P2P_ERR_CONN_PROTOCOL, P2P_ERR_CONN_FLOW
 * or P2P_ERR_CONN_LIMIT (too many streams to refuse, or no memory to do it):
 * then a GoAway is queued, nothing more is taken, and what yamux_send() yields
 * goes out before the close. */
int yamux_recv(struct yamux *yamux, const uint8_t *data, size_t length, size_t *taken,
               struct yamux_event *event, uint64_t now_ns);

/* Opens a stream.  0, P2P_ERR_CALL_FULL (backlog or streams bound: retry after
 * ACKED or a forget), P2P_ERR_CONN_GOAWAY (either side said it),
 * P2P_ERR_CONN_LIMIT (ids used up), P2P_ERR_CALL_NOMEM. */
int yamux_open(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns);
/* After OPEN: takes the stream, and acknowledges it at once.  0, or
 * P2P_ERR_CALL_NOMEM: refuse it then. */
int yamux_accept(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns);
void yamux_refuse(struct yamux *yamux, uint32_t code);

/* `bytes` more wait in the caller's queue of this stream; ignored after a reset. */
void yamux_queue(struct yamux *yamux, struct yamux_stream *stream, uint32_t bytes);
/* FIN after what is queued; yamux_queue() may not be called any more. */
void yamux_close_write(struct yamux *yamux, struct yamux_stream *stream);
/* RST with `code`; what is queued is not sent.  Late data is drained. */
void yamux_reset(struct yamux *yamux, struct yamux_stream *stream, uint32_t code);
/* `bytes` of DATA have left the caller's queue; the window opens in time. */
void yamux_consumed(struct yamux *yamux, struct yamux_stream *stream, uint32_t bytes, uint64_t now_ns);
/* Both directions are finished (FIN sent and received, or RST by either side). */
bool yamux_finished(const struct yamux_stream *stream);
/* Takes the stream out.  If a RST or FIN is still to be said it is said
 * without the memory; an unfinished stream is reset, and so is one whose queue
 * was not sent. */
void yamux_forget(struct yamux *yamux, struct yamux_stream *stream);
/* Bytes that may be queued now and would be sent: the window less the queue. */
uint32_t yamux_send_room(const struct yamux_stream *stream);

/* A ping of ours, if none is outstanding. */
void yamux_ping(struct yamux *yamux, uint64_t now_ns);
/* Once.  NORMAL goes out when no payload can be sent any more (go ends the
 * session when it reads a GoAway), any other code ahead of payload.  Streams
 * that the peer opens from now on are refused without an event. */
void yamux_goaway(struct yamux *yamux, uint32_t code);

/* The next chunk: pongs, ACKs, window updates, RST, FIN of empty streams first;
 * then data by deficit round robin, at most `payload_max` bytes of it (0: none).
 * False when there is nothing to say.  The caller takes the bytes off its queue. */
bool yamux_send(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max);
bool yamux_wants_send(const struct yamux *yamux);
/* When the outstanding ping was sent, or 0: the session judges keep-alive. */
uint64_t yamux_ping_outstanding_ns(const struct yamux *yamux);

#endif
