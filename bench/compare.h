#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include "results.h"

#include <stdio.h>

enum compare_limits {
    COMPARE_ONCE = 5, /* times the margin, where a figure was measured once and has no interval */
};

struct compare_outcome {
    unsigned compared; /* figures that both have */
    unsigned worse;    /* by more than the margin, with an interval that agrees */
    unsigned failed;   /* series of the first that failed in the second */
};

struct compare_options {
    double margin;       /* 0.05: 5 % */
    bool relative;       /* each figure is first divided by that of the row's reference in the same results, so that
                          * those of two machines can be compared; rows without one are left out */
    const char *program; /* only pairs with this one; NULL: all */
};

/* Prints B's figures over A's. */
struct compare_outcome compare_print(FILE *file, const json_t *a, const json_t *b,
                                     const struct compare_options *options);

#endif
