#include "program.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* echo and perf: streams of the public header, as any application uses them. */

enum { PIECE_BYTES = 262144 };

/* A direction of transfer that runs beside the other one. */
struct transfer {
    struct p2p_stream *stream;
    const struct options *options;
    uint64_t bytes;    /* to send */
    uint64_t done;
    uint64_t seed;
    int error;
    bool pseudo_random;
};

/* xorshift64*: the same bytes on the way out and for the comparison. */
static void fill(uint8_t *out, size_t length, uint64_t *state)
{
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word;

        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        word = *state * 2685821657736338717u;
        memcpy(out + i, &word, length - i < 8 ? length - i : 8);
    }
}

static int open_stream(struct p2p_node *node, struct p2p_stream **stream, const char *id, const char *protocol,
                       const struct options *options)
{
    struct p2p_error_text text = {""};
    int error = p2p_stream_open(node, stream, id, &protocol, 1, (int)options->timeout_ms, &text);

    if (error != 0)
        complain("%s", signals_seen() || text.text[0] == '\0' ? client_reason(error) : text.text);
    return error;
}

/* ---- echo ------------------------------------------------------------------ */

/* The only place where the sender may be cancelled: the library's calls hold locks. */
static ssize_t read_input(uint8_t *out, size_t capacity)
{
    ssize_t count;
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    do
        count = read(STDIN_FILENO, out, capacity);
    while (count < 0 && errno == EINTR);
    pthread_setcancelstate(before, &before);
    return count;
}

/* What to send next: its length, 0 at the end, or an error. */
static int64_t next_piece(struct transfer *transfer, uint8_t *piece)
{
    ssize_t count;

    if (transfer->pseudo_random) {
        uint64_t left = transfer->bytes - transfer->done, length = left < PIECE_BYTES ? left : PIECE_BYTES;

        fill(piece, length, &transfer->seed);
        return (int64_t)length;
    }
    count = read_input(piece, PIECE_BYTES);
    if (count < 0)
        complain("standard input: %s", strerror(errno));
    return count < 0 ? P2P_ERR_CALL_IO : count;
}

/* All of it, or an error. */
static int64_t send_piece(struct transfer *transfer, const uint8_t *piece, size_t length)
{
    int64_t count = p2p_stream_write_wait(transfer->stream, piece, length, (int)transfer->options->timeout_ms);

    transfer->done += count > 0 ? (uint64_t)count : 0;
    return count >= 0 && (size_t)count < length ? P2P_ERR_CALL_TIMEOUT : count;
}

static void *send_echo(void *argument)
{
    struct transfer *transfer = argument;
    uint8_t *piece = malloc(PIECE_BYTES);
    int64_t count = piece == NULL ? P2P_ERR_CALL_NOMEM : 1;
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    while (count > 0) {
        count = next_piece(transfer, piece);
        if (count > 0)
            count = send_piece(transfer, piece, (size_t)count);
    }
    free(piece);
    transfer->error = (int)count;
    (void)p2p_stream_close_write(transfer->stream); /* the reader sees what became of it */
    return NULL;
}

/* Reads to the end; compares or prints.  Returns the bytes, or an error. */
static int64_t receive_echo(struct p2p_stream *stream, const struct options *options, uint64_t seed)
{
    uint8_t *in = malloc(PIECE_BYTES), *expected = malloc(PIECE_BYTES);
    int64_t total = 0, count = in == NULL || expected == NULL ? P2P_ERR_CALL_NOMEM : 0;

    while (count >= 0) {
        count = p2p_stream_read_full(stream, in, PIECE_BYTES, (int)options->timeout_ms);
        if (count <= 0)
            break;
        total += count;
        if (options->bytes == 0) {
            if (!options->json && fwrite(in, 1, (size_t)count, stdout) != (size_t)count)
                count = P2P_ERR_CALL_IO;
            continue;
        }
        fill(expected, (size_t)count, &seed);
        if (memcmp(in, expected, (size_t)count) != 0)
            count = P2P_ERR_STREAM_PROTOCOL;
    }
    free(in);
    free(expected);
    return count == P2P_ERR_STREAM_EOF || count == 0 ? total : count;
}

static int echo(struct p2p_stream *stream, const struct options *options)
{
    struct transfer transfer = {.stream = stream, .options = options, .bytes = options->bytes, .seed = 0x5eed,
                                .pseudo_random = options->bytes > 0};
    uint64_t begin_ns = clock_ns();
    int64_t received;
    pthread_t sender;
    double seconds;

    if (pthread_create(&sender, NULL, send_echo, &transfer) != 0)
        return P2P_ERR_CALL_NOMEM;
    received = receive_echo(stream, options, 0x5eed);
    if (received < 0 && !transfer.pseudo_random)
        pthread_cancel(sender); /* it may wait for the terminal */
    pthread_join(sender, NULL);
    seconds = (double)(clock_ns() - begin_ns) / 1e9;
    if (received < 0 || transfer.error != 0)
        return received < 0 ? (int)received : transfer.error;
    if ((uint64_t)received != transfer.done)
        return P2P_ERR_STREAM_PROTOCOL;
    if (options->json)
        print_json(json_pack("{s:I, s:f}", "bytes", (json_int_t)received, "seconds", seconds));
    else if (options->bytes > 0)
        printf("%lld bytes came back unchanged in %.3f s\n", (long long)received, seconds);
    return 0;
}

