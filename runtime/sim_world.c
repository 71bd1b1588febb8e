#include "runtime/sim_inner.h"
#include "runtime/worker.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define SIM_NOW_FIRST_NS 1000000000ull /* 0 would mean "do not wait" to a driver */

void *sim_must(void *memory)
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

uint64_t sim_draw(struct sim_world *world)
{
    world->random += 0x9e3779b97f4a7c15u;
    return mix(world->random);
}

uint32_t sim_draw_below(struct sim_world *world, uint32_t bound)
{
    return (uint32_t)((sim_draw(world) >> 32) * bound >> 32);
}

uint32_t sim_draw_part(struct sim_world *world, uint32_t available)
{
    return sim_draw_below(world, 4) == 0 ? 1 + sim_draw_below(world, available) : available;
}

void sim_note(struct sim_driver *driver, enum message_type type, int64_t result, int socket)
{
    struct sim_world *world = driver->world;

    world->trace = mix(world->trace ^ world->now_ns) + driver->index;
    world->trace = mix(world->trace ^ (uint64_t)type << 32 ^ (uint64_t)(uint32_t)socket) + (uint64_t)result;
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

static bool taken(const struct sim_world *world, const struct sockaddr_storage *address, bool shared)
{
    for (unsigned i = 0; i < world->listener_count; i++)
        if (!shared && overlap(&world->listeners[i]->local, address))
            return true;
    return false;
}

void sim_ephemeral_port(struct sim_world *world, struct sockaddr_storage *address)
{
    do {
        if (world->next_port < SIM_EPHEMERAL_PORT_FIRST)
            world->next_port = SIM_EPHEMERAL_PORT_FIRST;
        set_port(address, world->next_port++);
    } while (taken(world, address, false));
}

int sim_bind(struct sim_world *world, struct sockaddr_storage *address, bool shared)
{
    if (port_of(address) == 0)
        sim_ephemeral_port(world, address);
    else if (taken(world, address, shared))
        return -EADDRINUSE;
    return 0;
}

struct sim_socket *sim_listener_find(struct sim_world *world, const struct sockaddr_storage *remote)
{
    struct sim_socket *found = NULL;
    uint32_t count = 0;

    for (unsigned i = 0; i < world->listener_count; i++)
        if (overlap(&world->listeners[i]->local, remote) && sim_draw_below(world, ++count) == 0)
            found = world->listeners[i];
    return found;
}

/* ---- Life and time ------------------------------------------------------- */

struct sim_world *sim_world_new(uint64_t seed)
{
    struct sim_world *world = sim_must(calloc(1, sizeof(*world)));

    world->random = seed;
    world->now_ns = SIM_NOW_FIRST_NS;
    return world;
}

void sim_world_free(struct sim_world *world)
{
    assert(world->driver_count == 0);
    for (unsigned i = 0; i < world->socket_count; i++) /* released, and never adopted */
        if (world->sockets[i] != NULL)
            sim_socket_free(world, world->sockets[i], DRIVER_CLOSE_RESET);
    free(world->drivers);
    free(world->sockets);
    free(world->listeners);
    free(world);
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
    return world->now_ns;
}

void sim_world_freeze(struct sim_world *world, const struct worker *worker, bool frozen)
{
    for (unsigned i = 0; i < world->driver_count; i++)
        if (world->drivers[i]->base.worker == worker)
            world->drivers[i]->frozen = frozen;
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

        if (driver->frozen)
            continue;
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
        unsigned chosen = i + sim_draw_below(world, count - i);
        struct sim_driver *driver = world->drivers[chosen];
        struct worker_stats before, after;

        world->drivers[chosen] = world->drivers[i];
        world->drivers[i] = driver;
        if (driver->frozen)
            continue;
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
