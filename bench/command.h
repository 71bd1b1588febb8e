#ifndef BENCH_COMMAND_H
#define BENCH_COMMAND_H

#include <argp.h>
#include <stdbool.h>

/* Commands with a command line of their own; the others are in bench.h.  Each
 * gets what followed its name, and returns the exit status. */

enum command_status {
    COMMAND_DONE = 0,
    COMMAND_FAILED = 1,  /* or, of `compare` and `check`: not as good as it should be */
    COMMAND_USAGE = 2,
    COMMAND_PARTIAL = 3, /* there is a report, and it says what is missing */
};

int command_run(int argc, char **argv);
/* `run --quick`. */
int command_quick(int argc, char **argv);
/* `run` of nothing but the references. */
int command_limits(int argc, char **argv);
int command_rows(int argc, char **argv);
/* What the CPU goes to in a row. */
int command_profile(int argc, char **argv);
int command_report(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_check(int argc, char **argv);

/* The libp2p project's perf contracts. */
int command_perf(int argc, char **argv);
/* A reference that keeps the contract of tests/interop/README.md. */
int command_raw(int argc, char **argv);

/* Makes the folder where it is missing.  False, having said why: nothing can be
 * written into it. */
bool command_folder(const char *path);

/* For their parsers: a number in a range, or an error about the option. */
double command_number(struct argp_state *state, const char *option, const char *text, double least, double most);

#endif
