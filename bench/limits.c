#include "bench.h"
#include "limits.h"

#include "crypto/aead.h"
#include "crypto/key.h"
#include "crypto/noise.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What plain C on sockets does with the same cipher: the references. */

enum { READ_BYTES = LIMITS_FRAMES * LIMITS_RECORD_BYTES };

int limits_listen(struct sockaddr_in *address)
{
    socklen_t length = sizeof(*address);
    int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address->sin_family = AF_INET;
    address->sin_port = 0;
    if (listening < 0 || setsockopt(listening, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        bind(listening, (struct sockaddr *)address, length) != 0 || listen(listening, SOMAXCONN) != 0 ||
        getsockname(listening, (struct sockaddr *)address, &length) != 0)
        bench_die("cannot listen: %s", strerror(errno));
    return listening;
}

int limits_connect(const struct sockaddr_in *address)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        bench_die("cannot connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

bool limits_write_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t count = send(fd, data, length, MSG_NOSIGNAL);

        if (count <= 0)
            return false;
        data += count;
        length -= (size_t)count;
    }
    return true;
}

/* Opens every record until the end; the parent reads how many bytes and
 * seconds of CPU that was. */
static void pipeline_receive(int fd, int report)
{
    struct aead_context *aead = aead_context_new();
    struct noise_keys keys = {.recv_nonce = 0};
    uint8_t *in = malloc(READ_BYTES);
    size_t have = 0;
    double result[2] = {0, 0};
    ssize_t count;

    while ((count = recv(fd, in + have, READ_BYTES - have, 0)) > 0) {
        size_t at = 0, plain;

        have += (size_t)count;
        while (have - at >= LIMITS_RECORD_BYTES) {
            if (noise_open(&keys, aead, in + at + 2, LIMITS_RECORD_BYTES - 2, &plain) != 0)
                _exit(1);
            result[0] += (double)plain;
            at += LIMITS_RECORD_BYTES;
        }
        memmove(in, in + at, have - at);
        have -= at;
    }
    result[1] = bench_cpu_s(getpid());
    (void)!write(report, result, sizeof(result));
    _exit(0);
}

static double pipeline_send(int fd, double seconds)
{
    struct aead_context *aead = aead_context_new();
    struct noise_keys keys = {.send_nonce = 0};
    uint8_t *plain = calloc(1, LIMITS_FRAME_BYTES), *out = malloc(READ_BYTES);
    double begin_cpu_s = bench_cpu_s(getpid()), end_s = bench_now_s() + seconds;

    while (bench_now_s() < end_s) {
        size_t at = 0;

        for (int i = 0; i < LIMITS_FRAMES; i++) {
            struct aead_piece piece = {plain, LIMITS_FRAME_BYTES};
            size_t written;

            if (noise_seal(&keys, aead, out + at, LIMITS_RECORD_BYTES, &written, &piece, 1) != 0)
                bench_die("the cipher failed");
            at += written;
        }
        if (!limits_write_all(fd, out, at))
            bench_die("the reference's receiver died");
    }
    aead_context_free(aead);
    free(plain);
    free(out);
    return bench_cpu_s(getpid()) - begin_cpu_s;
}

double limits_pipeline(double seconds, double *send_cpu_gb, double *receive_cpu_gb)
{
    struct sockaddr_in address = {.sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listening = limits_listen(&address), report[2], fd;
    double result[2] = {0, 0}, begin_s, send_cpu_s, elapsed_s;
    pid_t child;

    if (pipe(report) != 0)
        bench_die("pipe: %s", strerror(errno));
    child = fork();
    if (child == 0) {
        bench_pin(1);
        pipeline_receive(accept(listening, NULL, NULL), report[1]);
    }
    close(listening);
    close(report[1]);
    fd = limits_connect(&address);
    begin_s = bench_now_s();
    send_cpu_s = pipeline_send(fd, seconds);
    shutdown(fd, SHUT_WR);
    if (read(report[0], result, sizeof(result)) != sizeof(result))
        bench_die("the reference's receiver died");
    elapsed_s = bench_now_s() - begin_s;
    waitpid(child, NULL, 0);
    close(report[0]);
    close(fd);
    *send_cpu_gb = send_cpu_s / (result[0] / 1e9);
    *receive_cpu_gb = result[1] / (result[0] / 1e9);
    return result[0] / elapsed_s;
}

/* ---- Noise -------------------------------------------------------------------- */

static void handshake_once(const struct noise_static *a, const struct noise_static *b, unsigned number)
{
    static const char *const muxers[] = {"/yamux/1.0.0"};
    uint8_t seed[32] = {0}, wire[NOISE_HANDSHAKE_SEND_BYTES_MAX];
    struct noise_handshake *sides[2];
    struct noise_keys keys;
    size_t written, taken;

    memcpy(seed, &number, sizeof(number));
    sides[0] = noise_handshake_new(a, true, NULL, seed, muxers, 1);
    seed[31] = 1;
    sides[1] = noise_handshake_new(b, false, NULL, seed, muxers, 1);
    for (int message = 0; message < 3; message++) {
        struct noise_handshake *from = sides[message & 1], *to = sides[!(message & 1)];

        if (noise_handshake_send(from, wire, sizeof(wire), &written) != 0 ||
            noise_handshake_recv(to, wire, written, &taken) != 0)
            bench_die("a handshake of the reference failed");
    }
    for (int i = 0; i < 2; i++) {
        noise_handshake_split(sides[i], &keys);
        noise_handshake_free(sides[i]);
    }
}

double limits_handshake(unsigned count)
{
    struct key *keys[2];
    struct noise_static *statics[2];
    uint8_t seed[32] = {7};
    double begin_s, spent_s;

    for (int i = 0; i < 2; i++) {
        seed[0] = (uint8_t)(seed[0] + i);
        if (key_new_seed(&keys[i], seed) != 0 || noise_static_new(&statics[i], keys[i], seed) != 0)
            bench_die("no keys for the reference");
    }
    begin_s = bench_cpu_s(getpid());
    for (unsigned i = 0; i < count; i++)
        handshake_once(statics[0], statics[1], i);
    spent_s = bench_cpu_s(getpid()) - begin_s;
    for (int i = 0; i < 2; i++) {
        noise_static_free(statics[i]);
        key_free(keys[i]);
    }
    return spent_s / count / 2; /* both sides were computed here */
}

/* ---- Round trips ---------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double limits_ping(unsigned count)
{
    struct sockaddr_in address = {.sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listening = limits_listen(&address), fd, one = 1;
    double *samples = calloc(count, sizeof(*samples)), median;
    uint8_t payload[32] = {0};
    pid_t child = fork();

    if (child == 0) {
        bench_pin(1);
        fd = accept(listening, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        while (recv(fd, payload, sizeof(payload), MSG_WAITALL) == sizeof(payload) &&
               limits_write_all(fd, payload, sizeof(payload)))
            ;
        _exit(0);
    }
    close(listening);
    fd = limits_connect(&address);
    for (unsigned i = 0; i < count; i++) {
        double begin_s = bench_now_s();

        if (!limits_write_all(fd, payload, sizeof(payload)) ||
            recv(fd, payload, sizeof(payload), MSG_WAITALL) != sizeof(payload))
            bench_die("the reference's echo died");
        samples[i] = bench_now_s() - begin_s;
    }
    close(fd);
    waitpid(child, NULL, 0);
    qsort(samples, count, sizeof(*samples), compare);
    median = samples[count / 2];
    free(samples);
    return median;
}
