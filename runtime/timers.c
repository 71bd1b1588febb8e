#include "runtime/timers.h"

#include "chorus/p2p.h"

#include <assert.h>
#include <stdlib.h>

enum { BRANCHES = 4, FIRST_CAPACITY = 64 };

void timers_init(struct timers *timers)
{
    *timers = (struct timers){0};
}

void timers_fini(struct timers *timers)
{
    free(timers->heap);
    timers_init(timers);
}

int timers_reserve(struct timers *timers)
{
    if (timers->reserved == timers->capacity) {
        uint32_t capacity = timers->capacity ? timers->capacity * 2 : FIRST_CAPACITY;
        struct timer_entry *heap = realloc(timers->heap, (capacity + 1) * sizeof(*heap));
        if (!heap)
            return P2P_ERR_CALL_NOMEM;
        timers->heap = heap;
        timers->capacity = capacity;
    }
    timers->reserved++;
    return 0;
}

static bool before(const struct timer_entry *a, const struct timer_entry *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return (int32_t)(a->timer->order - b->timer->order) < 0;
}

static void put(struct timers *timers, uint32_t place, struct timer_entry entry)
{
    timers->heap[place] = entry;
    entry.timer->place = place;
}

/* Places run from 1; the children of p are 4p - 2 to 4p + 1. */
static uint32_t parent_of(uint32_t place)
{
    return (place + 2) / BRANCHES;
}

static void sift_up(struct timers *timers, uint32_t place, struct timer_entry entry)
{
    while (place > 1 && before(&entry, &timers->heap[parent_of(place)])) {
        put(timers, place, timers->heap[parent_of(place)]);
        place = parent_of(place);
    }
    put(timers, place, entry);
}

static uint32_t first_child(const struct timers *timers, uint32_t place)
{
    uint64_t child = (uint64_t)place * BRANCHES - 2;
    if (child > timers->count)
        return 0;
    uint32_t first = (uint32_t)child;
    for (uint32_t i = first + 1; i < first + BRANCHES && i <= timers->count; i++)
        if (before(&timers->heap[i], &timers->heap[first]))
            first = i;
    return first;
}

static void sift_down(struct timers *timers, uint32_t place, struct timer_entry entry)
{
    uint32_t child;
    while ((child = first_child(timers, place)) && before(&timers->heap[child], &entry)) {
        put(timers, place, timers->heap[child]);
        place = child;
    }
    put(timers, place, entry);
}

static void replace(struct timers *timers, uint32_t place, struct timer_entry entry)
{
    if (place > 1 && before(&entry, &timers->heap[parent_of(place)]))
        sift_up(timers, place, entry);
    else
        sift_down(timers, place, entry);
}

static void take_out(struct timers *timers, struct timer *timer)
{
    uint32_t place = timer->place;
    timer->place = 0;
    struct timer_entry last = timers->heap[timers->count--];
    if (last.timer != timer)
        replace(timers, place, last);
}

void timers_release(struct timers *timers, struct timer *timer)
{
    if (timer->place)
        take_out(timers, timer);
    timer->wanted_ns = TIMER_NEVER;
    assert(timers->reserved > 0);
    timers->reserved--;
}

void timers_arm(struct timers *timers, struct timer *timer, uint64_t deadline_ns)
{
    timer->wanted_ns = deadline_ns;
    if (timer->place) {
        if (deadline_ns >= timers->heap[timer->place].deadline_ns)
            return;
        timer->order = timers->order++;
        sift_up(timers, timer->place, (struct timer_entry){deadline_ns, timer});
    } else if (deadline_ns != TIMER_NEVER) {
        assert(timers->count < timers->reserved);
        timer->order = timers->order++;
        sift_up(timers, ++timers->count, (struct timer_entry){deadline_ns, timer});
    }
}

struct timer *timers_due(struct timers *timers, uint64_t now_ns)
{
    while (timers->count && timers->heap[1].deadline_ns <= now_ns) {
        struct timer *timer = timers->heap[1].timer;
        uint64_t wanted_ns = timer->wanted_ns;
        if (wanted_ns == timers->heap[1].deadline_ns || wanted_ns == TIMER_NEVER) {
            take_out(timers, timer);
            timer->wanted_ns = TIMER_NEVER;
            if (wanted_ns != TIMER_NEVER)
                return timer;
        } else { /* it was moved later: now it goes there */
            timer->order = timers->order++;
            sift_down(timers, 1, (struct timer_entry){wanted_ns, timer});
        }
    }
    return NULL;
}

uint64_t timers_next(const struct timers *timers)
{
    return timers->count ? timers->heap[1].deadline_ns : TIMER_NEVER;
}
