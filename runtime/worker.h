#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include "runtime/driver.h"
#include "runtime/message.h"

/* A runtime is a set of workers; a worker is a thread that loops over
 * worker_turn(), or, in a runtime without threads, whoever calls it. */

enum worker_limits {
    WORKER_LANE_MESSAGES = 4096,         /* of each ordered pair of workers */
    WORKER_LANE_CONTROL_RESERVE = 1024,  /* of them kept for messages that cannot fail */
    WORKER_FOREIGN_MESSAGES_MAX = 65536, /* credits of the threads outside, per runtime */
    WORKER_SPIN_NS_MAX = 20000,          /* and only after work in the last WORKER_SPIN_AFTER_NS */
    WORKER_SPIN_AFTER_NS = 1000000,
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
    bool spin;                /* may spin before sleeping */
    /* What the actors keep per worker (contexts, pools).  Called on the
     * worker's own thread before its first and after its last turn; the pointer
     * is what worker_local() returns. */
    void *(*local_new)(struct worker *worker, void *argument);
    void (*local_free)(struct worker *worker, void *local);
    void *local_argument;
};

void runtime_config_init(struct runtime_config *config);
/* 0, or P2P_ERR_NODE_SYSTEM / P2P_ERR_CALL_NOMEM. */
int runtime_new(struct runtime **out, const struct runtime_config *config);
/* All scopes must be closed.  Stops and joins the threads. */
void runtime_free(struct runtime *runtime);
/* False when runtime_turn() is what turns it. */
bool runtime_threaded(const struct runtime *runtime);
unsigned runtime_workers(const struct runtime *runtime);
struct worker *runtime_worker(struct runtime *runtime, unsigned index);
/* A runtime without threads: one turn on the calling thread, waiting at most
 * until `deadline_ns`.  Returns true when more work is due at once. */
bool runtime_turn(struct runtime *runtime, uint64_t deadline_ns);
/* From any thread that is not a worker: sends a copy of *message.  0, or
 * P2P_ERR_CALL_FULL when the credits are used up (only DATA and REQUEST; the
 * buffer then stays the caller's). */
int runtime_post(struct runtime *runtime, struct message *message);
/* From any thread that is not a worker: spawns on a worker, as actor_spawn_on.
 * Answers to `from` = nobody are dropped. */
struct actor_class;
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
/* For drivers: a completion to be delivered to message->to. */
void worker_deliver(struct worker *worker, struct message *message);

/* A node's share of a runtime.  Live objects are counted here, so that closing
 * one node can be awaited while others go on. */
struct scope_stats {
    uint64_t actors_live;
    uint64_t messages_dropped; /* to the dead */
};

struct scope *scope_new(struct runtime *runtime, const char *log_prefix);
/* Its actors must be gone. */
void scope_free(struct scope *scope);
struct runtime *scope_runtime(struct scope *scope);
/* Whatever the node hangs here; not touched by the runtime. */
void scope_set_owner(struct scope *scope, void *owner);
void *scope_owner(struct scope *scope);
void scope_stats_read(struct scope *scope, struct scope_stats *out);
/* Counter `counter` (< SCOPE_COUNTERS_MAX) of this scope on this worker; summed
 * on read, from any thread. */
enum scope_limits { SCOPE_COUNTERS_MAX = 128 };
void scope_count(struct scope *scope, struct worker *worker, unsigned counter, int64_t delta);
int64_t scope_counter(struct scope *scope, unsigned counter);
/* One worker's part of it. */
int64_t scope_counter_of(struct scope *scope, unsigned worker_index, unsigned counter);

#endif
