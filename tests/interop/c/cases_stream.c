#include "interop.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Cases about streams and their bytes. */

enum {
    HALF_BYTES = 102400,
    PIECE_BYTES = 262144,
};

struct echo {
    struct p2p_stream *stream;
    uint64_t bytes;
    uint8_t key[randombytes_SEEDBYTES];
    uint8_t sent[crypto_hash_sha256_BYTES];
    int error;
};

static void *echo_send(void *argument)
{
    struct echo *echo = argument;
    crypto_hash_sha256_state hash;
    uint8_t *piece = malloc(PIECE_BYTES);
    uint64_t done = 0;
    int64_t count = 0;

    randombytes_buf_deterministic(piece, PIECE_BYTES, echo->key);
    crypto_hash_sha256_init(&hash);
    while (count >= 0 && done < echo->bytes) {
        size_t length = echo->bytes - done < PIECE_BYTES ? echo->bytes - done : PIECE_BYTES;

        sodium_increment(piece, 8); /* no two pieces are alike */
        crypto_hash_sha256_update(&hash, piece, length);
        count = p2p_stream_write_wait(echo->stream, piece, length, TIMEOUT_MS);
        if (count >= 0 && (size_t)count < length)
            count = P2P_ERR_CALL_TIMEOUT;
        done += count > 0 ? (uint64_t)count : 0;
    }
    crypto_hash_sha256_final(&hash, echo->sent);
    echo->error = count < 0 ? (int)count : p2p_stream_close_write(echo->stream);
    free(piece);
    return NULL;
}

/* Sends `bytes` and reads them back; the hex of their hash goes to `digest`. */
static int echo_once(struct p2p_node *node, const char *id, uint64_t bytes, char digest[65])
{
    struct echo echo = {.bytes = bytes};
    crypto_hash_sha256_state hash;
    uint8_t back[crypto_hash_sha256_BYTES], *in = malloc(PIECE_BYTES);
    pthread_t sender;
    int64_t count = 1;
    int error = interop_open(node, &echo.stream, id, "/echo/1.0.0");

    if (error != 0) {
        free(in);
        return error;
    }
    randombytes_buf(echo.key, sizeof(echo.key));
    pthread_create(&sender, NULL, echo_send, &echo);
    crypto_hash_sha256_init(&hash);
    while (count > 0) {
        count = p2p_stream_read_wait(echo.stream, in, PIECE_BYTES, TIMEOUT_MS);
        if (count > 0)
            crypto_hash_sha256_update(&hash, in, (unsigned long long)count);
    }
    crypto_hash_sha256_final(&hash, back);
    if (count != P2P_ERR_STREAM_EOF)
        error = (int)count;
    pthread_join(sender, NULL);
    p2p_stream_close(echo.stream);
    free(in);
    if (error == 0)
        error = echo.error;
    sodium_bin2hex(digest, 65, back, sizeof(back));
    return error != 0 ? error : memcmp(back, echo.sent, sizeof(back)) == 0 ? 0 : P2P_ERR_STREAM_PROTOCOL;
}

void case_echo(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES], digest[65] = "";
    struct p2p_node *node = interop_dial(command, id);
    double begin_s = interop_now_s();
    json_t *fields;
    int error;

    if (node == NULL)
        return;
    error = echo_once(node, id, interop_count(command, 1), digest);
    fields = json_pack("{s:s, s:f}", "sha256", digest, "seconds", interop_now_s() - begin_s);
    interop_answer_error(command, fields, error);
    p2p_node_free(node);
}

/* ---- Many streams: INLINE, all on the connection's worker --------------------- */

struct many {
    struct p2p_node *node;
    const char *peer;
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint64_t total, started, finished, failed;
    int error;
};

struct one {
    struct many *many;
    uint8_t payload[STREAM_BYTES];
    size_t sent, received;
};

static void one_start(struct many *many);

