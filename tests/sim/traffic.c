#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

/* Flows: what a node asks of its peers, one stream each.  An echo sends bytes
 * and gets them back, a ping 32 of them some times, perf sends and asks for as
 * many as it says.  Every byte is checked, in order, and every end.  Half of the
 * flows use INLINE streams, half EVENT streams; echo is served by the node itself
 * ("/echo/1.0.0") or by the application here ("/sim/echo/1.0.0"). */

#define FLOW_PROGRESS_NS_MAX (150 * SIM_SECOND) /* a peer that is silent is gone after 40 s, one that stalls after 35 */
#define FLOW_PATIENCE_NS SIM_SECOND
#define REFUSED_CODE 77
#define BURST_FLOWS 3
#define NAPS_ONE_OF 64 /* reads */
#define NAP_NS_MAX 300000000ull

enum flow_kind { FLOW_NONE, FLOW_ECHO, FLOW_PING, FLOW_PERF, FLOW_SERVE };

static const char *const kinds[] = {"", "echo", "ping", "perf", "serve"};

struct flow {
    enum flow_kind kind;
    struct sim_node *node;
    struct sim_process *process;
    struct p2p_stream *stream; /* NULL: not open yet */
    uint64_t id, request, key;
    uint32_t step; /* so many bytes at a time; 0: all */
    uint64_t to_send, sent, to_read, got;
    uint64_t progress_ns;
    uint64_t wire;
    unsigned peer;
    bool inline_stream, wrote_end, half_close;
    bool once; /* no other follows it */
    uint64_t nap; /* it does not read until then; 0: it does */
    /* Of one that serves: what came and is to go back. */
    uint8_t held[4096];
    uint32_t held_from, held_to;
    bool ended;
};

static uint8_t pattern(uint64_t key, uint64_t at)
{
    return (uint8_t)((key + at) * 0x9e3779b97f4a7c15u >> 56);
}

static void fill(const struct flow *flow, uint64_t at, uint8_t *out, size_t length)
{
    for (size_t i = 0; i < length; i++)
        out[i] = pattern(flow->key, at + i);
}

/* ---- beginning and end -------------------------------------------------------------- */

static void begin_another(struct sim *sim, struct sim_node *node, uint64_t generation);

static void forget(struct flow *flow)
{
    if (flow->kind == FLOW_SERVE)
        sim_ends_got(flow->node, flow->wire, flow->got);
    flow->process->flows--;
    flow->kind = FLOW_NONE;
    flow->stream = NULL;
}

static void next_one(struct flow *flow)
{
    struct sim *sim = flow->node->sim;

    if (flow->kind != FLOW_SERVE && !flow->once && !sim->ending && flow->node->process == flow->process)
        sim_after(sim, sim->scenario->pause_ns + sim_chance(sim) % (sim->scenario->pause_ns + 1), flow->node,
                  begin_another, flow->process->generation);
}

static void done(struct flow *flow)
{
    struct sim *sim = flow->node->sim;

    sim->flows_done++;
    sim->bytes_echoed += flow->got;
    sim_note_event(sim, flow->node, "%s %llu done bytes=%llu", kinds[flow->kind], (unsigned long long)flow->id,
                   (unsigned long long)flow->got);
    sim_note_flow(sim, flow->node, kinds[flow->kind], flow->id, false);
    p2p_stream_close(flow->stream);
    next_one(flow);
    forget(flow);
}

/* Among honest nodes on a healthy network nothing fails. */
static void check_failure(struct flow *flow, int error)
{
    struct sim_node *node = flow->node;
    struct sim *sim = node->sim;
    bool healthy = (sim->what.faults & ~(uint32_t)(FAULT_SLOW | FAULT_CLOCK | FAULT_NAT | FAULT_STALL)) == 0;

    if (error == P2P_ERR_STREAM_PROTOCOL || error == P2P_ERR_CONN_PROTOCOL || error == P2P_ERR_CONN_FLOW ||
        error == P2P_ERR_CONN_AUTH)
        sim_fail(sim, node, "honest peers", "%s %llu to node %u failed: %s", kinds[flow->kind],
                 (unsigned long long)flow->id, flow->peer, p2p_error_name(error));
    if (healthy && !sim->ending)
        sim_fail(sim, node, "healthy network", "%s %llu to node %u failed: %s after %llu of %llu bytes",
                 kinds[flow->kind], (unsigned long long)flow->id, flow->peer, p2p_error_name(error),
                 (unsigned long long)flow->got, (unsigned long long)flow->to_read);
}

