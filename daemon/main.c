#include "program.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The command line. */

static int command_help(const struct options *options);

static const struct command commands[] = {
    {"run", "", "run a node (the default)",
     "Listens on /ip4/0.0.0.0/tcp/3333 and /ip6/::/tcp/3333 unless --listen says otherwise.  Prints each dialable "
     "address on a line of stdout, then `ready`; logs go to stderr.  SIGINT or SIGTERM ends it in order, a second one "
     "at once.", 0, 0, command_run},
    {"id", "", "print the peer id of this machine's node", "Makes the identity if there is none yet.", 0, 0,
     command_id},
    {"key", "generate|show|convert [FILE|ID]", "make, look at and convert keys",
     "key generate --type ed25519 --out FILE   a new private key (libp2p protobuf, mode 0600)\n"
     "key show FILE                            its type and peer id\n"
     "key convert ID [--cid]                   a peer id in its other text form", 1, 2, command_key},
    {"ping", "ADDR", "measure the round trip to a peer",
     "ADDR is a full address: /ip4/…/tcp/…/p2p/ID.  -n says how many pings.", 1, 1, command_ping},
    {"identify", "ADDR", "what a peer tells of itself", "ADDR is a full address: /ip4/…/tcp/…/p2p/ID.", 1, 1,
     command_identify},
    {"perf", "ADDR", "measure throughput with /perf/1.0.0",
     "ADDR is a full address of a peer that serves it (run --perf).  --upload and --download say how many bytes; "
     "suffixes k, M, G are powers of 1000, Ki, Mi, Gi of 1024.", 1, 1, command_perf},
    {"echo", "ADDR", "send bytes and check that they come back",
     "ADDR is a full address of a peer that serves /echo/1.0.0 (run --echo).  Standard input is sent and what comes "
     "back is printed, or --bytes pseudo-random bytes are compared.", 1, 1, command_echo},
    {"version", "", "print the version", "Of the program and of its ABI (--json).", 0, 0, command_version},
    {"help", "[COMMAND]", "explain a command", "Without a command: see --help.", 0, 1, command_help},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static int command_help(const struct options *options)
{
    const char *name = options->argument_count > 0 ? options->arguments[0] : "help";

    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        printf("chorus-p2p %s%s%s: %s\n\n%s\n\nThe options are listed by chorus-p2p --help.\n", name,
               commands[i].arguments[0] ? " " : "", commands[i].arguments, commands[i].summary, commands[i].help);
        return EXIT_OK;
    }
    complain("no command '%s'; see --help", name);
    return EXIT_USAGE;
}

enum option_key {
    OPTION_LISTEN = 'l',
    OPTION_DATA_DIR = 'd',
    OPTION_COUNT = 'n',
    OPTION_JSON = 0x100,
    OPTION_ECHO,
    OPTION_PERF,
    OPTION_MAX_CONNECTIONS,
    OPTION_WORKERS,
    OPTION_NETWORK_ID,
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
};

