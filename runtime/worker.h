#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include "runtime/driver.h"
#include "runtime/message.h"

/* A runtime is a set of workers; a worker is a thread that loops over
 * worker_turn(), or, in a runtime without threads, whoever calls it.  Threads
 * are named p2p-worker-N and block all signals.  A child after fork() has none
 * of them: there a runtime is inert, and not to be touched. */

enum worker_limits {
    WORKER_LANE_MESSAGES = 4096,         /* of each ordered pair of workers: the batches of 64 actors */
    WORKER_LANE_CONTROL_RESERVE = 1024,  /* of them kept for messages that cannot fail: one for three of the others */
    WORKER_FOREIGN_MESSAGES_MAX = 65536, /* credits of the threads outside, per runtime: 16 lanes' worth */
    /* What waking a sleeping CPU costs (30 to 47 us on virtual machines): so a
     * spin in vain costs no more than the sleep it was to save. */
    WORKER_SPIN_NS_DEFAULT = 30000,
    WORKER_SPIN_NS_MAX = 1000000,
    WORKER_SPIN_AFTER_NS = 1000000,      /* only after work so recent */
    WORKER_TURN_NS_MAX = 2000000, /* then the driver is entered; who was not served goes first next time */
};

struct runtime;
struct worker;
struct scope;
struct buffer_pool;
struct aead_context;

struct runtime_config {
    unsigned workers;         /* 0: the CPUs this process may use */
    bool threads;             /* false: one worker, turned by runtime_turn() */
    enum driver_kind driver;
    void *sim;                /* the world, for DRIVER_SIM */
    uint64_t pool_bytes_max;  /* per worker; 0: the default */
    bool pin;                 /* workers to CPUs */
    uint64_t spin_ns;         /* at most, before sleeping; 0: not at all.  See runtime_set_spin() */
    /* What the actors keep per worker (contexts, pools).  Called on the
     * worker's own thread before its first and after its last turn; the pointer
     * is what worker_local() returns. */
    void *(*local_new)(struct worker *worker, void *argument);
    void (*local_free)(struct worker *worker, void *local);
    void *local_argument;
    /* Where runtime_new() writes a sentence when it fails; may be NULL. */
    char *error_text;
    size_t error_text_bytes;
};

/* Full queues.  A lane takes data and requests until WORKER_LANE_CONTROL_RESERVE
 * slots are left; control goes on, and beyond a full lane into a list of the
 * sender's, in order.  What a lane holds for an actor whose mailbox is full
 * stays in the lane, with all behind it, until that actor has taken mail: which
 * it does every turn.  So an actor never holds more than its mail_max, a lane
 * never more than its slots, and what was admitted is delivered. */

void runtime_config_init(struct runtime_config *config);
/* 0, P2P_ERR_NODE_SYSTEM (no driver, no threads), P2P_ERR_NODE_CONFIG (see
 * below) or P2P_ERR_CALL_NOMEM.  The environment variable
 * CHORUS_P2P_DRIVER=uring|epoll|auto goes before config->driver (but not before
 * DRIVER_SIM); another value is an error.  Without threads the driver belongs to
 * the calling thread. */
int runtime_new(struct runtime **out, const struct runtime_config *config);
/* All scopes must be closed.  Stops and joins the threads.  A log sink that
 * hangs is waited for LOG_STOP_NS_MAX at most. */
void runtime_free(struct runtime *runtime);
/* "io_uring", "epoll" or "sim". */
const char *runtime_driver_name(struct runtime *runtime);
/* Writes the last WORKER_EVENTS of each worker of the runtime whose worker is
 * current on this thread.  Async-signal-safe: for a handler of SIGABRT. */
void runtime_dump_events(int descriptor);
/* False when runtime_turn() is what turns it. */
bool runtime_threaded(const struct runtime *runtime);
/* At most WORKER_SPIN_NS_MAX.  Any thread; stays 0 where whoever is waited for
 * would have no CPU, and in a simulation. */
