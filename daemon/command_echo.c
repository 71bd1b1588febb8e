#include "program.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* echo: one loop that waits for the standard input and for the stream. */

enum { PIECE_BYTES = 262144 };

/* The same bytes on the way out and for the comparison. */
struct noise {
    uint64_t state, word;
    unsigned left; /* bytes of the word that have not been given out */
};

struct echo {
    const struct options *options;
    struct p2p_node *node;
    struct p2p_stream *stream;
    uint8_t *outgoing, *incoming, *expected; /* PIECE_BYTES each */
    size_t begin, end;         /* of what the stream has not yet taken of `outgoing` */
    struct noise sent_noise, received_noise;
    uint64_t offered;          /* read from the input, or made up */
    uint64_t sent, received;
    uint64_t progress_ns;      /* when something last moved */
    bool all_offered, closed;  /* the input has ended; and the peer was told */
    bool done;                 /* the peer has ended its direction */
    char why[160];             /* of a failure that the error alone does not explain */
};

/* xorshift64* */
static void fill(struct noise *noise, uint8_t *out, size_t length)
{
    while (length > 0) {
        size_t part;

        if (noise->left == 0) {
            noise->state ^= noise->state >> 12;
            noise->state ^= noise->state << 25;
            noise->state ^= noise->state >> 27;
            noise->word = noise->state * 2685821657736338717u;
            noise->left = sizeof(noise->word);
        }
        part = length < noise->left ? length : noise->left;
        memcpy(out, (const uint8_t *)&noise->word + sizeof(noise->word) - noise->left, part);
        noise->left -= (unsigned)part;
        out += part;
        length -= part;
    }
}

static void moved(struct echo *echo)
{
    echo->progress_ns = clock_ns();
}

/* ---- sending --------------------------------------------------------------- */

/* The next piece, of that length; 0 is the end. */
static void offer(struct echo *echo, size_t length)
{
    echo->begin = 0;
    echo->end = length;
    echo->offered += length;
    echo->all_offered = length == 0;
    moved(echo);
}

static void offer_noise(struct echo *echo)
{
    uint64_t left = echo->options->bytes - echo->offered, length = left < PIECE_BYTES ? left : PIECE_BYTES;

    fill(&echo->sent_noise, echo->outgoing, length);
    offer(echo, length);
}

static int offer_input(struct echo *echo)
{
    ssize_t count = read(STDIN_FILENO, echo->outgoing, PIECE_BYTES);

    if (count >= 0) {
        offer(echo, (size_t)count);
    } else if (errno != EINTR && errno != EAGAIN) {
        snprintf(echo->why, sizeof(echo->why), "standard input: %s; give it something that can be read, or --bytes",
                 strerror(errno));
        return P2P_ERR_CALL_IO;
    }
    return 0;
}

/* As much as the stream takes of what there is. */
static int push(struct echo *echo)
{
    for (;;) {
        int64_t count;

        if (echo->begin == echo->end && echo->options->pseudo_random && !echo->all_offered)
            offer_noise(echo);
        if (echo->begin == echo->end && (echo->closed || !echo->all_offered))
            return 0;
        if (echo->begin == echo->end) {
            echo->closed = true;
            return p2p_stream_close_write(echo->stream);
        }
        count = p2p_stream_write(echo->stream, echo->outgoing + echo->begin, echo->end - echo->begin);
        if (count < 0)
            return count == P2P_ERR_CALL_AGAIN ? 0 : (int)count;
        echo->begin += (size_t)count;
        echo->sent += (uint64_t)count;
        moved(echo);
    }
}

/* ---- receiving ------------------------------------------------------------- */

static int compare(struct echo *echo, size_t length)
{
    size_t at = 0;

    fill(&echo->received_noise, echo->expected, length);
    if (memcmp(echo->incoming, echo->expected, length) == 0)
        return 0;
    while (echo->incoming[at] == echo->expected[at])
        at++;
    snprintf(echo->why, sizeof(echo->why),
             "byte %llu was sent as 0x%02x and came back as 0x%02x; the peer does not echo",
             (unsigned long long)(echo->received + at), echo->expected[at], echo->incoming[at]);
    return P2P_ERR_STREAM_PROTOCOL;
}

static int take(struct echo *echo, size_t length)
{
    int error = 0;

    moved(echo);
    if (echo->received + length > echo->sent) {
        snprintf(echo->why, sizeof(echo->why), "more came back than was sent; the peer does not echo");
        return P2P_ERR_STREAM_PROTOCOL;
    }
    if (echo->options->pseudo_random)
        error = compare(echo, length);
    else if (!echo->options->json && !print_bytes(echo->incoming, length))
        error = P2P_ERR_CALL_IO; /* finish_output() says it */
    if (error == 0)
        echo->received += length;
    return error;
}

