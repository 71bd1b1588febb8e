#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

/* What samples say, and how sure it is.  A figure of no samples is NAN. */

enum stats_limits {
    STATS_SAMPLES_MAX = 512,
    STATS_RESAMPLES = 4000, /* of a bootstrap: the ends of a 95 % interval stand on 100 of them */
};

double stats_median(const double *values, size_t count);
/* `part` from 0 to 1, between two neighbours as far as it lies between them. */
double stats_quantile(const double *values, size_t count, double part);
/* For as many values as there are: sorts them, and tells quantiles of sorted ones. */
void stats_sort(double *values, size_t count);
double stats_sorted_quantile(const double *sorted, size_t count, double part);
double stats_least(const double *values, size_t count);
double stats_most(const double *values, size_t count);

/* A ratio of medians with its 95 % interval. */
struct stats_ratio {
    double ratio, low, high;
};

/* The median of `b` over that of `a`; the interval by percentile bootstrap, the
 * same for the same samples.  With one sample on either side it is a point.
 * Nothing over nothing is 1, something over nothing INFINITY. */
struct stats_ratio stats_ratio_of(const double *a, size_t a_count, const double *b, size_t b_count);

struct stats_samples {
    double values[STATS_SAMPLES_MAX];
    size_t count;
};

/* The same of two ratios: each first over a reference of its own, whose spread
 * counts in the interval, too. */
struct stats_ratio stats_ratio_of_ratios(const struct stats_samples *a, const struct stats_samples *a_reference,
                                         const struct stats_samples *b, const struct stats_samples *b_reference);

#endif
