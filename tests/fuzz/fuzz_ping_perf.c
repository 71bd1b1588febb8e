/* The ping machines, and the serving one of perf: any bytes, in any cuts. */

#include <assert.h>
#include <string.h>

#include "net/perf.h"
#include "net/ping.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What comes back is what went in, 32 bytes at a time. */
static void serve_ping(const uint8_t *data, size_t size)
{
    struct ping_server server;
    uint8_t out[PING_PAYLOAD_BYTES];
    size_t taken = 0, answered = 0;

    ping_server_init(&server);
    while (taken < size) {
        taken += ping_server_recv(&server, data + taken, size - taken);
        while (ping_server_send(&server, out)) {
            assert(memcmp(out, data + answered, sizeof(out)) == 0);
            answered += sizeof(out);
        }
    }
    assert(answered == size - size % PING_PAYLOAD_BYTES);
}

static void ask_ping(const uint8_t *data, size_t size)
{
    struct ping_client client;
    uint64_t rtt_ns = 0;

    if (size < PING_PAYLOAD_BYTES)
        return;
    ping_client_init(&client);
    assert(ping_client_begin(&client, data, 1) == 0);
    assert(ping_client_outstanding_ns(&client) == 1);
    for (size_t at = 0; at < PING_PAYLOAD_BYTES; at++)
        assert(ping_client_recv(&client, &rtt_ns, data + at, 1, 5) == 0);
    assert(rtt_ns == 4 && ping_client_outstanding_ns(&client) == 0);
    (void)ping_client_begin(&client, data, 6); /* the rest is the peer's: right or wrong */
    (void)ping_client_recv(&client, &rtt_ns, data + PING_PAYLOAD_BYTES, size - PING_PAYLOAD_BYTES, 7);
}

static void serve_perf(const uint8_t *data, size_t size, size_t cut)
{
    struct perf_server server;

    perf_server_init(&server);
    assert(perf_server_recv(&server, data, cut) == 0 && perf_server_recv(&server, data + cut, size - cut) == 0);
    assert(perf_server_send_left(&server) == 0);
    if (perf_server_end(&server) != 0) {
        assert(size < PERF_HEADER_BYTES);
        return;
    }
    assert(server.upload_bytes == size - PERF_HEADER_BYTES);
    perf_server_sent(&server, perf_server_send_left(&server));
    assert(perf_server_done(&server) && perf_server_recv(&server, data, 1) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    serve_ping(data, size);
    ask_ping(data, size);
    serve_perf(data, size, data[0] % (size + 1));
    return 0;
}
