#include "limits.h"

#include "bench.h"
#include "crypto/aead.h"
#include "crypto/noise.h"
#include "histogram.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Bulk and round trips on blocking sockets, a thread for each connection: calls
 * or rings make no difference to these. */

#define SEND_BYTES ((size_t)LIMITS_FRAMES * LIMITS_RECORD_BYTES)

/* One end of a connection that carries bulk. */
struct flow {
    int fd;
    bool sealed, sends;
    uint64_t bytes;       /* atomic: of plaintext */
    struct limits_load *load; /* NULL: the listener's */
    pthread_t thread;
};

static void add_bytes(struct flow *flow, uint64_t bytes)
{
    __atomic_store_n(&flow->bytes, flow->bytes + bytes, __ATOMIC_RELAXED); /* one writer */
}

static bool is_over(const struct flow *flow)
{
    return flow->load != NULL && __atomic_load_n(&flow->load->phase, __ATOMIC_RELAXED) == LIMITS_OVER;
}

static void send_plain(struct flow *flow)
{
    uint8_t *piece = calloc(1, LIMITS_PIECE_BYTES);

    while (piece != NULL && !is_over(flow) && limits_write_all(flow->fd, piece, LIMITS_PIECE_BYTES))
        add_bytes(flow, LIMITS_PIECE_BYTES);
    free(piece);
}

static void send_sealed(struct flow *flow)
{
    struct aead_context *aead = aead_context_new();
    struct noise_keys keys = {.send_nonce = 0};
    uint8_t *plain = calloc(1, LIMITS_FRAME_BYTES), *out = malloc(SEND_BYTES);
    bool sent = aead != NULL && plain != NULL && out != NULL;

    while (sent && !is_over(flow)) {
        size_t at = 0;

        for (int i = 0; i < LIMITS_FRAMES; i++) {
            struct aead_piece piece = {plain, LIMITS_FRAME_BYTES};
            size_t written;

            if (noise_seal(&keys, aead, out + at, LIMITS_RECORD_BYTES, &written, &piece, 1) != 0)
                bench_die("the cipher failed");
            at += written;
        }
        sent = limits_write_all(flow->fd, out, at);
        add_bytes(flow, (uint64_t)LIMITS_FRAMES * LIMITS_FRAME_BYTES);
    }
    aead_context_free(aead);
    free(plain);
    free(out);
}

static void take_plain(struct flow *flow)
{
    uint8_t *in = malloc(LIMITS_PIECE_BYTES);
    ssize_t count;

    while (in != NULL && (count = recv(flow->fd, in, LIMITS_PIECE_BYTES, 0)) > 0)
        add_bytes(flow, (uint64_t)count);
    free(in);
}

static void take_sealed(struct flow *flow)
{
    struct aead_context *aead = aead_context_new();
    struct noise_keys keys = {.recv_nonce = 0};
    uint8_t *in = malloc(SEND_BYTES);
    size_t have = 0;
    ssize_t count;

    while (aead != NULL && in != NULL &&
           (count = recv(flow->fd, in + have, SEND_BYTES - have, 0)) > 0) {
        size_t at = 0, plain;

        for (have += (size_t)count; have - at >= LIMITS_RECORD_BYTES; at += LIMITS_RECORD_BYTES) {
            if (noise_open(&keys, aead, in + at + NOISE_HEADER_BYTES, LIMITS_RECORD_BYTES - NOISE_HEADER_BYTES,
                           &plain) != 0)
                bench_die("a record is not what was sealed");
            add_bytes(flow, plain);
        }
        memmove(in, in + at, have - at);
        have -= at;
    }
    aead_context_free(aead);
    free(in);
}

static void *run_flow(void *argument)
{
    struct flow *flow = argument;

    if (flow->sends)
        (flow->sealed ? send_sealed : send_plain)(flow);
    else
        (flow->sealed ? take_sealed : take_plain)(flow);
    if (flow->load == NULL) {
        close(flow->fd);
        free(flow);
    }
    return NULL;
}

/* ---- Round trips ------------------------------------------------------------------------ */

/* Waits as our workers do: looks for a while, then sleeps. */
static bool receive(int fd, uint8_t *out, size_t length, unsigned spin_us)
{
    uint64_t until_ns = bench_now_ns() + spin_us * 1000ull;
    size_t have = 0;

    while (spin_us > 0 && have < length && bench_now_ns() < until_ns) {
        ssize_t count = recv(fd, out + have, length - have, MSG_DONTWAIT);

        if (count == 0 || (count < 0 && errno != EAGAIN))
            return false;
        have += count > 0 ? (size_t)count : 0;
        sched_yield(); /* whom we wait for may share our CPU */
    }
    return have == length || recv(fd, out + have, length - have, MSG_WAITALL) == (ssize_t)(length - have);
}

struct ponger {
    int fd;
    uint32_t size;
    unsigned spin_us;
};

static void *pong(void *argument)
{
    struct ponger *ponger = argument;
    uint8_t *message = malloc(ponger->size);

    while (message != NULL && receive(ponger->fd, message, ponger->size, ponger->spin_us) &&
           limits_write_all(ponger->fd, message, ponger->size))
        ;
    free(message);
    close(ponger->fd);
    free(ponger);
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*run)(void *argument), void *argument)
{
    if (argument == NULL || pthread_create(thread, NULL, run, argument) != 0)
        bench_die("no thread");
}

