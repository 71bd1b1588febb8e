#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY_NS SIM_SECOND
#define ENDING_NS_MAX (30 * SIM_SECOND) /* for all to close: the slowest may still be frozen or start */

uint64_t sim_now(const struct sim *sim)
{
    return sim_world_now_ns(sim->world);
}

uint64_t sim_chance(struct sim *sim)
{
    uint64_t value = sim->random += 0x9e3779b97f4a7c15u;

    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

uint32_t sim_below(struct sim *sim, uint32_t bound)
{
    return (uint32_t)((sim_chance(sim) >> 32) * bound >> 32);
}

/* ---- what is to be done later: a heap ------------------------------------------- */

static bool before(const struct sim_timer *a, const struct sim_timer *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void sim_after(struct sim *sim, uint64_t delay_ns, struct sim_node *node,
               void (*ring)(struct sim *sim, struct sim_node *node, uint64_t argument), uint64_t argument)
{
    struct sim_timer timer = {sim_now(sim) + delay_ns, sim->timer_order++, ring, node, argument};
    unsigned at = sim->timer_count++;

    if (at == sim->timer_capacity) {
        sim->timer_capacity = sim->timer_capacity * 2 + 64;
        sim->timers = reallocarray(sim->timers, sim->timer_capacity, sizeof(*sim->timers));
    }
    for (; at > 0 && before(&timer, &sim->timers[(at - 1) / 2]); at = (at - 1) / 2)
        sim->timers[at] = sim->timers[(at - 1) / 2];
    sim->timers[at] = timer;
}

static struct sim_timer take_timer(struct sim *sim)
{
    struct sim_timer first = sim->timers[0], last = sim->timers[--sim->timer_count];
    unsigned at = 0, child;

    while ((child = 2 * at + 1) < sim->timer_count) {
        child += child + 1 < sim->timer_count && before(&sim->timers[child + 1], &sim->timers[child]);
        if (!before(&sim->timers[child], &last))
            break;
        sim->timers[at] = sim->timers[child];
        at = child;
    }
    sim->timers[at] = last;
    return first;
}

/* ---- one run --------------------------------------------------------------------- */

static void ring_timers(struct sim *sim)
{
    while (sim->timer_count > 0 && sim->timers[0].at_ns <= sim_now(sim)) {
        struct sim_timer timer = take_timer(sim);

        timer.ring(sim, timer.node, timer.argument);
    }
}

/* Applications see their events between rounds. */
static void serve_due(struct sim *sim)
{
    for (unsigned i = 0; i < sim->due_count; i++) {
        struct sim_process *process = sim->due[i];

        if (!process)
            continue;
        process->due = false;
        sim_process_events(process);
    }
    sim->due_count = 0;
    sim_processes_reap(sim);
}

static void step(struct sim *sim, uint64_t end_ns)
{
    uint64_t next_ns = sim->timer_count > 0 ? sim->timers[0].at_ns : UINT64_MAX;

    ring_timers(sim);
    if (next_ns > end_ns)
        next_ns = end_ns;
    if (sim->checked_ns + CHECK_EVERY_NS <= sim_now(sim)) {
        sim->checked_ns = sim_now(sim);
        sim_check_all(sim);
    }
    if (sim->due_count == 0)
        sim_world_turn(sim->world, next_ns > sim_now(sim) ? next_ns : sim_now(sim) + 1);
    serve_due(sim);
}

static void end_all(struct sim *sim)
{
    uint64_t end_ns = sim_now(sim) + ENDING_NS_MAX;
    bool any = true;

    sim->ending = true;
    sim_note_event(sim, NULL, "end");
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        sim_node_freeze(&sim->nodes[i], false);
        if (sim->nodes[i].state == NODE_UP && !sim->nodes[i].hostile)
            sim_node_close(&sim->nodes[i]);
    }
    sim_hostile_end(sim);
    while (any) {
        any = sim->leaving != NULL;
        if (any && sim_now(sim) > end_ns)
            sim_fail(sim, sim->leaving->owner, "shutdown", "it has not ended %u s after its begin",
                     (unsigned)(ENDING_NS_MAX / SIM_SECOND));
        step(sim, sim_now(sim) + SIM_SECOND);
    }
}

static void begin_all(struct sim *sim)
{
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        if (sim->nodes[i].hostile)
            sim_hostile_start(&sim->nodes[i]);
        else
            sim_node_start(&sim->nodes[i]);
    }
    sim_faults_begin(sim);
    if (sim->scenario->begin)
        sim->scenario->begin(sim);
}

