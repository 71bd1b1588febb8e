#ifndef ACTORS_NODE_H
#define ACTORS_NODE_H

#include "actors/memory.h"
#include "chorus/p2p.h"
#include "crypto/key.h"
#include "crypto/noise.h"
#include "crypto/peer_id.h"
#include "net/multiaddr.h"
#include "runtime/actor.h"
#include "runtime/worker.h"

#include <pthread.h>

/* The composition root: it implements the public header's nodes, starts the
 * actors and takes them down.  Every actor of a node finds it as
 * scope_owner(context->scope).  After start most of it is read-only; what
 * changes has its own lock or is an atomic counter. */

enum node_limits {
    NODE_AGENT_BYTES_MAX = 128,
    NODE_PENDING_HANDSHAKES = 128,    /* the default bound of inbound handshakes under way */
    NODE_DESCRIPTOR_RESERVE = 64,     /* never used for connections */
    NODE_HANDSHAKE_NS_MAX = 10000000000ull,       /* a whole inbound handshake */
    NODE_NEGOTIATION_NS_MAX = 10000000000ull,     /* of a stream; go's and js's 10 s */
    NODE_STALL_NS_MAX = 30000000000ull,           /* a peer that takes no byte while data is queued */
    NODE_STALL_LOOK_NS = 5000000000ull,           /* between looks whether it does: one system call each */
    NODE_KEEP_ALIVE_NS = 30000000000ull,          /* go's yamux keep-alive */
    NODE_PONG_NS_MAX = 10000000000ull,            /* for the answer to it; go's ConnectionWriteTimeout */
    NODE_CLOSE_FLUSH_NS = 1000000000ull,          /* the way down: GoAway and flush */
    NODE_CLOSE_DRAIN_NS = 200000000ull,           /* and the peer's FIN */
    NODE_ANNOUNCE_ADDRESSES_MAX = 64,
    NODE_MEMORY_BYTES_MAX = 268435456, /* default of what all connections hold together: 16 of them at their own
                                        * bound, and a quarter of a machine of 1 GiB */
};

struct registry;
struct app;
struct lender;

/* The settings; strings are the config's own copies. */
struct p2p_config {
    char *listen[P2P_LISTEN_ADDRESSES_MAX];
    unsigned listen_count;
    bool listen_set; /* the defaults were replaced */
    uint8_t *identity;
    size_t identity_length;
    char *data_dir;
    char *network_id;
    char *agent_version;
    uint32_t connections_max; /* 0: no limit */
    uint32_t pending_handshakes_max;
    uint32_t dials_max;
    uint32_t connection_timeout_ms;
    uint32_t keep_alive_ms;
    uint32_t status_interval_ms;
    uint32_t streams_max; /* of ours on one connection */
    uint64_t connection_memory_bytes;
    uint64_t memory_bytes;
    bool security, serve_perf, serve_echo;
    unsigned workers;
    enum p2p_driver driver;
    enum p2p_log_level log_level;
    enum p2p_log_format log_format;
    void (*log_write)(void *argument, enum p2p_log_level level, const char *line, size_t length);
    void *log_argument;
};

/* Counters of a node, kept per worker, summed on read: scope_count(). */
enum node_counter {
    /* What messages and streams touch: one cache line of each worker's. */
    NODE_BYTES_IN,
    NODE_BYTES_OUT,
    NODE_STREAM_BYTES_HELD, /* a gauge: received and not read, or queued and not sent */
    NODE_MEMORY_HELD,      /* a gauge: by connections; see memory.h */
    NODE_MEMORY_DRAWN,     /* a gauge: credit for it */
    NODE_STREAMS_IN,
    NODE_STREAMS_OUT,
    NODE_STREAMS_LIVE,     /* a gauge */
    NODE_CONNECTIONS_IN,   /* secured, since the start */
    NODE_CONNECTIONS_OUT,
    NODE_CONNECTIONS_CLOSED,
    NODE_HANDSHAKES_FAILED,
    NODE_REFUSED_LIMIT,    /* at accept */
    NODE_SESSIONS_LIVE,    /* a gauge: sessions, handshakes included */
    NODE_CONNECTIONS_SHED, /* closed because the node was over its memory */
    NODE_COUNTERS,
};

/* What serves a protocol. */
struct protocol {
    const char *name; /* terminated; lives as long as the node */
    unsigned flags;   /* enum p2p_handle_flags */
    bool event;       /* EVENT streams; else INLINE with these: */
    struct p2p_stream_callbacks callbacks;
    void *user;
};

struct p2p_node {
    struct p2p_config config;
    struct runtime *runtime;
    struct p2p_runtime *own_runtime; /* NULL when it was given */
    struct scope *scope;
    struct key *key;
    struct noise_static *statics;
    struct peer_id id;
    char id_text[PEER_ID_TEXT_SIZE];
    uint64_t hash_seed;
    struct depot *depot; /* the runtime's */
    struct registry *registry;
    struct app *app;
    struct memory *memory;
    struct lender *lender;
    /* Gauges that admission looks at; atomic. */
    int64_t connections;        /* secured or in handshake, both directions */
    int64_t handshakes_in;      /* inbound, under way */
    int closing;                /* atomic: the way down has begun */
    int64_t stream_mail;        /* atomic: mail of the application to its streams, under way */
    /* The rest is node.c's. */
    struct node_private *own;
};

static inline struct p2p_node *node_of(const struct actor_context *context)
{
    return (struct p2p_node *)scope_owner(context->scope);
}

/* Sends *message to message->to from any thread, worker or not.  0, or
 * P2P_ERR_CALL_FULL (only DATA and REQUEST; the buffer then stays the
 * caller's). */
int node_post(struct p2p_node *node, struct message *message);

/* The protocol that serves `name` (exact before prefix, then the longest
 * prefix), or false.  Any thread. */
bool node_protocol_find(struct p2p_node *node, const char *name, size_t name_length, struct protocol *out);
/* The exact names served now, `capacity` at most; returns how many there are.
 * The strings live as long as the node. */
size_t node_protocols(struct p2p_node *node, const char **out, size_t capacity);

/* Our addresses (concrete, without /p2p) as they may be told to a peer at
 * `remote`; returns how many were written.  Any thread. */
size_t node_announce(struct p2p_node *node, struct multiaddr *out, size_t capacity, const struct multiaddr *remote);
/* A fresh signed peer record of the addresses that may be told to `remote`.
 * 0 with *length, or an error (then there is none). */
int node_signed_record(struct p2p_node *node, uint8_t *out, size_t *length, size_t capacity,
                       const struct multiaddr *remote);

#endif
