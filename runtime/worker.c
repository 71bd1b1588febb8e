#include "runtime/inner.h"
#include "runtime/probe.h"

#include "chorus/p2p.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPIN_CREDIT = 8,     /* so many in a row that bring nothing, and it is off */
    SPIN_TRIES = 2,      /* then it is tried again: two, for who answers may be asleep at the first */
    SPIN_SKIP = 16,      /* after so many sleeps */
    SPIN_YIELD_NS = 4000, /* of spinning, after which others get the CPU: a system call each time */
    /* Of the reserve of mail; what comes from outside waits there meanwhile. */
    INBOUND_RESERVE_KEPT = RESERVE_UNITS / 2,
    LANE_RETRY_NS = 10000000, /* when there was no memory for one */
    LANES_READY_WORKERS_MAX = 8, /* so many have all lanes from the beginning: 256 KiB each, not touched before use */
};

_Static_assert((int)WORKER_LANE_MESSAGES == (int)LANE_SLOTS, "one bound, two names");
_Static_assert(WORKER_LANE_CONTROL_RESERVE < WORKER_LANE_MESSAGES, "data has room too");

/* The worker whose turn runs on this thread. */
static __thread struct worker *current;

/* ---- what a worker is -------------------------------------------------- */

struct worker *worker_new(struct runtime *runtime, unsigned index)
{
    unsigned count = runtime->worker_count;
    struct worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) / 64 * 64);
    if (!worker)
        return NULL;
    memset(worker, 0, sizeof(*worker));
    worker->runtime = runtime;
    worker->index = index;
    worker->spin_credit = SPIN_CREDIT;
    host_init(&worker->host);
    worker->outlets = calloc(count, sizeof(*worker->outlets));
    worker->inbound = calloc(count, sizeof(*worker->inbound));
    worker->held = calloc(count, sizeof(*worker->held));
    worker->events = calloc(WORKER_EVENTS, sizeof(*worker->events));
    if (actors_init(worker) || !worker->outlets || !worker->inbound || !worker->held || !worker->events) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

void worker_free(struct worker *worker)
{
    for (unsigned i = 0; worker->outlets && i < worker->runtime->worker_count; i++) {
        lane_free(worker->outlets[i].lane);
        free(worker->outlets[i].refused.refs);
    }
    actors_fini(worker);
    host_fini(&worker->host);
    free(worker->outlets);
    free(worker->inbound);
    free(worker->held);
    free(worker->events);
    free(worker);
}

struct worker *worker_current(void)
{
    return current;
}

struct worker *worker_enter(struct worker *worker)
{
    struct worker *previous = current;
    current = worker;
    return previous;
}

unsigned worker_index(const struct worker *worker)
{
    return worker->index;
}

struct runtime *worker_runtime(struct worker *worker)
{
    return worker->runtime;
}

struct driver *worker_driver(struct worker *worker)
{
    return worker->driver;
}

struct buffer_pool *worker_buffers(struct worker *worker)
{
    return worker->buffers;
}

void *worker_local(struct worker *worker)
{
    return worker->local;
}

uint64_t worker_now_ns(struct worker *worker)
{
    return worker->now_ns;
}

uint64_t worker_turn_number(const struct worker *worker)
{
    return worker->turn;
}

void worker_stats_read(const struct worker *worker, struct worker_stats *out)
{
    *out = worker->stats;
}

void worker_note(struct worker *worker, const char *what, uint64_t a, const char *b)
{
    worker->events[worker->event_count++ % WORKER_EVENTS] = (struct worker_event){worker->now_ns, what, a, b};
}

/* ---- sleep and wake ---------------------------------------------------- */

bool worker_rouse(struct worker *worker)
{
    if (!__atomic_load_n(&worker->sleeping, __ATOMIC_RELAXED))
        return false;
    if (!__atomic_exchange_n(&worker->sleeping, 0, __ATOMIC_SEQ_CST))
        return false;
    driver_wake(worker->driver);
    return true;
}

