#include "tests/sim/sim.h"

#include "actors/app.h"
#include "crypto/key.h"
#include "crypto/peer_id.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 15000
#define CONNECT_GRACE_NS (2 * SIM_SECOND) /* beyond its time-out an answer may take */
#define SEEK_NS SIM_SECOND

/* ---- who they are ---------------------------------------------------------------- */

static void make_identity(struct sim_node *node)
{
    uint8_t seed[KEY_SEED_BYTES] = {0};
    struct key *key;
    struct peer_id id;

    for (int i = 0; i < 8; i++)
        seed[i] = (uint8_t)(node->sim->what.seed >> 8 * i);
    memcpy(seed + 8, &node->index, sizeof(node->index));
    if (key_new_seed(&key, seed) != 0 || key_to_protobuf(key, node->key, sizeof(node->key), &node->key_length) != 0)
        abort();
    peer_id_from_public_key(&id, key_public(key));
    peer_id_to_text(&id, node->id);
    key_free(key);
}

static void make_host(struct sim_node *node)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    unsigned number = node->index + 1;
    unsigned parts[3] = {number >> 16 & 255, number >> 8 & 255, number & 255};

    address.sin_addr.s_addr = htonl(10u << 24 | number);
    node->host = sim_host_new(node->sim->world, (struct sockaddr *)&address, sizeof(address));
    snprintf(node->address, sizeof(node->address), "/ip4/10.%u.%u.%u/tcp/%d", parts[0], parts[1], parts[2], SIM_PORT);
}

/* Where the identity lies, of those who find it there again. */
static void make_data_dir(struct sim_node *node)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/chorus-sim.%d.%u", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid(), node->index);
    node->data_dir = strdup(path);
}

void sim_nodes_make(struct sim *sim)
{
    sim->nodes = calloc(sim->what.nodes, sizeof(*sim->nodes));
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];

        node->sim = sim;
        node->index = i;
        node->peers = calloc(sim->what.nodes, sizeof(*node->peers));
        node->events = calloc(SIM_EVENTS_KEPT, sizeof(*node->events));
        make_identity(node);
        make_host(node);
        node->hostile = (sim->what.faults & FAULT_HOSTILE) && i > 1 && i % 10 == 2;
        node->hidden = (sim->what.faults & FAULT_NAT) && i > 0 && i % 2 == 1;
        if (node->hidden)
            sim_host_hide(node->host, sim_below(sim, 4) ? SIM_HIDDEN_DROPS : SIM_HIDDEN_REFUSES);
        if ((sim->what.faults & (FAULT_CRASH | FAULT_RESTART)) && i % 4 == 1)
            make_data_dir(node);
    }
}

static void remove_data_dir(struct sim_node *node)
{
    char command[256];

    if (!node->data_dir)
        return;
    snprintf(command, sizeof(command), "%s/identity.key", node->data_dir);
    unlink(command);
    snprintf(command, sizeof(command), "%s/lock", node->data_dir);
    unlink(command);
    rmdir(node->data_dir);
    free(node->data_dir);
    node->data_dir = NULL;
}

void sim_nodes_clean(struct sim *sim)
{
    for (unsigned i = 0; i < sim->what.nodes; i++)
        remove_data_dir(&sim->nodes[i]);
}

void sim_nodes_free(struct sim *sim)
{
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        sim_flows_drop(&sim->nodes[i], true);
        free(sim->nodes[i].flows);
        free(sim->nodes[i].peers);
        free(sim->nodes[i].events);
        remove_data_dir(&sim->nodes[i]);
    }
    free(sim->nodes);
}

struct sim_node *sim_node_of_id(struct sim *sim, const char *id)
{
    for (unsigned i = 0; i < sim->what.nodes; i++)
        if (strcmp(sim->nodes[i].id, id) == 0)
            return &sim->nodes[i];
    return NULL;
}

/* ---- processes -------------------------------------------------------------------- */

