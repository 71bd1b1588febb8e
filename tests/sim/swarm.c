#include "tests/sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Many seeds, each in a process of its own, so that an assertion that fails ends
 * one run and not the swarm. */

enum {
    JOBS_MAX = 16,
    RUN_SECONDS_MAX = 300, /* of real time, after which a run hangs */
    REPORT_BYTES = 16384,
};

struct job {
    pid_t pid;
    int out;
    struct sim_case what;
    char report[REPORT_BYTES];
    size_t length;
};

void sim_case_print(const struct sim_case *what, FILE *out)
{
    fprintf(out, "chorus-sim --scenario %s --seed %" PRIu64 " --nodes %u --seconds %" PRIu64 " --crypto %s --faults ",
            what->scenario, what->seed, what->nodes, what->virtual_ns / SIM_SECOND,
            what->real_crypto ? "real" : "cheap");
    for (unsigned i = 0, any = 0; i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]); i++)
        if (what->faults & 1u << i)
            fprintf(out, "%s%s", any++ ? "," : "", sim_fault_names[i]);
    fprintf(out, "%s\n", what->faults ? "" : "none");
}

/* ---- what a seed means ------------------------------------------------------------------ */

static uint64_t draw(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15u;

    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

void sim_case_draw(struct sim_case *what, uint64_t seed)
{
    static const char *const names[] = {"echo", "mixed", "mixed", "many", "crowd"};
    uint64_t state = ~seed;
    const struct sim_scenario *scenario = sim_scenario_find(names[draw(&state) % 5]);
    uint32_t faults = (uint32_t)draw(&state) & (uint32_t)draw(&state);

    if (draw(&state) % 8 == 0) /* none: then nothing at all may fail */
        faults = 0;
    *what = (struct sim_case){.seed = seed, .scenario = scenario->name, .faults = faults & scenario->faults,
                              .virtual_ns = scenario->virtual_ns / 2 + draw(&state) % scenario->virtual_ns,
                              .real_crypto = draw(&state) % 4 == 0};
    what->virtual_ns -= what->virtual_ns % SIM_SECOND;
    what->nodes = 2 + (unsigned)(draw(&state) % (2 * scenario->nodes - 1));
}

/* ---- jobs -------------------------------------------------------------------------------- */

static void run_child(const struct sim_case *what, int out)
{
    uint64_t hash;

    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    sim_catch_signals();
    alarm(RUN_SECONDS_MAX);
    sim_run(what, NULL, NULL, true, &hash);
    _exit(0);
}

static void start(struct job *job, const struct sim_case *what)
{
    int pipe_of[2];

    fflush(stdout);
    if (pipe(pipe_of) != 0)
        abort();
    *job = (struct job){.what = *what, .out = pipe_of[0]};
    job->pid = fork();
    if (job->pid < 0)
        abort();
    if (job->pid == 0) {
        close(pipe_of[0]);
        run_child(what, pipe_of[1]);
    }
    close(pipe_of[1]);
}

/* Until it ends: a report is longer than a pipe may hold. */
static void read_report(struct job *job)
{
    char rest[4096] = {0};
    ssize_t count;

    while ((count = read(job->out, job->length < REPORT_BYTES - 1 ? job->report + job->length : rest,
                         job->length < REPORT_BYTES - 1 ? REPORT_BYTES - 1 - job->length : sizeof(rest))) != 0) {
        if (count < 0 && errno != EINTR)
            break;
        if (count > 0 && job->length < REPORT_BYTES - 1)
            job->length += (size_t)count;
    }
    job->report[job->length] = '\0';
    close(job->out);
}

/* True: all held. */
static bool finish(struct job *job)
{
    int status;

    read_report(job);
    while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    job->pid = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- the swarm ----------------------------------------------------------------------------- */

struct swarm {
    struct job jobs[JOBS_MAX];
    unsigned job_count, done, failed, total;
    bool first_only; /* it ends with the first failure */
    uint64_t virtual_ns;
    struct timespec begin;
};

static unsigned seconds_since(const struct timespec *begin)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned)(now.tv_sec - begin->tv_sec);
}

