#ifndef RUNTIME_URING_H
#define RUNTIME_URING_H

#include "runtime/driver_inner.h"

#include <liburing.h>
#include <pthread.h>

/* An io_uring with its ring of provided buffers: what driver_uring.c has beneath
 * it.  The floor is Linux 6.1: multishot accept and receive, provided buffers,
 * waits with a deadline.  What is later, or missing in liburing 2.3, is in one
 * block in uring.c, tried when the ring is made, and done without where it
 * fails. */

enum uring_limits {
    URING_SUBMISSIONS = 1024, /* then the queue is handed over before the turn ends */
    /* Completions beyond wait in the kernel, and end multishot operations. */
    URING_COMPLETIONS = 8192,
    URING_GROUP = 0, /* of the provided buffers */
};

/* Messages take buffers of the ring in the order of the ring, and their
 * successors come from wherever the pool has one: after a burst the ring would
 * hold one buffer of each of many chunks, and keep them all from going back to
 * the system.  So they are gathered, after so long with traffic. */
#define URING_GATHER_NS 500000000ull

struct uring {
    struct io_uring ring;
    struct buffer_pool *pool;
    struct driver_stats *stats;
    unsigned features;
    bool deferred;     /* completions are made in an entry, and never else */
    bool message_wake; /* MSG_RING works from any thread */
    bool enabled;
    pthread_t thread;  /* that enabled it */
    int bell;          /* atomic: an eventfd; -1: nobody has asked */
    bool bell_registered;
    /* The ring of provided buffers: whose each entry is, and the entries that
     * have none because the pool is at its bound. */
    struct io_uring_buf_ring *entries;
    struct buffer *provided[DRIVER_RECEIVE_RING_BUFFERS];
    uint16_t missing[DRIVER_RECEIVE_RING_BUFFERS];
    unsigned missing_count;
    unsigned taken;          /* since they were gathered */
    uint64_t next_gather_ns;
};

/* Zeroed memory becomes a ring, not yet anybody's.  -errno: what is needed is
 * missing; it is to be given to uring_fini() all the same. */
int uring_init(struct uring *uring, struct buffer_pool *pool, struct driver_stats *stats, unsigned features);
void uring_fini(struct uring *uring);
/* The first thread that enables it is the only one that may enter it: asserts so. */
void uring_enable(struct uring *uring);

/* A free submission entry; hands the queue over if it is full. */
struct io_uring_sqe *uring_entry(struct uring *uring);
/* Hands the queue over, makes completions, and sleeps until `deadline_ns`, but
 * not past `retry_ns` from now, if there are none: at most one system call. */
void uring_enter(struct uring *uring, uint64_t deadline_ns, uint64_t retry_ns);
/* Whether an entry would find something to do at once. */
bool uring_pending(struct uring *uring);
/* A descriptor that is readable when a completion can be made, or -1.  The ring's
 * own is not, while completions are deferred to an entry. */
int uring_bell(struct uring *uring);
/* It is not readable any more; what came before that is pending. */
void uring_quiet(struct uring *uring);
/* Any thread: a completion with user_data `tag`.  False: it cannot be had. */
bool uring_send_message(const struct uring *uring, uint64_t tag);

/* New buffers for the entries that have none. */
void uring_refill(struct uring *uring);
/* How many entries have one. */
unsigned uring_filled(const struct uring *uring);
/* The buffer that a completion with these flags filled, which is the caller's
 * now, or NULL. */
struct buffer *uring_take(struct uring *uring, uint32_t flags);

#endif
