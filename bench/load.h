#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "histogram.h"

#include <chorus/p2p.h>
#include <jansson.h>

/* Load on another program: our side of "Load" in tests/interop/README.md.  A
 * command runs on a thread of its own.  It makes nodes that share a runtime,
 * connects them, has a work run for a while, and counts.
 *
 * What streams do happens in INLINE callbacks, on the workers; the command's
 * thread takes the nodes' events, keeps time, and sleeps otherwise.  With a rate
 * the runtime has no threads: the command's thread turns it, and wakes when a
 * unit is due. */

enum load_limits {
    LOAD_CONNECTIONS_MAX = 65536,   /* descriptors end sooner: each takes two */
    LOAD_STREAMS_MAX = 65536,       /* of a connection */
    LOAD_SIZE_BYTES_MAX = 16777216, /* of a unit */
    LOAD_RATE_MAX = 10000000,
    LOAD_SECONDS_MAX = 86400,
    LOAD_DIALS_MAX = 64,            /* at a time, while a load prepares itself */
    LOAD_DIAL_MS_MAX = 60000,       /* what the contract allows */
    LOAD_CONNECTION_ERROR = -300,   /* and below: no stream of that connection goes on */
};

/* What `serve` is, for its loads. */
struct serve {
    struct p2p_node *listening;
    unsigned workers;        /* of the listening node, and of each load without a rate */
    unsigned spin_us;        /* of both */
    int ending;              /* an eventfd, readable once the program is ending */
};

/* Prints a line of JSON at once, from any thread.  The value is given away. */
void serve_print(json_t *line);

enum load_direction { LOAD_UP = 1, LOAD_DOWN = 2, LOAD_BOTH = LOAD_UP | LOAD_DOWN };
enum load_phase { LOAD_WARM, LOAD_MEASURED, LOAD_OVER };

struct load;

/* Keys that a work takes; `connections` and those below go by their names. */
enum load_key {
    LOAD_KEY_CONNECTIONS = 1 << 0,
    LOAD_KEY_STREAMS = 1 << 1,
    LOAD_KEY_DIRECTION = 1 << 2,
    LOAD_KEY_PARALLEL = 1 << 3,
    LOAD_KEY_RATE = 1 << 4,
    LOAD_KEY_LOAD = 1 << 5,
    LOAD_KEY_SIZE = 1 << 6,
    LOAD_KEY_INFLIGHT = 1 << 7,
    LOAD_KEY_WARM = 1 << 8,
    LOAD_KEY_SECONDS = 1 << 9,
    LOAD_KEY_DISTINCT = 1 << 10,
    LOAD_KEY_NODES = 1 << 11,
};

struct load_work {
    const char *name;
    unsigned keys;
    uint32_t size;                  /* of a unit, unless said otherwise */
    bool latency;                   /* its answer tells percentiles */
    bool (*run)(struct load *load); /* false: load->error says why */
};

struct load_request {
    const struct load_work *work;
    const char *address;
    uint32_t connections, streams, parallel, inflight, size, nodes;
    enum load_direction direction;
    bool upload;   /* `load=1` */
    bool distinct; /* a new node for each connection */
    double rate, warm_s, seconds;
};

/* What one thread has counted. */
struct load_lane {
    _Alignas(64) uint64_t units;
    uint64_t failed;
    struct histogram latency_ns;
};

struct load_node {
    struct load *load;
    struct p2p_node *node;
    uint32_t index;
    bool connected, identified; /* now */
    uint32_t attempt;            /* dials so far */
    /* Of `handshake`. */
    bool ok;
    uint32_t pong;               /* bytes of it */
    uint64_t since_ns;
};

