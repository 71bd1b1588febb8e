#ifndef ACTORS_LISTENER_H
#define ACTORS_LISTENER_H

#include "actors/node.h"

/* One socket that is listened on: one actor per address and worker.  The first
 * of an address is bound so that a taken port fails; its siblings on the other
 * workers share the port.  What it accepts is admitted or refused by the node's
 * limits before anything is read, and becomes a session on this worker, or on
 * that of a sibling where there are far fewer. */

enum listener_limits {
    LISTENER_BALANCE_PERCENT = 125,  /* of the mean of all workers: from here on a sibling gets it */
    LISTENER_BALANCE_SLACK = 8,      /* and so many more connections: few are never moved */
};

#define LISTENER_RETRY_NS 100000000ull    /* after descriptors ran out */
#define LISTENER_REFUSED_LOG_NS 1000000000ull /* refusals are counted, and told this often */

enum listener_message {
    LISTENER_MSG_LISTEN = MESSAGE_START, /* to a sibling: see listener_tell_listen() */
    LISTENER_MSG_LISTENING = 224,  /* its answer: body.i64[0] 0 or -errno */
    LISTENER_MSG_CONNECTION = MESSAGE_OWN, /* from a sibling: body.i64[0] a socket to take in */
    LISTENER_MSG_DRAINED,
    LISTENER_MSG_SIBLINGS,  /* buffer: the listeners of this address, one a worker */
};

/* What the first of an address is spawned with. */
struct listener_first {
    struct sockaddr_storage address;
    socklen_t length;
    bool v6only;
    struct sockaddr_storage *bound; /* out: with the port chosen */
    int *result;                    /* out: 0 or -errno */
};

extern const struct actor_class listener_class;

/* Spawns a sibling on another worker; LISTENER_MSG_LISTENING (or MESSAGE_GONE)
 * comes back with `request_id`. */
void listener_tell_listen(struct actor_context *context, unsigned worker_index, uint32_t request_id,
                          const struct sockaddr_storage *bound, bool v6only);
/* Tells a listener of all that share its address: siblings[i] is on worker i. */
void listener_tell_siblings(struct actor_context *context, struct actor_ref listener,
                            const struct actor_ref *siblings, size_t count);

#endif
