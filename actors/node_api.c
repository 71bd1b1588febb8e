#include "actors/node_private.h"

#include "actors/addresses.h"
#include "actors/app.h"
#include "actors/connection_manager.h"
#include "actors/dialer.h"
#include "actors/lender.h"
#include "actors/protocols.h"
#include "actors/registry.h"
#include "actors/session.h"
#include "actors/text.h"
#include "actors/waiter.h"
#include "net/identify.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* The calls of the public header that a started node answers, and what the
 * other actors ask of it. */

enum { WAIT_GRACE_MS = 250 }; /* for the dialer to say why, when a call's time has run out */

/* ---- for the actors ---- */

int node_post(struct p2p_node *node, struct message *message)
{
    struct worker *worker = worker_current();

    if (!worker || worker_runtime(worker) != node->runtime)
        return runtime_post(node->runtime, message);
    struct actor_context context = {.worker = worker, .scope = node->scope, .now_ns = worker_now_ns(worker)};
    return actor_tell(&context, message);
}

bool node_protocol_find(struct p2p_node *node, const char *name, size_t name_length, struct protocol *out)
{
    return protocols_find(node->own->protocols, name, name_length, out);
}

size_t node_protocols(struct p2p_node *node, const char **out, size_t capacity)
{
    return protocols_list(node->own->protocols, out, capacity);
}

size_t node_announce(struct p2p_node *node, struct multiaddr *out, size_t capacity, const struct multiaddr *remote)
{
    struct multiaddr list[NODE_ANNOUNCE_ADDRESSES_MAX];
    size_t count = addresses_list(node->own->addresses, list, NODE_ANNOUNCE_ADDRESSES_MAX);
    size_t told = 0;

    for (size_t i = 0; i < count && told < capacity; i++)
        if (!remote || identify_announce_filter(&list[i], remote))
            out[told++] = list[i];
    return told;
}

/* Any thread may ask a driver for the time. */
static uint64_t wall_ns(struct p2p_node *node)
{
    struct worker *worker = worker_current();

    return driver_wall_ns(worker_driver(worker ? worker : runtime_worker(node->runtime, 0)));
}

int node_signed_record(struct p2p_node *node, uint8_t *out, size_t *length, size_t capacity,
                       const struct multiaddr *remote)
{
    struct multiaddr list[NODE_ANNOUNCE_ADDRESSES_MAX];
    size_t count = node_announce(node, list, NODE_ANNOUNCE_ADDRESSES_MAX, remote);

    return addresses_record(node->own->addresses, out, length, capacity, node->key, list, count, wall_ns(node));
}

/* ---- what it is ---- */

int p2p_node_id(const struct p2p_node *node, char out[P2P_ID_TEXT_BYTES])
{
    memcpy(out, node->id_text, sizeof(node->id_text));
    return 0;
}

int p2p_node_addresses(struct p2p_node *node, struct p2p_address *out, size_t capacity, size_t *count)
{
    struct multiaddr list[NODE_ANNOUNCE_ADDRESSES_MAX];
    size_t found = addresses_list(node->own->addresses, list, NODE_ANNOUNCE_ADDRESSES_MAX);

    for (size_t i = 0; i < found && i < capacity; i++) {
        multiaddr_with_peer_id(&list[i], &node->id);
        multiaddr_to_text(&list[i], out[i].text, sizeof(out[i].text));
    }
    *count = found;
    return 0;
}

size_t p2p_node_peers(struct p2p_node *node)
{
    return registry_peers(node->registry);
}

int p2p_node_connected_peers(struct p2p_node *node, struct p2p_peer *out, size_t capacity, size_t *count)
{
    *count = registry_list(node->registry, out, capacity, api_runtime_now_ns(node->runtime));
    return 0;
}

/* ---- connecting ---- */