static const struct argp_option option_list[] = {
    {NULL, 0, NULL, 0, "Node:", 1},
    {"listen", OPTION_LISTEN, "MULTIADDR", 0, "listen there; may be given again; port 0 picks a free one", 1},
    {"data-dir", OPTION_DATA_DIR, "DIR", 0, "where the identity is kept (default: $XDG_DATA_HOME/chorus-p2p)", 1},
    {"max-connections", OPTION_MAX_CONNECTIONS, "N", 0, "a hard cap; 0 is none (default 50)", 1},
    {"network-id", OPTION_NETWORK_ID, "NAME", 0, "announced by identify (default CHORUS-network)", 1},
    {"workers", OPTION_WORKERS, "N", 0, "worker threads (default: the CPUs this process may use)", 1},
    {"echo", OPTION_ECHO, NULL, 0, "serve /echo/1.0.0", 1},
    {"perf", OPTION_PERF, NULL, 0, "serve /perf/1.0.0", 1},
    {"insecure-plaintext", OPTION_INSECURE, NULL, 0, "no encryption: for tests on a trusted machine only", 1},
    {NULL, 0, NULL, 0, "Clients:", 2},
    {"count", OPTION_COUNT, "N", 0, "how many pings (default 5)", 2},
    {"timeout", OPTION_TIMEOUT, "SECONDS", 0, "give up after this time (default 30)", 2},
    {"upload", OPTION_UPLOAD, "BYTES", 0, "perf: bytes to send (default 100M)", 2},
    {"download", OPTION_DOWNLOAD, "BYTES", 0, "perf: bytes to receive (default 100M)", 2},
    {"bytes", OPTION_BYTES, "BYTES", 0, "echo: pseudo-random bytes instead of standard input", 2},
    {"json", OPTION_JSON, NULL, 0, "print one JSON object", 2},
    {NULL, 0, NULL, 0, "Keys:", 3},
    {"type", OPTION_TYPE, "TYPE", 0, "ed25519 (default), rsa, secp256k1 or ecdsa", 3},
    {"bits", OPTION_BITS, "N", 0, "of an RSA key, 2048 to 8192 (default 2048)", 3},
    {"out", OPTION_OUT, "FILE", 0, "where the new key goes; an existing file is never overwritten", 3},
    {"cid", OPTION_CID, NULL, 0, "print the id as a CIDv1", 3},
    {NULL, 0, NULL, 0, "Log:", 4},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0, "error, warn, info (default for run), debug or trace", 4},
    {"log-format", OPTION_LOG_FORMAT, "FORMAT", 0, "text (default) or json", 4},
    {NULL, 0, NULL, 0, "Help:", -1},
    {0},
};

struct parsing {
    struct options options;
    const struct command *command;
};

static int choice(struct argp_state *state, const char *option, const char *argument, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(argument, names[i]) == 0)
            return i;
    }
    argp_error(state, "--%s: '%s' is not one of its values; see --help", option, argument);
    return 0;
}

static uint64_t number(struct argp_state *state, const char *option, const char *argument, uint64_t max)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } suffixes[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000},
                    {"Ki", 1024}, {"Mi", 1048576}, {"Gi", 1073741824}};
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(argument, &end, 10);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(end, suffixes[i].name) != 0)
            continue;
        if (end == argument || *argument == '-' || errno != 0 || value > max / suffixes[i].factor)
            break;
        return value * suffixes[i].factor;
    }
    argp_error(state, "--%s: '%s' is not a number from 0 to %llu", option, argument, (unsigned long long)max);
    return 0;
}

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace", NULL};
static const char *const format_names[] = {"text", "json", NULL};

