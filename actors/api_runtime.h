#ifndef ACTORS_API_RUNTIME_H
#define ACTORS_API_RUNTIME_H

#include "chorus/p2p.h"
#include "runtime/worker.h"

/* The public runtime: workers, and whether they have threads. */
struct p2p_runtime {
    struct runtime *runtime;
    bool threads;
    uint32_t placed; /* atomic: nodes so far, to spread their single actors over the workers */
    uint32_t nodes;  /* atomic: not freed yet */
};

/* The same with every setting (the simulator's world); p2p_runtime_free() ends
 * it.  `config` gets its local_new and local_free here. */
int api_runtime_new(struct p2p_runtime **out, struct runtime_config *config, struct p2p_error_text *error);
/* Monotonic time as this runtime's drivers see it; any thread with threads,
 * else the one that turns. */
uint64_t api_runtime_now_ns(struct p2p_runtime *runtime);
/* When a call with that time-out has to be back; UINT64_MAX for -1. */
uint64_t api_runtime_deadline_ns(struct p2p_runtime *runtime, int timeout_ms);

#endif
