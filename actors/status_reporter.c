#include "actors/status_reporter.h"

#include "actors/registry.h"
#include "runtime/log.h"

#include <stdio.h>

/* Appends to a text that may be full. */
static size_t append(char *text, size_t length, size_t bytes, const char *format, const char *what)
{
    int added = length < bytes ? snprintf(text + length, bytes - length, format, what) : 0;

    return length + (size_t)(added < 0 ? 0 : added);
}

void status_reporter_lines(struct p2p_node *node, char *status, size_t status_bytes, char *peers,
                           size_t peers_bytes)
{
    struct peer_id ids[STATUS_REPORTER_PEERS_MAX];
    char own[PEER_ID_SHORT_SIZE], text[PEER_ID_SHORT_SIZE + 32];
    size_t count = registry_ids(node->registry, ids, STATUS_REPORTER_PEERS_MAX);
    size_t length = 0;

    peer_id_to_short(&node->id, own);
    snprintf(status, status_bytes, "Bzzz Node Status - ID: %s, Connected Peers: %zu", own, count);
    peers[0] = '\0';
    if (count == 0)
        return;
    length = append(peers, 0, peers_bytes, "%s", "Connected to: ");
    for (size_t i = 0; i < count && i < STATUS_REPORTER_PEERS_MAX; i++) {
        peer_id_to_short(&ids[i], text);
        length = append(peers, length, peers_bytes, i ? ", %s" : "%s", text);
    }
    if (count > STATUS_REPORTER_PEERS_MAX) {
        snprintf(text, sizeof(text), "%zu", count - STATUS_REPORTER_PEERS_MAX);
        append(peers, length, peers_bytes, " and %s more", text);
    }
}

static void report(struct actor_context *context)
{
    char status[128], peers[LOG_LINE_BYTES_MAX];

    if (!log_enabled(context->scope, LOG_LEVEL_INFO))
        return;
    status_reporter_lines(node_of(context), status, sizeof(status), peers, sizeof(peers));
    LOG(context, LOG_LEVEL_INFO, "node_status", "message=%s", status);
    if (peers[0])
        LOG(context, LOG_LEVEL_INFO, "node_peers", "message=%s", peers);
}

static void arm(struct actor_context *context)
{
    uint64_t interval_ns = node_of(context)->config.status_interval_ms * 1000000ull;

    actor_deadline(context, interval_ns ? context->now_ns + interval_ns : UINT64_MAX);
}

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    (void)state;
    (void)argument;
    arm(context);
    return 0;
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    (void)state;
    if (message->type == MESSAGE_STOP) {
        actor_exit(context);
    } else if (message->type == MESSAGE_TIMER) {
        report(context);
        arm(context);
    }
}

const struct actor_class status_reporter_class = {
    .name = "status_reporter",
    .state_bytes = 1,
    .mail_max = 8,
    .init = on_init,
    .receive = receive,
};
