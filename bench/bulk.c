#include "bench.h"
#include "node.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One stream, as many bytes as go through in a given time, over Noise and
 * yamux: /perf/1.0.0 up, from an INLINE stream. */

enum { PIECE_BYTES = 262144 };

struct upload {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t *piece;
    double begin_s, end_s, first_s;
    uint64_t sent;
    uint64_t allocations_begin, allocations_end;
    int error;
    bool sending, done;
};

static void end(struct upload *upload, int error)
{
    pthread_mutex_lock(&upload->lock);
    upload->error = error;
    upload->done = true;
    pthread_cond_signal(&upload->changed);
    pthread_mutex_unlock(&upload->lock);
}

static void send_more(struct p2p_stream *stream, void *user)
{
    struct upload *upload = user;
    int64_t count = 0;

    while (upload->sending) {
        double now_s = bench_now_s();

        if (upload->allocations_begin == 0 && now_s > upload->begin_s + 1)
            upload->allocations_begin = bench_allocations();
        if (now_s > upload->end_s) {
            upload->sending = false;
            upload->allocations_end = bench_allocations();
            (void)p2p_stream_close_write(stream); /* on its worker */
            return;
        }
        count = p2p_stream_write(stream, upload->piece, PIECE_BYTES);
        if (count < PIECE_BYTES)
            break;
        upload->sent += (uint64_t)count;
    }
    if (count > 0)
        upload->sent += (uint64_t)count;
}

static void opened(struct p2p_stream *stream, void *user)
{
    static const uint8_t header[8] = {0, 0, 0, 0, 0, 0, 0, 1}; /* one byte back, when all was read */

    (void)p2p_stream_write(stream, header, sizeof(header)); /* a fresh stream has room */
    send_more(stream, user);
}

static void readable(struct p2p_stream *stream, void *user)
{
    uint8_t in[16];
    int64_t count = p2p_stream_read(stream, in, sizeof(in));

    if (count == P2P_ERR_CALL_AGAIN)
        return;
    p2p_stream_close(stream);
    end(user, count == 1 ? 0 : (int)count);
}

static void failed(struct p2p_stream *stream, void *user, int error)
{
    p2p_stream_close(stream);
    end(user, error);
}

struct bulk_figures {
    double bytes_s, send_cpu_gb, receive_cpu_gb;
    uint64_t allocations;
};

static void upload_once(const struct bench_options *options, const char *command, struct bulk_figures *out)
{
    static const struct p2p_stream_callbacks callbacks = {opened, readable, send_more, failed};
    const char *protocol = "/perf/1.0.0";
    struct upload upload = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
                            .sending = true};
    char address[1024], id[P2P_ID_TEXT_BYTES];
    pid_t listener = bench_listener(options, command, address, sizeof(address));
    struct p2p_node *node = node_make(NULL, false);
    double own_cpu_s, peer_cpu_s, elapsed_s;

    upload.piece = calloc(1, PIECE_BYTES);
    node_connect(node, id, address);
    own_cpu_s = bench_cpu_s(getpid());
    peer_cpu_s = bench_cpu_s(listener);
    upload.begin_s = bench_now_s();
    upload.end_s = upload.begin_s + options->seconds;
    node_check(p2p_stream_open_inline(node, id, &protocol, 1, &callbacks, &upload), "open");
    pthread_mutex_lock(&upload.lock);
    while (!upload.done)
        pthread_cond_wait(&upload.changed, &upload.lock);
    pthread_mutex_unlock(&upload.lock);
    elapsed_s = bench_now_s() - upload.begin_s;
    node_check(upload.error, "upload");
    out->bytes_s = (double)upload.sent / elapsed_s;
    out->send_cpu_gb = (bench_cpu_s(getpid()) - own_cpu_s) / ((double)upload.sent / 1e9);
    out->receive_cpu_gb = (bench_cpu_s(listener) - peer_cpu_s) / ((double)upload.sent / 1e9);
    out->allocations = upload.allocations_end - upload.allocations_begin;
    p2p_node_free(node);
    bench_stop(listener);
    free(upload.piece);
}

int bench_bulk(const struct bench_options *options)
{
    struct bench_samples ours = {0}, raw = {0}, send = {0}, raw_send = {0}, receive = {0}, raw_receive = {0};
    struct bench_samples theirs = {0}, their_receive = {0}, allocations = {0};
    struct bulk_figures figures;
    double send_cpu, receive_cpu;

    bench_pin(0);
    for (unsigned run = 0; run <= options->runs; run++) {
        double rate = limits_pipeline(options->seconds, &send_cpu, &receive_cpu);

        upload_once(options, NULL, &figures);
        if (run == 0)
            continue; /* to warm up */
        bench_add(&raw, rate / 1e6);
        bench_add(&raw_send, send_cpu);
        bench_add(&raw_receive, receive_cpu);
        bench_add(&ours, figures.bytes_s / 1e6);
        bench_add(&send, figures.send_cpu_gb);
        bench_add(&receive, figures.receive_cpu_gb);
        bench_add(&allocations, (double)figures.allocations);
        if (options->against != NULL) {
            upload_once(options, options->against, &figures);
            bench_add(&theirs, figures.bytes_s / 1e6);
            bench_add(&their_receive, figures.receive_cpu_gb);
        }
    }
    bench_row(options, "bulk, one stream, Noise", "MB/s", &ours, &raw, "TCP+AEAD");
    bench_row(options, "bulk, sender's CPU", "s/GB", &send, &raw_send, "TCP+AEAD");
    bench_row(options, "bulk, receiver's CPU", "s/GB", &receive, &raw_receive, "TCP+AEAD");
    bench_row(options, "bulk, heap calls after the first second", "", &allocations, NULL, NULL);
    if (options->against != NULL) {
        bench_row(options, "bulk, to the other listener", "MB/s", &ours, &theirs, "there");
        bench_row(options, "bulk, receiver's CPU, other listener", "s/GB", &receive, &their_receive, "there");
    }
    return 0;
}
