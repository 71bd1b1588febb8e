#include "plan.h"

#include <assert.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const plan_work_names[] = {"bulk", "handshake", "rtt", "rr", "streams", "idle", "storm", "fanout", "part"};

#define BULK(Direction, Connections, Streams)                                                                          \
    .work = PLAN_BULK, .direction = (Direction), .connections = (Connections), .streams = (Streams)
#define RR(Size, Connections) .work = PLAN_RR, .size = (Size), .connections = (Connections)
#define IDLE(Connections) .work = PLAN_IDLE, .connections = (Connections), .runs = 1

/* Rows of `idle` run once: what they measure is the same each time, and takes a
 * round of keep-alives to see.  What waits for them makes no difference to what a
 * connection keeps: one of them has epoll. */
static const struct plan_row rows[] = {
    /* Ours with each peer both ways: one that dials sends. */
    {"bulk-up", "bulk, one stream up", BULK("up", 1, 1), .quick = true,
     .pairs = PLAN_SELF | PLAN_CROSS | PLAN_RAW | PLAN_SEALED | PLAN_TWO},
    {"bulk-down", "bulk, one stream down", BULK("down", 1, 1), .pairs = PLAN_SELF | PLAN_SEALED},
    {"bulk-both", "bulk, one stream each way", BULK("both", 1, 1), .pairs = PLAN_SELF},
    {"bulk-up-16s", "bulk, 16 streams up", BULK("up", 1, 16), .pairs = PLAN_SELF},
    {"bulk-up-10c", "bulk, 10 connections up", BULK("up", 10, 1), .pairs = PLAN_SELF | PLAN_SEALED},
    {"bulk-up-100c", "bulk, 100 connections up", BULK("up", 100, 1), .pairs = PLAN_SELF | PLAN_SEALED},

    {"handshake-1", "connect, one at a time", .work = PLAN_HANDSHAKE, .parallel = 1, .pairs = PLAN_SELF},
    {"handshake-50", "connect, 50 at a time, of peers seen before", .work = PLAN_HANDSHAKE, .parallel = 50,
     .quick = true, .pairs = PLAN_SELF | PLAN_CROSS | PLAN_CRYPTO},

    {"handshake-50-distinct", "connect, 50 at a time, each a peer not seen before", .work = PLAN_HANDSHAKE,
     .parallel = 50, .distinct = true, .pairs = PLAN_SELF | PLAN_CRYPTO},

    {"rtt", "ping, one after the other", .work = PLAN_RTT, .quick = true,
     .pairs = PLAN_SELF | PLAN_CROSS | PLAN_RAW | PLAN_SLEEP},
    {"rtt-open", "ping, 1,000 a second", .work = PLAN_RTT, .rate = 1000, .pairs = PLAN_SELF | PLAN_RAW},
    {"rtt-load", "ping under an upload, 100 a second", .work = PLAN_RTT, .load = true, .rate = 100, .quick = true,
     .pairs = PLAN_SELF},

    {"rr-32-1", "32 B there and back, 1 connection", RR(32, 1), .pairs = PLAN_SELF | PLAN_RAW | PLAN_SEALED},
    {"rr-32-10", "32 B there and back, 10 connections", RR(32, 10), .pairs = PLAN_SELF | PLAN_RAW | PLAN_SEALED},
    {"rr-32-100", "32 B there and back, 100 connections", RR(32, 100), .quick = true,
     .pairs = PLAN_SELF | PLAN_CROSS | PLAN_RAW | PLAN_SEALED | PLAN_TWO},
    {"rr-32-1000", "32 B there and back, 1,000 connections", RR(32, 1000),
     .pairs = PLAN_SELF | PLAN_RAW | PLAN_SEALED},
    {"rr-32-10000", "32 B there and back, 10,000 connections", RR(32, 10000), .runs = 3,
     .pairs = PLAN_OURS | PLAN_EPOLL},
    {"rr-1k-1", "1 KB there and back, 1 connection", RR(1024, 1), .pairs = PLAN_SELF | PLAN_SEALED},
    {"rr-1k-10", "1 KB there and back, 10 connections", RR(1024, 10), .pairs = PLAN_SELF | PLAN_SEALED},
    {"rr-1k-100", "1 KB there and back, 100 connections", RR(1024, 100), .quick = true, .calls = true,
     .pairs = PLAN_SELF | PLAN_RAW | PLAN_SEALED},
    {"rr-1k-1000", "1 KB there and back, 1,000 connections", RR(1024, 1000), .pairs = PLAN_SELF | PLAN_SEALED},
    {"rr-64k-1", "64 KB there and back, 1 connection", RR(65536, 1), .pairs = PLAN_SELF},
    {"rr-64k-10", "64 KB there and back, 10 connections", RR(65536, 10), .pairs = PLAN_SELF},
    {"rr-64k-100", "64 KB there and back, 100 connections", RR(65536, 100), .pairs = PLAN_SELF},
    {"rr-64k-1000", "64 KB there and back, 1,000 connections", RR(65536, 1000), .pairs = PLAN_SELF},
    {"rr-open", "32 B there and back, 5,000 a second over 100 connections", RR(32, 100), .rate = 5000,
     .pairs = PLAN_SELF | PLAN_RAW},

    {"streams-1", "new stream and 1 KB of echo, one at a time", .work = PLAN_STREAMS, .inflight = 1,
     .pairs = PLAN_SELF},
    {"streams-32", "new stream and 1 KB of echo, 32 at a time", .work = PLAN_STREAMS, .inflight = 32, .quick = true,
     .pairs = PLAN_SELF | PLAN_CROSS},
    {"streams-256", "new stream and 1 KB of echo, 256 at a time", .work = PLAN_STREAMS, .inflight = 256,
     .pairs = PLAN_SELF},

    {"idle-100", "100 idle connections", IDLE(100), .pairs = PLAN_OURS | PLAN_HELD},
    {"idle-500", "500 idle connections", IDLE(500), .quick = true, .pairs = PLAN_OURS | PLAN_HELD},
    {"idle-1000", "1,000 idle connections", IDLE(1000), .pairs = PLAN_KEPT},
    {"idle-10000", "10,000 idle connections", IDLE(10000), .pairs = PLAN_OURS | PLAN_HELD},
    {"idle-100000", "100,000 idle connections of 780 nodes a side", IDLE(100000), .nodes = 130, .pairs = PLAN_OURS},

    {"storm-1000", "1,000 dials at once", .work = PLAN_STORM, .connections = 1000, .pairs = PLAN_SELF},
    {"storm-200", "200 dials at once", .work = PLAN_STORM, .connections = 200, .quick = true, .pairs = PLAN_SELF},
    {"fanout-100", "1 KB to 100 peers and back", .work = PLAN_FANOUT, .connections = 100, .quick = true,
     .pairs = PLAN_KEPT},
    {"fanout-1000", "1 KB to 1,000 peers and back", .work = PLAN_FANOUT, .connections = 1000,
     .pairs = PLAN_KEPT},

    {"msg", "messages between actors", .work = PLAN_PART, .pairs = PLAN_OURS, .quick = true},
    {"timers", "deadlines of a worker", .work = PLAN_PART, .pairs = PLAN_OURS, .quick = true},
    {"mailbox", "queues between threads", .work = PLAN_PART, .pairs = PLAN_OURS, .quick = true},
};

