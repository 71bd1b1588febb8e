#ifndef BENCH_PART_H
#define BENCH_PART_H

#include "runner.h"

/* Runs this program's command of the row's name, which measures a part of our
 * runtime, once; its rows become figures. */
void part_run(const struct runner_request *request, struct runner_result *result);

#endif
