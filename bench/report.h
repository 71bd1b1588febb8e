#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* What people read of results.  Both forms are made of the same tables. */

enum report_limits {
    REPORT_COLUMNS_MAX = 12,
    REPORT_CELL_BYTES = 160,
    REPORT_LINES_MAX = 64,
};

struct report_table {
    char title[160];
    size_t columns, lines;
    char head[REPORT_COLUMNS_MAX][REPORT_CELL_BYTES];
    char cells[REPORT_LINES_MAX][REPORT_COLUMNS_MAX][REPORT_CELL_BYTES];
    char note[REPORT_LINES_MAX][1024]; /* of a line; "" */
    bool good[REPORT_LINES_MAX], bad[REPORT_LINES_MAX]; /* of a line: to be coloured */
};

/* Writes report.md and report.html into a folder.  False with a message. */
bool report_write(const json_t *results, const char *folder);

/* Writes pictures, each into a file of its own, on white: those that are named, or
 * all.  False with a message, also when a named one has nothing to show. */
bool report_write_plots(const json_t *results, const char *folder, const char *const *names, size_t name_count);

/* ---- For the writers ---------------------------------------------------------------- */

void report_targets(struct report_table *out, const json_t *results);
/* A line of one table behind those of another of the same columns. */
void report_copy_line(struct report_table *out, const struct report_table *table, size_t line);
void report_sides(struct report_table *out, const json_t *results);
void report_row(struct report_table *out, const json_t *results, const json_t *row);
/* Of an entry of `profiles`: the shares of both sides, and their functions. */
void report_profile(struct report_table *out, const json_t *profile);
void report_functions(struct report_table *out, const json_t *profile);
/* What stands above all profiles, or why there are none; "" where none is due. */
void report_about_profiles(char *out, size_t size, const json_t *results);
/* "2 cores of AMD EPYC, Linux 6.1, ..." */
void report_machine(char *out, size_t size, const json_t *results);
/* "5 runs of 0.9 s each after 0.25 s of warm-up, ..." */
void report_method(char *out, size_t size, const json_t *results);
/* Calls `line` with each thing that is missing, was skipped, or failed. */
void report_missing(const json_t *results, void (*line)(FILE *file, const char *text), FILE *file);
bool report_is_partial(const json_t *results);
/* "24 of 31 targets are met, 3 were not measured."; "" when none was. */
void report_verdict(char *out, size_t size, const json_t *results);
/* "3 of 812 runs were disturbed by other load, and are marked."; "" when none was. */
void report_disturbed(char *out, size_t size, const json_t *results);

void report_markdown(FILE *file, const json_t *results);
/* An entry of `profiles`. */
void report_markdown_profile(FILE *file, const json_t *profile);
void report_html(FILE *file, const json_t *results);

#endif
