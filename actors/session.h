#ifndef ACTORS_SESSION_H
#define ACTORS_SESSION_H

#include "actors/node.h"
#include "actors/waiter.h"

#include <sys/socket.h>

/* One connection: socket, security, muxer, streams, and the protocols that one
 * connection can answer by itself (identify, ping, perf, echo), on its own
 * worker. */

enum session_limits {
    SESSION_RECV_BYTES_MAX = 16777216,   /* default of what a connection holds unread, and of its windows' growth */
    SESSION_REVIEW_SECONDS = 20,         /* after a connection opened; many that open together are done by then */
    SESSION_HANDSHAKE_NS_TURN = 1000000, /* handshake work of a worker in one turn */
    SESSION_BYTES_TURN = 262144,         /* received bytes of one connection in one turn */
    SESSION_STREAM_BYTES = 5120,         /* what a stream counts beside its payload: itself, and the rest of a buffer */
    SESSION_IDLE_STREAM_BYTES = 1024,    /* and without payload: itself */
    SESSION_STREAM_SEND_BYTES_MIN = 1024, /* that a stream may queue even if others leave nothing; a ping, a header */
    SESSION_WAKE_BYTES = 262144,         /* free again for sending: then who waits is told; one large send */
};

#define SESSION_REVIEW_NS (SESSION_REVIEW_SECONDS * 1000000000ull)

enum session_message {
    SESSION_MSG_DIAL = MESSAGE_START, /* from session_tell_dial */
    SESSION_MSG_CLOSE = MESSAGE_OWN,
    SESSION_MSG_DIALLED,     /* to the dialer: body.i64[0] 0 or the error; body.u64[1] enum session_step */
    SESSION_MSG_DIALLING,    /* to the dialer, before: `from` is the session, to be told to close if it loses */
    SESSION_MSG_OPEN_STREAM,
    SESSION_MSG_PING,
    SESSION_MSG_PUSH,
    SESSION_MSG_STREAM,      /* an EVENT stream's shared part has changed */
    SESSION_MSG_RUN,         /* p2p_stream_run() */
    SESSION_MSG_SETTLED,     /* from ourselves: all that the multishot receive brought is read */
    SESSION_MSG_SHED,        /* from session_tell_shed */
    SESSION_MSG_SHED_DONE,   /* its answer */
};

/* What a dial was about when it ended. */
enum session_step {
    SESSION_STEP_CONNECTING, /* TCP */
    SESSION_STEP_SECURITY,   /* which security protocol */
    SESSION_STEP_HANDSHAKE,  /* of it */
    SESSION_STEP_MUXER,      /* which muxer */
    SESSION_STEP_DONE,
};

/* What the dialer asks of a session. */
struct session_dial {
    struct sockaddr_storage address;
    socklen_t address_length;
    struct peer_id expected;
    uint64_t deadline_ns;
};

extern const struct actor_class session_class;

/* An accepted socket becomes a session on this worker.  The caller has counted
 * node->connections and node->handshakes_in up by one; the session counts them
 * down.  On failure the socket is reset and the counts are taken back. */
int session_accept(struct actor_context *context, int socket, const struct sockaddr_storage *remote);

/* Spawns a session on that worker which dials; the answer SESSION_MSG_DIALLED
 * (or MESSAGE_GONE) comes with `request_id`, its `from` the session.  By then
 * the registry knows the connection.  The dialer has counted node->connections
 * up by one; the session, or the answer GONE, takes it back. */
void session_tell_dial(struct actor_context *context, unsigned worker_index, uint32_t request_id,
                       const struct session_dial *dial);

/* From any thread.  Closes in order, with `code` in a GoAway.  Cannot fail. */
void session_tell_close(struct p2p_node *node, struct actor_ref session, uint32_t code);
/* Ends, on this worker, what is not yet in the registry: every connection of
 * context->scope that is being made.  For the way down. */
void session_stop_handshakes(struct actor_context *context);
/* What it holds is dropped at once, and it closes: the node is over its memory.
 * A request, answered by SESSION_MSG_SHED_DONE or MESSAGE_GONE with
 * `request_id`.  0 or P2P_ERR_CALL_FULL. */
int session_tell_shed(struct actor_context *context, struct actor_ref session, uint32_t request_id);
/* Which connection of context->scope on this worker holds most, how much, and
 * since when it is there; of several the youngest.  Nothing is written when
 * none holds anything. */
void session_heaviest(struct actor_context *context, struct actor_ref *session, uint64_t *bytes, uint64_t *opened_ns);
/* From any thread.  Has the session tell its peer our new protocols or
 * addresses (identify push), if it speaks that. */
void session_tell_push(struct p2p_node *node, struct actor_ref session);
/* From any thread.  One ping; the waiter's value is the round trip in ns. */
void session_tell_ping(struct p2p_node *node, struct actor_ref session, struct waiter *waiter);

#endif