struct load {
    const struct serve *serve;
    const char *tag;
    struct load_request request;
    uint64_t number;             /* no two loads of this process have the same */
    struct p2p_runtime *runtime;
    struct load_node *nodes;
    uint32_t node_count;
    struct load_lane *lanes;
    unsigned lane_count;
    unsigned lanes_taken;        /* atomic */
    int phase;                   /* atomic */
    int busy;                    /* atomic: streams (or what a work counts so) that have not ended */
    int epoll, wake;
    bool turned;                 /* by the command's thread */
    bool polled;                 /* and it asks each node for events after each turn: of few nodes, with many events */
    uint64_t heard_ns;           /* when the ears were last heard then */
    bool stopped;                /* the program is ending */
    bool woken;                  /* `busy` was down to 0 */
    char peer[P2P_ID_TEXT_BYTES];
    uint8_t *payload;            /* request.size random bytes */
    uint32_t up, lost;           /* connections, by the events taken so far */
    uint64_t begin_ns, end_ns;
    double setup_s;              /* of `idle` */
    double fixed_bytes;          /* of `idle` with `nodes`: what process and nodes took before the first connection */
    /* Who takes the nodes' events; and, with a rate, who starts what is due by
     * `now_ns` and tells when the next unit is.  On the command's thread. */
    void (*on_event)(struct load_node *node, const struct p2p_event *event);
    uint64_t (*due)(struct load *load, uint64_t now_ns);
    void *work, *upload;         /* what the work and load_upload() keep; freed with the load */
    char error[700];
    int unit_error;              /* atomic: the last unit's that failed */
};

/* `words`: the work, the address, and KEY=VALUE to the NULL at the end.  Returns
 * the answer, when nothing of the load is left. */
json_t *load_command(const struct serve *serve, const char *tag, char **words);

/* ---- For the works: on the command's thread --------------------------------- */

/* Says why the load cannot be; returns false. */
bool load_fail(struct load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What load_wait() waits with. */
bool load_open_ears(struct load *load);
/* A runtime and `count` nodes. */
bool load_make(struct load *load, uint32_t count);
/* A new node instead of one that is closed: with a new identity, not connected. */
bool load_renew(struct load_node *node);
/* Connects all and waits until they are identified. */
bool load_connect(struct load *load);
/* Dials; the answer is an event. */
bool load_dial(struct load_node *node);
/* Waits for events, or for wake, at most until `until_ns` (UINT64_MAX: for ever). */
void load_wait(struct load *load, uint64_t until_ns);
/* The two moments of the measurement, told at once. */
void load_begin(struct load *load);
void load_end(struct load *load);
/* Warms up, measures, ends. */
void load_measure(struct load *load);
/* Gives streams a moment to end, then closes and frees nodes and runtime. */
void load_close(struct load *load);

/* ---- For the works: on any thread -------------------------------------------- */

static inline int load_phase(const struct load *load)
{
    return __atomic_load_n(&load->phase, __ATOMIC_RELAXED);
}

/* Counts, while it is measured. */
void load_units(struct load *load, uint64_t units);
void load_unit(struct load *load, uint64_t latency_ns);
void load_unit_failed(struct load *load, int error);
/* The calling thread's lane. */
struct load_lane *load_lane(struct load *load);
/* One more stream; one that has ended. */
void load_busy(struct load *load);
void load_idle(struct load *load);
/* Reads and drops what is there.  The count, or what p2p_stream_read() says. */
int64_t load_discard(struct p2p_stream *stream);
/* Opens an INLINE stream of the connection; its callbacks answer. */
int load_open(struct load_node *node, const char *protocol, const struct p2p_stream_callbacks *callbacks, void *user);

/* ---- The works ----------------------------------------------------------------- */

bool load_bulk(struct load *load);
bool load_requests(struct load *load); /* rtt, rr */
bool load_streams(struct load *load);
bool load_handshakes(struct load *load);
bool load_idlers(struct load *load);
bool load_mesh(struct load *load);     /* idle with nodes=, by load_idlers() */
bool load_storm(struct load *load);
bool load_fanout(struct load *load);
/* One upload over the first connection, that nobody counts. */
bool load_upload(struct load *load);

#endif