void worker_flush_wakes(struct worker *worker)
{
    if (!worker->wake_mask)
        return;
    mailbox_fence(); /* pairs with the one in fall_asleep() */
    while (worker->wake_mask) {
        unsigned target = (unsigned)__builtin_ctzll(worker->wake_mask);
        worker->wake_mask &= worker->wake_mask - 1;
        if (!worker_rouse(worker->runtime->workers[target]))
            continue;
        worker->stats.woken++;
        worker_note(worker, "wake", target, "");
        PROBE(wake, worker->index, target);
    }
}

/* ---- mail to other workers --------------------------------------------- */

static bool has_lane(struct worker *worker, unsigned target)
{
    struct outlet *outlet = &worker->outlets[target];
    if (outlet->lane)
        return true;
    outlet->lane = lane_new();
    if (!outlet->lane) {
        worker->laneless = true;
        return false;
    }
    /* Release pairs with the acquire of inbound(). */
    struct worker *receiver = worker->runtime->workers[target];
    __atomic_store_n(&receiver->inbound[worker->index], outlet->lane, __ATOMIC_RELEASE);
    return true;
}

int worker_make_lanes(struct worker *worker)
{
    unsigned count = worker->runtime->worker_count;
    for (unsigned i = 0; i < count && count <= LANES_READY_WORKERS_MAX; i++)
        if (i != worker->index && !has_lane(worker, i))
            return P2P_ERR_CALL_NOMEM;
    return 0;
}

static void overflow_append(struct worker *worker, struct outlet *outlet, const struct message *message)
{
    struct overflow *overflow = slab_take(worker->slab, sizeof(*overflow));
    if (!overflow)
        overflow = reserve_take(&worker->reserve, 0);
    assert(overflow); /* thousands of them, and no memory: there is no way to go on */
    overflow->message = *message;
    overflow->next = outlet->overflow ? outlet->overflow->next : overflow;
    if (outlet->overflow)
        outlet->overflow->next = overflow;
    outlet->overflow = overflow;
    worker->stats.overflowed++;
}

static int send_away(struct worker *worker, unsigned target, struct message *message)
{
    struct outlet *outlet = &worker->outlets[target];
    bool laned = has_lane(worker, target);
    if (message->kind != MESSAGE_CONTROL) {
        bool room = laned && !outlet->overflow
                    && lane_size(outlet->lane) < WORKER_LANE_MESSAGES - WORKER_LANE_CONTROL_RESERVE;
        if (!room) {
            worker->stats.refused++;
            return P2P_ERR_CALL_FULL;
        }
    }
    if (!laned || outlet->overflow || !lane_push(outlet->lane, message))
        overflow_append(worker, outlet, message);
    worker->wake_mask |= 1ull << target;
    if (!worker->in_turn)
        worker_flush_wakes(worker);
    return 0;
}

int worker_send(struct worker *worker, struct message *message)
{
    unsigned target = actor_ref_worker(message->to);
    if (target >= worker->runtime->worker_count || actor_ref_is_none(message->to)) {
        actor_bury(worker, NULL, message);
        return 0;
    }
    if (target != worker->index)
        return send_away(worker, target, message);
    if (!inner_is(message))
        return actor_deliver(worker, message);
    actor_inner(worker, message);
    return 0;
}

void worker_deliver(struct worker *worker, struct message *message)
{
    message->kind = MESSAGE_CONTROL;
    int error = worker_send(worker, message);
    assert(!error);
}

static void overflow_flush(struct worker *worker, unsigned target)
{
    struct outlet *outlet = &worker->outlets[target];
    while (outlet->overflow && has_lane(worker, target)) {
        struct overflow *oldest = outlet->overflow->next;
        if (!lane_push(outlet->lane, &oldest->message))
            return;
        worker->wake_mask |= 1ull << target;
        if (oldest == outlet->overflow)
            outlet->overflow = NULL;
        else
            outlet->overflow->next = oldest->next;
        if (!reserve_give(&worker->reserve, oldest))
            slab_give(worker->slab, oldest, sizeof(*oldest));
    }
}

