#include "options.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum option_key {
    OPTION_LISTEN = 'l',
    OPTION_DATA_DIR = 'd',
    OPTION_COUNT = 'n',
    OPTION_VERSION = 'V',
    OPTION_HELP = '?',
    OPTION_JSON = 0x100,
    OPTION_ECHO,
    OPTION_PERF,
    OPTION_MAX_CONNECTIONS,
    OPTION_MEMORY,
    OPTION_WORKERS,
    OPTION_NETWORK_ID,
    OPTION_STATUS_INTERVAL,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_TIMEOUT,
    OPTION_UPLOAD,
    OPTION_DOWNLOAD,
    OPTION_BYTES,
    OPTION_TYPE,
    OPTION_BITS,
    OPTION_OUT,
    OPTION_CID,
    OPTION_INSECURE,
    OPTION_USAGE,
};

/* Sets of commands. */
#define ONLY(name) (1u << COMMAND_##name)
#define KEYS (ONLY(KEY_GENERATE) | ONLY(KEY_SHOW) | ONLY(KEY_CONVERT))
#define CLIENTS (ONLY(PING) | ONLY(IDENTIFY) | ONLY(PERF) | ONLY(ECHO))
#define NODES (ONLY(RUN) | CLIENTS)
#define ALL ((1u << COMMANDS) - 1)

static const struct entry {
    const char *name;
    int key;
    const char *argument;
    const char *help;
    unsigned commands;
} list[] = {
    {"listen", OPTION_LISTEN, "MULTIADDR", "listen there; may be given again; port 0 picks a free one", ONLY(RUN)},
    {"data-dir", OPTION_DATA_DIR, "DIR", "where the identity is kept (default: $XDG_DATA_HOME/chorus-p2p)",
     ONLY(RUN) | ONLY(ID)},
    {"max-connections", OPTION_MAX_CONNECTIONS, "N", "a hard cap; 0 is none (default 50)", ONLY(RUN)},
    {"memory", OPTION_MEMORY, "BYTES", "all connections may hold together (default 256Mi)", ONLY(RUN)},
    {"workers", OPTION_WORKERS, "N", "worker threads (default: the CPUs this process may use)", ONLY(RUN)},
    {"echo", OPTION_ECHO, NULL, "serve /echo/1.0.0", ONLY(RUN)},
    {"perf", OPTION_PERF, NULL, "serve /perf/1.0.0", ONLY(RUN)},
    {"status-interval", OPTION_STATUS_INTERVAL, "SECONDS", "of the status line; 0 is none (default 30)", ONLY(RUN)},
    {"count", OPTION_COUNT, "N", "how many pings (default 5)", ONLY(PING)},
    {"upload", OPTION_UPLOAD, "BYTES", "to send (default 100M)", ONLY(PERF)},
    {"download", OPTION_DOWNLOAD, "BYTES", "to receive (default 100M)", ONLY(PERF)},
    {"bytes", OPTION_BYTES, "BYTES", "so many pseudo-random bytes instead of standard input", ONLY(ECHO)},
    {"timeout", OPTION_TIMEOUT, "SECONDS", "give up when the peer does not answer for so long (default 30)", CLIENTS},
    {"network-id", OPTION_NETWORK_ID, "NAME", "announced by identify (default CHORUS-network)", NODES},
    {"insecure-plaintext", OPTION_INSECURE, NULL, "no encryption: for tests on a trusted machine", NODES},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL",
     "error, warn (default of clients), info (default of run), debug, or trace (as debug, for now)", NODES},
    {"log-format", OPTION_LOG_FORMAT, "FORMAT", "text (default) or json", NODES},
    {"type", OPTION_TYPE, "TYPE", "ed25519 (default), rsa, secp256k1 or ecdsa", ONLY(KEY_GENERATE)},
    {"bits", OPTION_BITS, "N", "of an RSA key, 2048 to 8192 (default 2048)", ONLY(KEY_GENERATE)},
    {"out", OPTION_OUT, "FILE", "where the new key goes; an existing file is never overwritten", ONLY(KEY_GENERATE)},
    {"cid", OPTION_CID, NULL, "print the id as a CIDv1", ONLY(ID) | KEYS},
    {"json", OPTION_JSON, NULL, "print one JSON object", ONLY(ID) | KEYS | CLIENTS | ONLY(VERSION)},
    {"help", OPTION_HELP, NULL, "explain a command, or all of this", ALL},
    {"usage", OPTION_USAGE, NULL, NULL, ALL}, /* the same; argp speaks of it */
    {"version", OPTION_VERSION, NULL, "print the version", ALL},
};

enum { OPTIONS = sizeof(list) / sizeof(list[0]) };

_Static_assert((int)OPTIONS <= 32 && (int)COMMANDS <= 32, "a bit for each");