size_t plan_rows(const struct plan_row **out)
{
    *out = rows;
    return sizeof(rows) / sizeof(rows[0]);
}

const struct plan_row *plan_find(const char *name)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    }
    return NULL;
}

bool plan_selected(const struct plan_row *row, const struct plan_mode *mode, const char *const *patterns,
                   size_t pattern_count)
{
    if (pattern_count == 0)
        return row->quick || !mode->quick;
    for (size_t i = 0; i < pattern_count; i++) {
        if (fnmatch(patterns[i], row->name, 0) == 0)
            return true;
    }
    return false;
}

void plan_mode_init(struct plan_mode *mode, bool quick)
{
    *mode = quick ? (struct plan_mode){true, 3, 0.2, 0.8, 5, 0, PLAN_CONNECTS_S}
                  : (struct plan_mode){false, 5, 0.25, 0.9, 30, 0, PLAN_CONNECTS_S};
}

/* ---- Series ------------------------------------------------------------------- */

const char *const plan_own_names[PLAN_OWN_NAMES] = {"ours", "ours-epoll", "ours-2w", "raw",
                                                    "raw-aead", "crypto", "ours-sleep", "raw-sleep"};

bool plan_own_name(const char *name)
{
    for (size_t i = 0; i < PLAN_OWN_NAMES; i++) {
        if (strcmp(plan_own_names[i], name) == 0)
            return true;
    }
    return false;
}

bool plan_peer_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

    return length > 0 && name[length] == '\0' && length < PLAN_NAME_BYTES && !plan_own_name(name);
}

static void add(struct plan_series *out, size_t *count, const char *dialler, const char *listener, bool reference)
{
    struct plan_series *series = &out[(*count)++];

    assert(*count <= PLAN_SERIES_MAX);
    snprintf(series->dialler, sizeof(series->dialler), "%s", dialler);
    snprintf(series->listener, sizeof(series->listener), "%s", listener);
    series->reference = reference;
}

static void add_peer(struct plan_series *out, size_t *count, unsigned pairs, bool cross, const char *peer)
{
    if (pairs & PLAN_PEERS)
        add(out, count, peer, peer, false);
    if ((pairs & PLAN_HELD) || cross)
        add(out, count, "ours", peer, false);
    if (cross)
        add(out, count, peer, "ours", false);
}

