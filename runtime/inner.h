#ifndef RUNTIME_INNER_H
#define RUNTIME_INNER_H

/* What the files of the machine share among themselves: workers, slots, scopes
 * from the inside.  Drivers and actors do not include it. */

#include "runtime/actor.h"
#include "runtime/buffer.h"
#include "runtime/host.h"
#include "runtime/log.h"
#include "runtime/mailbox.h"
#include "runtime/reserve.h"
#include "runtime/slab.h"
#include "runtime/timers.h"
#include "runtime/worker.h"

#include <pthread.h>

enum inner_limits {
    ACTOR_BLOCK_SLOTS = SLAB_BLOCK_BYTES / 64, /* slots of a block; the first is its head */
    ACTOR_BLOCKS_MAX = ACTOR_SLOTS_MAX / ACTOR_BLOCK_SLOTS,
    WORKER_EVENTS = 1024, /* the last ones, for a dump */
};

/* Types that a worker takes for itself, and that no actor sees. */
enum inner_message {
    INNER_SPAWN = 24, /* body.pointer[0]: struct spawn */
    INNER_WATCH,      /* `from` wants to hear of the death of `to` */
    INNER_UNWATCH,
};

static inline bool inner_is(const struct message *message)
{
    return message->type >= INNER_SPAWN && message->type <= INNER_UNWATCH;
}

enum actor_flags {
    ACTOR_READY = 1,     /* on a ready list, or running */
    ACTOR_EXITING = 2,
    ACTOR_TIMER_DUE = 4,
    ACTOR_WOKEN = 8,
    ACTOR_LATER = 16,    /* woke itself: next turn */
    ACTOR_REFUSED = 32,  /* on a list of those to wake when there is room */
};

/* A place for a message in an actor's mailbox.  While it waits there `to` is
 * not needed, and holds the link. */
struct mail_slot {
    union {
        struct message message;
        struct {
            uint64_t head;
            struct mail_slot *next;
        } link;
    };
};

/* An actor, one cache line.  Slots lie in blocks that never move; the first
 * slot of a block is its head. */
struct actor_slot {
    struct timer timer;
    uint32_t generation; /* atomic, relaxed: other workers look whether a watcher lives */
    uint32_t ready_next : 24; /* index on a ready or free list; 0: the end */
    uint32_t turn : 8;        /* the last bits of the turn that `taken` counts in */
    uint32_t watchers;   /* index of the first watch; 0: none */
    uint16_t mail_count; /* data and requests waiting */
    uint8_t flags;
    uint8_t taken;       /* messages of that turn's batch */
    const struct actor_class *actor_class; /* NULL: free */
    struct scope *scope;
    void *state;
    struct mail_slot *mail; /* the newest, in a ring: its next is the oldest */
};

struct actor_block {
    uint32_t base; /* index of its first slot, which is this head */
};

struct index_list {
    uint32_t first, last;
};

struct watch {
    struct actor_ref watcher;
    uint32_t next;
    uint32_t count, prune_at; /* of the list, in its first record */
};

struct ref_list {
    struct actor_ref *refs;
    uint32_t count, capacity;
};

/* A spawn on its way to its worker. */
struct spawn {
    const struct actor_class *actor_class;
    struct scope *scope;
    struct message message;
};

struct overflow {
    struct overflow *next;
    struct message message;
};

/* What a worker keeps for each of the others that it sends to. */
struct outlet {
    struct lane *lane;          /* with many workers, made with the first message */
    struct overflow *overflow;  /* control beyond a full lane: the newest, in a ring */
    struct ref_list refused;    /* who met the lane full */
    /* Atomic.  Set by the sender that waits for room before its last look, and
     * cleared by the receiver after it made room: fences between both pair. */
    int blocked;
};

struct worker_event {
    uint64_t now_ns;
    const char *what;
    uint64_t a;
    const char *b;
};

struct worker {
    struct runtime *runtime;
    unsigned index;
    bool in_turn;
    bool laneless; /* mail waits for a lane, for which there was no memory */
    uint64_t now_ns, turn;
    struct driver *driver;
    struct buffer_pool *buffers;
    void *local;

    /* actor.c */
    struct slab *slab;
    struct actor_block **blocks; /* atomic entries: other workers look at generations */
    uint32_t block_count;
    struct index_list unused, ready, again;
    struct actor_slot *running;
    struct mail_slot *mail_free;
    struct reserve reserve; /* for control mail, here and to other workers */
    struct timers timers;
    struct watch *watches;
    uint32_t watch_count, watch_capacity, watch_free;
    struct ref_list refused;

    /* worker.c */
    struct outlet *outlets;          /* one for each worker */
    uint64_t wake_mask;              /* workers that mail was pushed to since the last look */
    struct mail_slot **held;         /* of each inbound lane: taken, and waiting for its actor's room */
    struct mail_link *foreign_first; /* taken from `foreign`, not yet delivered */
    uint64_t last_work_ns;
    unsigned spin_credit, spin_skipped;
    struct worker_stats stats;
    struct worker_event *events;
    uint64_t event_count;
    struct host host; /* of a runtime without threads */

    /* Written by other threads. */
    struct lane **inbound __attribute__((aligned(64))); /* of each worker, atomic entries */
    struct mail_stack foreign;                          /* from outside the workers */
    /* Atomic.  Stored by the worker before its last look at its queues, and read
     * by a sender after its push: fences between both pair, so that one of the
     * two sees the other. */
    int sleeping __attribute__((aligned(64)));