/* The application there had no room. */
static bool was_refused(const struct flow *flow, int error)
{
    return error == P2P_ERR_STREAM_RESET && flow->stream && p2p_stream_error_code(flow->stream) == REFUSED_CODE;
}

static void failed(struct flow *flow, int error)
{
    struct sim *sim = flow->node->sim;

    sim->flows_failed++;
    sim_note_event(sim, flow->node, "%s %llu failed peer=%u bytes=%llu/%llu: %s", kinds[flow->kind],
                   (unsigned long long)flow->id, flow->peer, (unsigned long long)flow->got,
                   (unsigned long long)flow->to_read, p2p_error_name(error));
    sim_note_flow(sim, flow->node, kinds[flow->kind], flow->id, false);
    if (error != P2P_ERR_CALL_FULL && error != P2P_ERR_CALL_NOT_FOUND && !was_refused(flow, error))
        check_failure(flow, error);
    if (flow->stream)
        p2p_stream_close(flow->stream);
    next_one(flow);
    forget(flow);
}

/* ---- bytes ---------------------------------------------------------------------------- */

static void moved(struct flow *flow)
{
    flow->progress_ns = sim_now(flow->node->sim);
}

/* 0 to go on, AGAIN to wait, or what ended it. */
static int send_more(struct flow *flow)
{
    uint8_t bytes[4096];
    uint64_t ahead = flow->step ? flow->got + flow->step : flow->to_send; /* a ping waits for its pong */

    if (ahead > flow->to_send)
        ahead = flow->to_send;
    while (flow->sent < ahead) {
        size_t length = ahead - flow->sent < sizeof(bytes) ? (size_t)(ahead - flow->sent) : sizeof(bytes);
        int64_t count;

        fill(flow, flow->sent, bytes, length);
        for (uint64_t i = flow->sent; flow->kind == FLOW_PERF && i < 8; i++)
            bytes[i - flow->sent] = (uint8_t)(flow->to_read >> (56 - 8 * i));
        count = p2p_stream_write(flow->stream, bytes, length);
        if (count < 0)
            return (int)count;
        flow->sent += (uint64_t)count;
        moved(flow);
    }
    if (flow->sent == flow->to_send && !flow->wrote_end && (flow->half_close || flow->got == flow->to_read)) {
        flow->wrote_end = true;
        return p2p_stream_close_write(flow->stream);
    }
    return P2P_ERR_CALL_AGAIN;
}

static void check_bytes(struct flow *flow, const uint8_t *bytes, size_t length)
{
    struct sim *sim = flow->node->sim;

    if (flow->got + length > flow->to_read)
        sim_fail(sim, flow->node, "bytes in order", "%s %llu got %llu bytes more than there were", kinds[flow->kind],
                 (unsigned long long)flow->id, (unsigned long long)(flow->got + length - flow->to_read));
    for (size_t i = 0; flow->kind != FLOW_PERF && i < length; i++)
        if (bytes[i] != pattern(flow->key, flow->got + i))
            sim_fail(sim, flow->node, "bytes in order", "%s %llu: byte %llu of %llu is not the one that was sent",
                     kinds[flow->kind], (unsigned long long)flow->id, (unsigned long long)flow->got + i,
                     (unsigned long long)flow->to_read);
    flow->got += length;
    moved(flow);
}

/* ---- readers that look away: only then windows fill up --------------------------------- */

static void go_on(struct flow *flow);

static void wake_up(struct sim *sim, struct sim_node *node, uint64_t nap)
{
    for (unsigned i = 0; node->flows && i < 2 * SIM_FLOWS_MAX; i++) {
        struct flow *flow = &node->flows[i];

        if (flow->kind == FLOW_NONE || flow->nap != nap)
            continue;
        if (node->frozen) {
            sim_after(sim, SIM_SECOND, node, wake_up, nap);
            return;
        }
        flow->nap = 0;
        go_on(flow);
        return;
    }
}

static bool looks_away(struct flow *flow)
{
    struct sim *sim = flow->node->sim;

    if (flow->nap)
        return true;
    if (flow->inline_stream || sim->scenario->rounds || sim_below(sim, NAPS_ONE_OF))
        return false;
    flow->nap = ++sim->requests;
    sim_after(sim, sim_chance(sim) % NAP_NS_MAX, flow->node, wake_up, flow->nap);
    return true;
}

