#include "plots.h"

#include <string.h>

/* What is drawn; plots_draw.c says how. */

/* gnuplot takes labels of tics for formats. */
#define PERCENTILES(Row) {{"50 %%", Row, "p50", 0}, {"90 %%", Row, "p90", 0}, {"99 %%", Row, "p99", 0}, \
                          {"99.9 %%", Row, "p999", 0}}
#define BY_CONNECTIONS(Kind)                                                                                           \
    {{"1", Kind "-1", "rate", 1}, {"10", Kind "-10", "rate", 10}, {"100", Kind "-100", "rate", 100},                   \
     {"1,000", Kind "-1000", "rate", 1000}, {"10,000", Kind "-10000", "rate", 10000}}
#define IDLE(Figure)                                                                                                   \
    {{"100", "idle-100", Figure, 100}, {"500", "idle-500", Figure, 500}, {"1,000", "idle-1000", Figure, 1000},         \
     {"10,000", "idle-10000", Figure, 10000}, {"100,000", "idle-100000", Figure, 100000}}

static const struct plots_plot plots[] = {
    {"bulk", "Bulk throughput", "MB/s", "", PLOTS_BARS, false, false,
     {{"up", "bulk-up", "rate", 0}, {"down", "bulk-down", "rate", 0}, {"both ways", "bulk-both", "rate", 0},
      {"16 streams", "bulk-up-16s", "rate", 0}, {"10 conns", "bulk-up-10c", "rate", 0},
      {"100 conns", "bulk-up-100c", "rate", 0}}},
    {"bulk-cpu", "CPU of a gigabyte", "seconds", "", PLOTS_BARS, false, true,
     {{"sending", "bulk-up", "dialler_cpu", 0}, {"receiving", "bulk-up", "listener_cpu", 0}}},
    {"requests", "Requests of 32 B, there and back", "a second", "connections", PLOTS_LINES, false, false,
     BY_CONNECTIONS("rr-32")},
    {"requests-1k", "Requests of 1 KB, there and back", "a second", "connections", PLOTS_LINES, false, false,
     BY_CONNECTIONS("rr-1k")},
    {"requests-64k", "Requests of 64 KB, there and back", "a second", "connections", PLOTS_LINES, false, false,
     BY_CONNECTIONS("rr-64k")},
    {"request-cpu", "CPU of a request over 100 connections", "us, both sides", "", PLOTS_BARS, false, true,
     {{"32 B", "rr-32-100", "cpu", 0}, {"1 KB", "rr-1k-100", "cpu", 0}}},
    {"connects", "Full connects", "a second", "", PLOTS_BARS, false, false,
     {{"one at a time", "handshake-1", "rate", 0}, {"50 at a time", "handshake-50", "rate", 0},
      {"50, new peers", "handshake-50-distinct", "rate", 0}}},
    {"connect-cpu", "CPU of a full connect, 50 at a time", "us", "", PLOTS_BARS, false, true,
     {{"dialling", "handshake-50", "dialler_cpu", 0}, {"listening", "handshake-50", "listener_cpu", 0},
      {"dialling, new", "handshake-50-distinct", "dialler_cpu", 0},
      {"listening, new peers", "handshake-50-distinct", "listener_cpu", 0}}},
    {"streams", "New streams with 1 KB of echo", "a second", "streams at a time", PLOTS_LINES, false, false,
     {{"1", "streams-1", "rate", 1}, {"32", "streams-32", "rate", 32}, {"256", "streams-256", "rate", 256}}},
    {"fanout", "1 KB to all peers and back", "messages a second", "", PLOTS_BARS, false, false,
     {{"100 peers", "fanout-100", "rate", 0}, {"1,000 peers", "fanout-1000", "rate", 0}}},
    {"ping", "Ping, one after the other", "us", "percentile", PLOTS_LINES, true, true, PERCENTILES("rtt")},
    {"ping-open", "Ping, 1,000 a second", "us from when it was due", "percentile", PLOTS_LINES, true, true,
     PERCENTILES("rtt-open")},
    {"ping-load", "Ping beside an upload", "us from when it was due", "percentile", PLOTS_LINES, true, true,
     PERCENTILES("rtt-load")},
    {"requests-open", "Requests of 32 B, 5,000 a second", "us from when it was due", "percentile", PLOTS_LINES, true,
     true, PERCENTILES("rr-open")},
    {"storm", "1,000 dials at once", "us until connected", "percentile", PLOTS_LINES, true, true,
     PERCENTILES("storm-1000")},
    {"memory", "User memory of an idle connection", "bytes", "connections", PLOTS_LINES, true, true, IDLE("memory")},
    {"idle-cpu", "CPU of 100 idle connections", "% of a core", "connections", PLOTS_LINES, true, true,
     IDLE("cpu_idle")},
};

size_t plots_all(const struct plots_plot **out)
{
    *out = plots;
    return sizeof(plots) / sizeof(plots[0]);
}

const struct plots_plot *plots_find(const char *name)
{
    for (size_t i = 0; i < sizeof(plots) / sizeof(plots[0]); i++) {
        if (strcmp(plots[i].name, name) == 0)
            return &plots[i];
    }
    return NULL;
}