/* Half of what data may use: so that those refused are not woken for one slot. */
static bool has_credit(const struct outlet *outlet)
{
    return !outlet->overflow
           && lane_size(outlet->lane) < (WORKER_LANE_MESSAGES - WORKER_LANE_CONTROL_RESERVE) / 2;
}

static void outlets_flush(struct worker *worker)
{
    worker->laneless = false;
    for (unsigned i = 0; i < worker->runtime->worker_count; i++) {
        struct outlet *outlet = &worker->outlets[i];
        if (outlet->overflow)
            overflow_flush(worker, i);
        if (outlet->refused.count && (!outlet->lane || has_credit(outlet)))
            ref_list_wake(worker, &outlet->refused);
    }
}

/* Before it sleeps: asks the receivers of full lanes to wake it when they have
 * made room, and looks once more. */
static void outlets_await_room(struct worker *worker)
{
    bool waiting = false;
    for (unsigned i = 0; i < worker->runtime->worker_count; i++) {
        struct outlet *outlet = &worker->outlets[i];
        if (!outlet->overflow && !outlet->refused.count)
            continue;
        /* Release: who sees it sees that we sleep.  Pairs with the acquire there. */
        __atomic_store_n(&outlet->blocked, 1, __ATOMIC_RELEASE);
        waiting = true;
    }
    if (!waiting)
        return;
    mailbox_fence(); /* pairs with the one in made_room() */
    outlets_flush(worker);
    worker_flush_wakes(worker);
}

/* ---- mail from other workers ------------------------------------------- */

static struct lane *inbound(struct worker *worker, unsigned from)
{
    return __atomic_load_n(&worker->inbound[from], __ATOMIC_ACQUIRE);
}

static bool admit(struct worker *worker, struct mail_slot *slot)
{
    if (!inner_is(&slot->message))
        return actor_accept(worker, slot);
    actor_inner(worker, &slot->message);
    mail_slot_free(worker, slot);
    return true;
}

/* Room was made in the lane of `from`: if it sleeps for it, it is woken. */
static void made_room(struct worker *worker, unsigned from)
{
    struct worker *sender = worker->runtime->workers[from];
    int *blocked = &sender->outlets[worker->index].blocked;
    mailbox_fence(); /* pairs with the one in outlets_await_room() */
    if (__atomic_load_n(blocked, __ATOMIC_RELAXED) && __atomic_exchange_n(blocked, 0, __ATOMIC_ACQUIRE))
        worker_rouse(sender);
}

static void collect_lane(struct worker *worker, unsigned from, struct lane *lane)
{
    if (worker->held[from]) {
        if (!admit(worker, worker->held[from]))
            return;
        worker->held[from] = NULL;
    }
    unsigned taken = 0;
    for (; taken < WORKER_LANE_MESSAGES; taken++) {
        struct mail_slot *slot = mail_slot_new(worker, INBOUND_RESERVE_KEPT);
        if (!slot)
            break;
        if (!lane_pop(lane, &slot->message)) {
            mail_slot_free(worker, slot);
            break;
        }
        if (!admit(worker, slot)) {
            worker->held[from] = slot;
            break;
        }
    }
    if (taken)
        made_room(worker, from);
}

static void collect_foreign(struct worker *worker)
{
    if (!worker->foreign_first)
        worker->foreign_first = mail_stack_take(&worker->foreign);
    while (worker->foreign_first) {
        struct foreign_slot *foreign =
            (struct foreign_slot *)((char *)worker->foreign_first - offsetof(struct foreign_slot, link));
        struct mail_slot *slot = mail_slot_new(worker, INBOUND_RESERVE_KEPT);
        if (!slot)
            return;
        slot->message = foreign->message;
        if (!admit(worker, slot)) {
            mail_slot_free(worker, slot);
            return;
        }
        worker->foreign_first = foreign->link.next;
        runtime_foreign_return(worker->runtime, foreign);
    }
}

