#include "report.h"

#include "bench.h"
#include "profiles.h"
#include "results.h"
#include "targets.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Tables -------------------------------------------------------------------------- */

static void head(struct report_table *table, const char *text)
{
    if (table->columns < REPORT_COLUMNS_MAX)
        snprintf(table->head[table->columns++], REPORT_CELL_BYTES, "%s", text);
}

static char *cell(struct report_table *table, size_t column)
{
    return table->cells[table->lines][column];
}

static void put_number(struct report_table *table, size_t column, double value)
{
    results_print(cell(table, column), REPORT_CELL_BYTES, value);
}

static bool stands_on_partial(const json_t *results, const char *row, const char *program)
{
    const json_t *series = results_find_own_series(results_find_row(results, row), program);

    return series != NULL && results_is_partial(results, row, series);
}

/* What stands in the way of a target, and where the profile is that shows it. */
static void put_bound(char *out, size_t size, const json_t *results, const json_t *target)
{
    const char *row = results_string(target, "row"), *program = results_string(target, "program");
    bool missed = !json_is_true(json_object_get(target, "met"));
    bool profiled = missed && strncmp(results_string(target, "figure"), "memory", 6) != 0 &&
                    profiles_find(results, row, program) != NULL;

    snprintf(out, size, "%s", results_string(target, "bound"));
    if (profiled)
        snprintf(out + strlen(out), size - strlen(out), "%sprofile: %s, %s", *out != '\0' ? "; " : "", row, program);
    if (stands_on_partial(results, row, program) || stands_on_partial(results, row, results_string(target, "against")))
        snprintf(out + strlen(out), size - strlen(out), "%spartial: of fewer runs than it was to have",
                 *out != '\0' ? "; " : "");
}

void report_targets(struct report_table *out, const json_t *results)
{
    const json_t *all = json_object_get(results, "targets"), *target;
    size_t index;

    *out = (struct report_table){.title = "Targets"};
    for (int i = 0; i < 5; i++)
        head(out, (const char *const[]){"figure", "ours", "against", "ratio", "wanted"}[i]);
    json_array_foreach (all, index, target) {
        const char *against = results_string(target, "against");
        char value[32], reference[32];

        if (out->lines == REPORT_LINES_MAX)
            return;
        results_print(value, sizeof(value), results_number(target, "value"));
        results_print(reference, sizeof(reference), results_number(target, "reference"));
        snprintf(cell(out, 0), REPORT_CELL_BYTES, "%s", results_string(target, "target"));
        snprintf(cell(out, 1), REPORT_CELL_BYTES, "%s", value);
        snprintf(cell(out, 2), REPORT_CELL_BYTES, "%s%s%s", against, *against != '\0' ? " " : "", reference);
        snprintf(cell(out, 3), REPORT_CELL_BYTES, "%.3g", results_number(target, "ratio"));
        snprintf(cell(out, 4), REPORT_CELL_BYTES, "%s %.3g",
                 strcmp(results_string(target, "sign"), ">=") == 0 ? "≥" : "≤", results_number(target, "wanted"));
        out->good[out->lines] = json_is_true(json_object_get(target, "met"));
        out->bad[out->lines] = !out->good[out->lines];
        put_bound(out->note[out->lines], sizeof(out->note[0]), results, target);
        out->lines++;
    }
}

void report_copy_line(struct report_table *out, const struct report_table *table, size_t line)
{
    memcpy(out->cells[out->lines], table->cells[line], sizeof(out->cells[0]));
    memcpy(out->note[out->lines], table->note[line], sizeof(out->note[0]));
    out->good[out->lines] = table->good[line];
    out->bad[out->lines] = table->bad[line];
    out->lines++;
}

