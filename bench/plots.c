#include "plots.h"

#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GROUPS_MAX = 6, PROGRAMS_MAX = 16, LABELS_MAX = 12 };

enum shape { BARS, LINES };

/* A place on the x axis: one figure of one row. */
struct group {
    const char *label, *row, *figure;
    double x; /* of lines over numbers; 0: places side by side */
};

struct plot {
    const char *name, *title, *unit;
    enum shape shape;
    bool log_y;
    struct group groups[GROUPS_MAX];
};

/* gnuplot takes labels of tics for formats. */
#define PERCENTILES(Row) {{"50 %%", Row, "p50", 0}, {"90 %%", Row, "p90", 0}, {"99 %%", Row, "p99", 0}, \
                          {"99.9 %%", Row, "p999", 0}}

static const struct plot plots[] = {
    {"bulk", "Bulk", "MB/s", BARS, false,
     {{"up", "bulk-up", "rate", 0}, {"down", "bulk-down", "rate", 0}, {"both ways", "bulk-both", "rate", 0},
      {"16 streams", "bulk-up-16s", "rate", 0}, {"10 conns", "bulk-up-10c", "rate", 0},
      {"100 conns", "bulk-up-100c", "rate", 0}}},
    {"bulk-cpu", "CPU of a gigabyte", "s/GB", BARS, false,
     {{"sending", "bulk-up", "dialler_cpu", 0}, {"receiving", "bulk-up", "listener_cpu", 0}}},
    {"connects", "Full connects", "a second", BARS, false,
     {{"one at a time", "handshake-1", "rate", 0}, {"50 at a time", "handshake-50", "rate", 0}}},
    {"connect-cpu", "CPU of a full connect", "us", BARS, false,
     {{"dialling", "handshake-50", "dialler_cpu", 0}, {"listening", "handshake-50", "listener_cpu", 0}}},
    {"requests", "32 B there and back, by connections", "requests/s", LINES, false,
     {{"1", "rr-32-1", "rate", 1}, {"10", "rr-32-10", "rate", 10}, {"100", "rr-32-100", "rate", 100},
      {"1,000", "rr-32-1000", "rate", 1000}, {"10,000", "rr-32-10000", "rate", 10000}}},
    {"requests-1k", "1 KB there and back, by connections", "requests/s", LINES, false,
     {{"1", "rr-1k-1", "rate", 1}, {"10", "rr-1k-10", "rate", 10}, {"100", "rr-1k-100", "rate", 100},
      {"1,000", "rr-1k-1000", "rate", 1000}}},
    {"requests-64k", "64 KB there and back, by connections", "requests/s", LINES, false,
     {{"1", "rr-64k-1", "rate", 1}, {"10", "rr-64k-10", "rate", 10}, {"100", "rr-64k-100", "rate", 100},
      {"1,000", "rr-64k-1000", "rate", 1000}}},
    {"request-cpu", "CPU of a request, 100 connections", "us, both sides", BARS, false,
     {{"32 B", "rr-32-100", "cpu", 0}, {"1 KB", "rr-1k-100", "cpu", 0}}},
    {"streams", "New streams, by how many at a time", "streams/s", LINES, false,
     {{"1", "streams-1", "rate", 1}, {"32", "streams-32", "rate", 32}, {"256", "streams-256", "rate", 256}}},
    {"ping", "Ping, one after the other", "us", LINES, true, PERCENTILES("rtt")},
    {"ping-open", "Ping, 1,000 a second", "us", LINES, true, PERCENTILES("rtt-open")},
    {"ping-load", "Ping under an upload", "us", LINES, true, PERCENTILES("rtt-load")},
    {"requests-open", "32 B there and back, 5,000 a second", "us", LINES, true, PERCENTILES("rr-open")},
    {"memory", "User memory of an idle connection, by connections", "bytes", LINES, true,
     {{"100", "idle-100", "memory", 100}, {"500", "idle-500", "memory", 500}, {"1,000", "idle-1000", "memory", 1000},
      {"10,000", "idle-10000", "memory", 10000}, {"100,000", "idle-100000", "memory", 100000}}},
    {"idle-cpu", "CPU of 100 idle connections, by connections", "% of a core", LINES, true,
     {{"100", "idle-100", "cpu_idle", 100}, {"500", "idle-500", "cpu_idle", 500},
      {"1,000", "idle-1000", "cpu_idle", 1000}, {"10,000", "idle-10000", "cpu_idle", 10000},
      {"100,000", "idle-100000", "cpu_idle", 100000}}},
    {"storm", "Dials at once: until connected", "us", LINES, true, PERCENTILES("storm-1000")},
    {"fanout", "1 KB to all peers and back", "messages/s", BARS, false,
     {{"100 peers", "fanout-100", "rate", 0}, {"1,000 peers", "fanout-1000", "rate", 0}}},
};

