#include "interop.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Cases about peers and connections. */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

void case_ping(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    size_t wanted = interop_count(command, 1), middle = wanted / 2;
    struct p2p_node *node = interop_dial(command, id);
    uint64_t *rtts = calloc(wanted + 1, sizeof(*rtts));
    json_t *fields = json_object();
    int error = 0;

    if (node == NULL) {
        free(rtts);
        json_decref(fields);
        return;
    }
    for (size_t i = 0; i < wanted && error == 0; i++)
        error = p2p_node_ping(node, &rtts[i], id, TIMEOUT_MS);
    qsort(rtts, wanted, sizeof(*rtts), compare_u64);
    json_object_set_new(fields, "rttUs", json_real((double)rtts[middle] / 1000));
    json_object_set_new(fields, "security", json_string(interop_settings.plaintext ? "/plaintext/2.0.0" : "/noise"));
    interop_answer_error(command, fields, error);
    free(rtts);
    p2p_node_free(node);
}

static json_t *strings(char **texts, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static void put_identity(json_t *fields, const struct p2p_identity *identity)
{
    json_object_set_new(fields, "remoteId", json_string(identity->id));
    json_object_set_new(fields, "agent", json_string(identity->agent_version));
    json_object_set_new(fields, "protocolVersion", json_string(identity->protocol_version));
    json_object_set_new(fields, "protocols", strings(identity->protocols, identity->protocol_count));
    json_object_set_new(fields, "listenAddrs", strings(identity->addresses, identity->address_count));
    json_object_set_new(fields, "observedAddr", json_string(identity->observed_address));
    json_object_set_new(fields, "signedPeerRecord", json_string(identity->signed_record ? "valid" : "none"));
    json_object_set_new(fields, "security", json_string(interop_settings.plaintext ? "/plaintext/2.0.0" : "/noise"));
}

void case_identify(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES], own[P2P_ID_TEXT_BYTES];
    struct p2p_identity *identity = NULL;
    struct p2p_node *node = interop_dial(command, id);
    json_t *fields;
    int error;

    if (node == NULL)
        return;
    fields = json_object();
    interop_keep(node);
    (void)p2p_node_id(node, own); /* a node has one */
    json_object_set_new(fields, "localId", json_string(own));
    error = p2p_node_identify(node, &identity, id, TIMEOUT_MS);
    if (error == 0)
        put_identity(fields, identity);
    interop_answer_error(command, fields, error);
    p2p_identity_free(identity);
}

void case_learned(const struct command *command)
{
    struct p2p_identity *identity = NULL;
    json_t *fields = json_object();
    double deadline_s = interop_now_s() + 10;
    int error;

    /* The dialler may be told that it is connected a little before we are. */
    do {
        error = p2p_node_identify(interop_listening, &identity, command->arguments[0], 10000);
        if (error == P2P_ERR_CALL_NOT_FOUND)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
    } while (error == P2P_ERR_CALL_NOT_FOUND && interop_now_s() < deadline_s);
    if (error == 0)
        put_identity(fields, identity);
    interop_answer_error(command, fields, error);
    p2p_identity_free(identity);
}

void case_wrong_id(const struct command *command)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    int error = interop_node(&node, false, &text);
    json_t *fields;

    if (error == 0)
        error = p2p_node_connect(node, NULL, command->arguments[0], TIMEOUT_MS, &text);
    fields = json_pack("{s:s}", "refusal", text.text);
    if (error == P2P_ERR_CONN_PEER_ID)
        interop_answer(command, fields, NULL);
    else
        interop_answer(command, fields, "refused for another reason, or not at all: %s", p2p_error_name(error));
    p2p_node_free(node);
}

static uint32_t connections_to(struct p2p_node *node, const char *id, uint64_t *since_ns)
{
    struct p2p_peer peers[64];
    size_t count = 0;

    (void)p2p_node_connected_peers(node, peers, 64, &count); /* none counts as none */
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(peers[i].id, id) == 0) {
            *since_ns = peers[i].since_ns;
            return peers[i].connections;
        }
    }
    return 0;
}

void case_idle(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = interop_dial(command, id);
    uint64_t seconds = interop_count(command, 1), since_ns = 0, rtt_ns;
    double begin_s = interop_now_s();
    struct p2p_event event;
    int error = 0;

    if (node == NULL)
        return;
    /* Whatever happens to the connection is an event. */
    while (error == 0 && interop_now_s() - begin_s < (double)seconds) {
        int left_ms = (int)((begin_s + (double)seconds - interop_now_s()) * 1000) + 1;

        if (p2p_node_wait_event(node, &event, left_ms) == 0 && event.type == P2P_EVENT_PEER_DISCONNECTED)
            error = event.error != 0 ? event.error : P2P_ERR_CONN_CLOSED;
    }
    if (error == 0 && (connections_to(node, id, &since_ns) != 1 || since_ns < (seconds - 1) * 1000000000u))
        error = P2P_ERR_CONN_CLOSED;
    if (error == 0)
        error = p2p_node_ping(node, &rtt_ns, id, TIMEOUT_MS);
    interop_answer_error(command, json_object(), error);
    p2p_node_free(node);
}

void case_simultaneous(const struct command *command)
{
    struct p2p_error_text text = {""};
    char id[P2P_ID_TEXT_BYTES];
    uint64_t rtt_ns, since_ns;
    int error = P2P_ERR_CONN_CLOSED;

    /* A connection that the peer closed in the round before may seem to be there still. */
    for (int i = 0; i < 3 && error == P2P_ERR_CONN_CLOSED; i++) {
        error = p2p_node_connect(interop_listening, id, command->arguments[0], TIMEOUT_MS, &text);
        if (error == 0)
            error = p2p_node_ping(interop_listening, &rtt_ns, id, TIMEOUT_MS);
    }
    if (error != 0)
        interop_answer(command, json_object(), "%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    else
        interop_answer(command, json_pack("{s:i}", "connections",
                                          (int)connections_to(interop_listening, id, &since_ns)), NULL);
}

void case_disconnect(const struct command *command)
{
    int error = p2p_node_disconnect(interop_listening, command->arguments[0]);

    /* The peer may have been quicker. */
    interop_answer_error(command, json_object(), error == P2P_ERR_CALL_NOT_FOUND ? 0 : error);
}
