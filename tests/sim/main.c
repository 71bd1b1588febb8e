#include "tests/sim/sim.h"

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

enum option_key { KEY_SWARM = 256, KEY_SHRINK, KEY_TRACE, KEY_LOG, KEY_KEPT, KEY_SECONDS, KEY_LIST, KEY_TWICE, KEY_FIRST };

struct arguments {
    struct sim_case what;
    bool seed_given, nodes_given, time_given, faults_given, scenario_given;
    bool shrink, twice, first_only;
    unsigned swarm, jobs;
    const char *trace, *log, *kept;
};

static uint64_t number(struct argp_state *state, const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (*end || end == text)
        argp_error(state, "%s is not a number", text);
    return value;
}

static uint32_t faults_of(struct argp_state *state, char *text)
{
    uint32_t faults = 0;

    for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
        unsigned i = 0;

        while (i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]) && strcmp(name, sim_fault_names[i]) != 0)
            i++;
        if (strcmp(name, "all") == 0)
            faults = FAULT_ALL;
        else if (i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]))
            faults |= 1u << i;
        else if (strcmp(name, "none") != 0)
            argp_error(state, "there is no fault %s", name);
    }
    return faults;
}

static void list(void)
{
    for (const struct sim_scenario *each = sim_scenarios; each->name; each++)
        printf("%-8s %s (%u nodes, %u virtual s)\n", each->name, each->about, each->nodes,
               (unsigned)(each->virtual_ns / SIM_SECOND));
    printf("faults:");
    for (unsigned i = 0; i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]); i++)
        printf(" %s", sim_fault_names[i]);
    printf("\n");
    exit(0);
}

static error_t parse_run(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    struct sim_case *what = &arguments->what;

    switch (key) {
    case 's':
        what->scenario = text;
        arguments->scenario_given = true;
        if (!sim_scenario_find(text))
            argp_error(state, "there is no scenario %s; --list shows them", text);
        return 0;
    case 'r':
        what->seed = number(state, text);
        arguments->seed_given = true;
        return 0;
    case 'n':
        what->nodes = (unsigned)number(state, text);
        arguments->nodes_given = true;
        if (what->nodes < 1 || what->nodes > SIM_NODES_MAX)
            argp_error(state, "from 1 to %d nodes", SIM_NODES_MAX);
        return 0;
    case 'h':
        what->virtual_ns = (uint64_t)(strtod(text, NULL) * 3600) * SIM_SECOND;
        arguments->time_given = true;
        return 0;
    case KEY_SECONDS:
        what->virtual_ns = number(state, text) * SIM_SECOND;
        arguments->time_given = true;
        return 0;
    case 'f':
        what->faults = faults_of(state, text);
        arguments->faults_given = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 'c':
        if (strcmp(text, "real") != 0 && strcmp(text, "cheap") != 0)
            argp_error(state, "--crypto real or cheap");
        arguments->what.real_crypto = strcmp(text, "real") == 0;
        return 0;
    case 'j':
        arguments->jobs = (unsigned)number(state, text);
        return 0;
    case KEY_SWARM:
        arguments->swarm = (unsigned)number(state, text);
        return 0;
    case KEY_SHRINK:
        arguments->shrink = true;
        return 0;
    case KEY_FIRST:
        arguments->first_only = true;
        return 0;
    case KEY_TWICE:
        arguments->twice = true;
        return 0;
    case KEY_TRACE:
        arguments->trace = text;
        return 0;
    case KEY_LOG:
        arguments->log = text;
        return 0;
    case KEY_KEPT:
        arguments->kept = text;
        return 0;
    case KEY_LIST:
        list();
        return 0;
    default:
        return parse_run(key, text, state);
    }
}

