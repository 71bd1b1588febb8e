#ifndef RUNTIME_OFFLOAD_H
#define RUNTIME_OFFLOAD_H

#include "runtime/actor.h"

/* A few threads for what blocks (files, resolver configuration).  A worker
 * never waits for a disk. */

enum offload_limits {
    OFFLOAD_JOBS_MAX = 1024, /* waiting, at work or in the mail, per runtime; ours: one for each of many nodes */
    OFFLOAD_THREADS = 2,     /* started with the first job; a disk that hangs may have one of them */
};

/* Runs `job(argument, result)` on an offload thread; the calling actor gets
 * MESSAGE_OFFLOADED with request_id and body = result.  0 or
 * P2P_ERR_CALL_FULL.  `argument` must outlive the job even if the actor dies:
 * `dropped(argument)` (may be NULL) is called instead of the message if it has. */
int offload_run(struct actor_context *context, uint32_t request_id,
                void (*job)(void *argument, uint64_t result[3]), void *argument,
                void (*dropped)(void *argument));

#endif
