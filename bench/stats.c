#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

void stats_sort(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
}

double stats_sorted_quantile(const double *sorted, size_t count, double part)
{
    double place = part * (double)(count - 1);
    size_t below = (size_t)place;

    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (sorted[below + 1] - sorted[below]) * (place - (double)below);
}

double stats_quantile(const double *values, size_t count, double part)
{
    double sorted[STATS_SAMPLES_MAX];

    if (count > STATS_SAMPLES_MAX)
        count = STATS_SAMPLES_MAX;
    if (count == 0)
        return NAN;
    memcpy(sorted, values, count * sizeof(*values));
    stats_sort(sorted, count);
    return stats_sorted_quantile(sorted, count, part);
}

double stats_median(const double *values, size_t count)
{
    return stats_quantile(values, count, 0.5);
}

double stats_least(const double *values, size_t count)
{
    return stats_quantile(values, count, 0);
}

double stats_most(const double *values, size_t count)
{
    return stats_quantile(values, count, 1);
}

/* splitmix64: fixed seed, so that the same samples give the same interval. */
static uint64_t draw(uint64_t *state)
{
    uint64_t mixed = (*state += 0x9e3779b97f4a7c15u);

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

/* The median of as many values, drawn with replacement. */
static double resampled(const double *values, size_t count, uint64_t *state)
{
    double drawn[STATS_SAMPLES_MAX];

    for (size_t i = 0; i < count; i++)
        drawn[i] = values[draw(state) % count];
    return stats_median(drawn, count);
}

struct stats_ratio stats_ratio_of(const double *a, size_t a_count, const double *b, size_t b_count)
{
    struct stats_ratio out = {NAN, NAN, NAN};
    double *ratios;
    uint64_t state = 1;

    a_count = a_count > STATS_SAMPLES_MAX ? STATS_SAMPLES_MAX : a_count;
    b_count = b_count > STATS_SAMPLES_MAX ? STATS_SAMPLES_MAX : b_count;
    if (a_count == 0 || b_count == 0)
        return out;
    out.ratio = out.low = out.high = stats_median(b, b_count) / stats_median(a, a_count);
    ratios = malloc(STATS_RESAMPLES * sizeof(*ratios));
    if (ratios == NULL)
        return out;
    for (size_t i = 0; i < STATS_RESAMPLES; i++) {
        double below = resampled(a, a_count, &state);

        ratios[i] = resampled(b, b_count, &state) / below;
    }
    stats_sort(ratios, STATS_RESAMPLES);
    out.low = stats_sorted_quantile(ratios, STATS_RESAMPLES, 0.025);
    out.high = stats_sorted_quantile(ratios, STATS_RESAMPLES, 0.975);
    free(ratios);
    return out;
}
