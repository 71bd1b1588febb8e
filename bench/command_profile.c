#include "command.h"

#include "bench.h"
#include "machine.h"
#include "profile.h"
#include "profiles.h"
#include "programs.h"
#include "report.h"
#include "results.h"

#include <signal.h>
#include <string.h>

/* `profile`: what the CPU goes to in a row, with any program of ours. */

struct parsing {
    const struct plan_row *row;
    const char *program;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;

    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num == 0 && (parsing->row = plan_find(argument)) == NULL)
            argp_error(state, "no row is called '%s'; `chorus-bench rows` shows them", argument);
        if (state->arg_num == 1 && !plan_own_name(argument))
            argp_error(state, "'%s' is no program of ours", argument);
        if (state->arg_num == 1)
            parsing->program = argument;
        if (state->arg_num > 1)
            argp_error(state, "'%s' is one argument too many", argument);
        return 0;
    case ARGP_KEY_END:
        if (parsing->row == NULL)
            argp_error(state, "say which row");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_profile(int argc, char **argv)
{
    static const struct argp argp = {NULL, parse, "ROW [PROGRAM]",
                                     "Has ours (or ours-epoll, raw, ...) do the work of a row, with itself, and "
                                     "samples both sides by perf.\v"
                                     "Exit status: 0 done; 1 nothing was sampled; 2 wrong usage.", NULL, NULL, NULL};
    struct parsing parsing = {.program = "ours"};
    struct machine_place place = {.apart = false};
    const char *obstacle;
    struct side_spec spec = {.cpu = -1};
    json_t *profile;
    bool sampled;

    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return COMMAND_USAGE;
    obstacle = profile_obstacle();
    if (obstacle != NULL) {
        fprintf(stderr, "chorus-bench: no profile: %s\n", obstacle);
        return COMMAND_FAILED;
    }
    signal(SIGPIPE, SIG_IGN); /* a program that has ended is told from its output */
    machine_raise_descriptors();
    machine_enter(&place);
    spec.name = parsing.program;
    spec.command = programs_command(parsing.program, BENCH_SPIN_US);
    profile = profiles_make(parsing.row, &spec, &spec, place.apart);
    sampled = json_is_object(json_object_get(profile, "dialler"));
    if (sampled)
        report_markdown_profile(stdout, profile);
    else
        fprintf(stderr, "chorus-bench: no profile: %s\n", results_string(profile, "reason"));
    json_decref(profile);
    return sampled ? COMMAND_DONE : COMMAND_FAILED;
}
