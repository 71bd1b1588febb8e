#include "options.h"

#include <stdlib.h>
#include <string.h>

/* The commands, and what is told of them. */

#define FULL_ADDRESS "ADDR is a full address: /ip4/…/tcp/…/p2p/ID."
#define SERVED_BY(option) " The peer must serve it (chorus-p2p run --" option ")."

const struct command commands[COMMANDS] = {
    [COMMAND_RUN] = {"run", "", "run a node (the default)",
     "Listens on /ip4/0.0.0.0/tcp/3333 and /ip6/::/tcp/3333 unless --listen says otherwise. Prints each dialable "
     "address on a line of stdout, then `ready`; logs go to stderr. SIGINT or SIGTERM ends it in order, within 3 s, "
     "with status 0; a second one at once, with status 130. While it runs it has its data directory for itself.",
     0, 0, command_run},
    [COMMAND_ID] = {"id", "", "print the peer id of this machine's node",
     "Makes the identity if there is none yet. The node may be running.", 0, 0, command_id},
    [COMMAND_KEY_GENERATE] = {"key generate", "", "make a private key",
     "In libp2p's protobuf, in the new file that --out names, with mode 0600. Prints its peer id.",
     0, 0, command_key_generate},
    [COMMAND_KEY_SHOW] = {"key show", "FILE", "a key's type and peer id",
     "FILE is a private key in libp2p's protobuf, with mode 0600.", 1, 1, command_key_show},
    [COMMAND_KEY_CONVERT] = {"key convert", "ID", "a peer id in another text form",
     "In base58btc (12D3Koo…, Qm…), or with --cid as a CIDv1 (bafz…); ID may be either.", 1, 1, command_key_convert},
    [COMMAND_PING] = {"ping", "ADDR", "measure the round trip to a peer",
     FULL_ADDRESS " Interrupted, it prints what there was until then.", 1, 1, command_ping},
    [COMMAND_IDENTIFY] = {"identify", "ADDR", "what a peer tells of itself", FULL_ADDRESS, 1, 1, command_identify},
    [COMMAND_PERF] = {"perf", "ADDR", "measure throughput with /perf/1.0.0",
     FULL_ADDRESS SERVED_BY("perf") " BYTES may end in k, M, G (powers of 1000) or Ki, Mi, Gi (of 1024). The time of "
     "the upload runs from its first byte to the first of the answer, that of the download from the last byte sent to "
     "the last received. Interrupted, it prints what there was until then.", 1, 1, command_perf},
    [COMMAND_ECHO] = {"echo", "ADDR", "send bytes, check that they come back",
     FULL_ADDRESS SERVED_BY("echo") " Standard input is sent, and printed as it comes back; or pseudo-random --bytes "
     "are compared, which may end in k, M, G (powers of 1000) or Ki, Mi, Gi (of 1024).", 1, 1, command_echo},
    [COMMAND_VERSION] = {"version", "", "print the version", "Of the program, and of its ABI (--json).", 0, 0,
     command_version},
    [COMMAND_HELP] = {"help", "[COMMAND]", "explain a command, or all", "The same as COMMAND --help.", 0, 2,
     command_help},
};

/* ---- finding one ---------------------------------------------------------- */

const struct command *command_named(const char *first, const char *second)
{
    size_t length = strlen(first);

    for (int i = 0; i < COMMANDS; i++) {
        const char *rest = commands[i].name + length;

        if (strncmp(commands[i].name, first, length) != 0)
            continue;
        if (second == NULL ? *rest == '\0' : *rest == ' ' && strcmp(rest + 1, second) == 0)
            return &commands[i];
    }
    return NULL;
}

bool is_first_word(const char *word)
{
    size_t length = strlen(word);

    for (int i = 0; i < COMMANDS; i++) {
        if (strncmp(commands[i].name, word, length) == 0 && commands[i].name[length] == ' ')
            return true;
    }
    return false;
}

/* ---- help ----------------------------------------------------------------- */

static void print_command(const struct command *command)
{
    print("chorus-p2p %s%s%s: %s\n\n", command->name, command->arguments[0] ? " " : "", command->arguments,
          command->summary);
    print_wrapped(0, command->help);
    print("\n");
    print_options(command);
}

static void print_all(void)
{
    print("Usage: chorus-p2p [COMMAND] [OPTION...]\nA libp2p node.\n\nCommands:\n");
    for (int i = 0; i < COMMANDS; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s %s", commands[i].name, commands[i].arguments);
        print("  %-31s%s\n", name, commands[i].summary);
    }
    print("\nchorus-p2p help COMMAND, or COMMAND --help, explains one.  All options:\n");
    print_options(NULL);
    print("\nA node to try things on:\n"
          "  chorus-p2p run --listen /ip4/127.0.0.1/tcp/0 --echo --perf\n"
          "and, with the address that it prints:\n"
          "  chorus-p2p ping ADDR\n  chorus-p2p perf ADDR --download 1G\n"
          "\nExit status:\n  0 it worked        3 no connection      6 cannot listen\n"
          "  1 it did not       4 the peer refused   7 data directory in use\n"
          "  2 wrong usage      5 no identity        130 interrupted\n");
}

int command_help(const struct options *options)
{
    const char *first = options->argument_count > 0 ? options->arguments[0] : NULL;
    const char *second = options->argument_count > 1 ? options->arguments[1] : NULL;
    const struct command *about = options->about != NULL || first == NULL ? options->about
                                                                         : command_named(first, second);

    if (about != NULL) {
        print_command(about);
    } else if (first == NULL) {
        print_all();
    } else if (second == NULL && is_first_word(first)) {
        for (int i = 0; i < COMMANDS; i++) {
            if (strncmp(commands[i].name, first, strlen(first)) == 0 && commands[i].name[strlen(first)] == ' ')
                print_command(&commands[i]);
        }
    } else {
        complain("help: no command '%s%s%s'; chorus-p2p --help lists them", first, second != NULL ? " " : "",
                 second != NULL ? second : "");
        return EXIT_USAGE;
    }
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    struct options options = {.max_connections = -1, .status_ms = -1, .count = 5, .timeout_ms = 30000,
                              .upload = 100000000, .download = 100000000, .log_level = -1, .key_type = "ed25519"};
    const struct command *command;

    if (keep_standard_descriptors() != 0)
        return EXIT_FAILED;
    command = parse_command_line(&options, argc, argv);
    return finish_output(command->run(&options));
}