static void on_app_wake(void *argument)
{
    struct sim_process *process = argument;
    struct sim *sim = process->owner->sim;

    if (process->due)
        return;
    process->due = true;
    if (sim->due_count == sim->due_capacity) {
        sim->due_capacity = sim->due_capacity * 2 + 64;
        sim->due = reallocarray(sim->due, sim->due_capacity, sizeof(*sim->due));
    }
    sim->due[sim->due_count++] = process;
}

static void on_log_line(void *argument, enum p2p_log_level level, const char *line, size_t length)
{
    struct sim_process *process = argument;

    (void)level;
    if (length > 0 && line[length - 1] == '\n')
        length--;
    sim_note_line(process->owner->sim, process->owner, line, length);
}

static void make_runtime(struct sim_process *process, struct p2p_config *config)
{
    struct sim *sim = process->owner->sim;
    struct runtime_config runtime;
    struct p2p_error_text text = {""};

    runtime_config_init(&runtime);
    runtime.driver = DRIVER_SIM;
    runtime.sim = sim->world;
    runtime.threads = false;
    runtime.workers = 1 + sim_below(sim, sim->scenario->workers_max);
    runtime.pool_bytes_max = 64 << 20;
    sim_faults_config(process->owner, config, &runtime);
    sim_world_settle(sim->world, process->owner->host);
    if (api_runtime_new(&process->runtime, &runtime, &text) != 0)
        sim_fail(sim, process->owner, "start", "no runtime: %s", text.text);
    sim_world_settle(sim->world, NULL);
}

static struct p2p_config *make_config(struct sim_process *process)
{
    struct sim_node *node = process->owner;
    struct p2p_config *config = p2p_config_new();

    p2p_config_listen(config, node->address, NULL);
    if (node->data_dir)
        p2p_config_data_dir(config, node->data_dir);
    else
        p2p_config_identity(config, node->key, node->key_length);
    p2p_config_max_connections(config, 0);
    p2p_config_serve_echo(config, true);
    p2p_config_serve_perf(config, true);
    p2p_config_status_interval_ms(config, 0);
    p2p_config_log(config, node->sim->what.nodes <= 100 ? P2P_LOG_INFO : P2P_LOG_WARN, P2P_LOG_TEXT, on_log_line,
                   process);
    return config;
}

static void serve(struct sim_process *process)
{
    p2p_node_handle(process->node, "/sim/echo/1.0.0", 0, NULL, NULL); /* EVENT streams: traffic.c */
}

/* What could not be had is tried again. */
static void start_again(struct sim *sim, struct sim_node *node, uint64_t argument)
{
    (void)argument;
    if (node->state == NODE_DOWN && !sim->ending && sim_host_is_up(node->host))
        sim_node_start(node);
}

static void start_failed(struct sim_process *process, int error, const char *text)
{
    struct sim_node *node = process->owner;
    bool may = (node->sim->what.faults & (FAULT_DESCRIPTORS | FAULT_MEMORY | FAULT_CRASH | FAULT_RESTART)) != 0;

    sim_note_event(node->sim, node, "start failed: %s", p2p_error_name(error));
    if (!may)
        sim_fail(node->sim, node, "start", "%s: %s", p2p_error_name(error), text);
    if (process->node)
        p2p_node_free(process->node);
    p2p_runtime_free(process->runtime);
    for (unsigned i = 0; i < node->sim->due_count; i++)
        if (node->sim->due[i] == process)
            node->sim->due[i] = NULL;
    free(process);
    node->process = NULL;
    node->state = NODE_DOWN;
    sim_after(node->sim, 5 * SIM_SECOND, node, start_again, 0);
}

