#include "program.h"

#include <stdlib.h>

/* perf: a stream of the public header, as any application uses it. */

enum { PIECE_BYTES = 262144 };

struct perf {
    const struct options *options;
    struct p2p_stream *stream;
    uint64_t uploaded, downloaded;
    uint64_t begin_ns;
    uint64_t sent_ns;  /* all that is to be sent has been; 0: not yet */
    uint64_t first_ns; /* the answer begins: the peer has read it all; 0: not yet */
    uint64_t end_ns;
};

static void progress(const struct perf *perf, const char *what, uint64_t bytes, uint64_t total, uint64_t begin_ns,
                     uint64_t *next_ns)
{
    uint64_t now_ns = clock_ns();

    if (now_ns < *next_ns || perf->options->json || bytes == 0)
        return;
    *next_ns = now_ns + 1000000000u;
    fprintf(stderr, "%s %5.1f %%  %8.1f MB/s\n", what, 100.0 * (double)bytes / (double)total,
            (double)bytes * 1000 / (double)(now_ns - begin_ns));
}

static int upload(struct perf *perf)
{
    const struct options *options = perf->options;
    uint64_t next_ns = perf->begin_ns + 1000000000u;
    uint8_t header[8], *piece = calloc(1, PIECE_BYTES);
    int64_t count;
    int error;

    if (piece == NULL)
        return P2P_ERR_CALL_NOMEM;
    for (int i = 0; i < 8; i++)
        header[i] = (uint8_t)(options->download >> (56 - 8 * i));
    count = p2p_stream_write_wait(perf->stream, header, sizeof(header), (int)options->timeout_ms);
    while (count >= 0 && perf->uploaded < options->upload) {
        uint64_t left = options->upload - perf->uploaded;

        count = p2p_stream_write_wait(perf->stream, piece, left < PIECE_BYTES ? left : PIECE_BYTES,
                                      (int)options->timeout_ms);
        perf->uploaded += count > 0 ? (uint64_t)count : 0;
        progress(perf, "upload  ", perf->uploaded, options->upload, perf->begin_ns, &next_ns);
    }
    free(piece);
    error = count < 0 ? (int)count : p2p_stream_close_write(perf->stream);
    if (error == 0)
        perf->sent_ns = clock_ns();
    return error;
}

static int download(struct perf *perf)
{
    const struct options *options = perf->options;
    uint64_t next_ns = perf->sent_ns + 1000000000u;
    uint8_t *piece = malloc(PIECE_BYTES);
    int64_t count = piece == NULL ? P2P_ERR_CALL_NOMEM : 1;

    while (count > 0 && perf->downloaded <= options->download) {
        count = p2p_stream_read_wait(perf->stream, piece, PIECE_BYTES, (int)options->timeout_ms);
        if (perf->first_ns == 0 && (count > 0 || count == P2P_ERR_STREAM_EOF))
            perf->first_ns = clock_ns();
        perf->downloaded += count > 0 ? (uint64_t)count : 0;
        progress(perf, "download", perf->downloaded, options->download, perf->sent_ns, &next_ns);
    }
    free(piece);
    if (count < 0 && count != P2P_ERR_STREAM_EOF)
        return (int)count;
    return perf->downloaded == options->download ? 0 : P2P_ERR_STREAM_PROTOCOL;
}

static double seconds(uint64_t begin_ns, uint64_t end_ns)
{
    return begin_ns == 0 ? 0 : (double)(end_ns - begin_ns) / 1e9;
}

static double rate(uint64_t bytes, double time)
{
    return time > 0 ? (double)bytes / 1e6 / time : 0;
}

static void print_perf(const struct perf *perf, int error)
{
    double up = seconds(perf->begin_ns, perf->first_ns != 0 ? perf->first_ns : perf->end_ns);
    double down = seconds(perf->sent_ns, perf->end_ns);

    if (perf->options->json)
        print_json(with_error(json_pack("{s:I, s:f, s:f, s:I, s:f, s:f}", "uploadBytes", (json_int_t)perf->uploaded,
                                        "uploadSeconds", up, "uploadMBps", rate(perf->uploaded, up), "downloadBytes",
                                        (json_int_t)perf->downloaded, "downloadSeconds", down, "downloadMBps",
                                        rate(perf->downloaded, down)), error));
    else
        print("upload   %llu bytes in %.6f s: %.1f MB/s\ndownload %llu bytes in %.6f s: %.1f MB/s\n",
              (unsigned long long)perf->uploaded, up, rate(perf->uploaded, up), (unsigned long long)perf->downloaded,
              down, rate(perf->downloaded, down));
}

static void complain_of(const struct perf *perf, int error)
{
    if (error == P2P_ERR_STREAM_PROTOCOL && !signals_seen())
        complain("perf %s: the peer sent %s than the %llu bytes asked for; it does not serve /perf/1.0.0 as it should",
                 perf->options->arguments[0], perf->downloaded > perf->options->download ? "more" : "less",
                 (unsigned long long)perf->options->download);
    else
        complain_of_stream(perf->options, "perf", error);
}

static int measure(struct p2p_stream *stream, const struct options *options)
{
    struct perf perf = {.options = options, .stream = stream, .begin_ns = clock_ns()};
    int error = upload(&perf);

    if (error == 0)
        error = download(&perf);
    perf.end_ns = clock_ns();
    if (error != 0)
        complain_of(&perf, error);
    if (error != P2P_ERR_STREAM_REFUSED)
        print_perf(&perf, error);
    return error;
}

int command_perf(const struct options *options)
{
    struct p2p_stream *stream;
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED, error;
    struct p2p_node *node = dial_of(options, id, &status);

    if (node == NULL)
        return status;
    error = open_stream(node, &stream, id, "perf", options);
    if (error == 0) {
        error = measure(stream, options);
        p2p_stream_close(stream);
    }
    hang_up(node);
    return client_exit(error);
}
