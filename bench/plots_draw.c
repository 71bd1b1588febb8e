#include "plots.h"

#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WIDTH_PX = 580, HEIGHT_PX = 320, TITLE_PX = 30, /* more on paper */
    LEGEND_PX = 20,         /* a row of it */
    LETTER_PX = 7,          /* of the legend, about */
    LABELS_MAX = 10,        /* bars that are all labelled; of more, ours only */
    REFERENCES_MAX = 3,
    LINEAR_MAX = 20,        /* the most over the least that one linear axis shows */
};

/* Ours has the one strong colour.  All are readable on white and on black. */
static const struct {
    const char *program, *colour, *title;
    int point;
} looks[] = {
    {"ours", "#4263eb", "chorus-p2p", 7}, {"go", "#6d8ea8", "go", 5},          {"rust", "#bd8a6b", "rust", 9},
    {"js", "#a59a50", "js", 13},          {"raw", "#9aa0a8", "plain TCP", 0},
    {"raw-aead", "#7c828b", "TCP + cipher", 0}, {"crypto", "#7c828b", "crypto alone", 0},
};
static const char *const other_colours[] = {"#8e7fa6", "#7aa38b", "#a67f8e", "#8a8a8a"};

struct picture {
    const struct plots_plot *plot;
    const json_t *results;
    const char *programs[PLOTS_PROGRAMS_MAX];
    size_t program_count;
    const char *references[REFERENCES_MAX];
    size_t reference_count;
    bool group_shown[PLOTS_GROUPS_MAX]; /* something is known of it */
    size_t group_count, shown_count;
    double least, most;
    double cut_at;    /* the end of a linear axis that cuts bars; 0: none is cut */
    int legend_rows;
    bool lines, log_y, paper;
    FILE *script;
};

bool plots_available(void)
{
    return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

#define GNUPLOT_TITLE "<title>Gnuplot</title>" /* what gnuplot calls each picture */

/* ---- What there is -------------------------------------------------------------------- */

static const json_t *figure_of(const struct picture *picture, size_t group, const char *program)
{
    const struct plots_group *place = &picture->plot->groups[group];
    const json_t *series = results_find_own_series(results_find_row(picture->results, place->row), program);

    /* Nobody sees from a bar that it stands on fewer runs. */
    if (results_is_partial(picture->results, place->row, series))
        return NULL;
    /* The crypto of one side is all that it measures. */
    return results_find_figure(series, strcmp(program, "crypto") == 0 ? "cpu" : place->figure);
}

static bool is_drawable(const struct picture *picture, double value)
{
    return isfinite(value) && (value > 0 || !picture->log_y);
}

static bool add_program(struct picture *picture, const char *program, const char **list, size_t *count, size_t capacity)
{
    bool found = false;

    for (size_t g = 0; g < picture->group_count; g++) {
        const json_t *figure = figure_of(picture, g, program);

        if (!is_drawable(picture, results_number(figure, "median")) || *count == capacity)
            continue;
        picture->group_shown[g] = true;
        picture->least = fmin(picture->least, results_number(figure, "least"));
        picture->most = fmax(picture->most, results_number(figure, "most"));
        found = true;
    }
    if (found)
        list[(*count)++] = program;
    return found;
}

static void find_programs(struct picture *picture)
{
    static const char *const references[] = {"raw", "raw-aead", "crypto"};
    json_t *sides = json_object_get(picture->results, "sides"), *side;
    bool bulk = strncmp(picture->plot->name, "bulk", 4) == 0;
    const char *name;

    (void)add_program(picture, "ours", picture->programs, &picture->program_count, PLOTS_PROGRAMS_MAX);
    json_object_foreach (sides, name, side) {
        if (!plan_own_name(name))
            (void)add_program(picture, name, picture->programs, &picture->program_count, PLOTS_PROGRAMS_MAX);
    }
    /* Bulk without a cipher would dwarf all others; the crypto has no connects. */
    for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++) {
        if ((i == 0 && bulk) || (i == 2 && strcmp(picture->plot->name, "connect-cpu") != 0))
            continue;
        (void)add_program(picture, references[i], picture->references, &picture->reference_count, REFERENCES_MAX);
    }
}

