/* Our side of the interoperation tests: the contract of README.md beside this
 * folder, through the public header. */

#include <chorus/p2p.h>

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 60000,
    HALF_BYTES = 102400,
    STREAM_BYTES = 1024,
    PIECE_BYTES = 262144,
    RESET_CODE = 4242,
    ARGUMENTS_MAX = 4,
    DETACHED_MAX = 64,
};

struct settings {
    enum p2p_key_type key_type;
    bool plaintext;
};

struct command {
    char id[64], name[32];
    char *arguments[ARGUMENTS_MAX];
    int argument_count;
    char *line;
};

static struct settings settings = {P2P_KEY_ED25519, false};
static struct p2p_node *listening;
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static struct p2p_node *kept[DETACHED_MAX]; /* nodes of `identify`, up until the end; under output_lock */
static unsigned kept_count;

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- Answers --------------------------------------------------------------- */

static void answer(const struct command *command, json_t *fields, const char *format, ...)
{
    char error[700] = "";
    va_list arguments;

    if (format != NULL) {
        va_start(arguments, format);
        vsnprintf(error, sizeof(error), format, arguments);
        va_end(arguments);
    }
    json_object_set_new(fields, "id", json_string(command->id));
    json_object_set_new(fields, "case", json_string(command->name));
    json_object_set_new(fields, "ok", json_boolean(format == NULL));
    if (format != NULL)
        json_object_set_new(fields, "error", json_string(error));
    pthread_mutex_lock(&output_lock);
    json_dumpf(fields, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&output_lock);
    json_decref(fields);
}

static void answer_error(const struct command *command, json_t *fields, int error)
{
    if (error == 0)
        answer(command, fields, NULL);
    else
        answer(command, fields, "%s", p2p_error_string(error));
}

/* ---- Protocols that we serve ------------------------------------------------ */

struct half {
    crypto_hash_sha256_state hash;
};

static void half_opened(struct p2p_stream *stream, void *user)
{
    struct half *half = malloc(sizeof(*half));

    (void)user;
    if (half != NULL)
        crypto_hash_sha256_init(&half->hash);
    p2p_stream_set_user(stream, half);
}

static void half_end(struct p2p_stream *stream, struct half *half)
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    char text[2 * sizeof(digest) + 1];

    crypto_hash_sha256_final(&half->hash, digest);
    sodium_bin2hex(text, sizeof(text), digest, sizeof(digest));
    (void)p2p_stream_write(stream, text, sizeof(text) - 1); /* an empty queue has room for it */
    p2p_stream_close(stream);
    free(half);
}

static void half_readable(struct p2p_stream *stream, void *user)
{
    uint8_t in[16384];
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0)
        crypto_hash_sha256_update(&((struct half *)user)->hash, in, (unsigned long long)count);
    if (count == P2P_ERR_STREAM_EOF)
        half_end(stream, user);
}

static void free_failed(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    free(user);
    p2p_stream_close(stream);
}

static void reset_readable(struct p2p_stream *stream, void *user)
{
    char in[256];
    int64_t count;

    (void)user;
    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0) {
        if (memchr(in, '\n', (size_t)count) != NULL) {
            p2p_stream_reset(stream, RESET_CODE);
            return;
        }
    }
    if (count != P2P_ERR_CALL_AGAIN)
        p2p_stream_close(stream);
}

static const struct p2p_stream_callbacks half_callbacks = {half_opened, half_readable, NULL, free_failed};
static const struct p2p_stream_callbacks reset_callbacks = {NULL, reset_readable, NULL, free_failed};

/* ---- Nodes ------------------------------------------------------------------ */

static void log_line(void *argument, enum p2p_log_level level, const char *line, size_t length)
{
    (void)argument;
    (void)level;
    (void)!write(STDERR_FILENO, line, length);
}