    /* runtime.c */
    pthread_t thread __attribute__((aligned(64)));
    bool started;
    int error;
    char error_text[160];
};

struct foreign_slot {
    struct message message;
    struct mail_link link;
    bool heap;
};

struct runtime {
    struct runtime_config config;
    uint64_t spin_ns; /* atomic */
    bool may_spin;
    unsigned worker_count;
    struct worker **workers;
    struct foreign_slot *foreign_slots;
    struct mail_stack foreign_free;
    uint32_t foreign_fresh; /* atomic: slots from here on were never used */
    int64_t foreign_used;   /* atomic: credits lent */
    int stopping;           /* atomic */
    int64_t scopes;         /* atomic */
    struct log *log;         /* made with the first sink: who has a target sees it */
    struct offload *offload; /* made with the first job: who has a job sees it */
    pthread_mutex_t lock;    /* for making these two, and for what follows */
    pthread_cond_t changed;
    unsigned threads, threads_ready, threads_ended;
    bool go, woken;
    char fallback[160];      /* why epoll was taken; said once */
};

struct scope_counters {
    int64_t values[SCOPE_COUNTERS_MAX];
} __attribute__((aligned(64)));

struct scope {
    struct runtime *runtime;
    void *owner;
    char *prefix;
    int64_t live;            /* atomic */
    int64_t dropped;         /* atomic */
    int log_level;           /* atomic; -1: nothing is */
    struct log_target *log;  /* atomic */
    struct scope_counters *counters; /* of each worker, and of the threads outside */
};

_Static_assert(sizeof(struct mail_slot) == 64, "mail costs a cache line");
_Static_assert(sizeof(struct overflow) <= RESERVE_UNIT_BYTES, "both fit a unit of the reserve");
_Static_assert(offsetof(struct message, to) == 8, "the link lies over `to`");
_Static_assert(sizeof(struct actor_slot) == 64, "a slot is a cache line");
_Static_assert(ACTOR_SLOTS_MAX <= 1 << 24, "an index fits `ready_next`");

/* ---- actor.c */

int actors_init(struct worker *worker);
void actors_fini(struct worker *worker);
/* NULL when it is dead. */
struct actor_slot *actor_find(struct worker *worker, struct actor_ref ref);
/* NULL when memory is out, and the reserve is down to `kept` units. */
struct mail_slot *mail_slot_new(struct worker *worker, uint32_t kept);
void mail_slot_free(struct worker *worker, struct mail_slot *slot);
/* To an actor of this worker: 0, or P2P_ERR_CALL_FULL, if it may be refused.  Copies. */
int actor_deliver(struct worker *worker, struct message *message);
/* Mail that another worker has admitted, with its slot: false when its actor
 * has no room for it now. */
bool actor_accept(struct worker *worker, struct mail_slot *slot);
/* The end of a message that nobody gets. */
void actor_bury(struct worker *worker, struct scope *scope, struct message *message);
/* Handles what is meant for the worker itself: inner_is(). */
void actor_inner(struct worker *worker, struct message *message);
/* Of any worker.  A dead generation never comes back, so a stale look only takes
 * the dead for living. */
bool actor_lives(const struct worker *home, struct actor_ref ref);
void actor_fire_timers(struct worker *worker);
/* Runs the ready actors; how many visits that were. */
unsigned actor_run(struct worker *worker);
/* Ends a turn's batches: those who had theirs come after those who did not. */
void actor_rearrange(struct worker *worker);
void ref_list_wake(struct worker *worker, struct ref_list *list);

/* ---- watch.c */

/* `target` is of this worker, or dead. */
void watch_add(struct worker *worker, struct actor_ref target, struct actor_ref watcher);
void watch_remove(struct worker *worker, struct actor_ref target, struct actor_ref watcher);
/* Tells all watchers on the list, and frees it. */
void watch_tell(struct worker *worker, uint32_t first, struct actor_ref dead);

/* ---- worker.c */

struct worker *worker_new(struct runtime *runtime, unsigned index);
/* With few workers, so that none of their mail ever waits for memory; when all are there.
 * 0 or P2P_ERR_CALL_NOMEM. */
int worker_make_lanes(struct worker *worker);
void worker_free(struct worker *worker);
/* To any worker, or to nobody.  0, or P2P_ERR_CALL_FULL. */
int worker_send(struct worker *worker, struct message *message);
/* As far as inbound mail goes; after all have stopped. */
void worker_bury_mail(struct worker *worker);
/* Any thread: wakes it if it sleeps.  True when it had to. */
bool worker_rouse(struct worker *worker);
/* Wakes those of the workers that mail was pushed to and that sleep. */
void worker_flush_wakes(struct worker *worker);
void worker_note(struct worker *worker, const char *what, uint64_t a, const char *b);
/* Makes it the current worker of this thread (NULL: none); returns who was. */
struct worker *worker_enter(struct worker *worker);

/* ---- runtime.c */

void runtime_foreign_return(struct runtime *runtime, struct foreign_slot *slot);

/* ---- log.c, offload.c */

void log_free(struct log *log);
/* The last lines of a scope are written, and its sink is not called again. */
void log_scope_end(struct scope *scope);
/* Joins its threads; what they posted may still be on its way. */
void offload_stop(struct offload *offload);
void offload_free(struct offload *offload);
/* The job of a MESSAGE_OFFLOADED that nobody gets, or that was delivered. */
void offload_settle(struct worker *worker, struct message *message, bool delivered);

#endif
