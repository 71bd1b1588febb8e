#ifndef ACTORS_REGISTRY_H
#define ACTORS_REGISTRY_H

#include "actors/node.h"
#include "net/identify.h"

/* Who is connected: peers and their connections, and what identify told of
 * them.  One mutex; no data path touches it.  Agent, version and protocol lists
 * are interned: most peers have the same ones.  Events PEER_CONNECTED (first
 * connection), PEER_IDENTIFIED and PEER_DISCONNECTED (last one) come from
 * here. */

enum registry_limits {
    REGISTRY_PEERS_MAX = 1 << 22,
    REGISTRY_PEER_CONNECTIONS_MAX = 128,  /* of one peer; go-libp2p's resource manager allows 8 */
    REGISTRY_PROTOCOLS_BYTES_MAX = 8192,  /* kept of one peer: a whole identify message of them */
    REGISTRY_ADDRESSES_BYTES_MAX = 4096,  /* kept of one peer: some hundred addresses */
    REGISTRY_AWAITERS_MAX = 256,          /* who wait for one peer's identity */
    REGISTRY_REMOTE_BYTES_MAX = 20,       /* of /ip6/.../tcp/... */
};

struct registry;

/* Its memory is the session's, which fills in what is above the line, before
 * registry_add(). */
struct registry_connection {
    struct actor_ref session;
    uint64_t opened_ns;
    uint64_t bytes_in, bytes_out; /* atomic, relaxed: the session counts on */
    bool outbound;
    uint8_t remote_length;
    uint8_t remote[REGISTRY_REMOTE_BYTES_MAX]; /* registry_remote() */
    /* ---- the registry's, under its mutex */
    bool identified;
    bool retired;           /* about to end: carries nothing new */
    int16_t identify_error; /* why it did not tell who it is; 0: it has, or may yet */
    uint64_t rtt_ns;
    struct registry_connection *next; /* an older one of the same peer */
    const struct peer_id *id; /* the registry's own, which may be read from registry_add() to registry_remove();
                               * else NULL */
};

/* More of bytes_in or bytes_out. */
static inline void registry_count(uint64_t *count, uint64_t bytes)
{
    __atomic_store_n(count, *count + bytes, __ATOMIC_RELAXED);
}

/* An address of IP and TCP. */
void registry_set_remote(struct registry_connection *connection, const struct multiaddr *remote);
void registry_remote(const struct registry_connection *connection, struct multiaddr *out);

struct registry *registry_new(struct p2p_node *node, uint64_t hash_seed);
void registry_free(struct registry *registry);

/* A secured and multiplexed connection of this peer's.  Any worker.  0,
 * P2P_ERR_CONN_LIMIT, P2P_ERR_NODE_CLOSING or P2P_ERR_CALL_NOMEM: then the session
 * closes. */
int registry_add(struct registry *registry, struct registry_connection *connection, const struct peer_id *id);
/* `error` is why it ended, and `why` a sentence about it (may be NULL, or
 * empty).  No-op when it is not there. */
void registry_remove(struct registry *registry, struct registry_connection *connection, int error,
                     const struct p2p_error_text *why);
/* It is about to end: it stays listed, but carries nothing new. */
void registry_retire(struct registry *registry, struct registry_connection *connection);
/* All of the peer's are. */
void registry_retire_peer(struct registry *registry, const struct peer_id *id);
/* What identify said; copied.  Wakes those who wait for it.  Returns the bytes that
 * are kept of it, of lists that others told, too, its share; 0: nothing is. */
uint32_t registry_identified(struct registry *registry, struct actor_ref session, const struct peer_id *id,
                         const struct identify_result *result);
/* It was asked and did not tell: `error` says why.  When all connections of a peer
 * have failed so, those who wait hear of it, and who asks next, too. */
void registry_identify_failed(struct registry *registry, struct actor_ref session, const struct peer_id *id, int error);
/* Opens the signed record that the peer told, if that has not been done, and lets
 * go of it.  Returns the bytes that are kept then. */
uint32_t registry_review(struct registry *registry, const struct peer_id *id);
/* The round trip was measured. */
void registry_measured(struct registry *registry, struct registry_connection *connection, uint64_t rtt_ns);

/* The session that carries a new stream to this peer: the newest identified
 * connection, else the newest.  False when it is not connected, or all its
 * connections are about to end. */
bool registry_find(struct registry *registry, struct actor_ref *session, const struct peer_id *id);
/* True when identify has told us that the peer speaks this protocol. */
bool registry_speaks(struct registry *registry, const struct peer_id *id, const char *protocol);
size_t registry_peers(struct registry *registry);
/* All sessions (of one peer, or of all when `id` is NULL); returns how many
 * there are. */
size_t registry_sessions(struct registry *registry, struct actor_ref *out, size_t capacity, const struct peer_id *id);
/* For the public calls. */
size_t registry_list(struct registry *registry, struct p2p_peer *out, size_t capacity, uint64_t now_ns);
/* The ids of those who are connected, the oldest first; returns how many there
 * are. */
size_t registry_ids(struct registry *registry, struct peer_id *out, size_t capacity);
/* Fills a new p2p_identity, or says P2P_ERR_CALL_AGAIN (connected, not yet
 * identified), P2P_ERR_CALL_NOT_FOUND, or what registry_identify_failed() said. */
int registry_identity(struct registry *registry, struct p2p_identity **out, const struct peer_id *id);
/* Has `waiter` finish, with object = a p2p_identity, when the peer is
 * identified or gone. */
struct waiter;
void registry_await_identity(struct registry *registry, struct waiter *waiter, const struct peer_id *id);

#endif