struct parsing {
    struct options *options;
    const struct command *command;
    const char *first_word; /* "key", while the second is to come */
    unsigned given;         /* bits of `list` */
    bool help, version;
};

static void refuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void refuse(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vcomplain(format, arguments);
    va_end(arguments);
    exit(EXIT_USAGE);
}

/* ---- values --------------------------------------------------------------- */

static int choice(const char *option, const char *argument, const char *const *names)
{
    char all[64] = "";

    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(argument, names[i]) == 0)
            return i;
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " or ",
                 names[i]);
    }
    refuse("--%s: '%s' is not one of its values; use %s", option, argument, all);
}

static uint64_t number(const char *option, const char *argument, uint64_t min, uint64_t max)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } suffixes[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000},
                    {"Ki", 1024}, {"Mi", 1048576}, {"Gi", 1073741824}};
    bool digit = *argument >= '0' && *argument <= '9';
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(argument, &end, 10);
    for (size_t i = 0; digit && errno == 0 && i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(end, suffixes[i].name) == 0 && value <= max / suffixes[i].factor &&
            value * suffixes[i].factor >= min)
            return value * suffixes[i].factor;
    }
    refuse("--%s: '%s' is not a number from %llu to %llu%s", option, argument, (unsigned long long)min,
           (unsigned long long)max,
           max < 100000 ? "" : "; it may end in k, M or G (powers of 1000), or Ki, Mi or Gi (of 1024)");
}

static long milliseconds(const char *option, const char *argument, long ms_min)
{
    bool plain = argument[strspn(argument, "0123456789.")] == '\0';
    char *end;
    double seconds = strtod(argument, &end);

    if (plain && end != argument && *end == '\0' && seconds <= SECONDS_MAX && seconds * 1000 + 0.5 >= (double)ms_min)
        return (long)(seconds * 1000 + 0.5);
    refuse("--%s: '%s' is not a number of seconds from %s to %d, as 30 or 0.5", option, argument,
           ms_min > 0 ? "0.001" : "0", SECONDS_MAX);
}

static void listen_there(struct options *options, const char *address)
{
    if (options->listen_count == P2P_LISTEN_ADDRESSES_MAX)
        refuse("--listen: '%s' is one too many; %d addresses are the most, and /ip4/0.0.0.0 and /ip6/:: stand for all",
               address, P2P_LISTEN_ADDRESSES_MAX);
    if (*address == '\0')
        refuse("--listen: the address is empty; write /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT");
    options->listen[options->listen_count++] = address;
}

/* ---- options -------------------------------------------------------------- */

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace", NULL};
static const char *const format_names[] = {"text", "json", NULL};

static void take_of_nodes(int key, const char *argument, struct options *options)
{
    switch (key) {
    case OPTION_LISTEN:
        listen_there(options, argument);
        break;
    case OPTION_DATA_DIR:
        options->data_dir = argument;
        break;
    case OPTION_MAX_CONNECTIONS:
        options->max_connections = (long)number("max-connections", argument, 0, UINT32_MAX);
        break;
    case OPTION_MEMORY:
        options->memory = number("memory", argument, MEMORY_BYTES_MIN, INT64_MAX / 2);
        break;
    case OPTION_NETWORK_ID:
        options->network_id = argument;
        break;
    case OPTION_WORKERS:
        options->workers = (long)number("workers", argument, 0, 64);
        break;
    case OPTION_ECHO:
        options->echo = true;
        break;
    case OPTION_PERF:
        options->perf = true;
        break;
    case OPTION_INSECURE:
        options->insecure = true;
        break;
    case OPTION_STATUS_INTERVAL:
        options->status_ms = milliseconds("status-interval", argument, 0);
        break;
    case OPTION_LOG_LEVEL:
        options->log_level = choice("log-level", argument, level_names);
        break;
    case OPTION_LOG_FORMAT:
        options->log_format = (enum p2p_log_format)choice("log-format", argument, format_names);
        break;
    }
}

static void take_of_clients(int key, const char *argument, struct options *options)
{
    switch (key) {
    case OPTION_COUNT:
        options->count = (long)number("count", argument, 1, PINGS_MAX);
        break;
    case OPTION_TIMEOUT:
        options->timeout_ms = milliseconds("timeout", argument, 1);
        break;
    case OPTION_UPLOAD:
        options->upload = number("upload", argument, 0, INT64_MAX);
        break;
    case OPTION_DOWNLOAD:
        options->download = number("download", argument, 0, INT64_MAX);
        break;
    case OPTION_BYTES:
        options->bytes = number("bytes", argument, 0, INT64_MAX);
        options->pseudo_random = true;
        break;
    }
}

