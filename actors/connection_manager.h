#ifndef ACTORS_CONNECTION_MANAGER_H
#define ACTORS_CONNECTION_MANAGER_H

#include "actors/node.h"

/* Closes connections, one peer's or all, and keeps the books about them.  On
 * MESSAGE_STOP it closes all, those in handshake too, awaits their end, and
 * then ends itself. */

#define CONNECTION_MANAGER_LOOK_NS 1000000ull        /* on the way down, between looks whether any is open, */
#define CONNECTION_MANAGER_SWEEP_NS 50000000ull      /* and between orders to close */
#define CONNECTION_MANAGER_ACCOUNT_NS 10000000000ull /* between two looks at the books */

extern const struct actor_class connection_manager_class;

/* Any thread.  Orders all connections to a peer closed.
 * P2P_ERR_CALL_NOT_FOUND when there is none, P2P_ERR_CALL_NOMEM. */
int connection_manager_disconnect(struct p2p_node *node, const struct peer_id *id);
/* Any thread.  Has every peer told our new protocols or addresses. */
void connection_manager_push(struct p2p_node *node);

#endif