void report_sides(struct report_table *out, const json_t *results)
{
    static const char *const keys[] = {"implementation", "version", "workers", "waiting", "driver"};
    const json_t *sides = json_object_get(results, "sides");
    const char *name;
    json_t *side;

    *out = (struct report_table){.title = "Programs"};
    head(out, "name");
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
        head(out, keys[k]);
    json_object_foreach ((json_t *)(uintptr_t)sides, name, side) {
        if (out->lines == REPORT_LINES_MAX)
            return;
        snprintf(cell(out, 0), REPORT_CELL_BYTES, "%s", name);
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
            const json_t *value = json_object_get(side, keys[k]);

            if (json_is_integer(value))
                snprintf(cell(out, k + 1), REPORT_CELL_BYTES, "%lld", (long long)json_integer_value(value));
            else
                snprintf(cell(out, k + 1), REPORT_CELL_BYTES, "%s", results_string(side, keys[k]));
        }
        out->lines++;
    }
}

/* "1,512 (1,480–1,530)" */
static void put_spread(struct report_table *table, size_t column, const json_t *figure)
{
    char median[32], least[32], most[32];

    results_print(median, sizeof(median), results_number(figure, "median"));
    results_print(least, sizeof(least), results_number(figure, "least"));
    results_print(most, sizeof(most), results_number(figure, "most"));
    if (json_array_size(json_object_get(figure, "samples")) > 1)
        snprintf(cell(table, column), REPORT_CELL_BYTES, "%s (%s–%s)", median, least, most);
    else
        snprintf(cell(table, column), REPORT_CELL_BYTES, "%s", median);
}

static unsigned count_disturbed(const json_t *series)
{
    const json_t *disturbed = json_object_get(series, "disturbed"), *element;
    unsigned count = 0;
    size_t index;

    json_array_foreach (disturbed, index, element)
        count += json_is_true(element);
    return count;
}

static void put_note(struct report_table *table, const json_t *series, bool partial)
{
    const json_t *errors = json_object_get(series, "errors");
    unsigned disturbed = count_disturbed(series);
    char *note = table->note[table->lines];
    size_t size = sizeof(table->note[0]), used = 0;

    if (partial && results_number(series, "runs") > 0)
        used = (size_t)snprintf(note, size, "partial: it has no more runs than %.0f", results_number(series, "runs"));
    if (disturbed > 0)
        used += (size_t)snprintf(note + used, size - used, "%s%u of %.0f runs disturbed", used > 0 ? "; " : "",
                                 disturbed, results_number(series, "runs"));
    if (json_array_size(errors) > 0)
        snprintf(note + used, size - used, "%s%zu failed: %s", used > 0 ? "; " : "", json_array_size(errors),
                 json_string_value(json_array_get(errors, json_array_size(errors) - 1)));
}

static enum plan_work work_of(const json_t *row)
{
    for (int work = 0; work <= PLAN_PART; work++) {
        if (strcmp(plan_work_names[work], results_string(row, "work")) == 0)
            return (enum plan_work)work;
    }
    return PLAN_PART; /* of a later version: its figures have titles of their own */
}

/* Which figures a row shows, after the one that has its spread. */
static size_t columns_of(enum plan_work work, const char *out[8])
{
    static const char *const idle[] = {"memory", "memory_kernel", "cpu_idle", "traffic", "setup", "setup_cpu"};
    static const char *const working[] = {"rate", "dialler_cpu", "listener_cpu", "p50", "p99", "p999"};
    const char *const *names = work == PLAN_IDLE ? idle : working;
    size_t count = work == PLAN_BULK ? 3 : 6;

    for (size_t i = 0; i < count; i++)
        out[i] = names[i];
    return count;
}

static void fill_series(struct report_table *out, const json_t *series, const char *const *names, size_t count,
                        double ours, bool partial)
{
    double value = results_number(results_find_figure(series, names[0]), "median");

    snprintf(cell(out, 0), REPORT_CELL_BYTES, "%s → %s", results_string(series, "dialler"),
             results_string(series, "listener"));
    put_spread(out, 1, results_find_figure(series, names[0]));
    if (isfinite(value / ours))
        snprintf(cell(out, 2), REPORT_CELL_BYTES, "%.2f", value / ours);
    for (size_t i = 1; i < count; i++)
        put_number(out, i + 2, results_number(results_find_figure(series, names[i]), "median"));
    put_note(out, series, partial);
    out->good[out->lines] = strcmp(results_string(series, "dialler"), "ours") == 0 &&
                            strcmp(results_string(series, "listener"), "ours") == 0;
    out->lines++;
}

