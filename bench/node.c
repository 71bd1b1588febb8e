#include "node.h"

#include "bench.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void node_check(int error, const char *what)
{
    if (error < 0)
        bench_die("%s: %s", what, p2p_error_string(error));
}

struct p2p_node *node_make(struct p2p_runtime *runtime, bool listens)
{
    struct p2p_error_text text = {""};
    struct p2p_config *config = p2p_config_new();
    struct p2p_node *node = NULL;
    int error;

    if (config == NULL)
        bench_die("no memory for a configuration");
    node_check(p2p_config_listen(config, listens ? "/ip4/127.0.0.1/tcp/0" : NULL, &text), "listen");
    node_check(p2p_config_max_connections(config, 0), "max_connections");
    node_check(p2p_config_pending_handshakes(config, 4096), "pending_handshakes");
    node_check(p2p_config_serve_perf(config, true), "serve_perf");
    node_check(p2p_config_serve_echo(config, true), "serve_echo");
    node_check(p2p_config_status_interval_ms(config, 0), "status_interval");
    node_check(p2p_config_workers(config, 1), "workers");
    error = p2p_node_new(&node, config, runtime, &text);
    if (error == 0)
        error = p2p_node_start(node, &text);
    p2p_config_free(config);
    if (error != 0)
        bench_die("node: %s", text.text);
    return node;
}

void node_connect(struct p2p_node *node, char id[P2P_ID_TEXT_BYTES], const char *address)
{
    struct p2p_error_text text = {""};

    if (p2p_node_connect(node, id, address, 30000, &text) != 0)
        bench_die("connect: %s", text.text);
}

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static void answer(void)
{
    char line[64];

    if (fgets(line, sizeof(line), stdin) == NULL) {
        ended = 1;
        return;
    }
    if (strcmp(line, "heap\n") != 0)
        return;
    printf("%" PRIu64 "\n", bench_allocations());
    fflush(stdout);
}

int bench_serve(const struct bench_options *options)
{
    struct rlimit limit;
    struct p2p_address address;
    struct p2p_node *node;
    struct p2p_event event;
    size_t count = 0;

    (void)options;
    bench_pin(1);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections then */
    }
    signal(SIGTERM, on_signal);
    node = node_make(NULL, true);
    node_check(p2p_node_addresses(node, &address, 1, &count), "addresses");
    printf("%s\nready\n", address.text);
    fflush(stdout);
    while (!ended) {
        struct pollfd waits[2] = {{.fd = p2p_node_event_fd(node), .events = POLLIN},
                                  {.fd = STDIN_FILENO, .events = POLLIN}};

        if (poll(waits, 2, -1) > 0 && waits[1].revents != 0)
            answer();
        while (p2p_node_next_event(node, &event) == 0)
            ;
    }
    p2p_node_free(node);
    return 0;
}
