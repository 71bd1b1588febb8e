#include "bench.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

/* `rtt` and `rr`: round trips on one stream of each connection, one at a time on
 * each.  `/ipfs/ping/1.0.0` is an echo, too.
 *
 * With a rate, unit k is due at begin_ns + k / rate and belongs to connection k
 * modulo their number: what is due on a connection follows from how many units
 * it has begun, and no queue is needed. */

struct round {
    struct requests *all;
    struct load_node *node;
    struct p2p_stream *stream; /* NULL: none is open */
    uint64_t from_ns;          /* of the unit under way: when it was due */
    uint64_t begun;            /* units */
    uint32_t sent, received;
    bool busy, ended;
};

struct requests {
    struct load *load;
    const char *protocol;
    uint64_t begin_ns;
    uint64_t due;              /* units that were due when the worker last looked */
    uint32_t runner;           /* the round whose stream takes us to the worker */
    struct round rounds[];
};

static const struct p2p_stream_callbacks callbacks;

static uint64_t due_ns(const struct requests *all, uint64_t unit)
{
    return all->begin_ns + (uint64_t)((double)unit * 1e9 / all->load->request.rate);
}

/* ---- On the worker ------------------------------------------------------------------- */

static void write_more(struct round *round)
{
    const struct load *load = round->all->load;

    while (round->sent < load->request.size) {
        int64_t count = p2p_stream_write(round->stream, load->payload + round->sent, load->request.size - round->sent);

        if (count <= 0)
            return; /* until it is writable, or has failed */
        round->sent += (uint32_t)count;
    }
}

static void begin(struct round *round, uint64_t from_ns)
{
    round->busy = true;
    round->from_ns = from_ns;
    round->sent = round->received = 0;
    round->begun++;
    write_more(round);
}

static void end(struct round *round)
{
    struct p2p_stream *stream = round->stream;

    round->stream = NULL;
    if (stream != NULL && round->busy)
        p2p_stream_reset(stream, 0);
    else if (stream != NULL)
        p2p_stream_close(stream);
    if (!round->ended)
        load_idle(round->all->load);
    round->ended = true;
}

/* The next unit, if it is its time. */
static void go_on(struct round *round, uint64_t now_ns)
{
    struct requests *all = round->all;
    const struct load *load = all->load;
    uint64_t unit = round->begun * load->node_count + round->node->index;

    if (load_phase(load) == LOAD_OVER)
        end(round);
    else if (round->busy || round->stream == NULL)
        return;
    else if (load->request.rate == 0)
        begin(round, now_ns);
    else if (unit < all->due)
        begin(round, due_ns(all, unit));
}

static void open_stream(struct round *round)
{
    if (load_open(round->node, round->all->protocol, &callbacks, round) != 0)
        end(round); /* its connection has ended */
}

static void opened(struct p2p_stream *stream, void *user)
{
    struct round *round = user;

    round->stream = stream;
    go_on(round, bench_now_ns());
}

static void lose(struct round *round, struct p2p_stream *stream, int error)
{
    if (round->busy || round->stream == NULL)
        load_unit_failed(round->all->load, error);
    round->stream = NULL;
    round->busy = false;
    p2p_stream_close(stream);
    if (load_phase(round->all->load) == LOAD_OVER || error <= LOAD_CONNECTION_ERROR)
        end(round);
    else
        open_stream(round);
}

static void receive(struct p2p_stream *stream, void *user)
{
    struct round *round = user;
    struct load *load = round->all->load;
    int64_t count;

    while (round->stream != NULL && (count = load_discard(stream)) != P2P_ERR_CALL_AGAIN) {
        round->received += count > 0 ? (uint32_t)count : 0;
        if (count < 0 || !round->busy || round->received > load->request.size) {
            lose(round, stream, count < 0 ? (int)count : P2P_ERR_STREAM_PROTOCOL);
            return;
        }
        if (round->received == load->request.size) {
            uint64_t now_ns = bench_now_ns();

            round->busy = false;
            load_unit(load, now_ns - round->from_ns);
            go_on(round, now_ns);
        }
    }
}

static void writable(struct p2p_stream *stream, void *user)
{
    (void)stream;
    write_more(user);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    lose(user, stream, error);
}

static const struct p2p_stream_callbacks callbacks = {opened, receive, writable, failed};

/* ---- With a rate --------------------------------------------------------------------- */

/* Begins what is due; what a lost connection should have done has failed. */
static void take_due(struct requests *all, uint64_t now_ns)
{
    while (load_phase(all->load) != LOAD_OVER && due_ns(all, all->due) <= now_ns) {
        struct round *round = &all->rounds[all->due++ % all->load->node_count];

        if (round->ended)
            load_unit_failed(all->load, P2P_ERR_CONN_CLOSED);
        else
            go_on(round, now_ns);
    }
}

/* On the worker: begins what is due; at the end, ends what waits for nothing. */
static void begin_due(struct p2p_stream *stream, void *argument)
{
    struct requests *all = argument;
    const struct load *load = all->load;

    (void)stream;
    for (uint32_t i = 0; load_phase(load) == LOAD_OVER && i < load->node_count; i++) {
        if (!all->rounds[i].busy)
            end(&all->rounds[i]);
    }
    take_due(all, bench_now_ns());
}

/* A stream that is open, or NULL. */
static struct p2p_stream *runner(struct requests *all)
{
    for (uint32_t i = 0; i < all->load->node_count; i++) {
        struct p2p_stream *stream = all->rounds[all->runner].stream;

        if (stream != NULL)
            return stream;
        all->runner = (all->runner + 1) % all->load->node_count;
    }
    return NULL;
}

/* The streams belong to the worker that this very thread is while it turns the
 * runtime: a message takes us there. */
static uint64_t start_due(struct load *load, uint64_t now_ns)
{
    struct requests *all = load->work;
    struct p2p_stream *stream = runner(all);

    if (stream == NULL && load_phase(load) == LOAD_OVER)
        return UINT64_MAX;
    if (stream == NULL) {
        take_due(all, now_ns); /* nothing can begin, and no worker minds */
        return due_ns(all, all->due);
    }
    if (load_phase(load) != LOAD_OVER && due_ns(all, all->due) > now_ns)
        return due_ns(all, all->due);
    /* In the turn that follows.  If that stream fails in it, another takes us there next time. */
    (void)p2p_stream_run(stream, begin_due, all);
    return due_ns(all, (uint64_t)((double)(now_ns - all->begin_ns) / 1e9 * load->request.rate) + 1);
}

/* ---- The work -------------------------------------------------------------------------- */

static bool start(struct load *load)
{
    struct requests *all = load->work = calloc(1, sizeof(*all) + load->node_count * sizeof(all->rounds[0]));

    if (all == NULL)
        return load_fail(load, "no memory for %u streams", load->node_count);
    all->load = load;
    all->protocol = strcmp(load->request.work->name, "rtt") == 0 ? "/ipfs/ping/1.0.0" : "/echo/1.0.0";
    all->begin_ns = bench_now_ns();
    for (uint32_t i = 0; i < load->node_count; i++) {
        struct round *round = &all->rounds[i];

        round->all = all;
        round->node = &load->nodes[i];
        load_busy(load);
        open_stream(round);
    }
    if (load->request.rate > 0)
        load->due = start_due;
    return true;
}

bool load_requests(struct load *load)
{
    if (!load_make(load, load->request.connections) || !load_connect(load))
        return false;
    if ((load->request.upload && !load_upload(load)) || !start(load))
        return false;
    load_measure(load);
    return true;
}
