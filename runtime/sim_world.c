#include "runtime/sim_inner.h"
#include "runtime/worker.h"

#include <assert.h>
#include <stdlib.h>

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

uint32_t sim_world_draw(struct sim_world *world, uint32_t bound)
{
    return sim_draw_below(world, bound);
}

bool sim_draw_ppm(struct sim_world *world, uint32_t ppm)
{
    return ppm > 0 && sim_draw_below(world, 1000000) < ppm;
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

/* ---- Events: a heap, the earliest first, of equal times the oldest --------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void sift_up(struct sim_world *world, unsigned at)
{
    struct sim_event event = world->events[at];

    while (at > 0 && before(&event, &world->events[(at - 1) / 2])) {
        world->events[at] = world->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    world->events[at] = event;
}

static void sift_down(struct sim_world *world, unsigned at)
{
    struct sim_event event = world->events[at];
    unsigned child;

    while ((child = 2 * at + 1) < world->event_count) {
        if (child + 1 < world->event_count && before(&world->events[child + 1], &world->events[child]))
            child++;
        if (!before(&world->events[child], &event))
            break;
        world->events[at] = world->events[child];
        at = child;
    }
    world->events[at] = event;
}

static void push(struct sim_world *world, struct sim_event event)
{
    if (world->event_count == world->event_capacity) {
        world->event_capacity = world->event_capacity * 2 + 64;
        world->events = sim_must(reallocarray(world->events, world->event_capacity, sizeof(*world->events)));
    }
    event.order = world->order++;
    world->events[world->event_count] = event;
    sift_up(world, world->event_count++);
}

static struct sim_event pop(struct sim_world *world)
{
    struct sim_event event = world->events[0];

    world->events[0] = world->events[--world->event_count];
    if (world->event_count > 0)
        sift_down(world, 0);
    return event;
}

void sim_event_socket(struct sim_world *world, enum sim_event_kind kind, const struct sim_socket *socket,
                      uint64_t at_ns)
{
    push(world, (struct sim_event){.at_ns = at_ns, .kind = kind, .serial = socket->serial,
                                   .number = (unsigned)(socket->number - SIM_SOCKET_FIRST)});
}

void sim_events_forget(struct sim_world *world, const struct sim_driver *driver)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < world->event_count; i++)
        if (world->events[i].driver != driver)
            world->events[kept++] = world->events[i];
    world->event_count = kept;
    for (unsigned i = kept / 2; i-- > 0;)
        sift_down(world, i);
}

/* A driver has at most one event that counts; a later deadline costs a store. */
static void sleep_until(struct sim_driver *driver)
{
    if (driver->sleep_until_ns >= driver->event_ns)
        return;
    driver->event_ns = driver->sleep_until_ns;
    push(driver->world, (struct sim_event){.at_ns = driver->event_ns, .kind = SIM_EVENT_DRIVER, .driver = driver});
}

static void on_driver_due(struct sim_driver *driver, uint64_t at_ns)
{
    if (at_ns != driver->event_ns)
        return; /* an earlier one was set since */
    driver->event_ns = UINT64_MAX;
    if (driver->sleep_until_ns <= driver->world->now_ns)
        sim_rouse(driver);
    else
        sleep_until(driver);
}

static void handle_due(struct sim_world *world)
{
    while (world->event_count > 0 && world->events[0].at_ns <= world->now_ns) {
        struct sim_event event = pop(world);

        if (event.kind == SIM_EVENT_DRIVER)
            on_driver_due(event.driver, event.at_ns);
        else
            sim_link_event(world, &event);
    }
}

/* ---- Who has a turn -------------------------------------------------------- */

void sim_list_add(struct sim_driver_list *list, struct sim_driver *driver)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity * 2 + 16;
        list->drivers = sim_must(reallocarray(list->drivers, list->capacity, sizeof(*list->drivers)));
    }
    list->drivers[list->count++] = driver;
}

void sim_list_remove(struct sim_driver_list *list, const struct sim_driver *driver)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < list->count; i++)
        if (list->drivers[i] != driver)
            list->drivers[kept++] = list->drivers[i];
    list->count = kept;
}

void sim_rouse(struct sim_driver *driver)
{
    if (driver->runnable || driver->turning)
        return;
    driver->runnable = true;
    sim_list_add(&driver->world->runnable, driver);
}

static void rouse_all(struct sim_world *world)
{
    for (unsigned i = 0; i < world->drivers.count; i++)
        sim_rouse(world->drivers.drivers[i]);
}

/* A wake-up for nothing, as poll(2) warns of. */
static void rouse_any(struct sim_world *world)
{
    if (sim_draw_below(world, SIM_SPURIOUS_ROUNDS) > 0)
        return;
    world->stats.spurious++;
    sim_rouse(world->drivers.drivers[sim_draw_below(world, world->drivers.count)]);
}

