#include "runtime/sim_inner.h"

#include "runtime/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void tell(struct sim_socket *socket, enum message_type type, struct actor_ref to, int64_t result)
{
    sim_note(socket->driver, type, result, socket->number);
    driver_deliver(&socket->driver->base, type, to, result, socket->number);
}

static void tell_bytes(struct sim_socket *socket, int64_t result, struct buffer *buffer, uint32_t offset)
{
    sim_note(socket->driver, MESSAGE_IO_RECEIVED, result, socket->number);
    driver_deliver_bytes(&socket->driver->base, socket->receiver, result, socket->number, buffer, offset);
}

/* ---- Sockets ------------------------------------------------------------- */

struct sim_socket *sim_socket_new(struct sim_host *host, struct sim_driver *driver)
{
    struct sim_world *world = host->world;
    struct sim_socket *socket = sim_must(reallocarray(NULL, 1, sizeof(*socket)));
    unsigned index = world->socket_free;

    /* The lowest free number, as in the kernel. */
    while (index < world->socket_count && world->sockets[index] != NULL)
        index++;
    if (index == world->socket_capacity) {
        world->socket_capacity = world->socket_capacity * 2 + 64;
        world->sockets = sim_must(reallocarray(world->sockets, world->socket_capacity, sizeof(*world->sockets)));
    }
    if (index == world->socket_count)
        world->socket_count++;
    *socket = (struct sim_socket){0};
    world->sockets[index] = socket;
    world->socket_free = index + 1;
    socket->number = SIM_SOCKET_FIRST + (int)index;
    socket->serial = ++world->serial;
    socket->failure = -ECONNRESET;
    socket->host = host;
    socket->driver = driver;
    if (driver != NULL)
        driver->base.stats.sockets_open++;
    return socket;
}

struct sim_socket *sim_socket_at(const struct sim_driver *driver, int number)
{
    struct sim_world *world = driver->world;
    struct sim_socket *socket;

    assert(number >= SIM_SOCKET_FIRST && (unsigned)(number - SIM_SOCKET_FIRST) < world->socket_count);
    socket = world->sockets[number - SIM_SOCKET_FIRST];
    assert(socket != NULL && socket->driver == driver);
    return socket;
}

void sim_socket_ready(struct sim_socket *socket)
{
    struct sim_driver *driver = socket->driver;

    if (socket->ready || driver == NULL)
        return;
    if (driver->ready_count == driver->ready_capacity) {
        driver->ready_capacity = driver->ready_capacity * 2 + 16;
        driver->ready = sim_must(reallocarray(driver->ready, driver->ready_capacity, sizeof(*driver->ready)));
    }
    driver->ready[driver->ready_count++] = socket;
    socket->ready = true;
    sim_rouse(driver);
}

void sim_socket_rest(struct sim_socket *socket)
{
    struct sim_driver *driver = socket->driver;
    unsigned kept = 0;

    for (unsigned i = 0; socket->ready && i < driver->ready_count; i++)
        if (driver->ready[i] != socket)
            driver->ready[kept++] = driver->ready[i];
    if (socket->ready)
        driver->ready_count = kept;
    socket->ready = false;
}

void sim_socket_begin(struct sim_socket *socket)
{
    socket->driver->base.stats.operations_in_flight++;
    sim_socket_ready(socket);
}

void sim_socket_end(struct sim_socket *socket)
{
    assert(socket->driver->base.stats.operations_in_flight > 0);
    socket->driver->base.stats.operations_in_flight--;
}

/* ---- Operations that may go on ------------------------------------------- */

static void go_on_connecting(struct sim_socket *socket)
{
    if (!socket->known && !socket->asking)
        sim_link_connect(socket);
    if (!socket->known)
        return;
    socket->connecting = false;
    socket->dead = socket->connected < 0;
    sim_socket_end(socket);
    tell(socket, MESSAGE_IO_CONNECTED, socket->sender, socket->connected);
}

static int accept_error(struct sim_socket *socket)
{
    static const int errors[] = {-EMFILE, -ENFILE, -ENOMEM, -ENOBUFS};
    struct sim_world *world = socket->driver->world;

    if (!sim_draw_ppm(world, socket->host->errors_ppm))
        return -EMFILE;
    world->stats.errors++;
    return errors[sim_draw_below(world, sizeof(errors) / sizeof(errors[0]))];
}