static void part_table(struct report_table *out, const json_t *row, bool partial)
{
    const json_t *series = json_array_get(json_object_get(row, "series"), 0);
    const char *name;
    json_t *figure;

    head(out, partial ? "figure (partial: of fewer runs)" : "figure");
    head(out, "ns");
    json_object_foreach (json_object_get(series, "figures"), name, figure) {
        if (out->lines == REPORT_LINES_MAX)
            return;
        snprintf(cell(out, 0), REPORT_CELL_BYTES, "%s", name);
        put_spread(out, 1, figure);
        out->lines++;
    }
}

void report_row(struct report_table *out, const json_t *results, const json_t *row)
{
    const json_t *all = json_object_get(row, "series"), *series;
    enum plan_work work = work_of(row);
    const char *names[8];
    size_t count = columns_of(work, names), index;
    double ours;

    *out = (struct report_table){.lines = 0};
    snprintf(out->title, sizeof(out->title), "%s", results_string(row, "title"));
    if (work == PLAN_PART) {
        part_table(out, row, results_is_partial(results, results_string(row, "row"),
                                                results_find_series(row, "ours", "ours")));
        return;
    }
    head(out, "dialler → listener");
    for (size_t i = 0; i < count; i++) {
        struct results_kind kind = results_kind_of(work, names[i]);
        char text[REPORT_CELL_BYTES];

        snprintf(text, sizeof(text), "%s, %s", kind.title, kind.unit);
        head(out, text);
        if (i == 0)
            head(out, "of ours");
    }
    ours = results_number(results_find_figure(results_find_series(row, "ours", "ours"), names[0]), "median");
    json_array_foreach (all, index, series) {
        if (out->lines < REPORT_LINES_MAX)
            fill_series(out, series, names, count, ours,
                        results_is_partial(results, results_string(row, "row"), series));
    }
}

/* ---- Sentences ------------------------------------------------------------------------- */

static void describe_machine(char *out, size_t size, const json_t *machine)
{
    snprintf(out, size, "%.0f CPUs (%s), %.0f GB, Linux %s, %s, %s", results_number(machine, "cpus"),
             results_string(machine, "cpu"), results_number(machine, "memory_bytes") / 1e9,
             results_string(machine, "kernel"), results_string(machine, "congestion"),
             json_is_true(json_object_get(machine, "namespace")) ? "in a network namespace of its own"
                                                                 : "in the machine's own network");
}

void report_machine(char *out, size_t size, const json_t *results)
{
    const json_t *other = json_object_get(results, "listeners_machine");
    size_t length;

    describe_machine(out, size, json_object_get(results, "machine"));
    length = strlen(out);
    if (!json_is_object(other))
        return;
    snprintf(out + length, size - length, "; listeners at %s: ",
             results_string(json_object_get(results, "settings"), "listeners_at"));
    length = strlen(out);
    describe_machine(out + length, size - length, other);
}

void report_method(char *out, size_t size, const json_t *results)
{
    const json_t *settings = json_object_get(results, "settings");
    double count = results_number(settings, "runs");
    char runs[48] = "one run";

    if (count != 1)
        snprintf(runs, sizeof(runs), "medians of %.0f runs", count);
    snprintf(out, size,
             "%s, %s of %g s after %g s of warm-up, pairs in turn, programs %s; idle rows once. CPU is the kernel's "
             "clock of each program's process.",
             json_is_true(json_object_get(settings, "quick")) ? "Quick mode" : "Full mode", runs,
             results_number(settings, "seconds"), results_number(settings, "warm"),
             json_is_true(json_object_get(settings, "pin")) ? "pinned to a CPU each" : "not pinned");
}

void report_verdict(char *out, size_t size, const json_t *results)
{
    const json_t *all = json_object_get(results, "targets"), *target;
    size_t index, met = 0;

    json_array_foreach (all, index, target)
        met += json_is_true(json_object_get(target, "met"));
    *out = '\0';
    if (json_array_size(all) == 0)
        return;
    if (json_array_size(all) < targets_count())
        snprintf(out, size, "%zu of %zu targets are met, %zu were not measured.", met, json_array_size(all),
                 targets_count() - json_array_size(all));
    else
        snprintf(out, size, "%zu of %zu targets are met.", met, json_array_size(all));
}

