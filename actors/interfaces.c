#include "actors/interfaces.h"

#include "actors/addresses.h"
#include "actors/app.h"
#include "actors/connection_manager.h"
#include "actors/local.h"
#include "actors/node_private.h"
#include "runtime/buffer.h"
#include "runtime/log.h"
#include "runtime/offload.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum interfaces_message {
    INTERFACES_MSG_LOOK = MESSAGE_OWN, /* to the first: there may be news */
    INTERFACES_MSG_FOUND,              /* from the first; buffer: a struct snapshot */
};

struct interfaces {
    struct interfaces *next; /* on the worker's list */
    struct actor_ref self;
    int socket;  /* netlink, of the first; -1: changes go unnoticed until the next try */
    bool looks;  /* the timer is set */
    bool reading;
    bool again;  /* another change came meanwhile */
    bool stopping;
};

/* What an offload thread reads. */
struct snapshot {
    struct sockaddr_storage list[ADDRESSES_INTERFACE_MAX];
    int count;
};

/* ---- the first of a worker ---- */

static struct interfaces **first_of(struct actor_context *context)
{
    struct local *local = worker_local(context->worker);

    return &local->interfaces;
}

static bool is_first(struct actor_context *context, const struct interfaces *interfaces)
{
    return *first_of(context) == interfaces;
}

/* A link that goes down keeps its addresses, but nobody reaches them. */
static int open_netlink(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                  .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

    if (descriptor < 0)
        return -1;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0)
        return descriptor;
    close(descriptor);
    return -1;
}

/* Looks when the changes have settled, or after so long; a look that is due
 * stays, so that changes without end do not put it off. */
static void look_in(struct actor_context *context, struct interfaces *interfaces, uint64_t delay_ns)
{
    if (interfaces->looks)
        return;
    interfaces->looks = true;
    actor_deadline(context, context->now_ns + delay_ns);
}

static void unwatched(struct actor_context *context, struct interfaces *interfaces, int error)
{
    LOG(context, LOG_LEVEL_DEBUG, "interfaces_unwatched", "reason=%s retry_ms=%u", strerror(error),
        (unsigned)(INTERFACES_RETRY_NS / 1000000));
    look_in(context, interfaces, INTERFACES_RETRY_NS);
}

static void watch(struct actor_context *context, struct interfaces *interfaces)
{
    if (interfaces->socket < 0)
        interfaces->socket = open_netlink();
    if (interfaces->socket < 0)
        unwatched(context, interfaces, errno);
    else
        driver_watch(worker_driver(context->worker), interfaces->socket, POLLIN, context->self);
}

/* What changed is not looked at: the whole list is read anew. */
static void on_ready(struct actor_context *context, struct interfaces *interfaces, const struct message *message)
{
    char bytes[4096];
    int64_t result = message->body.i64[0];

    if (interfaces->socket < 0)
        return; /* the next has it by now */
    if (result < 0) {
        close(interfaces->socket);
        interfaces->socket = -1;
        unwatched(context, interfaces, (int)-result);
        return;
    }
    for (unsigned i = 0; i < INTERFACES_READS_MAX && recv(interfaces->socket, bytes, sizeof(bytes), 0) > 0; i++)
        continue;
    watch(context, interfaces);
    look_in(context, interfaces, INTERFACES_SETTLE_NS);
}

static void tell_look(struct actor_context *context, const struct interfaces *first)
{
    struct message message = {.type = INTERFACES_MSG_LOOK, .kind = MESSAGE_CONTROL, .to = first->self};

    actor_tell(context, &message);
}

/* A change may lie between what its node knows and our watch. */
static void join(struct actor_context *context, struct interfaces *interfaces)
{
    struct interfaces **at = first_of(context);

    while (*at)
        at = &(*at)->next;
    *at = interfaces;
    if (is_first(context, interfaces))
        watch(context, interfaces);
    tell_look(context, *first_of(context));
}

/* The socket goes to the next, and what is due with it. */
static void leave(struct actor_context *context, struct interfaces *interfaces)
{
    struct driver *driver = worker_driver(context->worker);
    struct interfaces **at = first_of(context), *next;
    int socket = interfaces->socket;

    while (*at && *at != interfaces)
        at = &(*at)->next;
    if (!*at)
        return; /* a simulated one */
    *at = next = interfaces->next;
    interfaces->socket = -1;
    if (at != first_of(context))
        return;
    if (next && socket >= 0) {
        next->socket = socket;
        driver_watch(driver, socket, POLLIN, next->self);
    } else if (socket >= 0) {
        driver_unwatch(driver, socket);
        close(socket);
    }
    if (next && (interfaces->looks || interfaces->again))
        tell_look(context, next);
}