/* The same. */
static int read_more(struct flow *flow)
{
    uint8_t bytes[4096];
    int64_t count;

    if (looks_away(flow))
        return P2P_ERR_CALL_AGAIN;
    while ((count = p2p_stream_read(flow->stream, bytes, sizeof(bytes))) > 0)
        check_bytes(flow, bytes, (size_t)count);
    if (count == P2P_ERR_STREAM_EOF && (flow->got < flow->to_read || !flow->wrote_end))
        sim_fail(flow->node->sim, flow->node, "bytes in order", "%s %llu ended in order after %llu of %llu bytes",
                 kinds[flow->kind], (unsigned long long)flow->id, (unsigned long long)flow->got,
                 (unsigned long long)flow->to_read);
    return (int)count;
}

/* What it read it writes; at the end, the end. */
static int serve_more(struct flow *flow)
{
    for (;;) {
        int64_t count;

        if (flow->held_from < flow->held_to) {
            count = p2p_stream_write(flow->stream, flow->held + flow->held_from, flow->held_to - flow->held_from);
            if (count <= 0)
                return (int)count;
            flow->held_from += (uint32_t)count;
            moved(flow);
            continue;
        }
        if (looks_away(flow))
            return P2P_ERR_CALL_AGAIN;
        count = p2p_stream_read(flow->stream, flow->held, sizeof(flow->held));
        if (count <= 0)
            return (int)count;
        flow->held_from = 0;
        flow->held_to = (uint32_t)count;
        flow->got += (uint64_t)count;
        moved(flow);
    }
}

/* Nobody hears it any more, but what came before the end came. */
static void read_rest(struct flow *flow)
{
    int64_t count;

    while ((count = p2p_stream_read(flow->stream, flow->held, sizeof(flow->held))) > 0)
        flow->got += (uint64_t)count;
}

static void go_on(struct flow *flow)
{
    int error;

    if (flow->kind == FLOW_SERVE) {
        error = serve_more(flow);
        if (error == P2P_ERR_STREAM_EOF || (error != P2P_ERR_CALL_AGAIN && error != P2P_ERR_CALL_NOMEM)) {
            read_rest(flow);
            p2p_stream_close(flow->stream);
            forget(flow);
        }
        return;
    }
    do {
        error = send_more(flow);
        if (error == P2P_ERR_CALL_AGAIN || error == 0)
            error = read_more(flow);
    } while (error == P2P_ERR_CALL_AGAIN && flow->step && flow->sent == flow->got &&
             flow->sent < flow->to_send);
    if (error == P2P_ERR_CALL_AGAIN && flow->got == flow->to_read && !flow->wrote_end)
        error = send_more(flow);
    if (error == P2P_ERR_STREAM_EOF)
        done(flow);
    else if (error != P2P_ERR_CALL_AGAIN && error != P2P_ERR_CALL_NOMEM && error != 0)
        failed(flow, error);
}

/* ---- streams ----------------------------------------------------------------------------- */

static void on_inline(struct p2p_stream *stream, void *user)
{
    struct flow *flow = user;

    if (flow->kind == FLOW_NONE)
        return;
    if (!flow->stream)
        flow->process->requests--;
    flow->stream = stream;
    go_on(flow);
}

static void on_inline_failed(struct p2p_stream *stream, void *user, int error)
{
    struct flow *flow = user;

    if (flow->kind == FLOW_NONE)
        sim_fail(sim_current, NULL, "answered once", "a stream that was closed failed, too: %s", p2p_error_name(error));
    if (!flow->stream)
        flow->process->requests--;
    flow->stream = stream;
    failed(flow, error);
}

static const struct p2p_stream_callbacks callbacks = {on_inline, on_inline, on_inline, on_inline_failed};

static const char *protocol_of(struct flow *flow)
{
    if (flow->kind == FLOW_PING)
        return "/ipfs/ping/1.0.0";
    if (flow->kind == FLOW_PERF)
        return "/perf/1.0.0";
    return flow->key & 1 ? "/echo/1.0.0" : "/sim/echo/1.0.0";
}

static void open_flow(struct flow *flow)
{
    struct sim_node *node = flow->node, *to = &node->sim->nodes[flow->peer];
    const char *protocol = protocol_of(flow);
    int error;

    flow->process->requests++;
    flow->inline_stream = sim_below(node->sim, 2);
    if (flow->inline_stream)
        error = p2p_stream_open_inline(flow->process->node, to->id, &protocol, 1, &callbacks, flow);
    else
        error = p2p_stream_open_start(flow->process->node, flow->request, to->id, &protocol, 1);
    if (error == 0)
        return;
    flow->process->requests--;
    failed(flow, error == P2P_ERR_NODE_CLOSING ? P2P_ERR_CALL_FULL : error);
}

