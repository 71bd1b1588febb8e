#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

/* Counts values in buckets that grow with them: 128 to each power of two, so
 * that what it answers is off by 0.4 % at most.  It has one size, never asks the
 * heap, and several can be made one. */

enum histogram_limits {
    HISTOGRAM_STEP_BITS = 7,   /* values of up to 8 bits are exact */
    HISTOGRAM_VALUE_BITS = 40, /* larger ones count as the largest: of nanoseconds, 18 minutes */
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS,
};

/* Zeroed at first. */
struct histogram {
    uint64_t count;
    uint64_t most; /* the largest value, exactly */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
/* Adds what `from` has counted. */
void histogram_merge(struct histogram *to, const struct histogram *from);
/* The least value that `part` (0 to 1) of all values do not exceed; 0 when there
 * are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double part);

#endif