/* Whether calls that need actors may be made now. */
static int check_up(struct p2p_node *node, struct p2p_error_text *text)
{
    struct node_private *own = node->own;

    pthread_mutex_lock(&own->mutex);
    enum node_phase phase = own->phase;
    pthread_mutex_unlock(&own->mutex);
    if (phase == NODE_STARTED)
        return 0;
    if (phase == NODE_NEW || phase == NODE_STARTING) {
        text_set(text, "the node is not started; call p2p_node_start() first");
        return P2P_ERR_CALL_STATE;
    }
    text_set(text, "the node is closing");
    return P2P_ERR_NODE_CLOSING;
}

static int parse_id(struct peer_id *id, const char *text)
{
    return text && peer_id_from_text(id, text, strlen(text)) == 0 ? 0 : P2P_ERR_CALL_INVALID;
}

static int dial(struct p2p_node *node, const struct multiaddr *address, const struct peer_id *id, int timeout_ms,
                struct waiter *waiter, struct p2p_error_text *text)
{
    uint64_t limit_ms = node->config.connection_timeout_ms;

    if (timeout_ms >= 0 && (uint64_t)timeout_ms < limit_ms)
        limit_ms = (uint64_t)timeout_ms;
    int error = dialer_connect(node, address, id, api_runtime_now_ns(node->runtime) + limit_ms * 1000000u, waiter);
    if (error)
        text_set(text, "%s", p2p_error_string(error));
    return error;
}

/* The caller's time, and a little more: the dialer's own deadline comes first
 * and says why. */
static int grace(int timeout_ms)
{
    return timeout_ms < 0 || timeout_ms > INT32_MAX - WAIT_GRACE_MS ? -1 : timeout_ms + WAIT_GRACE_MS;
}

int p2p_node_connect(struct p2p_node *node, char id_text[P2P_ID_TEXT_BYTES], const char *address_text,
                     int timeout_ms, struct p2p_error_text *text)
{
    struct multiaddr address;
    struct peer_id id;

    if (worker_current()) {
        text_set(text, "a worker must not wait; use p2p_node_connect_start()");
        return P2P_ERR_CALL_THREAD;
    }
    int error = dialer_check(&address, &id, address_text, text);
    if (!error)
        error = check_up(node, text);
    if (error)
        return error;
    struct waiter *waiter = waiter_new(node, WAITER_BLOCKING, 0);
    if (!waiter)
        return P2P_ERR_CALL_NOMEM;
    error = dial(node, &address, &id, timeout_ms, waiter, text);
    if (error)
        waiter_finish(waiter, error);
    error = waiter_wait(waiter, grace(timeout_ms));
    if (id_text)
        peer_id_to_text(&id, id_text);
    if (error && waiter->text.text[0])
        text_set(text, "%s", waiter->text.text);
    waiter_done(waiter);
    return error;
}

int p2p_node_connect_start(struct p2p_node *node, uint64_t request, const char *address_text, int timeout_ms,
                           struct p2p_error_text *text)
{
    struct multiaddr address;
    struct peer_id id;
    int error = dialer_check(&address, &id, address_text, text);

    if (!error)
        error = check_up(node, text);
    if (error)
        return error;
    struct waiter *waiter = waiter_new(node, WAITER_CONNECT_EVENT, request);
    if (!waiter)
        return P2P_ERR_CALL_NOMEM;
    error = dial(node, &address, &id, timeout_ms, waiter, text);
    if (error)
        waiter_drop(waiter);
    return error;
}

int p2p_node_disconnect(struct p2p_node *node, const char *id_text)
{
    struct peer_id id;
    int error = parse_id(&id, id_text);

    return error ? error : connection_manager_disconnect(node, &id);
}

/* ---- asking a peer ---- */

