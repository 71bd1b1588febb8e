#ifndef ACTORS_SESSION_PROTOCOLS_H
#define ACTORS_SESSION_PROTOCOLS_H

struct p2p_node;

/* Registers what every session answers by itself: identify, identify push and
 * ping, and perf and echo where the configuration says so.  0 or an error of
 * p2p_node_handle(). */
int session_register_protocols(struct p2p_node *node);

#endif
