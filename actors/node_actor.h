#ifndef ACTORS_NODE_ACTOR_H
#define ACTORS_NODE_ACTOR_H

#include "actors/node_private.h"

/* The root of a node's actors: it spawns the others and takes them down, in the
 * order of the way down: listeners, dialer, services, sessions, what is left. */

enum node_actor_message {
    NODE_MSG_START = MESSAGE_START,
};

/* On the way down, how often the root looks whether the last ones are gone, and
 * when it says so if they are not. */
#define NODE_LAST_LOOK_NS 1000000ull
#define NODE_CLOSE_SLOW_NS 3000000000ull

/* Spawned by p2p_node_start() with NODE_MSG_START; told to go down by
 * MESSAGE_STOP. */
extern const struct actor_class node_actor_class;

/* The whole is over: finishes who waits for it, with the outcome of the start
 * if that failed.  Also for a node that was never started. */
void node_closed(struct p2p_node *node, int start_error);

#endif