void limits_serve_stream(int fd, const struct limits_hello *hello, unsigned spin_us)
{
    pthread_t thread;

    if (hello->mode == LIMITS_PING) {
        struct ponger *ponger = malloc(sizeof(*ponger));

        if (ponger != NULL)
            *ponger = (struct ponger){fd, hello->size, spin_us};
        start_thread(&thread, pong, ponger);
    } else {
        struct flow *flow = malloc(sizeof(*flow));

        if (flow != NULL)
            *flow = (struct flow){.fd = fd, .sealed = hello->sealed, .sends = hello->mode == LIMITS_GIVE};
        start_thread(&thread, run_flow, flow);
    }
    pthread_detach(thread);
}

/* Until a moment of the clock. */
static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static int dial(struct limits_load *load, enum limits_mode mode)
{
    struct limits_hello hello = {(uint8_t)mode, load->sealed, 0, load->size};
    int fd = limits_connect(&load->address);

    if (!limits_write_all(fd, (const uint8_t *)&hello, sizeof(hello)))
        bench_die("the other side is gone");
    return fd;
}

/* Pings one after the other, or when they are due. */
static uint64_t ping_until(struct limits_load *load, int fd, uint64_t until_ns, struct histogram *latency_ns)
{
    uint64_t interval_ns = load->rate > 0 ? (uint64_t)(1e9 / load->rate) : 0, due_ns = bench_now_ns(), count = 0;
    uint8_t message[32] = {0};

    for (uint64_t now_ns = due_ns; now_ns < until_ns; count++) {
        if (interval_ns == 0)
            due_ns = now_ns;
        else if (due_ns > now_ns)
            sleep_until(due_ns);
        if (!limits_write_all(fd, message, sizeof(message)) || !receive(fd, message, sizeof(message), load->spin_us))
            bench_die("the other side is gone");
        now_ns = bench_now_ns();
        histogram_add(latency_ns, now_ns - due_ns);
        due_ns += interval_ns;
    }
    return count;
}

void limits_rtt(struct limits_load *load)
{
    struct histogram *latency_ns = calloc(2, sizeof(*latency_ns)); /* warming up; measured */
    uint64_t begin_ns, count;
    int fd;

    if (latency_ns == NULL)
        bench_die("no memory");
    load->size = 32;
    fd = dial(load, LIMITS_PING);
    (void)ping_until(load, fd, bench_now_ns() + (uint64_t)(load->warm_s * 1e9), &latency_ns[0]);
    limits_begin(load);
    begin_ns = bench_now_ns();
    count = ping_until(load, fd, begin_ns + (uint64_t)(load->seconds * 1e9), &latency_ns[1]);
    limits_end(load);
    limits_answer(load, (double)count, (double)(bench_now_ns() - begin_ns) / 1e9, &latency_ns[1]);
    close(fd);
    free(latency_ns);
}

/* ---- Bulk ---------------------------------------------------------------------------------- */

static uint64_t all_bytes(struct flow *flows, unsigned count)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += __atomic_load_n(&flows[i].bytes, __ATOMIC_RELAXED);
    return sum;
}

void limits_bulk(struct limits_load *load)
{
    unsigned each = load->connections * load->streams, ways = (unsigned)load->up + load->down, count = each * ways;
    struct flow *flows = calloc(count, sizeof(*flows));
    uint64_t bytes, begin_ns;
    double seconds;

    for (unsigned i = 0; flows != NULL && i < count; i++) {
        bool up = load->up && i < each;

        flows[i] = (struct flow){.fd = dial(load, up ? LIMITS_TAKE : LIMITS_GIVE), .sealed = load->sealed,
                                 .sends = up, .load = load};
        start_thread(&flows[i].thread, run_flow, &flows[i]);
    }
    sleep_until(bench_now_ns() + (uint64_t)(load->warm_s * 1e9));
    limits_begin(load);
    begin_ns = bench_now_ns();
    bytes = all_bytes(flows, count);
    sleep_until(begin_ns + (uint64_t)(load->seconds * 1e9));
    bytes = all_bytes(flows, count) - bytes;
    seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
    limits_end(load);
    for (unsigned i = 0; flows != NULL && i < count; i++) {
        shutdown(flows[i].fd, SHUT_RDWR);
        pthread_join(flows[i].thread, NULL);
        close(flows[i].fd);
    }
    limits_answer(load, (double)bytes, seconds, NULL);
    free(flows);
}

/* ---- Crypto ---------------------------------------------------------------------------------- */

enum { HANDSHAKES = 100 }; /* of a call: it makes two identities first */

void limits_sides(struct limits_load *load)
{
    uint64_t begin_ns, until_ns = bench_now_ns() + (uint64_t)(load->warm_s * 1e9);
    uint64_t sides = 0;

    while (bench_now_ns() < until_ns)
        (void)limits_handshake(HANDSHAKES);
    limits_begin(load);
    begin_ns = bench_now_ns();
    until_ns = begin_ns + (uint64_t)(load->seconds * 1e9);
    for (; bench_now_ns() < until_ns; sides += UINT64_C(2) * HANDSHAKES)
        (void)limits_handshake(HANDSHAKES);
    limits_end(load);
    limits_answer(load, (double)sides, (double)(bench_now_ns() - begin_ns) / 1e9, NULL);
}
