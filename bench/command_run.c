#include "command.h"

#include "agent.h"
#include "bench.h"
#include "campaign.h"
#include "programs.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* `run`: measures, and writes the report. */

enum {
    OPTION_IDLE_SECONDS = 256, OPTION_REPEATS, OPTION_NO_NAMESPACE, OPTION_NO_PEERS, OPTION_NO_REFERENCES, OPTION_OURS,
    OPTION_SERVER, OPTION_CLIENT,
};

static const struct argp_option option_list[] = {
    {"quick", 'q', NULL, 0, "fewer rows and shorter runs: within 5 minutes", 0},
    {"out", 'o', "DIR", 0, "where results and report go (default bench-results; bench-limits)", 0},
    {"resume", 'c', NULL, 0, "go on with the results that are there", 0},
    {"peer", 'p', "NAME=COMMAND", 0, "a program that keeps the contract of tests/interop/README.md; repeatable", 0},
    {"no-peers", OPTION_NO_PEERS, NULL, 0, "none but those of --peer", 0},
    {"no-references", OPTION_NO_REFERENCES, NULL, 0, "leave out plain C on sockets", 0},
    {"row", 'r', "PATTERN", 0, "these rows only, as `rr-*`; repeatable; see `chorus-bench rows`", 0},
    {"runs", 'n', "N", 0, "of each pair in each row (default 5, quick 3)", 0},
    {"seconds", 's', "S", 0, "of one run (default 0.9, quick 0.8)", 0},
    {"warm", 'w', "S", 0, "before it is measured (default 0.25, quick 0.2)", 0},
    {"idle-seconds", OPTION_IDLE_SECONDS, "S", 0, "of rows of idle connections (default 30, quick 5)", 0},
    {"minutes", 'm', "M", 0, "after which nothing more is begun (default 60, quick 5)", 0},
    {"repeats", OPTION_REPEATS, "N", 0, "of a run that other processes disturbed (default 2)", 0},
    {"pin", 'P', NULL, 0, "diallers to CPU 0, listeners to CPU 1", 0},
    {"no-namespace", OPTION_NO_NAMESPACE, NULL, 0, "stay in this network namespace", 0},
    {"server", OPTION_SERVER, "PORT", OPTION_ARG_OPTIONAL, "start listeners for `--client` on another machine "
     "(default 4040); the network must be trusted", 0},
    {"client", OPTION_CLIENT, "HOST[:PORT]", 0, "listeners are on that machine", 0},
    {"ours", OPTION_OURS, "COMMAND", OPTION_HIDDEN, "in place of our program", 0},
    {0},
};

struct parsing {
    struct campaign_options options;
    const char *folder;
    bool own_network, known_peers;
    bool serves;
    unsigned port;
};

double command_number(struct argp_state *state, const char *option, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= least) || !(value <= most))
        argp_error(state, "--%s: '%s' is not a number from %g to %g", option, text, least, most);
    return value;
}

static void add_peer(struct argp_state *state, struct parsing *parsing, const char *text)
{
    struct campaign_options *options = &parsing->options;
    const char *equals = strchr(text, '=');
    char name[PLAN_NAME_BYTES] = "";

    if (equals != NULL && equals - text < PLAN_NAME_BYTES)
        memcpy(name, text, (size_t)(equals - text));
    if (equals == NULL || equals[1] == '\0' || !plan_peer_name(name)) {
        argp_error(state, "--peer: '%s' is not NAME=COMMAND with a name of small letters, digits and dashes that is "
                          "not one of ours", text);
        return;
    }
    if (options->peer_count == PLAN_PEERS_MAX)
        argp_error(state, "--peer: at most %d peers", PLAN_PEERS_MAX);
    for (size_t i = 0; i < options->peer_count; i++) {
        if (strcmp(options->peers[i].name, name) == 0)
            argp_error(state, "--peer: %s is there twice", name);
    }
    options->peers[options->peer_count++] =
        (struct side_spec){.name = programs_text("%s", name),
                           .command = programs_text("%s listen --key ed25519", equals + 1), .cpu = -1};
}