static const char *colour_of(const char *program)
{
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        if (strcmp(looks[i].program, program) == 0)
            return looks[i].colour;
    }
    for (const char *c = program; *c != '\0'; c++)
        sum += (unsigned char)*c;
    return other_colours[sum % (sizeof(other_colours) / sizeof(other_colours[0]))];
}

static const char *title_of(const char *program)
{
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        if (strcmp(looks[i].program, program) == 0)
            return looks[i].title;
    }
    return program;
}

static int point_of(const char *program)
{
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        if (strcmp(looks[i].program, program) == 0)
            return looks[i].point;
    }
    return 11;
}

/* A string as gnuplot reads it: in single quotes it substitutes nothing, while in
 * double quotes it would have a shell run what is between backquotes. */
static void quote(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputc('\'', script);
        fputc(*text == '\n' ? ' ' : *text, script);
    }
    fputc('\'', script);
}

/* ---- Around the data ------------------------------------------------------------------- */

static int height_of(const struct picture *picture)
{
    return HEIGHT_PX + (picture->paper ? TITLE_PX : 0) + LEGEND_PX * (picture->legend_rows - 1);
}

static double screen_y(const struct picture *picture, int from_top_px)
{
    return 1 - (double)from_top_px / height_of(picture);
}

/* The most of a program's figures that are no outliers. */
static double most_of(const struct picture *picture, const char *program)
{
    double most = 0;

    for (size_t g = 0; g < picture->group_count; g++) {
        const json_t *figure = figure_of(picture, g, program);

        if (results_number(figure, "median") <= picture->least * LINEAR_MAX)
            most = fmax(most, fmin(results_number(figure, "most"), picture->least * LINEAR_MAX));
    }
    return most;
}

/* What of less is better shows who has least: on a linear axis, one that takes far
 * more than others would make them all alike.  Lines get a logarithmic axis; a bar
 * says how much by its length from 0, and is cut. */
static void choose_scale(struct picture *picture)
{
    picture->log_y = picture->log_y && picture->lines;
    if (!(picture->least > 0) || !picture->plot->less || picture->most / picture->least <= LINEAR_MAX)
        return;
    picture->log_y = picture->lines;
    for (size_t p = 0; p < picture->program_count && !picture->lines; p++)
        picture->cut_at = fmax(picture->cut_at, most_of(picture, picture->programs[p]));
    for (size_t r = 0; r < picture->reference_count && !picture->lines; r++)
        picture->cut_at = fmax(picture->cut_at, most_of(picture, picture->references[r]));
}

/* Dashes tell raw from sealed, whatever the colours. */
static int dashes_of(const char *reference)
{
    return strcmp(reference, "raw") == 0 ? 3 : 2;
}

static int legend_width(const char *program)
{
    return 25 + LETTER_PX * (int)strlen(title_of(program)) + 14;
}

/* A sample and a name, `x` pixels from the left. */
static void legend_entry(const struct picture *picture, const char *program, int x, int row, bool reference)
{
    double y = screen_y(picture, 24 + (picture->paper ? TITLE_PX : 0) + LEGEND_PX * row), sample = x / (double)WIDTH_PX;

    if (reference)
        fprintf(picture->script, "set arrow from screen %.4f,%.4f to screen %.4f,%.4f nohead lw 2 dt %d lc rgb '%s'\n",
                sample, y, sample + 20.0 / WIDTH_PX, y, dashes_of(program), colour_of(program));
    else if (picture->lines)
        fprintf(picture->script, "set label '' at screen %.4f,%.4f point pt %d ps 1 lc rgb '%s'\n",
                sample + 10.0 / WIDTH_PX, y, point_of(program), colour_of(program));
    else
        fprintf(picture->script, "set object rectangle center screen %.4f,%.4f size screen %.4f,%.4f fc rgb '%s' "
                "fs solid noborder\n", sample + 12.0 / WIDTH_PX, y, 12.0 / WIDTH_PX, 12.0 / height_of(picture),
                colour_of(program));
    fputs("set label ", picture->script);
    quote(picture->script, title_of(program));
    fprintf(picture->script, " at screen %.4f,%.4f left font ',12' tc rgb '#404040'\n", sample + 25.0 / WIDTH_PX, y);
}

