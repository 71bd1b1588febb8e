#include "tests/sim/sim.h"

#include "actors/local.h"
#include "actors/memory.h"
#include "actors/session_state.h"
#include "net/yamux_inside.h"
#include "runtime/inner.h"
#include "runtime/semaphore.h"
#include "runtime/sim_inner.h"

#include <string.h>

/* What must hold.  After each turn: what that turn may have broken, at a price
 * that does not grow with the world.  Every virtual second, and at the end: all,
 * counted from scratch. */

enum { READY_LOOKED_AT = 8 };

/* ---- limits: one table.  A new limit of the node joins it with one line. -------- */

struct look { /* at one of these; the others are NULL */
    struct worker *worker;
    struct session *session;
    struct p2p_node *node;
};

struct limit {
    const char *name;
    uint64_t (*value)(const struct look *look);
    uint64_t max;
};

#define OF_SESSION(field) \
    static uint64_t session_##field(const struct look *look) { return look->session->busy->field; }
#define OF_MUXER(field) \
    static uint64_t muxer_##field(const struct look *look) { return look->session->yamux.field; }

OF_SESSION(stream_count)
OF_MUXER(streams_in)
OF_MUXER(unacked)
OF_MUXER(pong_count)
OF_MUXER(refusals)

static uint64_t muxer_growth(const struct look *look)
{
    const struct yamux *yamux = &look->session->yamux;

    return yamux->window_growth_bytes <= yamux->window_growth_max ? 0 : 1;
}

static const struct limit session_limits[] = {
    {"streams of a connection", session_stream_count, YAMUX_STREAMS_IN_MAX + YAMUX_STREAMS_OUT_MAX},
    {"YAMUX_STREAMS_IN_MAX", muxer_streams_in, YAMUX_STREAMS_IN_MAX},
    {"YAMUX_ACK_BACKLOG_STREAMS_MAX", muxer_unacked, YAMUX_ACK_BACKLOG_STREAMS_MAX},
    {"YAMUX_PONGS_MAX", muxer_pong_count, YAMUX_PONGS_MAX},
    {"YAMUX_REFUSALS_MAX", muxer_refusals, YAMUX_REFUSALS_MAX},
    {"window growth beyond the connection's budget", muxer_growth, 0},
};

static uint64_t worker_foreign(const struct look *look)
{
    return (uint64_t)look->worker->runtime->foreign_used;
}

static uint64_t worker_pool(const struct look *look)
{
    struct buffer_pool_stats stats;
    uint64_t max = look->worker->runtime->config.pool_bytes_max;

    buffer_pool_stats_read(look->worker->buffers, &stats);
    return stats.bytes_live > stats.bytes_mapped || (max && stats.bytes_mapped > max);
}

static const struct limit worker_limits[] = {
    {"WORKER_FOREIGN_MESSAGES_MAX", worker_foreign, WORKER_FOREIGN_MESSAGES_MAX},
    {"a worker's pool of buffers", worker_pool, 0},
};

static uint64_t node_windows(const struct look *look)
{
    const struct yamux_budget *windows = &look->node->memory->windows;

    return windows->used_bytes > windows->max_bytes;
}

static uint64_t node_handshakes(const struct look *look)
{
    return (uint64_t)look->node->handshakes_in;
}

static uint64_t node_connections(const struct look *look)
{
    uint64_t max = look->node->config.connections_max, count = (uint64_t)look->node->connections;

    return max && count > max ? count : 0;
}

/* What it closes connections for stays below; a burst may take the reserve, and a little more until it is served. */
static uint64_t node_memory(const struct look *look)
{
    uint64_t max = look->node->memory->max_bytes, held = (uint64_t)scope_counter(look->node->scope, NODE_MEMORY_HELD);

    return held > max + max / MEMORY_RESERVE_PART ? held : 0;
}

static const struct limit node_limits[] = {
    {"windows of a node", node_windows, 0},
    {"NODE_PENDING_HANDSHAKES", node_handshakes, NODE_PENDING_HANDSHAKES},
    {"p2p_config_max_connections", node_connections, 0},
    {"p2p_config_memory", node_memory, 0},
};

static void check_limits(struct sim *sim, struct sim_node *node, const struct look *look, const struct limit *limits,
                         size_t count)
{
    sim->checks += count;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = limits[i].value(look);

        if (value > limits[i].max)
            sim_fail(sim, node, "limits", "%s: %llu, and at most %llu are allowed", limits[i].name,
                     (unsigned long long)value, (unsigned long long)limits[i].max);
    }
}

