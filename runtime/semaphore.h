#ifndef RUNTIME_SEMAPHORE_H
#define RUNTIME_SEMAPHORE_H

#include "runtime/actor.h"

/* A counting semaphore whose permits are granted by message: it bounds
 * concurrent dials, handshakes and queries without blocking a thread.  It is an
 * actor.  A permit is a record {holder, count}; it comes back by release or by
 * the notice of the holder's death, never by both. */

enum semaphore_limits {
    /* Ours: who waits behind so many gives up before it is served.  Beyond, a
     * request is answered with 0 permits at once. */
    SEMAPHORE_WAITERS_MAX = 4096,
    SEMAPHORE_HOLDERS_MAX = 65536, /* ours: what a semaphore without limit may grant; others have fewer permits */
};

enum semaphore_priority {
    SEMAPHORE_PRIORITY_USER = 0, /* may take the reserved permit too */
    SEMAPHORE_PRIORITY_NORMAL = 1,
    SEMAPHORE_PRIORITY_UPKEEP = 2,
};

struct semaphore_config {
    uint32_t permits;  /* 0: no limit */
    uint32_t reserved; /* of them only for SEMAPHORE_PRIORITY_USER; at least one is for all */
};

struct semaphore_stats {
    uint32_t permits, held, waiting;
    uint64_t granted, waited_ns_total, refused;
};

int semaphore_spawn(struct worker *worker, struct actor_ref *ref, struct scope *scope,
                    const struct semaphore_config *config);
/* Asks for one permit: MESSAGE_GRANT with the request_id, body.u64[0] = 1, or 0
 * when too many wait, memory is out, or this actor's request_id is in use.  Waiters are
 * ordered by priority, then age.  MESSAGE_GONE when the semaphore is no more. */
void semaphore_acquire(struct actor_context *context, struct actor_ref semaphore, uint32_t request_id,
                       enum semaphore_priority priority);
/* Gives back one permit, or, if it is still waiting, takes the request back:
 * then MESSAGE_GONE answers request_id, and no GRANT comes after it.  A GRANT
 * that was on its way comes instead of GONE, and is void.  A release of what is
 * not there does nothing. */
void semaphore_release(struct actor_context *context, struct actor_ref semaphore, uint32_t request_id);
/* On the semaphore's own worker. */
void semaphore_stats_read(struct worker *worker, struct actor_ref semaphore, struct semaphore_stats *out);

#endif
