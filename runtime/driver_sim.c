#include "runtime/sim_inner.h"

#include "runtime/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SIM_WALL_EPOCH_NS 1767225600000000000ull /* 2026-01-01T00:00:00Z, when each world begins */

static struct sim_driver *sim_of(struct driver *driver)
{
    return (struct sim_driver *)driver;
}

/* ---- The turn ------------------------------------------------------------ */

static unsigned turn(struct driver *base, uint64_t deadline_ns)
{
    struct sim_driver *driver = sim_of(base);
    struct sim_socket **ready = driver->ready;
    unsigned count = driver->ready_count;
    uint64_t before = base->delivered;
    bool rests;

    driver->ready = NULL;
    driver->ready_count = driver->ready_capacity = 0;
    for (unsigned left = count; left > 0; left--) {
        unsigned chosen = sim_draw_below(driver->world, left);
        struct sim_socket *socket = ready[chosen];

        ready[chosen] = ready[left - 1];
        sim_socket_visit(socket);
    }
    free(ready);
    rests = base->delivered == before && !driver->woken && deadline_ns > driver->world->now_ns;
    /* What could not go on for want of a buffer looks again after a while. */
    if (rests && driver->ready_count > 0 && deadline_ns > driver->world->now_ns + DRIVER_STARVED_RETRY_NS)
        deadline_ns = driver->world->now_ns + DRIVER_STARVED_RETRY_NS;
    driver->sleep_until_ns = rests ? deadline_ns : 0;
    driver->woken = false;
    base->stats.waits += rests;
    return (unsigned)(base->delivered - before);
}

static void wake(struct driver *driver)
{
    sim_of(driver)->woken = true;
    driver->wakes++;
    sim_rouse(sim_of(driver));
}

static int descriptor(struct driver *driver)
{
    (void)driver;
    return -1;
}

/* Whoever turns a simulated world asks it. */
static uint64_t due(struct driver *driver)
{
    (void)driver;
    return UINT64_MAX;
}

static uint64_t now_ns(struct driver *driver)
{
    return sim_of(driver)->world->now_ns;
}

static uint64_t wall_ns(struct driver *driver)
{
    return SIM_WALL_EPOCH_NS + sim_of(driver)->world->now_ns + (uint64_t)sim_of(driver)->host->wall_offset_ns;
}

static void entropy(struct driver *driver, void *out, size_t length)
{
    for (uint8_t *byte = out; length > 0; length--)
        *byte++ = (uint8_t)sim_draw(sim_of(driver)->world);
}

/* ---- Operations ---------------------------------------------------------- */

static struct sim_socket *open_socket(struct sim_driver *driver)
{
    struct sim_socket *socket = sim_socket_new(driver->host, driver);

    if (sim_host_take(driver->host, socket))
        return socket;
    driver->base.stats.sockets_open--;
    sim_socket_free(driver->world, socket, DRIVER_CLOSE_RESET);
    return NULL;
}

static int listen_on(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                     unsigned flags, struct sockaddr_storage *bound)
{
    struct sim_host *host = sim_of(driver)->host;
    struct sim_socket *socket;
    int result = sim_address_copy(bound, address, address_length);

    if (result == 0)
        result = sim_bind(host, bound, flags & DRIVER_LISTEN_SHARED);
    if (result < 0)
        return result;
    socket = open_socket(sim_of(driver));
    if (socket == NULL)
        return -EMFILE;
    socket->listening = true;
    socket->local = *bound;
    sim_listener_add(host, socket);
    return socket->number;
}

static int connect_to(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                      struct actor_ref owner)
{
    struct sockaddr_storage remote;
    struct sim_socket *socket;
    int result = sim_address_copy(&remote, address, address_length);

    if (result < 0)
        return result;
    socket = open_socket(sim_of(driver));
    if (socket == NULL)
        return -EMFILE;
    socket->remote = remote;
    sim_local_address(socket->host, &socket->local, &remote);
    socket->sender = owner;
    socket->connecting = true;
    sim_socket_begin(socket);
    return socket->number;
}

/* Also of driver_accept(). */
static void receive(struct driver *driver, int number, struct actor_ref owner)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    assert(socket->receive_buffer == NULL);
    socket->receiver = owner;
    if (socket->receiving)
        return;
    socket->receiving = true;
    sim_socket_begin(socket);
}

static void receive_stop(struct driver *driver, int number)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    if (socket->receive_buffer != NULL)
        sim_socket_end_receive(socket, -ECANCELED);
    else if (socket->receiving)
        sim_socket_end(socket);
    socket->receiving = false;
}

static void receive_into(struct driver *driver, int number, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    assert(!socket->listening && !socket->receiving && socket->receive_buffer == NULL);
    assert(offset < buffer->capacity);
    socket->receiver = owner;
    socket->receive_buffer = buffer;
    socket->receive_offset = offset;
    sim_socket_begin(socket);
}