static void one_end(struct p2p_stream *stream, struct one *one, int error)
{
    struct many *many = one->many;
    bool more;

    p2p_stream_close(stream);
    free(one);
    pthread_mutex_lock(&many->lock);
    many->finished++;
    if (error != 0) {
        many->failed++;
        many->error = error;
    }
    more = many->started < many->total;
    if (many->finished == many->total)
        pthread_cond_signal(&many->done);
    pthread_mutex_unlock(&many->lock);
    if (more)
        one_start(many);
}

static void one_opened(struct p2p_stream *stream, void *user)
{
    struct one *one = user;

    (void)p2p_stream_write(stream, one->payload, sizeof(one->payload)); /* a fresh stream has room for it */
    (void)p2p_stream_close_write(stream);
}

static void one_readable(struct p2p_stream *stream, void *user)
{
    struct one *one = user;
    uint8_t in[STREAM_BYTES];
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0) {
        if (one->received + (size_t)count > STREAM_BYTES ||
            memcmp(in, one->payload + one->received, (size_t)count) != 0) {
            one_end(stream, one, P2P_ERR_STREAM_PROTOCOL);
            return;
        }
        one->received += (size_t)count;
    }
    if (count == P2P_ERR_STREAM_EOF)
        one_end(stream, one, one->received == STREAM_BYTES ? 0 : P2P_ERR_STREAM_EOF);
}

static void one_failed(struct p2p_stream *stream, void *user, int error)
{
    one_end(stream, user, error);
}

static void one_start(struct many *many)
{
    static const struct p2p_stream_callbacks callbacks = {one_opened, one_readable, NULL, one_failed};
    const char *protocol = "/echo/1.0.0";
    struct one *one;
    int error;

    pthread_mutex_lock(&many->lock);
    if (many->started == many->total) {
        pthread_mutex_unlock(&many->lock);
        return;
    }
    many->started++;
    pthread_mutex_unlock(&many->lock);
    one = calloc(1, sizeof(*one));
    one->many = many;
    randombytes_buf(one->payload, sizeof(one->payload));
    error = p2p_stream_open_inline(many->node, many->peer, &protocol, 1, &callbacks, one);
    if (error == 0)
        return;
    free(one);
    pthread_mutex_lock(&many->lock);
    many->finished++;
    many->failed++;
    many->error = error;
    pthread_cond_signal(&many->done);
    pthread_mutex_unlock(&many->lock);
}

void case_streams(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct many many = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .peer = id,
                        .total = interop_count(command, 1)};
    uint64_t concurrent = interop_count(command, 2);
    struct p2p_identity *identity = NULL;
    struct timespec until;
    double begin_s;
    int waited;
    json_t *fields;

    many.node = interop_dial(command, id);
    if (many.node == NULL)
        return;
    waited = p2p_node_identify(many.node, &identity, id, TIMEOUT_MS);
    p2p_identity_free(identity);
    if (waited != 0) {
        interop_answer_error(command, json_object(), waited);
        p2p_node_free(many.node);
        return;
    }
    begin_s = interop_now_s();
    for (uint64_t i = 0; i < concurrent; i++)
        one_start(&many);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TIMEOUT_MS / 1000;
    pthread_mutex_lock(&many.lock);
    while (many.finished < many.total && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&many.done, &many.lock, &until);
    pthread_mutex_unlock(&many.lock);
    fields = json_pack("{s:I, s:f}", "failed", (json_int_t)many.failed, "seconds", interop_now_s() - begin_s);
    if (waited == ETIMEDOUT)
        interop_answer(command, fields, "%llu of %llu streams finished in time", (unsigned long long)many.finished,
               (unsigned long long)many.total);
    else
        interop_answer_error(command, fields, many.error);
    p2p_node_free(many.node); /* ends what is left before `many` goes */
}

/* ---- Half-close, reset, refusal ---------------------------------------------- */