static int node_make(struct p2p_node **node, bool listens, struct p2p_error_text *text)
{
    struct p2p_config *config = p2p_config_new();
    uint8_t key[8192];
    size_t length = sizeof(key);
    int error = config == NULL ? P2P_ERR_CALL_NOMEM : p2p_key_generate(key, &length, settings.key_type, 0);

    if (error == 0)
        error = p2p_config_identity(config, key, length);
    if (error == 0)
        error = p2p_config_listen(config, listens ? "/ip4/127.0.0.1/tcp/0" : NULL, text);
    if (error == 0)
        error = p2p_config_workers(config, 1);
    if (error == 0)
        error = p2p_config_security(config, !settings.plaintext);
    if (error == 0)
        error = p2p_config_max_connections(config, 0);
    if (error == 0)
        error = p2p_config_log(config, P2P_LOG_WARN, P2P_LOG_TEXT, log_line, NULL);
    if (error == 0)
        error = p2p_config_serve_echo(config, true);
    if (error == 0)
        error = p2p_config_serve_perf(config, true);
    if (error == 0)
        error = p2p_node_new(node, config, NULL, text);
    p2p_config_free(config);
    if (error == 0)
        error = p2p_node_start(*node, text);
    return error;
}

/* A new node, connected to the first argument.  Answers by itself on failure. */
static struct p2p_node *dial(const struct command *command, char id[P2P_ID_TEXT_BYTES])
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    int error = node_make(&node, false, &text);

    if (error == 0)
        error = p2p_node_connect(node, id, command->arguments[0], TIMEOUT_MS, &text);
    if (error == 0)
        return node;
    answer(command, json_object(), "%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    p2p_node_free(node);
    return NULL;
}

static int open_stream(struct p2p_node *node, struct p2p_stream **stream, const char *id, const char *protocol)
{
    return p2p_stream_open(node, stream, id, &protocol, 1, TIMEOUT_MS, NULL);
}

static uint64_t count_of(const struct command *command, int index)
{
    return index < command->argument_count ? strtoull(command->arguments[index], NULL, 10) : 0;
}

/* ---- Cases ------------------------------------------------------------------ */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void case_ping(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    size_t wanted = count_of(command, 1);
    struct p2p_node *node = dial(command, id);
    uint64_t *rtts = calloc(wanted + 1, sizeof(*rtts));
    json_t *fields = json_object();
    int error = 0;

    if (node == NULL) {
        free(rtts);
        json_decref(fields);
        return;
    }
    for (size_t i = 0; i < wanted && error == 0; i++)
        error = p2p_node_ping(node, &rtts[i], id, TIMEOUT_MS);
    qsort(rtts, wanted, sizeof(*rtts), compare_u64);
    json_object_set_new(fields, "rttUs", json_real((double)rtts[wanted / 2] / 1000));
    json_object_set_new(fields, "security", json_string(settings.plaintext ? "/plaintext/2.0.0" : "/noise"));
    answer_error(command, fields, error);
    free(rtts);
    p2p_node_free(node);
}

static json_t *strings(char **texts, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static void put_identity(json_t *fields, const struct p2p_identity *identity)
{
    json_object_set_new(fields, "remoteId", json_string(identity->id));
    json_object_set_new(fields, "agent", json_string(identity->agent_version));
    json_object_set_new(fields, "protocolVersion", json_string(identity->protocol_version));
    json_object_set_new(fields, "protocols", strings(identity->protocols, identity->protocol_count));
    json_object_set_new(fields, "listenAddrs", strings(identity->addresses, identity->address_count));
    json_object_set_new(fields, "observedAddr", json_string(identity->observed_address));
    json_object_set_new(fields, "signedPeerRecord", json_string(identity->signed_record ? "valid" : "none"));
    json_object_set_new(fields, "security", json_string(settings.plaintext ? "/plaintext/2.0.0" : "/noise"));
}

static void keep(struct p2p_node *node)
{
    pthread_mutex_lock(&output_lock);
    if (kept_count < DETACHED_MAX)
        kept[kept_count++] = node;
    pthread_mutex_unlock(&output_lock);
}

static void case_identify(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES], own[P2P_ID_TEXT_BYTES];
    struct p2p_identity *identity = NULL;
    struct p2p_node *node = dial(command, id);
    json_t *fields;
    int error;

    if (node == NULL)
        return;
    fields = json_object();
    keep(node);
    (void)p2p_node_id(node, own); /* a node has one */
    json_object_set_new(fields, "localId", json_string(own));
    error = p2p_node_identify(node, &identity, id, TIMEOUT_MS);
    if (error == 0)
        put_identity(fields, identity);
    answer_error(command, fields, error);
    p2p_identity_free(identity);
}

