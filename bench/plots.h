#ifndef BENCH_PLOTS_H
#define BENCH_PLOTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Pictures of results, drawn by gnuplot as SVG. */

enum plots_limits {
    PLOTS_GROUPS_MAX = 6,
    PLOTS_PROGRAMS_MAX = 16,
    PLOTS_SVG_BYTES_MAX = 1 << 20,
};

enum plots_shape { PLOTS_BARS, PLOTS_LINES };

/* A place on the x axis: one figure of one row. */
struct plots_group {
    const char *label, *row, *figure;
    double x; /* of lines over numbers; 0: places side by side */
};

struct plots_plot {
    const char *name;   /* of a file, too */
    const char *title, *unit, *axis;
    enum plots_shape shape;
    bool log_y, less;   /* less is better */
    struct plots_group groups[PLOTS_GROUPS_MAX];
};

size_t plots_all(const struct plots_plot **plots);
/* NULL when there is none of that name. */
const struct plots_plot *plots_find(const char *name);

/* Whether gnuplot is here. */
bool plots_available(void);
/* The SVG element, the caller's; NULL when the results have nothing for it.
 * `paper`: with its title, on white, to stand alone; else it has no background
 * and is readable on light and dark. */
char *plots_draw(const json_t *results, const struct plots_plot *plot, bool paper);

#endif
