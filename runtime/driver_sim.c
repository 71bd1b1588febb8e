#include "runtime/driver_sim.h"

#include "runtime/buffer.h"
#include "runtime/driver_inner.h"
#include "runtime/worker.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define SIM_WALL_EPOCH_NS 1767225600000000000ull /* 2026-01-01T00:00:00Z, when each world begins */
#define SIM_NOW_FIRST_NS 1000000000ull           /* 0 would mean "do not wait" to a driver */

/* Bytes on their way to a socket, or arrived and not yet received. */
struct segment {
    struct segment *next;
    uint32_t offset, length;
    uint8_t data[];
};

struct sim_socket {
    int number;
    struct sim_driver *driver; /* NULL: in a backlog, or between release and adoption */
    struct sim_socket *peer;   /* NULL: none, or not any more */
    struct sockaddr_storage local, remote;
    struct actor_ref receiver, sender;
    struct buffer *receive_buffer, *send_buffer; /* NULL: no such operation */
    uint32_t receive_offset, send_offset, send_length;
    uint32_t sent; /* of the send in flight */
    struct segment *first, *last; /* inbound */
    uint32_t inbound_bytes;
    uint64_t sent_bytes;
    struct sim_socket *waiting_first, *waiting_last; /* a listener's backlog */
    struct sim_socket *waiting_next;
    unsigned waiting;
    bool listening, shared;
    bool receiving; /* driver_receive() or driver_accept() is on */
    bool connecting;
    bool shutting;  /* the end follows the send in flight */
    bool shut;      /* it has been sent */
    bool ended;     /* the peer's FIN lies behind the inbound bytes */
    bool reset;     /* the peer's RST does */
    bool dead;      /* and has been told */
    bool ready;     /* on its driver's list */
};

struct sim_driver {
    struct driver base;
    struct sim_world *world;
    unsigned index;
    struct sim_socket **ready; /* operations that may go on */
    unsigned ready_count, ready_capacity;
    bool woken;
    uint64_t sleep_until_ns; /* 0: it has work due */
};

struct sim_world {
    uint64_t random;
    uint64_t now_ns;
    uint64_t trace;
    uint16_t next_port;
    struct sim_driver **drivers;
    unsigned driver_count, drivers_made;
    struct sim_socket **sockets; /* by number, NULL: free */
    unsigned socket_count;
    struct sim_socket **listeners;
    unsigned listener_count;
};

static struct sim_driver *sim_of(struct driver *driver)
{
    return (struct sim_driver *)driver;
}

/* Tests have memory. */
static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ---- Chance and trace ---------------------------------------------------- */

static uint64_t mix(uint64_t value)
{
    /* The finaliser of splitmix64. */
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

static uint64_t draw(struct sim_world *world)
{
    world->random += 0x9e3779b97f4a7c15u;
    return mix(world->random);
}

/* In [0, bound). */
static uint32_t draw_below(struct sim_world *world, uint32_t bound)
{
    return (uint32_t)((draw(world) >> 32) * bound >> 32);
}

/* All of `available`, or, one time in four, a part of it: at least 1. */
static uint32_t draw_part(struct sim_world *world, uint32_t available)
{
    return draw_below(world, 4) == 0 ? 1 + draw_below(world, available) : available;
}

static void note(struct sim_driver *driver, enum message_type type, int64_t result, int socket)
{
    struct sim_world *world = driver->world;

    world->trace = mix(world->trace ^ world->now_ns) + driver->index;
    world->trace = mix(world->trace ^ (uint64_t)type << 32 ^ (uint64_t)(uint32_t)socket) + (uint64_t)result;
}

static void tell(struct sim_socket *socket, enum message_type type, struct actor_ref to, int64_t result)
{
    note(socket->driver, type, result, socket->number);
    driver_deliver(&socket->driver->base, type, to, result, socket->number);
}

static void tell_bytes(struct sim_socket *socket, int64_t result, struct buffer *buffer, uint32_t offset)
{
    note(socket->driver, MESSAGE_IO_RECEIVED, result, socket->number);
    driver_deliver_bytes(&socket->driver->base, socket->receiver, result, socket->number, buffer, offset);
}

/* ---- Addresses ----------------------------------------------------------- */

static uint16_t port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                : ((const struct sockaddr_in *)address)->sin_port);
}

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