/* Returns how many rows it takes; `drawn`: and writes it. */
static int legend(const struct picture *picture, bool drawn)
{
    size_t count = picture->program_count + picture->reference_count;
    int x = 8, row = 0;

    for (size_t i = 0; i < count; i++) {
        bool reference = i >= picture->program_count;
        const char *program = reference ? picture->references[i - picture->program_count] : picture->programs[i];

        if (x > 8 && x + legend_width(program) > WIDTH_PX) {
            x = 8;
            row++;
        }
        if (drawn)
            legend_entry(picture, program, x, row, reference);
        x += legend_width(program);
    }
    return row + 1;
}

/* Above the picture: what it shows, and in what. */
static void write_title(const struct picture *picture)
{
    const struct plots_plot *plot = picture->plot;
    double y = screen_y(picture, 22);
    char unit[128];

    snprintf(unit, sizeof(unit), "%s, %s is better", plot->unit, plot->less ? "less" : "more");
    fputs("set label ", picture->script);
    quote(picture->script, plot->title);
    fprintf(picture->script, " at screen %.4f,%.4f left font ',16' tc rgb '#202020'\nset label ", 8.0 / WIDTH_PX, y);
    quote(picture->script, unit);
    fprintf(picture->script, " at screen 0.965,%.4f right font ',12' tc rgb '#606060'\n", y);
}

static void write_head(const struct picture *picture)
{
    const struct plots_plot *plot = picture->plot;
    FILE *script = picture->script;

    fprintf(script, "set terminal svg size %d,%d %s noenhanced standalone font 'system-ui,sans-serif,12'%s\n",
            WIDTH_PX, height_of(picture), picture->paper ? "fixed" : "dynamic",
            picture->paper ? " background '#ffffff'" : "");
    fputs("set encoding utf8\nunset key\nset border 1 lc rgb '#909090'\n"
          "set grid y lc rgb '#909090' lt 1 lw 0.5 dt (2,4)\nset tics nomirror scale 0 textcolor rgb '#606060'\n"
          "set style fill solid 1 noborder\n", script);
    fprintf(script, "set lmargin at screen 0.105\nset rmargin at screen 0.965\nset tmargin at screen %.4f\n"
                    "set bmargin at screen %.4f\n",
            screen_y(picture, 30 + (picture->paper ? TITLE_PX : 0) + LEGEND_PX * picture->legend_rows),
            (*plot->axis != '\0' ? 46.0 : 30.0) / height_of(picture));
    if (picture->paper)
        write_title(picture);
    if (*plot->axis != '\0') {
        fputs("set xlabel ", script);
        quote(script, plot->axis);
        fputs(" offset 0,0.4 tc rgb '#606060'\n", script);
    }
    (void)legend(picture, true);
}

/* Of a logarithmic axis: to the decades around, so that each has a number. */
static void write_range(const struct picture *picture)
{
    double from = 0, to = picture->most > 0 ? picture->most * 1.08 : 1;

    if (picture->cut_at > 0)
        to = picture->cut_at * 1.08;
    if (picture->log_y) {
        from = pow(10, floor(log10(fmax(picture->least, picture->most / 1e7))));
        to = pow(10, ceil(log10(picture->most)));
        fputs("set logscale y\n", picture->script);
    }
    fprintf(picture->script, "set yrange [%.9g:%.9g]\nset format y '%s'\n", from, to,
            to >= 10000 && (from == 0 || from >= 1) ? "%.0s %c" : "%.9g");
}