static uint64_t draw_bytes(struct sim *sim, uint32_t max)
{
    uint32_t range = sim_below(sim, 4) ? 256 : max;

    return 1 + sim_below(sim, range);
}

static void shape(struct flow *flow)
{
    struct sim *sim = flow->node->sim;
    const struct sim_scenario *scenario = sim->scenario;
    uint32_t kind = sim_below(sim, scenario->echo + scenario->ping + scenario->perf);

    flow->half_close = true;
    if (flow->once) { /* much, to where the application counts what comes */
        flow->kind = FLOW_ECHO;
        flow->key &= ~UINT64_C(1);
        flow->to_send = flow->to_read = 1 + sim_below(sim, scenario->bytes_max);
    } else if (kind < scenario->echo) {
        flow->kind = FLOW_ECHO;
        flow->to_send = flow->to_read = draw_bytes(sim, scenario->bytes_max);
        flow->half_close = sim_below(sim, 2);
        if (scenario->rounds) {
            flow->step = 64;
            flow->to_send = flow->to_read = (uint64_t)flow->step * scenario->rounds;
        }
    } else if (kind < scenario->echo + scenario->ping) {
        flow->kind = FLOW_PING;
        flow->step = 32;
        flow->to_send = flow->to_read = UINT64_C(32) * (1 + sim_below(sim, 8));
    } else {
        flow->kind = FLOW_PERF;
        flow->to_send = 8 + draw_bytes(sim, scenario->bytes_max);
        flow->to_read = draw_bytes(sim, scenario->bytes_max);
    }
}

static struct flow *flow_new(struct sim_process *process, uint64_t id)
{
    struct sim_node *node = process->owner;

    if (!node->flows)
        node->flows = calloc((size_t)2 * SIM_FLOWS_MAX, sizeof(*node->flows));
    for (unsigned i = 0; i < 2 * SIM_FLOWS_MAX; i++) {
        struct flow *flow = &node->flows[i];

        if (flow->kind != FLOW_NONE)
            continue;
        *flow = (struct flow){.node = node, .process = process, .id = id, .key = sim_chance(node->sim)};
        process->flows++;
        moved(flow);
        return flow;
    }
    return NULL;
}

/* One of those connected, or none. */
static int draw_peer(struct sim_node *node)
{
    uint32_t skip = node->peers_up ? sim_below(node->sim, node->peers_up) : 0;

    for (unsigned i = 0; node->peers_up && i < node->sim->what.nodes; i++)
        if (node->peers[i].connected && skip-- == 0)
            return (int)i;
    return -1;
}

static void begin_flow(struct sim_node *node, struct flow *flow, unsigned peer)
{
    struct sim *sim = node->sim;

    flow->peer = peer;
    flow->request = ++sim->requests;
    shape(flow);
    sim_note_event(sim, node, "%s %llu begins peer=%u send=%llu read=%llu", kinds[flow->kind],
                   (unsigned long long)flow->id, peer, (unsigned long long)flow->to_send,
                   (unsigned long long)flow->to_read);
    sim_note_flow(sim, node, kinds[flow->kind], flow->id, true);
    open_flow(flow);
}

static void begin_another(struct sim *sim, struct sim_node *node, uint64_t generation)
{
    struct sim_process *process = node->process;
    struct flow *flow = NULL;
    int peer;

    if (!process || node->state != NODE_UP || process->generation != generation || sim->ending)
        return;
    peer = node->frozen ? -1 : draw_peer(node);
    if (peer >= 0 && !sim->nodes[peer].hostile)
        flow = flow_new(process, ++node->next_flow);
    if (flow)
        begin_flow(node, flow, (unsigned)peer);
    else
        sim_after(sim, FLOW_PATIENCE_NS, node, begin_another, generation);
}

void sim_flows_burst(struct sim_node *node, unsigned peer)
{
    for (unsigned i = 0; i < BURST_FLOWS && node->peers[peer].connected; i++) {
        struct flow *flow = flow_new(node->process, ++node->next_flow);

        if (!flow)
            return;
        flow->once = true;
        begin_flow(node, flow, peer);
    }
}

void sim_flows_begin(struct sim *sim, struct sim_node *node, uint64_t generation)
{
    if (node->process && node->process->generation == generation)
        for (unsigned i = 0; i < sim->scenario->flows; i++)
            begin_another(sim, node, generation);
}