static bool is_any(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return ((const struct sockaddr_in *)address)->sin_addr.s_addr == 0;
}

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET6)
        return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
                                  &((const struct sockaddr_in6 *)b)->sin6_addr);
    return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

/* Would the one hear what is meant for the other? */
static bool overlap(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    return a->ss_family == b->ss_family && port_of(a) == port_of(b) && (is_any(a) || is_any(b) || same_host(a, b));
}

static int copy_address(struct sockaddr_storage *out, const struct sockaddr *address, socklen_t length)
{
    socklen_t expected = address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
        return -EAFNOSUPPORT;
    if (length < expected)
        return -EINVAL;
    memset(out, 0, sizeof(*out));
    memcpy(out, address, expected);
    return 0;
}

static bool taken(const struct sim_world *world, const struct sockaddr_storage *address, bool shared)
{
    for (unsigned i = 0; i < world->listener_count; i++)
        if (!shared && overlap(&world->listeners[i]->local, address))
            return true;
    return false;
}

static uint16_t free_port(struct sim_world *world, struct sockaddr_storage *address)
{
    do {
        if (world->next_port < SIM_EPHEMERAL_PORT_FIRST)
            world->next_port = SIM_EPHEMERAL_PORT_FIRST;
        set_port(address, world->next_port++);
    } while (taken(world, address, false));
    return port_of(address);
}

/* Who listens there; one of several siblings is drawn. */
static struct sim_socket *find_listener(struct sim_world *world, const struct sockaddr_storage *remote)
{
    struct sim_socket *found = NULL;
    uint32_t count = 0;

    for (unsigned i = 0; i < world->listener_count; i++)
        if (overlap(&world->listeners[i]->local, remote) && draw_below(world, ++count) == 0)
            found = world->listeners[i];
    return found;
}

/* ---- Sockets ------------------------------------------------------------- */

static struct sim_socket *socket_new(struct sim_world *world, struct sim_driver *driver)
{
    struct sim_socket *socket = must(calloc(1, sizeof(*socket)));
    unsigned index = 0;

    /* The lowest free number, as in the kernel. */
    while (index < world->socket_count && world->sockets[index] != NULL)
        index++;
    if (index == world->socket_count) {
        world->sockets = must(realloc(world->sockets, (index + 1) * sizeof(*world->sockets)));
        world->socket_count++;
    }
    world->sockets[index] = socket;
    socket->number = SIM_SOCKET_FIRST + (int)index;
    socket->driver = driver;
    if (driver != NULL)
        driver->base.stats.sockets_open++;
    return socket;
}

static struct sim_socket *socket_at(const struct sim_driver *driver, int number)
{
    struct sim_world *world = driver->world;
    struct sim_socket *socket;

    assert(number >= SIM_SOCKET_FIRST && (unsigned)(number - SIM_SOCKET_FIRST) < world->socket_count);
    socket = world->sockets[number - SIM_SOCKET_FIRST];
    assert(socket != NULL && socket->driver == driver);
    return socket;
}

/* It may go on in its driver's next turn. */
static void set_ready(struct sim_socket *socket)
{
    struct sim_driver *driver = socket->driver;

    if (socket->ready || driver == NULL)
        return;
    if (driver->ready_count == driver->ready_capacity) {
        driver->ready_capacity = driver->ready_capacity * 2 + 16;
        driver->ready = must(realloc(driver->ready, driver->ready_capacity * sizeof(*driver->ready)));
    }
    driver->ready[driver->ready_count++] = socket;
    socket->ready = true;
}

static void clear_ready(struct sim_socket *socket)
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

static void begin(struct sim_socket *socket)
{
    socket->driver->base.stats.operations_in_flight++;
    set_ready(socket);
}

static void end(struct sim_socket *socket)
{
    assert(socket->driver->base.stats.operations_in_flight > 0);
    socket->driver->base.stats.operations_in_flight--;
}