static void collect(struct worker *worker)
{
    for (unsigned i = 0; i < worker->runtime->worker_count; i++) {
        struct lane *lane = inbound(worker, i);
        if (lane)
            collect_lane(worker, i, lane);
    }
    collect_foreign(worker);
}

static bool has_inbound(struct worker *worker)
{
    for (unsigned i = 0; i < worker->runtime->worker_count; i++) {
        struct lane *lane = inbound(worker, i);
        if (worker->held[i] || (lane && lane_size(lane)))
            return true;
    }
    return worker->foreign_first || !mail_stack_is_empty(&worker->foreign);
}

void worker_bury_mail(struct worker *worker)
{
    for (unsigned i = 0; i < worker->runtime->worker_count; i++)
        overflow_flush(worker, i);
    collect(worker);
}

/* ---- a turn ------------------------------------------------------------ */

/* True when it may sleep: from then on whoever sends to it wakes it. */
static bool fall_asleep(struct worker *worker)
{
    __atomic_store_n(&worker->sleeping, 1, __ATOMIC_SEQ_CST);
    mailbox_fence(); /* pairs with the ones in worker_flush_wakes() and runtime_post() */
    outlets_await_room(worker);
    bool stopping = __atomic_load_n(&worker->runtime->stopping, __ATOMIC_ACQUIRE);
    if (!stopping && !has_inbound(worker) && !worker->ready.first)
        return true;
    __atomic_store_n(&worker->sleeping, 0, __ATOMIC_RELAXED);
    return false;
}

static void spin_paid(struct worker *worker, bool paid)
{
    worker->stats.spins_paid += paid;
    worker->spin_credit = paid ? SPIN_CREDIT : worker->spin_credit - 1;
}

/* Off while it does not pay; then tried again now and then. */
static bool may_spin(struct worker *worker, uint64_t now_ns)
{
    if (runtime_spin(worker->runtime) == 0 || now_ns - worker->last_work_ns > WORKER_SPIN_AFTER_NS)
        return false;
    if (worker->spin_credit > 0)
        return true;
    if (++worker->spin_skipped % SPIN_SKIP)
        return false;
    worker->spin_credit = SPIN_TRIES;
    return true;
}

/* So short a sleep would have been a spin that paid. */
static void slept(struct worker *worker, uint64_t since_ns)
{
    if (driver_now_ns(worker->driver) - since_ns < runtime_spin(worker->runtime))
        worker->spin_credit = SPIN_CREDIT;
}

/* Somebody else did something: no send of our own, which is mostly done at once,
 * and says nothing of when the next message will come. */
static bool has_arrived(struct worker *worker, uint64_t before)
{
    return driver_arrived(worker->driver) != before || has_inbound(worker);
}

/* Waking a CPU that sleeps costs tens of microseconds: looks around for a
 * moment before.  True when something came. */
static bool spin(struct worker *worker, uint64_t deadline_ns)
{
    uint64_t now_ns = driver_now_ns(worker->driver);
    if (!may_spin(worker, now_ns))
        return false;
    worker->stats.spins++;
    uint64_t end_ns = now_ns + runtime_spin(worker->runtime);
    if (end_ns > deadline_ns)
        end_ns = deadline_ns;
    uint64_t yield_ns = now_ns + SPIN_YIELD_NS;
    uint64_t arrived = driver_arrived(worker->driver);
    bool came = false;
    while (now_ns < end_ns && !came) {
        came = driver_turn(worker->driver, 0) > 0 || has_inbound(worker) || worker->ready.first;
        now_ns = driver_now_ns(worker->driver);
        if (came || now_ns < yield_ns)
            continue;
        sched_yield(); /* to whoever shares the CPU */
        now_ns = driver_now_ns(worker->driver);
        yield_ns = now_ns + SPIN_YIELD_NS;
    }
    if (!came || has_arrived(worker, arrived))
        spin_paid(worker, came);
    return came;
}

