#include "actors/interfaces.h"

#include "actors/addresses.h"
#include "actors/app.h"
#include "actors/connection_manager.h"
#include "actors/node_private.h"
#include "runtime/log.h"
#include "runtime/offload.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct interfaces {
    int socket; /* netlink; -1: changes go unnoticed */
    bool reading;
    bool again; /* another change came meanwhile */
    bool stopping;
};

/* What an offload thread reads. */
struct snapshot {
    struct sockaddr_storage list[ADDRESSES_INTERFACE_MAX];
    int count;
};

static int open_netlink(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

    if (descriptor < 0)
        return -1;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0)
        return descriptor;
    close(descriptor);
    return -1;
}

static void watch(struct actor_context *context, struct interfaces *interfaces)
{
    driver_watch(worker_driver(context->worker), interfaces->socket, POLLIN, context->self);
}

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    struct interfaces *interfaces = state;
    bool simulated = strcmp(driver_name(worker_driver(context->worker)), "sim") == 0;

    (void)argument;
    interfaces->socket = simulated ? -1 : open_netlink();
    if (interfaces->socket >= 0)
        watch(context, interfaces);
    else if (!simulated)
        LOG(context, LOG_LEVEL_DEBUG, "interfaces_unwatched", "reason=%s", strerror(errno));
    return 0;
}

/* What changed is not looked at: the whole list is read anew. */
static void on_ready(struct actor_context *context, struct interfaces *interfaces)
{
    char bytes[4096];

    while (recv(interfaces->socket, bytes, sizeof(bytes), 0) > 0)
        ;
    watch(context, interfaces);
    actor_deadline(context, context->now_ns + INTERFACES_SETTLE_NS);
}

static void read_interfaces(void *argument, uint64_t result[3])
{
    struct snapshot *snapshot = argument;

    snapshot->count = addresses_of_interfaces(snapshot->list, ADDRESSES_INTERFACE_MAX);
    result[0] = (uint64_t)(uintptr_t)snapshot;
}

static void on_timer(struct actor_context *context, struct interfaces *interfaces)
{
    struct snapshot *snapshot;

    interfaces->again = interfaces->reading;
    if (interfaces->reading || interfaces->stopping)
        return;
    snapshot = malloc(sizeof(*snapshot));
    if (snapshot && offload_run(context, 0, read_interfaces, snapshot, free) == 0) {
        interfaces->reading = true;
        return;
    }
    free(snapshot);
    actor_deadline(context, context->now_ns + INTERFACES_SETTLE_NS);
}

static void on_changed(struct actor_context *context)
{
    struct p2p_node *node = node_of(context);
    struct p2p_event event = {.type = P2P_EVENT_ADDRESSES_CHANGED};

    LOG(context, LOG_LEVEL_INFO, "addresses_changed", "count=%zu", addresses_list(node->own->addresses, NULL, 0));
    app_push(node->app, &event);
    connection_manager_push(node);
}

static void on_read(struct actor_context *context, struct interfaces *interfaces, const struct message *message)
{
    struct snapshot *snapshot = (struct snapshot *)(uintptr_t)message->body.u64[0];
    struct p2p_node *node = node_of(context);

    interfaces->reading = false;
    if (!interfaces->stopping && snapshot->count >= 0 &&
        addresses_set_interfaces(node->own->addresses, snapshot->list, (size_t)snapshot->count))
        on_changed(context);
    free(snapshot);
    if (interfaces->again)
        actor_deadline(context, context->now_ns + INTERFACES_SETTLE_NS);
}

static void on_stop(struct actor_context *context, struct interfaces *interfaces)
{
    interfaces->stopping = true;
    if (interfaces->socket < 0)
        return;
    driver_unwatch(worker_driver(context->worker), interfaces->socket);
    close(interfaces->socket);
    interfaces->socket = -1;
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct interfaces *interfaces = state;

    if (message->type == MESSAGE_STOP)
        on_stop(context, interfaces);
    else if (message->type == MESSAGE_TIMER)
        on_timer(context, interfaces);
    else if (message->type == MESSAGE_OFFLOADED)
        on_read(context, interfaces, message);
    else if (message->type == MESSAGE_IO_READY && interfaces->socket >= 0)
        on_ready(context, interfaces);
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