void report_disturbed(char *out, size_t size, const json_t *results)
{
    const json_t *row, *series;
    size_t row_index, index;
    unsigned disturbed = 0;
    double runs = 0;

    json_array_foreach (json_object_get(results, "rows"), row_index, row) {
        json_array_foreach (json_object_get(row, "series"), index, series) {
            disturbed += count_disturbed(series);
            runs += results_number(series, "runs");
        }
    }
    *out = '\0';
    if (disturbed > 0)
        snprintf(out, size, "%u of %.0f runs were disturbed by other load on the machine, and are marked.", disturbed,
                 runs);
}

bool report_is_partial(const json_t *results)
{
    return !json_is_true(json_object_get(results, "complete"));
}

static bool has_runs(const json_t *results, const json_t *entry)
{
    const json_t *row = results_find_row(results, results_string(entry, "row"));

    return results_number(results_find_series(row, results_string(entry, "dialler"), results_string(entry, "listener")),
                          "runs") >= 1;
}

static bool are_alike(const json_t *a, const json_t *b)
{
    return strcmp(results_string(a, "row"), results_string(b, "row")) == 0 &&
           strcmp(results_string(a, "reason"), results_string(b, "reason")) == 0;
}

/* From `first` on: the pairs of one row without any run, for one reason.  Returns
 * how many entries that are. */
static size_t report_unmeasured(const json_t *results, size_t first, char *out, size_t size)
{
    const json_t *missing = json_object_get(results, "missing"), *begin = json_array_get(missing, first), *entry;
    size_t used = (size_t)snprintf(out, size, "%s", results_string(begin, "row")), at = first;

    for (; (entry = json_array_get(missing, at)) != NULL && !has_runs(results, entry) && are_alike(entry, begin); at++)
        if (used < size)
            used += (size_t)snprintf(out + used, size - used, "%s %s → %s", at > first ? "," : ":",
                                     results_string(entry, "dialler"), results_string(entry, "listener"));
    if (used < size)
        snprintf(out + used, size - used, ": %s", results_string(begin, "reason"));
    return at - first;
}

void report_missing(const json_t *results, void (*line)(FILE *file, const char *text), FILE *file)
{
    const json_t *skipped = json_object_get(results, "skipped"), *missing = json_object_get(results, "missing"), *entry;
    size_t index, fewer = 0;
    char text[1500];

    json_array_foreach (skipped, index, entry) {
        snprintf(text, sizeof(text), "%s was skipped: %s", results_string(entry, "name"),
                 results_string(entry, "reason"));
        line(file, text);
    }
    for (index = 0; index < json_array_size(missing);) {
        if (has_runs(results, json_array_get(missing, index))) {
            fewer++;
            index++;
            continue;
        }
        index += report_unmeasured(results, index, text, sizeof(text));
        line(file, text);
    }
    if (fewer == 0)
        return;
    snprintf(text, sizeof(text), "%zu %s fewer runs than were asked for, and %s marked in the tables.", fewer,
             fewer == 1 ? "pair has" : "pairs have", fewer == 1 ? "is" : "are");
    line(file, text);
}

/* ---- Markdown ---------------------------------------------------------------------------- */

/* A bar would end the cell, a newline the table; and what programs call themselves
 * is no HTML. */
static void markdown_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fputs("\\|", file);
        else if (*text == '<')
            fputs("&lt;", file);
        else
            fputc(*text == '\n' ? ' ' : *text, file);
    }
}

