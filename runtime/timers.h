#ifndef RUNTIME_TIMERS_H
#define RUNTIME_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The deadlines of a worker: a heap of four branches.  Moving a deadline later
 * is a store: the timer keeps its old place, and is put where it belongs when
 * that comes up.  Of equal deadlines the one armed first comes first (a timer
 * moved later counts as armed when it is put in its new place), so that a
 * replay is exact. */

#define TIMER_NEVER UINT64_MAX

/* One timer, inside what it belongs to.  timer_init() first. */
struct timer {
    uint64_t wanted_ns; /* TIMER_NEVER: not armed */
    uint32_t place;     /* in the heap, from 1; 0: not there */
    uint32_t order;     /* of arming; wraps, and compares so */
};

struct timer_entry {
    uint64_t deadline_ns;
    struct timer *timer;
};

struct timers {
    struct timer_entry *heap; /* from 1 */
    uint32_t count, capacity, reserved;
    uint32_t order;
};

static inline void timer_init(struct timer *timer)
{
    *timer = (struct timer){TIMER_NEVER, 0, 0};
}

void timers_init(struct timers *timers);
void timers_fini(struct timers *timers);
/* Room for one more timer, so that arming cannot fail; given back with
 * timers_release(), which disarms.  0 or P2P_ERR_CALL_NOMEM. */
int timers_reserve(struct timers *timers);
void timers_release(struct timers *timers, struct timer *timer);
/* Sets, moves, or with TIMER_NEVER takes away. */
void timers_arm(struct timers *timers, struct timer *timer, uint64_t deadline_ns);
/* The next timer that is due, disarmed; NULL when there is none. */
struct timer *timers_due(struct timers *timers, uint64_t now_ns);
/* When to look again: at or before the first deadline. */
uint64_t timers_next(const struct timers *timers);

#endif
