#include "bench.h"
#include "command.h"

#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void bench_add(struct bench_samples *samples, double value)
{
    if (samples->count < BENCH_RUNS_MAX)
        samples->values[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double quantile(const struct bench_samples *samples, double part)
{
    struct bench_samples sorted = *samples;

    if (sorted.count == 0)
        return NAN;
    qsort(sorted.values, sorted.count, sizeof(double), compare);
    return sorted.values[(unsigned)(part * (sorted.count - 1) + 0.5)];
}

double bench_median(const struct bench_samples *samples)
{
    return quantile(samples, 0.5);
}

double bench_least(const struct bench_samples *samples)
{
    return quantile(samples, 0);
}

double bench_most(const struct bench_samples *samples)
{
    return quantile(samples, 1);
}

void bench_row(const struct bench_options *options, const char *name, const char *unit,
               const struct bench_samples *ours, const struct bench_samples *reference, const char *reference_name)
{
    if (options->json) {
        printf("{\"row\":\"%s\",\"unit\":\"%s\",\"ours\":%g,\"least\":%g,\"most\":%g", name, unit, bench_median(ours),
               bench_least(ours), bench_most(ours));
        if (reference != NULL)
            printf(",\"reference\":\"%s\",\"value\":%g,\"ratio\":%g", reference_name, bench_median(reference),
                   bench_median(ours) / bench_median(reference));
        printf("}\n");
    } else {
        printf("%-44s %10.4g %-12s (%.4g to %.4g)", name, bench_median(ours), unit, bench_least(ours),
               bench_most(ours));
        if (reference != NULL)
            printf("  %s %.4g (%.4g to %.4g)  ratio %.2f", reference_name, bench_median(reference),
                   bench_least(reference), bench_most(reference), bench_median(ours) / bench_median(reference));
        putchar('\n');
    }
    fflush(stdout);
}

static const struct {
    const char *name;
    int (*run)(const struct bench_options *options);
} rows[] = {{"msg", bench_msg}, {"bulk", bench_bulk}, {"handshake", bench_handshake}, {"idle", bench_idle},
            {"ping", bench_ping}, {"timers", bench_timers}, {"mailbox", bench_mailbox}, {"serve", bench_serve}};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const struct argp_option option_list[] = {
    {"runs", 'r', "N", 0, "runs of each side, interleaved (default 5)", 0},
    {"seconds", 's', "S", 0, "length of one run of bulk (default 3), or above 10 of idle (default 60)", 0},
    {"count", 'c', "N", 0, "handshakes, connections or pings of one run", 0},
    {"parallel", 'p', "N", 0, "handshakes at a time (default 50)", 0},
    {"against", 'a', "COMMAND", 0, "another listener to measure beside ours: prints its address, then `ready`", 0},
    {"driver", 'd', "uring|epoll", 0, "of our nodes", 0},
    {"workers", 'w', "N", OPTION_HIDDEN, "of `serve`, and of each of its loads (default 1)", 0},
    {"spin", 'S', "US", OPTION_HIDDEN, "that it looks around before it sleeps (default 30)", 0},
    {"nodes", 'n', "N", OPTION_HIDDEN, "of `serve`: that listen (default 1)", 0},
    {"host", 'H', "IP", OPTION_HIDDEN, "that `serve` listens on (default 127.0.0.1)", 0},
    {"pin", 'P', "CPU", OPTION_HIDDEN, "that `serve` stays on", 0},
    {"json", 'j', NULL, 0, "a line of JSON a row", 0},
    {0},
};

struct parsing {
    struct bench_options options;
    const char *row;
    const char *argument;
};

/* `what` names the option in the complaint. */
static unsigned number(struct argp_state *state, const char *what, const char *argument, unsigned least, unsigned most)
{
    char *end;
    long value = strtol(argument, &end, 10);

    if (end == argument || *end != '\0' || value < (long)least || value > (long)most)
        argp_error(state, "--%s: '%s' is not a number from %u to %u", what, argument, least, most);
    return (unsigned)value;
}

static double seconds_of(struct argp_state *state, const char *argument)
{
    char *end;
    double value = strtod(argument, &end);

    if (end == argument || *end != '\0' || !(value > 0) || value > BENCH_SECONDS_MAX)
        argp_error(state, "--seconds: '%s' is not a number above 0, up to %d", argument, BENCH_SECONDS_MAX);
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    struct bench_options *options = &parsing->options;

    switch (key) {
    case 'r':
        options->runs = number(state, "runs", argument, 1, BENCH_RUNS_MAX);
        break;
    case 's':
        options->seconds = seconds_of(state, argument);
        break;
    case 'c':
        options->count = number(state, "count", argument, 1, BENCH_COUNT_MAX);
        break;
    case 'p':
        options->parallel = number(state, "parallel", argument, 1, BENCH_PARALLEL_MAX);
        break;
    case 'a':
        options->against = argument;
        break;
    case 'd':
        if (strcmp(argument, "uring") != 0 && strcmp(argument, "epoll") != 0)
            argp_error(state, "--driver: '%s' is neither uring nor epoll", argument);
        options->driver = argument;
        break;
    case 'w':
        options->workers = number(state, "workers", argument, 1, BENCH_WORKERS_MAX);
        break;
    case 'S':
        options->spin_us = number(state, "spin", argument, 0, BENCH_SPIN_US_MAX);
        break;
    case 'n':
        options->nodes = number(state, "nodes", argument, 1, BENCH_NODES_MAX);
        break;
    case 'H':
        options->host = argument;
        break;
    case 'P':
        options->pin = (int)number(state, "pin", argument, 0, BENCH_CPU_MAX);
        break;
    case 'j':
        options->json = true;
        break;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            parsing->row = argument;
        else if (state->arg_num == 1)
            parsing->argument = argument;
        else
            argp_error(state, "'%s' is one argument too many", argument);
        break;
    case ARGP_KEY_END:
        if (parsing->row == NULL)
            argp_error(state, "needs a command: run, limits, rows, profile, report, compare, check, perf, or one of "
                              "msg, timers, mailbox, bulk, handshake, ping and idle");
        if (parsing->row != NULL && parsing->argument != NULL && strcmp(parsing->row, "hold") != 0)
            argp_error(state, "'%s' is one argument too many", parsing->argument);
        if (parsing->row != NULL && strcmp(parsing->row, "handshake") == 0 && options->count > 0 &&
            options->count < options->parallel)
            argp_error(state, "--count: %u is less than --parallel %u; each makes at least one", options->count,
                       options->parallel);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Commands whose arguments are their own. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"run", command_run}, {"--quick", command_quick}, {"limits", command_limits}, {"rows", command_rows},
                {"profile", command_profile},
                {"report", command_report}, {"compare", command_compare}, {"check", command_check},
                {"perf", command_perf}, {"raw", command_raw}};

static int run_command(int argc, char **argv, bool *found)
{
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        char name[64];

        if (strcmp(commands[i].name, argv[1]) != 0)
            continue;
        *found = true;
        snprintf(name, sizeof(name), "chorus-bench %s", argv[1]);
        argv[1] = name; /* what usage and errors begin with */
        return commands[i].run(argc - 1, argv + 1);
    }
    *found = false;
    return COMMAND_USAGE;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        option_list, parse,
        "run|limits|rows|profile|report|compare|check|perf\nmsg|timers|mailbox|bulk|handshake|ping|idle",
        "Measures chorus-p2p.\v"
        "`run` measures it beside its peers and writes a report: `run --help`.  `report`, `compare` and `check` read "
        "its results, `rows` tells what it measures, `profile` what the CPU goes to there, `limits` measures the "
        "references only.  `perf` keeps the libp2p project's contract of that name.  The others measure one thing, "
        "beside a reference of the same run, with the options above; --quick is `run --quick`.", NULL, NULL, NULL};
    struct parsing parsing = {.options = {.runs = 5, .seconds = 3, .parallel = 50, .workers = 1, .nodes = 1,
                                          .spin_us = BENCH_SPIN_US, .host = "127.0.0.1", .pin = -1}};
    bool found;
    int status;

    argp_err_exit_status = COMMAND_USAGE;
    status = run_command(argc, argv, &found);

    if (found)
        return status;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return 2;
    if (parsing.options.driver != NULL)
        setenv("CHORUS_P2P_DRIVER", parsing.options.driver, 1);
    if (strcmp(parsing.row, "hold") == 0)
        return bench_hold(&parsing.options, parsing.argument);
    for (int i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].name, parsing.row) == 0)
            return rows[i].run(&parsing.options);
    }
    fprintf(stderr, "chorus-bench: no command '%s'; see `chorus-bench --help`\n", parsing.row);
    return COMMAND_USAGE;
}