/* True: it did something. */
static bool turn_one(struct sim_world *world, struct sim_driver *driver)
{
    struct worker *worker = driver->base.worker;
    struct worker_stats earlier, later;
    bool more;

    driver->runnable = false;
    if (driver->frozen)
        return false;
    worker_stats_read(worker, &earlier);
    driver->turning = true;
    more = worker_turn(worker, UINT64_MAX);
    driver->turning = false;
    worker_stats_read(worker, &later);
    world->stats.turns++;
    if (more || driver->woken || driver->sleep_until_ns == 0)
        sim_rouse(driver);
    else
        sleep_until(driver);
    if (world->watch != NULL)
        world->watch(world->watch_argument, worker);
    return more || later.visits != earlier.visits;
}

/* One turn of each that has something to do, in an order of its own. */
static bool turn_all(struct sim_world *world)
{
    struct sim_driver_list round = world->runnable;
    bool busy = false;

    world->runnable = world->turned;
    world->runnable.count = 0;
    world->stats.rounds++;
    for (unsigned left = round.count; left > 0; left--) {
        unsigned chosen = sim_draw_below(world, left);
        struct sim_driver *driver = round.drivers[chosen];

        round.drivers[chosen] = round.drivers[left - 1];
        busy |= turn_one(world, driver);
    }
    world->turned = round;
    return busy;
}

bool sim_world_turn(struct sim_world *world, uint64_t deadline_ns)
{
    bool busy = false;

    handle_due(world);
    if (world->runnable.count == 0) {
        uint64_t next_ns = world->event_count > 0 ? world->events[0].at_ns : UINT64_MAX;

        if (next_ns > deadline_ns)
            next_ns = deadline_ns;
        world->now_ns = next_ns > world->now_ns && next_ns < UINT64_MAX ? next_ns : world->now_ns + SIM_ROUND_NS;
        handle_due(world);
    }
    if (world->runnable.count == 0)
        return false;
    rouse_any(world);
    busy = turn_all(world);
    if (busy)
        world->now_ns += SIM_ROUND_NS;
    return busy;
}

bool sim_world_run(struct sim_world *world, bool (*until)(void *argument), void *argument, uint64_t virtual_ns_max)
{
    uint64_t end_ns = world->now_ns + virtual_ns_max;

    rouse_all(world);
    while (until == NULL || !until(argument)) {
        if (world->now_ns >= end_ns)
            return false;
        sim_world_turn(world, end_ns);
    }
    return true;
}

void sim_world_advance(struct sim_world *world)
{
    uint64_t next_ns = world->event_count > 0 ? world->events[0].at_ns : UINT64_MAX;

    for (unsigned i = 0; i < world->drivers.count; i++) {
        struct sim_driver *driver = world->drivers.drivers[i];

        if (driver->frozen)
            continue;
        if (driver->woken || driver->sleep_until_ns < next_ns)
            next_ns = driver->woken ? 0 : driver->sleep_until_ns;
    }
    if (next_ns > world->now_ns && next_ns < UINT64_MAX)
        world->now_ns = next_ns;
    else
        world->now_ns += SIM_ROUND_NS;
    handle_due(world);
}

void sim_world_freeze(struct sim_world *world, const struct worker *worker, bool frozen)
{
    for (unsigned i = 0; i < world->drivers.count; i++) {
        struct sim_driver *driver = world->drivers.drivers[i];

        if (driver->base.worker != worker)
            continue;
        driver->frozen = frozen;
        if (!frozen)
            sim_rouse(driver);
    }
}

/* ---- Life ------------------------------------------------------------------ */

struct sim_world *sim_world_new(uint64_t seed)
{
    struct sim_world *world = sim_must(calloc(1, sizeof(*world)));

    world->random = seed;
    world->now_ns = SIM_NOW_FIRST_NS;
    sim_host_init(&world->first_host, world);
    sim_host_init(&world->limbo, world);
    world->limbo.up = false;
    world->settling = &world->first_host;
    return world;
}

void sim_world_free(struct sim_world *world)
{
    assert(world->drivers.count == 0);
    for (unsigned i = 0; i < world->socket_count; i++) /* released, and never adopted */
        if (world->sockets[i] != NULL)
            sim_socket_free(world, world->sockets[i], DRIVER_CLOSE_RESET);
    for (unsigned i = 0; i < world->host_count; i++) {
        free(world->hosts[i]->listeners);
        free(world->hosts[i]);
    }
    free(world->first_host.listeners);
    free(world->limbo.listeners);
    free(world->hosts);
    free(world->events);
    free(world->drivers.drivers);
    free(world->runnable.drivers);
    free(world->turned.drivers);
    free(world->sockets);
    free(world);
}

void sim_world_watch(struct sim_world *world, void (*turned)(void *argument, struct worker *worker), void *argument)
{
    world->watch = turned;
    world->watch_argument = argument;
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
    return world->now_ns;
}

uint64_t sim_world_trace(const struct sim_world *world)
{
    return world->trace;
}

void sim_world_stats_read(const struct sim_world *world, struct sim_world_stats *out)
{
    *out = world->stats;
}
