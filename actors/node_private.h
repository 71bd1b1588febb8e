#ifndef ACTORS_NODE_PRIVATE_H
#define ACTORS_NODE_PRIVATE_H

#include "actors/api_runtime.h"
#include "actors/node.h"

/* What only the node's own files see of a node. */

struct node_private {
    struct p2p_runtime *runtime; /* its own or the one it was given */
    struct protocols *protocols;
};

/* NULL only for nodes that a test has made by hand. */
static inline struct p2p_runtime *node_runtime(const struct p2p_node *node)
{
    return node->own ? node->own->runtime : NULL;
}

#endif
