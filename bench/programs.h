#ifndef BENCH_PROGRAMS_H
#define BENCH_PROGRAMS_H

#include "plan.h"
#include "side.h"

/* Which programs take part, and how they are started.  What is returned lives as
 * long as this program. */

enum programs_limits {
    PROGRAMS_OURS = PLAN_OWN_NAMES,
};

/* Keeps what was formatted. */
const char *programs_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* This program with these arguments. */
const char *programs_own(const char *arguments);
/* All of ours and the references, to be started for somebody else.  `ours` (may be
 * NULL) is a command in its place.  Returns how many. */
size_t programs_ours(struct side_spec out[PROGRAMS_OURS], const char *ours);
/* Adds to `count` peers those that tests/interop builds, unless one of their name
 * is there.  One that is not built gets a command that says so and fails.
 * Returns how many there are then. */
size_t programs_known_peers(struct side_spec peers[PLAN_PEERS_MAX], size_t count);

#endif