void runtime_set_spin(struct runtime *runtime, uint64_t spin_ns);
uint64_t runtime_spin(const struct runtime *runtime);
unsigned runtime_workers(const struct runtime *runtime);
struct worker *runtime_worker(struct runtime *runtime, unsigned index);
/* A runtime without threads: one turn on the calling thread, which waits at most
 * until `deadline_ns`, and not at all when there was something to do.  Returns
 * true when more work is due at once.  In a simulated world all workers of the
 * world have a turn. */
bool runtime_turn(struct runtime *runtime, uint64_t deadline_ns);
/* A runtime without threads, from any thread: a descriptor that is readable when
 * a turn has something to do, its timers included, the same each time.  It
 * belongs to the runtime.  -1 when there is none. */
int runtime_descriptor(struct runtime *runtime);
/* From any thread: sends a copy of *message.  0, or P2P_ERR_CALL_FULL when the
 * credits are used up, of which an eighth is kept for CONTROL (only DATA and
 * REQUEST; the buffer then stays the caller's).  Control beyond all credits
 * takes its slot from the heap.  In order for each posting thread. */
int runtime_post(struct runtime *runtime, struct message *message);
struct actor_class;
/* From any thread: spawns on a worker, as actor_spawn_on.  Answers to `from` =
 * nobody are dropped.  0 or P2P_ERR_CALL_NOMEM; the buffer is given away. */
int runtime_spawn(struct runtime *runtime, unsigned worker_index, const struct actor_class *actor_class,
                  struct scope *scope, struct message *message);

/* Mail, ready actors (each one batch), timers, driver; waits at most until
 * `deadline_ns` if nothing is ready.  The simulator calls it too. */
bool worker_turn(struct worker *worker, uint64_t deadline_ns);
/* The worker whose turn is running on this thread, or NULL. */
struct worker *worker_current(void);
unsigned worker_index(const struct worker *worker);
struct runtime *worker_runtime(struct worker *worker);
struct driver *worker_driver(struct worker *worker);
struct buffer_pool *worker_buffers(struct worker *worker);
void *worker_local(struct worker *worker);
uint64_t worker_now_ns(struct worker *worker); /* of this turn */
uint64_t worker_turn_number(const struct worker *worker);
/* For drivers: a completion to be delivered to message->to.  When that is dead
 * its buffer is unreffed, and a socket that came with MESSAGE_IO_ACCEPTED is
 * closed. */
void worker_deliver(struct worker *worker, struct message *message);

struct worker_stats {
    uint64_t turns;
    uint64_t sleeps;
    uint64_t spins, spins_paid;
    uint64_t visits;     /* batches of actors */
    uint64_t messages;   /* delivered to a handler */
    uint64_t dropped;    /* to the dead */
    uint64_t refused;    /* P2P_ERR_CALL_FULL */
    uint64_t overflowed; /* control that met a full lane */
    uint64_t woken;      /* workers that this one had to wake */
};

/* On the worker's own thread, or when it rests. */
void worker_stats_read(const struct worker *worker, struct worker_stats *out);

/* A node's share of a runtime.  Live objects are counted here, so that closing
 * one node can be awaited while others go on. */
struct scope_stats {
    uint64_t actors_live;
    uint64_t messages_dropped; /* waited when their actor died */
};

/* `log_prefix` ("" or NULL: none) is copied, and begins the fields of each of
 * its lines.  NULL when memory is out. */
struct scope *scope_new(struct runtime *runtime, const char *log_prefix);
/* Its actors must be gone: asserts so.  Waits for its lines to be written,
 * LOG_STOP_NS_MAX at most. */
void scope_free(struct scope *scope);
/* Whatever the node hangs here; not touched by the runtime. */
void scope_set_owner(struct scope *scope, void *owner);
void *scope_owner(struct scope *scope);
void scope_stats_read(struct scope *scope, struct scope_stats *out);
/* Counter `counter` (< SCOPE_COUNTERS_MAX) of this scope on this worker (NULL: a
 * thread outside); summed on read, from any thread. */
enum scope_limits { SCOPE_COUNTERS_MAX = 128 };
void scope_count(struct scope *scope, struct worker *worker, unsigned counter, int64_t delta);
int64_t scope_counter(struct scope *scope, unsigned counter);
/* One worker's part of it. */
int64_t scope_counter_of(struct scope *scope, unsigned worker_index, unsigned counter);

#endif
