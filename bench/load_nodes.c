#include "bench.h"
#include "load.h"
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The nodes of a load: their life, their connections, their events. */

enum {
    EVENTS_AT_A_TIME = 64,
    STREAMS_END_MS_MAX = 1000, /* after that their nodes take them along */
};

#define PROGRESS_NS_MAX (UINT64_C(60) * 1000000000) /* the contract's patience */

/* ---- Making ------------------------------------------------------------------------- */

static bool watch(struct load *load, int fd, void *user)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = user}};

    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ||
           load_fail(load, "epoll: %s", strerror(errno));
}

bool load_open_ears(struct load *load)
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (load->epoll < 0 || load->wake < 0)
        return load_fail(load, "epoll: %s", strerror(errno));
    return watch(load, load->wake, &load->wake) && watch(load, load->serve->ending, &load->stopped);
}

static bool make_runtime(struct load *load)
{
    struct p2p_error_text text = {""};

    load->turned = load->request.rate > 0 || load->polled;
    if (p2p_runtime_new(&load->runtime, load->serve->workers, !load->turned, P2P_DRIVER_AUTO, &text) != 0)
        return load_fail(load, "%s", text.text);
    (void)p2p_runtime_set_spin_us(load->runtime, load->serve->spin_us); /* as the listening one's */
    if (!load->turned || load->polled)
        return true;
    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* units are due to the microsecond, as far as the kernel goes */
    return watch(load, p2p_runtime_fd(load->runtime), &load->runtime);
}

static void take_connect_event(struct load_node *node, const struct p2p_event *event);

static bool make_node(struct load_node *node)
{
    struct load *load = node->load;
    struct p2p_error_text text = {""};

    if (node_try(&node->node, load->runtime, NULL, &text) != 0)
        return load_fail(load, "a node could not be made, beside %u: %s", load->node_count, text.text);
    return load->polled || watch(load, p2p_node_event_fd(node->node), node);
}

bool load_renew(struct load_node *node)
{
    p2p_node_free(node->node); /* which closes the descriptor, if one is watched */
    node->node = NULL;
    return make_node(node);
}

bool load_make(struct load *load, uint32_t count)
{
    load->on_event = take_connect_event;
    load->nodes = calloc(count, sizeof(*load->nodes));
    if (load->nodes == NULL)
        return load_fail(load, "no memory for %u nodes", count);
    if (!make_runtime(load))
        return false;
    while (load->node_count < count && !load->stopped) {
        struct load_node *node = &load->nodes[load->node_count];

        node->load = load;
        node->index = load->node_count++;
        if (!make_node(node))
            return false;
    }
    return !load->stopped;
}

/* ---- Waiting -------------------------------------------------------------------------- */

static void take_events(struct load_node *node)
{
    struct p2p_event event;

    while (node->node != NULL && p2p_node_next_event(node->node, &event) == 0)
        node->load->on_event(node, &event);
}

static void take_ready(struct load *load, void *user)
{
    uint64_t count;

    if (user == &load->stopped) {
        load->stopped = true;
        (void)epoll_ctl(load->epoll, EPOLL_CTL_DEL, load->serve->ending, NULL); /* it stays readable */
    } else if (user == &load->wake) {
        load->woken = read(load->wake, &count, sizeof(count)) > 0;
    } else if (user != &load->runtime) {
        take_events(user);
    }
}

/* Of UINT64_MAX, centuries. */
static struct timespec time_left(uint64_t until_ns)
{
    uint64_t now_ns = bench_now_ns();
    uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;

    return (struct timespec){(time_t)(left_ns / 1000000000), (long)(left_ns % 1000000000)};
}

enum { TURN_MS_MAX = 100, TURN_NS_MAX = TURN_MS_MAX * 1000000 }; /* then the ears are heard */

/* As the only thread there is: a turn of the nodes, then their events. */
static void turn(struct load *load, uint64_t until_ns)
{
    uint64_t now_ns = bench_now_ns();
    uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct epoll_event ready;

    (void)p2p_runtime_turn(load->runtime, left_ns > TURN_NS_MAX ? TURN_MS_MAX : (int)(left_ns / 1000000));
    for (uint32_t i = 0; i < load->node_count; i++)
        take_events(&load->nodes[i]);
    if (now_ns < load->heard_ns + TURN_NS_MAX)
        return;
    load->heard_ns = now_ns;
    if (epoll_wait(load->epoll, &ready, 1, 0) > 0)
        take_ready(load, ready.data.ptr);
}

void load_wait(struct load *load, uint64_t until_ns)
{
    struct epoll_event ready[EVENTS_AT_A_TIME];
    struct timespec left;
    int count;

    if (load->polled && load->node_count > 0) {
        turn(load, until_ns);
        return;
    }
    if (load->due != NULL) {
        uint64_t due_ns = load->due(load, bench_now_ns());

        until_ns = due_ns < until_ns ? due_ns : until_ns;
    }
    if (load->turned && p2p_runtime_turn(load->runtime, 0) == 1)
        until_ns = 0;
    left = time_left(until_ns);
    count = epoll_pwait2(load->epoll, ready, EVENTS_AT_A_TIME, &left, NULL);
    for (int i = 0; i < count; i++)
        take_ready(load, ready[i].data.ptr);
}

