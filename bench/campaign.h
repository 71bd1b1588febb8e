#ifndef BENCH_CAMPAIGN_H
#define BENCH_CAMPAIGN_H

#include "machine.h"
#include "plan.h"
#include "side.h"

#include <jansson.h>
#include <stdbool.h>

/* A whole run: all rows, all pairs, interleaved, into a file of results. */

enum campaign_limits {
    CAMPAIGN_SPECS_MAX = PLAN_PEERS_MAX + PLAN_OWN_NAMES,
    CAMPAIGN_PATTERNS_MAX = 64,
    CAMPAIGN_FAILURES_MAX = 2,  /* of a series without a success: after these it is left alone */
    CAMPAIGN_REPEATS = 2,       /* of a disturbed run */
    CAMPAIGN_WARM_S_MAX = 10,   /* what a program may ask for */
};

enum campaign_outcome { CAMPAIGN_COMPLETE, CAMPAIGN_PARTIAL, CAMPAIGN_NONE };

struct campaign_options {
    struct plan_mode mode;
    const char *patterns[CAMPAIGN_PATTERNS_MAX];
    size_t pattern_count;
    const char *path;        /* of the results */
    bool resume;
    double minutes;          /* after which no run is begun */
    unsigned repeats;
    bool pin;                /* diallers to CPU 0, listeners to CPU 1 */
    struct side_spec peers[PLAN_PEERS_MAX];
    size_t peer_count;
    bool no_references, only_references;
    const char *agent;       /* HOST:PORT where the listeners are; NULL: here */
    const char *ours;        /* a command in place of ours; NULL: ours */
};

/* Runs it, prints progress, and returns the results, the caller's; they are in
 * the file, too, since the last row that is whole.  NULL when there are none: it
 * has said why. */
json_t *campaign_run(const struct campaign_options *options, const struct machine_place *place,
                     enum campaign_outcome *outcome);

#endif
