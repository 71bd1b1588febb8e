#ifndef ACTORS_LENDER_H
#define ACTORS_LENDER_H

#include "actors/stream.h"

/* What the application has of a node's buffers.  It outlives the node, and keeps
 * the memory of the workers' pools, until the last buffer has come back: who
 * forgets one loses its memory, and nothing else. */

struct lender;

/* The node's own share; NULL when memory is out. */
struct lender *lender_new(struct p2p_node *node);
/* The node goes: what comes back from now on tells nobody. */
void lender_leave(struct lender *lender);
/* Another buffer is in the application's hands. */
struct lender *lender_lend(struct lender *lender);
/* Any thread: it is back, and what it lay in was let go of before. */
void lender_return(struct lender *lender);
uint64_t lender_buffers(const struct lender *lender);
/* Whether the buffers lie in the memory of that runtime, which lives. */
bool lender_is_of(const struct lender *lender, struct runtime *runtime);
/* Any thread: sends it as SESSION_MSG_RUN, unless the node has gone. */
void lender_post(struct lender *lender, const struct stream_mail *mail);

#endif