static int parse_node(int key, char *argument, struct argp_state *state, struct options *options)
{
    switch (key) {
    case OPTION_LISTEN:
        if (options->listen_count == P2P_LISTEN_ADDRESSES_MAX)
            argp_error(state, "--listen: at most %d addresses", P2P_LISTEN_ADDRESSES_MAX);
        options->listen[options->listen_count++] = argument;
        return 0;
    case OPTION_DATA_DIR:
        options->data_dir = argument;
        return 0;
    case OPTION_MAX_CONNECTIONS:
        options->max_connections = (long)number(state, "max-connections", argument, UINT32_MAX);
        return 0;
    case OPTION_NETWORK_ID:
        options->network_id = argument;
        return 0;
    case OPTION_WORKERS:
        options->workers = (long)number(state, "workers", argument, 64);
        return 0;
    case OPTION_ECHO:
        options->echo = true;
        return 0;
    case OPTION_PERF:
        options->perf = true;
        return 0;
    case OPTION_INSECURE:
        options->insecure = true;
        return 0;
    case OPTION_LOG_LEVEL:
        options->log_level = (enum p2p_log_level)choice(state, "log-level", argument, level_names);
        return 0;
    case OPTION_LOG_FORMAT:
        options->log_format = (enum p2p_log_format)choice(state, "log-format", argument, format_names);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int parse_client(int key, char *argument, struct argp_state *state, struct options *options)
{
    switch (key) {
    case OPTION_COUNT:
        options->count = (long)number(state, "count", argument, 1000000000);
        return 0;
    case OPTION_TIMEOUT:
        options->timeout_ms = (long)number(state, "timeout", argument, 86400) * 1000;
        return 0;
    case OPTION_UPLOAD:
        options->upload = number(state, "upload", argument, UINT64_MAX / 2);
        return 0;
    case OPTION_DOWNLOAD:
        options->download = number(state, "download", argument, UINT64_MAX / 2);
        return 0;
    case OPTION_BYTES:
        options->bytes = number(state, "bytes", argument, UINT64_MAX / 2);
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_TYPE:
        options->key_type = argument;
        return 0;
    case OPTION_BITS:
        options->bits = (unsigned)number(state, "bits", argument, 8192);
        return 0;
    case OPTION_OUT:
        options->out = argument;
        return 0;
    case OPTION_CID:
        options->cid = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int parse_argument(char *argument, struct argp_state *state, struct parsing *parsing)
{
    struct options *options = &parsing->options;

    if (parsing->command == NULL) {
        for (int i = 0; i < COMMANDS; i++) {
            if (strcmp(argument, commands[i].name) == 0)
                parsing->command = &commands[i];
        }
        if (parsing->command == NULL)
            argp_error(state, "no command '%s'; see --help", argument);
        return 0;
    }
    if (options->argument_count == parsing->command->arguments_max)
        argp_error(state, "%s: '%s' is one argument too many", parsing->command->name, argument);
    options->arguments[options->argument_count++] = argument;
    return 0;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    int error;

    if (key == ARGP_KEY_ARG)
        return parse_argument(argument, state, parsing);
    if (key == ARGP_KEY_END) {
        if (parsing->command == NULL)
            parsing->command = &commands[0];
        if (parsing->options.argument_count < parsing->command->arguments_min)
            argp_error(state, "%s needs %s", parsing->command->name, parsing->command->arguments);
        return 0;
    }
    error = parse_node(key, argument, state, &parsing->options);
    return error == ARGP_ERR_UNKNOWN ? parse_client(key, argument, state, &parsing->options) : error;
}

/* The list of commands, at the head of --help. */
static char *help_filter(int key, const char *text, void *input)
{
    char *help = NULL;
    size_t size;
    FILE *out;

    (void)input;
    if (key != ARGP_KEY_HELP_PRE_DOC)
        return (char *)(uintptr_t)text;
    out = open_memstream(&help, &size);
    if (out == NULL)
        return (char *)(uintptr_t)text;
    fputs("A libp2p node.\n\nCommands:\n", out);
    for (int i = 0; i < COMMANDS; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s%s%s", commands[i].name, commands[i].arguments[0] ? " " : "",
                 commands[i].arguments);
        fprintf(out, "  %-36s %s\n", name, commands[i].summary);
    }
    fputs("\nA node to try things on:\n"
          "  chorus-p2p run --listen /ip4/127.0.0.1/tcp/0 --echo --perf\n"
          "and, with the address that it prints:\n"
          "  chorus-p2p ping ADDR\n  chorus-p2p perf ADDR --download 1G\n"
          "\nchorus-p2p help COMMAND explains one.\n"
          "\nExit status:\n  0 it worked        3 no connection      6 cannot listen\n"
          "  1 it did not       4 the peer refused   7 data directory in use\n"
          "  2 wrong usage      5 no identity        130 interrupted\n", out);
    fclose(out);
    return help;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {option_list, parse, "[COMMAND] [ARGUMENT...]", "A libp2p node.", NULL,
                                     help_filter, NULL};
    struct parsing parsing = {.options = {.max_connections = -1, .count = 5, .timeout_ms = 30000,
                                          .upload = 100000000, .download = 100000000,
                                          .log_level = P2P_LOG_INFO, .key_type = "ed25519"}};

    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return EXIT_USAGE;
    return finish_output(parsing.command->run(&parsing.options));
}