/* ---- What crosses a link: the place for faults --------------------------- */

static void link_bytes(struct sim_socket *to, const uint8_t *bytes, uint32_t length)
{
    struct segment *segment = must(malloc(sizeof(*segment) + length));

    *segment = (struct segment){.length = length};
    memcpy(segment->data, bytes, length);
    if (to->first == NULL)
        to->first = segment;
    else
        to->last->next = segment;
    to->last = segment;
    to->inbound_bytes += length;
    set_ready(to);
}

static void link_end(struct sim_socket *to)
{
    to->ended = true;
    set_ready(to);
}

static void link_reset(struct sim_socket *to)
{
    to->reset = true;
    set_ready(to);
}

static void link_connect(struct sim_socket *from, struct sim_socket *listener)
{
    struct sim_socket *far = socket_new(from->driver->world, NULL);

    far->local = from->remote;
    far->remote = from->local;
    far->peer = from;
    from->peer = far;
    if (listener->waiting_first == NULL)
        listener->waiting_first = far;
    else
        listener->waiting_last->waiting_next = far;
    listener->waiting_last = far;
    listener->waiting++;
    set_ready(listener);
}

/* ---- Operations that may go on ------------------------------------------- */

static void go_on_connecting(struct sim_socket *socket)
{
    struct sim_socket *listener = find_listener(socket->driver->world, &socket->remote);
    int result = 0;

    if (listener == NULL || listener->waiting >= DRIVER_LISTEN_BACKLOG_CONNECTIONS)
        result = -ECONNREFUSED;
    else
        link_connect(socket, listener);
    socket->connecting = false;
    socket->dead = result < 0;
    end(socket);
    tell(socket, MESSAGE_IO_CONNECTED, socket->sender, result);
}

static void go_on_accepting(struct sim_socket *socket)
{
    uint32_t count = 1 + draw_below(socket->driver->world, SIM_VISIT_BUFFERS_MAX);

    while (count-- > 0 && socket->waiting_first != NULL) {
        struct sim_socket *accepted = socket->waiting_first;

        socket->waiting_first = accepted->waiting_next;
        socket->waiting--;
        accepted->driver = socket->driver;
        accepted->driver->base.stats.sockets_open++;
        note(socket->driver, MESSAGE_IO_ACCEPTED, accepted->number, socket->number);
        driver_deliver(&socket->driver->base, MESSAGE_IO_ACCEPTED, socket->receiver, accepted->number,
                       socket->number);
    }
}

/* Moves up to `room` bytes out of what has arrived. */
static uint32_t take_bytes(struct sim_socket *socket, uint8_t *out, uint32_t room)
{
    uint32_t left = room < socket->inbound_bytes ? room : socket->inbound_bytes;
    uint32_t moved = 0;

    left = draw_part(socket->driver->world, left);
    socket->inbound_bytes -= left;
    while (left > 0) {
        struct segment *segment = socket->first;
        uint32_t length = segment->length - segment->offset < left ? segment->length - segment->offset : left;

        memcpy(out + moved, segment->data + segment->offset, length);
        moved += length;
        left -= length;
        segment->offset += length;
        if (segment->offset == segment->length) {
            socket->first = segment->next;
            free(segment);
        }
    }
    if (socket->peer != NULL && socket->peer->send_buffer != NULL) /* there is room again */
        set_ready(socket->peer);
    return moved;
}

static void end_receive(struct sim_socket *socket, int64_t result)
{
    struct buffer *buffer = socket->receive_buffer;

    socket->receive_buffer = NULL;
    socket->receiving = false;
    end(socket);
    tell_bytes(socket, result, buffer, buffer != NULL ? socket->receive_offset : 0);
}

