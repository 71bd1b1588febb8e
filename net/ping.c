#include "net/ping.h"

#include <string.h>

#include "chorus/p2p.h"

void ping_server_init(struct ping_server *server)
{
    server->filled = 0;
}

size_t ping_server_recv(struct ping_server *server, const uint8_t *data, size_t length)
{
    size_t part = PING_PAYLOAD_BYTES - server->filled;

    if (part > length)
        part = length;
    if (part > 0)
        memcpy(server->payload + server->filled, data, part);
    server->filled += (uint8_t)part;
    return part;
}

bool ping_server_send(struct ping_server *server, uint8_t out[PING_PAYLOAD_BYTES])
{
    if (server->filled < PING_PAYLOAD_BYTES)
        return false;
    memcpy(out, server->payload, PING_PAYLOAD_BYTES);
    server->filled = 0;
    return true;
}

void ping_client_init(struct ping_client *client)
{
    memset(client, 0, sizeof(*client));
}

int ping_client_begin(struct ping_client *client, const uint8_t random[PING_PAYLOAD_BYTES], uint64_t now_ns)
{
    if (client->outstanding)
        return P2P_ERR_CALL_STATE;
    memcpy(client->payload, random, PING_PAYLOAD_BYTES);
    client->sent_ns = now_ns > 0 ? now_ns : 1;
    client->outstanding = true;
    client->matched = 0;
    return 0;
}

int ping_client_recv(struct ping_client *client, uint64_t *rtt_ns, const uint8_t *data, size_t length,
                     uint64_t now_ns)
{
    *rtt_ns = 0;
    if (length == 0)
        return 0;
    if (!client->outstanding || length > (size_t)(PING_PAYLOAD_BYTES - client->matched))
        return P2P_ERR_STREAM_PROTOCOL;
    if (memcmp(client->payload + client->matched, data, length) != 0)
        return P2P_ERR_STREAM_PROTOCOL;
    client->matched += (uint8_t)length;
    if (client->matched < PING_PAYLOAD_BYTES)
        return 0;
    client->outstanding = false;
    *rtt_ns = now_ns > client->sent_ns ? now_ns - client->sent_ns : 1;
    return 0;
}

uint64_t ping_client_outstanding_ns(const struct ping_client *client)
{
    return client->outstanding ? client->sent_ns : 0;
}
