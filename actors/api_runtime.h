#ifndef ACTORS_API_RUNTIME_H
#define ACTORS_API_RUNTIME_H

#include "chorus/p2p.h"
#include "runtime/worker.h"

/* The public runtime. */
struct p2p_runtime {
    struct runtime *runtime;
    struct depot *depot;
    uint32_t placed; /* atomic: nodes so far, to spread their single actors over the workers */
    uint32_t nodes;  /* atomic: not freed yet */
};

/* The same with every setting (the simulator's world); p2p_runtime_free() ends
 * it.  `config` gets its local_new and local_free here. */
int api_runtime_new(struct p2p_runtime **out, struct runtime_config *config, struct p2p_error_text *error);
/* Monotonic time as its drivers see it; from any thread of a runtime with
 * threads, else from the one that turns it. */
uint64_t api_runtime_now_ns(struct runtime *runtime);
/* What somebody waits for has happened: in a runtime without threads, ends the
 * wait of the turn that he made for it.  Any thread. */
void api_runtime_rouse(struct runtime *runtime);
/* When a call with that time-out has to be back; UINT64_MAX for -1. */
uint64_t api_runtime_deadline_ns(struct runtime *runtime, int timeout_ms);

#endif