int command_echo(const struct options *options)
{
    struct p2p_stream *stream = NULL;
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED, error;
    struct p2p_node *node = dial_of(options, id, &status);

    if (node == NULL)
        return status;
    error = open_stream(node, &stream, id, "/echo/1.0.0", options);
    if (error == 0) {
        error = echo(stream, options);
        if (error == P2P_ERR_STREAM_REFUSED)
            complain("echo %s: the peer does not serve /echo/1.0.0; start it with --echo", options->arguments[0]);
        else if (error != 0)
            complain("echo %s: %s", options->arguments[0], client_reason(error));
        p2p_stream_close(stream);
    }
    hang_up(node);
    return client_exit(error);
}

/* ---- perf ------------------------------------------------------------------- */

static void progress(const struct options *options, const char *what, uint64_t bytes, uint64_t total,
                     uint64_t begin_ns, uint64_t *next_ns)
{
    uint64_t now_ns = clock_ns();

    if (now_ns < *next_ns || options->json)
        return;
    *next_ns = now_ns + 1000000000u;
    fprintf(stderr, "%s %5.1f %%  %8.1f MB/s\n", what, 100.0 * (double)bytes / (double)total,
            (double)bytes * 1000 / (double)(now_ns - begin_ns));
}

static int upload(struct p2p_stream *stream, const struct options *options)
{
    uint64_t begin_ns = clock_ns(), next_ns = begin_ns + 1000000000u, done = 0;
    uint8_t header[8], *piece = calloc(1, PIECE_BYTES);
    int64_t count;

    if (piece == NULL)
        return P2P_ERR_CALL_NOMEM;
    for (int i = 0; i < 8; i++)
        header[i] = (uint8_t)(options->download >> (56 - 8 * i));
    count = p2p_stream_write_wait(stream, header, sizeof(header), (int)options->timeout_ms);
    while (count >= 0 && done < options->upload) {
        size_t length = options->upload - done < PIECE_BYTES ? options->upload - done : PIECE_BYTES;

        count = p2p_stream_write_wait(stream, piece, length, (int)options->timeout_ms);
        done += count > 0 ? (uint64_t)count : 0;
        progress(options, "upload  ", done, options->upload, begin_ns, &next_ns);
    }
    free(piece);
    return count < 0 ? (int)count : p2p_stream_close_write(stream);
}

static int64_t download(struct p2p_stream *stream, const struct options *options, uint64_t *first_ns)
{
    uint64_t next_ns = clock_ns() + 1000000000u, done = 0;
    uint8_t *piece = malloc(PIECE_BYTES);
    int64_t count = piece == NULL ? P2P_ERR_CALL_NOMEM : 1;

    while (count > 0) {
        count = p2p_stream_read_wait(stream, piece, PIECE_BYTES, (int)options->timeout_ms);
        if (done == 0)
            *first_ns = clock_ns();
        done += count > 0 ? (uint64_t)count : 0;
        progress(options, "download", done, options->download, *first_ns, &next_ns);
    }
    free(piece);
    return count == P2P_ERR_STREAM_EOF ? (int64_t)done : count;
}

static double rate(uint64_t bytes, uint64_t ns)
{
    return ns == 0 ? 0 : (double)bytes * 1000 / (double)ns;
}

static int perf(struct p2p_stream *stream, const struct options *options)
{
    uint64_t begin_ns = clock_ns(), sent_ns = 0, end_ns;
    int error = upload(stream, options);
    int64_t received;

    if (error != 0)
        return error;
    /* The upload has ended when the peer has read it all, and begins to answer. */
    received = download(stream, options, &sent_ns);
    end_ns = clock_ns();
    if (received < 0)
        return (int)received;
    if ((uint64_t)received != options->download)
        return P2P_ERR_STREAM_PROTOCOL;
    if (options->json)
        print_json(json_pack("{s:I, s:f, s:f, s:I, s:f, s:f}", "uploadBytes", (json_int_t)options->upload,
                             "uploadSeconds", (double)(sent_ns - begin_ns) / 1e9, "uploadMBps",
                             rate(options->upload, sent_ns - begin_ns), "downloadBytes",
                             (json_int_t)options->download, "downloadSeconds", (double)(end_ns - sent_ns) / 1e9,
                             "downloadMBps", rate(options->download, end_ns - sent_ns)));
    else
        printf("upload   %llu bytes in %.3f s: %.1f MB/s\ndownload %llu bytes in %.3f s: %.1f MB/s\n",
               (unsigned long long)options->upload, (double)(sent_ns - begin_ns) / 1e9,
               rate(options->upload, sent_ns - begin_ns), (unsigned long long)options->download,
               (double)(end_ns - sent_ns) / 1e9, rate(options->download, end_ns - sent_ns));
    return 0;
}

int command_perf(const struct options *options)
{
    struct p2p_stream *stream = NULL;
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED, error;
    struct p2p_node *node = dial_of(options, id, &status);

    if (node == NULL)
        return status;
    error = open_stream(node, &stream, id, "/perf/1.0.0", options);
    if (error == 0) {
        error = perf(stream, options);
        if (error == P2P_ERR_STREAM_REFUSED)
            complain("perf %s: the peer does not serve /perf/1.0.0; start it with --perf", options->arguments[0]);
        else if (error != 0)
            complain("perf %s: %s", options->arguments[0], client_reason(error));
        p2p_stream_close(stream);
    }
    hang_up(node);
    return client_exit(error);
}
