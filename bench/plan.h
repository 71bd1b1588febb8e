#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include <stdbool.h>
#include <stddef.h>

/* What is measured: the rows, and which pairs of programs do each of them. */

enum plan_limits {
    PLAN_NAME_BYTES = 32,
    PLAN_PEERS_MAX = 8,
    PLAN_OWN_NAMES = 8,
    PLAN_SERIES_MAX = 32,                 /* of a row: 1 + 3 for each peer, the references, our variants */
    PLAN_RUNS_MAX = 101,
    /* RLIMIT_NOFILE is 20,000 on ordinary machines, and not ours to raise: one of
     * our diallers takes two descriptors a connection, a listener one. */
    PLAN_DIALLER_CONNECTIONS_MAX = 8000,
    PLAN_LISTENER_CONNECTIONS_MAX = 18000,
    PLAN_PROCESSES_MAX = 16,              /* of a side: 100,000 connections take 13 */
    PLAN_CONNECTS_S = 1000,               /* that programs make in a second, about */
    PLAN_SLOW_CONNECTS_S = 70,            /* ... that are compiled while they run */
    PLAN_SLOW_CONNECTIONS_MAX = 500,      /* of a row for such a one: each run would be nothing but connecting */
    PLAN_SLOW_IDLE_MAX = 1000,            /* ... of rows that run once: 10,000 would take minutes */
};

/* The works of tests/interop/README.md, "Load"; and the parts of our runtime,
 * which are commands of this program. */
enum plan_work {
    PLAN_BULK, PLAN_HANDSHAKE, PLAN_RTT, PLAN_RR, PLAN_STREAMS, PLAN_IDLE, PLAN_STORM, PLAN_FANOUT, PLAN_PART,
};

/* Which pairs do a row. */
enum plan_pairs {
    PLAN_OURS = 1 << 0,      /* ours with ours */
    PLAN_PEERS = 1 << 1,     /* each peer with its own kind */
    PLAN_CROSS = 1 << 2,     /* ours with each peer, both ways; not in quick mode */
    PLAN_HELD = 1 << 3,      /* ours dials each peer */
    PLAN_RAW = 1 << 4,       /* references: plain C on sockets */
    PLAN_SEALED = 1 << 5,    /* ... with the cipher */
    PLAN_CRYPTO = 1 << 6,    /* ... the handshake's crypto alone */
    PLAN_EPOLL = 1 << 7,     /* ours over epoll */
    PLAN_TWO = 1 << 8,       /* ours with two workers */
    PLAN_SLEEP = 1 << 9,     /* ours, and plain C on sockets, that never look around before they sleep */
    PLAN_REFERENCES = PLAN_RAW | PLAN_SEALED | PLAN_CRYPTO,
    PLAN_SELF = PLAN_OURS | PLAN_EPOLL | PLAN_PEERS,
    PLAN_KEPT = PLAN_OURS | PLAN_EPOLL | PLAN_HELD,
};

struct plan_row {
    const char *name, *title;
    enum plan_work work;
    unsigned pairs;
    unsigned connections, streams, parallel, inflight, size;
    unsigned nodes;          /* idle: of each process, each connected to all of another process; 0: one a connection */
    const char *direction;
    double rate;
    bool load;               /* rtt: with an upload beside it */
    bool distinct;           /* handshake: each with a new identity */
    unsigned runs;           /* 0: the mode's */
    bool quick;              /* it is in the quick set */
    bool calls;              /* an extra run of ours counts system calls */
};

struct plan_mode {
    bool quick;
    unsigned runs;
    double warm_s, seconds;
    double idle_seconds;     /* of the rows of idle connections */
    double start_s;          /* for estimates: what both programs take to start */
    unsigned connects_s;     /* and how many connections they make in a second */
};

/* Two programs, by name. */
struct plan_series {
    char dialler[PLAN_NAME_BYTES], listener[PLAN_NAME_BYTES];
    bool reference;
};

extern const char *const plan_work_names[];

size_t plan_rows(const struct plan_row **rows);
/* NULL when there is none of that name. */
const struct plan_row *plan_find(const char *name);
/* With patterns (as of a shell, `rr-*`), a row that one of them matches; without
 * any, all rows, in quick mode the quick ones. */
bool plan_selected(const struct plan_row *row, const struct plan_mode *mode, const char *const *patterns,
                   size_t pattern_count);
void plan_mode_init(struct plan_mode *mode, bool quick);

/* The programs of ours and the references, by name. */
extern const char *const plan_own_names[PLAN_OWN_NAMES];
/* Whether it is one of these. */
bool plan_own_name(const char *name);
/* Whether a peer of that name may take part: not one of these, and nothing that a
 * shell, a file's name or gnuplot would read as more than a name. */
bool plan_peer_name(const char *name);
/* The series of a row, ours first.  Returns how many. */
size_t plan_make_series(struct plan_series out[PLAN_SERIES_MAX], const struct plan_row *row,
                        const struct plan_mode *mode, const char *const *peers, size_t peer_count);
/* Whether a row is to have this series, one of whose programs is slow: compiled
 * while it runs, so that each run takes seconds before it is measured.  Such a
 * one is measured with its own kind, and with ours in bulk, with as many
 * connections as it makes in some seconds. */
bool plan_suits_slow(const struct plan_row *row, const struct plan_series *series);
/* ... of ours with ours only: for the targets. */
bool plan_series_is_ours(const struct plan_series *series);

unsigned plan_runs(const struct plan_row *row, const struct plan_mode *mode);
double plan_seconds(const struct plan_row *row, const struct plan_mode *mode);
/* How many processes each side takes. */
unsigned plan_diallers(const struct plan_row *row);
unsigned plan_listeners(const struct plan_row *row);
/* What follows the address in a `load` command of dialler number `index`. */
void plan_keys(char *out, size_t size, const struct plan_row *row, const struct plan_mode *mode, unsigned index);
/* Connections that dialler number `index` makes. */
unsigned plan_connections(const struct plan_row *row, unsigned index);
/* Roughly how long one run takes, and all runs of `series_count` series. */
double plan_run_s(const struct plan_row *row, const struct plan_mode *mode);
double plan_row_s(const struct plan_row *row, const struct plan_mode *mode, size_t series_count);

#endif