size_t plots_count(void)
{
    return sizeof(plots) / sizeof(plots[0]);
}

const char *plots_name(size_t index)
{
    return plots[index].name;
}

const char *plots_title(size_t index)
{
    return plots[index].title;
}

bool plots_available(void)
{
    return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

/* ---- What is drawn ------------------------------------------------------------------- */

struct picture {
    const struct plot *plot;
    const json_t *results;
    const char *programs[PROGRAMS_MAX];
    size_t program_count;
    bool used[GROUPS_MAX]; /* groups of which something is known */
    size_t group_count, used_count;
    bool lines;
};

/* A program's figure: with its own kind, or where ours dials it only, with ours. */
static const json_t *figure_of(const struct picture *picture, const struct group *group, const char *program)
{
    const json_t *row = results_find_row(picture->results, group->row);
    const json_t *series = results_find_series(row, program, program);

    if (series == NULL && (strcmp(results_string(row, "work"), "idle") == 0 ||
                           strcmp(results_string(row, "work"), "fanout") == 0))
        series = results_find_series(row, "ours", program);
    return results_find_figure(series, group->figure);
}

static void add_program(struct picture *picture, const char *program)
{
    for (size_t g = 0; g < picture->group_count; g++) {
        double median = results_number(figure_of(picture, &picture->plot->groups[g], program), "median");

        if (!isfinite(median) || (picture->plot->log_y && median <= 0) || picture->program_count == PROGRAMS_MAX)
            continue;
        if (picture->program_count == 0 || picture->programs[picture->program_count - 1] != program)
            picture->programs[picture->program_count++] = program;
        picture->used[g] = true;
    }
}

/* Ours, then the peers, then the references. */
static void find_programs(struct picture *picture)
{
    json_t *sides = json_object_get(picture->results, "sides"), *side;
    const char *name;

    add_program(picture, "ours");
    json_object_foreach (sides, name, side) {
        if (strncmp(name, "ours", 4) != 0 && strncmp(name, "raw", 3) != 0 && strcmp(name, "crypto") != 0)
            add_program(picture, name);
    }
    if (strcmp(picture->plot->name, "bulk") != 0 && strcmp(picture->plot->name, "bulk-cpu") != 0)
        add_program(picture, "raw"); /* without a cipher it would dwarf all others */
    add_program(picture, "raw-aead");
}

static const char *colour_of(const char *program, size_t number)
{
    static const char *const known[][2] = {{"ours", "#3b5bdb"}, {"go", "#12b5cb"}, {"rust", "#e8590c"},
                                           {"js", "#e6a700"}, {"raw", "#adb5bd"}, {"raw-aead", "#74808c"}};
    static const char *const others[] = {"#2b9348", "#9c36b5", "#c2255c", "#5c940d"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i][0], program) == 0)
            return known[i][1];
    }
    return others[number % (sizeof(others) / sizeof(others[0]))];
}

/* ---- The script ------------------------------------------------------------------------ */

static void write_head(FILE *script, const struct picture *picture, bool paper)
{
    const struct plot *plot = picture->plot;

    fputs("set terminal svg size 640,360 dynamic enhanced standalone name '", script);
    for (const char *c = plot->name; *c != '\0'; c++)
        fputc(*c == '-' ? '_' : *c, script);
    fprintf(script, "' font 'system-ui,sans-serif,13'%s\n", paper ? " background '#ffffff'" : "");
    fprintf(script, "set encoding utf8\nset title \"%s\" font ',15'\nset ylabel \"%s\"\n", plot->title, plot->unit);
    fputs("set border 3 lc rgb '#808080'\nset grid y lc rgb '#b0b0b0' lt 1 lw 0.5 dt 3\nset tics nomirror scale 0.5\n"
          "set key outside bottom center horizontal maxrows 2 samplen 1.5\nset style fill solid 0.92 noborder\n"
          "set format y '%.9g'\nset lmargin 11\n",
          script);
    if (plot->log_y && picture->lines)
        fputs("set logscale y\n", script);
    else
        fputs("set yrange [0:*]\nset offsets graph 0, 0, graph 0.06, 0\n", script);
}

static double place_of(const struct picture *picture, size_t group)
{
    size_t before = 0;

    if (picture->lines && picture->plot->groups[group].x > 0)
        return picture->plot->groups[group].x;
    for (size_t g = 0; g < group; g++)
        before += picture->used[g];
    return (double)before;
}

