#ifndef ACTORS_WAITER_H
#define ACTORS_WAITER_H

#include "chorus/p2p.h"

/* The end of a call that waits, or the event that it ends in.  A waiter has two
 * holders, the caller and the worker that will finish it; whoever lets go last
 * frees it.  Exactly one waiter_finish() is made by whoever was given it. */

struct waiter {
    /* Results, written before waiter_finish(). */
    int result;
    uint64_t value;
    void *object;                 /* a stream, an identity */
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_error_text text;
    /* waiter.c's */
    struct p2p_node *node;
    uint64_t request;
    uint8_t kind;
    uint8_t done;
    uint32_t refs;
    void *sync;
    struct app_answer *answer;    /* room for the event */
    /* What becomes of the object when the caller has gone away (time-out). */
    void (*abandoned)(struct waiter *waiter);
};

enum waiter_kind {
    WAITER_BLOCKING,
    WAITER_CONNECT_EVENT, /* ends in CONNECTED or CONNECT_FAILED with `request` */
    WAITER_OPEN_EVENT,    /* ends in STREAM_OPENED or STREAM_OPEN_FAILED */
};

/* NULL when memory is out.  Two references when WAITER_BLOCKING, else one. */
struct waiter *waiter_new(struct p2p_node *node, enum waiter_kind kind, uint64_t request);
/* Any thread: wakes the caller, or pushes the event.  Gives the reference up. */
void waiter_finish(struct waiter *waiter, int result);
/* The caller's: waits (turning a runtime without threads), returns the result
 * or P2P_ERR_CALL_TIMEOUT.  The waiter may be read until waiter_done().
 * P2P_ERR_CALL_THREAD on a worker thread. */
int waiter_wait(struct waiter *waiter, int timeout_ms);
void waiter_done(struct waiter *waiter);
/* Takes back one that is not BLOCKING and was given to nobody. */
void waiter_drop(struct waiter *waiter);
/* The caller has gone away: what it asked for need not be done any more. */
bool waiter_given_up(struct waiter *waiter);

#endif
