#include "compare.h"

#include "stats.h"

#include <math.h>
#include <string.h>

struct side_by_side {
    FILE *file;
    const json_t *a, *b;
    const struct compare_options *options;
    struct compare_outcome outcome;
};

/* One figure of one series, in the first or the second. */
struct place {
    const json_t *results;
    const char *row, *dialler, *listener, *figure;
};

static bool is_wanted(const struct side_by_side *both, const json_t *series)
{
    const char *program = both->options->program;

    return program == NULL || strcmp(results_string(series, "dialler"), program) == 0 ||
           strcmp(results_string(series, "listener"), program) == 0;
}

static void take_samples(const struct place *place, struct stats_samples *out)
{
    const json_t *row = results_find_row(place->results, place->row);
    const json_t *series = results_find_series(row, place->dialler, place->listener);

    out->count = results_samples(results_find_figure(series, place->figure), out->values, STATS_SAMPLES_MAX);
}

/* The figure of the row's reference that is nearest to our work: with the cipher
 * where there is one.  Without samples where there is none. */
static void take_reference(const struct place *place, struct stats_samples *out)
{
    static const char *const names[] = {"raw-aead", "raw", "crypto"};

    out->count = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && out->count == 0; i++) {
        struct place reference = {place->results, place->row, names[i], names[i], place->figure};

        if (strcmp(place->dialler, names[i]) == 0)
            return; /* what it is measured by says nothing of itself */
        take_samples(&reference, out);
        if (out->count > 0 && !(stats_median(out->values, out->count) > 0))
            out->count = 0;
    }
}

/* Of the first [0] and the second [1]. */
struct pair {
    struct stats_samples figure[2], reference[2];
    struct stats_ratio ratio;
    bool once; /* an interval would be a lie */
};

static void take_pair(const struct side_by_side *both, struct place place, struct pair *out)
{
    const json_t *results[] = {both->a, both->b};

    for (int i = 0; i < 2; i++) {
        place.results = results[i];
        take_samples(&place, &out->figure[i]);
        if (both->options->relative)
            take_reference(&place, &out->reference[i]);
    }
    out->once = out->figure[0].count < 2 || out->figure[1].count < 2;
    out->ratio = both->options->relative ? stats_ratio_of_ratios(&out->figure[0], &out->reference[0], &out->figure[1],
                                                        &out->reference[1])
                                : stats_ratio_of(out->figure[0].values, out->figure[0].count, out->figure[1].values,
                                                 out->figure[1].count);
}

static void print_value(const struct side_by_side *both, const struct pair *pair, int which)
{
    const struct stats_samples *figure = &pair->figure[which], *reference = &pair->reference[which];
    double value = stats_median(figure->values, figure->count);
    char text[32];

    if (both->options->relative)
        value /= stats_median(reference->values, reference->count);
    results_print(text, sizeof(text), value);
    fprintf(both->file, " %10s", text);
}

static void print_ratio(const struct side_by_side *both, const struct pair *pair)
{
    if (pair->once)
        fprintf(both->file, " %6.3f (one run)", pair->ratio.ratio);
    else
        fprintf(both->file, " %6.3f (%.3f to %.3f)", pair->ratio.ratio, pair->ratio.low, pair->ratio.high);
}

static bool is_nothing(const struct stats_samples *samples)
{
    return stats_median(samples->values, samples->count) == 0;
}

static void compare_figure(struct side_by_side *both, const struct place *place, const json_t *in_b)
{
    bool more = strcmp(results_string(in_b, "better"), "more") == 0, worse, gained;
    struct pair pair;
    double margin;

    if (strcmp(results_string(in_b, "better"), "neither") == 0)
        return;
    take_pair(both, *place, &pair);
    if (isnan(pair.ratio.ratio) || (is_nothing(&pair.figure[0]) && is_nothing(&pair.figure[1])))
        return; /* as of units that failed */
    margin = both->options->margin * (pair.once ? COMPARE_ONCE : 1);
    worse = more ? pair.ratio.high < 1 / (1 + margin) : pair.ratio.low > 1 + margin;
    gained = more ? pair.ratio.low > 1 + margin : pair.ratio.high < 1 / (1 + margin);
    fprintf(both->file, "%-14s %-10s -> %-10s %-28s", place->row, place->dialler, place->listener,
            results_string(in_b, "title"));
    print_value(both, &pair, 0);
    print_value(both, &pair, 1);
    fprintf(both->file, " %-12s", both->options->relative ? "of reference" : results_string(in_b, "unit"));
    print_ratio(both, &pair);
    fputs(worse ? "  WORSE\n" : gained ? "  better\n" : "\n", both->file);
    both->outcome.worse += worse;
    both->outcome.compared++;
}

static bool has_figures(const json_t *series)
{
    return json_object_size(json_object_get(series, "figures")) > 0;
}