void sim_node_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_process *process = calloc(1, sizeof(*process));
    struct p2p_config *config;
    struct p2p_error_text text = {""};
    int error;

    process->owner = node;
    process->generation = ++node->generations;
    config = make_config(process);
    make_runtime(process, config);
    node->process = process;
    node->state = NODE_UP;
    error = p2p_node_new(&process->node, config, process->runtime, &text);
    p2p_config_free(config);
    if (error == 0) {
        app_wake_with(process->node->app, on_app_wake, process);
        error = p2p_node_start(process->node, &text);
    }
    if (error != 0) {
        start_failed(process, error, text.text);
        return;
    }
    if (node->data_dir)
        p2p_node_id(process->node, node->id);
    sim_note_event(sim, node, "up generation=%u", process->generation);
    serve(process);
    if (sim->scenario->crowd)
        process->crowd = sim_crowd_new(process, sim->scenario->crowd);
    sim_after(sim, sim_chance(sim) % SEEK_NS, node, sim_node_seek, process->generation);
    sim_after(sim, sim_chance(sim) % SEEK_NS, node, sim_flows_begin, process->generation);
}

static void forget_peers(struct sim_node *node)
{
    memset(node->peers, 0, node->sim->what.nodes * sizeof(*node->peers));
    node->peers_up = 0;
}

/* On the list of those who go. */
static void let_go(struct sim_process *process)
{
    struct sim *sim = process->owner->sim;
    int error;

    process->close_begin_ns = sim_now(sim);
    process->next = sim->leaving;
    sim->leaving = process;
    if (process->crowd)
        sim_crowd_stop(process->crowd);
    error = p2p_node_close(process->node, 0);
    if (error != 0 && error != P2P_ERR_CALL_TIMEOUT)
        sim_fail(sim, process->owner, "shutdown", "close says %s", p2p_error_name(error));
}

void sim_node_close(struct sim_node *node)
{
    struct sim_process *process = node->process;

    sim_note_event(node->sim, node, "close generation=%u", process->generation);
    sim_flows_part(node, -1);
    node->state = NODE_LEAVING;
    sim_node_trouble(node);
    let_go(process);
}

void sim_node_crash(struct sim_node *node)
{
    struct sim_process *process = node->process;

    node->sim->crashes++;
    sim_note_event(node->sim, node, "crash generation=%u", process->generation);
    sim_node_freeze(node, false);
    sim_node_trouble(node);
    node->state = NODE_DOWN;
    sim_host_crash(node->host);
    process->stranded = true;
    let_go(process);
}

static void count_messages(const struct sim_process *process)
{
    struct runtime *runtime = process->runtime->runtime;

    for (unsigned i = 0; i < runtime_workers(runtime); i++) {
        struct worker_stats stats;

        worker_stats_read(runtime_worker(runtime, i), &stats);
        process->owner->sim->messages += stats.messages;
    }
}

static void free_process(struct sim_process *process)
{
    struct sim_node *node = process->owner;
    struct sim *sim = node->sim;

    if (process->crowd)
        sim_crowd_free(process->crowd);
    if (process->requests > 0)
        sim_fail(sim, node, "answered once", "%u requests were never answered", process->requests);
    sim_flows_drop(node, false);
    sim_memory_refuse(node, 0);
    count_messages(process);
    sim_check_gone(process);
    p2p_node_free(process->node);
    p2p_runtime_free(process->runtime);
    for (unsigned i = 0; i < sim->due_count; i++)
        if (sim->due[i] == process)
            sim->due[i] = NULL;
    sim_note_event(sim, node, "gone generation=%u", process->generation);
    forget_peers(node);
    node->process = NULL;
    node->state = NODE_DOWN;
    free(process);
}

void sim_processes_reap(struct sim *sim)
{
    for (struct sim_process **at = &sim->leaving; *at;) {
        struct sim_process *process = *at;
        uint64_t took_ns = sim_now(sim) - process->close_begin_ns;

        if (process->closed && (!process->crowd || sim_crowd_gone(process->crowd))) {
            *at = process->next;
            free_process(process);
            continue;
        }
        if (!process->closed && !process->owner->frozen && took_ns > SIM_CLOSE_NS_MAX + process->frozen_ns)
            sim_fail(sim, process->owner, "shutdown", "not closed after %llu ms",
                     (unsigned long long)(took_ns / 1000000));
        at = &process->next;
    }
}

