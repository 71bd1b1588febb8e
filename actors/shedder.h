#ifndef ACTORS_SHEDDER_H
#define ACTORS_SHEDDER_H

#include "actors/node.h"

/* Closes connections while a node is over its memory (actors/memory.h): it has
 * every worker name the connection there that holds most, closes the largest of
 * them, and asks again until the node is within its bound.  Of two that hold the
 * same the younger one goes. */

#define SHEDDER_RETRY_NS 1000000ull /* when there was none to close, or the largest had no room for the order */

extern const struct actor_class shedder_class;

/* Any thread: the node is over its bound. */
void shedder_tell_over(struct p2p_node *node);

#endif
