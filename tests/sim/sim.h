#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "actors/api_runtime.h"
#include "actors/node_private.h"
#include "chorus/p2p.h"
#include "runtime/driver_sim.h"

#include <stdio.h>

/* chorus-sim: whole nodes, the production code, in one thread on virtual time.
 * README.md tells how it is used and how a scenario is added.
 *
 *   main.c        the command line              swarm.c       many seeds; smaller failing cases
 *   run.c         one run, from seed to verdict scenario.c    what happens in it
 *   node.c        an application of each node   traffic.c     its streams, checked byte by byte
 *   faults.c      what goes wrong, and when     hostile.c     peers that break the rules
 *   crowd.c       actors that check the machine invariants.c  what must hold, always
 *   ends.c        both ends of a connection     memory.c      the heap: what is left, and what is refused
 *   events.c      log, its hash, trace          crypto.c      chance, and a cheap stand-in for ciphers */

enum sim_limits_of_runs {
    SIM_NODES_MAX = 10000,
    SIM_FLOWS_MAX = 16,        /* of a node at a time */
    SIM_EVENTS_KEPT = 48,      /* of each node, for the report of a failure */
    SIM_PORT = 4001,
};

#define SIM_SECOND UINT64_C(1000000000)

/* What may go wrong: bits of sim_case.faults. */
enum sim_fault {
    FAULT_SLOW = 1 << 0,        /* latency, jitter, little bandwidth */
    FAULT_STALL = 1 << 1,       /* lost segments */
    FAULT_RESET = 1 << 2,       /* connections reset */
    FAULT_PARTITION = 1 << 3,
    FAULT_HOLE = 1 << 4,        /* black holes, one way or both */
    FAULT_NAT = 1 << 5,         /* half of the hosts cannot be called */
    FAULT_CRASH = 1 << 6,       /* hosts go down without a word, and come back */
    FAULT_RESTART = 1 << 7,     /* nodes close in order, and come back */
    FAULT_CLOCK = 1 << 8,       /* wall clocks jump */
    FAULT_DESCRIPTORS = 1 << 9,
    FAULT_MEMORY = 1 << 10,     /* small pools and budgets */
    FAULT_ERRORS = 1 << 11,     /* of accept and connect */
    FAULT_FREEZE = 1 << 12,     /* processes are stopped for a while */
    FAULT_HOSTILE = 1 << 13,    /* a tenth of the hosts breaks the rules */
    FAULT_CHURN = 1 << 14,      /* peers disconnect */
    FAULT_ALL = (1 << 15) - 1,
};

extern const char *const sim_fault_names[15];

/* All that a run depends on. */
struct sim_case {
    uint64_t seed;
    const char *scenario;
    unsigned nodes;
    uint64_t virtual_ns;
    uint32_t faults;
    bool real_crypto;
};

struct sim;
struct sim_node;

struct sim_scenario {
    const char *name, *about;
    unsigned nodes;          /* unless the command line says otherwise */
    uint64_t virtual_ns;
    uint32_t faults;         /* that make sense in it */
    unsigned connections;    /* that a node seeks */
    unsigned flows;          /* that a node has at a time */
    uint64_t pause_ns;       /* between the end of a flow and the next, at most twice as long */
    uint32_t echo, ping, perf; /* shares of flows */
    uint32_t bytes_max;      /* of a flow, each way */
    uint32_t rounds;         /* 0, or: an echo is 64 bytes so many times, each after the last has come back */
    unsigned workers_max;    /* of a node: drawn */
    unsigned crowd;          /* checking actors in each runtime */
    /* More than traffic: called after all have started.  May be NULL. */
    void (*begin)(struct sim *sim);
};

extern const struct sim_scenario sim_scenarios[];
const struct sim_scenario *sim_scenario_find(const char *name);

/* ---- One run ------------------------------------------------------------------ */

struct sim_timer {
    uint64_t at_ns, order;
    void (*ring)(struct sim *sim, struct sim_node *node, uint64_t argument);
    struct sim_node *node;
    uint64_t argument;
};

struct flow;
struct crowd;
struct ends;