static void run_to_end(struct sim *sim)
{
    begin_all(sim);
    sim->end_ns = sim_now(sim) + sim->what.virtual_ns;
    while (sim_now(sim) < sim->end_ns)
        step(sim, sim->end_ns);
    sim_check_all(sim);
    end_all(sim);
    sim_check_end(sim);
    sim_note_event(sim, NULL, "trace=%016llx", (unsigned long long)sim_world_trace(sim->world));
}

static void print_summary(const struct sim *sim)
{
    struct sim_world_stats world;

    sim_world_stats_read(sim->world, &world);
    printf("hash %016llx flows=%llu failed=%llu bytes=%llu connects=%llu failed=%llu crashes=%llu rounds=%llu "
           "turns=%llu messages=%llu segments=%llu stalls=%llu resets=%llu timeouts=%llu agreed=%llu settled=%llu refusals=%llu "
           "checks=%llu\n",
           (unsigned long long)sim->hash, (unsigned long long)sim->flows_done, (unsigned long long)sim->flows_failed,
           (unsigned long long)sim->bytes_echoed, (unsigned long long)sim->connects,
           (unsigned long long)sim->connects_failed, (unsigned long long)sim->crashes,
           (unsigned long long)world.rounds, (unsigned long long)world.turns, (unsigned long long)sim->messages,
           (unsigned long long)world.segments, (unsigned long long)world.stalls, (unsigned long long)world.resets,
           (unsigned long long)world.timeouts, (unsigned long long)sim->agreed, (unsigned long long)sim->settled,
           (unsigned long long)sim->refusals, (unsigned long long)sim->checks);
}

/* The nodes, all that they are made of and the world are gone. */
static void check_heap(struct sim *sim, struct sim_heap before)
{
    struct sim_heap now = sim_heap_live();

    sim->nodes = NULL;
    sim->what.nodes = 0;
    if (now.pieces != before.pieces || now.bytes != before.bytes)
        sim_fail(sim, NULL, "nothing is left", "%lld pieces of memory, %lld bytes",
                 (long long)(now.pieces - before.pieces), (long long)(now.bytes - before.bytes));
}

int sim_run(const struct sim_case *what, FILE *log, FILE *trace, bool quiet, uint64_t *hash)
{
    struct sim sim = {.what = *what, .scenario = sim_scenario_find(what->scenario), .log = log, .trace = trace};
    struct sim_heap heap;

    sim_crypto_set(what->seed, what->real_crypto); /* before the heap is looked at: what it makes stays */
    heap = sim_heap_live();
    sim.hash = 14695981039346656037u;
    sim.random = what->seed * 0x9e3779b97f4a7c15u + 1;
    sim.quiet = quiet;
    sim.world = sim_world_new(what->seed);
    sim.begin_ns = sim.checked_ns = sim_now(&sim);
    sim_current = &sim;
    sim_trace_begin(&sim);
    sim_nodes_make(&sim);
    sim_world_watch(sim.world, sim_check_turn, &sim);
    run_to_end(&sim);
    *hash = sim.hash;
    if (!quiet)
        print_summary(&sim);
    sim_trace_end(&sim);
    sim_nodes_free(&sim);
    sim_ends_free(&sim);
    sim_world_free(sim.world);
    free(sim.due);
    free(sim.timers);
    check_heap(&sim, heap);
    sim_current = NULL;
    return 0;
}
