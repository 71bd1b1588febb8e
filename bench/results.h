#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include "plan.h"
#include "runner.h"

#include <jansson.h>
#include <stdbool.h>

/* The file of results: its form is in bench/README.md. */

#define RESULTS_SCHEMA "chorus-bench/1"

struct results_text {
    char text[512];
};

/* ---- Making ------------------------------------------------------------------------- */

/* Empty results of these settings on this machine, both given away. */
json_t *results_new(json_t *settings, json_t *machine);
/* The row's or the series' object, made where it is missing; borrowed. */
json_t *results_row(json_t *results, const struct plan_row *row);
json_t *results_series(json_t *row, const struct plan_series *series);
/* Adds one run to a series: samples, or why there are none. */
void results_add(json_t *series, const struct plan_row *row, const struct runner_result *result);
/* Adds figures without a run: what an extra one has counted. */
void results_add_figures(json_t *series, const struct plan_row *row, const struct runner_result *result);
/* What a program says of itself, once. */
void results_add_side(json_t *results, const char *name, const char *command, const json_t *about);
void results_skip(json_t *results, const char *name, const char *reason);
/* Writes it whole or not at all.  False with the reason. */
bool results_save(const json_t *results, const char *path, struct results_text *error);

/* ---- Reading ------------------------------------------------------------------------ */

/* NULL with the reason, which names file and place.  What it returns keeps the
 * form: the other calls may trust it. */
json_t *results_load(const char *path, struct results_text *error);
bool results_check(const json_t *results, struct results_text *error);

/* Borrowed, or NULL. */
const json_t *results_find_row(const json_t *results, const char *row);
const json_t *results_find_series(const json_t *row, const char *dialler, const char *listener);
/* A program with its own kind or, in rows where ours holds each peer, with ours. */
const json_t *results_find_own_series(const json_t *row, const char *program);
const json_t *results_find_figure(const json_t *series, const char *figure);
/* Whether this series of a row has fewer runs than it was to have. */
bool results_is_partial(const json_t *results, const char *row, const json_t *series);
/* Samples of a figure: how many.  0 when `figure` is NULL. */
size_t results_samples(const json_t *figure, double out[], size_t capacity);
/* NAN when there is none. */
double results_median(const json_t *results, const char *row, const char *dialler, const char *listener,
                      const char *figure);
const char *results_string(const json_t *object, const char *key); /* "" when it has none */
double results_number(const json_t *object, const char *key);      /* NAN when it has none */

/* ---- Figures ------------------------------------------------------------------------ */

enum results_better { RESULTS_NEITHER, RESULTS_MORE, RESULTS_LESS };

/* What a figure of a row's work is called, counted in, and should be. */
struct results_kind {
    const char *title, *unit;
    enum results_better better;
};

struct results_kind results_kind_of(enum plan_work work, const char *figure);
/* A number as people read it, "1,512", "0.041"; NAN is a dash. */
void results_print(char *out, size_t size, double value);

#endif
