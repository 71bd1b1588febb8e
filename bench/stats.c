#include "stats.h"

#include <math.h>
#include <stdbool.h>
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
    if (sorted[below] == sorted[below + 1] || place == (double)below)
        return sorted[below]; /* INFINITY, too */
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

static double over(double b, double a)
{
    return a == 0 && b == 0 ? 1 : b / a;
}

/* What one draw says; without `from` it is 1. */
static double drawn_ratio(const struct stats_samples *from, const struct stats_samples *to, uint64_t *state)
{
    double below = from != NULL ? resampled(from->values, from->count, state) : 1;

    return over(resampled(to->values, to->count, state), below);
}

static double median_ratio(const struct stats_samples *from, const struct stats_samples *to)
{
    double below = from != NULL ? stats_median(from->values, from->count) : 1;

    return over(stats_median(to->values, to->count), below);
}

static bool is_empty(const struct stats_samples *samples)
{
    return samples != NULL && samples->count == 0;
}

/* References may be NULL, both of them. */
static struct stats_ratio bootstrap(const struct stats_samples *a, const struct stats_samples *a_reference,
                                    const struct stats_samples *b, const struct stats_samples *b_reference)
{
    struct stats_ratio out = {NAN, NAN, NAN};
    double *ratios;
    uint64_t state = 1;

    if (is_empty(a) || is_empty(b) || is_empty(a_reference) || is_empty(b_reference))
        return out;
    out.ratio = out.low = out.high = over(median_ratio(b_reference, b), median_ratio(a_reference, a));
    ratios = malloc(STATS_RESAMPLES * sizeof(*ratios));
    if (ratios == NULL)
        return out;
    for (size_t i = 0; i < STATS_RESAMPLES; i++) {
        double below = drawn_ratio(a_reference, a, &state);

        ratios[i] = over(drawn_ratio(b_reference, b, &state), below);
    }
    stats_sort(ratios, STATS_RESAMPLES);
    out.low = stats_sorted_quantile(ratios, STATS_RESAMPLES, 0.025);
    out.high = stats_sorted_quantile(ratios, STATS_RESAMPLES, 0.975);
    free(ratios);
    return out;
}

static void copy_samples(struct stats_samples *out, const double *values, size_t count)
{
    out->count = count > STATS_SAMPLES_MAX ? STATS_SAMPLES_MAX : count;
    for (size_t i = 0; i < out->count; i++)
        out->values[i] = values[i];
}

struct stats_ratio stats_ratio_of(const double *a, size_t a_count, const double *b, size_t b_count)
{
    struct stats_samples from, to;

    copy_samples(&from, a, a_count);
    copy_samples(&to, b, b_count);
    return bootstrap(&from, NULL, &to, NULL);
}

struct stats_ratio stats_ratio_of_ratios(const struct stats_samples *a, const struct stats_samples *a_reference,
                                         const struct stats_samples *b, const struct stats_samples *b_reference)
{
    return bootstrap(a, a_reference, b, b_reference);
}
