#ifndef ACTORS_STATUS_REPORTER_H
#define ACTORS_STATUS_REPORTER_H

#include "actors/node.h"

/* Every config.status_interval_ms two lines in the log:
 *     Bzzz Node Status - ID: <short>, Connected Peers: N
 *     Connected to: <short>, <short>, ... */

enum status_reporter_limits {
    STATUS_REPORTER_PEERS_MAX = 32, /* named in the second line; the others are counted */
};

extern const struct actor_class status_reporter_class;

/* The two lines, without ends of line; the second is empty without peers. */
void status_reporter_lines(struct p2p_node *node, char *status, size_t status_bytes, char *peers,
                           size_t peers_bytes);

#endif
