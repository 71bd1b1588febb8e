#ifndef RUNTIME_DRIVER_SIM_H
#define RUNTIME_DRIVER_SIM_H

#include "runtime/driver.h"

/* A world in memory: virtual time, seeded chance, hosts, and sockets that exist
 * only here.  Every runtime made with DRIVER_SIM and this world as `config.sim`
 * lives in it; one thread turns all their workers.  The same seed gives the same
 * run.
 *
 * A world begins with one host that owns every address nobody else has: a
 * listener there on 0.0.0.0 or :: hears connects to any of them.  Its links are
 * perfect, without latency, and hold back who sends more than SIM_PIPE_BYTES_MAX
 * ahead of the reader.  Further hosts have an address each, and links with
 * faults.  How much a send takes and a receive gives, and who is served first, is
 * drawn from the seed.
 *
 * A round is one turn of each worker that has something to do: mail, a time that
 * is up, sockets that may go on, or a wake-up for nothing, now and then. */

enum sim_limits {
    SIM_SOCKET_FIRST = 1 << 20,  /* below are descriptors: they cannot be mistaken */
    SIM_PIPE_BYTES_MAX = 262144, /* each way; about what Linux gives a fresh connection */
    SIM_ROUND_NS = 1000,         /* virtual time that a round takes in which anything happened */
    SIM_VISIT_BUFFERS_MAX = 32,  /* received of one socket in a turn */
    SIM_EPHEMERAL_PORT_FIRST = 32768, /* as in Linux */
    SIM_SPURIOUS_ROUNDS = 64,    /* one round of so many also turns a worker that has nothing to do */
};

#define SIM_RETRY_NS_MIN 200000000ull     /* TCP_RTO_MIN: what a lost segment costs; doubled by each further loss */
#define SIM_RETRY_NS_MAX 120000000000ull  /* TCP_RTO_MAX */
#define SIM_GIVE_UP_NS 924600000000ull    /* net.ipv4.tcp_retries2 = 15: then the sender hears ETIMEDOUT */
#define SIM_SYN_GIVE_UP_NS 127000000000ull /* net.ipv4.tcp_syn_retries = 6 */

struct sim_world;
struct sim_host;

/* ---- The world ----------------------------------------------------------- */

/* Never NULL. */
struct sim_world *sim_world_new(uint64_t seed);
/* Its runtimes must have been freed.  Frees its hosts. */
void sim_world_free(struct sim_world *world);
/* Turns workers until `until` (may be NULL) says so between two rounds: true; or
 * until so much virtual time has passed: false.  When nobody has work due, time
 * jumps to what is due next.  The first round turns all. */
bool sim_world_run(struct sim_world *world, bool (*until)(void *argument), void *argument, uint64_t virtual_ns_max);
/* One round of that, or one jump, at most to `deadline_ns`: what runtime_turn()
 * does.  True: somebody did something. */
bool sim_world_turn(struct sim_world *world, uint64_t deadline_ns);
/* A frozen worker has no turn, as if its process were stopped: what is sent to it
 * waits in its sockets, and others' calls to its runtime wait with it. */
void sim_world_freeze(struct sim_world *world, const struct worker *worker, bool frozen);
/* Calls `turned` after each turn of a worker (NULL: nobody). */
void sim_world_watch(struct sim_world *world, void (*turned)(void *argument, struct worker *worker), void *argument);
uint64_t sim_world_now_ns(const struct sim_world *world);
/* A hash of every completion so far, in order: equal for equal runs. */
uint64_t sim_world_trace(const struct sim_world *world);
/* From the world's chance, in [0, bound): for who acts from outside. */
uint32_t sim_world_draw(struct sim_world *world, uint32_t bound);

struct sim_world_stats {
    uint64_t rounds, turns, spurious;
    uint64_t segments, stalls, resets, timeouts, refused; /* of links */
    uint64_t errors; /* of accept and connect, made up */
};
void sim_world_stats_read(const struct sim_world *world, struct sim_world_stats *out);

/* ---- Hosts, and what goes wrong with them -------------------------------- */

/* Both ends of a connection add to it, but the slower one's rate counts.  Zeroes
 * are a perfect link. */
struct sim_link {
    uint64_t latency_ns, jitter_ns; /* one way, and up to so much more */
    uint64_t bytes_second;          /* 0: no bound */
    uint32_t stall_ppm;             /* of segments lost: they come SIM_RETRY_NS_MIN later or more */
    uint32_t reset_ppm;             /* of segments that end their connection at both ends */
};

enum sim_hidden {
    SIM_HIDDEN_NOT,
    SIM_HIDDEN_DROPS,   /* behind a NAT: who connects to it hears nothing */
    SIM_HIDDEN_REFUSES, /* or a refusal */
};

/* A further host, with this address and no other.  It lives as long as the
 * world. */
struct sim_host *sim_host_new(struct sim_world *world, const struct sockaddr *address, socklen_t address_length);
/* Runtimes made from now on live there; NULL: at the first host. */
void sim_world_settle(struct sim_world *world, struct sim_host *host);
void sim_host_link(struct sim_host *host, const struct sim_link *link);
/* Hosts of different groups do not reach each other: what is under way waits,
 * and is sent again, until TCP gives up. */
void sim_host_group(struct sim_host *host, unsigned group);
/* Black holes: nothing goes out, nothing comes in, or both. */
void sim_host_block(struct sim_host *host, bool out, bool in);
void sim_host_hide(struct sim_host *host, enum sim_hidden hidden);
/* So many of a million of its connections are reset at both ends. */
void sim_host_reset(struct sim_host *host, uint32_t ppm);
/* Power off: its sockets vanish without a word, and whoever lives there finds
 * himself without a network, to be freed.  Nothing of it is left for those who
 * settle there after sim_host_start(); peers that send to the sockets of before
 * hear a reset then, and nothing meanwhile. */
void sim_host_crash(struct sim_host *host);
void sim_host_start(struct sim_host *host);
bool sim_host_is_up(const struct sim_host *host);
/* Its wall clock is off by so much. */
void sim_host_wall(struct sim_host *host, int64_t offset_ns);
/* Sockets that it may have open: beyond, accept and connect say EMFILE.  0: no
 * bound. */
void sim_host_descriptors(struct sim_host *host, unsigned max);
/* So many of a million accepts and connects fail for no reason of their own. */
void sim_host_errors(struct sim_host *host, uint32_t ppm);
unsigned sim_host_sockets(const struct sim_host *host);

/* ---- For runtimes -------------------------------------------------------- */

/* For runtime_new().  The worker belongs to the world until driver_free(). */
struct driver *driver_sim_new(struct worker *worker, struct buffer_pool *pool, struct sim_world *world, int *error);

/* For who turns drivers without workers: after each of them had its turn, time
 * goes on: to what is due next, if they all wait. */
void sim_world_advance(struct sim_world *world);

#endif