#define CHECK_LIMITS(sim, node, look, limits) \
    check_limits(sim, node, look, limits, sizeof(limits) / sizeof((limits)[0]))

/* ---- a connection -------------------------------------------------------------------- */

static void check_stream(struct sim *sim, struct sim_node *node, const struct session *session,
                         const struct p2p_stream *stream)
{
    const struct yamux_stream *mux = &stream->mux;

    if (stream->session != session)
        sim_fail(sim, node, "streams", "stream %u is listed by a session that is not its own", mux->id);
    if (mux->recv_window > YAMUX_WINDOW_BYTES_MAX || mux->recv_window > mux->recv_window_max)
        sim_fail(sim, node, "limits", "stream %u: a window of %u bytes, of %u", mux->id, mux->recv_window,
                 mux->recv_window_max);
    if (mux->recv_unread > mux->recv_window_max)
        sim_fail(sim, node, "limits", "stream %u: %u bytes unread in a window of %u", mux->id, mux->recv_unread,
                 mux->recv_window_max);
}

static void check_session(struct sim *sim, struct sim_node *node, struct session *session)
{
    struct look look = {.session = session};
    uint32_t count = 0;
    uint64_t held = 0;

    for (const struct p2p_stream *stream = session->busy->streams; stream; stream = stream->next) {
        check_stream(sim, node, session, stream);
        held += stream->held;
        if (++count > session->busy->stream_count)
            break;
    }
    if (count != session->busy->stream_count)
        sim_fail(sim, node, "sums", "a session counts %u streams and lists %u", session->busy->stream_count, count);
    if (held != session->busy->held_bytes)
        sim_fail(sim, node, "sums", "a session counts %llu bytes held, its streams %llu",
                 (unsigned long long)session->busy->held_bytes, (unsigned long long)held);
    CHECK_LIMITS(sim, node, &look, session_limits);
}

/* ---- a worker -------------------------------------------------------------------------- */

static void check_semaphore(struct sim *sim, struct sim_node *node, struct worker *worker, struct actor_ref ref)
{
    struct semaphore_stats stats = {0};

    semaphore_stats_read(worker, ref, &stats);
    if (stats.permits && stats.held > stats.permits)
        sim_fail(sim, node, "permits", "%u are held of %u", stats.held, stats.permits);
    if (stats.waiting > SEMAPHORE_WAITERS_MAX)
        sim_fail(sim, node, "limits", "SEMAPHORE_WAITERS_MAX: %u", stats.waiting);
}

static const struct actor_slot *slot_of(const struct worker *worker, uint32_t index)
{
    return (struct actor_slot *)(void *)worker->blocks[index / ACTOR_BLOCK_SLOTS] + index % ACTOR_BLOCK_SLOTS;
}

unsigned sim_mail_waiting(const struct worker *worker, struct actor_ref ref)
{
    return slot_of(worker, ref.slot & 0xffffff)->mail_count;
}

/* Those that have more to do: what they hold now they would have held a turn ago. */
static void check_ready(struct sim *sim, struct worker *worker)
{
    uint32_t index = worker->ready.first;

    for (unsigned i = 0; index && i < READY_LOOKED_AT; i++) {
        const struct actor_slot *actor = slot_of(worker, index);

        if (actor->actor_class && actor->mail_count > actor->actor_class->mail_max)
            sim_fail(sim, NULL, "limits", "actor %s has %u messages waiting, of %u", actor->actor_class->name,
                     actor->mail_count, actor->actor_class->mail_max);
        index = actor->ready_next;
    }
}

static void check_actors(struct sim *sim, struct sim_node *node, struct worker *worker)
{
    for (uint32_t i = 0; i < worker->block_count; i++) {
        struct actor_slot *slots = (struct actor_slot *)(void *)worker->blocks[i];

        for (unsigned k = 1; k < ACTOR_BLOCK_SLOTS; k++) {
            struct actor_slot *actor = &slots[k];
            struct actor_ref ref = {worker->index << 24 | (i * ACTOR_BLOCK_SLOTS + k), actor->generation};

            if (!actor->actor_class)
                continue;
            if (actor->mail_count > actor->actor_class->mail_max)
                sim_fail(sim, node, "limits", "actor %s has %u messages waiting, of %u", actor->actor_class->name,
                         actor->mail_count, actor->actor_class->mail_max);
            if (actor->actor_class->mail_max == SEMAPHORE_WAITERS_MAX && strcmp(actor->actor_class->name, "semaphore") == 0)
                check_semaphore(sim, node, worker, ref);
        }
    }
}