static void parse_number(int key, char *argument, struct argp_state *state, struct campaign_options *options)
{
    switch (key) {
    case 'n':
        options->mode.runs = (unsigned)command_number(state, "runs", argument, 1, PLAN_RUNS_MAX);
        break;
    case 's':
        options->mode.seconds = command_number(state, "seconds", argument, 0.05, 3600);
        break;
    case 'w':
        options->mode.warm_s = command_number(state, "warm", argument, 0.01, 3600);
        break;
    case 'm':
        options->minutes = command_number(state, "minutes", argument, 0.01, 100000);
        break;
    case OPTION_IDLE_SECONDS:
        options->mode.idle_seconds = command_number(state, "idle-seconds", argument, 0.1, 3600);
        break;
    default:
        options->repeats = (unsigned)command_number(state, "repeats", argument, 0, 100);
    }
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    struct campaign_options *options = &parsing->options;

    switch (key) {
    case 'q': /* taken by find_quick(), before all others */
        break;
    case 'o':
        parsing->folder = argument;
        break;
    case 'c':
        options->resume = true;
        break;
    case 'p':
        add_peer(state, parsing, argument);
        break;
    case 'r':
        if (options->pattern_count == CAMPAIGN_PATTERNS_MAX)
            argp_error(state, "--row: at most %d patterns", CAMPAIGN_PATTERNS_MAX);
        options->patterns[options->pattern_count++] = argument;
        break;
    case 'P':
        options->pin = true;
        break;
    case 'n':
    case 's':
    case 'w':
    case 'm':
    case OPTION_IDLE_SECONDS:
    case OPTION_REPEATS:
        parse_number(key, argument, state, options);
        break;
    case OPTION_NO_NAMESPACE:
        parsing->own_network = false;
        break;
    case OPTION_NO_PEERS:
        parsing->known_peers = false;
        break;
    case OPTION_NO_REFERENCES:
        options->no_references = true;
        break;
    case OPTION_SERVER:
        parsing->serves = true;
        if (argument != NULL)
            parsing->port = (unsigned)command_number(state, "server", argument, 0, 65535);
        break;
    case OPTION_CLIENT:
        options->agent = argument;
        parsing->own_network = false;
        break;
    case OPTION_OURS:
        options->ours = argument;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", argument);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The mode's numbers are defaults: other options overrule them wherever they
 * stand. */
static error_t find_quick(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key == 'q')
        *(bool *)state->input = true;
    return 0;
}

/* ---- The command ------------------------------------------------------------------------ */

static bool known_rows(const struct campaign_options *options)
{
    const struct plan_row *rows;
    size_t count = plan_rows(&rows);

    for (size_t p = 0; p < options->pattern_count; p++) {
        bool known = false;

        for (size_t i = 0; i < count; i++)
            known = known || plan_selected(&rows[i], &options->mode, &options->patterns[p], 1);
        if (known)
            continue;
        fprintf(stderr, "chorus-bench: no row is like '%s'; `chorus-bench rows` shows them\n", options->patterns[p]);
        return false;
    }
    return true;
}

bool command_folder(const char *path)
{
    struct stat found;

    if (mkdir(path, 0777) == 0)
        return true;
    if (errno == EEXIST && stat(path, &found) == 0) {
        errno = ENOTDIR;
        if (S_ISDIR(found.st_mode) && access(path, W_OK) == 0)
            return true;
    }
    fprintf(stderr, "chorus-bench: cannot write into %s: %s; name another folder\n", path, strerror(errno));
    return false;
}

/* Two runs at once would each leave out what the other has measured.  Held until
 * the end of the process. */
static bool lock_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (fd < 0 || errno != EWOULDBLOCK)
        fprintf(stderr, "chorus-bench: cannot lock %s: %s\n", path, strerror(errno));
    else
        fprintf(stderr, "chorus-bench: another run writes into %s: wait for it, or name another folder\n", path);
    if (fd >= 0)
        close(fd);
    return false;
}

