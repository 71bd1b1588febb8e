#include "actors/listener.h"

#include "actors/node_private.h"
#include "actors/session.h"
#include "runtime/buffer.h"
#include "runtime/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct listener {
    int socket;
    bool stopping;
    bool starved;              /* accept is off until the timer */
    uint16_t sibling_count;
    struct actor_ref *siblings;
    uint32_t refused;          /* since the last line about it */
    uint64_t refused_told_ns;
};

static socklen_t length_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* ---- listening ---- */

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    const struct listener_first *first = argument;
    struct listener *listener = state;
    struct driver *driver = worker_driver(context->worker);

    listener->socket = -1;
    if (!first)
        return 0; /* a sibling: LISTENER_MSG_LISTEN comes next */
    int socket = driver_listen(driver, (const struct sockaddr *)&first->address, first->length,
                               first->v6only ? DRIVER_LISTEN_V6ONLY : 0, first->bound);
    *first->result = socket < 0 ? socket : 0;
    if (socket < 0)
        return P2P_ERR_NODE_LISTEN;
    listener->socket = socket;
    driver_accept(driver, socket, context->self);
    return 0;
}

static void on_listen(struct actor_context *context, struct listener *listener, struct message *message)
{
    struct driver *driver = worker_driver(context->worker);
    struct message answer = {.type = LISTENER_MSG_LISTENING, .kind = MESSAGE_CONTROL};
    struct sockaddr_storage bound;
    int result = -ENOMEM;

    if (message->buffer) {
        memcpy(&bound, message->buffer->data, sizeof(bound));
        result = driver_listen(driver, (const struct sockaddr *)&bound, length_of(&bound),
                               (unsigned)message->body.u64[0], &bound);
    }
    answer.body.i64[0] = result < 0 ? result : 0;
    actor_answer(context, message, &answer);
    if (result < 0) {
        listener->stopping = true;
        actor_exit(context);
        return;
    }
    listener->socket = result;
    driver_accept(driver, result, context->self);
}

void listener_tell_listen(struct actor_context *context, unsigned worker_index, uint32_t request_id,
                          const struct sockaddr_storage *bound, bool v6only)
{
    struct message message = {
        .type = LISTENER_MSG_LISTEN,
        .kind = MESSAGE_REQUEST,
        .request_id = request_id,
        .buffer = buffer_new_foreign(sizeof(*bound)),
    };

    if (message.buffer)
        memcpy(message.buffer->data, bound, sizeof(*bound));
    message.body.u64[0] = DRIVER_LISTEN_SHARED | (v6only ? DRIVER_LISTEN_V6ONLY : 0);
    actor_spawn_on(context, worker_index, &listener_class, context->scope, &message);
}

void listener_tell_siblings(struct actor_context *context, struct actor_ref listener,
                            const struct actor_ref *siblings, size_t count)
{
    size_t bytes = count * sizeof(*siblings);
    struct message message = {
        .type = LISTENER_MSG_SIBLINGS,
        .kind = MESSAGE_CONTROL,
        .to = listener,
        .buffer = buffer_new_foreign((uint32_t)bytes),
        .length = (uint32_t)bytes,
    };

    if (!message.buffer)
        return; /* it serves all by itself */
    memcpy(message.buffer->data, siblings, bytes);
    actor_tell(context, &message);
}

static void on_siblings(struct listener *listener, struct message *message)
{
    listener->siblings = malloc(message->length);
    if (!listener->siblings)
        return;
    memcpy(listener->siblings, message->buffer->data, message->length);
    listener->sibling_count = (uint16_t)(message->length / sizeof(listener->siblings[0]));
}

/* ---- admission ---- */

static void uncount(struct p2p_node *node)
{
    __atomic_sub_fetch(&node->connections, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&node->handshakes_in, 1, __ATOMIC_RELAXED);
}