static void take(int key, const char *argument, struct parsing *parsing)
{
    struct options *options = parsing->options;

    switch (key) {
    case OPTION_JSON:
        options->json = true;
        break;
    case OPTION_TYPE:
        options->key_type = argument;
        break;
    case OPTION_BITS:
        options->bits = (unsigned)number("bits", argument, KEY_BITS_MIN, KEY_BITS_MAX);
        break;
    case OPTION_OUT:
        options->out = argument;
        break;
    case OPTION_CID:
        options->cid = true;
        break;
    case OPTION_HELP:
    case OPTION_USAGE:
        parsing->help = true;
        break;
    case OPTION_VERSION:
        parsing->version = true;
        break;
    default:
        take_of_nodes(key, argument, options);
        take_of_clients(key, argument, options);
    }
}

/* ---- the whole line ------------------------------------------------------- */

static void take_argument(const char *argument, struct parsing *parsing)
{
    struct options *options = parsing->options;

    if (parsing->command != NULL) {
        if (options->argument_count == parsing->command->arguments_max)
            refuse("%s: '%s' is one argument too many; chorus-p2p help %s tells what it takes", parsing->command->name,
                   argument, parsing->command->name);
        options->arguments[options->argument_count++] = argument;
    } else if (parsing->first_word != NULL) {
        parsing->command = command_named(parsing->first_word, argument);
        if (parsing->command == NULL)
            refuse("%s: there is no '%s'; chorus-p2p help %s tells what there is", parsing->first_word, argument,
                   parsing->first_word);
    } else if (is_first_word(argument)) {
        parsing->first_word = argument;
    } else {
        parsing->command = command_named(argument, NULL);
        if (parsing->command == NULL)
            refuse("no command '%s'; chorus-p2p --help lists them", argument);
    }
}

/* Every option that was given is for this command. */
static void check_options(const struct parsing *parsing)
{
    unsigned self = 1u << (parsing->command - commands);

    for (int i = 0; i < OPTIONS; i++) {
        char takers[128] = "";

        if ((parsing->given >> i & 1) == 0 || list[i].commands & self)
            continue;
        for (int j = 0; j < COMMANDS; j++) {
            if (list[i].commands >> j & 1)
                snprintf(takers + strlen(takers), sizeof(takers) - strlen(takers), "%s%s", takers[0] ? ", " : "",
                         commands[j].name);
        }
        refuse("%s does not take --%s; it is for %s", parsing->command->name, list[i].name, takers);
    }
}

static void finish(struct parsing *parsing)
{
    const struct command *command = parsing->command;

    if (parsing->help) {
        parsing->options->about = command;
        parsing->options->arguments[0] = parsing->first_word;
        parsing->options->argument_count = command == NULL && parsing->first_word != NULL;
        parsing->command = &commands[COMMAND_HELP];
        return;
    }
    if (parsing->version)
        parsing->command = &commands[COMMAND_VERSION];
    else if (command == NULL && parsing->first_word != NULL)
        refuse("%s: it needs a word more; chorus-p2p help %s tells which", parsing->first_word, parsing->first_word);
    else if (command == NULL)
        parsing->command = &commands[COMMAND_RUN];
    else if (parsing->options->argument_count < command->arguments_min)
        refuse("%s needs %s; chorus-p2p help %s tells more", command->name, command->arguments, command->name);
    check_options(parsing);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;

    if (key == ARGP_KEY_ARG) {
        take_argument(argument, parsing);
        return 0;
    }
    if (key == ARGP_KEY_END) {
        finish(parsing);
        return 0;
    }
    for (int i = 0; i < OPTIONS; i++) {
        if (list[i].key != key)
            continue;
        parsing->given |= 1u << i;
        take(key, argument, parsing);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

const struct command *parse_command_line(struct options *options, int argc, char **argv)
{
    static struct argp_option argp_options[OPTIONS + 1];
    static const struct argp argp = {argp_options, parse, NULL, NULL, NULL, NULL, NULL};
    struct parsing parsing = {.options = options};

    for (int i = 0; i < OPTIONS; i++)
        argp_options[i] = (struct argp_option){.name = list[i].name, .key = list[i].key, .arg = list[i].argument};
    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &parsing) != 0)
        exit(EXIT_USAGE);
    return parsing.command;
}

/* ---- help ----------------------------------------------------------------- */

enum { HELP_COLUMN = 33 };

static void print_option(const struct entry *option)
{
    char name[48], letter[8] = "    ";

    if (option->key < 0x100)
        snprintf(letter, sizeof(letter), "-%c, ", option->key);
    snprintf(name, sizeof(name), "  %s--%s%s%s", letter, option->name, option->argument != NULL ? " " : "",
             option->argument != NULL ? option->argument : "");
    print("%-*s ", HELP_COLUMN - 1, name);
    print_wrapped(HELP_COLUMN, option->help);
}

void print_options(const struct command *command)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (list[i].help != NULL && (command == NULL || list[i].commands >> (command - commands) & 1))
            print_option(&list[i]);
    }
}