struct sim_peer { /* as one node sees another */
    bool connected;
    uint64_t connect_request; /* 0: none under way */
};

enum sim_node_state { NODE_DOWN, NODE_UP, NODE_LEAVING };

/* The life of one process. */
struct sim_process {
    struct sim_node *owner;
    struct p2p_runtime *runtime;
    struct p2p_node *node;
    struct crowd *crowd;
    struct scope *scope; /* of a hostile host, which has no node */
    unsigned generation;
    uint64_t close_begin_ns; /* 0: it lives */
    uint64_t frozen_ns;      /* in all, since it began to close */
    bool stranded;           /* its host went down */
    bool closed;
    bool due;                /* on the list of those with events */
    uint64_t checked_turns, checked_delivered; /* when it was last looked at */
    unsigned requests;       /* connects and opens that are not answered */
    unsigned flows;
    struct sim_process *next;
};

struct sim_node {
    struct sim *sim;
    unsigned index;
    struct sim_host *host;
    char address[64]; /* "/ip4/10.0.0.1/tcp/4001" */
    char id[P2P_ID_TEXT_BYTES];
    uint8_t key[128];
    size_t key_length;
    char *data_dir;
    enum sim_node_state state;
    struct sim_process *process; /* NULL while it is down */
    unsigned generations;
    bool hidden, hostile, frozen;
    uint32_t refused_ppm;       /* of its allocations */
    unsigned holes, shortages, famines; /* how many there were: the last one's end is what counts */
    uint64_t frozen_since_ns;
    uint64_t trouble_ns;  /* the last time that something was wrong with its host */
    struct sim_peer *peers;
    unsigned peers_up;
    struct flow *flows;
    uint64_t next_flow;
    char (*events)[128];  /* the last ones, a ring */
    unsigned event_count;
};

struct sim {
    struct sim_case what;
    const struct sim_scenario *scenario;
    struct sim_world *world;
    struct sim_node *nodes;
    struct sim_process *leaving; /* processes that are closing */
    struct sim_process **due;
    unsigned due_count, due_capacity;
    struct sim_timer *timers;
    unsigned timer_count, timer_capacity;
    uint64_t timer_order, requests;
    uint64_t random;  /* its own chance, so that the world's does not hang on what we look at */
    uint64_t begin_ns, end_ns, checked_ns;
    unsigned partitions;      /* so far */
    unsigned starving;        /* nodes without memory */
    struct ends *ends;
    uint64_t hash;
    FILE *log, *trace;
    bool quiet, ending;
    uint64_t flows_done, flows_failed, bytes_echoed, connects, connects_failed, crashes, messages;
    uint64_t agreed, settled, refusals, checks;
};

/* 0 when all held; else it does not come back: sim_fail() ends the process. */
int sim_run(const struct sim_case *what, FILE *log, FILE *trace, bool quiet, uint64_t *hash);
uint64_t sim_now(const struct sim *sim);
uint64_t sim_chance(struct sim *sim);
uint32_t sim_below(struct sim *sim, uint32_t bound);
void sim_after(struct sim *sim, uint64_t delay_ns, struct sim_node *node,
               void (*ring)(struct sim *sim, struct sim_node *node, uint64_t argument), uint64_t argument);
/* The run under way, for signal handlers and callbacks that get no argument. */
extern struct sim *sim_current;

/* ---- node.c */

void sim_nodes_make(struct sim *sim);
void sim_nodes_free(struct sim *sim);
/* Nothing is left of them in the file system. */
void sim_nodes_clean(struct sim *sim);
void sim_node_start(struct sim_node *node);
/* In order: it closes, and NODE_CLOSED must come within NODE_CLOSE_NS_MAX. */
void sim_node_close(struct sim_node *node);
/* Its host loses power. */
void sim_node_crash(struct sim_node *node);
/* Looks for peers until it has as many as it wants. */
void sim_node_seek(struct sim *sim, struct sim_node *node, uint64_t argument);
void sim_process_events(struct sim_process *process);
/* Frees those that are closed. */
void sim_processes_reap(struct sim *sim);
struct sim_node *sim_node_of_id(struct sim *sim, const char *id);
void sim_node_freeze(struct sim_node *node, bool frozen);
/* The host of a node is in trouble, or just came out of it. */
void sim_node_trouble(struct sim_node *node);

