#ifndef BENCH_NODE_H
#define BENCH_NODE_H

#include <chorus/p2p.h>

/* Nodes for the rows, with no bound on connections, serving perf and echo. */

/* Makes and starts one that listens on a free port of `host`, or nowhere (NULL);
 * without a `runtime` it gets one of one worker.  On failure there is none, and
 * `text` says why. */
int node_try(struct p2p_node **out, struct p2p_runtime *runtime, const char *host, struct p2p_error_text *text);

/* These exit with a message when something fails.  `listens`: on 127.0.0.1. */
struct p2p_node *node_make(struct p2p_runtime *runtime, bool listens);
/* Connects and returns the peer's id in `id`. */
void node_connect(struct p2p_node *node, char id[P2P_ID_TEXT_BYTES], const char *address);
void node_check(int error, const char *what);

#endif