/* False: no more for now. */
static bool receive_once(struct sim_socket *socket)
{
    struct buffer *buffer = socket->receive_buffer;
    uint32_t offset = socket->receive_offset;

    if (socket->inbound_bytes > 0 && buffer != NULL) {
        end_receive(socket, take_bytes(socket, buffer->data + offset, buffer->capacity - offset));
        return false;
    }
    if (socket->inbound_bytes > 0) {
        buffer = buffer_new(socket->driver->base.pool, BUFFER_SMALL_BYTES);
        if (buffer != NULL)
            tell_bytes(socket, take_bytes(socket, buffer->data, buffer->capacity), buffer, 0);
        return buffer != NULL;
    }
    if (socket->reset)
        socket->dead = true;
    if (socket->reset || socket->ended || socket->dead)
        end_receive(socket, socket->reset ? -ECONNRESET : socket->ended ? 0 : -ENOTCONN);
    return false;
}

static void go_on_receiving(struct sim_socket *socket)
{
    uint32_t count = 1 + draw_below(socket->driver->world, SIM_VISIT_BUFFERS_MAX);

    while (count-- > 0 && (socket->receiving || socket->receive_buffer != NULL) && receive_once(socket))
        continue;
}

/* How many bytes the link takes now, or -errno; 0: wait. */
static int64_t send_some(struct sim_socket *socket)
{
    struct sim_socket *peer = socket->peer;
    uint32_t room, length = socket->send_length;

    if (socket->dead || socket->reset || socket->shut)
        return socket->reset && !socket->dead ? -ECONNRESET : -EPIPE;
    if (peer == NULL) { /* closed in order, and answers with RST */
        link_reset(socket);
        return length;
    }
    room = SIM_PIPE_BYTES_MAX - peer->inbound_bytes;
    if (room == 0)
        return 0;
    length = draw_part(socket->driver->world, length < room ? length : room);
    link_bytes(peer, socket->send_buffer->data + socket->send_offset, length);
    socket->sent_bytes += length;
    return length;
}

static void shut(struct sim_socket *socket)
{
    socket->shut = true;
    if (socket->peer != NULL)
        link_end(socket->peer);
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
    end(socket);
    if (socket->shutting)
        shut(socket);
    socket->shutting = false;
    tell(socket, MESSAGE_IO_SENT, socket->sender, socket->sent > 0 ? socket->sent : result);
}

static bool can_go_on(const struct sim_socket *socket)
{
    bool receives = socket->receiving || socket->receive_buffer != NULL;

    if (socket->listening)
        return receives && socket->waiting_first != NULL;
    if (socket->connecting)
        return true;
    if (socket->send_buffer != NULL &&
        (socket->peer == NULL || socket->reset || socket->peer->inbound_bytes < SIM_PIPE_BYTES_MAX))
        return true;
    return receives && (socket->inbound_bytes > 0 || socket->reset || socket->ended || socket->dead);
}

static void visit(struct sim_socket *socket)
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
        set_ready(socket);
}

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
        unsigned chosen = draw_below(driver->world, left);
        struct sim_socket *socket = ready[chosen];

        ready[chosen] = ready[left - 1];
        visit(socket);
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
}

static int descriptor(struct driver *driver)
{
    (void)driver;
    return -1;
}

static uint64_t now_ns(struct driver *driver)
{
    return sim_of(driver)->world->now_ns;
}

static uint64_t wall_ns(struct driver *driver)
{
    return SIM_WALL_EPOCH_NS + sim_of(driver)->world->now_ns;
}

static void entropy(struct driver *driver, void *out, size_t length)
{
    for (uint8_t *byte = out; length > 0; length--)
        *byte++ = (uint8_t)draw(sim_of(driver)->world);
}

/* ---- Operations ---------------------------------------------------------- */

static int listen_on(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                     unsigned flags, struct sockaddr_storage *bound)
{
    struct sim_world *world = sim_of(driver)->world;
    bool shared = flags & DRIVER_LISTEN_SHARED;
    struct sim_socket *socket;
    int result = copy_address(bound, address, address_length);

    if (result < 0)
        return result;
    if (port_of(bound) == 0)
        free_port(world, bound);
    else if (taken(world, bound, shared))
        return -EADDRINUSE;
    socket = socket_new(world, sim_of(driver));
    socket->listening = true;
    socket->local = *bound;
    world->listeners = must(realloc(world->listeners, (world->listener_count + 1) * sizeof(*world->listeners)));
    world->listeners[world->listener_count++] = socket;
    return socket->number;
}