static void case_learned(const struct command *command)
{
    struct p2p_identity *identity = NULL;
    json_t *fields = json_object();
    double deadline_s = now_s() + 10;
    int error;

    /* The dialler may be told that it is connected a little before we are. */
    do {
        error = p2p_node_identify(listening, &identity, command->arguments[0], 10000);
        if (error == P2P_ERR_CALL_NOT_FOUND)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
    } while (error == P2P_ERR_CALL_NOT_FOUND && now_s() < deadline_s);
    if (error == 0)
        put_identity(fields, identity);
    answer_error(command, fields, error);
    p2p_identity_free(identity);
}

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
    int error = open_stream(node, &echo.stream, id, "/echo/1.0.0");

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

static void case_echo(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES], digest[65] = "";
    struct p2p_node *node = dial(command, id);
    double begin_s = now_s();
    json_t *fields;
    int error;

    if (node == NULL)
        return;
    error = echo_once(node, id, count_of(command, 1), digest);
    fields = json_pack("{s:s, s:f}", "sha256", digest, "seconds", now_s() - begin_s);
    answer_error(command, fields, error);
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

static void case_streams(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct many many = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .peer = id,
                        .total = count_of(command, 1)};
    uint64_t concurrent = count_of(command, 2);
    struct p2p_identity *identity = NULL;
    struct timespec until;
    double begin_s;
    int waited;
    json_t *fields;

    many.node = dial(command, id);
    if (many.node == NULL)
        return;
    waited = p2p_node_identify(many.node, &identity, id, TIMEOUT_MS);
    p2p_identity_free(identity);
    if (waited != 0) {
        answer_error(command, json_object(), waited);
        p2p_node_free(many.node);
        return;
    }
    begin_s = now_s();
    for (uint64_t i = 0; i < concurrent; i++)
        one_start(&many);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TIMEOUT_MS / 1000;
    pthread_mutex_lock(&many.lock);
    while (many.finished < many.total && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&many.done, &many.lock, &until);
    pthread_mutex_unlock(&many.lock);
    fields = json_pack("{s:I, s:f}", "failed", (json_int_t)many.failed, "seconds", now_s() - begin_s);
    if (waited == ETIMEDOUT)
        answer(command, fields, "%llu of %llu streams finished in time", (unsigned long long)many.finished,
               (unsigned long long)many.total);
    else
        answer_error(command, fields, many.error);
    p2p_node_free(many.node); /* ends what is left before `many` goes */
}

/* ---- Half-close, reset, refusal ---------------------------------------------- */

static int half_once(struct p2p_node *node, const char *id)
{
    uint8_t *data = malloc(HALF_BYTES), digest[crypto_hash_sha256_BYTES];
    char expected[65], got[66] = "";
    struct p2p_stream *stream = NULL;
    int64_t count = open_stream(node, &stream, id, "/half/1.0.0");

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

static void case_half(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = dial(command, id);

    if (node == NULL)
        return;
    answer_error(command, json_object(), half_once(node, id));
    p2p_node_free(node);
}

static int reset_once(struct p2p_node *node, const char *id, uint32_t *code)
{
    char digest[65], in[64];
    struct p2p_stream *stream = NULL;
    int64_t count = open_stream(node, &stream, id, "/reset/1.0.0");

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

static void case_reset(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = dial(command, id);
    uint32_t code = 0;
    int error;

    if (node == NULL)
        return;
    error = reset_once(node, id, &code);
    answer_error(command, json_pack("{s:I}", "code", (json_int_t)code), error);
    p2p_node_free(node);
}

static void case_wrong_id(const struct command *command)
{
    struct p2p_error_text text = {""};
    struct p2p_node *node = NULL;
    int error = node_make(&node, false, &text);
    json_t *fields;

    if (error == 0)
        error = p2p_node_connect(node, NULL, command->arguments[0], TIMEOUT_MS, &text);
    fields = json_pack("{s:s}", "refusal", text.text);
    if (error == P2P_ERR_CONN_PEER_ID)
        answer(command, fields, NULL);
    else
        answer(command, fields, "refused for another reason, or not at all: %s", p2p_error_name(error));
    p2p_node_free(node);
}

static uint32_t connections_to(struct p2p_node *node, const char *id, uint64_t *since_ns)
{
    struct p2p_peer peers[64];
    size_t count = 0;

    (void)p2p_node_connected_peers(node, peers, 64, &count); /* none counts as none */
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(peers[i].id, id) == 0) {
            *since_ns = peers[i].since_ns;
            return peers[i].connections;
        }
    }
    return 0;
}

