#include "tests/sim/sim.h"

/* What goes wrong, when, to whom: drawn.  Each kind of fault has its own pace;
 * most of them end by themselves. */

const char *const sim_fault_names[15] = {"slow", "stall", "reset", "partition", "hole", "nat", "crash", "restart",
                                         "clock", "descriptors", "memory", "errors", "freeze", "hostile", "churn"};

struct kind {
    uint32_t fault;
    uint64_t pace_ns; /* between two of them, in the whole world: half to one and a half of it */
    void (*strike)(struct sim *sim, struct sim_node *node);
};

static uint64_t draw_ns(struct sim *sim, uint64_t from_ns, uint64_t to_ns)
{
    return from_ns + sim_chance(sim) % (to_ns - from_ns + 1);
}

/* ---- links ------------------------------------------------------------------------ */

static void change_link(struct sim *sim, struct sim_node *node)
{
    struct sim_link link = {0};
    uint32_t faults = sim->what.faults;

    if (faults & FAULT_SLOW) {
        link.latency_ns = draw_ns(sim, 0, 150000000);
        link.jitter_ns = draw_ns(sim, 0, 50000000);
        link.bytes_second = sim_below(sim, 3) ? 200000 + sim_below(sim, 20000000) : 0;
    }
    if (faults & FAULT_STALL)
        link.stall_ppm = sim_below(sim, 3) ? sim_below(sim, 20000) : 0;
    if (faults & FAULT_RESET)
        link.reset_ppm = sim_below(sim, 4) == 0 ? sim_below(sim, 2000) : 0;
    sim_host_link(node->host, &link);
    sim_note_event(sim, node, "link latency=%u us bandwidth=%u kB/s stall=%u reset=%u ppm",
                   (unsigned)(link.latency_ns / 1000), (unsigned)(link.bytes_second / 1000), link.stall_ppm,
                   link.reset_ppm);
}

static void reset_some(struct sim *sim, struct sim_node *node)
{
    sim_note_event(sim, node, "resets");
    sim_host_reset(node->host, sim_below(sim, 2) ? 1000000 : 300000);
}

static void heal_group(struct sim *sim, struct sim_node *node, uint64_t which)
{
    if (which != sim->partitions) /* another one began meanwhile */
        return;
    for (unsigned i = 0; i < sim->what.nodes; i++)
        sim_host_group(sim->nodes[i].host, 0);
    sim_note_event(sim, node, "partition ends");
}

static void partition(struct sim *sim, struct sim_node *node)
{
    for (unsigned i = 0; i < sim->what.nodes; i++)
        sim_host_group(sim->nodes[i].host, sim_below(sim, 2));
    sim_note_event(sim, NULL, "partition");
    sim_after(sim, draw_ns(sim, 1000000, 90 * SIM_SECOND), node, heal_group, ++sim->partitions);
}

static void heal_hole(struct sim *sim, struct sim_node *node, uint64_t which)
{
    if (which != node->holes)
        return;
    sim_host_block(node->host, false, false);
    sim_note_event(sim, node, "hole ends");
}

static void hole(struct sim *sim, struct sim_node *node)
{
    uint32_t which = 1 + sim_below(sim, 3);

    sim_host_block(node->host, which & 1, which & 2);
    sim_note_event(sim, node, "hole%s%s", which & 1 ? " out" : "", which & 2 ? " in" : "");
    sim_after(sim, draw_ns(sim, 1000000, 90 * SIM_SECOND), node, heal_hole, ++node->holes);
}

/* ---- processes and hosts -------------------------------------------------------------- */

static void come_back(struct sim *sim, struct sim_node *node, uint64_t argument)
{
    if (sim->ending || node->state == NODE_UP)
        return;
    if (node->process) { /* the old one is not quite gone */
        sim_after(sim, 100000000, node, come_back, argument);
        return;
    }
    sim_host_start(node->host);
    sim_node_start(node);
}

static void crash(struct sim *sim, struct sim_node *node)
{
    if (node->state != NODE_UP || node->hostile)
        return;
    sim_node_crash(node);
    sim_after(sim, draw_ns(sim, 10000000, 120 * SIM_SECOND), node, come_back, 0);
}

/* While some flows have just begun: at once, or when the answers are under way. */
static uint64_t draw_parting_ns(struct sim *sim)
{
    return sim_below(sim, 2) ? draw_ns(sim, 0, 100000) : draw_ns(sim, 0, 300000000);
}

static void close_now(struct sim *sim, struct sim_node *node, uint64_t generation)
{
    if (sim->ending || node->state != NODE_UP || node->process->generation != generation || node->frozen)
        return;
    sim_node_close(node);
    sim_after(sim, draw_ns(sim, 10000000, 30 * SIM_SECOND), node, come_back, 0);
}

static void restart(struct sim *sim, struct sim_node *node)
{
    if (node->state != NODE_UP || node->hostile || node->frozen)
        return;
    sim_flows_burst(node, sim_below(sim, sim->what.nodes));
    sim_after(sim, draw_parting_ns(sim), node, close_now, node->process->generation);
}

static void thaw(struct sim *sim, struct sim_node *node, uint64_t generation)
{
    (void)sim;
    if (node->process && node->process->generation == generation)
        sim_node_freeze(node, false);
}

static void freeze(struct sim *sim, struct sim_node *node)
{
    if (node->state != NODE_UP || node->hostile || node->frozen)
        return;
    sim_node_freeze(node, true);
    sim_after(sim, draw_ns(sim, 1000000, 60 * SIM_SECOND), node, thaw, node->process->generation);
}

