#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The references: what plain C on sockets does with the same cipher.  `raw` is
 * a program of the contract of tests/interop/README.md, "Load", that speaks no
 * libp2p: its works are bulk, rtt, rr, and `handshake`, of which a unit is the
 * crypto of one side, without a network. */

enum limits_sizes {
    LIMITS_FRAME_BYTES = 65519,                     /* the longest that Noise seals */
    LIMITS_RECORD_BYTES = LIMITS_FRAME_BYTES + 18,
    LIMITS_FRAMES = 4,                              /* of a send: more is no faster */
    LIMITS_PIECE_BYTES = 262144,                    /* of a send without the cipher */
    LIMITS_CONNECTIONS_MAX = 10000,
    LIMITS_SIZE_BYTES_MAX = 65519,                  /* of a message */
};

/* Sockets of loopback; these exit with a message when something fails. */
/* On a free port of address->sin_addr, which it tells. */
int limits_listen(struct sockaddr_in *address);
int limits_connect(const struct sockaddr_in *address);
/* False when the connection has ended. */
bool limits_write_all(int fd, const uint8_t *data, size_t length);

/* What the dialler tells first on each connection. */
enum limits_mode { LIMITS_TAKE = 1, LIMITS_GIVE, LIMITS_PING, LIMITS_ECHO };

struct limits_hello {
    uint8_t mode, sealed;
    uint16_t unused;
    uint32_t size; /* of a message */
};

enum limits_phase { LIMITS_WARM, LIMITS_MEASURED, LIMITS_OVER };

/* A `load` command. */
struct limits_load {
    const char *tag;
    struct sockaddr_in address;
    unsigned connections, streams, size;
    bool up, down, sealed;
    double rate, warm_s, seconds;
    unsigned spin_us;
    int phase;  /* atomic */
};

struct histogram;

/* Tells the two moments. */
void limits_begin(struct limits_load *load);
void limits_end(struct limits_load *load);
/* Answers.  Without latencies `latency_ns` is NULL. */
void limits_answer(struct limits_load *load, double units, double seconds, const struct histogram *latency_ns);
void limits_refuse(const char *tag, const char *error);

/* The works: they connect, warm up, measure and answer. */
void limits_bulk(struct limits_load *load);
void limits_rtt(struct limits_load *load);
void limits_rr(struct limits_load *load);
void limits_sides(struct limits_load *load);

/* The listener's part: `fd` is given away.  Each returns when it has started what
 * serves the connection. */
void limits_serve_stream(int fd, const struct limits_hello *hello, unsigned spin_us);
void limits_serve_echo(int fd, const struct limits_hello *hello, unsigned spin_us);

#endif
