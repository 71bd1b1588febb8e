#include "bench.h"
#include "node.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One stream, as many bytes as go through in a given time, over Noise and
 * yamux: /perf/1.0.0 up, from an INLINE stream. */

enum { PIECE_BYTES = 262144 };

struct upload {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t *piece;
    double begin_s, end_s;
    uint64_t sent;
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
        if (bench_now_s() > upload->end_s) {
            upload->sending = false;
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
    uint64_t allocations; /* of both sides, from the first second to just before the end */
};

/* Waits for the end; true when that came before `until_s`. */
static bool wait_until(struct upload *upload, double until_s)
{
    struct timespec until = {(time_t)until_s, (long)((until_s - (double)(time_t)until_s) * 1e9)};
    bool done;

    pthread_mutex_lock(&upload->lock);
    while (!upload->done && pthread_cond_clockwait(&upload->changed, &upload->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    done = upload->done;
    pthread_mutex_unlock(&upload->lock);
    return done;
}

static uint64_t heap_calls(struct bench_program *listener)
{
    char answer[64];

    bench_ask(listener, "heap", answer, sizeof(answer));
    return bench_allocations() + strtoull(answer, NULL, 10);
}

static uint64_t steady_heap_calls(struct upload *upload, struct bench_program *listener)
{
    uint64_t before;

    (void)heap_calls(listener); /* the first makes buffers for lines */
    (void)wait_until(upload, upload->begin_s + 1);
    before = heap_calls(listener);
    (void)wait_until(upload, upload->end_s - 0.05);
    return heap_calls(listener) - before;
}

static void upload_once(const struct bench_options *options, const char *command, struct bulk_figures *out)
{
    static const struct p2p_stream_callbacks callbacks = {opened, readable, send_more, failed};
    const char *protocol = "/perf/1.0.0";
    struct upload upload = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
                            .sending = true};
    char id[P2P_ID_TEXT_BYTES];
    struct bench_program listener;
    struct p2p_node *node = node_make(NULL, false);
    double own_cpu_s, peer_cpu_s, elapsed_s;

    bench_start(options, command, &listener);
    upload.piece = calloc(1, PIECE_BYTES);
    node_connect(node, id, listener.address);
    own_cpu_s = bench_cpu_s(getpid());
    peer_cpu_s = bench_cpu_s(listener.pid);
    upload.begin_s = bench_now_s();
    upload.end_s = upload.begin_s + options->seconds;
    node_check(p2p_stream_open_inline(node, id, &protocol, 1, &callbacks, &upload), "open");
    out->allocations = command == NULL && options->seconds > 1.1 ? steady_heap_calls(&upload, &listener) : 0;
    while (!wait_until(&upload, bench_now_s() + 60))
        ;
    elapsed_s = bench_now_s() - upload.begin_s;
    node_check(upload.error, "upload");
    out->bytes_s = (double)upload.sent / elapsed_s;
    out->send_cpu_gb = (bench_cpu_s(getpid()) - own_cpu_s) / ((double)upload.sent / 1e9);
    out->receive_cpu_gb = (bench_cpu_s(listener.pid) - peer_cpu_s) / ((double)upload.sent / 1e9);
    p2p_node_free(node);
    bench_stop(&listener);
    free(upload.piece);
}

/* Two of `command`, which speak the contract of tests/interop/README.md: one
 * uploads to the other. */
static double between_them(const struct bench_options *options, double guess_bytes_s)
{
    struct bench_program listener, dialler;
    uint64_t bytes = (uint64_t)(guess_bytes_s * options->seconds);
    char question[1200], answer[1024];
    const char *found;

    bench_start(options, options->against, &listener);
    bench_start(options, options->against, &dialler);
    snprintf(question, sizeof(question), "1 perf %s %" PRIu64 " 1", listener.address, bytes);
    bench_ask(&dialler, question, answer, sizeof(answer));
    found = strstr(answer, "\"upSeconds\":");
    if (found == NULL)
        bench_die("%s did not measure: %s", options->against, answer);
    bench_stop(&dialler);
    bench_stop(&listener);
    return (double)bytes / atof(found + strlen("\"upSeconds\":"));
}

struct bulk_samples {
    struct bench_samples ours, raw, send, raw_send, receive, raw_receive, allocations;
    struct bench_samples there, receive_there, between;
};

static void measure(const struct bench_options *options, struct bulk_samples *samples)
{
    struct bulk_figures figures;
    double send_cpu, receive_cpu;

    bench_add(&samples->raw, limits_pipeline(options->seconds, &send_cpu, &receive_cpu) / 1e6);
    bench_add(&samples->raw_send, send_cpu);
    bench_add(&samples->raw_receive, receive_cpu);
    upload_once(options, NULL, &figures);
    bench_add(&samples->ours, figures.bytes_s / 1e6);
    bench_add(&samples->send, figures.send_cpu_gb);
    bench_add(&samples->receive, figures.receive_cpu_gb);
    bench_add(&samples->allocations, (double)figures.allocations);
    if (options->against == NULL)
        return;
    upload_once(options, options->against, &figures);
    bench_add(&samples->there, figures.bytes_s / 1e6);
    bench_add(&samples->receive_there, figures.receive_cpu_gb);
    bench_add(&samples->between, between_them(options, figures.bytes_s) / 1e6);
}

int bench_bulk(const struct bench_options *options)
{
    struct bulk_samples samples = {0}, warm_up = {0};

    bench_pin(0);
    measure(options, &warm_up);
    for (unsigned run = 0; run < options->runs; run++)
        measure(options, &samples);
    bench_row(options, "bulk, one stream, Noise", "MB/s", &samples.ours, &samples.raw, "TCP+AEAD");
    bench_row(options, "bulk, sender's CPU", "s/GB", &samples.send, &samples.raw_send, "TCP+AEAD");
    bench_row(options, "bulk, receiver's CPU", "s/GB", &samples.receive, &samples.raw_receive, "TCP+AEAD");
    bench_row(options, "bulk, heap calls after the first second", "", &samples.allocations, NULL, NULL);
    if (options->against != NULL) {
        bench_row(options, "bulk, to the other listener", "MB/s", &samples.ours, &samples.there, "there");
        bench_row(options, "bulk, receiver's CPU", "s/GB", &samples.receive, &samples.receive_there, "there");
        bench_row(options, "bulk, between two of the other", "MB/s", &samples.ours, &samples.between, "between");
    }
    return 0;
}
