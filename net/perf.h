#ifndef NET_PERF_H
#define NET_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The serving side of /perf/1.0.0 (libp2p specs, perf/perf.md), without I/O and
 * without payload: the client says in 64 bits how many bytes it wants, sends what it likes and
 * closes its direction; then the server sends that many and closes.  Payload
 * is of no meaning, so only its length passes through here. */

enum perf_limits {
    PERF_HEADER_BYTES = 8, /* big-endian */
};

struct perf_server {
    uint64_t upload_bytes; /* received, without the header */
    uint64_t send_left;    /* once ended */
    uint8_t filled;
    bool ended;
    uint8_t header[PERF_HEADER_BYTES];
};

void perf_server_init(struct perf_server *server);
/* Takes all of it.  0, or P2P_ERR_STREAM_PROTOCOL after the end. */
int perf_server_recv(struct perf_server *server, const uint8_t *data, size_t length);
/* The client has closed.  0, or P2P_ERR_STREAM_PROTOCOL when its header is not whole. */
int perf_server_end(struct perf_server *server);
/* Bytes to send now; 0 before the end. */
uint64_t perf_server_send_left(const struct perf_server *server);
/* `bytes` of these are sent (asserted: no more). */
void perf_server_sent(struct perf_server *server, uint64_t bytes);
/* All is sent: close. */
bool perf_server_done(const struct perf_server *server);

#endif
