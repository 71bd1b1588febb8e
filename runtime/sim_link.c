#include "runtime/sim_inner.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What crosses between two sockets.  Bytes, ends and resets travel in one queue
 * for each direction, and arrive in order: what is lost on the way comes later,
 * and holds back what is behind it, as in TCP. */

/* ---- Queues ------------------------------------------------------------------ */

static void append(struct sim_queue *queue, struct sim_segment *segment)
{
    segment->next = NULL;
    if (queue->first == NULL)
        queue->first = segment;
    else
        queue->last->next = segment;
    queue->last = segment;
    queue->bytes += segment->length;
}

static struct sim_segment *take(struct sim_queue *queue)
{
    struct sim_segment *segment = queue->first;

    queue->first = segment->next;
    queue->bytes -= segment->length;
    return segment;
}

void sim_queue_clear(struct sim_queue *queue)
{
    while (queue->first != NULL)
        free(take(queue));
    queue->bytes = 0;
}

/* ---- Time on the way ---------------------------------------------------------- */

static uint64_t latency(struct sim_world *world, const struct sim_host *from, const struct sim_host *to)
{
    uint64_t jitter_ns = from->link.jitter_ns + to->link.jitter_ns;
    uint64_t sum_ns = from->link.latency_ns + to->link.latency_ns;

    return from == to ? 0 : sum_ns + (jitter_ns > 0 ? sim_draw(world) % jitter_ns : 0);
}

static bool is_perfect(const struct sim_host *from, const struct sim_host *to)
{
    static const struct sim_link none;

    return from == to || (memcmp(&from->link, &none, sizeof(none)) == 0 && memcmp(&to->link, &none, sizeof(none)) == 0);
}

/* When the last of so many bytes has passed a wire that is busy until *free_ns. */
static uint64_t pass(uint64_t *free_ns, uint64_t from_ns, uint32_t length, uint64_t bytes_second)
{
    if (bytes_second == 0)
        return from_ns;
    if (*free_ns < from_ns)
        *free_ns = from_ns;
    *free_ns += length * 1000000000ull / bytes_second;
    return *free_ns;
}

static uint64_t arrival(struct sim_socket *to, uint32_t length)
{
    struct sim_host *from = to->remote_host;
    struct sim_world *world = to->host->world;
    uint64_t due_ns = world->now_ns;

    if (from != to->host) {
        due_ns = pass(&from->out_free_ns, due_ns, length, from->link.bytes_second);
        due_ns = pass(&to->host->in_free_ns, due_ns + latency(world, from, to->host), length,
                      to->host->link.bytes_second);
        if (sim_draw_ppm(world, from->link.stall_ppm) || sim_draw_ppm(world, to->host->link.stall_ppm)) {
            due_ns += SIM_RETRY_NS_MIN << sim_draw_below(world, 4);
            world->stats.stalls++;
        }
    }
    return due_ns > to->flight_last_ns ? due_ns : to->flight_last_ns;
}

/* ---- Arriving ------------------------------------------------------------------ */

static void arrive(struct sim_socket *to, struct sim_segment *segment)
{
    if (segment->kind == SIM_BYTES) {
        append(&to->inbound, segment);
        to->arrived_bytes += segment->length;
    } else {
        to->ended |= segment->kind == SIM_END;
        to->reset |= segment->kind == SIM_RESET;
        free(segment);
    }
    sim_socket_ready(to);
}

static void expect(struct sim_socket *to, uint64_t at_ns)
{
    to->expected = true;
    sim_event_socket(to->host->world, SIM_EVENT_ARRIVE, to, at_ns);
}

/* It did not get through: once more, later, as often as TCP does. */
static bool retry(struct sim_socket *socket, enum sim_event_kind kind, uint64_t give_up_ns)
{
    struct sim_world *world = socket->host->world;

    if (socket->retry_ns == 0)
        socket->retry_since_ns = world->now_ns;
    if (world->now_ns - socket->retry_since_ns >= give_up_ns)
        return false;
    socket->retry_ns = socket->retry_ns == 0 ? SIM_RETRY_NS_MIN : socket->retry_ns * 2;
    if (socket->retry_ns > SIM_RETRY_NS_MAX)
        socket->retry_ns = SIM_RETRY_NS_MAX;
    sim_event_socket(world, kind, socket, world->now_ns + socket->retry_ns);
    return true;
}