/* Counted before the peer can see it. */
static void refuse(struct actor_context *context, struct listener *listener, int socket, const char *limit,
                   int64_t used, int64_t max)
{
    uncount(node_of(context));
    scope_count(context->scope, context->worker, NODE_REFUSED_LIMIT, 1);
    driver_close_socket(worker_driver(context->worker), socket, DRIVER_CLOSE_RESET);
    listener->refused++;
    if (listener->refused_told_ns && context->now_ns - listener->refused_told_ns < LISTENER_REFUSED_LOG_NS)
        return;
    LOG(context, LOG_LEVEL_WARN, "connection_refused", "limit=%s used=%lld max=%lld refused=%u", limit,
        (long long)used, (long long)max, listener->refused);
    listener->refused = 0;
    listener->refused_told_ns = context->now_ns;
}

/* Counts the connection in; false when it was refused. */
static bool admit(struct actor_context *context, struct listener *listener, int socket)
{
    struct p2p_node *node = node_of(context);
    int64_t descriptors_max = node->own->descriptors_max;
    int64_t connections = __atomic_add_fetch(&node->connections, 1, __ATOMIC_RELAXED);
    int64_t handshakes = __atomic_add_fetch(&node->handshakes_in, 1, __ATOMIC_RELAXED);

    if (node->config.connections_max && connections > node->config.connections_max)
        refuse(context, listener, socket, "MaxConnections", connections - 1, node->config.connections_max);
    else if (handshakes > node->config.pending_handshakes_max)
        refuse(context, listener, socket, "PendingHandshakes", handshakes - 1, node->config.pending_handshakes_max);
    else if (descriptors_max && socket >= descriptors_max)
        refuse(context, listener, socket, "descriptors", socket, descriptors_max);
    else
        return true;
    return false;
}

static void take_in(struct actor_context *context, int socket)
{
    struct sockaddr_storage local, remote;
    struct driver *driver = worker_driver(context->worker);

    if (driver_names(driver, socket, &local, &remote) < 0) { /* it is gone already */
        driver_close_socket(driver, socket, DRIVER_CLOSE_RESET);
        uncount(node_of(context));
        return;
    }
    (void)session_accept(context, socket, &remote); /* on failure all is taken back */
}

/* The sibling to hand a connection to: the one with the fewest, if we have far
 * more than our share; else ourselves. */
static struct actor_ref choose(struct actor_context *context, const struct listener *listener)
{
    unsigned self = worker_index(context->worker);
    int64_t total = 0, least = INT64_MAX;
    unsigned chosen = self;

    for (unsigned i = 0; i < listener->sibling_count; i++) {
        int64_t sessions = scope_counter_of(context->scope, i, NODE_SESSIONS_LIVE);
        total += sessions;
        if (sessions < least && !actor_ref_is_none(listener->siblings[i])) {
            least = sessions;
            chosen = i;
        }
    }
    if (chosen == self || listener->sibling_count < 2)
        return context->self;
    int64_t ours = scope_counter_of(context->scope, self, NODE_SESSIONS_LIVE);
    int64_t share = total / listener->sibling_count * LISTENER_BALANCE_PERCENT / 100 + LISTENER_BALANCE_SLACK;
    return ours > share ? listener->siblings[chosen] : context->self;
}

/* On its way between two listeners. */
struct handed {
    struct p2p_node *node;
    int socket; /* -1: taken in */
};

/* On the worker that it was sent to, whose listener was gone. */
static void drop_handed(void *data)
{
    struct handed *handed = data;
    struct driver *driver = worker_driver(worker_current());

    if (handed->socket < 0)
        return;
    driver_adopt(driver, handed->socket);
    driver_close_socket(driver, handed->socket, DRIVER_CLOSE_RESET);
    uncount(handed->node);
}

/* False when memory is out: nothing has happened. */
static bool hand_over(struct actor_context *context, int socket, struct actor_ref sibling)
{
    struct handed handed = {node_of(context), socket};
    struct message message = {.type = LISTENER_MSG_CONNECTION, .kind = MESSAGE_CONTROL, .to = sibling};

    message.buffer = buffer_new_parcel(sizeof(handed), drop_handed);
    if (!message.buffer)
        return false;
    driver_release(worker_driver(context->worker), socket);
    memcpy(message.buffer->data, &handed, sizeof(handed));
    actor_tell(context, &message);
    return true;
}