static void read_interfaces(void *argument, uint64_t result[3])
{
    struct buffer *buffer = argument;
    struct snapshot *snapshot = (struct snapshot *)(void *)buffer->data;

    snapshot->count = addresses_of_interfaces(snapshot->list, ADDRESSES_INTERFACE_MAX);
    result[0] = (uint64_t)(uintptr_t)buffer;
}

static void drop_snapshot(void *argument)
{
    buffer_unref(argument);
}

static void on_timer(struct actor_context *context, struct interfaces *interfaces)
{
    struct buffer *buffer;

    interfaces->looks = false;
    if (!is_first(context, interfaces))
        return;
    if (interfaces->socket < 0)
        watch(context, interfaces);
    interfaces->again = interfaces->reading;
    if (interfaces->reading)
        return;
    buffer = buffer_new_foreign(sizeof(struct snapshot));
    interfaces->reading = buffer && offload_run(context, 0, read_interfaces, buffer, drop_snapshot) == 0;
    if (interfaces->reading)
        return;
    buffer_unref(buffer);
    look_in(context, interfaces, INTERFACES_SETTLE_NS);
}

/* ---- each of them ---- */

static void on_changed(struct actor_context *context)
{
    struct p2p_node *node = node_of(context);
    struct p2p_event event = {.type = P2P_EVENT_ADDRESSES_CHANGED};

    LOG(context, LOG_LEVEL_INFO, "addresses_changed", "count=%zu", addresses_list(node->own->addresses, NULL, 0));
    app_push(node->app, &event);
    connection_manager_push(node);
}

static void on_found(struct actor_context *context, const struct interfaces *interfaces, const struct buffer *buffer)
{
    const struct snapshot *snapshot = (const struct snapshot *)(const void *)buffer->data;

    if (!interfaces->stopping && snapshot->count >= 0 &&
        addresses_set_interfaces(node_of(context)->own->addresses, snapshot->list, (size_t)snapshot->count))
        on_changed(context);
}

static void on_read(struct actor_context *context, struct interfaces *interfaces, const struct message *read)
{
    struct buffer *buffer = (struct buffer *)(uintptr_t)read->body.u64[0];

    interfaces->reading = false;
    for (const struct interfaces *at = *first_of(context); at; at = at->next) {
        struct message message = {.type = INTERFACES_MSG_FOUND, .kind = MESSAGE_CONTROL, .to = at->self};

        message.buffer = buffer_ref(buffer);
        actor_tell(context, &message);
    }
    buffer_unref(buffer);
    if (interfaces->again && is_first(context, interfaces))
        look_in(context, interfaces, INTERFACES_SETTLE_NS);
    interfaces->again = false;
}

static void on_look(struct actor_context *context, struct interfaces *interfaces)
{
    if (is_first(context, interfaces))
        look_in(context, interfaces, INTERFACES_SETTLE_NS);
    else if (*first_of(context))
        tell_look(context, *first_of(context));
}

/* Simulated machines have no interfaces. */
static int on_init(struct actor_context *context, void *state, const void *argument)
{
    struct interfaces *interfaces = state;

    (void)argument;
    interfaces->self = context->self;
    interfaces->socket = -1;
    if (strcmp(driver_name(worker_driver(context->worker)), "sim") != 0)
        join(context, interfaces);
    return 0;
}

static void on_stop(struct actor_context *context, struct interfaces *interfaces)
{
    interfaces->stopping = true;
    leave(context, interfaces);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct interfaces *interfaces = state;

    switch (message->type) {
    case MESSAGE_STOP:
        on_stop(context, interfaces);
        break;
    case MESSAGE_TIMER:
        on_timer(context, interfaces);
        break;
    case MESSAGE_OFFLOADED:
        on_read(context, interfaces, message);
        break;
    case MESSAGE_IO_READY:
        on_ready(context, interfaces, message);
        break;
    case INTERFACES_MSG_LOOK:
        on_look(context, interfaces);
        break;
    case INTERFACES_MSG_FOUND:
        on_found(context, interfaces, message->buffer);
        break;
    default:
        break;
    }
}

static void pump(struct actor_context *context, void *state)
{
    struct interfaces *interfaces = state;

    if (interfaces->stopping && !interfaces->reading)
        actor_exit(context);
}

const struct actor_class interfaces_class = {
    .name = "interfaces",
    .state_bytes = sizeof(struct interfaces),
    .mail_max = 8,
    .init = on_init,
    .receive = receive,
    .pump = pump,
};