void sim_node_trouble(struct sim_node *node)
{
    node->trouble_ns = sim_now(node->sim);
}

void sim_node_freeze(struct sim_node *node, bool frozen)
{
    struct sim_process *process = node->process;
    unsigned count, only;

    if (!process || !process->runtime || node->frozen == frozen)
        return;
    count = runtime_workers(process->runtime->runtime);
    only = frozen && sim_below(node->sim, 2) ? sim_below(node->sim, count) : count; /* one worker, or all */
    for (unsigned i = 0; i < count; i++)
        if (only == count || only == i)
            sim_world_freeze(node->sim->world, runtime_worker(process->runtime->runtime, i), frozen);
    if (frozen)
        node->frozen_since_ns = sim_now(node->sim);
    else if (process->close_begin_ns)
        process->frozen_ns += sim_now(node->sim) - (node->frozen_since_ns > process->close_begin_ns ?
                                                    node->frozen_since_ns : process->close_begin_ns);
    node->frozen = frozen;
    sim_node_trouble(node);
    sim_note_event(node->sim, node, "%s", frozen ? "frozen" : "thawed");
}

/* ---- connections ------------------------------------------------------------------- */

/* An answer that does not come. */
static void check_connect(struct sim *sim, struct sim_node *node, uint64_t request)
{
    unsigned peer = (unsigned)(request & 0xffff);
    bool waits = node->process && node->state == NODE_UP && node->peers[peer].connect_request == request;

    if (!waits)
        return;
    /* It may have been frozen meanwhile. */
    if (node->frozen || sim_now(sim) - node->trouble_ns < UINT64_C(2000000) * CONNECT_TIMEOUT_MS) {
        sim_after(sim, UINT64_C(1000000) * CONNECT_TIMEOUT_MS, node, check_connect, request);
        return;
    }
    sim_fail(sim, node, "answered once", "connect to node %u: no answer within its time-out of %u ms", peer,
             CONNECT_TIMEOUT_MS);
}

static void connect_to(struct sim_node *node, struct sim_node *to)
{
    struct sim *sim = node->sim;
    char address[P2P_ADDRESS_TEXT_BYTES];
    uint64_t request = ++sim->requests << 16 | to->index;
    int error;

    snprintf(address, sizeof(address), "%s/p2p/%s", to->address, to->id);
    error = p2p_node_connect_start(node->process->node, request, address, CONNECT_TIMEOUT_MS, NULL);
    if (error == P2P_ERR_CALL_FULL || error == P2P_ERR_CALL_NOMEM || error == P2P_ERR_NODE_CLOSING)
        return;
    if (error != 0)
        sim_fail(sim, node, "connect", "connect_start says %s", p2p_error_name(error));
    sim->connects++;
    node->process->requests++;
    node->peers[to->index].connect_request = request;
    sim_after(sim, UINT64_C(1000000) * CONNECT_TIMEOUT_MS + CONNECT_GRACE_NS, node, check_connect, request);
}

void sim_node_seek(struct sim *sim, struct sim_node *node, uint64_t generation)
{
    if (!node->process || node->state != NODE_UP || node->process->generation != generation || sim->ending)
        return;
    for (unsigned tries = 0; tries < 4 && node->peers_up < sim->scenario->connections && !node->frozen; tries++) {
        struct sim_node *to = &sim->nodes[sim_below(sim, sim->what.nodes)];
        struct sim_peer *peer = &node->peers[to->index];

        if (to == node || to->hostile || peer->connected || peer->connect_request)
            continue;
        if (to->hidden && sim_below(sim, 8)) /* now and then, in vain */
            continue;
        connect_to(node, to);
    }
    sim_after(sim, (node->peers_up < sim->scenario->connections ? SEEK_NS / 2 : 10 * SEEK_NS) + sim_chance(sim) % SEEK_NS,
              node, sim_node_seek, generation);
}