static int measure(struct parsing *parsing)
{
    static const int statuses[] = {[CAMPAIGN_COMPLETE] = COMMAND_DONE, [CAMPAIGN_PARTIAL] = COMMAND_PARTIAL,
                                   [CAMPAIGN_NONE] = COMMAND_FAILED};
    struct machine_place place = {.apart = false, .reason = "not wanted"};
    enum campaign_outcome outcome;
    char *path = NULL;
    json_t *results;

    if (!command_folder(parsing->folder) || !lock_folder(parsing->folder))
        return COMMAND_FAILED;
    if (asprintf(&path, "%s/results.json", parsing->folder) < 0)
        bench_die("no memory");
    parsing->options.path = path;
    machine_raise_descriptors();
    if (parsing->own_network)
        machine_enter(&place);
    results = campaign_run(&parsing->options, &place, &outcome);
    if (results != NULL && !report_write(results, parsing->folder))
        outcome = CAMPAIGN_NONE;
    if (outcome == CAMPAIGN_PARTIAL)
        printf("not complete: the report begins with what is missing; --resume with the same options goes on\n");
    json_decref(results);
    free(path);
    return statuses[outcome];
}

/* Starts for others what it would measure itself. */
static int serve(const struct parsing *parsing)
{
    const struct campaign_options *options = &parsing->options;
    struct side_spec specs[PLAN_OWN_NAMES + PLAN_PEERS_MAX];
    size_t count = programs_ours(specs, options->ours);

    for (size_t i = 0; i < options->peer_count; i++)
        specs[count++] = options->peers[i];
    machine_raise_descriptors();
    signal(SIGPIPE, SIG_IGN);
    agent_serve(specs, count, parsing->port);
    return COMMAND_FAILED; /* it has said why */
}

#define STATUSES                                                                                                       \
    "\vExit status: 0 done; 1 nothing was measured; 2 wrong usage; 3 there is a report that says what is missing."

static int run(int argc, char **argv, bool quick, bool limits)
{
    static const struct argp modes = {option_list, find_quick, NULL, NULL, NULL, NULL, NULL};
    const struct argp argp = {option_list, parse, NULL,
                              limits ? "Measures plain C on sockets alone, the references of `run`, and writes "
                                       "results.json, report.md and report.html." STATUSES
                                     : "Measures chorus-p2p and its peers on the same work, interleaved, and writes "
                                       "results.json, report.md and report.html." STATUSES, NULL, NULL, NULL};
    struct parsing parsing = {.folder = limits ? "bench-limits" : "bench-results", .own_network = true,
                              .known_peers = true, .port = AGENT_PORT,
                              .options = {.repeats = CAMPAIGN_REPEATS, .only_references = limits}};

    argp_err_exit_status = COMMAND_USAGE;
    (void)argp_parse(&modes, argc, argv, ARGP_SILENT, NULL, &quick); /* the next one tells what is wrong */
    plan_mode_init(&parsing.options.mode, quick);
    parsing.options.minutes = quick ? 5 : 60;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0 || !known_rows(&parsing.options))
        return COMMAND_USAGE;
    if (parsing.known_peers)
        parsing.options.peer_count = programs_known_peers(parsing.options.peers, parsing.options.peer_count);
    return parsing.serves ? serve(&parsing) : measure(&parsing);
}

int command_run(int argc, char **argv)
{
    return run(argc, argv, false, false);
}

int command_limits(int argc, char **argv)
{
    return run(argc, argv, false, true);
}

int command_quick(int argc, char **argv)
{
    return run(argc, argv, true, false);
}

int command_rows(int argc, char **argv)
{
    static const struct argp argp = {NULL, NULL, NULL, "Tells what `run` measures, and which of it with --quick.",
                                     NULL, NULL, NULL};
    const struct plan_row *rows;
    size_t count = plan_rows(&rows);

    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return COMMAND_USAGE;
    for (size_t i = 0; i < count; i++)
        printf("%-22s %s%s\n", rows[i].name, rows[i].title, rows[i].quick ? "  (quick)" : "");
    return COMMAND_DONE;
}
