#include "actors/session_state.h"

#include "actors/registry.h"
#include "net/identify.h"
#include "net/peer_record.h"

#include <stdlib.h>
#include <string.h>

/* identify: both ends ask, both ends tell; push when something changes. */

/* What a peer tells: an answer of its, or a push.  Of either one at a time, so
 * that a peer cannot have us keep what it never ends. */
struct session_identify {
    struct identify_reader reader;
    struct session *session;     /* whose `identify` or `push` it is; NULL once the session has let go */
    struct p2p_stream *stream;
    struct actor_ref connection; /* outlives the stream's hold on its session, which ends with the last FIN */
};

/* ---- Telling -------------------------------------------------------------- */

static int encode(struct session *session, uint8_t *out, size_t capacity, size_t *written)
{
    struct p2p_node *node = session->node;
    const struct public_key *key = key_public(node->key);
    const char *protocols[P2P_PROTOCOLS_MAX];
    uint8_t record[IDENTIFY_RECORD_BYTES_MAX];
    size_t record_length = 0;
    struct multiaddr remote;
    struct identify_info info = {.protocols = protocols, .protocol_version = node->config.network_id,
                                 .agent_version = node->config.agent_version, .observed = &remote};
    struct multiaddr *addrs = calloc(NODE_ANNOUNCE_ADDRESSES_MAX, sizeof(*addrs));
    size_t count;
    int error;

    if (addrs == NULL)
        return P2P_ERR_CALL_NOMEM;
    registry_remote(&session->entry, &remote);
    info.public_key = (struct wire_span){key->bytes, key->length};
    info.addrs = addrs;
    count = node_announce(node, addrs, NODE_ANNOUNCE_ADDRESSES_MAX, &remote);
    info.addr_count = count < NODE_ANNOUNCE_ADDRESSES_MAX ? count : NODE_ANNOUNCE_ADDRESSES_MAX;
    count = node_protocols(node, protocols, P2P_PROTOCOLS_MAX);
    info.protocol_count = count < P2P_PROTOCOLS_MAX ? count : P2P_PROTOCOLS_MAX;
    if (node_signed_record(node, record, &record_length, sizeof(record), &remote) == 0)
        info.signed_record = (struct wire_span){record, record_length};
    error = identify_encode(out, capacity, written, &info);
    free(addrs);
    return error;
}

/* What there is to say, in one buffer; NULL when memory is out. */
static struct p2p_buffer *told_to(struct session *session)
{
    uint8_t out[IDENTIFY_ENCODED_BYTES_MAX];
    struct p2p_buffer *told;
    size_t written = 0;

    if (encode(session, out, sizeof(out), &written) != 0)
        return NULL;
    told = p2p_buffer_new(session->node, written);
    if (told != NULL)
        memcpy(p2p_buffer_data(told), out, written);
    return told;
}

/* Whole or not at all: where the connection has no room, it waits for it. */
static void tell_on(struct p2p_stream *stream, void *user)
{
    if (p2p_stream_write_buffer(stream, user) == P2P_ERR_CALL_AGAIN)
        return;
    p2p_stream_set_user(stream, NULL);
    p2p_stream_close(stream);
}

static void tell(struct p2p_stream *stream, void *user)
{
    struct p2p_buffer *told = stream->session != NULL ? told_to(stream->session) : NULL;

    (void)user;
    if (told == NULL) {
        p2p_stream_reset(stream, YAMUX_RESET_RESOURCE_LIMIT);
        return;
    }
    p2p_stream_set_user(stream, told);
    tell_on(stream, told);
}

static void give_up(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    p2p_buffer_free(user);
    p2p_stream_close(stream);
}

/* ---- Asking --------------------------------------------------------------- */

static struct session_identify *told_new(struct session *session)
{
    struct session_identify *told = calloc(1, sizeof(*told));

    if (told == NULL)
        return NULL;
    identify_reader_init(&told->reader);
    told->reader.defer_record = true; /* the registry opens it */
    told->session = session;
    return told;
}

static void told_free(struct session_identify *told)
{
    struct session *session = told->session;

    if (session != NULL && session->busy->identify == told)
        session->busy->identify = NULL;
    if (session != NULL && session->busy->push == told)
        session->busy->push = NULL;
    identify_reader_fini(&told->reader);
    free(told);
}

/* Our question got no answer; who waits for it hears why.  A connection that ends
 * tells so by itself, and a push is asked for by nobody. */
static void unanswered(const struct p2p_stream *stream, const struct session_identify *told, int error)
{
    if (told->session != NULL && told->session->busy->identify == told && error > P2P_ERR_CONN_CLOSED)
        registry_identify_failed(stream->node->registry, told->connection, &stream->peer, error);
}

