#include "program.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The node of a command that dials one peer.  A thread beside it waits for
 * signals and closes the node: then the call under way fails. */

static pthread_t guard;
static int signal_fd, quit_fd;

static void *guard_main(void *node)
{
    struct pollfd wait[] = {{.fd = signal_fd, .events = POLLIN}, {.fd = quit_fd, .events = POLLIN}};

    while (poll(wait, 2, -1) < 0 && errno == EINTR)
        continue;
    if (signals_seen())
        (void)p2p_node_close(node, CLOSE_MS_MAX); /* what is not closed by then ends with us */
    return NULL;
}

/* 0 or an error number. */
static int guard_begin(struct p2p_node *node)
{
    signal_fd = signals_begin();
    if (signal_fd < 0)
        return errno;
    quit_fd = eventfd(0, EFD_CLOEXEC);
    if (quit_fd < 0)
        return errno;
    return pthread_create(&guard, NULL, guard_main, node);
}

/* Not started, and guarded.  NULL after a complaint. */
static struct p2p_node *client_new(const struct options *options, int *status)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    struct p2p_config *config = config_of(options, false, status);
    int error;

    if (config == NULL)
        return NULL;
    error = p2p_node_new(&node, config, NULL, &text);
    p2p_config_free(config);
    if (error != 0) {
        complain("%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
        *status = exit_of(error);
        return NULL;
    }
    error = guard_begin(node);
    if (error == 0)
        return node;
    complain("cannot wait for signals: %s; raise the limits of open files (ulimit -n) and threads", strerror(error));
    *status = EXIT_FAILED;
    p2p_node_free(node);
    return NULL;
}

void hang_up(struct p2p_node *node)
{
    (void)eventfd_write(quit_fd, 1); /* its counter is 0 */
    pthread_join(guard, NULL);
    p2p_node_free(node);
}

/* A peer that is no longer known has gone since we connected. */
static int since_connected(int error)
{
    return error == P2P_ERR_CALL_NOT_FOUND ? P2P_ERR_CONN_CLOSED : error;
}

const char *client_reason(int error)
{
    if (signals_seen())
        return "interrupted";
    switch (since_connected(error)) {
    case P2P_ERR_CALL_TIMEOUT:
    case P2P_ERR_STREAM_TIMEOUT:
        return "the peer did not answer in the time given; it is slow, or gone: allow more with --timeout, or try "
               "another peer";
    case P2P_ERR_CALL_NOMEM:
        return "memory ran out; end other programs, or ask for less";
    case P2P_ERR_STREAM_RESET:
        return "the peer gave the stream up; its log may tell why";
    case P2P_ERR_CONN_CLOSED:
        return "the peer closed the connection, or its program ended; see whether it runs, and try again";
    case P2P_ERR_CONN_GOAWAY:
        return "the peer told us to go away; it may be full, or about to end: try again later";
    case P2P_ERR_CONN_RESET:
        return "the connection broke; see whether the peer runs, and the network between, and try again";
    case P2P_ERR_CONN_TIMEOUT:
    case P2P_ERR_CONN_STALLED:
        return "the peer has fallen silent; see whether it runs, and the network between, and try again";
    default:
        return p2p_error_string(error);
    }
}

int client_exit(int error)
{
    return error != 0 && signals_seen() ? EXIT_INTERRUPTED : exit_of(since_connected(error));
}

json_t *with_error(json_t *object, int error)
{
    const char *name = signals_seen() ? "interrupted" : p2p_error_name(since_connected(error));

    if (error != 0)
        json_object_set_new(object, "error", json_string(name));
    return object;
}

void complain_of_stream(const struct options *options, const char *service, int error)
{
    if (error == P2P_ERR_STREAM_REFUSED)
        complain("%s %s: the peer does not serve /%s/1.0.0; start it with --%s", service, options->arguments[0],
                 service, service);
    else
        complain("%s %s: %s", service, options->arguments[0], client_reason(error));
}

int open_stream(struct p2p_node *node, struct p2p_stream **stream, const char *id, const char *service,
                const struct options *options)
{
    char protocol[P2P_PROTOCOL_BYTES_MAX];
    const char *protocols[] = {protocol};
    int error;

    snprintf(protocol, sizeof(protocol), "/%s/1.0.0", service);
    error = p2p_stream_open(node, stream, id, protocols, 1, (int)options->timeout_ms, NULL);
    if (error != 0)
        complain_of_stream(options, service, error);
    return error;
}

struct p2p_node *dial_of(const struct options *options, char id[P2P_ID_TEXT_BYTES], int *status)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = client_new(options, status);
    int error;

    if (node == NULL)
        return NULL;
    error = p2p_node_start(node, &text);
    if (error == 0)
        error = p2p_node_connect(node, id, options->arguments[0], (int)options->timeout_ms, &text);
    if (error == 0)
        return node;
    complain("%s", text.text[0] != '\0' && !signals_seen() ? text.text : client_reason(error));
    /* A call that ran out of time is a connection that was not there in time. */
    *status = client_exit(error == P2P_ERR_CALL_TIMEOUT ? P2P_ERR_CONN_TIMEOUT : error);
    hang_up(node);
    return NULL;
}
