#include "bench.h"
#include "load.h"

#include <string.h>

/* `handshake`, `idle`, `storm`: what connections cost. */

/* ---- handshake: connect, identify, ping, disconnect, in a loop -------------------------- */

enum {
    PING_BYTES = 32,
    NODES_POLLED_MAX = 64,
};

static void dial(struct load_node *node)
{
    node->ok = node->connected = node->identified = false;
    node->since_ns = bench_now_ns();
    if (load_phase(node->load) != LOAD_OVER)
        (void)load_dial(node); /* if it cannot, the load says why */
}

/* The next one.  A node whose successor is to be another closes first, which is an event. */
static void begin(struct load_node *node)
{
    if (node->load->request.distinct)
        (void)p2p_node_close(node->node, 0);
    else
        dial(node);
}

/* Its end is an event. */
static void hang_up(struct load_node *node, struct p2p_stream *ping)
{
    p2p_stream_close(ping);
    (void)p2p_node_disconnect(node->node, node->load->peer); /* the peer may have been quicker */
}

static void ping(struct p2p_stream *stream, void *user)
{
    const struct load_node *node = user;

    (void)p2p_stream_write(stream, node->load->payload, PING_BYTES); /* a fresh stream has room */
}

static void pinged(struct p2p_stream *stream, void *user)
{
    struct load_node *node = user;
    int64_t count;

    while ((count = load_discard(stream)) > 0)
        node->pong += (uint32_t)count;
    node->ok = node->pong == PING_BYTES;
    if (node->pong >= PING_BYTES || count != P2P_ERR_CALL_AGAIN)
        hang_up(node, stream);
}

static void ping_failed(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    hang_up(user, stream);
}

static void open_ping(struct load_node *node)
{
    static const struct p2p_stream_callbacks callbacks = {ping, pinged, NULL, ping_failed};

    node->pong = 0;
    /* When it cannot be opened the connection has ended, which is an event. */
    if (node->connected && node->identified)
        (void)load_open(node, "/ipfs/ping/1.0.0", &callbacks, node);
}

static void take_handshake_event(struct load_node *node, const struct p2p_event *event)
{
    struct load *load = node->load;

    if (event->type == P2P_EVENT_CONNECTED && event->request == node->attempt) {
        node->connected = true;
        if (load->peer[0] == '\0')
            memcpy(load->peer, event->id, sizeof(load->peer));
        open_ping(node);
    } else if (event->type == P2P_EVENT_PEER_IDENTIFIED) {
        node->identified = true;
        open_ping(node);
    } else if (event->type == P2P_EVENT_PEER_DISCONNECTED && node->ok) {
        load_unit(load, bench_now_ns() - node->since_ns);
        begin(node);
    } else if (event->type == P2P_EVENT_PEER_DISCONNECTED ||
               (event->type == P2P_EVENT_CONNECT_FAILED && event->request == node->attempt)) {
        load_unit_failed(load, event->error);
        begin(node);
    } else if (event->type == P2P_EVENT_NODE_CLOSED && load_phase(load) != LOAD_OVER && load_renew(node)) {
        dial(node);
    }
}

bool load_handshakes(struct load *load)
{
    load->polled = load->serve->workers == 1 && load->request.parallel <= NODES_POLLED_MAX;
    if (!load_make(load, load->request.parallel))
        return false;
    load->on_event = take_handshake_event;
    for (uint32_t i = 0; i < load->node_count; i++)
        dial(&load->nodes[i]);
    if (load->error[0] != '\0')
        return false;
    load_measure(load);
    return true;
}

/* ---- idle: connections that are held ------------------------------------------------------ */

bool load_idlers(struct load *load)
{
    uint64_t begin_ns;

    if (load->request.nodes > 0)
        return load_mesh(load);
    if (!load_make(load, load->request.connections))
        return false;
    begin_ns = bench_now_ns();
    if (!load_connect(load))
        return false;
    load->setup_s = (double)(bench_now_ns() - begin_ns) / 1e9;
    load_measure(load);
    load_lane(load)->units = load->up;
    load_lane(load)->failed = load->node_count - load->up;
    return true;
}

/* ---- storm: all at once --------------------------------------------------------------------- */

static void take_storm_event(struct load_node *node, const struct p2p_event *event)
{
    struct load *load = node->load;

    if (event->type == P2P_EVENT_CONNECTED)
        load_unit(load, bench_now_ns() - load->begin_ns);
    else if (event->type == P2P_EVENT_CONNECT_FAILED)
        load_unit_failed(load, event->error);
    else
        return;
    load_idle(load);
}

bool load_storm(struct load *load)
{
    if (!load_make(load, load->request.connections))
        return false;
    load->on_event = take_storm_event;
    load_begin(load);
    for (uint32_t i = 0; i < load->node_count; i++) {
        if (!load_dial(&load->nodes[i]))
            return false;
        load_busy(load);
    }
    while (__atomic_load_n(&load->busy, __ATOMIC_RELAXED) > 0 && !load->stopped)
        load_wait(load, UINT64_MAX); /* a dial gives up in time */
    load_end(load);
    return true;
}
