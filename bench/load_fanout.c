#include "bench.h"
#include "load.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* `fanout`: the listening node writes a message to each of many peers and reads
 * all echoes, in rounds.
 *
 * Each stream belongs to one worker of the listening node.  Whoever reads the
 * last echo of a round begins the next: on its own worker at once, on each of
 * the others by p2p_stream_run() with a stream that is there.  That may be lost
 * with its stream; so whoever finds a stream lost looks whether its worker has
 * missed something.  The node outlives the load, so all streams are given up, on
 * their workers, before the load ends. */

#define PEERS_NS_MAX (UINT64_C(60) * 1000000000) /* the contract's patience */
#define PEERS_LOOK_NS UINT64_C(20000000)

struct receiver {
    struct fanout *all;
    struct group *group;       /* NULL: not open, or given up */
    struct p2p_stream *stream;
    struct receiver *next, *previous; /* of its group */
    uint32_t sent, received;
    bool busy;                 /* its echo of this round is still to come */
};

/* The streams of one worker, which alone changes the list. */
struct group {
    struct fanout *all;
    struct receiver *first;
    uint64_t round;            /* the last that it has begun */
};

struct fanout {
    struct load *load;
    struct group *groups;      /* one for each lane of the load */
    /* Atomic: echoes of this round that are still to come.  Who takes the last
     * acquires what all have released. */
    uint32_t left;
    uint64_t begin_ns;         /* of this round */
    pthread_mutex_t lock;      /* of all that follows, of the lists, and of groups' rounds */
    uint32_t opening;          /* streams that have not said how it went */
    uint32_t open;
    uint64_t round;
    struct receiver receivers[];
};

static struct group *own_group(struct fanout *all)
{
    return &all->groups[load_lane(all->load) - all->load->lanes];
}

/* ---- A round, on a worker --------------------------------------------------------------- */

static void write_more(struct receiver *receiver)
{
    const struct load *load = receiver->all->load;

    while (receiver->sent < load->request.size) {
        int64_t count = p2p_stream_write(receiver->stream, load->payload + receiver->sent,
                                         load->request.size - receiver->sent);

        if (count <= 0)
            return; /* until it is writable, or has failed */
        receiver->sent += (uint32_t)count;
    }
}

/* The group's part of the present round, if it has not begun it yet. */
static void begin_part(struct group *group)
{
    struct fanout *all = group->all;
    uint64_t round;

    pthread_mutex_lock(&all->lock);
    round = group->round;
    group->round = all->round;
    pthread_mutex_unlock(&all->lock);
    if (round == group->round)
        return;
    for (struct receiver *receiver = group->first; receiver != NULL; receiver = receiver->next) {
        receiver->busy = true;
        receiver->sent = receiver->received = 0;
        write_more(receiver);
    }
}

static void begin_part_there(struct p2p_stream *stream, void *group)
{
    (void)stream;
    begin_part(group);
}

static void forget(struct receiver *receiver)
{
    struct group *group = receiver->group;

    if (group == NULL)
        return;
    *(receiver->previous != NULL ? &receiver->previous->next : &group->first) = receiver->next;
    if (receiver->next != NULL)
        receiver->next->previous = receiver->previous;
    receiver->group = NULL;
    receiver->all->open--;
}

/* Gives all up.  With the last stream the group is gone. */
static void end_part(struct group *group)
{
    struct fanout *all = group->all;
    struct load *load = all->load;
    unsigned count = 0;

    for (; group->first != NULL; count++) {
        struct receiver *receiver = group->first;

        pthread_mutex_lock(&all->lock);
        forget(receiver);
        pthread_mutex_unlock(&all->lock);
        p2p_stream_reset(receiver->stream, 0);
    }
    while (count-- > 0)
        load_idle(load);
}

static void end_part_there(struct p2p_stream *stream, void *group)
{
    (void)stream;
    end_part(group);
}

/* Under the lock. */
static void tell_groups(struct fanout *all, const struct group *but,
                        void (*what)(struct p2p_stream *stream, void *group))
{
    for (unsigned i = 0; i < all->load->lane_count; i++) {
        struct group *group = &all->groups[i];

        if (group != but && group->first != NULL)
            (void)p2p_stream_run(group->first->stream, what, group); /* no memory: then the round stops */
    }
}

static void begin_round(struct fanout *all)
{
    struct group *own = own_group(all);

    pthread_mutex_lock(&all->lock);
    if (load_phase(all->load) == LOAD_OVER || all->open == 0) {
        pthread_mutex_unlock(&all->lock);
        return;
    }
    all->round++;
    __atomic_store_n(&all->left, all->open, __ATOMIC_RELAXED); /* the lock takes it to the others */
    all->begin_ns = bench_now_ns();
    tell_groups(all, own, begin_part_there);
    pthread_mutex_unlock(&all->lock);
    begin_part(own);
}

static void count_round(struct fanout *all)
{
    uint64_t latency_ns = bench_now_ns() - all->begin_ns;

    if (load_phase(all->load) == LOAD_MEASURED)
        histogram_add(&load_lane(all->load)->latency_ns, latency_ns);
}