static void time_out(struct sim_socket *socket)
{
    socket->host->world->stats.timeouts++;
    socket->reset = true;
    socket->failure = -ETIMEDOUT;
    sim_socket_ready(socket);
}

static void on_arrive(struct sim_socket *to)
{
    struct sim_world *world = to->host->world;

    to->expected = false;
    if (to->flight.first != NULL && !sim_path(to->remote_host, to->host)) {
        to->expected = retry(to, SIM_EVENT_ARRIVE, SIM_GIVE_UP_NS);
        if (to->expected)
            return;
        sim_queue_clear(&to->flight); /* the sender gives up, and we never hear of it */
        if (to->peer != NULL) {
            to->peer->peer = NULL;
            to->peer->orphan = true;
            time_out(to->peer);
            to->orphan = true;
            to->peer = NULL;
        }
        return;
    }
    to->retry_ns = 0;
    while (to->flight.first != NULL && to->flight.first->due_ns <= world->now_ns)
        arrive(to, take(&to->flight));
    if (to->flight.first != NULL)
        expect(to, to->flight.first->due_ns);
}

static void send_off(struct sim_socket *to, struct sim_segment *segment)
{
    struct sim_world *world = to->host->world;
    bool direct = to->flight.first == NULL && is_perfect(to->remote_host, to->host) &&
                  sim_path(to->remote_host, to->host);

    world->stats.segments++;
    if (direct) {
        arrive(to, segment);
        return;
    }
    segment->due_ns = to->flight_last_ns = arrival(to, segment->length);
    append(&to->flight, segment);
    if (!to->expected)
        expect(to, segment->due_ns);
}

static struct sim_segment *segment_new(enum sim_segment_kind kind, uint32_t length)
{
    struct sim_segment *segment = sim_must(reallocarray(NULL, 1, sizeof(*segment) + length));

    *segment = (struct sim_segment){.kind = kind, .length = length};
    return segment;
}

void sim_link_bytes(struct sim_socket *to, const uint8_t *bytes, uint32_t length)
{
    struct sim_world *world = to->host->world;
    struct sim_segment *segment = segment_new(SIM_BYTES, length);

    memcpy(segment->data, bytes, length);
    send_off(to, segment);
    if (to->remote_host != to->host &&
        (sim_draw_ppm(world, to->host->link.reset_ppm) || sim_draw_ppm(world, to->remote_host->link.reset_ppm)))
        sim_link_cut(to, -ECONNRESET);
}

void sim_link_end(struct sim_socket *to, enum sim_segment_kind kind)
{
    if (to->remote_host == NULL) { /* it never had a peer */
        arrive(to, segment_new(kind, 0));
        return;
    }
    send_off(to, segment_new(kind, 0));
}

static void cut_one(struct sim_socket *socket, int failure)
{
    sim_queue_clear(&socket->flight);
    socket->reset = true;
    socket->failure = failure;
    sim_socket_ready(socket);
}

void sim_link_cut(struct sim_socket *socket, int failure)
{
    struct sim_socket *peer = socket->peer;

    socket->host->world->stats.resets++;
    cut_one(socket, failure);
    if (peer == NULL)
        return;
    cut_one(peer, failure);
    peer->peer = socket->peer = NULL;
}

/* ---- A peer that is not there any more ------------------------------------------ */

void sim_link_probe(struct sim_socket *from)
{
    struct sim_world *world = from->host->world;

    if (from->asking)
        return;
    from->asking = true;
    sim_event_socket(world, SIM_EVENT_PROBE, from, world->now_ns + latency(world, from->host, from->remote_host));
}

static void on_probe(struct sim_socket *from)
{
    from->asking = false;
    if (sim_path(from->host, from->remote_host) && sim_path(from->remote_host, from->host)) {
        from->retry_ns = 0;
        sim_link_end(from, SIM_RESET);
        return;
    }
    from->asking = retry(from, SIM_EVENT_PROBE, SIM_GIVE_UP_NS);
    if (!from->asking)
        time_out(from);
}