int p2p_node_identify(struct p2p_node *node, struct p2p_identity **out, const char *id_text, int timeout_ms)
{
    struct peer_id id;
    int error = parse_id(&id, id_text);

    if (!error)
        error = registry_identity(node->registry, out, &id);
    if (error != P2P_ERR_CALL_AGAIN)
        return error;
    if (worker_current())
        return P2P_ERR_CALL_THREAD;
    struct waiter *waiter = waiter_new(node, WAITER_BLOCKING, 0);
    if (!waiter)
        return P2P_ERR_CALL_NOMEM;
    registry_await_identity(node->registry, waiter, &id);
    error = waiter_wait(waiter, timeout_ms);
    if (!error)
        *out = waiter->object;
    waiter_done(waiter);
    return error;
}

int p2p_node_ping(struct p2p_node *node, uint64_t *rtt_ns, const char *id_text, int timeout_ms)
{
    struct actor_ref session;
    struct peer_id id;
    int error = parse_id(&id, id_text);

    if (error)
        return error;
    if (worker_current())
        return P2P_ERR_CALL_THREAD;
    if (!registry_find(node->registry, &session, &id))
        return P2P_ERR_CALL_NOT_FOUND;
    struct waiter *waiter = waiter_new(node, WAITER_BLOCKING, 0);
    if (!waiter)
        return P2P_ERR_CALL_NOMEM;
    session_tell_ping(node, session, waiter);
    error = waiter_wait(waiter, timeout_ms);
    if (!error && rtt_ns)
        *rtt_ns = waiter->value;
    waiter_done(waiter);
    return error;
}

/* ---- protocols ---- */

int p2p_node_handle(struct p2p_node *node, const char *protocol, unsigned flags,
                    const struct p2p_stream_callbacks *callbacks, void *user)
{
    struct protocol entry = {.name = protocol, .flags = flags, .event = !callbacks, .user = user};

    if (callbacks)
        entry.callbacks = *callbacks;
    int error = protocols_add(node->own->protocols, &entry);
    if (!error && !(flags & P2P_HANDLE_PREFIX)) /* prefixes are not told */
        connection_manager_push(node);
    return error;
}

int p2p_node_unhandle(struct p2p_node *node, const char *protocol)
{
    int error = protocols_remove(node->own->protocols, protocol);

    if (!error)
        connection_manager_push(node);
    return error;
}

/* ---- counters ---- */

/* Gauges that are not kept per worker; numbered after the counters. */
enum gauge {
    GAUGE_PEERS = NODE_COUNTERS,
    GAUGE_CONNECTIONS,
    GAUGE_HANDSHAKES_IN,
    GAUGE_ACTORS_LIVE,
    GAUGE_MESSAGES_DROPPED,
    GAUGE_EVENTS_DROPPED,
    GAUGE_MEMORY_LEFT,
    GAUGE_MEMORY_MAX,
    GAUGE_BUFFERS_LENT,
    GAUGES,
};

static const char *const counter_names[GAUGES] = {
    [NODE_BYTES_IN] = "bytes_in",
    [NODE_BYTES_OUT] = "bytes_out",
    [NODE_CONNECTIONS_IN] = "connections_in",
    [NODE_CONNECTIONS_OUT] = "connections_out",
    [NODE_CONNECTIONS_CLOSED] = "connections_closed",
    [NODE_HANDSHAKES_FAILED] = "handshakes_failed",
    [NODE_REFUSED_LIMIT] = "refused_limit",
    [NODE_STREAMS_IN] = "streams_in",
    [NODE_STREAMS_OUT] = "streams_out",
    [NODE_STREAMS_LIVE] = "streams",
    [NODE_SESSIONS_LIVE] = "sessions",
    [NODE_STREAM_BYTES_HELD] = "stream_bytes_held",
    [NODE_MEMORY_HELD] = "memory_held",
    [NODE_MEMORY_DRAWN] = "memory_drawn",
    [NODE_CONNECTIONS_SHED] = "connections_shed",
    [GAUGE_PEERS] = "peers",
    [GAUGE_CONNECTIONS] = "connections",
    [GAUGE_HANDSHAKES_IN] = "handshakes_in",
    [GAUGE_ACTORS_LIVE] = "actors",
    [GAUGE_MESSAGES_DROPPED] = "messages_dropped",
    [GAUGE_EVENTS_DROPPED] = "events_dropped",
    [GAUGE_MEMORY_LEFT] = "memory_left",
    [GAUGE_MEMORY_MAX] = "memory_max",
    [GAUGE_BUFFERS_LENT] = "buffers_lent",
};