/* False: it is off. */
static bool accept_one(struct sim_socket *socket)
{
    struct sim_socket *accepted = socket->waiting_first;
    bool fails = sim_draw_ppm(socket->driver->world, socket->host->errors_ppm);
    int64_t result;

    if (fails || !sim_host_take(socket->host, accepted)) {
        result = accept_error(socket);
        socket->receiving = false;
        sim_socket_end(socket);
    } else {
        socket->waiting_first = accepted->waiting_next;
        socket->waiting--;
        accepted->driver = socket->driver;
        accepted->driver->base.stats.sockets_open++;
        result = accepted->number;
    }
    sim_note(socket->driver, MESSAGE_IO_ACCEPTED, result, socket->number);
    driver_deliver(&socket->driver->base, MESSAGE_IO_ACCEPTED, socket->receiver, result, socket->number);
    return result >= 0;
}

static void go_on_accepting(struct sim_socket *socket)
{
    uint32_t count = 1 + sim_draw_below(socket->driver->world, SIM_VISIT_BUFFERS_MAX);

    while (count-- > 0 && socket->waiting_first != NULL && accept_one(socket))
        continue;
}

/* Moves up to `room` bytes out of what has arrived. */
static uint32_t take_bytes(struct sim_socket *socket, uint8_t *out, uint32_t room)
{
    uint32_t left = room < socket->inbound.bytes ? room : socket->inbound.bytes;
    uint32_t moved = 0;

    left = sim_draw_part(socket->driver->world, left);
    socket->inbound.bytes -= left;
    while (left > 0) {
        struct sim_segment *segment = socket->inbound.first;
        uint32_t length = segment->length - segment->offset < left ? segment->length - segment->offset : left;

        memcpy(out + moved, segment->data + segment->offset, length);
        moved += length;
        left -= length;
        segment->offset += length;
        if (segment->offset == segment->length) {
            socket->inbound.first = segment->next;
            free(segment);
        }
    }
    if (socket->peer != NULL && socket->peer->send_buffer != NULL) /* there is room again */
        sim_socket_ready(socket->peer);
    return moved;
}

void sim_socket_end_receive(struct sim_socket *socket, int64_t result)
{
    struct buffer *buffer = socket->receive_buffer;

    socket->receive_buffer = NULL;
    socket->receiving = false;
    sim_socket_end(socket);
    tell_bytes(socket, result, buffer, buffer != NULL ? socket->receive_offset : 0);
}

/* False: no more for now. */
static bool receive_once(struct sim_socket *socket)
{
    struct buffer *buffer = socket->receive_buffer;
    uint32_t offset = socket->receive_offset;

    if (socket->inbound.bytes > 0 && buffer != NULL) {
        sim_socket_end_receive(socket, take_bytes(socket, buffer->data + offset, buffer->capacity - offset));
        return false;
    }
    if (socket->inbound.bytes > 0) {
        buffer = buffer_new(socket->driver->base.pool, BUFFER_SMALL_BYTES);
        if (buffer != NULL)
            tell_bytes(socket, take_bytes(socket, buffer->data, buffer->capacity), buffer, 0);
        return buffer != NULL;
    }
    if (socket->reset)
        socket->dead = true;
    if (socket->reset || socket->ended || socket->dead)
        sim_socket_end_receive(socket, socket->reset ? socket->failure : socket->ended ? 0 : -ENOTCONN);
    return false;
}

static void go_on_receiving(struct sim_socket *socket)
{
    uint32_t count = 1 + sim_draw_below(socket->driver->world, SIM_VISIT_BUFFERS_MAX);

    while (count-- > 0 && (socket->receiving || socket->receive_buffer != NULL) && receive_once(socket))
        continue;
}

/* What the peer has not read, or not yet got, holds us back; so does one who
 * cannot tell us that he has. */
static uint32_t room_of(const struct sim_socket *socket)
{
    const struct sim_socket *peer = socket->peer;

    if (peer == NULL)
        return SIM_PIPE_BYTES_MAX - socket->lost_bytes;
    if (peer->inbound.bytes + peer->flight.bytes >= SIM_PIPE_BYTES_MAX)
        return 0;
    if (!sim_path(peer->host, socket->host) && peer->inbound.bytes + peer->flight.bytes > 0)
        return 0;
    return SIM_PIPE_BYTES_MAX - peer->inbound.bytes - peer->flight.bytes;
}

