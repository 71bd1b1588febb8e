#include "runtime/sim_inner.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* ---- Addresses ------------------------------------------------------------- */

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

static const uint8_t *address_bytes(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return ((const struct sockaddr_in6 *)address)->sin6_addr.s6_addr;
    return (const uint8_t *)&((const struct sockaddr_in *)address)->sin_addr;
}

/* Of hosts, whatever the port. */
static int compare(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return a->ss_family < b->ss_family ? -1 : 1;
    return memcmp(address_bytes(a), address_bytes(b), a->ss_family == AF_INET6 ? 16 : 4);
}

static bool is_any(const struct sockaddr_storage *address)
{
    static const uint8_t zeros[16];

    return memcmp(address_bytes(address), zeros, address->ss_family == AF_INET6 ? 16 : 4) == 0;
}

/* Would the one hear what is meant for the other? */
static bool overlap(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    return a->ss_family == b->ss_family && port_of(a) == port_of(b) &&
           (is_any(a) || is_any(b) || compare(a, b) == 0);
}

int sim_address_copy(struct sockaddr_storage *out, const struct sockaddr *address, socklen_t length)
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

/* ---- Ports ------------------------------------------------------------------ */

static bool taken(const struct sim_host *host, const struct sockaddr_storage *address, bool shared)
{
    for (unsigned i = 0; i < host->listener_count; i++)
        if (!shared && overlap(&host->listeners[i]->local, address))
            return true;
    return false;
}

static void ephemeral_port(struct sim_host *host, struct sockaddr_storage *address)
{
    do {
        if (host->next_port < SIM_EPHEMERAL_PORT_FIRST)
            host->next_port = SIM_EPHEMERAL_PORT_FIRST;
        set_port(address, host->next_port++);
    } while (taken(host, address, false));
}

int sim_bind(struct sim_host *host, struct sockaddr_storage *address, bool shared)
{
    bool everywhere = host->address.ss_family == AF_UNSPEC;

    if (!everywhere && !is_any(address) && compare(&host->address, address) != 0)
        return -EADDRNOTAVAIL;
    if (port_of(address) == 0)
        ephemeral_port(host, address);
    else if (taken(host, address, shared))
        return -EADDRINUSE;
    return 0;
}

void sim_local_address(struct sim_host *host, struct sockaddr_storage *local, const struct sockaddr_storage *remote)
{
    *local = host->address.ss_family == remote->ss_family ? host->address : *remote;
    ephemeral_port(host, local);
}

struct sim_socket *sim_listener_find(struct sim_host *host, const struct sockaddr_storage *remote)
{
    struct sim_socket *found = NULL;
    uint32_t count = 0;

    for (unsigned i = 0; i < host->listener_count; i++)
        if (overlap(&host->listeners[i]->local, remote) && sim_draw_below(host->world, ++count) == 0)
            found = host->listeners[i];
    return found;
}

void sim_listener_add(struct sim_host *host, struct sim_socket *socket)
{
    host->listeners = sim_must(reallocarray(host->listeners, host->listener_count + 1, sizeof(*host->listeners)));
    host->listeners[host->listener_count++] = socket;
}

void sim_listener_remove(struct sim_socket *socket)
{
    struct sim_host *host = socket->host;
    unsigned kept = 0;

    for (unsigned i = 0; i < host->listener_count; i++)
        if (host->listeners[i] != socket)
            host->listeners[kept++] = host->listeners[i];
    host->listener_count = kept;
}

/* ---- Hosts ------------------------------------------------------------------ */

void sim_host_init(struct sim_host *host, struct sim_world *world)
{
    *host = (struct sim_host){.world = world, .up = true};
}