/* Who has mail has a turn coming. */
static void check_awake(struct sim *sim, struct sim_node *node, struct worker *worker)
{
    const struct sim_driver *driver = (const struct sim_driver *)worker->driver;
    bool mail = worker->ready.first || worker->foreign_first || !mail_stack_is_empty(&worker->foreign);

    if (driver->runnable || driver->frozen || driver->woken)
        return;
    for (unsigned i = 0; !mail && i < worker->runtime->worker_count; i++)
        mail = worker->held[i] || (worker->inbound[i] && lane_size(worker->inbound[i]));
    if (mail)
        sim_fail(sim, node, "no actor starves", "worker %u sleeps, and there is mail for it", worker->index);
    if (timers_next(&worker->timers) < driver->event_ns && timers_next(&worker->timers) != TIMER_NEVER &&
        driver->sleep_until_ns > timers_next(&worker->timers))
        sim_fail(sim, node, "no actor starves", "worker %u sleeps beyond its next timer", worker->index);
}

static void check_worker(struct sim *sim, struct sim_node *node, struct worker *worker)
{
    struct look look = {.worker = worker};
    const struct local *local = worker->local;

    CHECK_LIMITS(sim, node, &look, worker_limits);
    check_actors(sim, node, worker);
    check_awake(sim, node, worker);
    for (struct session *session = local->sessions; session; session = session->next)
        check_session(sim, node, session);
}

/* ---- a node ------------------------------------------------------------------------------ */

/* Turns of its workers since the last look; 0: nothing of it has changed. */
static uint64_t turns_since(struct sim_process *process)
{
    const struct runtime *runtime = process->runtime->runtime;
    uint64_t turns = 0, before = process->checked_turns;

    for (unsigned i = 0; i < runtime->worker_count; i++)
        turns += runtime->workers[i]->turn;
    process->checked_turns = turns;
    return turns - before;
}

/* In a second: what a timer that is always due exceeds, and chance does not. */
enum { IDLE_TURNS_MAX = 50000, TURNS_PER_DELIVERY_MAX = 100 };

/* Whoever has turn after turn is moved by something that came.  (The crowd's
 * actors move each other.) */
static void check_rest(struct sim *sim, struct sim_process *process, uint64_t turns)
{
    const struct runtime *runtime = process->runtime->runtime;
    uint64_t delivered = 0, since;

    for (unsigned i = 0; i < runtime->worker_count; i++)
        delivered += runtime->workers[i]->driver->delivered;
    since = delivered - process->checked_delivered;
    process->checked_delivered = delivered;
    if (!process->crowd && turns > IDLE_TURNS_MAX + TURNS_PER_DELIVERY_MAX * since)
        sim_fail(sim, process->owner, "rest", "%llu turns in a second, and only %llu messages from outside",
                 (unsigned long long)turns, (unsigned long long)since);
}

/* What a node counts as it goes, and what its sessions have. */
struct sums {
    int64_t sessions, streams, stream_bytes, memory, growth;
};

static void add_session(struct sums *sums, const struct session *session)
{
    sums->sessions++;
    sums->streams += session->busy->stream_count;
    sums->stream_bytes += (int64_t)(session->busy->held_bytes + session->busy->queued_bytes);
    sums->memory += (int64_t)session->counted_bytes;
    sums->growth += (int64_t)session->yamux.window_growth_bytes;
}

static void check_sum(struct sim *sim, struct sim_node *node, const char *name, int64_t counted, int64_t found)
{
    sim->checks++;
    if (counted != found)
        sim_fail(sim, node, "sums", "%s: the node counts %lld, its sessions have %lld", name, (long long)counted,
                 (long long)found);
}