/* Told once a node: its workers' sockets starve together. */
static void starve(struct actor_context *context, struct listener *listener, int result)
{
    if (__atomic_exchange_n(&node_of(context)->own->starving, 1, __ATOMIC_RELAXED) == 0)
        LOG(context, LOG_LEVEL_WARN, "accept_paused", "reason=%s retry_ms=%u", strerror(-result),
            (unsigned)(LISTENER_RETRY_NS / 1000000));
    listener->starved = true;
    actor_deadline(context, context->now_ns + LISTENER_RETRY_NS);
}

static void tell_resumed(struct actor_context *context, int socket)
{
    int *starving = &node_of(context)->own->starving;

    if (__atomic_load_n(starving, __ATOMIC_RELAXED) != 0 && __atomic_exchange_n(starving, 0, __ATOMIC_RELAXED) != 0)
        LOG(context, LOG_LEVEL_INFO, "accept_resumed", "socket=%d", socket);
}

static void on_accepted(struct actor_context *context, struct listener *listener, struct message *message)
{
    int socket = (int)message->body.i64[0];

    if (listener->stopping) {
        if (socket >= 0)
            driver_close_socket(worker_driver(context->worker), socket, DRIVER_CLOSE_RESET);
        return;
    }
    if (socket < 0) {
        starve(context, listener, socket);
        return;
    }
    tell_resumed(context, socket);
    if (!admit(context, listener, socket))
        return;
    struct actor_ref owner = choose(context, listener);
    if (actor_ref_equal(owner, context->self) || !hand_over(context, socket, owner))
        take_in(context, socket);
}

static void on_connection(struct actor_context *context, struct listener *listener, struct message *message)
{
    struct handed handed;

    if (listener->stopping)
        return; /* drop_handed() closes it */
    memcpy(&handed, message->buffer->data, sizeof(handed));
    ((struct handed *)(void *)message->buffer->data)->socket = -1;
    driver_adopt(worker_driver(context->worker), handed.socket);
    take_in(context, handed.socket);
}

/* ---- the end ---- */

/* What was accepted before lies in the mailbox: a message to ourselves comes
 * after it. */
static void on_stop(struct actor_context *context, struct listener *listener)
{
    struct message last = {.type = LISTENER_MSG_DRAINED, .kind = MESSAGE_CONTROL, .to = context->self};

    if (listener->stopping)
        return;
    listener->stopping = true;
    if (listener->socket >= 0)
        driver_close_socket(worker_driver(context->worker), listener->socket, DRIVER_CLOSE_ORDERLY);
    listener->socket = -1;
    actor_tell(context, &last);
}

static void on_timer(struct actor_context *context, struct listener *listener)
{
    if (listener->stopping || !listener->starved)
        return;
    listener->starved = false;
    driver_accept(worker_driver(context->worker), listener->socket, context->self);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct listener *listener = state;

    switch (message->type) {
    case LISTENER_MSG_LISTEN:
        on_listen(context, listener, message);
        break;
    case MESSAGE_STOP:
        on_stop(context, listener);
        break;
    case MESSAGE_TIMER:
        on_timer(context, listener);
        break;
    case MESSAGE_IO_ACCEPTED:
        on_accepted(context, listener, message);
        break;
    case LISTENER_MSG_CONNECTION:
        on_connection(context, listener, message);
        break;
    case LISTENER_MSG_DRAINED:
        actor_exit(context);
        break;
    case LISTENER_MSG_SIBLINGS:
        on_siblings(listener, message);
        break;
    default:
        break;
    }
}

static void on_fini(struct actor_context *context, void *state)
{
    struct listener *listener = state;

    (void)context;
    free(listener->siblings);
}

const struct actor_class listener_class = {
    .name = "listener",
    .state_bytes = sizeof(struct listener),
    .mail_max = 64,
    .receive = receive,
    .init = on_init,
    .fini = on_fini,
};