static void case_idle(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = dial(command, id);
    uint64_t seconds = count_of(command, 1), since_ns = 0, rtt_ns;
    double begin_s = now_s();
    struct p2p_event event;
    int error = 0;

    if (node == NULL)
        return;
    /* Whatever happens to the connection is an event. */
    while (error == 0 && now_s() - begin_s < (double)seconds) {
        int left_ms = (int)((begin_s + (double)seconds - now_s()) * 1000) + 1;

        if (p2p_node_wait_event(node, &event, left_ms) == 0 && event.type == P2P_EVENT_PEER_DISCONNECTED)
            error = event.error != 0 ? event.error : P2P_ERR_CONN_CLOSED;
    }
    if (error == 0 && (connections_to(node, id, &since_ns) != 1 || since_ns < (seconds - 1) * 1000000000u))
        error = P2P_ERR_CONN_CLOSED;
    if (error == 0)
        error = p2p_node_ping(node, &rtt_ns, id, TIMEOUT_MS);
    answer_error(command, json_object(), error);
    p2p_node_free(node);
}

/* ---- perf, and what the listening node does itself ---------------------------- */

static int perf_once(struct p2p_node *node, const char *id, uint64_t up, uint64_t down, double *up_s, double *down_s)
{
    struct p2p_stream *stream = NULL;
    uint8_t *piece = calloc(1, PIECE_BYTES), header[8];
    uint64_t done = 0;
    double begin_s = now_s(), first_s = 0;
    int64_t count = open_stream(node, &stream, id, "/perf/1.0.0");

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
            first_s = now_s();
        done += count > 0 ? (uint64_t)count : 0;
    }
    *up_s = first_s - begin_s;
    *down_s = now_s() - first_s;
    if (stream != NULL)
        p2p_stream_close(stream);
    free(piece);
    if (count != P2P_ERR_STREAM_EOF)
        return (int)count;
    return done == down ? 0 : P2P_ERR_STREAM_PROTOCOL;
}

static void case_perf(const struct command *command)
{
    char id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node = dial(command, id);
    double up_s = 0, down_s = 0;
    int error;

    if (node == NULL)
        return;
    error = perf_once(node, id, count_of(command, 1), count_of(command, 2), &up_s, &down_s);
    answer_error(command, json_pack("{s:f, s:f}", "upSeconds", up_s, "downSeconds", down_s), error);
    p2p_node_free(node);
}

static void case_simultaneous(const struct command *command)
{
    struct p2p_error_text text = {""};
    char id[P2P_ID_TEXT_BYTES];
    uint64_t rtt_ns, since_ns;
    int error = P2P_ERR_CONN_CLOSED;

    /* A connection that the peer closed in the round before may seem to be there still. */
    for (int i = 0; i < 3 && error == P2P_ERR_CONN_CLOSED; i++) {
        error = p2p_node_connect(listening, id, command->arguments[0], TIMEOUT_MS, &text);
        if (error == 0)
            error = p2p_node_ping(listening, &rtt_ns, id, TIMEOUT_MS);
    }
    if (error != 0)
        answer(command, json_object(), "%s", text.text[0] != '\0' ? text.text : p2p_error_string(error));
    else
        answer(command, json_pack("{s:i}", "connections", (int)connections_to(listening, id, &since_ns)), NULL);
}

static void case_disconnect(const struct command *command)
{
    int error = p2p_node_disconnect(listening, command->arguments[0]);

    answer_error(command, json_object(), error == P2P_ERR_CALL_NOT_FOUND ? 0 : error); /* the peer was quicker */
}

/* ---- Commands ----------------------------------------------------------------- */

static const struct {
    const char *name;
    int arguments;
    void (*run)(const struct command *command);
} cases[] = {
    {"ping", 2, case_ping}, {"identify", 1, case_identify}, {"learned", 1, case_learned}, {"echo", 2, case_echo},
    {"streams", 3, case_streams}, {"half", 1, case_half}, {"reset", 1, case_reset}, {"wrong-id", 1, case_wrong_id},
    {"idle", 2, case_idle}, {"perf", 3, case_perf}, {"simultaneous", 1, case_simultaneous},
    {"disconnect", 1, case_disconnect},
};

