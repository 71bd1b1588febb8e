#include "results.h"

#include "bench.h"
#include "stats.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Figures ------------------------------------------------------------------------ */

static const char *const rate_units[] = {"MB/s", "connects/s", "pings/s", "requests/s", "streams/s", "connections/s",
                                         "connects/s", "messages/s", ""};

struct results_kind results_kind_of(enum plan_work work, const char *figure)
{
    static const struct {
        const char *figure;
        struct results_kind kind;
    } kinds[] = {
        {"p50", {"latency, median", "us", RESULTS_LESS}},
        {"p90", {"latency, 90 %", "us", RESULTS_LESS}},
        {"p99", {"latency, 99 %", "us", RESULTS_LESS}},
        {"p999", {"latency, 99.9 %", "us", RESULTS_LESS}},
        {"max", {"latency, the longest", "us", RESULTS_NEITHER}},
        {"failed", {"units that failed", "", RESULTS_LESS}},
        {"dialler_cores", {"dialler's cores", "cores", RESULTS_NEITHER}},
        {"listener_cores", {"listener's cores", "cores", RESULTS_NEITHER}},
        {"memory", {"user memory of a connection", "B", RESULTS_LESS}},
        {"memory_dialler", {"user memory of a dialling node", "B", RESULTS_NEITHER}},
        {"memory_far", {"user memory of its dialling end", "B", RESULTS_LESS}},
        {"memory_fixed", {"fixed cost of a process with its nodes", "MB", RESULTS_NEITHER}},
        {"memory_all", {"memory of all, both ends and the kernel's", "GB", RESULTS_LESS}},
        {"memory_kernel", {"kernel memory of both ends", "B", RESULTS_NEITHER}},
        {"memory_pair", {"two ends, with the kernel's", "B", RESULTS_NEITHER}},
        {"cpu_idle", {"CPU of 100 connections", "% of a core", RESULTS_LESS}},
        {"traffic", {"traffic of a connection", "B/s", RESULTS_NEITHER}},
        {"setup", {"time to connect all", "s", RESULTS_NEITHER}},
        {"setup_cpu", {"listener's CPU to connect", "us", RESULTS_LESS}},
        {"dialler_calls", {"dialler's system calls", "a unit", RESULTS_LESS}},
        {"listener_calls", {"listener's system calls", "a unit", RESULTS_LESS}},
    };
    const char *cpu = work == PLAN_BULK ? "s/GB" : "us";

    if (strcmp(figure, "rate") == 0)
        return (struct results_kind){"rate", rate_units[work], RESULTS_MORE};
    if (strcmp(figure, "dialler_cpu") == 0)
        return (struct results_kind){"dialler's CPU", cpu, RESULTS_LESS};
    if (strcmp(figure, "listener_cpu") == 0)
        return (struct results_kind){"listener's CPU", cpu, RESULTS_LESS};
    if (strcmp(figure, "cpu") == 0)
        return (struct results_kind){"CPU of both", cpu, RESULTS_LESS};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].figure, figure) == 0)
            return kinds[i].kind;
    }
    return (struct results_kind){figure, work == PLAN_PART ? "ns" : "", RESULTS_LESS};
}

/* Digits in groups of three. */
static void group(char *out, size_t size, long long value)
{
    char digits[32];
    int length = snprintf(digits, sizeof(digits), "%lld", value < 0 ? -value : value);
    size_t used = 0;

    if (value < 0 && used + 1 < size)
        out[used++] = '-';
    for (int i = 0; i < length && used + 2 < size; i++) {
        out[used++] = digits[i];
        if ((length - i - 1) % 3 == 0 && i + 1 < length)
            out[used++] = ',';
    }
    out[used] = '\0';
}

void results_print(char *out, size_t size, double value)
{
    double magnitude = fabs(value);

    if (!isfinite(value))
        snprintf(out, size, "–");
    else if (magnitude >= 99.95 && magnitude < 1e15)
        group(out, size, llround(value));
    else if (magnitude >= 9.995)
        snprintf(out, size, "%.1f", value);
    else if (magnitude >= 0.9995 || value == 0)
        snprintf(out, size, value == 0 ? "%.0f" : "%.2f", value);
    else
        snprintf(out, size, "%.2g", value);
}

