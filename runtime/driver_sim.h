#ifndef RUNTIME_DRIVER_SIM_H
#define RUNTIME_DRIVER_SIM_H

#include "runtime/driver.h"

/* A world in memory: virtual time, seeded chance, sockets that exist only here.
 * Every runtime made with DRIVER_SIM and this world as `config.sim` lives in it;
 * one thread turns all their workers.  The same seed gives the same run.
 *
 * The world is one host that owns every address: a listener on 0.0.0.0 or ::
 * hears connects to any address of its family.  Links are perfect, without
 * latency, and hold back who sends more than SIM_PIPE_BYTES_MAX ahead of the
 * reader.  How much a send takes and a receive gives, and who is served first,
 * is drawn from the seed. */

enum sim_limits {
    SIM_SOCKET_FIRST = 1 << 20,  /* below are descriptors: they cannot be mistaken */
    SIM_PIPE_BYTES_MAX = 262144, /* each way; about what Linux gives a fresh connection */
    SIM_ROUND_NS = 1000,         /* virtual time that a round of turns takes in which anything happened */
    SIM_VISIT_BUFFERS_MAX = 8,   /* received of one socket in a turn */
    SIM_EPHEMERAL_PORT_FIRST = 32768, /* as in Linux */
};

struct sim_world;

/* Never NULL. */
struct sim_world *sim_world_new(uint64_t seed);
/* Its runtimes must have been freed. */
void sim_world_free(struct sim_world *world);
/* Turns all workers until `until` (may be NULL) says so between two rounds:
 * true; or until so much virtual time has passed: false.  When nobody has work
 * due, time jumps to the next deadline. */
bool sim_world_run(struct sim_world *world, bool (*until)(void *argument), void *argument, uint64_t virtual_ns_max);
/* One round of that: what runtime_turn() does.  True: somebody did something. */
bool sim_world_turn(struct sim_world *world, uint64_t deadline_ns);
/* A frozen worker has no turn, as if its process were stopped: what is sent to it
 * waits in its sockets, and others' calls to its runtime wait with it. */
void sim_world_freeze(struct sim_world *world, const struct worker *worker, bool frozen);
uint64_t sim_world_now_ns(const struct sim_world *world);
/* A hash of every completion so far, in order: equal for equal runs. */
uint64_t sim_world_trace(const struct sim_world *world);

/* For runtime_new().  The worker belongs to the world until driver_free(). */
struct driver *driver_sim_new(struct worker *worker, struct buffer_pool *pool, struct sim_world *world, int *error);

/* For who turns drivers without workers: after each of them had its turn, time
 * goes on: to the earliest deadline that they wait for, if they all do. */
void sim_world_advance(struct sim_world *world);

#endif