static const struct argp_option options[] = {
    {"scenario", 's', "NAME", 0, "What happens; --list shows them (echo)", 0},
    {"seed", 'r', "N", 0, "All chance comes from it", 0},
    {"nodes", 'n', "N", 0, "How many", 0},
    {"hours", 'h', "H", 0, "Virtual hours", 0},
    {"seconds", KEY_SECONDS, "S", 0, "Virtual seconds", 0},
    {"faults", 'f', "LIST", 0, "all, none, or some with commas between", 0},
    {"crypto", 'c', "real|cheap", 0, "The ciphers, or a stand-in (cheap)", 0},
    {"swarm", KEY_SWARM, "N", 0, "N seeds from --seed on, with what each of them draws", 1},
    {"jobs", 'j', "N", 0, "Runs at a time of a swarm (2)", 1},
    {"kept", KEY_KEPT, "FILE", 0, "Runs with which a swarm begins: lines \"chorus-sim ...\" as failures print them", 1},
    {"first", KEY_FIRST, NULL, 0, "A swarm ends with the first failure", 1},
    {"shrink", KEY_SHRINK, NULL, 0, "Looks for a smaller case that fails as this one", 1},
    {"log", KEY_LOG, "FILE", 0, "All that happens, a line each", 2},
    {"trace", KEY_TRACE, "FILE", 0, "The same for ui.perfetto.dev or chrome://tracing", 2},
    {"list", KEY_LIST, NULL, 0, "Scenarios and faults", 2},
    {"twice", KEY_TWICE, NULL, 0, "Two runs, which must be the same", 2},
    {0},
};

static FILE *open_file(const char *path)
{
    FILE *file = path ? fopen(path, "w") : NULL;

    if (path && !file) {
        fprintf(stderr, "chorus-sim: %s: %m\n", path);
        exit(SIM_EXIT_USAGE);
    }
    return file;
}

static double real_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run(const struct arguments *arguments)
{
    FILE *log = open_file(arguments->log), *trace = open_file(arguments->trace);
    uint64_t hash, again = 0;
    double begin = real_seconds(), took;
    struct rusage usage;

    sim_catch_signals();
    printf("seed %" PRIu64 ": ", arguments->what.seed);
    sim_case_print(&arguments->what, stdout);
    sim_run(&arguments->what, log, trace, false, &hash);
    took = real_seconds() - begin;
    fflush(stdout);
    getrusage(RUSAGE_SELF, &usage);
    printf("%.2f s of CPU, %.0f times as fast as real, %ld MB\n", took,
           (double)arguments->what.virtual_ns / 1e9 / took, usage.ru_maxrss / 1024);
    if (arguments->twice) {
        sim_run(&arguments->what, NULL, NULL, true, &again);
        printf("%s\n", again == hash ? "the same again" : "another run, another hash");
    }
    return arguments->twice && again != hash ? SIM_EXIT_FAILED : 0;
}

int main(int argc, char **argv)
{
    static const struct argp parser = {options, parse, NULL, "Whole nodes on virtual time, from a seed.", NULL, NULL,
                                       NULL};
    struct arguments arguments = {.what = {.scenario = "echo"}, .jobs = 2};
    const struct sim_scenario *scenario;
    struct rlimit limit;

    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    if (!arguments.seed_given && getrandom(&arguments.what.seed, sizeof(arguments.what.seed), 0) > 0)
        arguments.what.seed >>= 32;
    scenario = sim_scenario_find(arguments.what.scenario);
    if (!arguments.nodes_given)
        arguments.what.nodes = scenario->nodes;
    if (!arguments.time_given)
        arguments.what.virtual_ns = scenario->virtual_ns;
    arguments.what.faults &= scenario->faults;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (arguments.swarm)
        return sim_swarm(arguments.swarm, arguments.what.seed, &arguments.what, arguments.scenario_given,
                         arguments.jobs ? arguments.jobs : 1, arguments.kept, arguments.first_only);
    if (arguments.shrink)
        return sim_shrink(&arguments.what);
    return run(&arguments);
}
