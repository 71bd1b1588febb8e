#ifndef ACTORS_NODE_PRIVATE_H
#define ACTORS_NODE_PRIVATE_H

#include "actors/api_runtime.h"
#include "actors/node.h"

/* What only the node's own files see of a node. */

struct addresses;
struct protocols;
struct resolver_zone;
struct waiter;

enum node_phase {
    NODE_NEW,
    NODE_STARTING,
    NODE_STARTED,
    NODE_CLOSING,
    NODE_CLOSED,
};

struct node_private {
    struct p2p_runtime *runtime; /* its own or the one it was given */
    struct protocols *protocols;
    struct addresses *addresses;
    const struct resolver_zone *zone; /* instead of the system's resolver; set by a test before the start */
    const char *name_servers;    /* "127.0.0.1:5353", instead of the system's; the same */
    int starving;                /* atomic: accept is off for want of descriptors or memory, and that was told */
    int64_t descriptors_max;     /* descriptors from here on are not for connections */
    unsigned home;               /* the worker of its single actors */

    pthread_mutex_t mutex;       /* for the rest */
    enum node_phase phase;
    int data_dir_lock;           /* held from the start on; -1: there is no such directory */
    struct actor_ref root;       /* the actor that starts and ends the others */
    struct waiter *start_waiter;
    struct p2p_error_text start_text;
    struct waiter **close_waiters;
    size_t close_waiter_count;
    struct actor_ref dialer;
    struct actor_ref shedder;
};

#endif
