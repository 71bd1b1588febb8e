#ifndef ACTORS_CONFIG_H
#define ACTORS_CONFIG_H

#include "actors/node.h"

/* The settings of a node and their bounds. */

enum config_limits {
    CONFIG_CONNECTIONS_MAX = 50,            /* the default; 0 lifts it */
    CONFIG_DIALS_MAX = 160,                 /* the default; go-libp2p swarm/limiter.go, concurrent descriptors */
    CONFIG_STREAMS_MAX = 448,               /* the default; rust-libp2p gives a connection up at the 513th stream of
                                             * both sides (its crate yamux, max_num_streams), its own too: 64 are for
                                             * those, and for what has ended here and not yet there */
    CONFIG_CONNECTION_TIMEOUT_MS = 30000,   /* ConnectionTimeout */
    CONFIG_STATUS_INTERVAL_MS = 30000,
    CONFIG_CONNECTION_MEMORY_BYTES_MIN = 262144, /* yamux's first window: less could serve no stream */
    CONFIG_MEMORY_BYTES_MIN = 4194304, /* a few connections with a stream each, and the buffers they send from */
    CONFIG_PATH_BYTES_MAX = 4096,           /* PATH_MAX */
};

#define CONFIG_NETWORK_ID "CHORUS-network"
#define CONFIG_LISTEN_IP4 "/ip4/0.0.0.0/tcp/3333"
#define CONFIG_LISTEN_IP6 "/ip6/::/tcp/3333"

/* A deep copy; of the defaults when `from` is NULL.  P2P_ERR_CALL_NOMEM leaves
 * nothing to free. */
int config_copy(struct p2p_config *to, const struct p2p_config *from);
/* Wipes the identity. */
void config_fini(struct p2p_config *config);

#endif