static int64_t read_counter(struct p2p_node *node, unsigned counter)
{
    struct scope_stats stats;

    if (counter < NODE_COUNTERS)
        return scope_counter(node->scope, counter);
    scope_stats_read(node->scope, &stats);
    switch (counter) {
    case GAUGE_PEERS:
        return (int64_t)registry_peers(node->registry);
    case GAUGE_CONNECTIONS:
        return __atomic_load_n(&node->connections, __ATOMIC_RELAXED);
    case GAUGE_HANDSHAKES_IN:
        return __atomic_load_n(&node->handshakes_in, __ATOMIC_RELAXED);
    case GAUGE_ACTORS_LIVE:
        return (int64_t)stats.actors_live;
    case GAUGE_MESSAGES_DROPPED:
        return (int64_t)stats.messages_dropped;
    case GAUGE_MEMORY_LEFT:
        return __atomic_load_n(&node->memory->left_bytes, __ATOMIC_RELAXED);
    case GAUGE_MEMORY_MAX:
        return (int64_t)node->memory->max_bytes;
    case GAUGE_BUFFERS_LENT:
        return (int64_t)lender_buffers(node->lender);
    default:
        return (int64_t)app_dropped(node->app);
    }
}

int p2p_node_counter(struct p2p_node *node, int64_t *value, const char *name)
{
    for (unsigned i = 0; name && i < GAUGES; i++) {
        if (strcmp(counter_names[i], name) == 0) {
            *value = read_counter(node, i);
            return 0;
        }
    }
    return P2P_ERR_CALL_NOT_FOUND;
}

int p2p_node_counter_name(const char **name, size_t index)
{
    if (index >= GAUGES)
        return P2P_ERR_CALL_NOT_FOUND;
    *name = counter_names[index];
    return 0;
}

/* ---- events ---- */

int p2p_node_event_fd(struct p2p_node *node)
{
    return app_descriptor(node->app);
}

int p2p_node_next_event(struct p2p_node *node, struct p2p_event *event)
{
    return app_next(node->app, event);
}

/* Sleeps until an event may be there.  P2P_ERR_CALL_TIMEOUT, P2P_ERR_NODE_SYSTEM. */
static int await_event(struct p2p_node *node, uint64_t deadline_ns)
{
    uint64_t now_ns = api_runtime_now_ns(node->runtime);
    struct pollfd poll_of = {.events = POLLIN};

    if (now_ns >= deadline_ns)
        return P2P_ERR_CALL_TIMEOUT;
    if (!runtime_threaded(node->runtime)) {
        runtime_turn(node->runtime, deadline_ns);
        return 0;
    }
    poll_of.fd = app_descriptor(node->app);
    if (poll_of.fd < 0)
        return poll_of.fd;
    uint64_t left_ms = (deadline_ns - now_ns + 999999) / 1000000;
    poll(&poll_of, 1, deadline_ns == UINT64_MAX ? -1 : left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
    return 0;
}

int p2p_node_wait_event(struct p2p_node *node, struct p2p_event *event, int timeout_ms)
{
    uint64_t deadline_ns = api_runtime_deadline_ns(node->runtime, timeout_ms);
    int error;

    if (worker_current())
        return P2P_ERR_CALL_THREAD;
    while ((error = app_next(node->app, event)) == P2P_ERR_CALL_AGAIN) {
        error = await_event(node, deadline_ns);
        if (error)
            return error;
    }
    return error;
}