/* The first whose address is not below that one. */
static unsigned place_of(const struct sim_world *world, const struct sockaddr_storage *address)
{
    unsigned low = 0, high = world->host_count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (compare(&world->hosts[middle]->address, address) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct sim_host *sim_host_find(struct sim_world *world, const struct sockaddr_storage *address)
{
    unsigned place = place_of(world, address);

    if (place < world->host_count && compare(&world->hosts[place]->address, address) == 0)
        return world->hosts[place];
    return &world->first_host;
}

struct sim_host *sim_host_new(struct sim_world *world, const struct sockaddr *address, socklen_t address_length)
{
    struct sim_host *host = sim_must(calloc(1, sizeof(*host)));
    unsigned place;
    int error;

    sim_host_init(host, world);
    error = sim_address_copy(&host->address, address, address_length);
    assert(error == 0);
    set_port(&host->address, 0);
    place = place_of(world, &host->address);
    assert(place == world->host_count || compare(&world->hosts[place]->address, &host->address) != 0);
    world->hosts = sim_must(reallocarray(world->hosts, world->host_count + 1, sizeof(*world->hosts)));
    memmove(world->hosts + place + 1, world->hosts + place, (world->host_count - place) * sizeof(*world->hosts));
    world->hosts[place] = host;
    world->host_count++;
    return host;
}

void sim_world_settle(struct sim_world *world, struct sim_host *host)
{
    world->settling = host != NULL ? host : &world->first_host;
}

bool sim_path(const struct sim_host *from, const struct sim_host *to)
{
    if (from == to)
        return from->up;
    return from->up && to->up && !from->mute && !to->deaf && from->group == to->group;
}

bool sim_host_take(struct sim_host *host, struct sim_socket *socket)
{
    if (host->sockets_max > 0 && host->sockets >= host->sockets_max)
        return false;
    host->sockets++;
    socket->counted = true;
    return true;
}

unsigned sim_host_sockets(const struct sim_host *host)
{
    return host->sockets;
}

/* ---- What goes wrong -------------------------------------------------------- */

void sim_host_link(struct sim_host *host, const struct sim_link *link)
{
    host->link = *link;
}

/* Those who wait for a way look again. */
static void look_again(struct sim_host *host)
{
    struct sim_world *world = host->world;

    for (unsigned i = 0; i < world->socket_count; i++) {
        struct sim_socket *socket = world->sockets[i];

        if (socket != NULL && socket->send_buffer != NULL && (socket->host == host || socket->remote_host == host))
            sim_socket_ready(socket);
    }
}

void sim_host_group(struct sim_host *host, unsigned group)
{
    host->group = group;
    look_again(host);
}

void sim_host_block(struct sim_host *host, bool out, bool in)
{
    host->mute = out;
    host->deaf = in;
    look_again(host);
}

void sim_host_hide(struct sim_host *host, enum sim_hidden hidden)
{
    host->hidden = hidden;
}

void sim_host_reset(struct sim_host *host, uint32_t ppm)
{
    struct sim_world *world = host->world;

    for (unsigned i = 0; i < world->socket_count; i++) {
        struct sim_socket *socket = world->sockets[i];

        if (socket != NULL && socket->host == host && socket->peer != NULL && sim_draw_ppm(world, ppm))
            sim_link_cut(socket, -ECONNRESET);
    }
}

/* A socket whose host is gone: it reads nothing but a reset, and its peer
 * nothing at all. */
static void strand(struct sim_socket *socket)
{
    struct sim_world *world = socket->host->world;
    struct sim_socket *peer = socket->peer;

    socket->host->sockets -= socket->counted;
    socket->host = &world->limbo;
    world->limbo.sockets += socket->counted;
    sim_queue_clear(&socket->flight);
    sim_queue_clear(&socket->inbound);
    socket->peer = NULL;
    if (!socket->listening) {
        socket->reset = true;
        socket->failure = -ECONNRESET;
    }
    if (peer != NULL) {
        peer->peer = NULL;
        peer->orphan = true;
        sim_queue_clear(&peer->flight); /* what was on its way is lost */
        if (peer->send_buffer != NULL)
            sim_socket_ready(peer);
        if (peer->sent_bytes > socket->arrived_bytes)
            sim_link_probe(peer);
    }
    if (socket->driver != NULL)
        sim_socket_ready(socket);
}

static void strand_listener(struct sim_socket *socket)
{
    struct sim_world *world = socket->host->world;

    sim_listener_remove(socket);
    while (socket->waiting_first != NULL) {
        struct sim_socket *waiting = socket->waiting_first;

        socket->waiting_first = waiting->waiting_next;
        strand(waiting);
        sim_socket_free(world, waiting, DRIVER_CLOSE_ORDERLY);
    }
    socket->waiting_last = NULL;
    socket->waiting = 0;
}

void sim_host_crash(struct sim_host *host)
{
    struct sim_world *world = host->world;

    host->up = false;
    for (unsigned i = 0; i < world->socket_count; i++) {
        struct sim_socket *socket = world->sockets[i];

        if (socket == NULL || socket->host != host)
            continue;
        if (socket->listening)
            strand_listener(socket);
        strand(socket);
    }
    for (unsigned i = 0; i < world->drivers.count; i++)
        if (world->drivers.drivers[i]->host == host)
            world->drivers.drivers[i]->host = &world->limbo;
}

void sim_host_start(struct sim_host *host)
{
    host->up = true;
}

bool sim_host_is_up(const struct sim_host *host)
{
    return host->up;
}

void sim_host_wall(struct sim_host *host, int64_t offset_ns)
{
    host->wall_offset_ns = offset_ns;
}

void sim_host_descriptors(struct sim_host *host, unsigned max)
{
    host->sockets_max = max;
}

void sim_host_errors(struct sim_host *host, uint32_t ppm)
{
    host->errors_ppm = ppm;
}
