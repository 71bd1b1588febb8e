#include "bench.h"
#include "node.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Memory of the listener per idle, identified connection: (RssAnon with N -
 * RssAnon with 0) / N, some time after the last; and its CPU meanwhile. */

enum {
    HOLD_MAX = 2500,     /* connections of one holding process: it needs two descriptors for each */
    BUDGET_BYTES = 1024, /* of a connection: what `run` wants of it */
};

int bench_hold(const struct bench_options *options, const char *address)
{
    struct p2p_runtime *runtime = NULL;
    struct rlimit limit;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections then */
    }
    node_check(p2p_runtime_new(&runtime, 1, true, P2P_DRIVER_AUTO, NULL), "runtime");
    for (unsigned i = 0; i < options->count; i++) {
        struct p2p_node *node = node_make(runtime, false);
        struct p2p_identity *identity = NULL;
        char id[P2P_ID_TEXT_BYTES];

        node_connect(node, id, address);
        node_check(p2p_node_identify(node, &identity, id, 60000), "identify");
        p2p_identity_free(identity);
    }
    puts("/held\nready");
    fflush(stdout);
    pause();
    return 0;
}

static void hold(const struct bench_options *options, const char *address, unsigned count,
                 struct bench_program *holder)
{
    char self[4096], *command;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (length <= 0)
        bench_die("cannot find myself: %s", strerror(errno));
    self[length] = '\0';
    if (asprintf(&command, "'%s' hold '%s' --count %u", self, address, count) < 0)
        bench_die("no memory");
    bench_start(options, command, holder);
    free(command);
}

static void hold_many(const struct bench_options *options, unsigned total, double settle_s, double *bytes,
                      double *cpu_percent)
{
    unsigned processes = (total + HOLD_MAX - 1) / HOLD_MAX;
    struct bench_program listener, *holders = calloc(processes, sizeof(*holders));
    double cpu_s, begin_s;
    long before_kb;

    bench_start(options, NULL, &listener);
    before_kb = bench_status_kb(listener.pid, "RssAnon");
    for (unsigned i = 0; i < processes; i++)
        hold(options, listener.address, total / processes, &holders[i]);
    total = total / processes * processes;
    cpu_s = bench_cpu_s(listener.pid);
    begin_s = bench_now_s();
    while (bench_now_s() < begin_s + settle_s)
        sleep(1);
    *cpu_percent = (bench_cpu_s(listener.pid) - cpu_s) / (bench_now_s() - begin_s) * 100 / (total / 100.0);
    *bytes = (double)(bench_status_kb(listener.pid, "RssAnon") - before_kb) * 1024 / total;
    for (unsigned i = 0; i < processes; i++)
        bench_stop(&holders[i]);
    bench_stop(&listener);
    free(holders);
}

int bench_idle(const struct bench_options *options)
{
    struct bench_samples memory = {0}, cpu = {0}, budget = {0};
    unsigned total = options->count > 0 ? options->count : 10000;
    char label[64];
    double settle_s = options->seconds > 10 ? options->seconds : 60, bytes, percent;

    if (!options->json)
        fprintf(stderr, "%u runs of %.0f s, and the time to connect; --runs and --seconds have fewer\n",
                options->runs, settle_s);
    for (unsigned run = 0; run < options->runs; run++) {
        hold_many(options, total, settle_s, &bytes, &percent);
        bench_add(&memory, bytes);
        bench_add(&cpu, percent);
        bench_add(&budget, BUDGET_BYTES);
    }
    snprintf(label, sizeof(label), "idle, %u connections, user memory of each", total);
    bench_row(options, label, "B", &memory, &budget, "budget");
    bench_row(options, "idle, CPU of 100 connections", "% of a core", &cpu, NULL, NULL);
    return 0;
}