static void write_axis(FILE *script, const struct picture *picture)
{
    bool numbers = picture->lines && picture->plot->groups[0].x > 0;
    const char *comma = "";

    if (numbers)
        fputs("set logscale x\n", script);
    fputs("set xtics (", script);
    for (size_t g = 0; g < picture->group_count; g++) {
        if (!picture->used[g])
            continue;
        fprintf(script, "%s\"%s\" %g", comma, picture->plot->groups[g].label, place_of(picture, g));
        comma = ", ";
    }
    fputs(")\n", script);
    if (!numbers)
        fprintf(script, "set xrange [-0.6:%g]\n", (double)picture->used_count - 0.4);
}

static void write_data(FILE *script, const struct picture *picture, size_t number)
{
    double width = 0.8 / (double)picture->program_count;
    char label[32];

    fprintf(script, "$d%zu << EOD\n", number);
    for (size_t g = 0; g < picture->group_count; g++) {
        const json_t *figure = figure_of(picture, &picture->plot->groups[g], picture->programs[number]);
        double median = results_number(figure, "median"), x = place_of(picture, g);

        if (!isfinite(median) || (picture->plot->log_y && median <= 0))
            continue;
        if (!picture->lines)
            x += ((double)number - (double)(picture->program_count - 1) / 2) * width;
        results_print(label, sizeof(label), median);
        fprintf(script, "%.9g %.9g %.9g %.9g \"%s\"\n", x, median, results_number(figure, "least"),
                results_number(figure, "most"), label);
    }
    fputs("EOD\n", script);
}

static void write_plot(FILE *script, const struct picture *picture)
{
    double width = 0.8 / (double)picture->program_count;

    fprintf(script, "set boxwidth %g\nplot ", width * 0.92);
    for (size_t p = 0; p < picture->program_count; p++) {
        const char *colour = colour_of(picture->programs[p], p), *comma = p > 0 ? ", " : "";

        if (picture->lines)
            fprintf(script, "%s$d%zu using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc rgb '%s' title \"%s\", "
                            "$d%zu using 1:3:(0):($4-$3) with vectors nohead lw 1 lc rgb '%s' notitle",
                    comma, p, colour, picture->programs[p], p, colour);
        else
            fprintf(script, "%s$d%zu using 1:2 with boxes lc rgb '%s' title \"%s\", "
                            "$d%zu using 1:3:(0):($4-$3) with vectors nohead lw 1.5 lc rgb '#808080' notitle",
                    comma, p, colour, picture->programs[p], p);
        if (!picture->lines && picture->used_count * picture->program_count <= LABELS_MAX)
            fprintf(script, ", $d%zu using 1:4:5 with labels offset 0,0.6 font ',10' tc rgb '#808080' notitle", p);
    }
    fputc('\n', script);
}

/* ---- Drawing ----------------------------------------------------------------------------- */

/* Only the element: HTML has no use for a prologue. */
static char *take_element(const char *svg)
{
    const char *begin = strstr(svg, "<svg"), *end = begin != NULL ? strstr(begin, "</svg>") : NULL;

    return end != NULL ? strndup(begin, (size_t)(end - begin) + strlen("</svg>")) : NULL;
}

static char *run_gnuplot(const char *path)
{
    char command[256], *svg = malloc(PLOTS_SVG_BYTES_MAX), *element = NULL;
    FILE *output;
    size_t length;

    snprintf(command, sizeof(command), "gnuplot '%s' 2>/dev/null", path);
    output = svg != NULL ? popen(command, "re") : NULL;
    if (output != NULL) {
        length = fread(svg, 1, PLOTS_SVG_BYTES_MAX - 1, output);
        svg[length] = '\0';
        if (pclose(output) == 0)
            element = take_element(svg);
    }
    free(svg);
    return element;
}

static void write_script(FILE *script, const struct picture *picture, bool paper)
{
    write_head(script, picture, paper);
    write_axis(script, picture);
    for (size_t p = 0; p < picture->program_count; p++)
        write_data(script, picture, p);
    write_plot(script, picture);
}

char *plots_draw(const json_t *results, size_t index, bool paper)
{
    struct picture picture = {.plot = &plots[index], .results = results};
    char path[] = "/tmp/chorus-bench.XXXXXX", *svg = NULL;
    FILE *script;
    int fd;

    while (picture.group_count < GROUPS_MAX && plots[index].groups[picture.group_count].row != NULL)
        picture.group_count++;
    find_programs(&picture);
    for (size_t g = 0; g < picture.group_count; g++)
        picture.used_count += picture.used[g];
    picture.lines = plots[index].shape == LINES && picture.used_count > 1;
    if (picture.program_count == 0)
        return NULL;
    fd = mkstemp(path);
    script = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (script == NULL)
        return NULL;
    write_script(script, &picture, paper);
    if (fclose(script) == 0)
        svg = run_gnuplot(path);
    unlink(path);
    return svg;
}
