/* A node that the tests attack, through the public header, and that tells its
 * counters.  It serves what `chorus-p2p run --echo --perf` does, and besides
 *
 *     /stuck/1.0.0   an application that takes streams and never reads them
 *     /idle/1.0.0    the same, with callbacks
 *
 * Standard input brings commands, each answered by one line:
 *
 *     counters              name=value ...
 *     connect MS ADDR       0, or the name of the error
 *     open ID PROTOCOL      the same
 *
 * Its end closes the node; the exit status is 0 when nothing is left of it. */

#include <chorus/p2p.h>

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void log_line(void *argument, enum p2p_log_level level, const char *line, size_t length)
{
    (void)argument;
    (void)level;
    (void)!write(STDERR_FILENO, line, length);
}

static void idle_failed(struct p2p_stream *stream, void *user, int error)
{
    (void)user;
    (void)error;
    p2p_stream_close(stream);
}

static const struct p2p_stream_callbacks idle_callbacks = {NULL, NULL, NULL, idle_failed};

static struct p2p_node *start(uint64_t connection_bytes, uint64_t memory_bytes)
{
    struct p2p_error_text text = {""};
    struct p2p_config *config = p2p_config_new();
    struct p2p_node *node = NULL;
    int error = p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", &text);

    if (error == 0)
        error = p2p_config_serve_echo(config, true);
    if (error == 0)
        error = p2p_config_serve_perf(config, true);
    if (error == 0)
        error = p2p_config_max_connections(config, 0);
    if (error == 0 && connection_bytes > 0)
        error = p2p_config_connection_memory(config, connection_bytes);
    if (error == 0 && memory_bytes > 0)
        error = p2p_config_memory(config, memory_bytes);
    if (error == 0)
        error = p2p_config_log(config, P2P_LOG_WARN, P2P_LOG_TEXT, log_line, NULL);
    if (error == 0)
        error = p2p_node_new(&node, config, NULL, &text);
    p2p_config_free(config);
    if (error == 0)
        error = p2p_node_handle(node, "/stuck/1.0.0", 0, NULL, NULL);
    if (error == 0)
        error = p2p_node_handle(node, "/idle/1.0.0", 0, &idle_callbacks, NULL);
    if (error == 0)
        error = p2p_node_start(node, &text);
    if (error == 0)
        return node;
    fprintf(stderr, "%s: %s\n", p2p_error_name(error), text.text);
    p2p_node_free(node);
    return NULL;
}

static void take_events(struct p2p_node *node)
{
    struct p2p_event event;

    while (p2p_node_next_event(node, &event) == 0) {
        if (event.type == P2P_EVENT_STREAM_FAILED)
            p2p_stream_close(event.stream);
    }
}

static void tell_counters(struct p2p_node *node)
{
    const char *name;
    int64_t value;

    for (size_t i = 0; p2p_node_counter_name(&name, i) == 0; i++) {
        if (p2p_node_counter(node, &value, name) == 0)
            printf("%s=%lld ", name, (long long)value);
    }
    printf("\n");
}

static void tell_result(int error)
{
    printf("%s\n", error == 0 ? "0" : p2p_error_name(error));
}

static void obey(struct p2p_node *node, char *line)
{
    char first[P2P_ADDRESS_TEXT_BYTES], second[P2P_ADDRESS_TEXT_BYTES];
    const char *protocols[] = {second};
    struct p2p_stream *stream = NULL;

    if (strncmp(line, "counters", 8) == 0) {
        tell_counters(node);
    } else if (sscanf(line, "connect %511s %511s", first, second) == 2) {
        tell_result(p2p_node_connect(node, NULL, second, atoi(first), NULL));
    } else if (sscanf(line, "open %511s %511s", first, second) == 2) {
        int error = p2p_stream_open(node, &stream, first, protocols, 1, 5000, NULL);

        if (error == 0)
            p2p_stream_close(stream);
        tell_result(error);
    } else {
        printf("what?\n");
    }
    fflush(stdout);
}

/* One line of standard input, blocking; false at its end. */
static bool read_line(char *line, size_t size)
{
    size_t length = 0;

    while (length + 1 < size && read(STDIN_FILENO, line + length, 1) == 1) {
        if (line[length++] == '\n') {
            line[length] = '\0';
            return true;
        }
    }
    return false;
}

static void serve(struct p2p_node *node)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = p2p_node_event_fd(node), .events = POLLIN}};
    char line[1200];

    for (;;) {
        if (poll(fds, 2, -1) < 0)
            continue;
        take_events(node);
        if (fds[0].revents == 0)
            continue;
        if (!read_line(line, sizeof(line)))
            return;
        obey(node, line);
    }
}

/* What must be 0 once a node is closed. */
static int count_left(struct p2p_node *node)
{
    static const char *const names[] = {"sessions", "streams", "stream_bytes_held", "memory_held",
                                        "memory_left", "connections", "handshakes_in", "peers", "actors"};
    int left = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t value = -1;

        if (p2p_node_counter(node, &value, names[i]) != 0 || value != 0) {
            fprintf(stderr, "after the close: %s=%lld\n", names[i], (long long)value);
            left++;
        }
    }
    return left;
}

int main(int argc, char **argv)
{
    struct p2p_node *node;
    struct p2p_address address;
    size_t count;
    int error;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN); /* the end of our standard input says it */
    node = start(argc > 1 ? strtoull(argv[1], NULL, 10) : 0, argc > 2 ? strtoull(argv[2], NULL, 10) : 0);
    if (node == NULL)
        return 1;
    if (p2p_node_addresses(node, &address, 1, &count) == 0 && count > 0)
        printf("%s\n", address.text);
    printf("ready\n");
    fflush(stdout);
    serve(node);
    error = p2p_node_close(node, 5000);
    if (error != 0)
        fprintf(stderr, "close: %s\n", p2p_error_name(error));
    take_events(node);
    error |= count_left(node);
    p2p_node_free(node);
    return error == 0 ? 0 : 1;
}
