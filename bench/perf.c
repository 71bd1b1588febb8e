#include "perf.h"

#include "bench.h"
#include "node.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PIECE_BYTES = 262144, HEADER_BYTES = 8 };

struct exchange {
    uint64_t up, down;
    uint64_t sent, received; /* atomic: the worker writes, whoever tells reads */
    uint8_t *piece;
    bool closed;             /* our side */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int error;
};

static void end(struct exchange *exchange, struct p2p_stream *stream, int error)
{
    p2p_stream_close(stream);
    pthread_mutex_lock(&exchange->lock);
    exchange->done = true;
    exchange->error = error;
    pthread_cond_signal(&exchange->changed);
    pthread_mutex_unlock(&exchange->lock);
}

static void send_more(struct p2p_stream *stream, void *user)
{
    struct exchange *exchange = user;

    while (exchange->sent < exchange->up) {
        uint64_t left = exchange->up - exchange->sent;
        size_t wanted = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        int64_t count = p2p_stream_write(stream, exchange->piece, wanted);

        if (count > 0)
            __atomic_store_n(&exchange->sent, exchange->sent + (uint64_t)count, __ATOMIC_RELAXED);
        if (count != (int64_t)wanted)
            return; /* writable, or failed, goes on */
    }
    if (!exchange->closed)
        (void)p2p_stream_close_write(stream); /* on its worker; `failed` tells the rest */
    exchange->closed = true;
}

static void opened(struct p2p_stream *stream, void *user)
{
    const struct exchange *exchange = user;
    uint8_t header[HEADER_BYTES];

    for (int i = 0; i < HEADER_BYTES; i++)
        header[i] = (uint8_t)(exchange->down >> (8 * (HEADER_BYTES - 1 - i)));
    (void)p2p_stream_write(stream, header, sizeof(header)); /* a fresh stream has room */
    send_more(stream, user);
}

/* A peer may end its side before it has read ours: then nothing was measured. */
static bool is_whole(const struct exchange *exchange)
{
    return exchange->closed && exchange->sent == exchange->up && exchange->received == exchange->down;
}

static void readable(struct p2p_stream *stream, void *user)
{
    struct exchange *exchange = user;
    struct p2p_buffer *buffer;
    int error;

    while ((error = p2p_stream_read_buffer(stream, &buffer)) == 0) {
        __atomic_store_n(&exchange->received, exchange->received + p2p_buffer_length(buffer), __ATOMIC_RELAXED);
        p2p_buffer_free(buffer);
    }
    if (error == P2P_ERR_STREAM_EOF)
        end(exchange, stream, is_whole(exchange) ? 0 : error);
    else if (error != P2P_ERR_CALL_AGAIN)
        end(exchange, stream, error);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    end(user, stream, error);
}

/* Until it is done or a second has passed. */
static bool wait_second(struct exchange *exchange, double until_s)
{
    struct timespec until = {(time_t)until_s, (long)((until_s - (double)(time_t)until_s) * 1e9)};
    bool done;

    pthread_mutex_lock(&exchange->lock);
    while (!exchange->done &&
           pthread_cond_clockwait(&exchange->changed, &exchange->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    done = exchange->done;
    pthread_mutex_unlock(&exchange->lock);
    return done;
}

double perf_exchange(struct p2p_node *node, const char *id, uint64_t up, uint64_t down,
                     void (*tell)(const struct perf_progress *progress))
{
    static const struct p2p_stream_callbacks callbacks = {opened, readable, send_more, failed};
    const char *protocol = "/perf/1.0.0";
    struct exchange exchange = {.up = up, .down = down, .piece = calloc(1, PIECE_BYTES),
                                .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    double begin_s = bench_now_s(), seconds;

    if (exchange.piece == NULL)
        bench_die("no memory");
    node_check(p2p_stream_open_inline(node, id, &protocol, 1, &callbacks, &exchange), "perf");
    for (int second = 1; !wait_second(&exchange, begin_s + second); second++) {
        struct perf_progress progress = {bench_now_s() - begin_s, __atomic_load_n(&exchange.sent, __ATOMIC_RELAXED),
                                         __atomic_load_n(&exchange.received, __ATOMIC_RELAXED)};

        if (tell != NULL)
            tell(&progress);
    }
    seconds = bench_now_s() - begin_s;
    node_check(exchange.error, "perf");
    free(exchange.piece);
    return seconds;
}