/* ---- Making ------------------------------------------------------------------------- */

json_t *results_new(json_t *settings, json_t *machine)
{
    char created[32];
    time_t now = time(NULL);
    struct tm utc;

    strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:{}, s:[], s:[], s:[], s:s}", "schema", RESULTS_SCHEMA, "created",
                     created, "version", CHORUS_VERSION, "complete", 0, "settings", settings, "machine", machine,
                     "sides", "skipped", "rows", "profiles", "profiles_missing", "");
}

/* The element of an array that has this text under this key. */
static json_t *find(const json_t *array, const char *key, const char *text)
{
    size_t index;
    json_t *element;

    json_array_foreach (array, index, element) {
        if (strcmp(results_string(element, key), text) == 0)
            return element;
    }
    return NULL;
}

json_t *results_row(json_t *results, const struct plan_row *row)
{
    json_t *rows = json_object_get(results, "rows"), *found = find(rows, "row", row->name);

    if (found != NULL)
        return found;
    json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:i, s:b, s:[]}", "row", row->name, "title", row->title,
                                          "work", plan_work_names[row->work], "connections", (int)row->connections,
                                          "done", 0, "series"));
    return json_array_get(rows, json_array_size(rows) - 1);
}

json_t *results_series(json_t *row, const struct plan_series *series)
{
    json_t *all = json_object_get(row, "series");
    json_t *found = (json_t *)(uintptr_t)results_find_series(row, series->dialler, series->listener);

    if (found != NULL)
        return found;
    json_array_append_new(all, json_pack("{s:s, s:s, s:b, s:i, s:i, s:[], s:[], s:[], s:{}, s:[]}", "dialler",
                                         series->dialler, "listener", series->listener, "reference",
                                         series->reference, "runs", 0, "repeats", 0, "disturbed", "foreign", "steal",
                                         "figures", "errors"));
    return json_array_get(all, json_array_size(all) - 1);
}

static void summarise(json_t *figure)
{
    double values[STATS_SAMPLES_MAX];
    size_t count = results_samples(figure, values, STATS_SAMPLES_MAX);

    json_object_set_new(figure, "median", json_real(stats_median(values, count)));
    json_object_set_new(figure, "least", json_real(stats_least(values, count)));
    json_object_set_new(figure, "most", json_real(stats_most(values, count)));
}

static void add_sample(json_t *figures, const struct plan_row *row, const char *name, double value)
{
    static const char *const words[] = {"neither", "more", "less"};
    struct results_kind kind = results_kind_of(row->work, name);
    json_t *figure = json_object_get(figures, name);

    if (figure == NULL) {
        figure = json_pack("{s:s, s:s, s:s, s:[]}", "title", kind.title, "unit", kind.unit, "better",
                           words[kind.better], "samples");
        json_object_set_new(figures, name, figure);
    }
    json_array_append_new(json_object_get(figure, "samples"), json_real(value));
    summarise(figure);
}

void results_add_figures(json_t *series, const struct plan_row *row, const struct runner_result *result)
{
    const char *name;
    json_t *value;

    json_object_foreach (result->figures, name, value)
        add_sample(json_object_get(series, "figures"), row, name, json_number_value(value));
}

static void add_to(json_t *series, const char *key, unsigned more)
{
    json_object_set_new(series, key, json_integer(json_integer_value(json_object_get(series, key)) + more));
}

void results_add(json_t *series, const struct plan_row *row, const struct runner_result *result)
{
    if (!result->ok) {
        json_array_append_new(json_object_get(series, "errors"), json_string(result->error.text));
        return;
    }
    results_add_figures(series, row, result);
    add_to(series, "runs", 1);
    add_to(series, "repeats", result->repeats);
    json_array_append_new(json_object_get(series, "foreign"), json_real(result->foreign));
    json_array_append_new(json_object_get(series, "steal"), json_real(result->steal));
    json_array_append_new(json_object_get(series, "disturbed"),
                          json_boolean(runner_is_disturbed(result)));
}