size_t plan_make_series(struct plan_series out[PLAN_SERIES_MAX], const struct plan_row *row,
                        const struct plan_mode *mode, const char *const *peers, size_t peer_count)
{
    static const struct {
        unsigned pair;
        const char *name;
        bool reference, quick;
    } more[] = {{PLAN_EPOLL, "ours-epoll", false, false}, {PLAN_TWO, "ours-2w", false, false},
                {PLAN_RAW, "raw", true, true}, {PLAN_SEALED, "raw-aead", true, true},
                {PLAN_CRYPTO, "crypto", true, true}, {PLAN_SLEEP, "ours-sleep", false, false},
                {PLAN_SLEEP, "raw-sleep", true, false}};
    bool cross = (row->pairs & PLAN_CROSS) && !mode->quick;
    size_t count = 0;

    if (row->pairs & PLAN_OURS)
        add(out, &count, "ours", "ours", false);
    for (size_t i = 0; i < peer_count && i < PLAN_PEERS_MAX; i++)
        add_peer(out, &count, row->pairs, cross, peers[i]);
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        if ((row->pairs & more[i].pair) && (more[i].quick || !mode->quick))
            add(out, &count, more[i].name, more[i].name, more[i].reference);
    }
    return count;
}

bool plan_suits_slow(const struct plan_row *row, const struct plan_series *series)
{
    bool own = strcmp(series->dialler, series->listener) == 0;

    if (row->work == PLAN_IDLE)
        return row->connections <= PLAN_SLOW_IDLE_MAX;
    return row->connections <= PLAN_SLOW_CONNECTIONS_MAX && row->work != PLAN_STORM &&
           (own || row->work == PLAN_BULK || row->work == PLAN_FANOUT);
}

bool plan_series_is_ours(const struct plan_series *series)
{
    return strcmp(series->dialler, "ours") == 0 && strcmp(series->listener, "ours") == 0;
}

/* ---- One row -------------------------------------------------------------------- */

unsigned plan_runs(const struct plan_row *row, const struct plan_mode *mode)
{
    return row->runs != 0 && row->runs < mode->runs ? row->runs : mode->runs;
}

double plan_seconds(const struct plan_row *row, const struct plan_mode *mode)
{
    return row->work == PLAN_IDLE ? mode->idle_seconds : mode->seconds;
}

/* What a connection begins with is done by then: what the peer told of itself has
 * been looked into, and the heap given back. */
#define IDLE_WARM_S 25

static double warm_s(const struct plan_row *row, const struct plan_mode *mode)
{
    return row->work == PLAN_IDLE && !mode->quick ? fmax(mode->warm_s, IDLE_WARM_S) : mode->warm_s;
}

static unsigned processes(unsigned connections, unsigned most)
{
    unsigned count = (connections + most - 1) / most;

    assert(count <= PLAN_PROCESSES_MAX);
    return count > 0 ? count : 1;
}

unsigned plan_diallers(const struct plan_row *row)
{
    if (row->nodes > 0) /* one connection of each two */
        return processes(row->connections, row->nodes * row->nodes);
    return processes(row->connections, PLAN_DIALLER_CONNECTIONS_MAX);
}

unsigned plan_listeners(const struct plan_row *row)
{
    if (row->nodes > 0)
        return plan_diallers(row);
    return processes(row->connections, PLAN_LISTENER_CONNECTIONS_MAX);
}

unsigned plan_connections(const struct plan_row *row, unsigned index)
{
    unsigned count = plan_diallers(row);

    return row->connections / count + (index < row->connections % count);
}

static void append(char *out, size_t size, const char *key, double value)
{
    size_t length = strlen(out);

    if (value != 0)
        snprintf(out + length, size - length, "%s%s=%.10g", length > 0 ? " " : "", key, value);
}

void plan_keys(char *out, size_t size, const struct plan_row *row, const struct plan_mode *mode, unsigned index)
{
    size_t length;

    *out = '\0';
    append(out, size, "connections", plan_connections(row, index));
    append(out, size, "nodes", row->nodes);
    append(out, size, "streams", row->streams);
    append(out, size, "parallel", row->parallel);
    append(out, size, "inflight", row->inflight);
    append(out, size, "size", row->size);
    append(out, size, "rate", row->rate / plan_diallers(row));
    append(out, size, "load", row->load);
    append(out, size, "distinct", row->distinct);
    length = strlen(out);
    if (row->direction != NULL)
        snprintf(out + length, size - length, "%sdirection=%s", length > 0 ? " " : "", row->direction);
    if (row->work != PLAN_STORM) {
        append(out, size, "warm", warm_s(row, mode));
        append(out, size, "seconds", plan_seconds(row, mode));
    }
}

/* Besides what programs take to start: to tell them what to do, to read clocks, to
 * end them. */
#define AROUND_S 0.1
#define PART_S 0.7

double plan_run_s(const struct plan_row *row, const struct plan_mode *mode)
{
    if (row->work == PLAN_PART)
        return PART_S;
    return AROUND_S + mode->start_s + row->connections / (double)mode->connects_s +
           (row->work == PLAN_STORM ? 0 : warm_s(row, mode) + plan_seconds(row, mode));
}

double plan_row_s(const struct plan_row *row, const struct plan_mode *mode, size_t series_count)
{
    return plan_run_s(row, mode) * plan_runs(row, mode) * (double)series_count;
}
