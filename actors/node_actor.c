#include "actors/node_actor.h"

#include "actors/addresses.h"
#include "actors/connection_manager.h"
#include "actors/dialer.h"
#include "actors/interfaces.h"
#include "actors/listener.h"
#include "actors/resolver.h"
#include "actors/shedder.h"
#include "actors/status_reporter.h"
#include "actors/text.h"
#include "runtime/buffer.h"
#include "runtime/log.h"
#include "runtime/semaphore.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

/* In the order of the way down. */
enum group {
    GROUP_LISTENERS,
    GROUP_DIALER,
    GROUP_SERVICES,
    GROUP_CONNECTIONS,
    GROUP_PERMITS,
    GROUPS,
};

struct child {
    struct actor_ref ref;
    enum group group;
    bool alive;
    bool watched; /* else it is told to stop, and not waited for: memory was out */
};

/* One listening address and its sockets. */
struct address {
    struct sockaddr_storage bound;
    struct actor_ref *listeners; /* by worker */
};

struct root {
    struct child *children;
    unsigned child_count, child_capacity;
    struct address addresses[P2P_LISTEN_ADDRESSES_MAX];
    unsigned address_count;
    unsigned binding;          /* siblings that have not answered yet */
    bool started;
    bool stopping;
    bool told_slow;
    int start_error;
    enum group down;           /* the group being ended */
    bool down_told;
    uint64_t stop_ns;
};

/* ---- children ---- */

static int add_child(struct actor_context *context, struct root *root, struct actor_ref ref, enum group group)
{
    if (root->child_count == root->child_capacity) {
        unsigned capacity = root->child_capacity ? root->child_capacity * 2 : 16;
        struct child *grown = realloc(root->children, capacity * sizeof(*grown));
        if (!grown) { /* nobody else would tell it */
            struct message message = {.type = MESSAGE_STOP, .kind = MESSAGE_CONTROL, .to = ref};
            actor_tell(context, &message);
            return P2P_ERR_CALL_NOMEM;
        }
        root->children = grown;
        root->child_capacity = capacity;
    }
    root->children[root->child_count++] = (struct child){ref, group, true, true};
    actor_watch(context, ref);
    return 0;
}

static int spawn(struct actor_context *context, struct root *root, struct actor_ref *ref,
                 const struct actor_class *actor_class, enum group group, const void *argument)
{
    struct actor_ref own;
    int error = actor_spawn(context->worker, &own, actor_class, context->scope, argument);

    if (error)
        return error;
    if (ref)
        *ref = own;
    return add_child(context, root, own, group);
}

static int spawn_services(struct actor_context *context, struct root *root)
{
    struct p2p_node *node = node_of(context);
    struct semaphore_config permits = {
        .permits = node->config.dials_max,
        .reserved = node->config.dials_max > 1,
    };
    struct dialer_setup setup;
    struct actor_ref dialer = {0}, shedder = {0};
    int error = semaphore_spawn(context->worker, &setup.permits, context->scope, &permits);

    if (!error)
        error = add_child(context, root, setup.permits, GROUP_PERMITS);
    if (!error)
        error = spawn(context, root, &setup.resolver, &resolver_class, GROUP_SERVICES, NULL);
    if (!error)
        error = spawn(context, root, &dialer, &dialer_class, GROUP_DIALER, &setup);
    if (!error)
        error = spawn(context, root, &shedder, &shedder_class, GROUP_SERVICES, NULL);
    if (!error)
        error = spawn(context, root, NULL, &connection_manager_class, GROUP_CONNECTIONS, NULL);
    /* A node that listens nowhere has no addresses that could change. */
    if (!error && (!node->config.listen_set || node->config.listen_count > 0))
        error = spawn(context, root, NULL, &interfaces_class, GROUP_SERVICES, NULL);
    if (!error)
        error = spawn(context, root, NULL, &status_reporter_class, GROUP_SERVICES, NULL);
    if (!error) {
        node->own->dialer = dialer;
        node->own->shedder = shedder;
    }
    return error;
}

/* ---- listening ---- */

static const char *listen_reason(int result)
{
    switch (-result) {
    case EADDRINUSE:
        return "the port is taken, by another program or another node; end that one, or choose another port "
               "(0 picks a free one)";
    case EACCES:
        return "ports below 1024 are for privileged programs; choose a higher one";
    case EADDRNOTAVAIL:
        return "this machine has no such address; use one that it has, or the unspecified one for all";
    case EAFNOSUPPORT:
        return "this machine has no such kind of address (IPv6 is switched off)";
    case EMFILE:
    case ENFILE:
        return "no descriptors are left; raise the limit of open files";
    default:
        return strerror(-result);
    }
}

static int listen_failed(struct actor_context *context, const char *text, int result)
{
    struct p2p_node *node = node_of(context);
    bool no_ipv6 = result == -EAFNOSUPPORT || result == -EADDRNOTAVAIL;

    /* The defaults are for machines of every kind. */
    if (!node->config.listen_set && no_ipv6 && strncmp(text, "/ip6/", 5) == 0) {
        LOG(context, LOG_LEVEL_WARN, "not_listening", "address=%s reason=%s", text, listen_reason(result));
        return 0;
    }
    text_set(&node->own->start_text, "cannot listen on %s: %s", text, listen_reason(result));
    return P2P_ERR_NODE_LISTEN;
}

