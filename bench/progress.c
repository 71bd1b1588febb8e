#include "progress.h"

#include "results.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool running_shown;

static void clear_running(void)
{
    if (running_shown)
        printf("\r\033[K");
    running_shown = false;
}

void progress_line(const char *format, ...)
{
    va_list arguments;

    clear_running();
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

void progress_running(double part, const struct plan_row *row, const struct plan_series *series)
{
    if (!isatty(STDOUT_FILENO))
        return;
    clear_running();
    printf("%3.0f %%  %s  %s -> %s", part * 100, row->title, series->dialler, series->listener);
    running_shown = true;
    fflush(stdout);
}

/* "  1,512 MB/s (1,480 to 1,530)" */
static void print_figure(enum plan_work work, const json_t *series, const char *name, const char *label)
{
    const json_t *figure = results_find_figure(series, name);
    char median[32], least[32], most[32];

    if (figure == NULL)
        return;
    results_print(median, sizeof(median), results_number(figure, "median"));
    results_print(least, sizeof(least), results_number(figure, "least"));
    results_print(most, sizeof(most), results_number(figure, "most"));
    printf("  %s%s %s", label, median, results_kind_of(work, name).unit);
    if (json_array_size(json_object_get(figure, "samples")) > 1 && *label == '\0')
        printf(" (%s to %s)", least, most);
}

/* Two figures of one unit: "  CPU 0.58 + 0.41 s/GB". */
static void print_two(enum plan_work work, const json_t *series, const char *label, const char *first,
                      const char *between, const char *second)
{
    const json_t *one = results_find_figure(series, first), *two = results_find_figure(series, second);
    char texts[2][32];

    if (one == NULL || two == NULL)
        return;
    results_print(texts[0], sizeof(texts[0]), results_number(one, "median"));
    results_print(texts[1], sizeof(texts[1]), results_number(two, "median"));
    printf("  %s%s%s%s %s", label, texts[0], between, texts[1], results_kind_of(work, first).unit);
}

static void print_part(const json_t *series)
{
    const char *name;
    json_t *figure;

    json_object_foreach (json_object_get(series, "figures"), name, figure) {
        printf("\n       %-44s", name);
        print_figure(PLAN_PART, series, name, "");
    }
}

static unsigned count_true(const json_t *array)
{
    unsigned count = 0;
    size_t index;
    json_t *element;

    json_array_foreach (array, index, element)
        count += json_is_true(element);
    return count;
}

static void print_figures(enum plan_work work, const json_t *series)
{
    if (work == PLAN_PART) {
        print_part(series);
    } else if (work == PLAN_IDLE) {
        print_figure(work, series, "memory", "user memory ");
        print_figure(work, series, "memory_kernel", "kernel ");
        print_figure(work, series, "cpu_idle", "CPU ");
        print_figure(work, series, "traffic", "traffic ");
    } else {
        print_figure(work, series, "rate", "");
        print_two(work, series, "CPU ", "dialler_cpu", " + ", "listener_cpu");
        print_two(work, series, "p50 ", "p50", ", p99 ", "p99");
    }
}

static void print_series(const struct plan_row *row, const json_t *series)
{
    unsigned disturbed = count_true(json_object_get(series, "disturbed"));

    printf("    %-10s -> %-10s", results_string(series, "dialler"), results_string(series, "listener"));
    if (json_integer_value(json_object_get(series, "runs")) == 0)
        printf("  no figures");
    else
        print_figures(row->work, series);
    if (disturbed > 0)
        printf("  [%u of %lld disturbed]", disturbed,
               (long long)json_integer_value(json_object_get(series, "runs")));
    putchar('\n');
}

void progress_row(const struct plan_row *row, const json_t *results)
{
    const json_t *all = json_object_get(results, "series"), *series;
    size_t index;

    clear_running();
    printf("%-14s %s\n", row->name, row->title);
    json_array_foreach (all, index, series)
        print_series(row, series);
    fflush(stdout);
}