static void finish(const struct p2p_stream *stream, struct session_identify *told)
{
    struct identify_result *result = calloc(1, sizeof(*result));
    uint32_t bytes = 0;
    int error = result != NULL ? identify_finish(&told->reader, result, &stream->peer) : P2P_ERR_CALL_NOMEM;

    if (error == 0 && result->key_mismatch)
        error = P2P_ERR_STREAM_PROTOCOL;
    if (error == 0)
        bytes = registry_identified(stream->node->registry, told->connection, &stream->peer, result);
    else
        unanswered(stream, told, error);
    if (bytes > 0 && told->session != NULL)
        told->session->told_bytes = bytes;
    free(result);
}

static void read_told(struct p2p_stream *stream, void *user)
{
    struct session_identify *told = user;
    uint8_t in[4096];
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0) {
        int error = identify_recv(&told->reader, in, (size_t)count);

        if (error != 0) {
            unanswered(stream, told, error);
            p2p_stream_reset(stream, YAMUX_RESET_PROTOCOL);
            told_free(told);
            return;
        }
    }
    if (count == P2P_ERR_CALL_AGAIN)
        return;
    if (count == P2P_ERR_STREAM_EOF)
        finish(stream, told);
    else
        unanswered(stream, told, (int)count);
    p2p_stream_close(stream);
    told_free(told);
}

static void told_failed(struct p2p_stream *stream, void *user, int error)
{
    unanswered(stream, user, error);
    p2p_stream_close(stream);
    told_free(user);
}

static const struct p2p_stream_callbacks ask_callbacks = {NULL, read_told, NULL, told_failed};

struct p2p_stream *session_stream_new(struct session *session, const char *name,
                                      const struct p2p_stream_callbacks *callbacks, void *user)
{
    struct p2p_stream *stream = stream_new(session->node);

    if (stream == NULL)
        return NULL;
    if (stream_set_names(stream, &name, 1) != 0) {
        stream_unref(stream);
        return NULL;
    }
    stream->flags |= STREAM_INLINE | STREAM_OUTBOUND;
    stream->session_ref = session->entry.session;
    stream->peer = *session_peer(session);
    stream->callbacks = *callbacks;
    stream->user = user;
    return stream;
}

void session_identify_begin(struct session *session)
{
    struct session_identify *asked;
    struct p2p_stream *stream;

    if (session->busy->identify != NULL)
        return;
    asked = session_be_busy(session) == 0 ? told_new(session) : NULL;
    stream = asked != NULL ? session_stream_new(session, IDENTIFY_PROTOCOL, &ask_callbacks, asked) : NULL;
    if (stream == NULL) {
        if (asked != NULL)
            told_free(asked);
        registry_identify_failed(session->node->registry, session->entry.session, session_peer(session),
                                 P2P_ERR_CALL_NOMEM);
        return;
    }
    asked->connection = session->entry.session;
    stream->flags |= STREAM_TIMED;
    session->busy->identify = asked;
    session_open_stream(session, stream);
}

uint32_t session_identify_bytes(const struct session *session)
{
    return (session->busy->identify != NULL ? session->busy->identify->reader.capacity : 0) +
           (session->busy->push != NULL ? session->busy->push->reader.capacity : 0);
}

void session_identify_free(struct session *session)
{
    struct session_busy *busy = session->busy;

    if (busy->identify != NULL) {
        busy->identify->session = NULL;
        busy->identify = NULL;
    }
    if (busy->push != NULL) {
        busy->push->session = NULL;
        busy->push = NULL;
    }
}

/* ---- Push ----------------------------------------------------------------- */

static const struct p2p_stream_callbacks push_callbacks = {tell, NULL, tell_on, give_up};

void session_identify_push(struct session *session)
{
    struct p2p_stream *stream;

    if (!registry_speaks(session->node->registry, session_peer(session), IDENTIFY_PUSH_PROTOCOL))
        return;
    stream = session_stream_new(session, IDENTIFY_PUSH_PROTOCOL, &push_callbacks, NULL);
    if (stream != NULL)
        session_open_stream(session, stream);
}

/* The peer pushes.  A push that has not ended is overtaken: it knows more now. */
static void pushed_opened(struct p2p_stream *stream, void *user)
{
    struct session *session = stream->session; /* NULL: it was reset already */
    struct session_identify *pushed = told_new(session);

    (void)user;
    if (pushed == NULL) {
        p2p_stream_reset(stream, YAMUX_RESET_RESOURCE_LIMIT);
        return;
    }
    if (session != NULL && session->busy->push != NULL) {
        p2p_stream_reset(session->busy->push->stream, YAMUX_RESET_RATE_LIMITED);
        told_free(session->busy->push);
    }
    pushed->stream = stream;
    pushed->connection = stream->session_ref;
    p2p_stream_set_user(stream, pushed);
    if (session == NULL)
        return;
    session->busy->push = pushed;
    session_stream_deadline(session, stream, false);
}

const struct p2p_stream_callbacks session_identify_callbacks = {tell, NULL, tell_on, give_up};
const struct p2p_stream_callbacks session_push_callbacks = {pushed_opened, read_told, NULL, told_failed};
