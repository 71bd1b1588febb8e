#ifndef BENCH_TARGETS_H
#define BENCH_TARGETS_H

#include <jansson.h>
#include <stdbool.h>

/* The figures that we want to reach: each a ratio to something measured in the
 * same run, or to a number. */

struct targets_text {
    char text[2048];
};

size_t targets_count(void);
/* Works them out from the rows and puts them into the results.  A target whose
 * figures are not there is left out. */
void targets_evaluate(json_t *results);
/* Whether no target is missed by more than `factor`, which is at least 1; if one
 * is, says which.  Nanoseconds of our runtime's parts are left out: they are the
 * machine's more than ours. */
bool targets_hold(const json_t *results, double factor, struct targets_text *error);

#endif
