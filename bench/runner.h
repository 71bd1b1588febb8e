#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include "plan.h"
#include "side.h"

#include <jansson.h>
#include <stdbool.h>

/* One run of one row between two programs. */

enum runner_limits {
    /* js-libp2p makes about a hundred connections a second. */
    RUNNER_SETUP_S_MAX = 60,    /* from the command to `begin`, besides a second for 50 connections */
    RUNNER_CONNECTING_S_MAX = 300, /* however many */
    RUNNER_ANSWER_S_MAX = 30,   /* from the end of the measurement to the answer */
};

struct runner_request {
    const struct plan_row *row;
    const struct plan_mode *mode;
    const struct side_spec *dialler, *listener;
    bool apart;         /* in a network of their own */
    bool count_calls;   /* system calls: slows the programs down, so other figures do not count */
    double profile_s;   /* for so long each side's CPU is sampled; 0: it is not.  Other figures do not count */
};

struct runner_result {
    bool ok;
    json_t *figures;         /* name to number; the caller's */
    double foreign, steal;   /* cores, while it was measured */
    unsigned repeats;        /* it was done again so often */
    json_t *profiles[2];     /* of dialler and listener, the caller's; NULL where there is none */
    struct side_text error;  /* which side, and why */
};

/* Starts the programs, has them work, reads their clocks, ends them. */
void runner_run(const struct runner_request *request, struct runner_result *result);
/* Whether too much happened beside it, by the bounds of meter.h. */
bool runner_is_disturbed(const struct runner_result *result);
/* Releases what is in it. */
void runner_result_fini(struct runner_result *result);

#endif
