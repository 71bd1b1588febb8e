#ifndef BENCH_PERF_H
#define BENCH_PERF_H

#include <chorus/p2p.h>

#include <stdbool.h>
#include <stdint.h>

/* Exchanges over /perf/1.0.0, as the libp2p project's dashboards count them. */

/* What has moved so far, from the first byte asked for. */
struct perf_progress {
    double seconds;
    uint64_t up, down;
};

/* Sends `up` bytes and takes `down` bytes on one stream.  `tell` (may be NULL) is
 * called each second meanwhile.  Returns the seconds from opening the stream to
 * its end; exits with a message when it fails. */
double perf_exchange(struct p2p_node *node, const char *id, uint64_t up, uint64_t down,
                     void (*tell)(const struct perf_progress *progress));

#endif