static double place_of(const struct picture *picture, size_t group)
{
    size_t before = 0;

    if (picture->lines && picture->plot->groups[group].x > 0)
        return picture->plot->groups[group].x;
    for (size_t g = 0; g < group; g++)
        before += picture->group_shown[g];
    return (double)before;
}

static void write_axis(const struct picture *picture)
{
    bool numbers = picture->lines && picture->plot->groups[0].x > 0;
    double first = INFINITY, last = 0;
    const char *comma = "";

    fputs("set xtics (", picture->script);
    for (size_t g = 0; g < picture->group_count; g++) {
        if (!picture->group_shown[g])
            continue;
        fputs(comma, picture->script);
        quote(picture->script, picture->plot->groups[g].label);
        fprintf(picture->script, " %g", place_of(picture, g));
        first = fmin(first, place_of(picture, g));
        last = place_of(picture, g);
        comma = ", ";
    }
    fputs(")\n", picture->script);
    if (numbers)
        fprintf(picture->script, "set logscale x\nset xrange [%g:%g]\n", first * 0.75, last * 1.35);
    else
        fprintf(picture->script, "set xrange [%g:%g]\n", picture->lines ? -0.15 : -0.5,
                (double)picture->shown_count - (picture->lines ? 0.85 : 0.5));
}

/* ---- The data ---------------------------------------------------------------------------- */

static double bar_width(const struct picture *picture)
{
    return 0.84 / (double)(picture->program_count > 0 ? picture->program_count : 1);
}

/* What stands on a bar: of many only on ours, and on one that is cut, to say how
 * far it goes. */
static void bar_label(const struct picture *picture, char *out, size_t size, const char *program, double median)
{
    bool cut = picture->cut_at > 0 && median > picture->cut_at;
    const char *mark = cut ? "↑" : "";
    size_t length = strlen(mark);

    *out = '\0';
    if (!cut && strcmp(program, "ours") != 0 && picture->shown_count * picture->program_count > LABELS_MAX)
        return;
    snprintf(out, size, "%s", mark);
    results_print(out + length, size - length, median);
}

/* Lines of x, median, least, most, and what stands there; those of a reference
 * beside bars are as wide as a group. */
static void write_data(const struct picture *picture, const char *program, char kind, size_t number)
{
    bool bars = !picture->lines && kind == 'd';
    char label[32];

    fprintf(picture->script, "$%c%zu << EOD\n", kind, number);
    for (size_t g = 0; g < picture->group_count; g++) {
        const json_t *figure = figure_of(picture, g, program);
        double median = results_number(figure, "median"), x = place_of(picture, g);
        double highest = picture->cut_at > 0 ? picture->cut_at : INFINITY;

        if (!is_drawable(picture, median))
            continue;
        if (bars)
            x += ((double)number - (double)(picture->program_count - 1) / 2) * bar_width(picture);
        bar_label(picture, label, sizeof(label), program, median);
        fprintf(picture->script, "%.9g %.9g %.9g %.9g \"%s\"\n", x, median,
                fmin(fmax(results_number(figure, "least"), picture->log_y ? median / 1e6 : 0), highest),
                fmin(results_number(figure, "most"), highest), label);
    }
    fputs("EOD\n", picture->script);
}

static void plot_program(const struct picture *picture, size_t number)
{
    const char *program = picture->programs[number], *colour = colour_of(program);
    bool ours = strcmp(program, "ours") == 0;
    FILE *script = picture->script;

    if (picture->lines) {
        fprintf(script, ", $d%zu using 1:2 with linespoints lw %s pt %d ps %s lc rgb '%s'", number, ours ? "3" : "1.8",
                point_of(program), ours ? "0.9" : "0.7", colour);
        fprintf(script, ", $d%zu using 1:3:(0):($4-$3) with vectors nohead lw 1 lc rgb '%s'", number, colour);
        return;
    }
    fprintf(script, ", $d%zu using 1:2:(%g) with boxes lc rgb '%s'", number, bar_width(picture) * 0.9, colour);
    fprintf(script, ", $d%zu using 1:3:(0):($4-$3) with vectors nohead lw 1.5 lc rgb '#808080'", number);
    fprintf(script, ", $d%zu using 1:4:5 with labels offset 0,0.6 font ',10' tc rgb '#404040'", number);
}

