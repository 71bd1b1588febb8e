#include "tests/sim/sim.h"

#include <string.h>

/* One entry is one scenario.  README.md says what the fields mean. */

enum { KB = 1024, MB = 1048576 };

const struct sim_scenario sim_scenarios[] = {
    {
        .name = "echo",
        .about = "bytes come back, whatever happens to links and hosts",
        .nodes = 6,
        .virtual_ns = 120 * SIM_SECOND,
        .faults = FAULT_ALL,
        .connections = 3,
        .flows = 3,
        .pause_ns = 500000000,
        .echo = 1,
        .bytes_max = 200 * KB,
        .workers_max = 2,
    },
    {
        .name = "mixed",
        .about = "echo, ping and perf among nodes of several workers, with checking actors beside them",
        .nodes = 8,
        .virtual_ns = 180 * SIM_SECOND,
        .faults = FAULT_ALL,
        .connections = 4,
        .flows = 4,
        .pause_ns = 1000000000,
        .echo = 3,
        .ping = 3,
        .perf = 2,
        .bytes_max = 600 * KB,
        .workers_max = 3,
        .crowd = 8,
    },
    {
        .name = "many",
        .about = "many streams of few bytes at a time",
        .nodes = 4,
        .virtual_ns = 60 * SIM_SECOND,
        .faults = FAULT_ALL & ~FAULT_HOSTILE,
        .connections = 3,
        .flows = SIM_FLOWS_MAX,
        .pause_ns = 100000000,
        .echo = 4,
        .ping = 1,
        .bytes_max = 2 * KB,
        .workers_max = 2,
    },
    {
        .name = "crowd",
        .about = "checking actors on four workers, and hardly a network",
        .nodes = 3,
        .virtual_ns = 900 * SIM_SECOND,
        .faults = FAULT_FREEZE | FAULT_RESTART | FAULT_CRASH | FAULT_CLOCK,
        .connections = 1,
        .flows = 1,
        .pause_ns = 1000000000,
        .ping = 1,
        .bytes_max = KB,
        .workers_max = 4,
        .crowd = 24,
    },
    {
        .name = "load",
        .about = "for measuring: as much echo as goes; --faults slow gives links a latency",
        .nodes = 100,
        .virtual_ns = SIM_SECOND,
        .faults = FAULT_SLOW,
        .connections = 4,
        .flows = 2,
        .pause_ns = 2000000,
        .echo = 1,
        .rounds = 100,
        .workers_max = 1,
    },
    {
        .name = "idle",
        .about = "for measuring: connections that only keep alive",
        .nodes = 500,
        .virtual_ns = 3600 * SIM_SECOND,
        .faults = FAULT_ALL,
        .connections = 5, /* that it seeks; as many come */
        .flows = 0,
        .echo = 1,
        .bytes_max = KB,
        .workers_max = 1,
    },
    {0},
};

const struct sim_scenario *sim_scenario_find(const char *name)
{
    for (const struct sim_scenario *each = sim_scenarios; each->name; each++)
        if (strcmp(each->name, name) == 0)
            return each;
    return NULL;
}
