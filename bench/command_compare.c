#include "command.h"

#include "compare.h"
#include "plots.h"
#include "progress.h"
#include "report.h"
#include "targets.h"

#include <stdbool.h>
#include <string.h>

/* Commands that read results: `compare`, `check`, `report`. */

enum { PLOT_NAMES_MAX = 32 };

struct parsing {
    const char *files[2];
    unsigned file_count, wanted;
    struct compare_options compare;
    double factor;
    const char *folder, *plots;
    const char *names[PLOT_NAMES_MAX]; /* of pictures */
    size_t name_count;
};

static error_t take_file(struct parsing *parsing, char *argument, struct argp_state *state)
{
    if (parsing->file_count == parsing->wanted)
        argp_error(state, "'%s' is one argument too many", argument);
    parsing->files[parsing->file_count++] = argument;
    return 0;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;

    switch (key) {
    case 'm':
        parsing->compare.margin = command_number(state, "margin", argument, 0, 1000) / 100;
        break;
    case 'r':
        parsing->compare.relative = true;
        break;
    case 'P':
        parsing->compare.program = argument;
        break;
    case 'f':
        parsing->factor = command_number(state, "factor", argument, 1, 1000);
        break;
    case 'o':
        parsing->folder = argument;
        break;
    case 'p':
        parsing->plots = argument;
        break;
    case 'n':
        if (plots_find(argument) == NULL)
            argp_error(state, "--plot: there is no picture '%s'", argument);
        if (parsing->name_count == PLOT_NAMES_MAX)
            argp_error(state, "--plot: at most %d", PLOT_NAMES_MAX);
        parsing->names[parsing->name_count++] = argument;
        break;
    case ARGP_KEY_ARG:
        return take_file(parsing, argument, state);
    case ARGP_KEY_END:
        if (parsing->file_count < parsing->wanted)
            argp_error(state, "needs %s of results", parsing->wanted == 2 ? "two files" : "a file");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static json_t *load(const char *path)
{
    struct results_text error;
    json_t *results = results_load(path, &error);

    if (results == NULL)
        fprintf(stderr, "chorus-bench: %s\n", error.text);
    return results;
}

int command_compare(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"margin", 'm', "PERCENT", 0, "how much worse is no regression (default 5)", 0},
        {"program", 'P', "NAME", 0, "only the pairs with this one, as `ours` (default: all)", 0},
        {"relative", 'r', NULL, 0, "compare ratios to the references of each run, as of two machines", 0},
        {0},
    };
    static const struct argp argp = {options, parse, "A.json B.json",
                                     "Ratios of B's figures to A's, with 95 % intervals.\v"
                                     "Exit status: 0 no regression; 1 a figure is worse by more than the margin, and "
                                     "its interval says so (one of a single run has none: by more than five margins), "
                                     "or a pair that ran in A failed in B; 2 wrong usage or input, or nothing in "
                                     "common.", NULL, NULL, NULL};
    struct parsing parsing = {.wanted = 2, .compare = {.margin = 0.05}};
    struct compare_outcome outcome;
    json_t *results[2];

    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return COMMAND_USAGE;
    results[0] = load(parsing.files[0]);
    results[1] = results[0] != NULL ? load(parsing.files[1]) : NULL;
    if (results[1] == NULL) {
        json_decref(results[0]);
        return COMMAND_USAGE;
    }
    outcome = compare_print(stdout, results[0], results[1], &parsing.compare);
    json_decref(results[0]);
    json_decref(results[1]);
    if (outcome.worse > 0 || outcome.failed > 0)
        return COMMAND_FAILED;
    if (outcome.compared == 0)
        fprintf(stderr, "chorus-bench: %s and %s have no figure in common%s: measure the same rows\n",
                parsing.files[0], parsing.files[1], parsing.compare.relative ? " with a reference" : "");
    return outcome.compared > 0 ? COMMAND_DONE : COMMAND_USAGE;
}

static void print_checked(const json_t *results, double factor, bool holds)
{
    const json_t *target;
    size_t index, checked = 0;

    json_array_foreach (json_object_get(results, "targets"), index, target)
        checked += json_is_true(json_object_get(target, "checked"));
    if (checked == 0)
        printf("none of %zu targets was measured\n", targets_count());
    else
        printf("%zu of %zu targets were measured, %s within a factor of %g of what is usual\n", checked,
               targets_count(), holds ? "all" : "not all", factor);
}

/* A target of which ours has no figure is no target met.  False: there may be such. */
static bool print_missing(const json_t *results)
{
    const json_t *missing;
    bool all = true;
    size_t index, fewer = 0;

    json_array_foreach (json_object_get(results, "missing"), index, missing) {
        const char *row = results_string(missing, "row"), *dialler = results_string(missing, "dialler"),
                   *listener = results_string(missing, "listener");
        const json_t *series = results_find_series(results_find_row(results, row), dialler, listener);

        if (json_object_size(json_object_get(series, "figures")) > 0) {
            fewer++;
            continue;
        }
        printf("not measured: %s, %s -> %s: %s\n", row, dialler, listener, results_string(missing, "reason"));
        if (strncmp(dialler, "ours", 4) == 0 || strncmp(listener, "ours", 4) == 0)
            all = false;
    }
    if (fewer > 0)
        printf("%zu pairs have fewer runs than were asked for\n", fewer);
    return all;
}

int command_check(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"factor", 'f', "F", 0, "how far targets may be missed (default 2)", 0},
        {0},
    };
    static const struct argp argp = {options, parse, "RESULTS.json",
                                     "Checks the form of results, and that no target is missed by far.\v"
                                     "Exit status: 0 none is; 1 one is, or a pair with ours was not measured; "
                                     "2 wrong usage or input.", NULL, NULL, NULL};
    struct parsing parsing = {.wanted = 1, .factor = 2};
    struct targets_text error;
    json_t *results;
    bool holds, measured;

    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return COMMAND_USAGE;
    results = load(parsing.files[0]);
    if (results == NULL)
        return COMMAND_USAGE;
    holds = targets_hold(results, parsing.factor, &error);
    print_checked(results, parsing.factor, holds);
    if (!holds)
        printf("%s\n", error.text);
    measured = print_missing(results);
    json_decref(results);
    return holds && measured ? COMMAND_DONE : COMMAND_FAILED;
}

int command_report(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"out", 'o', "DIR", 0, "where it goes (default: here); made where it is not there", 0},
        {"plots", 'p', "DIR", 0, "where its pictures go, as files of SVG; without --out nothing else is written", 0},
        {"plot", 'n', "NAME", 0, "with --plots, only this one; repeatable", 0},
        {0},
    };
    static const struct argp argp = {options, parse, "RESULTS.json", "Writes the report of results once more.", NULL,
                                     NULL, NULL};
    struct parsing parsing = {.wanted = 1};
    json_t *results;
    bool written = true;

    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return COMMAND_USAGE;
    results = load(parsing.files[0]);
    if (results == NULL)
        return COMMAND_USAGE;
    if ((parsing.folder != NULL && !command_folder(parsing.folder)) ||
        (parsing.plots != NULL && !command_folder(parsing.plots))) {
        json_decref(results);
        return COMMAND_FAILED;
    }
    targets_evaluate(results);
    if (parsing.folder != NULL || parsing.plots == NULL)
        written = report_write(results, parsing.folder != NULL ? parsing.folder : ".");
    if (parsing.plots != NULL)
        written = report_write_plots(results, parsing.plots, parsing.names, parsing.name_count) && written;
    json_decref(results);
    return written ? COMMAND_DONE : COMMAND_FAILED;
}