static void progress(const struct swarm *swarm, bool last)
{
    bool line = last || !isatty(STDERR_FILENO);

    if (isatty(STDERR_FILENO) || last || swarm->done % 25 == 0)
        fprintf(stderr, "%s%u of %u seeds, %u failed, %.1f virtual hours, %u s%s", line ? "" : "\r", swarm->done,
                swarm->total, swarm->failed, (double)swarm->virtual_ns / 3.6e12, seconds_since(&swarm->begin),
                line ? "\n" : "   ");
}

static void collect(struct swarm *swarm, struct job *job)
{
    bool held = finish(job);

    swarm->done++;
    swarm->virtual_ns += job->what.virtual_ns;
    if (!held) {
        swarm->failed++;
        printf("%sseed %" PRIu64 ": %s\n", isatty(STDERR_FILENO) ? "\n" : "", job->what.seed, job->report);
        if (!strstr(job->report, "again: "))
            sim_case_print(&job->what, stdout);
        fflush(stdout);
    }
    progress(swarm, false);
}

/* False: enough has failed. */
static bool goes_on(const struct swarm *swarm)
{
    return swarm->failed == 0 || !swarm->first_only;
}

static void add(struct swarm *swarm, unsigned *next, const struct sim_case *what)
{
    struct job *job = &swarm->jobs[*next];

    if (job->pid)
        collect(swarm, job);
    start(job, what);
    *next = (*next + 1) % swarm->job_count;
}

static bool read_faults(char *text, uint32_t *faults)
{
    *faults = 0;
    for (char *name = strtok(text, ", \n"); name; name = strtok(NULL, ", \n")) {
        unsigned i = 0;

        while (i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]) && strcmp(name, sim_fault_names[i]) != 0)
            i++;
        if (i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]))
            *faults |= 1u << i;
        else if (strcmp(name, "none") != 0)
            return false;
    }
    return true;
}

/* What sim_case_print() prints. */
static bool read_case(struct sim_case *what, const char *line)
{
    char name[32], crypto[8], faults[256] = "";
    uint64_t seconds;

    *what = (struct sim_case){0};
    if (sscanf(line, "chorus-sim --scenario %31s --seed %" SCNu64 " --nodes %u --seconds %" SCNu64
               " --crypto %7s --faults %255s", name, &what->seed, &what->nodes, &seconds, crypto, faults) != 6 ||
        !sim_scenario_find(name) || !read_faults(faults, &what->faults))
        return false;
    what->scenario = sim_scenario_find(name)->name;
    what->virtual_ns = seconds * SIM_SECOND;
    what->real_crypto = strcmp(crypto, "real") == 0;
    return true;
}

/* Past failures: a line of each, as it was printed then. */
static void add_kept(struct swarm *swarm, unsigned *next, const char *kept)
{
    FILE *file = kept ? fopen(kept, "r") : NULL;
    char line[512];

    if (kept && !file) {
        fprintf(stderr, "chorus-sim: %s: %m\n", kept);
        exit(SIM_EXIT_USAGE);
    }
    while (file && fgets(line, sizeof(line), file)) {
        struct sim_case what;

        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (!read_case(&what, line)) {
            fprintf(stderr, "chorus-sim: %s: this is no case: %s", kept, line);
            exit(SIM_EXIT_USAGE);
        }
        swarm->total++;
        add(swarm, next, &what);
    }
    if (file)
        fclose(file);
}

