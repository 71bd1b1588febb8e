#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int exit_of(int error)
{
    switch (error) {
    case 0:
        return EXIT_OK;
    case P2P_ERR_CALL_INVALID:
    case P2P_ERR_CALL_MALFORMED:
    case P2P_ERR_CALL_UNSUPPORTED:
    case P2P_ERR_NODE_CONFIG:
        return EXIT_USAGE;
    case P2P_ERR_STREAM_REFUSED:
        return EXIT_REFUSED;
    case P2P_ERR_NODE_KEY:
        return EXIT_IDENTITY;
    case P2P_ERR_NODE_LISTEN:
        return EXIT_LISTEN;
    case P2P_ERR_NODE_IN_USE:
        return EXIT_IN_USE;
    default:
        return error <= -300 && error > -400 ? EXIT_UNREACHABLE : EXIT_FAILED;
    }
}

uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- The data directory --------------------------------------------------- */

/* mkdir -p, mode 0700 for what is new. */
static int make_path(char *path)
{
    for (char *slash = path + 1;; slash++) {
        char kept = *slash;

        if (kept != '/' && kept != '\0')
            continue;
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            *slash = kept;
            return -1;
        }
        *slash = kept;
        if (kept == '\0')
            return 0;
    }
}

char *data_dir_of(const struct options *options, bool make)
{
    const char *xdg = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int length;

    if (options->data_dir != NULL)
        length = asprintf(&path, "%s", options->data_dir);
    else if (xdg != NULL && xdg[0] == '/')
        length = asprintf(&path, "%s/chorus-p2p", xdg);
    else if (home != NULL && home[0] == '/')
        length = asprintf(&path, "%s/.local/share/chorus-p2p", home);
    else {
        complain("no data directory: neither HOME nor XDG_DATA_HOME is set; give --data-dir DIR");
        return NULL;
    }
    if (length < 0) {
        complain("no memory for the name of the data directory");
        return NULL;
    }
    if (path[0] != '\0' && (!make || make_path(path) == 0))
        return path;
    complain("data directory '%s': %s; give --data-dir DIR with one that can be written", path,
             path[0] == '\0' ? "the name is empty" : strerror(errno));
    free(path);
    return NULL;
}

/* ---- Configuration -------------------------------------------------------- */

static void write_log(void *argument, enum p2p_log_level level, const char *line, size_t length)
{
    (void)argument;
    (void)level;
    while (length > 0) {
        ssize_t count = write(STDERR_FILENO, line, length);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return;
        line += count;
        length -= (size_t)count;
    }
}

static int configure_listen(struct p2p_config *config, const struct options *options, bool serve)
{
    struct p2p_error_text text = {""};
    int error = serve ? 0 : p2p_config_listen(config, NULL, &text);

    for (size_t i = 0; serve && i < options->listen_count && error == 0; i++)
        error = p2p_config_listen(config, options->listen[i], &text);
    if (error == 0)
        return 0;
    complain("--listen: %s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    return error == P2P_ERR_CALL_NOMEM ? error : P2P_ERR_NODE_CONFIG;
}

static int configure_identity(struct p2p_config *config, const struct options *options, bool serve)
{
    char *path;
    int error;

    if (!serve)
        return 0;
    path = data_dir_of(options, true);
    if (path == NULL)
        return P2P_ERR_NODE_KEY;
    error = p2p_config_data_dir(config, path);
    if (error != 0)
        complain("data directory '%s': %s", path, p2p_error_string(error));
    free(path);
    return error;
}

static int configure_network_id(struct p2p_config *config, const struct options *options)
{
    int error = options->network_id == NULL ? 0 : p2p_config_network_id(config, options->network_id);

    if (error != 0)
        complain("--network-id: '%.40s%s' is too long, or no UTF-8, or has control characters; use a short, plain name",
                 options->network_id, strlen(options->network_id) > 40 ? "..." : "");
    return error;
}

static int configure_node(struct p2p_config *config, const struct options *options)
{
    int error = p2p_config_workers(config, (unsigned)options->workers);

    if (error == 0 && options->max_connections >= 0)
        error = p2p_config_max_connections(config, (uint32_t)options->max_connections);
    if (error == 0 && options->memory > 0)
        error = p2p_config_memory(config, options->memory);
    if (error == 0)
        error = p2p_config_serve_echo(config, options->echo);
    if (error == 0)
        error = p2p_config_serve_perf(config, options->perf);
    if (error == 0 && options->status_ms >= 0)
        error = p2p_config_status_interval_ms(config, (uint32_t)options->status_ms);
    return error;
}

static int configure_client(struct p2p_config *config, const struct options *options)
{
    int error = p2p_config_workers(config, 1);

    if (error == 0)
        error = p2p_config_connection_timeout_ms(config, (uint32_t)options->timeout_ms);
    if (error == 0)
        error = p2p_config_status_interval_ms(config, 0);
    return error;
}

/* What an option cannot get wrong: only memory may be out. */
static int configure_rest(struct p2p_config *config, const struct options *options, bool serve)
{
    enum p2p_log_level level = serve ? P2P_LOG_INFO : P2P_LOG_WARN;
    int error = serve ? configure_node(config, options) : configure_client(config, options);

    if (options->log_level >= 0)
        level = (enum p2p_log_level)options->log_level;
    if (error == 0 && options->insecure)
        error = p2p_config_security(config, false);
    if (error == 0)
        error = p2p_config_log(config, level, options->log_format, write_log, NULL);
    if (error != 0)
        complain("configuration: %s", p2p_error_string(error));
    return error;
}

struct p2p_config *config_of(const struct options *options, bool serve, int *status)
{
    struct p2p_config *config = p2p_config_new();
    int error = config == NULL ? P2P_ERR_CALL_NOMEM : configure_listen(config, options, serve);

    if (config == NULL)
        complain("no memory for a configuration");
    if (error == 0)
        error = configure_identity(config, options, serve);
    if (error == 0)
        error = configure_network_id(config, options);
    if (error == 0)
        error = configure_rest(config, options, serve);
    if (error == 0)
        return config;
    *status = exit_of(error);
    p2p_config_free(config);
    return NULL;
}

/* ---- Signals -------------------------------------------------------------- */

static int seen; /* atomic: other threads ask, and a signal may meet any of them */
static int signal_pipe[2] = {-1, -1};

static void on_signal(int number)
{
    int kept = errno; /* of whatever was interrupted */

    (void)number;
    if (__atomic_exchange_n(&seen, 1, __ATOMIC_SEQ_CST) != 0)
        _exit(EXIT_INTERRUPTED);
    (void)!write(signal_pipe[1], "", 1);
    errno = kept;
}

static void on_abort(int number)
{
    p2p_dump_events(STDERR_FILENO);
    (void)raise(number); /* one that abort() did not send has its way, too */
}

int signals_begin(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction abort_action = {.sa_handler = on_abort, .sa_flags = (int)SA_RESETHAND};

    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGABRT, &abort_action, NULL);
    return signal_pipe[0];
}

bool signals_seen(void)
{
    return __atomic_load_n(&seen, __ATOMIC_SEQ_CST) != 0;
}
