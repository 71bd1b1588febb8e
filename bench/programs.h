#ifndef BENCH_PROGRAMS_H
#define BENCH_PROGRAMS_H

#include "plan.h"
#include "side.h"

/* Which programs take part, and how they are started.  What is returned lives as
 * long as this program. */

enum programs_limits {
    /* How much longer than ours a reference looks around before it sleeps: once both
     * of a pair slept, neither would find the other awake again. */
    PROGRAMS_REFERENCE_SPINS = 5,
};

/* Keeps what was formatted. */
const char *programs_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* This program with these arguments. */
const char *programs_own(const char *arguments);
/* That of one of plan_own_names.  `spin_us`: for how long ours looks around before
 * it sleeps; references of round trips do so for longer. */
const char *programs_command(const char *name, unsigned spin_us);
/* All of ours and the references, to be started for somebody else.  `ours` (may be
 * NULL) is a command in its place.  Returns how many. */
size_t programs_ours(struct side_spec out[PLAN_OWN_NAMES], const char *ours);
/* Adds to `count` peers those that tests/interop builds, unless one of their name
 * is there.  One that is not built gets a command that says so and fails.
 * Returns how many there are then. */
size_t programs_known_peers(struct side_spec peers[PLAN_PEERS_MAX], size_t count);

#endif