/* ---- Connecting ------------------------------------------------------------------ */

static void learn(struct sim_socket *from)
{
    from->known = true;
    from->asking = false;
    sim_socket_ready(from);
}

static void answer(struct sim_socket *from, int result, uint64_t delay_ns)
{
    struct sim_world *world = from->host->world;

    from->retry_ns = 0;
    from->connected = result;
    if (result == -ECONNREFUSED)
        world->stats.refused++;
    if (delay_ns == 0) {
        learn(from);
    } else {
        sim_event_socket(world, SIM_EVENT_CONNECTED, from, world->now_ns + delay_ns);
    }
}

static void join(struct sim_socket *from, struct sim_socket *listener)
{
    struct sim_socket *far = sim_socket_new(listener->host, NULL);

    far->local = from->remote;
    far->remote = from->local;
    far->peer = from;
    from->peer = far;
    far->remote_host = from->host;
    if (listener->waiting_first == NULL)
        listener->waiting_first = far;
    else
        listener->waiting_last->waiting_next = far;
    listener->waiting_last = far;
    listener->waiting++;
    sim_socket_ready(listener);
}

/* The SYN is there. */
static void on_syn(struct sim_socket *from)
{
    struct sim_host *to = from->remote_host;
    struct sim_world *world = from->host->world;
    bool hidden = to->hidden != SIM_HIDDEN_NOT && to != from->host;
    bool passes = sim_path(from->host, to) && sim_path(to, from->host);
    struct sim_socket *listener;

    if (from->host == &world->limbo) {
        answer(from, -ENETUNREACH, 0);
        return;
    }
    if (!passes || (hidden && to->hidden == SIM_HIDDEN_DROPS)) {
        if (!retry(from, SIM_EVENT_SYN, SIM_SYN_GIVE_UP_NS))
            answer(from, -ETIMEDOUT, 0);
        return;
    }
    listener = hidden ? NULL : sim_listener_find(to, &from->remote);
    if (listener == NULL || listener->waiting >= DRIVER_LISTEN_BACKLOG_CONNECTIONS) {
        answer(from, -ECONNREFUSED, latency(world, to, from->host));
        return;
    }
    join(from, listener);
    answer(from, 0, latency(world, to, from->host));
}

static int made_up(struct sim_world *world)
{
    static const int errors[] = {-ENETUNREACH, -EHOSTUNREACH, -ECONNREFUSED, -ETIMEDOUT, -EADDRNOTAVAIL};

    world->stats.errors++;
    return errors[sim_draw_below(world, sizeof(errors) / sizeof(errors[0]))];
}

void sim_link_connect(struct sim_socket *from)
{
    struct sim_world *world = from->host->world;
    uint64_t delay_ns;

    from->asking = true;
    from->remote_host = sim_host_find(world, &from->remote);
    if (sim_draw_ppm(world, from->host->errors_ppm)) {
        answer(from, made_up(world), 0);
        return;
    }
    delay_ns = latency(world, from->host, from->remote_host);
    if (delay_ns == 0)
        on_syn(from);
    else
        sim_event_socket(world, SIM_EVENT_SYN, from, world->now_ns + delay_ns);
}

/* ---- Events ----------------------------------------------------------------------- */

void sim_link_event(struct sim_world *world, const struct sim_event *event)
{
    struct sim_socket *socket = event->number < world->socket_count ? world->sockets[event->number] : NULL;

    if (socket == NULL || socket->serial != event->serial)
        return;
    switch (event->kind) {
    case SIM_EVENT_ARRIVE:
        on_arrive(socket);
        break;
    case SIM_EVENT_SYN:
        on_syn(socket);
        break;
    case SIM_EVENT_CONNECTED:
        learn(socket);
        break;
    case SIM_EVENT_PROBE:
        on_probe(socket);
        break;
    case SIM_EVENT_DRIVER:
        break;
    }
}