/* ---- Connecting ------------------------------------------------------------------------- */

bool load_dial(struct load_node *node)
{
    struct load *load = node->load;
    struct p2p_error_text text = {""};

    if (p2p_node_connect_start(node->node, ++node->attempt, load->request.address, LOAD_DIAL_MS_MAX, &text) != 0)
        return load_fail(load, "%s", text.text);
    return true;
}

static void take_connect_event(struct load_node *node, const struct p2p_event *event)
{
    struct load *load = node->load;
    bool was_up = node->connected && node->identified;

    switch (event->type) {
    case P2P_EVENT_CONNECTED:
        node->connected = true;
        memcpy(load->peer, event->id, sizeof(load->peer));
        break;
    case P2P_EVENT_PEER_IDENTIFIED:
        node->identified = true;
        break;
    case P2P_EVENT_CONNECT_FAILED:
        (void)load_fail(load, "connect: %s", event->text.text);
        break;
    case P2P_EVENT_PEER_DISCONNECTED:
        node->connected = node->identified = false;
        if (load_phase(load) != LOAD_OVER) {
            load->up -= was_up;
            load->lost++;
            __atomic_store_n(&load->unit_error, event->error, __ATOMIC_RELAXED);
        }
        return;
    default:
        break;
    }
    load->up += !was_up && node->connected && node->identified;
}

bool load_connect(struct load *load)
{
    uint64_t progress_ns = bench_now_ns();
    uint32_t dialled = 0, up = 0;

    while (load->up < load->node_count && !load->stopped) {
        while (dialled < load->node_count && dialled < load->up + LOAD_DIALS_MAX) {
            if (!load_dial(&load->nodes[dialled++]))
                return false;
        }
        load_wait(load, progress_ns + PROGRESS_NS_MAX);
        if (load->error[0] != '\0')
            return false;
        if (load->lost > 0)
            return load_fail(load, "a connection was lost while others were made: %s",
                             p2p_error_string(load->unit_error));
        if (load->up != up)
            progress_ns = bench_now_ns();
        else if (bench_now_ns() >= progress_ns + PROGRESS_NS_MAX)
            return load_fail(load, "%u of %u connections were not there in time", load->node_count - up,
                             load->node_count);
        up = load->up;
    }
    return !load->stopped;
}

/* ---- Streams -------------------------------------------------------------------------------- */

int load_open(struct load_node *node, const char *protocol, const struct p2p_stream_callbacks *callbacks, void *user)
{
    return p2p_stream_open_inline(node->node, node->load->peer, &protocol, 1, callbacks, user);
}

int64_t load_discard(struct p2p_stream *stream)
{
    struct p2p_buffer *buffer;
    int64_t count = p2p_stream_read_buffer(stream, &buffer);

    if (count != 0)
        return count;
    count = (int64_t)p2p_buffer_length(buffer);
    p2p_buffer_free(buffer);
    return count;
}

void load_busy(struct load *load)
{
    __atomic_add_fetch(&load->busy, 1, __ATOMIC_RELAXED);
}

void load_idle(struct load *load)
{
    uint64_t one = 1;
    int wake = load->wake;

    /* Whoever waits for 0 takes the load's memory: only the descriptor is ours after that. */
    if (__atomic_sub_fetch(&load->busy, 1, __ATOMIC_ACQ_REL) == 0)
        (void)!write(wake, &one, sizeof(one));
}

/* ---- The end -------------------------------------------------------------------------------- */

static void await_streams(struct load *load)
{
    uint64_t until_ns = bench_now_ns() + STREAMS_END_MS_MAX * UINT64_C(1000000);

    while (__atomic_load_n(&load->busy, __ATOMIC_ACQUIRE) > 0 && bench_now_ns() < until_ns)
        load_wait(load, until_ns);
}

void load_close(struct load *load)
{
    __atomic_store_n(&load->phase, LOAD_OVER, __ATOMIC_RELAXED);
    if (load->epoll >= 0)
        await_streams(load);
    for (uint32_t i = 0; i < load->node_count; i++) {
        if (load->nodes[i].node != NULL)
            (void)p2p_node_close(load->nodes[i].node, 0); /* all at the same time */
    }
    for (uint32_t i = 0; i < load->node_count; i++)
        p2p_node_free(load->nodes[i].node);
    if (load->runtime != NULL)
        p2p_runtime_free(load->runtime);
    if (load->epoll >= 0)
        close(load->epoll);
    if (load->wake >= 0)
        close(load->wake);
    free(load->nodes);
}
