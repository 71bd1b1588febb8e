#include "bench.h"
#include "node.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Full connections: TCP, multistream-select, Noise, yamux, identify both ways,
 * one ping, close; from as many identities as there are at a time. */

struct dialler {
    struct p2p_node *node;
    const char *address;
    unsigned count;
    pthread_t thread;
};

static void connect_once(struct dialler *dialler)
{
    struct p2p_identity *identity = NULL;
    char id[P2P_ID_TEXT_BYTES];
    uint64_t rtt_ns;

    node_connect(dialler->node, id, dialler->address);
    node_check(p2p_node_identify(dialler->node, &identity, id, 30000), "identify");
    p2p_identity_free(identity);
    node_check(p2p_node_ping(dialler->node, &rtt_ns, id, 30000), "ping");
    node_check(p2p_node_disconnect(dialler->node, id), "disconnect");
    for (;;) {
        struct p2p_event event;

        node_check(p2p_node_wait_event(dialler->node, &event, 30000), "disconnected");
        if (event.type == P2P_EVENT_PEER_DISCONNECTED)
            return;
    }
}

static void *dial(void *argument)
{
    struct dialler *dialler = argument;

    for (unsigned i = 0; i < dialler->count; i++)
        connect_once(dialler);
    return NULL;
}

struct handshake_figures {
    double per_second, listener_cpu_ms;
};

static void connect_many(const struct bench_options *options, const char *command, unsigned parallel, unsigned total,
                         struct handshake_figures *out)
{
    struct bench_program listener;
    struct dialler *diallers = calloc(parallel, sizeof(*diallers));
    struct p2p_runtime *runtime = NULL;
    double cpu_s, begin_s;

    bench_start(options, command, &listener);
    node_check(p2p_runtime_new(&runtime, 1, true, P2P_DRIVER_AUTO, NULL), "runtime");
    for (unsigned i = 0; i < parallel; i++) {
        diallers[i].node = node_make(runtime, false);
        diallers[i].address = listener.address;
        diallers[i].count = 1;
        dial(&diallers[i]); /* to warm up */
        diallers[i].count = total / parallel;
    }
    cpu_s = bench_cpu_s(listener.pid);
    begin_s = bench_now_s();
    for (unsigned i = 0; i < parallel; i++)
        if (pthread_create(&diallers[i].thread, NULL, dial, &diallers[i]) != 0)
            bench_die("no more threads than %u; give a smaller --parallel", i);
    for (unsigned i = 0; i < parallel; i++)
        pthread_join(diallers[i].thread, NULL);
    total = total / parallel * parallel;
    out->per_second = total / (bench_now_s() - begin_s);
    out->listener_cpu_ms = (bench_cpu_s(listener.pid) - cpu_s) * 1000 / total;
    for (unsigned i = 0; i < parallel; i++)
        p2p_node_free(diallers[i].node);
    p2p_runtime_free(runtime);
    bench_stop(&listener);
    free(diallers);
}

static void rows(const struct bench_options *options, const char *name, unsigned parallel)
{
    struct bench_samples rate = {0}, cpu = {0}, crypto = {0}, their_rate = {0}, their_cpu = {0};
    struct handshake_figures figures;
    unsigned total = options->count > 0 ? options->count : 1000;
    char label[64];

    for (unsigned run = 0; run < options->runs; run++) {
        bench_add(&crypto, limits_handshake(500) * 1000);
        connect_many(options, NULL, parallel, total, &figures);
        bench_add(&rate, figures.per_second);
        bench_add(&cpu, figures.listener_cpu_ms);
        if (options->against != NULL) {
            connect_many(options, options->against, parallel, total, &figures);
            bench_add(&their_rate, figures.per_second);
            bench_add(&their_cpu, figures.listener_cpu_ms);
        }
    }
    snprintf(label, sizeof(label), "connect, %s", name);
    bench_row(options, label, "/s", &rate, options->against != NULL ? &their_rate : NULL, "there");
    snprintf(label, sizeof(label), "connect, %s, listener's CPU", name);
    bench_row(options, label, "ms", &cpu, &crypto, "crypto");
    if (options->against != NULL)
        bench_row(options, label, "ms", &cpu, &their_cpu, "there");
}

int bench_handshake(const struct bench_options *options)
{
    rows(options, "in turn", 1);
    rows(options, "in parallel", options->parallel);
    return 0;
}

/* ---- Round trips ----------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Our pings are timed on the worker, from the write to the answer. */
static double ping_median_s(const struct bench_options *options, const char *command, unsigned count)
{
    char id[P2P_ID_TEXT_BYTES];
    struct bench_program listener;
    struct p2p_node *node = node_make(NULL, false);
    uint64_t *rtts = calloc(count, sizeof(*rtts));
    unsigned middle = count / 2;
    double median_s;

    bench_start(options, command, &listener);
    node_connect(node, id, listener.address);
    for (unsigned i = 0; i < count; i++)
        node_check(p2p_node_ping(node, &rtts[i], id, 30000), "ping");
    qsort(rtts, count, sizeof(*rtts), compare);
    median_s = (double)rtts[middle] / 1e9;
    free(rtts);
    p2p_node_free(node);
    bench_stop(&listener);
    return median_s;
}

int bench_ping(const struct bench_options *options)
{
    struct bench_samples ours = {0}, raw = {0}, theirs = {0};
    unsigned count = options->count > 0 ? options->count : 3000;

    bench_pin(0);
    for (unsigned run = 0; run < options->runs; run++) {
        bench_add(&raw, limits_ping(count) * 1e6);
        bench_add(&ours, ping_median_s(options, NULL, count) * 1e6);
        if (options->against != NULL)
            bench_add(&theirs, ping_median_s(options, options->against, count) * 1e6);
    }
    bench_row(options, "ping, median", "us", &ours, &raw, "TCP echo");
    if (options->against != NULL)
        bench_row(options, "ping, median", "us", &ours, &theirs, "there");
    return 0;
}