static int socket_address(struct listener_first *first, const char *text)
{
    char zone[MULTIADDR_ZONE_SIZE];
    struct multiaddr address;
    uint32_t zone_index = 0;
    int error = multiaddr_from_text(&address, text, NULL, 0);

    if (error)
        return error;
    if (multiaddr_zone(&address, zone) == 0)
        zone_index = if_nametoindex(zone);
    error = multiaddr_to_sockaddr(&address, &first->address, &first->length, zone_index);
    first->v6only = first->address.ss_family == AF_INET6;
    return error;
}

/* The first socket of an address; its siblings are asked to follow. */
static int listen_on(struct actor_context *context, struct root *root, const char *text)
{
    unsigned workers = runtime_workers(worker_runtime(context->worker));
    unsigned self = worker_index(context->worker);
    struct address *address = &root->addresses[root->address_count];
    int result = -EADDRNOTAVAIL;
    struct listener_first first = {.bound = &address->bound, .result = &result};
    struct actor_ref ref;

    if (socket_address(&first, text) < 0)
        return listen_failed(context, text, -EADDRNOTAVAIL);
    int error = spawn(context, root, &ref, &listener_class, GROUP_LISTENERS, &first);
    if (error == P2P_ERR_NODE_LISTEN)
        return listen_failed(context, text, result);
    if (error)
        return error;
    address->listeners = calloc(workers, sizeof(*address->listeners));
    if (!address->listeners)
        return P2P_ERR_CALL_NOMEM;
    address->listeners[self] = ref;
    for (unsigned i = 0; i < workers; i++) {
        if (i == self)
            continue;
        listener_tell_listen(context, i, root->address_count * ACTOR_WORKERS_MAX + i, &address->bound, first.v6only);
        root->binding++;
    }
    root->address_count++;
    return 0;
}

static void on_listening(struct actor_context *context, struct root *root, const struct message *message)
{
    unsigned address = message->request_id / ACTOR_WORKERS_MAX;
    unsigned worker = message->request_id % ACTOR_WORKERS_MAX;
    int result = message->type == MESSAGE_GONE ? -ENOMEM : (int)message->body.i64[0];

    root->binding--;
    if (result < 0) { /* the others of this address serve all */
        LOG(context, LOG_LEVEL_WARN, "worker_not_listening", "worker=%u reason=%s", worker, strerror(-result));
        return;
    }
    if (add_child(context, root, message->from, GROUP_LISTENERS) == 0)
        root->addresses[address].listeners[worker] = message->from;
}

static void log_listening(struct actor_context *context)
{
    struct multiaddr list[NODE_ANNOUNCE_ADDRESSES_MAX];
    char text[P2P_ADDRESS_TEXT_BYTES];
    size_t count = addresses_list(node_of(context)->own->addresses, list, NODE_ANNOUNCE_ADDRESSES_MAX);

    for (size_t i = 0; i < count && i < NODE_ANNOUNCE_ADDRESSES_MAX; i++)
        if (multiaddr_to_text(&list[i], text, sizeof(text)) > 0)
            LOG(context, LOG_LEVEL_INFO, "listening", "address=%s", text);
}

static void finish_start(struct p2p_node *node, int error)
{
    struct node_private *own = node->own;

    pthread_mutex_lock(&own->mutex);
    struct waiter *waiter = own->start_waiter;
    own->start_waiter = NULL;
    if (!error && own->phase == NODE_STARTING)
        own->phase = NODE_STARTED;
    pthread_mutex_unlock(&own->mutex);
    if (waiter)
        waiter_finish(waiter, error);
}

/* Every socket is bound. */
static void on_bound(struct actor_context *context, struct root *root)
{
    struct p2p_node *node = node_of(context);
    unsigned workers = runtime_workers(worker_runtime(context->worker));

    for (unsigned i = 0; i < root->address_count; i++) {
        struct address *address = &root->addresses[i];
        addresses_listen(node->own->addresses, &address->bound);
        for (unsigned j = 0; j < workers && workers > 1; j++)
            if (!actor_ref_is_none(address->listeners[j]))
                listener_tell_siblings(context, address->listeners[j], address->listeners, workers);
    }
    root->started = true;
    LOG(context, LOG_LEVEL_INFO, "node_started", "id=%s agent=%s driver=%s workers=%u", node->id_text,
        node->config.agent_version, driver_name(worker_driver(context->worker)), workers);
    if (!node->config.security)
        LOG(context, LOG_LEVEL_WARN, "security_off", "warning=%s",
            "SECURITY IS OFF: anybody on the way can read and change everything; for tests on a trusted machine only");
    log_listening(context);
    finish_start(node, 0);
}