int sim_swarm(unsigned seeds, uint64_t first_seed, const struct sim_case *base, bool fixed, unsigned jobs,
              const char *kept, bool first_only)
{
    struct swarm *swarm = calloc(1, sizeof(*swarm));
    unsigned next = 0, failed, done;

    swarm->job_count = jobs > JOBS_MAX ? JOBS_MAX : jobs;
    swarm->total = seeds;
    swarm->first_only = first_only;
    clock_gettime(CLOCK_MONOTONIC, &swarm->begin);
    printf("seeds %" PRIu64 " to %" PRIu64 "\n", first_seed, first_seed + seeds - 1);
    add_kept(swarm, &next, kept);
    for (unsigned i = 0; i < seeds && goes_on(swarm); i++) {
        struct sim_case what = *base;

        if (fixed)
            what.seed = first_seed + i;
        else
            sim_case_draw(&what, first_seed + i);
        add(swarm, &next, &what);
    }
    for (unsigned i = 0; i < swarm->job_count; i++)
        if (swarm->jobs[(next + i) % swarm->job_count].pid)
            collect(swarm, &swarm->jobs[(next + i) % swarm->job_count]);
    progress(swarm, true);
    failed = swarm->failed;
    done = swarm->done;
    printf("%u passed, %u failed, 0 skipped\n", done - failed, failed);
    free(swarm);
    return failed ? SIM_EXIT_FAILED : 0;
}

/* ---- smaller failing cases ------------------------------------------------------------------- */

static void invariant_of(const char *report, char out[64])
{
    const char *at = strstr(report, "invariant=");

    out[0] = '\0';
    if (at)
        sscanf(at + 10, "%63[^=]", out);
    if (strstr(out, " seed"))
        *strstr(out, " seed") = '\0';
}

/* It fails in the same way; *when becomes the virtual second of it. */
static bool still_fails(const struct sim_case *what, const char *invariant, uint64_t *when)
{
    struct job job;
    char found[64];
    const char *at;

    start(&job, what);
    if (finish(&job))
        return false;
    invariant_of(job.report, found);
    at = strstr(job.report, "virtual=");
    *when = at ? strtoull(at + 8, NULL, 10) : what->virtual_ns / SIM_SECOND;
    return strcmp(found, invariant) == 0;
}

static void keep(struct sim_case *best, const struct sim_case *tried, uint64_t when)
{
    *best = *tried;
    if ((when + 1) * SIM_SECOND < best->virtual_ns)
        best->virtual_ns = (when + 1) * SIM_SECOND;
    printf("smaller: ");
    sim_case_print(best, stdout);
}

/* A smaller world draws other things from the same seed: so some seeds are tried. */
static bool try(struct sim_case *best, struct sim_case tried, const char *invariant)
{
    uint64_t when, seed = tried.seed;

    for (unsigned i = 0; i < 8; i++) {
        tried.seed = i == 0 ? seed : seed * 8 + i;
        if (!still_fails(&tried, invariant, &when))
            continue;
        keep(best, &tried, when);
        return true;
    }
    return false;
}

static bool shrink_once(struct sim_case *best, const char *invariant)
{
    struct sim_case tried;
    bool any = false;

    for (unsigned i = 0; i < sizeof(sim_fault_names) / sizeof(sim_fault_names[0]); i++) {
        tried = *best;
        tried.faults &= ~(1u << i);
        any |= tried.faults != best->faults && try(best, tried, invariant);
    }
    for (unsigned nodes = 2; nodes < best->nodes; nodes += 1 + nodes / 2) {
        tried = *best;
        tried.nodes = nodes;
        if (try(best, tried, invariant))
            return true;
    }
    tried = *best;
    tried.virtual_ns = best->virtual_ns / 2 / SIM_SECOND * SIM_SECOND;
    return (tried.virtual_ns > 0 && try(best, tried, invariant)) || any;
}

int sim_shrink(const struct sim_case *what)
{
    struct sim_case best = *what;
    struct job job;
    char invariant[64];

    start(&job, what);
    if (finish(&job)) {
        printf("it does not fail\n");
        return 0;
    }
    invariant_of(job.report, invariant);
    printf("it fails: %s\n", invariant);
    while (shrink_once(&best, invariant))
        continue;
    printf("smallest: ");
    sim_case_print(&best, stdout);
    return SIM_EXIT_FAILED;
}