static bool is_breach(int error)
{
    return error == P2P_ERR_CONN_PROTOCOL || error == P2P_ERR_CONN_FLOW || error == P2P_ERR_CONN_AUTH ||
           error == P2P_ERR_CONN_PEER_ID || error == P2P_ERR_CONN_NEGOTIATION;
}

static void check_refusal(struct sim_node *node, const struct p2p_event *event)
{
    const struct sim_node *to = &node->sim->nodes[event->request & 0xffff];

    if (!to->hostile && is_breach(event->error))
        sim_fail(node->sim, node, "honest peers", "connecting to node %u failed with %s: %s", to->index,
                 p2p_error_name(event->error), event->text.text);
}

/* Honest peers never break a protocol, whatever happens between them. */
static void check_reason(struct sim_node *node, const struct p2p_event *event)
{
    int error = event->error;

    if (!sim_node_of_id(node->sim, event->id))
        return; /* a hostile one */
    if (is_breach(error))
        sim_fail(node->sim, node, "honest peers", "the connection to %s ended with %s: %s", event->id,
                 p2p_error_name(error), event->text.text);
    if (error == 0)
        sim_fail(node->sim, node, "one reason", "the connection to %s ended without one", event->id);
}

static void on_connect_answer(struct sim_process *process, const struct p2p_event *event)
{
    struct sim_node *node = process->owner;
    struct sim_peer *peer = &node->peers[event->request & 0xffff];

    if (peer->connect_request != event->request)
        sim_fail(node->sim, node, "answered once", "connect request %llu was answered twice, or never asked",
                 (unsigned long long)event->request);
    peer->connect_request = 0;
    process->requests--;
    if (event->type == P2P_EVENT_CONNECT_FAILED) {
        check_refusal(node, event);
        node->sim->connects_failed++;
        sim_note_event(node->sim, node, "connect to=%u failed: %s", (unsigned)(event->request & 0xffff),
                       p2p_error_name(event->error));
    }
}

static void on_peer(struct sim_process *process, const struct p2p_event *event)
{
    struct sim_node *node = process->owner, *other = sim_node_of_id(node->sim, event->id);
    bool up = event->type == P2P_EVENT_PEER_CONNECTED;

    if (!up)
        check_reason(node, event);
    if (!other)
        return;
    sim_note_event(node->sim, node, "%s peer=%u %s", up ? "connected" : "disconnected", other->index,
                   up ? "" : p2p_error_name(event->error));
    if (node->peers[other->index].connected == up && app_dropped(process->node->app) == 0)
        sim_fail(node->sim, node, "peer events", "node %u %s twice", other->index, up ? "came" : "went");
    node->peers_up -= node->peers[other->index].connected;
    node->peers[other->index].connected = up;
    node->peers_up += up;
}

/* ---- events ------------------------------------------------------------------------- */

static void on_event(struct sim_process *process, const struct p2p_event *event)
{
    if (process->closed)
        sim_fail(process->owner->sim, process->owner, "last event", "an event of type %d after NODE_CLOSED",
                 (int)event->type);
    switch (event->type) {
    case P2P_EVENT_CONNECTED:
    case P2P_EVENT_CONNECT_FAILED:
        on_connect_answer(process, event);
        break;
    case P2P_EVENT_PEER_CONNECTED:
    case P2P_EVENT_PEER_DISCONNECTED:
        on_peer(process, event);
        break;
    case P2P_EVENT_NODE_CLOSED:
        process->closed = true;
        break;
    case P2P_EVENT_STREAM_INCOMING:
    case P2P_EVENT_STREAM_OPENED:
    case P2P_EVENT_STREAM_OPEN_FAILED:
    case P2P_EVENT_STREAM_READABLE:
    case P2P_EVENT_STREAM_WRITABLE:
    case P2P_EVENT_STREAM_FAILED:
        sim_flow_event(process, event);
        break;
    default:
        break;
    }
}

void sim_process_events(struct sim_process *process)
{
    struct p2p_event event;

    while (p2p_node_next_event(process->node, &event) == 0)
        on_event(process, &event);
}
