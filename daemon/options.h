#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "program.h"

/* The command line: the commands, and which options are for which. */

enum command_number {
    COMMAND_RUN,
    COMMAND_ID,
    COMMAND_KEY_GENERATE,
    COMMAND_KEY_SHOW,
    COMMAND_KEY_CONVERT,
    COMMAND_PING,
    COMMAND_IDENTIFY,
    COMMAND_PERF,
    COMMAND_ECHO,
    COMMAND_VERSION,
    COMMAND_HELP,
    COMMANDS,
};

struct command {
    const char *name;      /* one word, or "key" and another */
    const char *arguments; /* for the usage line */
    const char *summary;
    const char *help;
    int arguments_min, arguments_max;
    int (*run)(const struct options *options);
};

extern const struct command commands[COMMANDS];

/* The command called `first` or `first second` (may be NULL); NULL when there is
 * none. */
const struct command *command_named(const char *first, const char *second);
/* `word` is the first of commands that have two. */
bool is_first_word(const char *word);

/* What is to be done.  A line that does not hold ends the program with a sentence
 * and EXIT_USAGE. */
const struct command *parse_command_line(struct options *options, int argc, char **argv);

/* The options that `command` takes; NULL: all.  On stdout. */
void print_options(const struct command *command);

#endif