/* How many bytes the link takes now, or -errno; 0: wait. */
static int64_t send_some(struct sim_socket *socket)
{
    uint32_t room, length = socket->send_length;

    if (socket->dead || socket->reset || socket->shut)
        return socket->reset && !socket->dead ? socket->failure : -EPIPE;
    if (socket->peer == NULL && !socket->orphan) { /* closed in order, and answers with RST */
        sim_link_end(socket, SIM_RESET);
        return length;
    }
    room = room_of(socket);
    if (room == 0)
        return 0;
    length = sim_draw_part(socket->driver->world, length < room ? length : room);
    socket->sent_bytes += length;
    if (socket->peer == NULL) {
        socket->lost_bytes += length;
        sim_link_probe(socket);
    } else {
        sim_link_bytes(socket->peer, socket->send_buffer->data + socket->send_offset, length);
    }
    return length;
}

void sim_socket_shut(struct sim_socket *socket)
{
    socket->shut = true;
    if (socket->peer != NULL)
        sim_link_end(socket->peer, SIM_END);
    else if (socket->orphan)
        sim_link_probe(socket);
}

static void go_on_sending(struct sim_socket *socket)
{
    int64_t result = send_some(socket);

    if (result == 0)
        return;
    if (result > 0) {
        socket->sent += (uint32_t)result;
        socket->send_offset += (uint32_t)result;
        socket->send_length -= (uint32_t)result;
    }
    if (result > 0 && socket->shutting && socket->send_length > 0)
        return; /* short: the end comes after all of it */
    buffer_unref(socket->send_buffer);
    socket->send_buffer = NULL;
    sim_socket_end(socket);
    if (socket->shutting)
        sim_socket_shut(socket);
    socket->shutting = false;
    tell(socket, MESSAGE_IO_SENT, socket->sender, socket->sent > 0 ? socket->sent : result);
}

static bool can_go_on(const struct sim_socket *socket)
{
    bool receives = socket->receiving || socket->receive_buffer != NULL;

    if (socket->listening)
        return receives && socket->waiting_first != NULL;
    if (socket->connecting)
        return socket->known || !socket->asking;
    if (socket->send_buffer != NULL &&
        (socket->dead || socket->reset || (socket->peer == NULL && !socket->orphan) || room_of(socket) > 0))
        return true;
    return receives && (socket->inbound.bytes > 0 || socket->reset || socket->ended || socket->dead);
}

void sim_socket_visit(struct sim_socket *socket)
{
    socket->ready = false;
    if (!can_go_on(socket))
        return;
    if (socket->connecting)
        go_on_connecting(socket);
    else if (socket->listening)
        go_on_accepting(socket);
    if (socket->send_buffer != NULL)
        go_on_sending(socket);
    if (!socket->listening)
        go_on_receiving(socket);
    if (can_go_on(socket))
        sim_socket_ready(socket);
}

/* ---- The end ------------------------------------------------------------- */

static void drop_backlog(struct sim_world *world, struct sim_socket *listener)
{
    while (listener->waiting_first != NULL) {
        struct sim_socket *waiting = listener->waiting_first;

        listener->waiting_first = waiting->waiting_next;
        sim_socket_free(world, waiting, DRIVER_CLOSE_RESET);
    }
    sim_listener_remove(listener);
}

/* What is still on its way to it meets a closed socket, and is answered with RST. */
static void tell_peer(struct sim_socket *socket, enum driver_close_how how)
{
    struct sim_socket *peer = socket->peer;
    bool unread = socket->inbound.bytes > 0;

    if (peer == NULL)
        return;
    peer->peer = NULL;
    if (how == DRIVER_CLOSE_RESET || unread) {
        sim_link_end(peer, SIM_RESET);
        return;
    }
    if (!socket->shut)
        sim_link_end(peer, SIM_END);
    if (socket->flight.bytes > 0)
        sim_link_end(peer, SIM_RESET);
}

void sim_socket_free(struct sim_world *world, struct sim_socket *socket, enum driver_close_how how)
{
    unsigned index = (unsigned)(socket->number - SIM_SOCKET_FIRST);

    if (socket->listening)
        drop_backlog(world, socket);
    tell_peer(socket, how);
    sim_queue_clear(&socket->flight);
    sim_queue_clear(&socket->inbound);
    socket->host->sockets -= socket->counted;
    world->sockets[index] = NULL;
    if (index < world->socket_free)
        world->socket_free = index;
    free(socket);
}