static void jump(struct sim *sim, struct sim_node *node)
{
    int64_t offset_ns = (int64_t)draw_ns(sim, 0, 20ull * 86400 * SIM_SECOND) - (int64_t)(10ull * 86400 * SIM_SECOND);

    sim_host_wall(node->host, offset_ns);
    sim_note_event(sim, node, "clock %lld s", (long long)(offset_ns / (int64_t)SIM_SECOND));
}

static void have_descriptors(struct sim *sim, struct sim_node *node, uint64_t which)
{
    if (which != node->shortages)
        return;
    sim_host_descriptors(node->host, 0);
    sim_note_event(sim, node, "descriptors again");
}

static void descriptors(struct sim *sim, struct sim_node *node)
{
    sim_host_descriptors(node->host, sim_host_sockets(node->host) + sim_below(sim, 3));
    sim_note_event(sim, node, "descriptors end");
    sim_after(sim, draw_ns(sim, 1000000, 60 * SIM_SECOND), node, have_descriptors, ++node->shortages);
}

static void have_memory(struct sim *sim, struct sim_node *node, uint64_t which)
{
    if (which != node->famines)
        return;
    sim_memory_refuse(node, 0);
    sim_note_event(sim, node, "memory again");
}

/* Crowds take it for granted that their mail finds room. */
static void famine(struct sim *sim, struct sim_node *node)
{
    static const uint32_t ppm[] = {1000, 30000, 300000, 1000000};

    if (sim->scenario->crowd || node->state != NODE_UP || node->hostile)
        return;
    sim_memory_refuse(node, ppm[sim_below(sim, 4)]);
    sim_note_event(sim, node, "memory ends");
    sim_after(sim, draw_ns(sim, 1000000, 20 * SIM_SECOND), node, have_memory, ++node->famines);
}

static void errors(struct sim *sim, struct sim_node *node)
{
    sim_host_errors(node->host, sim_below(sim, 2) ? 300000 : 0);
}

static void disconnect(struct sim *sim, struct sim_node *node, uint64_t other)
{
    if (node->state != NODE_UP || node->frozen || !node->peers[other].connected)
        return;
    sim_note_event(sim, node, "disconnects peer=%u", (unsigned)other);
    sim_flows_part(node, (int)other);
    p2p_node_disconnect(node->process->node, sim->nodes[other].id);
}

static void churn(struct sim *sim, struct sim_node *node)
{
    uint32_t other = sim_below(sim, sim->what.nodes);

    if (node->state != NODE_UP || node->hostile || node->frozen || !node->peers[other].connected)
        return;
    sim_flows_burst(node, other);
    sim_after(sim, draw_parting_ns(sim), node, disconnect, other);
}

static const struct kind kinds[] = {
    {FAULT_SLOW | FAULT_STALL | FAULT_RESET, 10 * SIM_SECOND, change_link},
    {FAULT_RESET, 20 * SIM_SECOND, reset_some},
    {FAULT_PARTITION, 120 * SIM_SECOND, partition},
    {FAULT_HOLE, 40 * SIM_SECOND, hole},
    {FAULT_CRASH, 40 * SIM_SECOND, crash},
    {FAULT_RESTART, 40 * SIM_SECOND, restart},
    {FAULT_CLOCK, 10 * SIM_SECOND, jump},
    {FAULT_DESCRIPTORS, 30 * SIM_SECOND, descriptors},
    {FAULT_MEMORY, 30 * SIM_SECOND, famine},
    {FAULT_ERRORS, 10 * SIM_SECOND, errors},
    {FAULT_FREEZE, 40 * SIM_SECOND, freeze},
    {FAULT_CHURN, 5 * SIM_SECOND, churn},
};

/* More nodes, more trouble: the pace is that of ten. */
static void strike(struct sim *sim, struct sim_node *node, uint64_t which)
{
    const struct kind *kind = &kinds[which];
    uint64_t pace_ns = kind->pace_ns * 10 / (sim->what.nodes < 10 ? 10 : sim->what.nodes);

    (void)node;
    if (sim->ending)
        return;
    kind->strike(sim, &sim->nodes[sim_below(sim, sim->what.nodes)]);
    sim_after(sim, draw_ns(sim, pace_ns / 2, pace_ns * 3 / 2), NULL, strike, which);
}

void sim_faults_begin(struct sim *sim)
{
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (sim->what.faults & kinds[i].fault)
            sim_after(sim, sim_chance(sim) % kinds[i].pace_ns, NULL, strike, i);
    for (unsigned i = 0; (sim->what.faults & (FAULT_SLOW | FAULT_STALL)) && i < sim->what.nodes; i++)
        change_link(sim, &sim->nodes[i]);
}

void sim_faults_config(struct sim_node *node, struct p2p_config *config, struct runtime_config *runtime)
{
    struct sim *sim = node->sim;

    if (!(sim->what.faults & FAULT_MEMORY) || sim_below(sim, 2))
        return;
    p2p_config_connection_memory(config, 262144 + sim_below(sim, 1048576));
    p2p_config_memory(config, (4 << 20) + sim_below(sim, 4 << 20));
    runtime->pool_bytes_max = (4 << 20) + sim_below(sim, 8 << 20);
    p2p_config_max_streams(config, 1 + sim_below(sim, 16));
    p2p_config_max_connections(config, 4 + sim_below(sim, 2 * sim->what.nodes));
}