/* All that is there. */
static int pull(struct echo *echo)
{
    int64_t count = 0;
    int error = 0;

    while (error == 0 && (count = p2p_stream_read(echo->stream, echo->incoming, PIECE_BYTES)) > 0)
        error = take(echo, (size_t)count);
    if (error != 0 || count == P2P_ERR_CALL_AGAIN)
        return error;
    if (count != P2P_ERR_STREAM_EOF)
        return (int)count;
    echo->done = true;
    if (echo->closed && echo->received == echo->sent)
        return 0;
    snprintf(echo->why, sizeof(echo->why), "the peer ended the stream after %llu of %llu bytes; its log may tell why",
             (unsigned long long)echo->received, (unsigned long long)echo->offered);
    return P2P_ERR_STREAM_PROTOCOL;
}

/* ---- waiting --------------------------------------------------------------- */

/* The time-out is for the peer: it has none while all that was sent has come
 * back and more may be typed. */
static int64_t patience_ms(const struct echo *echo)
{
    int64_t gone_ms = (int64_t)((clock_ns() - echo->progress_ns) / 1000000);
    bool idle = !echo->all_offered && echo->received == echo->offered;

    if (idle)
        return -1;
    return gone_ms < echo->options->timeout_ms ? echo->options->timeout_ms - gone_ms : 0;
}

/* Until the stream or the input has something. */
static int await(struct echo *echo)
{
    bool hungry = !echo->options->pseudo_random && !echo->all_offered && echo->begin == echo->end;
    struct pollfd wait[] = {{.fd = p2p_node_event_fd(echo->node), .events = POLLIN},
                            {.fd = hungry ? STDIN_FILENO : -1, .events = POLLIN}};
    int64_t left_ms = patience_ms(echo);
    struct p2p_event event;

    if (left_ms == 0)
        return P2P_ERR_CALL_TIMEOUT;
    if (poll(wait, 2, (int)left_ms) < 0 && errno != EINTR)
        return P2P_ERR_CALL_IO;
    while (p2p_node_next_event(echo->node, &event) == 0)
        ; /* whatever it is: the stream itself tells */
    return wait[1].revents != 0 ? offer_input(echo) : 0;
}

/* To the end of the stream. */
static int exchange(struct echo *echo)
{
    int error = 0;

    moved(echo);
    while (error == 0) {
        int send_error = push(echo);

        error = pull(echo); /* of what became of a stream this side knows more */
        if (error == 0 && echo->done)
            return 0;
        if (error == 0)
            error = send_error;
        if (error == 0)
            error = await(echo);
    }
    return error;
}

/* ---- the command ----------------------------------------------------------- */

static void report(const struct echo *echo, double seconds, int error)
{
    const struct options *options = echo->options;

    if (echo->why[0] != '\0' && !signals_seen())
        complain("echo %s: %s", options->arguments[0], echo->why);
    else if (error != 0 && error != P2P_ERR_CALL_IO)
        complain_of_stream(options, "echo", error);
    if (error == P2P_ERR_STREAM_REFUSED)
        return;
    if (options->json)
        print_json(with_error(json_pack("{s:I, s:f}", "bytes", (json_int_t)echo->received, "seconds", seconds),
                              error));
    else if (options->pseudo_random)
        print("%llu bytes came back unchanged in %.3f s\n", (unsigned long long)echo->received, seconds);
}

static int run_echo(struct p2p_node *node, struct p2p_stream *stream, const struct options *options)
{
    static const struct noise seed = {.state = 0x5eed};
    struct echo echo = {.options = options, .node = node, .stream = stream, .sent_noise = seed,
                        .received_noise = seed};
    uint8_t *pieces = malloc((size_t)PIECE_BYTES * 3);
    uint64_t begin_ns = clock_ns();
    int error = P2P_ERR_CALL_NOMEM;

    if (pieces != NULL) {
        echo.outgoing = pieces;
        echo.incoming = pieces + PIECE_BYTES;
        echo.expected = pieces + (size_t)PIECE_BYTES * 2;
        error = exchange(&echo);
    }
    report(&echo, (double)(clock_ns() - begin_ns) / 1e9, error);
    free(pieces);
    return error;
}

int command_echo(const struct options *options)
{
    struct p2p_stream *stream = NULL;
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED, error;
    struct p2p_node *node = dial_of(options, id, &status);

    if (node == NULL)
        return status;
    error = open_stream(node, &stream, id, "echo", options);
    if (error == 0) {
        error = run_echo(node, stream, options);
        p2p_stream_close(stream);
    }
    hang_up(node);
    return client_exit(error);
}