static bool receive_idle(struct driver *driver, int number)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    return !socket->receiving && socket->receive_buffer == NULL;
}

static void send_bytes(struct driver *driver, int number, struct actor_ref owner, struct buffer *buffer,
                       uint32_t offset, uint32_t length)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    assert(!socket->listening && socket->send_buffer == NULL);
    assert(length > 0 && offset <= buffer->capacity && length <= buffer->capacity - offset);
    socket->sender = owner;
    socket->send_buffer = buffer;
    socket->send_offset = offset;
    socket->send_length = length;
    socket->sent = 0;
    sim_socket_begin(socket);
}

static void shutdown_write(struct driver *driver, int number)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    if (socket->send_buffer != NULL)
        socket->shutting = true;
    else
        sim_socket_shut(socket);
}

static void close_socket(struct driver *driver, int number, enum driver_close_how how)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);
    unsigned operations = socket->receiving + socket->connecting;

    operations += (socket->receive_buffer != NULL) + (socket->send_buffer != NULL);
    while (operations-- > 0)
        sim_socket_end(socket);
    buffer_unref(socket->receive_buffer);
    buffer_unref(socket->send_buffer);
    sim_socket_rest(socket);
    driver->stats.sockets_open--;
    sim_socket_free(sim_of(driver)->world, socket, how);
}

static void release(struct driver *driver, int number)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    assert(receive_idle(driver, number) && socket->send_buffer == NULL && !socket->connecting);
    sim_socket_rest(socket);
    driver->stats.sockets_open--;
    socket->driver = NULL;
}

static void adopt(struct driver *driver, int number)
{
    struct sim_world *world = sim_of(driver)->world;
    struct sim_socket *socket = world->sockets[number - SIM_SOCKET_FIRST];

    assert(socket != NULL && socket->driver == NULL);
    socket->driver = sim_of(driver);
    driver->stats.sockets_open++;
}

static int names(struct driver *driver, int number, struct sockaddr_storage *local, struct sockaddr_storage *remote)
{
    struct sim_socket *socket = sim_socket_at(sim_of(driver), number);

    *local = socket->local;
    *remote = socket->remote;
    return socket->peer == NULL && (socket->reset || socket->dead) ? -ENOTCONN : 0;
}

/* What has arrived; what is lost never does. */
static uint64_t acknowledged(struct driver *driver, int number)
{
    const struct sim_socket *socket = sim_socket_at(sim_of(driver), number);
    uint64_t under_way = socket->peer != NULL ? socket->peer->flight.bytes : socket->lost_bytes;

    return socket->sent_bytes - under_way;
}

static void watch(struct driver *driver, int foreign, unsigned events, struct actor_ref owner)
{
    (void)events;
    driver_deliver(driver, MESSAGE_IO_READY, owner, -EOPNOTSUPP, foreign);
}

static void unwatch(struct driver *driver, int foreign)
{
    (void)driver;
    (void)foreign;
}

/* ---- Life ---------------------------------------------------------------- */

static void sim_free(struct driver *driver)
{
    struct sim_world *world = sim_of(driver)->world;

    for (unsigned i = 0; driver->stats.sockets_open > 0 && i < world->socket_count; i++)
        if (world->sockets[i] != NULL && world->sockets[i]->driver == sim_of(driver))
            close_socket(driver, world->sockets[i]->number, DRIVER_CLOSE_ORDERLY);
    sim_list_remove(&world->drivers, sim_of(driver));
    sim_list_remove(&world->runnable, sim_of(driver));
    sim_events_forget(world, sim_of(driver));
    free(sim_of(driver)->ready);
    free(driver);
}

static const struct driver_operations sim_operations = {
    .name = "sim",
    .turn = turn,
    .wake = wake,
    .descriptor = descriptor,
    .due = due,
    .free = sim_free,
    .now_ns = now_ns,
    .wall_ns = wall_ns,
    .entropy = entropy,
    .listen = listen_on,
    .accept = receive,
    .accept_stop = receive_stop,
    .connect = connect_to,
    .adopt = adopt,
    .release = release,
    .receive = receive,
    .receive_stop = receive_stop,
    .receive_into = receive_into,
    .receive_idle = receive_idle,
    .send = send_bytes,
    .shutdown_write = shutdown_write,
    .close_socket = close_socket,
    .names = names,
    .acknowledged = acknowledged,
    .watch = watch,
    .unwatch = unwatch,
};

struct driver *driver_sim_new(struct worker *worker, struct buffer_pool *pool, struct sim_world *world, int *error)
{
    struct sim_driver *driver = sim_must(calloc(1, sizeof(*driver)));

    *error = 0;
    driver_init(&driver->base, &sim_operations, worker, pool);
    driver->world = world;
    driver->host = world->settling;
    driver->index = world->drivers_made++;
    driver->event_ns = UINT64_MAX;
    sim_list_add(&world->drivers, driver);
    sim_rouse(driver);
    return &driver->base;
}