/* An echo has come, or will not. */
static void settle(struct fanout *all)
{
    if (__atomic_sub_fetch(&all->left, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    count_round(all);
    begin_round(all);
}

/* ---- Streams -------------------------------------------------------------------------------- */

static void ended_opening(struct fanout *all)
{
    bool last;

    pthread_mutex_lock(&all->lock);
    last = --all->opening == 0;
    pthread_mutex_unlock(&all->lock);
    if (last)
        begin_round(all);
}

static void opened(struct p2p_stream *stream, void *user)
{
    struct receiver *receiver = user;
    struct fanout *all = receiver->all;
    struct group *group = own_group(all);

    if (load_phase(all->load) == LOAD_OVER) {
        p2p_stream_reset(stream, 0);
        load_idle(all->load);
        return;
    }
    pthread_mutex_lock(&all->lock);
    receiver->stream = stream;
    receiver->group = group;
    receiver->next = group->first;
    if (receiver->next != NULL)
        receiver->next->previous = receiver;
    group->first = receiver;
    all->open++;
    pthread_mutex_unlock(&all->lock);
    ended_opening(all);
}

/* It was open: what its worker should have heard by it is done now. */
static void lose(struct receiver *receiver)
{
    struct fanout *all = receiver->all;
    struct group *group = receiver->group;
    bool owed;

    pthread_mutex_lock(&all->lock);
    owed = receiver->busy || group->round != all->round;
    forget(receiver);
    pthread_mutex_unlock(&all->lock);
    if (load_phase(all->load) == LOAD_OVER)
        end_part(group);
    else
        begin_part(group);
    if (owed)
        settle(all);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    struct receiver *receiver = user;
    struct fanout *all = receiver->all;

    p2p_stream_close(stream);
    load_unit_failed(all->load, error);
    if (receiver->group != NULL)
        lose(receiver);
    else
        ended_opening(all);
    load_idle(all->load);
}

static void receive(struct p2p_stream *stream, void *user)
{
    struct receiver *receiver = user;
    struct load *load = receiver->all->load;
    int64_t count;

    while ((count = load_discard(stream)) > 0) {
        receiver->received += (uint32_t)count;
        if (!receiver->busy || receiver->received > load->request.size) {
            failed(stream, receiver, P2P_ERR_STREAM_PROTOCOL);
            return;
        }
        if (receiver->received < load->request.size)
            continue;
        receiver->busy = false;
        load_units(load, 1);
        settle(receiver->all);
    }
    if (count != P2P_ERR_CALL_AGAIN)
        failed(stream, receiver, (int)count);
}

static void writable(struct p2p_stream *stream, void *user)
{
    (void)stream;
    write_more(user);
}

static const struct p2p_stream_callbacks callbacks = {opened, receive, writable, failed};

/* ---- The work, on the command's thread --------------------------------------------------------- */

/* The peers that are identified, up to `wanted` of them at the front; NULL when
 * memory is out. */
static struct p2p_peer *list_peers(struct p2p_node *node, uint32_t wanted, uint32_t *count)
{
    size_t capacity = p2p_node_peers(node) + 64, found = 0;
    struct p2p_peer *peers = calloc(capacity, sizeof(*peers));

    *count = 0;
    if (peers == NULL || p2p_node_connected_peers(node, peers, capacity, &found) != 0)
        return peers;
    for (size_t i = 0; i < found && i < capacity && *count < wanted; i++) {
        if (peers[i].identified)
            peers[(*count)++] = peers[i];
    }
    return peers;
}

static struct p2p_peer *await_peers(struct load *load)
{
    struct p2p_node *node = load->serve->listening;
    uint32_t wanted = load->request.connections, count = 0;
    uint64_t until_ns = bench_now_ns() + PEERS_NS_MAX;

    while (!load->stopped && bench_now_ns() < until_ns) {
        struct p2p_peer *peers = NULL;

        if (p2p_node_peers(node) >= wanted)
            peers = list_peers(node, wanted, &count);
        if (count == wanted)
            return peers;
        free(peers);
        load_wait(load, bench_now_ns() + PEERS_LOOK_NS);
    }
    (void)load_fail(load, "%zu peers are connected, not %u", p2p_node_peers(node), wanted);
    return NULL;
}

static struct fanout *make(struct load *load)
{
    uint32_t count = load->request.connections;
    struct fanout *all = calloc(1, sizeof(*all) + count * sizeof(all->receivers[0]));
    struct group *groups = calloc(load->lane_count, sizeof(*groups));

    load->work = all;
    if (all == NULL || groups == NULL) {
        free(groups);
        (void)load_fail(load, "no memory for %u streams", count);
        return NULL;
    }
    all->load = load;
    all->groups = groups;
    all->opening = count;
    load_busy(load); /* until the end, so that only that is one */
    pthread_mutex_init(&all->lock, NULL);
    for (unsigned i = 0; i < load->lane_count; i++)
        groups[i].all = all;
    for (uint32_t i = 0; i < count; i++)
        all->receivers[i].all = all;
    return all;
}

static void start(struct fanout *all, const struct p2p_peer *peers)
{
    static const char *const protocols[] = {"/echo/1.0.0"};
    struct load *load = all->load;

    for (uint32_t i = 0; i < load->request.connections; i++) {
        struct receiver *receiver = &all->receivers[i];
        int error;

        load_busy(load);
        error = p2p_stream_open_inline(load->serve->listening, peers[i].id, protocols, 1, &callbacks, receiver);
        if (error == 0)
            continue;
        (void)load_fail(load, "open to %s: %s", peers[i].id, p2p_error_string(error));
        load_idle(load);
        ended_opening(all);
    }
}

/* All streams are given up before it returns. */
static void finish(struct fanout *all)
{
    struct load *load = all->load;

    pthread_mutex_lock(&all->lock);
    tell_groups(all, NULL, end_part_there);
    pthread_mutex_unlock(&all->lock);
    load_idle(load);
    while (!load->woken) /* after which nobody touches the load any more */
        load_wait(load, UINT64_MAX);
    pthread_mutex_destroy(&all->lock);
    free(all->groups);
}

bool load_fanout(struct load *load)
{
    struct p2p_peer *peers = await_peers(load);
    struct fanout *all = peers != NULL ? make(load) : NULL;

    if (all != NULL) {
        start(all, peers);
        load_measure(load);
        finish(all);
    }
    free(peers);
    return all != NULL;
}
