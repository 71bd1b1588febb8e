#include "program.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The node itself. */

enum { ADDRESSES_PRINTED_MAX = 256 };

/* The library changes no limits of the process; the program may. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections, if it is refused */
    }
}

static int print_addresses(struct p2p_node *node)
{
    struct p2p_address *addresses = calloc(ADDRESSES_PRINTED_MAX, sizeof(*addresses));
    size_t count = 0;
    int error = addresses == NULL ? P2P_ERR_CALL_NOMEM
                                  : p2p_node_addresses(node, addresses, ADDRESSES_PRINTED_MAX, &count);

    for (size_t i = 0; error == 0 && i < count && i < ADDRESSES_PRINTED_MAX; i++)
        print("%s\n", addresses[i].text);
    free(addresses);
    if (error == 0)
        print("ready\n");
    return error;
}

/* Streams that nobody registered for cannot come; events are read so that they
 * do not pile up. */
static void take_events(struct p2p_node *node)
{
    struct p2p_event event;

    while (p2p_node_next_event(node, &event) == 0)
        ;
}

static void wait_for_signal(struct p2p_node *node, int signal_fd)
{
    struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN},
                           {.fd = p2p_node_event_fd(node), .events = POLLIN}};

    while (!signals_seen()) {
        (void)poll(fds, 2, -1); /* a signal in between ends it too */
        take_events(node);
    }
}

/* From the start to the end, however that comes. */
static int serve(struct p2p_node *node, int signal_fd)
{
    struct p2p_error_text text = {""};
    int error = p2p_node_start(node, &text);

    if (error == 0)
        error = print_addresses(node);
    if (error != 0) {
        complain("%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
        return exit_of(error);
    }
    if (!output_taken())
        return EXIT_FAILED;
    wait_for_signal(node, signal_fd);
    error = p2p_node_close(node, CLOSE_MS_MAX);
    if (error != 0)
        complain("the node did not close within %d s: %s; another signal ends the program at once",
                 CLOSE_MS_MAX / 1000, p2p_error_string(error));
    return exit_of(error);
}

int command_run(const struct options *options)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    struct p2p_config *config;
    int signal_fd, status = EXIT_FAILED, error;

    raise_descriptors();
    signal_fd = signals_begin();
    if (signal_fd < 0) {
        complain("cannot wait for signals: %s; raise the limit of open files (ulimit -n)", strerror(errno));
        return EXIT_FAILED;
    }
    signal(SIGPIPE, SIG_IGN); /* who reads our addresses may go */
    config = config_of(options, true, &status);
    if (config == NULL)
        return status;
    error = p2p_node_new(&node, config, NULL, &text);
    p2p_config_free(config);
    if (error != 0) {
        complain("%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
        return exit_of(error);
    }
    status = serve(node, signal_fd);
    p2p_node_free(node);
    return status;
}
