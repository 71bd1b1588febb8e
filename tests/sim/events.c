#include "tests/sim/sim.h"

#include "runtime/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-signal-handler): a process that is done for tells what it still can */

struct sim *sim_current;

static void hash_bytes(struct sim *sim, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sim->hash = (sim->hash ^ (uint8_t)bytes[i]) * 1099511628211u;
}

/* ---- the trace: Chrome's JSON, which ui.perfetto.dev opens, too ---------------- */

static void trace_instant(struct sim *sim, const struct sim_node *node, const char *line)
{
    char name[128];
    size_t length = 0;

    for (; length < sizeof(name) - 1 && line[length]; length++) {
        bool plain = line[length] != '"' && line[length] != '\\' && (uint8_t)line[length] >= 32;

        name[length] = (char)(plain ? line[length] : ' ');
    }
    name[length] = '\0';
    fprintf(sim->trace, ",\n{\"name\":\"%s\",\"ph\":\"i\",\"s\":\"p\",\"ts\":%.3f,\"pid\":%u,\"tid\":0}", name,
            (double)(sim_now(sim) - sim->begin_ns) / 1000, node ? node->index + 1 : 0);
}

void sim_note_flow(struct sim *sim, struct sim_node *node, const char *kind, uint64_t id, bool begins)
{
    if (sim->trace)
        fprintf(sim->trace, ",\n{\"name\":\"%s\",\"cat\":\"flow\",\"ph\":\"%s\",\"id\":%" PRIu64
                ",\"ts\":%.3f,\"pid\":%u,\"tid\":0}", kind, begins ? "b" : "e", id,
                (double)(sim_now(sim) - sim->begin_ns) / 1000, node->index + 1);
}

void sim_trace_begin(struct sim *sim)
{
    if (!sim->trace)
        return;
    fprintf(sim->trace, "[{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":0,\"args\":{\"name\":\"world\"}}");
    for (unsigned i = 0; i < sim->what.nodes; i++)
        fprintf(sim->trace, ",\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"name\":\"node %u\"}}",
                i + 1, i);
}

void sim_trace_end(struct sim *sim)
{
    if (sim->trace)
        fprintf(sim->trace, "\n]\n");
    if (sim->trace)
        fflush(sim->trace);
}

/* ---- the log -------------------------------------------------------------------- */

static size_t stamp(const struct sim *sim, const struct sim_node *node, char *out, size_t capacity)
{
    uint64_t ns = sim_now(sim) - sim->begin_ns;
    int length = node ? snprintf(out, capacity, "%6" PRIu64 ".%09" PRIu64 " %u ", ns / SIM_SECOND, ns % SIM_SECOND,
                                 node->index)
                      : snprintf(out, capacity, "%6" PRIu64 ".%09" PRIu64 " - ", ns / SIM_SECOND, ns % SIM_SECOND);

    return (size_t)length;
}

static void keep(struct sim_node *node, const char *line)
{
    if (node && node->events)
        snprintf(node->events[node->event_count++ % SIM_EVENTS_KEPT], sizeof(node->events[0]), "%.127s", line);
}

void sim_note_line(struct sim *sim, struct sim_node *node, const char *line, size_t length)
{
    char text[512];
    size_t at = stamp(sim, node, text, sizeof(text));

    if (length > sizeof(text) - 2 - at)
        length = sizeof(text) - 2 - at;
    memcpy(text + at, line, length);
    at += length;
    text[at] = '\0';
    hash_bytes(sim, text, at);
    keep(node, text);
    if (sim->trace)
        trace_instant(sim, node, line);
    if (sim->log)
        fprintf(sim->log, "%s\n", text);
}

void sim_note_event(struct sim *sim, struct sim_node *node, const char *format, ...)
{
    char line[384];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    sim_note_line(sim, node, line, strlen(line));
}

/* ---- failures -------------------------------------------------------------------- */

static void print_events(const struct sim_node *node)
{
    unsigned end = node->event_count, from = end > SIM_EVENTS_KEPT ? end - SIM_EVENTS_KEPT : 0;

    printf("last events of node %u:\n", node->index);
    for (; node->events && from < end; from++)
        printf("  %s\n", node->events[from % SIM_EVENTS_KEPT]);
}

static void report(struct sim *sim, struct sim_node *node, const char *invariant, const char *what)
{
    uint64_t ns = sim_now(sim) - sim->begin_ns;

    printf("FAILED invariant=%s seed=%" PRIu64 " virtual=%" PRIu64 ".%03" PRIu64 "s node=%d\n", invariant,
           sim->what.seed, ns / SIM_SECOND, ns % SIM_SECOND / 1000000, node ? (int)node->index : -1);
    printf("  %s\n  again: ", what);
    sim_case_print(&sim->what, stdout);
    if (node)
        print_events(node);
    sim_trace_end(sim);
    sim_nodes_clean(sim);
    if (sim->log)
        fflush(sim->log);
    fflush(stdout);
}

void sim_fail(struct sim *sim, struct sim_node *node, const char *invariant, const char *format, ...)
{
    char what[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    report(sim, node, invariant, what);
    _exit(SIM_EXIT_FAILED);
}

/* The process is done for: that printf is not safe here matters little. */
static void on_signal(int signal)
{
    struct sim *sim = sim_current;
    struct worker *worker = worker_current();
    struct sim_node *node = NULL;

    for (unsigned i = 0; sim && worker && i < sim->what.nodes; i++)
        if (sim->nodes[i].process && sim->nodes[i].process->runtime &&
            sim->nodes[i].process->runtime->runtime == worker_runtime(worker))
            node = &sim->nodes[i];
    if (sim)
        report(sim, node, signal == SIGABRT ? "assertion" : signal == SIGALRM ? "hangs" : "crash", strsignal(signal));
    fflush(stdout);
    _exit(SIM_EXIT_FAILED);
}

void sim_catch_signals(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};

    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], on_signal);
}

/* NOLINTEND(bugprone-signal-handler) */