static int half_once(struct p2p_node *node, const char *id)
{
    uint8_t *data = malloc(HALF_BYTES), digest[crypto_hash_sha256_BYTES];
    char expected[65], got[66] = "";
    struct p2p_stream *stream = NULL;
    int64_t count = interop_open(node, &stream, id, "/half/1.0.0");

    randombytes_buf(data, HALF_BYTES);
    crypto_hash_sha256(digest, data, HALF_BYTES);
    sodium_bin2hex(expected, sizeof(expected), digest, sizeof(digest));
    if (count == 0)
        count = p2p_stream_write_wait(stream, data, HALF_BYTES, TIMEOUT_MS);
    if (count == HALF_BYTES)
        count = p2p_stream_close_write(stream);
    if (count == 0)
        count = p2p_stream_read_full(stream, got, sizeof(got) - 1, TIMEOUT_MS);
    if (stream != NULL)
        p2p_stream_close(stream);
    free(data);
    if (count < 0)
        return (int)count;
    return count == 64 && memcmp(got, expected, 64) == 0 ? 0 : P2P_ERR_STREAM_PROTOCOL;
}

void case_half(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = interop_dial(command, id);

    if (node == NULL)
        return;
    interop_answer_error(command, json_object(), half_once(node, id));
    p2p_node_free(node);
}

static int reset_once(struct p2p_node *node, const char *id, uint32_t *code)
{
    char digest[65], in[64];
    struct p2p_stream *stream = NULL;
    int64_t count = interop_open(node, &stream, id, "/reset/1.0.0");

    if (count == 0)
        count = p2p_stream_write_wait(stream, "now\n", 4, TIMEOUT_MS);
    while (count > 0)
        count = p2p_stream_read_wait(stream, in, sizeof(in), TIMEOUT_MS);
    if (stream != NULL) {
        *code = p2p_stream_error_code(stream);
        p2p_stream_close(stream);
    }
    return count == P2P_ERR_STREAM_RESET ? echo_once(node, id, STREAM_BYTES, digest) : (int)count;
}

void case_reset(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = interop_dial(command, id);
    uint32_t code = 0;
    int error;

    if (node == NULL)
        return;
    error = reset_once(node, id, &code);
    interop_answer_error(command, json_pack("{s:I}", "code", (json_int_t)code), error);
    p2p_node_free(node);
}

/* ---- perf -------------------------------------------------------------------- */

static int perf_once(struct p2p_node *node, const char *id, uint64_t up, uint64_t down, double *up_s, double *down_s)
{
    struct p2p_stream *stream = NULL;
    uint8_t *piece = calloc(1, PIECE_BYTES), header[8];
    uint64_t done = 0;
    double begin_s = interop_now_s(), first_s = 0;
    int64_t count = interop_open(node, &stream, id, "/perf/1.0.0");

    for (int i = 0; i < 8; i++)
        header[i] = (uint8_t)(down >> (56 - 8 * i));
    if (count == 0)
        count = p2p_stream_write_wait(stream, header, sizeof(header), TIMEOUT_MS);
    while (count >= 0 && done < up) {
        count = p2p_stream_write_wait(stream, piece, up - done < PIECE_BYTES ? up - done : PIECE_BYTES, TIMEOUT_MS);
        done += count > 0 ? (uint64_t)count : 0;
    }
    if (count >= 0)
        count = p2p_stream_close_write(stream) == 0 ? 1 : P2P_ERR_STREAM_CLOSED;
    for (done = 0; count > 0;) {
        count = p2p_stream_read_wait(stream, piece, PIECE_BYTES, TIMEOUT_MS);
        if (done == 0)
            first_s = interop_now_s();
        done += count > 0 ? (uint64_t)count : 0;
    }
    *up_s = first_s - begin_s;
    *down_s = interop_now_s() - first_s;
    if (stream != NULL)
        p2p_stream_close(stream);
    free(piece);
    if (count != P2P_ERR_STREAM_EOF)
        return (int)count;
    return done == down ? 0 : P2P_ERR_STREAM_PROTOCOL;
}

void case_perf(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = interop_dial(command, id);
    double up_s = 0, down_s = 0;
    int error;

    if (node == NULL)
        return;
    error = perf_once(node, id, interop_count(command, 1), interop_count(command, 2), &up_s, &down_s);
    interop_answer_error(command, json_pack("{s:f, s:f}", "upSeconds", up_s, "downSeconds", down_s), error);
    p2p_node_free(node);
}