static void *run_command(void *argument)
{
    struct command *command = argument;
    size_t count = sizeof(cases) / sizeof(cases[0]), i;

    for (i = 0; i < count && strcmp(cases[i].name, command->name) != 0; i++)
        ;
    if (i == count)
        answer(command, json_object(), "no command '%s'", command->name);
    else if (command->argument_count < cases[i].arguments)
        answer(command, json_object(), "%s needs %d arguments", command->name, cases[i].arguments);
    else
        cases[i].run(command);
    free(command->line);
    free(command);
    return NULL;
}

static void start_command(char *line, pthread_t *thread)
{
    struct command *command = calloc(1, sizeof(*command));
    char *save = NULL, *word;

    command->line = strdup(line);
    word = strtok_r(command->line, " \n", &save);
    snprintf(command->id, sizeof(command->id), "%s", word != NULL ? word : "");
    word = strtok_r(NULL, " \n", &save);
    snprintf(command->name, sizeof(command->name), "%s", word != NULL ? word : "");
    while (command->argument_count < ARGUMENTS_MAX && (word = strtok_r(NULL, " \n", &save)) != NULL)
        command->arguments[command->argument_count++] = word;
    pthread_create(thread, NULL, run_command, command);
}

static int serve_commands(void)
{
    pthread_t *threads = NULL;
    size_t count = 0, capacity = 0;
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, stdin) > 0) {
        if (count == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            pthread_t *more = realloc(threads, capacity * sizeof(*threads));
            if (more == NULL)
                break;
            threads = more;
        }
        start_command(line, &threads[count++]);
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    free(line);
    return 0;
}

/* Events of the listening node are read so that they do not pile up. */
static void *take_events(void *argument)
{
    struct p2p_event event = {0};

    (void)argument;
    while (event.type != P2P_EVENT_NODE_CLOSED) {
        if (p2p_node_wait_event(listening, &event, -1) != 0)
            event.type = P2P_EVENT_NONE;
    }
    return NULL;
}

static int usage(void)
{
    fputs("usage: interop_node listen --key ed25519|rsa|secp256k1|ecdsa [--security noise|plaintext]\n", stderr);
    return 2;
}

static int parse(int argc, char **argv)
{
    static const char *const types[] = {"rsa", "ed25519", "secp256k1", "ecdsa"};

    if (argc < 2 || strcmp(argv[1], "listen") != 0)
        return usage();
    for (int i = 2; i + 1 < argc; i += 2) {
        bool known = false;

        for (int type = 0; strcmp(argv[i], "--key") == 0 && type < 4; type++) {
            if (strcmp(argv[i + 1], types[type]) != 0)
                continue;
            settings.key_type = (enum p2p_key_type)type;
            known = true;
        }
        if (strcmp(argv[i], "--security") == 0) {
            settings.plaintext = strcmp(argv[i + 1], "plaintext") == 0;
            known = settings.plaintext || strcmp(argv[i + 1], "noise") == 0;
        }
        if (!known)
            return usage();
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct p2p_error_text text = {""};
    struct p2p_address addresses[16];
    size_t count = 0;
    pthread_t events;
    int error = parse(argc, argv);

    if (error != 0)
        return error;
    if (sodium_init() < 0)
        return 1;
    error = node_make(&listening, true, &text);
    if (error == 0)
        error = p2p_node_handle(listening, "/half/1.0.0", 0, &half_callbacks, NULL);
    if (error == 0)
        error = p2p_node_handle(listening, "/reset/1.0.0", 0, &reset_callbacks, NULL);
    if (error == 0)
        error = p2p_node_addresses(listening, addresses, 16, &count);
    if (error != 0) {
        fprintf(stderr, "interop_node: %s\n", text.text[0] != '\0' ? text.text : p2p_error_string(error));
        return 1;
    }
    for (size_t i = 0; i < count && i < 16; i++)
        puts(addresses[i].text);
    puts("ready");
    fflush(stdout);
    pthread_create(&events, NULL, take_events, NULL);
    (void)serve_commands(); /* until the end of standard input */
    for (unsigned i = 0; i < kept_count; i++)
        p2p_node_free(kept[i]);
    error = p2p_node_close(listening, 5000);
    pthread_join(events, NULL);
    p2p_node_free(listening);
    return error == 0 ? 0 : 1;
}
