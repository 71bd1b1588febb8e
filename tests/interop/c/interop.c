#include "interop.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { KEPT_MAX = 64 };

struct interop_settings interop_settings = {P2P_KEY_ED25519, false};
struct p2p_node *interop_listening;
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static struct p2p_node *kept[KEPT_MAX]; /* nodes of `identify`, up until the end; under output_lock */
static unsigned kept_count;

double interop_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- Answers --------------------------------------------------------------- */

void interop_answer(const struct command *command, json_t *fields, const char *format, ...)
{
    char error[700] = "";
    va_list arguments;

    if (format != NULL) {
        va_start(arguments, format);
        vsnprintf(error, sizeof(error), format, arguments);
        va_end(arguments);
    }
    json_object_set_new(fields, "id", json_string(command->id));
    json_object_set_new(fields, "case", json_string(command->name));
    json_object_set_new(fields, "ok", json_boolean(format == NULL));
    if (format != NULL)
        json_object_set_new(fields, "error", json_string(error));
    pthread_mutex_lock(&output_lock);
    json_dumpf(fields, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&output_lock);
    json_decref(fields);
}

void interop_answer_error(const struct command *command, json_t *fields, int error)
{
    if (error == 0)
        interop_answer(command, fields, NULL);
    else
        interop_answer(command, fields, "%s", p2p_error_string(error));
}

/* ---- Nodes ------------------------------------------------------------------ */

static void log_line(void *argument, enum p2p_log_level level, const char *line, size_t length)
{
    (void)argument;
    (void)level;
    (void)!write(STDERR_FILENO, line, length);
}

int interop_node(struct p2p_node **node, bool listens, struct p2p_error_text *text)
{
    struct p2p_config *config = p2p_config_new();
    uint8_t key[8192];
    size_t length = sizeof(key);
    int error = config == NULL ? P2P_ERR_CALL_NOMEM : p2p_key_generate(key, &length, interop_settings.key_type, 0);

    if (error == 0)
        error = p2p_config_identity(config, key, length);
    if (error == 0)
        error = p2p_config_listen(config, listens ? "/ip4/127.0.0.1/tcp/0" : NULL, text);
    if (error == 0)
        error = p2p_config_workers(config, 1);
    if (error == 0)
        error = p2p_config_security(config, !interop_settings.plaintext);
    if (error == 0)
        error = p2p_config_max_connections(config, 0);
    if (error == 0)
        error = p2p_config_log(config, P2P_LOG_WARN, P2P_LOG_TEXT, log_line, NULL);
    if (error == 0)
        error = p2p_config_serve_echo(config, true);
    if (error == 0)
        error = p2p_config_serve_perf(config, true);
    if (error == 0)
        error = p2p_node_new(node, config, NULL, text);
    p2p_config_free(config);
    if (error == 0)
        error = p2p_node_start(*node, text);
    return error;
}

struct p2p_node *interop_dial(const struct command *command, char id[P2P_ID_TEXT_BYTES])
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    int error = interop_node(&node, false, &text);

    if (error == 0)
        error = p2p_node_connect(node, id, command->arguments[0], TIMEOUT_MS, &text);
    if (error == 0)
        return node;
    interop_answer(command, json_object(), "%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    p2p_node_free(node);
    return NULL;
}

int interop_open(struct p2p_node *node, struct p2p_stream **stream, const char *id, const char *protocol)
{
    return p2p_stream_open(node, stream, id, &protocol, 1, TIMEOUT_MS, NULL);
}

uint64_t interop_count(const struct command *command, int index)
{
    return index < command->argument_count ? strtoull(command->arguments[index], NULL, 10) : 0;
}

void interop_keep(struct p2p_node *node)
{
    bool room;

    pthread_mutex_lock(&output_lock);
    room = kept_count < KEPT_MAX;
    if (room)
        kept[kept_count++] = node;
    pthread_mutex_unlock(&output_lock);
    if (!room)
        p2p_node_free(node);
}

void interop_free_kept(void)
{
    while (kept_count > 0)
        p2p_node_free(kept[--kept_count]);
}
