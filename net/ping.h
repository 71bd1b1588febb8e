#ifndef NET_PING_H
#define NET_PING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* /ipfs/ping/1.0.0 (libp2p specs, ping/ping.md), without I/O: 32 bytes there,
 * the same 32 back, as often as the client likes on one stream. */

enum ping_limits {
    PING_PAYLOAD_BYTES = 32, /* the spec's */
};

/* The answering side: holds one payload, no more. */
struct ping_server {
    uint8_t filled;
    uint8_t payload[PING_PAYLOAD_BYTES];
};

void ping_server_init(struct ping_server *server);
/* Takes bytes up to the end of one payload; none while one waits to be sent:
 * call send, then again with the rest.  Returns what it took. */
size_t ping_server_recv(struct ping_server *server, const uint8_t *data, size_t length);
/* Writes the payload that is whole; false when none is. */
bool ping_server_send(struct ping_server *server, uint8_t out[PING_PAYLOAD_BYTES]);

/* The asking side: one ping at a time. */
struct ping_client {
    uint64_t sent_ns;
    uint8_t matched;  /* bytes of the answer that have come */
    bool outstanding;
    uint8_t payload[PING_PAYLOAD_BYTES];
};

void ping_client_init(struct ping_client *client);
/* A ping with these random bytes; they are to be sent at once.  0, or
 * P2P_ERR_CALL_STATE while one is outstanding. */
int ping_client_begin(struct ping_client *client, const uint8_t random[PING_PAYLOAD_BYTES], uint64_t now_ns);
/* Takes the answer, in any cuts.  *rtt_ns is at least 1 when it is whole, else 0.
 * 0, or P2P_ERR_STREAM_PROTOCOL: not the bytes we sent, or more than we asked for. */
int ping_client_recv(struct ping_client *client, uint64_t *rtt_ns, const uint8_t *data, size_t length,
                     uint64_t now_ns);
/* When the outstanding ping was sent, or 0. */
uint64_t ping_client_outstanding_ns(const struct ping_client *client);

#endif
