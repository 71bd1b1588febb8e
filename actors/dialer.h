#ifndef ACTORS_DIALER_H
#define ACTORS_DIALER_H

#include "actors/node.h"
#include "actors/waiter.h"

/* Connections to peers: one dial a peer, whoever asks for it and with however
 * many addresses, of which several are tried, a little apart; the first that is
 * secured with the expected id wins. */

enum dialer_limits {
    DIALER_REQUESTS_MAX = 4096,     /* waiting for their answer; beyond: P2P_ERR_CALL_FULL */
    DIALER_CANDIDATES_MAX = 32,     /* addresses of one dial; more are left out */
    DIALER_ATTEMPTS_MAX = 8,        /* of one dial at a time; go-libp2p swarm/limiter.go */
};

#define DIALER_STAGGER_NS 250000000ull /* RFC 8305, 5: Connection Attempt Delay */
#define DIALER_GRACE_NS 100000000ull   /* a session's own deadline is so much later: the dialer's comes first */

enum dialer_message {
    DIALER_MSG_CONNECT = MESSAGE_OWN + 64, /* from dialer_connect() */
};

struct dialer_setup {
    struct actor_ref permits; /* the semaphore of concurrent dials */
    struct actor_ref resolver;
};

/* Spawned with a struct dialer_setup. */
extern const struct actor_class dialer_class;

/* From any thread.  Connects to `id` at `address` (without /p2p; see
 * dialer_check) and finishes `waiter` by `deadline_ns`, with id and, on
 * failure, text set.  0; on P2P_ERR_CALL_FULL and P2P_ERR_CALL_NOMEM the waiter
 * stays the caller's. */
int dialer_connect(struct p2p_node *node, const struct multiaddr *address, const struct peer_id *id,
                   uint64_t deadline_ns, struct waiter *waiter);

/* Whether `text` is an address we can dial: splits it into `address` and `id`.
 * 0, or an error with its sentence. */
int dialer_check(struct multiaddr *address, struct peer_id *id, const char *text, struct p2p_error_text *error);

#endif