static int connect_to(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                      struct actor_ref owner)
{
    struct sockaddr_storage remote;
    struct sim_socket *socket;
    int result = copy_address(&remote, address, address_length);

    if (result < 0)
        return result;
    socket = socket_new(sim_of(driver)->world, sim_of(driver));
    socket->remote = socket->local = remote;
    free_port(sim_of(driver)->world, &socket->local);
    socket->sender = owner;
    socket->connecting = true;
    begin(socket);
    return socket->number;
}

/* Also of driver_accept(). */
static void receive(struct driver *driver, int number, struct actor_ref owner)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    assert(socket->receive_buffer == NULL);
    socket->receiver = owner;
    if (socket->receiving)
        return;
    socket->receiving = true;
    begin(socket);
}

static void receive_stop(struct driver *driver, int number)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    if (socket->receiving)
        end(socket);
    socket->receiving = false;
}

static void receive_into(struct driver *driver, int number, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    assert(!socket->listening && !socket->receiving && socket->receive_buffer == NULL);
    assert(offset < buffer->capacity);
    socket->receiver = owner;
    socket->receive_buffer = buffer;
    socket->receive_offset = offset;
    begin(socket);
}

static bool receive_idle(struct driver *driver, int number)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    return !socket->receiving && socket->receive_buffer == NULL;
}

static void send_bytes(struct driver *driver, int number, struct actor_ref owner, struct buffer *buffer,
                       uint32_t offset, uint32_t length)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    assert(!socket->listening && socket->send_buffer == NULL);
    assert(length > 0 && offset <= buffer->capacity && length <= buffer->capacity - offset);
    socket->sender = owner;
    socket->send_buffer = buffer;
    socket->send_offset = offset;
    socket->send_length = length;
    socket->sent = 0;
    begin(socket);
}

static void shutdown_write(struct driver *driver, int number)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    if (socket->send_buffer != NULL)
        socket->shutting = true;
    else
        shut(socket);
}

static void drop_backlog(struct sim_world *world, struct sim_socket *listener);

/* The socket is no more.  Its peer reads what is under way, and then the end or
 * a reset; bytes that we did not read make it a reset, as in Linux. */
static void destroy(struct sim_world *world, struct sim_socket *socket, enum driver_close_how how)
{
    struct sim_socket *peer = socket->peer;

    if (socket->listening)
        drop_backlog(world, socket);
    if (peer != NULL)
        peer->peer = NULL;
    if (peer != NULL && (how == DRIVER_CLOSE_RESET || socket->inbound_bytes > 0))
        link_reset(peer);
    else if (peer != NULL)
        link_end(peer);
    while (socket->first != NULL) {
        struct segment *segment = socket->first;

        socket->first = segment->next;
        free(segment);
    }
    world->sockets[socket->number - SIM_SOCKET_FIRST] = NULL;
    free(socket);
}

static void drop_backlog(struct sim_world *world, struct sim_socket *listener)
{
    unsigned kept = 0;

    while (listener->waiting_first != NULL) {
        struct sim_socket *waiting = listener->waiting_first;

        listener->waiting_first = waiting->waiting_next;
        destroy(world, waiting, DRIVER_CLOSE_RESET);
    }
    for (unsigned i = 0; i < world->listener_count; i++)
        if (world->listeners[i] != listener)
            world->listeners[kept++] = world->listeners[i];
    world->listener_count = kept;
}

static void close_socket(struct driver *driver, int number, enum driver_close_how how)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);
    unsigned operations = socket->receiving + socket->connecting;

    operations += (socket->receive_buffer != NULL) + (socket->send_buffer != NULL);
    while (operations-- > 0)
        end(socket);
    buffer_unref(socket->receive_buffer);
    buffer_unref(socket->send_buffer);
    clear_ready(socket);
    driver->stats.sockets_open--;
    destroy(sim_of(driver)->world, socket, how);
}

static void release(struct driver *driver, int number)
{
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    assert(receive_idle(driver, number) && socket->send_buffer == NULL && !socket->connecting);
    clear_ready(socket);
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
    struct sim_socket *socket = socket_at(sim_of(driver), number);

    *local = socket->local;
    *remote = socket->remote;
    return socket->peer == NULL && (socket->reset || socket->dead) ? -ENOTCONN : 0;
}

