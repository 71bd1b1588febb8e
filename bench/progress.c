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

/* "  rate 1,512 MB/s (1,480 to 1,530)" */
static void print_figure(enum plan_work work, const json_t *series, const char *name)
{
    const json_t *figure = results_find_figure(series, name);
    struct results_kind kind = results_kind_of(work, name);
    char median[32], least[32], most[32];

    if (figure == NULL)
        return;
    results_print(median, sizeof(median), results_number(figure, "median"));
    results_print(least, sizeof(least), results_number(figure, "least"));
    results_print(most, sizeof(most), results_number(figure, "most"));
    printf("  %s %s %s", strcmp(name, "rate") == 0 ? "" : kind.title, median, kind.unit);
    if (json_array_size(json_object_get(figure, "samples")) > 1)
        printf(" (%s to %s)", least, most);
}

static void print_part(const json_t *series)
{
    const char *name;
    json_t *figure;

    json_object_foreach (json_object_get(series, "figures"), name, figure)
        print_figure(PLAN_PART, series, name);
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

static void print_series(const struct plan_row *row, const json_t *series)
{
    static const char *const working[] = {"rate", "dialler_cpu", "listener_cpu", "p50", "p99"};
    static const char *const idle[] = {"memory", "memory_kernel", "cpu_idle", "traffic"};
    const char *const *names = row->work == PLAN_IDLE ? idle : working;
    size_t count = row->work == PLAN_IDLE ? 4 : 5;
    unsigned disturbed = count_true(json_object_get(series, "disturbed"));

    printf("    %-10s -> %-10s", results_string(series, "dialler"), results_string(series, "listener"));
    if (json_integer_value(json_object_get(series, "runs")) == 0)
        printf("  no figures");
    else if (row->work == PLAN_PART)
        print_part(series);
    for (size_t i = 0; i < count && row->work != PLAN_PART; i++)
        print_figure(row->work, series, names[i]);
    if (disturbed > 0)
        printf("  [%u of %lld runs disturbed]", disturbed,
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
