#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include "plan.h"

#include <jansson.h>

/* What a run shows on standard output; on a terminal, with a line that tells
 * what is under way. */

void progress_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* `part` of all the work is done, from 0 to 1. */
void progress_running(double part, const struct plan_row *row, const struct plan_series *series);
/* The figures of a row. */
void progress_row(const struct plan_row *row, const json_t *results);

#endif