/* ---- events -------------------------------------------------------------------------------- */

static struct flow *flow_of_request(struct sim_process *process, uint64_t request)
{
    struct sim_node *node = process->owner;

    for (unsigned i = 0; node->flows && i < 2 * SIM_FLOWS_MAX; i++)
        if (node->flows[i].kind != FLOW_NONE && !node->flows[i].stream && !node->flows[i].inline_stream &&
            node->flows[i].request == request)
            return &node->flows[i];
    sim_fail(node->sim, node, "answered once", "an open was answered twice, or never asked");
}

static void on_incoming(struct sim_process *process, struct p2p_stream *stream)
{
    struct flow *flow = process->owner->state == NODE_UP ? flow_new(process, 0) : NULL;

    if (!flow) {
        p2p_stream_reset(stream, REFUSED_CODE);
        return;
    }
    flow->kind = FLOW_SERVE;
    flow->stream = stream;
    flow->wire = sim_ends_wire(stream);
    p2p_stream_set_user(stream, flow);
    go_on(flow);
}

static void on_opened(struct sim_process *process, const struct p2p_event *event)
{
    struct flow *flow = flow_of_request(process, event->request);

    process->requests--;
    if (event->type == P2P_EVENT_STREAM_OPEN_FAILED) {
        failed(flow, event->error);
        return;
    }
    flow->stream = event->stream;
    p2p_stream_set_user(event->stream, flow);
    go_on(flow);
}

void sim_flow_event(struct sim_process *process, const struct p2p_event *event)
{
    struct flow *flow;

    if (event->type == P2P_EVENT_STREAM_INCOMING) {
        on_incoming(process, event->stream);
        return;
    }
    if (event->type == P2P_EVENT_STREAM_OPENED || event->type == P2P_EVENT_STREAM_OPEN_FAILED) {
        on_opened(process, event);
        return;
    }
    flow = p2p_stream_user(event->stream);
    if (flow && flow->kind != FLOW_NONE && flow->stream == event->stream)
        go_on(flow); /* a failure shows in what reading says */
    else
        sim_fail(process->owner->sim, process->owner, "answered once", "an event of a stream that was closed");
}

/* ---- what must hold --------------------------------------------------------------------------- */

void sim_flows_check(struct sim_node *node)
{
    struct sim *sim = node->sim;

    if (node->process && node->process->due)
        return; /* it has not looked yet */
    for (unsigned i = 0; node->flows && i < 2 * SIM_FLOWS_MAX; i++) {
        struct flow *flow = &node->flows[i];
        uint64_t since_ns = flow->progress_ns > node->trouble_ns ? flow->progress_ns : node->trouble_ns;

        if (flow->kind == FLOW_NONE || flow->kind == FLOW_SERVE || node->frozen)
            continue;
        if (sim_now(sim) - since_ns > FLOW_PROGRESS_NS_MAX)
            sim_fail(sim, node, "progress", "%s %llu to node %u has stood still for %u s: sent %llu of %llu, got %llu "
                     "of %llu%s", kinds[flow->kind], (unsigned long long)flow->id, flow->peer,
                     (unsigned)(FLOW_PROGRESS_NS_MAX / SIM_SECOND), (unsigned long long)flow->sent,
                     (unsigned long long)flow->to_send, (unsigned long long)flow->got,
                     (unsigned long long)flow->to_read, flow->stream ? "" : ", not open");
    }
}

void sim_flows_part(struct sim_node *node, int peer)
{
    for (unsigned i = 0; node->flows && i < 2 * SIM_FLOWS_MAX; i++) {
        const struct flow *flow = &node->flows[i];

        if (flow->kind == FLOW_ECHO && flow->stream && (peer < 0 || flow->peer == (unsigned)peer))
            sim_ends_owed(node, sim_ends_wire(flow->stream), flow->sent);
    }
}

void sim_flows_drop(struct sim_node *node, bool told)
{
    for (unsigned i = 0; node->flows && i < 2 * SIM_FLOWS_MAX; i++) {
        struct flow *flow = &node->flows[i];

        if (flow->kind == FLOW_NONE)
            continue;
        if (!told && flow->inline_stream)
            sim_fail(node->sim, node, "answered once", "%s %llu never heard that its node closed", kinds[flow->kind],
                     (unsigned long long)flow->id);
        if (!told && flow->stream)
            p2p_stream_close(flow->stream);
        flow->kind = FLOW_NONE;
    }
}
