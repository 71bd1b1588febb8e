#ifndef BENCH_PROFILES_H
#define BENCH_PROFILES_H

#include "plan.h"
#include "side.h"

#include <jansson.h>
#include <stdbool.h>

/* Profiles of the rows in which targets are missed: the pair does the row's work
 * once more, unmeasured, and both sides are sampled. */

enum profiles_limits {
    PROFILES_MAX = 24, /* of a report */
    PROFILES_IDLE_S = 10, /* sampled, where next to nothing is done: a second otherwise */
};

struct profiles_place {
    const struct plan_row *row;
    char program[PLAN_NAME_BYTES]; /* with itself */
};

/* Rows and programs of missed targets that have no profile yet.  Those of memory
 * need none: no CPU bounds it.  Returns how many. */
size_t profiles_wanted(struct profiles_place out[PROFILES_MAX], const json_t *results);
/* Roughly how long one takes. */
double profiles_run_s(const struct plan_row *row);
/* Runs the pair and returns its profile, the caller's; where there is none, it
 * says why. */
json_t *profiles_make(const struct plan_row *row, const struct side_spec *dialler, const struct side_spec *listener,
                      bool apart);
/* Takes those over that have something to show. */
void profiles_keep(json_t *results, const json_t *before);
/* Borrowed, or NULL. */
const json_t *profiles_find(const json_t *results, const char *row, const char *program);

#endif
