#include "compare.h"

#include "stats.h"

#include <math.h>
#include <string.h>

struct side_by_side {
    FILE *file;
    const json_t *a, *b;
    double margin;
    bool relative;
    unsigned worse, compared;
};

/* The figure of the row's reference that is nearest to our work: with the cipher
 * where there is one. */
static double reference(const json_t *results, const char *row, const char *figure)
{
    static const char *const names[] = {"raw-aead", "raw", "crypto"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        double value = results_median(results, row, names[i], names[i], figure);

        if (isfinite(value) && value > 0)
            return value;
    }
    return NAN;
}

static size_t samples(const struct side_by_side *both, const json_t *results, const char *row, const char *name,
                      const json_t *figure, double out[STATS_SAMPLES_MAX])
{
    size_t count = results_samples(figure, out, STATS_SAMPLES_MAX);
    double unit = both->relative ? reference(results, row, name) : 1;

    if (!isfinite(unit))
        return 0;
    for (size_t i = 0; i < count; i++)
        out[i] /= unit;
    return count;
}

static void compare_figure(struct side_by_side *both, const char *row, const json_t *series, const char *name,
                           const json_t *in_a, const json_t *in_b)
{
    double a[STATS_SAMPLES_MAX], b[STATS_SAMPLES_MAX];
    size_t a_count = samples(both, both->a, row, name, in_a, a), b_count = samples(both, both->b, row, name, in_b, b);
    const char *better = results_string(in_b, "better");
    struct stats_ratio ratio = stats_ratio_of(a, a_count, b, b_count);
    char from[32], to[32];
    bool worse, gained;

    if (!isfinite(ratio.ratio) || strcmp(better, "neither") == 0)
        return;
    worse = strcmp(better, "more") == 0 ? ratio.high < 1 / (1 + both->margin) : ratio.low > 1 + both->margin;
    gained = strcmp(better, "more") == 0 ? ratio.low > 1 + both->margin : ratio.high < 1 / (1 + both->margin);
    results_print(from, sizeof(from), stats_median(a, a_count));
    results_print(to, sizeof(to), stats_median(b, b_count));
    fprintf(both->file, "%-14s %-10s -> %-10s %-28s %10s %10s %-12s %6.3f (%.3f to %.3f)%s\n", row,
            results_string(series, "dialler"), results_string(series, "listener"), results_string(in_b, "title"), from,
            to, both->relative ? "of reference" : results_string(in_b, "unit"), ratio.ratio, ratio.low, ratio.high,
            worse ? "  WORSE" : gained ? "  better" : "");
    both->worse += worse;
    both->compared++;
}

static void compare_series(struct side_by_side *both, const char *row, const json_t *in_a, const json_t *in_b)
{
    json_t *figures = json_object_get(in_b, "figures"), *figure;
    const char *name;

    json_object_foreach (figures, name, figure) {
        const json_t *other = results_find_figure(in_a, name);

        if (other != NULL)
            compare_figure(both, row, in_b, name, other, figure);
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

            if (results_find_series(other, dialler, listener) == NULL)
                fprintf(both->file, "%-14s %-10s -> %-10s only in the first\n", name, dialler, listener);
        }
    }
}

static void warn(const struct side_by_side *both)
{
    static const char *const parts[] = {"machine", "settings"};

    for (int i = 0; i < 2; i++) {
        if (!json_equal(json_object_get(both->a, parts[i]), json_object_get(both->b, parts[i])))
            fprintf(both->file, "warning: they differ in %s%s\n", parts[i],
                    i == 0 && !both->relative ? "; --relative compares ratios to references" : "");
    }
    if (!json_is_true(json_object_get(both->a, "complete")) || !json_is_true(json_object_get(both->b, "complete")))
        fprintf(both->file, "warning: not both are complete\n");
}

unsigned compare_print(FILE *file, const json_t *a, const json_t *b, double margin, bool relative)
{
    struct side_by_side both = {.file = file, .a = a, .b = b, .margin = margin, .relative = relative};
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
    fprintf(file, "%u figures compared, %u worse by more than %.3g %%\n", both.compared, both.worse, margin * 100);
    return both.worse;
}
