#include "actors/session_state.h"

#include "actors/registry.h"
#include "net/identify.h"
#include "net/peer_record.h"

#include <stdlib.h>
#include <string.h>

/* identify: both ends ask, both ends tell; push when something changes. */

struct session_identify {
    struct identify_reader reader;
    struct session *session;     /* whose question it is; NULL for a push, or once the session has let go */
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
    session_remote(session, &remote);
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

static void tell(struct p2p_stream *stream, void *user)
{
    uint8_t out[IDENTIFY_ENCODED_BYTES_MAX];
    size_t written = 0;

    (void)user;
    if (stream->session == NULL || encode(stream->session, out, sizeof(out), &written) != 0) {
        p2p_stream_reset(stream, 0);
        return;
    }
    (void)p2p_stream_write(stream, out, written); /* far below what a stream may queue */
    p2p_stream_close(stream);
}

static void give_up(struct p2p_stream *stream, void *user, int error)
{
    (void)user;
    (void)error;
    p2p_stream_close(stream);
}

/* ---- Asking --------------------------------------------------------------- */

static void asked_free(struct session_identify *identify)
{
    if (identify->session != NULL && identify->session->identify == identify)
        identify->session->identify = NULL;
    identify_reader_fini(&identify->reader);
    free(identify);
}

static void finish(const struct p2p_stream *stream, struct session_identify *identify)
{
    struct identify_result *result = calloc(1, sizeof(*result));

    if (result != NULL && identify_finish(&identify->reader, result, &stream->peer) == 0 && !result->key_mismatch)
        registry_identified(stream->node->registry, identify->connection, &stream->peer, result);
    free(result);
}

static void read_answer(struct p2p_stream *stream, void *user)
{
    struct session_identify *identify = user;
    uint8_t in[4096];
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in))) > 0) {
        if (identify_recv(&identify->reader, in, (size_t)count) != 0) {
            p2p_stream_reset(stream, 0);
            asked_free(identify);
            return;
        }
    }
    if (count == P2P_ERR_CALL_AGAIN)
        return;
    if (count == P2P_ERR_STREAM_EOF)
        finish(stream, identify);
    p2p_stream_close(stream);
    asked_free(identify);
}

static void answer_failed(struct p2p_stream *stream, void *user, int error)
{
    (void)error;
    p2p_stream_close(stream);
    asked_free(user);
}

static void asked_opened(struct p2p_stream *stream, void *user)
{
    (void)user;
    (void)p2p_stream_close_write(stream); /* on its own worker: cannot fail */
}

static const struct p2p_stream_callbacks ask_callbacks = {asked_opened, read_answer, NULL, answer_failed};

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
    stream->session_ref = session->self;
    stream->peer = session->peer;
    stream->callbacks = *callbacks;
    stream->user = user;
    return stream;
}

void session_identify_begin(struct session *session)
{
    struct session_identify *identify;
    struct p2p_stream *stream;

    if (session->identify != NULL)
        return;
    identify = calloc(1, sizeof(*identify));
    if (identify == NULL)
        return;
    identify_reader_init(&identify->reader);
    identify->session = session;
    identify->connection = session->self;
    stream = session_stream_new(session, IDENTIFY_PROTOCOL, &ask_callbacks, identify);
    if (stream == NULL) {
        asked_free(identify);
        return;
    }
    session->identify = identify;
    session_open_stream(session, stream);
}

void session_identify_free(struct session *session)
{
    if (session->identify != NULL)
        session->identify->session = NULL;
    session->identify = NULL;
}

/* ---- Push ----------------------------------------------------------------- */

static const struct p2p_stream_callbacks push_callbacks = {tell, NULL, NULL, give_up};

void session_identify_push(struct session *session)
{
    struct p2p_stream *stream;

    if (!registry_speaks(session->node->registry, &session->peer, IDENTIFY_PUSH_PROTOCOL))
        return;
    stream = session_stream_new(session, IDENTIFY_PUSH_PROTOCOL, &push_callbacks, NULL);
    if (stream != NULL)
        session_open_stream(session, stream);
}

/* The peer pushes. */
static void pushed_opened(struct p2p_stream *stream, void *user)
{
    struct session_identify *identify = calloc(1, sizeof(*identify));

    (void)user;
    if (identify == NULL) {
        p2p_stream_reset(stream, 0);
        return;
    }
    identify_reader_init(&identify->reader);
    identify->connection = stream->session_ref;
    p2p_stream_set_user(stream, identify);
}

const struct p2p_stream_callbacks session_identify_callbacks = {tell, NULL, NULL, give_up};
const struct p2p_stream_callbacks session_push_callbacks = {pushed_opened, read_answer, NULL, answer_failed};