static void markdown_table(FILE *file, const struct report_table *table, bool with_notes)
{
    for (size_t c = 0; c < table->columns; c++)
        fprintf(file, "| %s ", table->head[c]);
    fputs("|\n|---", file);
    for (size_t c = 1; c < table->columns; c++)
        fputs("|---:", file);
    fputs("|\n", file);
    for (size_t l = 0; l < table->lines; l++) {
        for (size_t c = 0; c < table->columns; c++) {
            fputs("| ", file);
            markdown_text(file, table->cells[l][c]);
            if (with_notes && c == table->columns - 1)
                fputs(table->bad[l] ? " ✗" : " ✓", file);
            fputc(' ', file);
        }
        fputs("|\n", file);
    }
    fputc('\n', file);
    for (size_t l = 0; l < table->lines; l++) {
        if (table->note[l][0] == '\0')
            continue;
        fputs("* ", file);
        markdown_text(file, table->cells[l][0]);
        fputs(": ", file);
        markdown_text(file, table->note[l]);
        fputc('\n', file);
    }
    fputc('\n', file);
}

static void markdown_line(FILE *file, const char *text)
{
    fputs("* ", file);
    markdown_text(file, text);
    fputc('\n', file);
}

void report_markdown_profile(FILE *file, const json_t *profile)
{
    struct report_table *table = malloc(sizeof(*table));

    if (table == NULL)
        bench_die("no memory for a report");
    report_profile(table, profile);
    fprintf(file, "### %s\n\n", table->title);
    markdown_table(file, table, false);
    report_functions(table, profile);
    markdown_table(file, table, false);
    free(table);
}

static void markdown_profiles(FILE *file, const json_t *results)
{
    const json_t *profile;
    char text[1024];
    size_t index;

    report_about_profiles(text, sizeof(text), results);
    if (*text == '\0')
        return;
    fputs("## Profiles\n\n", file);
    markdown_text(file, text);
    fputs("\n\n", file);
    json_array_foreach (json_object_get(results, "profiles"), index, profile)
        report_markdown_profile(file, profile);
}

void report_markdown(FILE *file, const json_t *results)
{
    const json_t *rows = json_object_get(results, "rows"), *row;
    struct report_table *table = malloc(sizeof(*table));
    char text[1024];
    size_t index;

    if (table == NULL)
        bench_die("no memory for a report");
    fprintf(file, "# chorus-bench, %s\n\n", results_string(results, "created"));
    if (report_is_partial(results))
        fputs("**This report is partial: what is missing stands below.**\n\n", file);
    report_machine(text, sizeof(text), results);
    markdown_text(file, text);
    fputs(".\n", file);
    report_method(text, sizeof(text), results);
    fprintf(file, "%s\n\n", text);
    report_disturbed(text, sizeof(text), results);
    if (*text != '\0')
        fprintf(file, "**%s**\n\n", text);
    report_missing(results, markdown_line, file);
    fputc('\n', file);
    report_targets(table, results);
    if (table->lines > 0) {
        report_verdict(text, sizeof(text), results);
        fprintf(file, "## Targets\n\n%s\n\n", text);
        markdown_table(file, table, true);
    }
    markdown_profiles(file, results);
    report_sides(table, results);
    fputs("## Programs\n\n", file);
    markdown_table(file, table, false);
    json_array_foreach (rows, index, row) {
        report_row(table, results, row);
        fputs("## ", file);
        markdown_text(file, table->title);
        fputs("\n\n", file);
        markdown_table(file, table, false);
    }
    free(table);
}

/* ---- Both ---------------------------------------------------------------------------------- */

static bool write_one(const json_t *results, const char *folder, const char *name,
                      void (*write)(FILE *file, const json_t *results))
{
    char *path = NULL;
    FILE *file = asprintf(&path, "%s/%s", folder, name) > 0 ? fopen(path, "we") : NULL;
    bool written = file != NULL;

    if (written) {
        write(file, results);
        written = ferror(file) == 0;
        written = fclose(file) == 0 && written;
    }
    if (written)
        printf("%s\n", path);
    else
        fprintf(stderr, "chorus-bench: cannot write %s/%s: %s\n", folder, name, strerror(errno));
    free(path);
    return written;
}

bool report_write(const json_t *results, const char *folder)
{
    bool markdown = write_one(results, folder, "report.md", report_markdown);

    return write_one(results, folder, "report.html", report_html) && markdown;
}