static void wait(struct worker *worker, uint64_t deadline_ns)
{
    bool busy = deadline_ns <= worker->now_ns || worker->ready.first;
    if (busy || spin(worker, deadline_ns) || !fall_asleep(worker))
        deadline_ns = 0;
    if (!deadline_ns) {
        driver_turn(worker->driver, 0);
        return;
    }
    uint64_t since_ns = driver_now_ns(worker->driver), arrived = driver_arrived(worker->driver);
    worker->stats.sleeps++;
    driver_turn(worker->driver, deadline_ns);
    __atomic_store_n(&worker->sleeping, 0, __ATOMIC_RELAXED);
    if (has_arrived(worker, arrived))
        slept(worker, since_ns);
}

/* When something is to be done though nobody sends mail and nothing completes. */
static uint64_t next_due(const struct worker *worker)
{
    uint64_t next_ns = timers_next(&worker->timers), trim_ns = buffer_pool_deadline(worker->buffers);
    if (worker->laneless && worker->now_ns + LANE_RETRY_NS < next_ns)
        next_ns = worker->now_ns + LANE_RETRY_NS;
    return next_ns < trim_ns ? next_ns : trim_ns;
}

/* Between two turns that somebody else calls it counts as asleep: senders make
 * its descriptor readable, and so do its timers. */
static bool hosted_has_more(struct worker *worker)
{
    uint64_t due_ns = driver_due(worker->driver), next_ns = next_due(worker);
    if (due_ns == 0 || !fall_asleep(worker))
        return true;
    host_due(&worker->host, next_ns < due_ns ? next_ns : due_ns, worker->now_ns);
    return false;
}

static bool has_more(struct worker *worker)
{
    if (worker->ready.first || has_inbound(worker))
        return true;
    return !worker->runtime->config.threads && hosted_has_more(worker);
}

/* A host that turns the worker itself may be waiting for just what this turn
 * did: it is not kept then. */
static uint64_t wait_deadline(const struct worker *worker, unsigned visits, uint64_t deadline_ns)
{
    const struct runtime_config *config = &worker->runtime->config;
    bool hosted = !config->threads && config->driver != DRIVER_SIM;
    if (worker->refused.count || (hosted && visits))
        return 0;
    uint64_t next_ns = next_due(worker);
    return next_ns < deadline_ns ? next_ns : deadline_ns;
}

bool worker_turn(struct worker *worker, uint64_t deadline_ns)
{
    struct worker *previous = worker_enter(worker);
    assert(!worker->in_turn);
    worker->in_turn = true;
    __atomic_store_n(&worker->sleeping, 0, __ATOMIC_RELAXED);
    if (!worker->runtime->config.threads)
        buffer_pool_own(worker->buffers);
    worker->turn++;
    worker->stats.turns++;
    worker->now_ns = driver_now_ns(worker->driver);
    PROBE(turn, worker->index, worker->turn);

    collect(worker);
    ref_list_wake(worker, &worker->refused);
    actor_fire_timers(worker);
    unsigned visits = actor_run(worker);
    if (visits) {
        worker->last_work_ns = worker->now_ns;
        worker_note(worker, "turn", worker->turn, "");
    }
    actor_rearrange(worker);
    outlets_flush(worker);
    worker_flush_wakes(worker);
    buffer_pool_collect(worker->buffers, worker->now_ns);

    wait(worker, wait_deadline(worker, visits, deadline_ns));
    worker_flush_wakes(worker);
    bool more = has_more(worker);
    if (!worker->runtime->config.threads)
        buffer_pool_disown(worker->buffers);
    worker->in_turn = false;
    worker_enter(previous);
    return more;
}
