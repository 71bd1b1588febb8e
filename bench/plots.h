#ifndef BENCH_PLOTS_H
#define BENCH_PLOTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Pictures of results, drawn by gnuplot as SVG. */

enum plots_limits {
    PLOTS_SVG_BYTES_MAX = 1 << 20,
};

/* Whether gnuplot is here. */
bool plots_available(void);
size_t plots_count(void);
const char *plots_name(size_t index);  /* "memory": of a file */
const char *plots_title(size_t index);
/* The SVG element of plot number `index`, the caller's; NULL when the results have
 * nothing for it.  `paper`: on white, to stand alone; else it has no background
 * and takes the colours of the text around it. */
char *plots_draw(const json_t *results, size_t index, bool paper);

#endif