static void check_sums(struct sim *sim, struct sim_node *node, const struct p2p_node *inside, const struct sums *sums)
{
    const struct memory *memory = inside->memory;
    int64_t drawn = scope_counter(inside->scope, NODE_MEMORY_DRAWN);

    check_sum(sim, node, "sessions", scope_counter(inside->scope, NODE_SESSIONS_LIVE), sums->sessions);
    check_sum(sim, node, "streams", scope_counter(inside->scope, NODE_STREAMS_LIVE), sums->streams);
    check_sum(sim, node, "bytes of streams", scope_counter(inside->scope, NODE_STREAM_BYTES_HELD), sums->stream_bytes);
    check_sum(sim, node, "memory", scope_counter(inside->scope, NODE_MEMORY_HELD), sums->memory);
    check_sum(sim, node, "window growth", (int64_t)memory->windows.used_bytes, sums->growth);
    check_sum(sim, node, "memory drawn", memory->drawn_bytes - memory->left_bytes, drawn);
    if (drawn < sums->memory)
        sim_fail(sim, node, "sums", "%lld bytes are held, and %lld drawn for them", (long long)sums->memory,
                 (long long)drawn);
    if (inside->handshakes_in < 0 || inside->connections < sums->sessions)
        sim_fail(sim, node, "sums", "a node counts %lld handshakes and %lld connections, and has %lld sessions",
                 (long long)inside->handshakes_in, (long long)inside->connections, (long long)sums->sessions);
}

static void check_process(struct sim *sim, struct sim_process *process)
{
    struct sim_node *node = process->owner;
    struct runtime *runtime = process->runtime->runtime;
    struct look look = {.node = process->node};
    struct sums sums = {0};
    uint64_t turns = turns_since(process);

    if (process->crowd)
        sim_crowd_check(process->crowd);
    if (turns == 0)
        return;
    check_rest(sim, process, turns);
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        const struct local *local = runtime->workers[i]->local;

        check_worker(sim, node, runtime->workers[i]);
        for (struct session *session = local->sessions; session; session = session->next)
            add_session(&sums, session);
    }
    if (!process->node)
        return;
    CHECK_LIMITS(sim, node, &look, node_limits);
    check_sums(sim, node, process->node, &sums);
}

void sim_check_turn(void *argument, struct worker *worker)
{
    struct sim *sim = argument;
    const struct local *local = worker->local;
    struct look look = {.worker = worker};

    check_awake(sim, NULL, worker);
    check_ready(sim, worker);
    CHECK_LIMITS(sim, NULL, &look, worker_limits);
    if (local && local->sessions) { /* the one that came last, or was moved to the front */
        look = (struct look){.session = local->sessions};
        CHECK_LIMITS(sim, NULL, &look, session_limits);
    }
}

void sim_check_all(struct sim *sim)
{
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];

        if (node->process && !node->hostile) {
            check_process(sim, node->process);
            sim_flows_check(node);
        }
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

static void check_none(struct sim_process *process, const char *what, int64_t count)
{
    process->owner->sim->checks++;
    if (count != 0)
        sim_fail(process->owner->sim, process->owner, "nothing is left", "%lld %s of a node that has closed",
                 (long long)count, what);
}

void sim_check_gone(struct sim_process *process)
{
    const struct runtime *runtime = process->runtime->runtime;
    const struct p2p_node *node = process->node;
    struct scope_stats actors;

    scope_stats_read(node->scope, &actors);
    check_none(process, "actors", (int64_t)actors.actors_live);
    check_none(process, "connections", node->connections);
    check_none(process, "handshakes", node->handshakes_in);
    check_none(process, "sessions", scope_counter(node->scope, NODE_SESSIONS_LIVE));
    check_none(process, "streams", scope_counter(node->scope, NODE_STREAMS_LIVE));
    check_none(process, "bytes of streams", scope_counter(node->scope, NODE_STREAM_BYTES_HELD));
    check_none(process, "bytes of memory", scope_counter(node->scope, NODE_MEMORY_HELD));
    check_none(process, "bytes left unread", node->memory->left_bytes);
    check_none(process, "bytes of windows", (int64_t)node->memory->windows.used_bytes);
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        struct driver_stats driver;

        driver_stats_read(runtime->workers[i]->driver, &driver);
        check_none(process, "sockets", (int64_t)driver.sockets_open);
        check_none(process, "operations", (int64_t)driver.operations_in_flight);
    }
}

/* Nothing is left of anything. */
void sim_check_end(struct sim *sim)
{
    const struct sim_world *world = sim->world;

    for (unsigned i = 0; i < world->socket_count; i++)
        if (world->sockets[i])
            sim_fail(sim, NULL, "nothing is left", "socket %u is open though all have ended", i);
    if (world->drivers.count > 0)
        sim_fail(sim, NULL, "nothing is left", "%u drivers are there though all have ended", world->drivers.count);
}