/* A series that only one of them could do.  True: it is one. */
static bool tell_failed(struct side_by_side *both, const struct place *place, const json_t *in_a, const json_t *in_b)
{
    const json_t *errors = json_object_get(in_b, "errors");
    const char *why = json_string_value(json_array_get(errors, json_array_size(errors) - 1));

    if (has_figures(in_a) == has_figures(in_b))
        return !has_figures(in_a);
    fprintf(both->file, "%-14s %-10s -> %-10s ", place->row, place->dialler, place->listener);
    if (has_figures(in_b))
        fputs("no figures in the first\n", both->file);
    else if (why != NULL)
        fprintf(both->file, "FAILED in the second: %s\n", why);
    else
        fputs("no figures in the second\n", both->file); /* it was given up, and says so itself */
    both->outcome.failed += !has_figures(in_b) && why != NULL;
    return true;
}

static void compare_series(struct side_by_side *both, const char *row, const json_t *in_a, const json_t *in_b)
{
    struct place place = {.row = row, .dialler = results_string(in_b, "dialler"),
                          .listener = results_string(in_b, "listener")};
    json_t *figures = json_object_get(in_b, "figures"), *figure;

    if (tell_failed(both, &place, in_a, in_b))
        return;
    json_object_foreach (figures, place.figure, figure) {
        if (results_find_figure(in_a, place.figure) != NULL)
            compare_figure(both, &place, figure);
    }
}

static void compare_row(struct side_by_side *both, const json_t *in_a, const json_t *in_b)
{
    const char *row = results_string(in_b, "row");
    const json_t *all = json_object_get(in_b, "series"), *series;
    size_t index;

    json_array_foreach (all, index, series) {
        const json_t *other =
            results_find_series(in_a, results_string(series, "dialler"), results_string(series, "listener"));

        if (!is_wanted(both, series))
            continue;
        if (other != NULL)
            compare_series(both, row, other, series);
        else
            fprintf(both->file, "%-14s %-10s -> %-10s only in the second\n", row, results_string(series, "dialler"),
                    results_string(series, "listener"));
    }
}

/* Rows and series that the second lacks. */
static void tell_lost(const struct side_by_side *both)
{
    const json_t *rows = json_object_get(both->a, "rows"), *row, *series;
    size_t row_index, index;

    json_array_foreach (rows, row_index, row) {
        const char *name = results_string(row, "row");
        const json_t *other = results_find_row(both->b, name);

        json_array_foreach (json_object_get(row, "series"), index, series) {
            const char *dialler = results_string(series, "dialler"), *listener = results_string(series, "listener");

            if (is_wanted(both, series) && results_find_series(other, dialler, listener) == NULL)
                fprintf(both->file, "%-14s %-10s -> %-10s only in the first\n", name, dialler, listener);
        }
    }
}

/* Runs that others disturbed, of all there are. */
static void warn_disturbed(const struct side_by_side *both, const json_t *results, const char *which)
{
    const json_t *row, *series, *disturbed;
    size_t row_index, index, run, runs = 0, count = 0;

    json_array_foreach (json_object_get(results, "rows"), row_index, row) {
        json_array_foreach (json_object_get(row, "series"), index, series) {
            json_array_foreach (json_object_get(series, "disturbed"), run, disturbed) {
                runs++;
                count += json_is_true(disturbed);
            }
        }
    }
    if (count > 0)
        fprintf(both->file, "warning: %zu of %zu runs of the %s were disturbed by other load\n", count, runs, which);
}

static void warn(const struct side_by_side *both)
{
    static const char *const parts[] = {"machine", "settings"};

    for (int i = 0; i < 2; i++) {
        if (!json_equal(json_object_get(both->a, parts[i]), json_object_get(both->b, parts[i])))
            fprintf(both->file, "warning: they differ in %s%s\n", parts[i],
                    i == 0 && !both->options->relative ? "; --relative compares ratios to references" : "");
    }
    if (!json_is_true(json_object_get(both->a, "complete")) || !json_is_true(json_object_get(both->b, "complete")))
        fprintf(both->file, "warning: not both are complete\n");
    warn_disturbed(both, both->a, "first");
    warn_disturbed(both, both->b, "second");
}

struct compare_outcome compare_print(FILE *file, const json_t *a, const json_t *b,
                                     const struct compare_options *options)
{
    struct side_by_side both = {.file = file, .a = a, .b = b, .options = options};
    const json_t *rows = json_object_get(b, "rows"), *row;
    size_t index;

    warn(&both);
    json_array_foreach (rows, index, row) {
        const json_t *other = results_find_row(a, results_string(row, "row"));

        if (other != NULL)
            compare_row(&both, other, row);
        else
            fprintf(file, "%-14s only in the second\n", results_string(row, "row"));
    }
    tell_lost(&both);
    fprintf(file, "%u figures compared, %u worse by more than %.3g %%", both.outcome.compared, both.outcome.worse,
            options->margin * 100);
    if (both.outcome.failed > 0)
        fprintf(file, ", %u series failed in the second", both.outcome.failed);
    fputc('\n', file);
    return both.outcome;
}