void results_add_side(json_t *results, const char *name, const char *command, const json_t *about)
{
    json_t *sides = json_object_get(results, "sides"), *side;

    if (about == NULL || json_object_get(sides, name) != NULL)
        return;
    side = json_deep_copy(about);
    json_object_set_new(side, "command", json_string(command));
    json_object_set_new(sides, name, side);
}

void results_skip(json_t *results, const char *name, const char *reason)
{
    json_array_append_new(json_object_get(results, "skipped"),
                          json_pack("{s:s, s:s}", "name", name, "reason", reason));
}

bool results_save(const json_t *results, const char *path, struct results_text *error)
{
    char *fresh = NULL;
    bool saved = asprintf(&fresh, "%s.new", path) > 0 &&
                 json_dump_file(results, fresh, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0 &&
                 rename(fresh, path) == 0;

    if (!saved)
        snprintf(error->text, sizeof(error->text), "cannot write %s: %s", path, strerror(errno));
    if (!saved && fresh != NULL)
        (void)unlink(fresh); /* what there was stays */
    free(fresh);
    return saved;
}

/* ---- Reading ------------------------------------------------------------------------ */

const char *results_string(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

double results_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

const json_t *results_find_row(const json_t *results, const char *row)
{
    return find(json_object_get(results, "rows"), "row", row);
}

const json_t *results_find_series(const json_t *row, const char *dialler, const char *listener)
{
    const json_t *all = json_object_get(row, "series");
    size_t index;
    json_t *series;

    json_array_foreach (all, index, series) {
        if (strcmp(results_string(series, "dialler"), dialler) == 0 &&
            strcmp(results_string(series, "listener"), listener) == 0)
            return series;
    }
    return NULL;
}

const json_t *results_find_own_series(const json_t *row, const char *program)
{
    const json_t *own = results_find_series(row, program, program);
    const char *work = results_string(row, "work");

    if (own == NULL && (strcmp(work, "idle") == 0 || strcmp(work, "fanout") == 0))
        return results_find_series(row, "ours", program);
    return own;
}

bool results_is_partial(const json_t *results, const char *row, const json_t *series)
{
    const json_t *missing = json_object_get(results, "missing"), *entry;
    size_t index;

    json_array_foreach (missing, index, entry) {
        if (strcmp(results_string(entry, "row"), row) == 0 &&
            strcmp(results_string(entry, "dialler"), results_string(series, "dialler")) == 0 &&
            strcmp(results_string(entry, "listener"), results_string(series, "listener")) == 0)
            return true;
    }
    return false;
}

const json_t *results_find_figure(const json_t *series, const char *figure)
{
    return json_object_get(json_object_get(series, "figures"), figure);
}

size_t results_samples(const json_t *figure, double out[], size_t capacity)
{
    const json_t *samples = json_object_get(figure, "samples");
    size_t count = json_array_size(samples);

    if (count > capacity)
        count = capacity;
    for (size_t i = 0; i < count; i++)
        out[i] = json_number_value(json_array_get(samples, i));
    return count;
}

double results_median(const json_t *results, const char *row, const char *dialler, const char *listener,
                      const char *figure)
{
    const json_t *series = results_find_series(results_find_row(results, row), dialler, listener);

    return results_number(results_find_figure(series, figure), "median");
}

/* ---- Checking ----------------------------------------------------------------------- */

static bool wrong(struct results_text *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(struct results_text *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return false;
}

static bool check_samples(const json_t *figure, const char *place, const char *name, struct results_text *error)
{
    const json_t *samples = json_object_get(figure, "samples"), *sample;
    double values[STATS_SAMPLES_MAX], median = results_number(figure, "median");
    size_t index, count;

    if (!json_is_array(samples) || json_array_size(samples) == 0 || json_array_size(samples) > STATS_SAMPLES_MAX)
        return wrong(error, "%s, %s: samples must be an array of 1 to %d numbers", place, name, STATS_SAMPLES_MAX);
    json_array_foreach (samples, index, sample) {
        if (!json_is_number(sample))
            return wrong(error, "%s, %s: sample %zu is no number", place, name, index);
    }
    count = results_samples(figure, values, STATS_SAMPLES_MAX);
    if (!(fabs(median - stats_median(values, count)) <= 1e-6 * fabs(median)))
        return wrong(error, "%s, %s: median is not that of its samples", place, name);
    if (!json_is_string(json_object_get(figure, "unit")) || !json_is_string(json_object_get(figure, "better")))
        return wrong(error, "%s, %s: unit and better must be strings", place, name);
    return true;
}

/* Names go into pictures' scripts and files of other formats. */
static bool is_name(const char *name)
{
    return plan_own_name(name) || plan_peer_name(name);
}

static bool check_sides(const json_t *results, struct results_text *error)
{
    json_t *sides = json_object_get(results, "sides"), *side;
    const char *name;

    json_object_foreach (sides, name, side) {
        if (!is_name(name))
            return wrong(error, "sides: '%.40s' is no name of a program", name);
    }
    return true;
}

static bool check_series(const json_t *series, const char *row, size_t number, struct results_text *error)
{
    json_t *figures = json_object_get(series, "figures"), *figure;
    char place[160];
    const char *name;

    snprintf(place, sizeof(place), "row %.60s, series %zu", row, number);
    if (!is_name(results_string(series, "dialler")) || !is_name(results_string(series, "listener")))
        return wrong(error, "%s: dialler and listener must be names of programs", place);
    if (!json_is_object(figures) || !json_is_array(json_object_get(series, "errors")) ||
        !json_is_array(json_object_get(series, "disturbed")))
        return wrong(error, "%s: figures, errors and disturbed must be there", place);
    json_object_foreach (figures, name, figure) {
        if (!check_samples(figure, place, name, error))
            return false;
    }
    return true;
}

static bool check_row(const json_t *row, size_t number, struct results_text *error)
{
    const char *name = json_string_value(json_object_get(row, "row"));
    const json_t *all = json_object_get(row, "series"), *series;
    size_t index;

    if (name == NULL)
        return wrong(error, "row %zu has no name", number);
    if (!json_is_array(all) || !json_is_string(json_object_get(row, "work")))
        return wrong(error, "row %s: work and series must be there", name);
    json_array_foreach (all, index, series) {
        if (!check_series(series, name, index, error))
            return false;
    }
    return true;
}

bool results_check(const json_t *results, struct results_text *error)
{
    const json_t *rows = json_object_get(results, "rows"), *row;
    size_t index;

    if (strcmp(results_string(results, "schema"), RESULTS_SCHEMA) != 0)
        return wrong(error, "schema is '%.40s', not %s", results_string(results, "schema"), RESULTS_SCHEMA);
    if (!json_is_object(json_object_get(results, "settings")) || !json_is_object(json_object_get(results, "machine")) ||
        !json_is_object(json_object_get(results, "sides")) || !json_is_array(json_object_get(results, "skipped")) ||
        !json_is_boolean(json_object_get(results, "complete")))
        return wrong(error, "settings, machine, sides, skipped and complete must be there");
    if (!check_sides(results, error))
        return false;
    if (!json_is_array(rows))
        return wrong(error, "rows must be an array");
    json_array_foreach (rows, index, row) {
        if (!check_row(row, index, error))
            return false;
    }
    return true;
}

json_t *results_load(const char *path, struct results_text *error)
{
    struct results_text why;
    json_error_t place;
    json_t *results;
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        (void)wrong(error, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    results = json_loadf(file, JSON_REJECT_DUPLICATES, &place);
    fclose(file);
    if (results == NULL) {
        (void)wrong(error, "%s, line %d: %s", path, place.line, place.text);
        return NULL;
    }
    if (results_check(results, &why))
        return results;
    (void)wrong(error, "%s: %s", path, why.text);
    json_decref(results);
    return NULL;
}
