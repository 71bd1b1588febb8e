#include "histogram.h"

#define VALUE_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

enum { STEPS = 1 << HISTOGRAM_STEP_BITS };

/* How many low bits of a value its bucket does not tell. */
static unsigned bits_lost(uint64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);

    return bits > HISTOGRAM_STEP_BITS + 1 ? bits - HISTOGRAM_STEP_BITS - 1 : 0;
}

static unsigned bucket_of(uint64_t value)
{
    unsigned lost = bits_lost(value);

    return lost * STEPS + (unsigned)(value >> lost);
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
    unsigned lost = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    uint64_t least = (uint64_t)(bucket - lost * STEPS) << lost;

    return least + ((UINT64_C(1) << lost) - 1) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    histogram->count++;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->most)
        histogram->most = value;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    if (from->most > to->most)
        to->most = from->most;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *histogram, double part)
{
    double wanted = part * (double)histogram->count;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && part < 1; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t value = value_of(i);

            return value < histogram->most ? value : histogram->most;
        }
    }
    return histogram->most;
}