/* Makes itself known; true when the node is to be closed already. */
static bool closed_before(struct actor_context *context)
{
    struct node_private *own = node_of(context)->own;

    pthread_mutex_lock(&own->mutex);
    own->root = context->self;
    bool closing = own->phase == NODE_CLOSING;
    pthread_mutex_unlock(&own->mutex);
    return closing;
}

static void on_start(struct actor_context *context, struct root *root, struct message *message)
{
    struct p2p_node *node = node_of(context);
    memset(message->buffer->data, 0, sizeof(node)); /* taken: nothing is left to drop */
    int error = closed_before(context) ? P2P_ERR_NODE_CLOSING : spawn_services(context, root);

    for (unsigned i = 0; i < node->config.listen_count && !error; i++)
        error = listen_on(context, root, node->config.listen[i]);
    if (!error)
        return;
    root->start_error = error;
    root->stopping = true;
    root->stop_ns = context->now_ns;
    __atomic_store_n(&node->closing, 1, __ATOMIC_RELEASE);
}

/* ---- the way down ---- */

static void on_stop(struct actor_context *context, struct root *root)
{
    if (root->stopping)
        return;
    root->stopping = true;
    root->stop_ns = context->now_ns;
}

static void on_death(struct root *root, const struct message *message)
{
    for (unsigned i = 0; i < root->child_count; i++) {
        if (!actor_ref_equal(root->children[i].ref, message->from))
            continue;
        root->children[i].watched = false;
        root->children[i].alive = message->body.i64[0] != 0;
    }
}

static unsigned count_alive(const struct root *root, enum group group)
{
    unsigned count = 0;

    for (unsigned i = 0; i < root->child_count; i++)
        count += root->children[i].group == group && root->children[i].alive && root->children[i].watched;
    return count;
}

static void tell_stop(struct actor_context *context, const struct root *root, enum group group)
{
    for (unsigned i = 0; i < root->child_count; i++) {
        struct message message = {.type = MESSAGE_STOP, .kind = MESSAGE_CONTROL, .to = root->children[i].ref};
        if (root->children[i].group == group && root->children[i].alive)
            actor_tell(context, &message);
    }
}

/* True when all groups have ended, one after the other. */
static bool go_down(struct actor_context *context, struct root *root)
{
    for (; root->down < GROUPS; root->down++, root->down_told = false) {
        if (!root->down_told)
            tell_stop(context, root, root->down);
        root->down_told = true;
        if (count_alive(root, root->down) > 0)
            return false;
    }
    return true;
}

static void complain_if_slow(struct actor_context *context, struct root *root, uint64_t actors)
{
    if (root->told_slow || context->now_ns - root->stop_ns < NODE_CLOSE_SLOW_NS)
        return;
    root->told_slow = true;
    LOG(context, LOG_LEVEL_ERROR, "closing_slow", "step=%d actors=%llu", (int)root->down,
        (unsigned long long)actors);
}

static void pump_down(struct actor_context *context, struct root *root)
{
    struct scope_stats stats;
    bool down = go_down(context, root);
    /* Before the actors: mail that nobody took becomes one.  Acquire pairs with the release at its end. */
    bool mail = __atomic_load_n(&node_of(context)->stream_mail, __ATOMIC_ACQUIRE) > 0;

    scope_stats_read(context->scope, &stats);
    if (!down || mail || stats.actors_live > 1) {
        complain_if_slow(context, root, stats.actors_live);
        actor_deadline(context, context->now_ns + (down ? NODE_LAST_LOOK_NS : NODE_CLOSE_SLOW_NS));
        return;
    }
    LOG(context, LOG_LEVEL_INFO, "node_closed", "id=%s took_ms=%llu", node_of(context)->id_text,
        (unsigned long long)((context->now_ns - root->stop_ns) / 1000000));
    actor_exit(context);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct root *root = state;

    switch (message->type) {
    case NODE_MSG_START:
        on_start(context, root, message);
        break;
    case MESSAGE_STOP:
        on_stop(context, root);
        break;
    case MESSAGE_DEATH:
        on_death(root, message);
        break;
    case MESSAGE_GONE:
    case LISTENER_MSG_LISTENING:
        on_listening(context, root, message);
        break;
    default:
        break;
    }
}

static void pump(struct actor_context *context, void *state)
{
    struct root *root = state;

    if (root->binding > 0)
        return; /* going down, too, needs to know all listeners */
    if (root->stopping)
        pump_down(context, root);
    else if (!root->started)
        on_bound(context, root);
}

static void on_fini(struct actor_context *context, void *state)
{
    struct p2p_node *node = node_of(context);
    struct root *root = state;

    for (unsigned i = 0; i < P2P_LISTEN_ADDRESSES_MAX; i++)
        free(root->addresses[i].listeners);
    free(root->children);
    node_closed(node, root->start_error);
}

const struct actor_class node_actor_class = {
    .name = "node",
    .state_bytes = sizeof(struct root),
    .mail_max = 64,
    .receive = receive,
    .pump = pump,
    .fini = on_fini,
};
