#include "node.h"

#include "bench.h"

#include <stdio.h>
#include <string.h>

enum {
    PENDING_HANDSHAKES_MAX = 65536, /* a storm is let in whole */
    CONNECT_MS_MAX = 60000,
};

void node_check(int error, const char *what)
{
    if (error < 0)
        bench_die("%s: %s", what, p2p_error_string(error));
}

static int configure(struct p2p_config *config, const char *host, struct p2p_error_text *text)
{
    char address[P2P_ADDRESS_TEXT_BYTES];
    int error;

    snprintf(address, sizeof(address), "/ip%d/%s/tcp/0", host != NULL && strchr(host, ':') != NULL ? 6 : 4,
             host != NULL ? host : "");
    error = p2p_config_listen(config, host != NULL ? address : NULL, text);

    if (error == 0)
        error = p2p_config_max_connections(config, 0);
    if (error == 0)
        error = p2p_config_pending_handshakes(config, PENDING_HANDSHAKES_MAX);
    if (error == 0)
        error = p2p_config_serve_perf(config, true);
    if (error == 0)
        error = p2p_config_serve_echo(config, true);
    if (error == 0)
        error = p2p_config_status_interval_ms(config, 0);
    if (error == 0)
        error = p2p_config_connection_timeout_ms(config, CONNECT_MS_MAX);
    return error != 0 ? error : p2p_config_workers(config, 1);
}

int node_try(struct p2p_node **out, struct p2p_runtime *runtime, const char *host, struct p2p_error_text *text)
{
    struct p2p_config *config = p2p_config_new();
    int error = config == NULL ? P2P_ERR_CALL_NOMEM : configure(config, host, text);

    *out = NULL;
    if (error == 0)
        error = p2p_node_new(out, config, runtime, text);
    if (error == 0)
        error = p2p_node_start(*out, text);
    p2p_config_free(config);
    if (error == 0)
        return 0;
    if (text->text[0] == '\0')
        snprintf(text->text, sizeof(text->text), "%s", p2p_error_string(error));
    p2p_node_free(*out);
    *out = NULL;
    return error;
}

struct p2p_node *node_make(struct p2p_runtime *runtime, bool listens)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node;

    if (node_try(&node, runtime, listens ? "127.0.0.1" : NULL, &text) != 0)
        bench_die("node: %s", text.text);
    return node;
}

void node_connect(struct p2p_node *node, char id[P2P_ID_TEXT_BYTES], const char *address)
{
    struct p2p_error_text text = {""};

    if (p2p_node_connect(node, id, address, 30000, &text) != 0)
        bench_die("connect: %s", text.text);
}
