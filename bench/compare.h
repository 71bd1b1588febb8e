#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include "results.h"

#include <stdio.h>

/* Prints B's figures over A's, and returns how many are worse by more than
 * `margin` (0.05: 5 %) with an interval that agrees.  `relative`: each figure is
 * first divided by the median of the row's reference in the same results, so that
 * results of two machines can be compared; rows without one are left out. */
unsigned compare_print(FILE *file, const json_t *a, const json_t *b, double margin, bool relative);

#endif