static void write_plot(const struct picture *picture)
{
    FILE *script = picture->script;

    fputs("plot NaN", script);
    for (size_t p = picture->program_count; p-- > 0;) /* ours on top */
        plot_program(picture, p);
    for (size_t r = 0; r < picture->reference_count; r++) {
        const char *program = picture->references[r];

        fprintf(script, ", $r%zu using %s lw 2 dt %d lc rgb '%s'", r,
                picture->lines ? "1:2 with lines" : "($1-0.46):2:(0.92):(0) with vectors nohead", dashes_of(program),
                colour_of(program));
    }
    fputc('\n', script);
}

static void write_script(const struct picture *picture)
{
    write_head(picture);
    write_range(picture);
    write_axis(picture);
    for (size_t p = 0; p < picture->program_count; p++)
        write_data(picture, picture->programs[p], 'd', p);
    for (size_t r = 0; r < picture->reference_count; r++)
        write_data(picture, picture->references[r], 'r', r);
    write_plot(picture);
}

/* ---- Drawing ----------------------------------------------------------------------------- */

/* Where an identifier begins in an attribute that has or means one. */
static size_t identifier_at(const char *text)
{
    static const char *const before[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};

    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        if (strncmp(text, before[i], strlen(before[i])) == 0)
            return strlen(before[i]);
    }
    return 0;
}

/* Only the element: HTML has no use for a prologue.  Its identifiers get a prefix,
 * as a page holds many of them, and it gets its own title. */
static char *take_element(const char *svg, const struct plots_plot *plot)
{
    const char *begin = strstr(svg, "<svg"), *end = begin != NULL ? strstr(begin, "</svg>") : NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *out = end != NULL ? open_memstream(&text, &size) : NULL;

    if (out == NULL)
        return NULL;
    end += strlen("</svg>");
    while (begin < end) {
        size_t length = identifier_at(begin), title_length = strlen(GNUPLOT_TITLE);

        if (length > 0) {
            fprintf(out, "%.*s%s-", (int)length, begin, plot->name);
            begin += length;
        } else if (strncmp(begin, GNUPLOT_TITLE, title_length) == 0) {
            fprintf(out, "<title>%s</title>", plot->title);
            begin += title_length;
        } else {
            fputc(*begin++, out);
        }
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static char *run_gnuplot(const char *path, const struct plots_plot *plot)
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
            element = take_element(svg, plot);
    }
    free(svg);
    return element;
}

char *plots_draw(const json_t *results, const struct plots_plot *plot, bool paper)
{
    struct picture picture = {.plot = plot, .results = results, .paper = paper, .log_y = plot->log_y,
                              .least = INFINITY};
    char path[] = "/tmp/chorus-bench.XXXXXX", *svg = NULL;
    int fd;

    while (picture.group_count < PLOTS_GROUPS_MAX && plot->groups[picture.group_count].row != NULL)
        picture.group_count++;
    find_programs(&picture);
    for (size_t g = 0; g < picture.group_count; g++)
        picture.shown_count += picture.group_shown[g];
    picture.lines = plot->shape == PLOTS_LINES && picture.shown_count > 1;
    if (picture.program_count == 0)
        return NULL;
    choose_scale(&picture);
    picture.legend_rows = legend(&picture, false);
    fd = mkstemp(path);
    picture.script = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (picture.script == NULL)
        return NULL;
    write_script(&picture);
    if (fclose(picture.script) == 0)
        svg = run_gnuplot(path, plot);
    unlink(path);
    return svg;
}