#define SIM_CLOSE_NS_MAX (3 * SIM_SECOND) /* the way down; README.md */

/* ---- traffic.c */

void sim_flows_begin(struct sim *sim, struct sim_node *node, uint64_t argument);
void sim_flow_event(struct sim_process *process, const struct p2p_event *event);
/* Each makes progress, or its node knows why not. */
void sim_flows_check(struct sim_node *node);
/* Some at once to that peer, so that something is under way when it is closed. */
void sim_flows_burst(struct sim_node *node, unsigned peer);
/* Its node is about to close the connection to that peer, or (-1) to all. */
void sim_flows_part(struct sim_node *node, int peer);
/* Its process is gone: so are they. */
void sim_flows_drop(struct sim_node *node, bool told);

/* ---- faults.c, hostile.c, crowd.c */

void sim_faults_begin(struct sim *sim);
void sim_faults_config(struct sim_node *node, struct p2p_config *config, struct runtime_config *runtime);
void sim_hostile_start(struct sim_node *node);
void sim_hostile_end(struct sim *sim);
struct crowd *sim_crowd_new(struct sim_process *process, unsigned actors);
void sim_crowd_stop(struct crowd *crowd);
/* All its actors are gone; frees it. */
bool sim_crowd_gone(struct crowd *crowd);
void sim_crowd_free(struct crowd *crowd);
void sim_crowd_check(struct crowd *crowd);

/* ---- invariants.c */

/* After a turn of that worker. */
void sim_check_turn(void *sim, struct worker *worker);
/* Data and requests in the mailbox of an actor that is running. */
unsigned sim_mail_waiting(const struct worker *worker, struct actor_ref ref);
/* All of it, from scratch. */
void sim_check_all(struct sim *sim);
void sim_check_end(struct sim *sim);

/* A process has closed, and its application let go of all: what is left is a leak. */
void sim_check_gone(struct sim_process *process);

/* ---- ends.c */

void sim_ends_free(struct sim *sim);
/* What a stream is called at both ends; 0 once its connection is gone. */
uint64_t sim_ends_wire(const struct p2p_stream *stream);
/* The application had written so much on it before it closed in order; or has read
 * so much, when it ended. */
void sim_ends_owed(struct sim_node *node, uint64_t wire, uint64_t bytes);
void sim_ends_got(struct sim_node *node, uint64_t wire, uint64_t bytes);

/* ---- memory.c */

/* So many of a million allocations of that node's workers are refused: 0 to 1000000. */
void sim_memory_refuse(struct sim_node *node, uint32_t ppm);
/* What was asked for by our own objects, and not given back. */
struct sim_heap {
    int64_t pieces, bytes;
};
struct sim_heap sim_heap_live(void);

/* ---- events.c */

void sim_note_event(struct sim *sim, struct sim_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_note_line(struct sim *sim, struct sim_node *node, const char *line, size_t length);
void sim_note_flow(struct sim *sim, struct sim_node *node, const char *kind, uint64_t id, bool begins);
void sim_trace_begin(struct sim *sim);
void sim_trace_end(struct sim *sim);
_Noreturn void sim_fail(struct sim *sim, struct sim_node *node, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Signals of a process that dies of itself are failures, too. */
void sim_catch_signals(void);
enum { SIM_EXIT_FAILED = 1, SIM_EXIT_USAGE = 2 };

/* ---- crypto.c */

/* Chance of the libraries is drawn from the seed; `real` false: ciphers are the
 * cheap stand-in. */
void sim_crypto_set(uint64_t seed, bool real);

/* ---- swarm.c */

void sim_case_print(const struct sim_case *what, FILE *out);
int sim_swarm(unsigned seeds, uint64_t first_seed, const struct sim_case *base, bool fixed, unsigned jobs,
              const char *kept, bool first_only);
int sim_shrink(const struct sim_case *what);
/* What the swarm makes of a seed. */
void sim_case_draw(struct sim_case *what, uint64_t seed);

#endif