static uint64_t acknowledged(struct driver *driver, int number)
{
    return socket_at(sim_of(driver), number)->sent_bytes;
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
    unsigned kept = 0;

    for (unsigned i = 0; i < world->socket_count; i++)
        if (world->sockets[i] != NULL && world->sockets[i]->driver == sim_of(driver))
            close_socket(driver, world->sockets[i]->number, DRIVER_CLOSE_ORDERLY);
    for (unsigned i = 0; i < world->driver_count; i++)
        if (world->drivers[i] != sim_of(driver))
            world->drivers[kept++] = world->drivers[i];
    world->driver_count = kept;
    free(sim_of(driver)->ready);
    free(driver);
}

static const struct driver_operations sim_operations = {
    .name = "sim",
    .turn = turn,
    .wake = wake,
    .descriptor = descriptor,
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
    struct sim_driver *driver = must(calloc(1, sizeof(*driver)));

    *error = 0;
    driver_init(&driver->base, &sim_operations, worker, pool);
    driver->world = world;
    driver->index = world->drivers_made++;
    world->drivers = must(realloc(world->drivers, (world->driver_count + 1) * sizeof(*world->drivers)));
    world->drivers[world->driver_count++] = driver;
    return &driver->base;
}

struct sim_world *sim_world_new(uint64_t seed)
{
    struct sim_world *world = must(calloc(1, sizeof(*world)));

    world->random = seed;
    world->now_ns = SIM_NOW_FIRST_NS;
    return world;
}

void sim_world_free(struct sim_world *world)
{
    assert(world->driver_count == 0);
    for (unsigned i = 0; i < world->socket_count; i++) /* released, and never adopted */
        if (world->sockets[i] != NULL)
            destroy(world, world->sockets[i], DRIVER_CLOSE_RESET);
    free(world->drivers);
    free(world->sockets);
    free(world->listeners);
    free(world);
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
    return world->now_ns;
}

uint64_t sim_world_trace(const struct sim_world *world)
{
    return world->trace;
}

void sim_world_advance(struct sim_world *world)
{
    uint64_t next_ns = UINT64_MAX;

    for (unsigned i = 0; i < world->driver_count; i++) {
        struct sim_driver *driver = world->drivers[i];

        if (driver->woken || driver->sleep_until_ns < next_ns)
            next_ns = driver->woken ? 0 : driver->sleep_until_ns;
    }
    if (next_ns > world->now_ns && next_ns < UINT64_MAX)
        world->now_ns = next_ns;
    else
        world->now_ns += SIM_ROUND_NS;
}

/* One turn of each worker, in an order of its own.  True: somebody did something. */
static bool turn_all(struct sim_world *world, uint64_t deadline_ns)
{
    unsigned count = world->driver_count;
    bool busy = false;

    for (unsigned i = 0; i < count; i++) {
        unsigned chosen = i + draw_below(world, count - i);
        struct sim_driver *driver = world->drivers[chosen];
        struct worker_stats before, after;

        world->drivers[chosen] = world->drivers[i];
        world->drivers[i] = driver;
        worker_stats_read(driver->base.worker, &before);
        if (worker_turn(driver->base.worker, deadline_ns))
            busy = true;
        worker_stats_read(driver->base.worker, &after);
        if (after.visits != before.visits)
            busy = true;
    }
    return busy;
}

bool sim_world_turn(struct sim_world *world, uint64_t deadline_ns)
{
    bool busy = turn_all(world, deadline_ns);

    if (busy)
        world->now_ns += SIM_ROUND_NS;
    else
        sim_world_advance(world);
    return busy;
}

bool sim_world_run(struct sim_world *world, bool (*until)(void *argument), void *argument, uint64_t virtual_ns_max)
{
    uint64_t end_ns = world->now_ns + virtual_ns_max;

    while (until == NULL || !until(argument)) {
        if (world->now_ns >= end_ns)
            return false;
        sim_world_turn(world, end_ns);
    }
    return true;
}
