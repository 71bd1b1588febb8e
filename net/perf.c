#include "net/perf.h"

#include <assert.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/wire.h"

void perf_server_init(struct perf_server *server)
{
    memset(server, 0, sizeof(*server));
}

int perf_server_recv(struct perf_server *server, const uint8_t *data, size_t length)
{
    size_t part = PERF_HEADER_BYTES - server->filled;

    if (server->ended && length > 0)
        return P2P_ERR_STREAM_PROTOCOL;
    if (part > length)
        part = length;
    if (part > 0)
        memcpy(server->header + server->filled, data, part);
    server->filled += (uint8_t)part;
    server->upload_bytes += length - part;
    return 0;
}

int perf_server_end(struct perf_server *server)
{
    struct wire_reader reader = wire_reader_of(server->header, PERF_HEADER_BYTES);

    if (server->ended || server->filled < PERF_HEADER_BYTES)
        return P2P_ERR_STREAM_PROTOCOL;
    server->ended = true;
    server->send_left = wire_read_u64(&reader);
    return 0;
}

uint64_t perf_server_send_left(const struct perf_server *server)
{
    return server->send_left;
}

void perf_server_sent(struct perf_server *server, uint64_t bytes)
{
    assert(bytes <= server->send_left);
    server->send_left -= bytes;
}

bool perf_server_done(const struct perf_server *server)
{
    return server->ended && server->send_left == 0;
}
