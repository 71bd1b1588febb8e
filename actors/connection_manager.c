#include "actors/connection_manager.h"

#include "actors/registry.h"
#include "actors/session.h"
#include "net/yamux.h"
#include "runtime/log.h"

#include <stdlib.h>

enum connection_manager_message {
    SWEEPER_MSG_SWEEP = MESSAGE_START,
};

struct connection_manager {
    bool stopping;
    uint64_t sweep_ns; /* the next order to close, on the way down */
};

/* All sessions (of a peer): a heap array, NULL when there are none or memory is
 * out (*count tells). */
static struct actor_ref *list_sessions(struct registry *registry, size_t *count, const struct peer_id *id)
{
    size_t capacity = registry_sessions(registry, NULL, 0, id);
    struct actor_ref *list = NULL;

    *count = capacity;
    if (capacity > 0 && (list = malloc(capacity * sizeof(*list)))) {
        size_t found = registry_sessions(registry, list, capacity, id);
        *count = found < capacity ? found : capacity;
    }
    return list;
}

int connection_manager_disconnect(struct p2p_node *node, const struct peer_id *id)
{
    size_t count;
    struct actor_ref *sessions = list_sessions(node->registry, &count, id);

    if (!sessions)
        return count ? P2P_ERR_CALL_NOMEM : P2P_ERR_CALL_NOT_FOUND;
    /* Whoever dials that peer from now on gets a connection that lasts. */
    registry_retire_peer(node->registry, id);
    for (size_t i = 0; i < count; i++)
        session_tell_close(node, sessions[i], YAMUX_GOAWAY_NORMAL);
    free(sessions);
    return count ? 0 : P2P_ERR_CALL_NOT_FOUND;
}

void connection_manager_push(struct p2p_node *node)
{
    size_t count;
    struct actor_ref *sessions = list_sessions(node->registry, &count, NULL);

    for (size_t i = 0; sessions && i < count; i++)
        session_tell_push(node, sessions[i]);
    free(sessions);
}

/* ---- the way down ---- */

/* Visits a worker to end the handshakes there: nobody else knows them. */
static void sweep(struct actor_context *context, void *state, struct message *message)
{
    (void)state;
    (void)message;
    session_stop_handshakes(context);
    actor_exit(context);
}

static const struct actor_class sweeper_class = {
    .name = "sweeper",
    .state_bytes = 1,
    .mail_max = 1,
    .receive = sweep,
};

enum { FEW = 64 }; /* told when there is no memory to list all: the others with the next orders */

static void close_all(struct actor_context *context)
{
    struct p2p_node *node = node_of(context);
    struct actor_ref few[FEW];
    size_t count;
    struct actor_ref *list = list_sessions(node->registry, &count, NULL);

    if (!list && count > 0) {
        count = registry_sessions(node->registry, few, FEW, NULL);
        count = count < FEW ? count : FEW;
    }
    for (size_t i = 0; i < count; i++)
        session_tell_close(node, list ? list[i] : few[i], YAMUX_GOAWAY_SHUTDOWN);
    free(list);
    session_stop_handshakes(context);
    for (unsigned i = 0; i < runtime_workers(worker_runtime(context->worker)); i++) {
        struct message message = {.type = SWEEPER_MSG_SWEEP, .kind = MESSAGE_CONTROL};
        if (i != worker_index(context->worker))
            actor_spawn_on(context, i, &sweeper_class, context->scope, &message);
    }
}

static bool all_closed(struct actor_context *context)
{
    struct p2p_node *node = node_of(context);

    return __atomic_load_n(&node->connections, __ATOMIC_ACQUIRE) == 0 &&
           scope_counter(context->scope, NODE_SESSIONS_LIVE) == 0;
}

static void account(struct actor_context *context)
{
    struct p2p_node *node = node_of(context);

    LOG(context, LOG_LEVEL_DEBUG, "connections", "peers=%zu connections=%lld handshakes=%lld streams=%lld held=%lld",
        registry_peers(node->registry), (long long)__atomic_load_n(&node->connections, __ATOMIC_RELAXED),
        (long long)__atomic_load_n(&node->handshakes_in, __ATOMIC_RELAXED),
        (long long)scope_counter(context->scope, NODE_STREAMS_LIVE),
        (long long)scope_counter(context->scope, NODE_STREAM_BYTES_HELD));
}

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    (void)state;
    (void)argument;
    actor_deadline(context, context->now_ns + CONNECTION_MANAGER_ACCOUNT_NS);
    return 0;
}

static void on_timer(struct actor_context *context, struct connection_manager *manager)
{
    if (manager->stopping)
        return; /* pump looks */
    account(context);
    actor_deadline(context, context->now_ns + CONNECTION_MANAGER_ACCOUNT_NS);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct connection_manager *manager = state;

    if (message->type == MESSAGE_TIMER) {
        on_timer(context, manager);
    } else if (message->type == MESSAGE_STOP && !manager->stopping) {
        manager->stopping = true;
    }
}

static void pump(struct actor_context *context, void *state)
{
    struct connection_manager *manager = state;

    if (!manager->stopping)
        return;
    if (all_closed(context)) {
        actor_exit(context);
        return;
    }
    /* Again and again: what was under way may only now have become a session. */
    if (context->now_ns >= manager->sweep_ns) {
        close_all(context);
        manager->sweep_ns = context->now_ns + CONNECTION_MANAGER_SWEEP_NS;
    }
    actor_deadline(context, context->now_ns + CONNECTION_MANAGER_LOOK_NS);
}

const struct actor_class connection_manager_class = {
    .name = "connection_manager",
    .state_bytes = sizeof(struct connection_manager),
    .mail_max = 64,
    .init = on_init,
    .receive = receive,
    .pump = pump,
};
