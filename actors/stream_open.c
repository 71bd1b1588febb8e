#include "actors/protocols.h"
#include "actors/registry.h"
#include "actors/session_state.h"
#include "actors/stream.h"

#include <stdio.h>
#include <string.h>

/* How the application opens streams: the session of the peer's connection does
 * it, and answers through the stream. */

static bool are_protocols(const char *const *protocols, size_t count)
{
    bool are = protocols != NULL && count > 0 && count <= P2P_PROTOCOLS_MAX;

    for (size_t i = 0; are && i < count; i++)
        are = protocols[i] != NULL && protocols_name_is_valid(protocols[i], strlen(protocols[i]));
    return are;
}

static int open_begin(struct p2p_node *node, struct p2p_stream **out, const char *id, const char *const *protocols,
                      size_t count)
{
    struct actor_ref session;
    struct peer_id peer;
    int error;

    if (id == NULL || peer_id_from_text(&peer, id, strlen(id)) != 0 || !are_protocols(protocols, count))
        return P2P_ERR_CALL_INVALID;
    if (__atomic_load_n(&node->closing, __ATOMIC_ACQUIRE))
        return P2P_ERR_NODE_CLOSING;
    if (!registry_find(node->registry, &session, &peer))
        return P2P_ERR_CALL_NOT_FOUND;
    *out = stream_new(node);
    if (*out == NULL)
        return P2P_ERR_CALL_NOMEM;
    (*out)->peer = peer;
    (*out)->session_ref = session;
    (*out)->flags = STREAM_OUTBOUND;
    error = stream_set_names(*out, protocols, count);
    if (error != 0)
        stream_unref(*out);
    return error;
}

/* The connection ended before its session saw the request. */
static void not_taken(struct p2p_stream *stream, void *argument)
{
    bool closing = __atomic_load_n(&stream->node->closing, __ATOMIC_ACQUIRE);

    (void)argument;
    stream_not_opened(stream, closing ? P2P_ERR_NODE_CLOSING : P2P_ERR_CONN_CLOSED);
}

static int open_post(struct p2p_stream *stream)
{
    struct stream_mail mail = {.stream = stream, .function = not_taken, .always = true};

    return stream_mail_post(&mail, SESSION_MSG_OPEN_STREAM);
}

int p2p_stream_open_inline(struct p2p_node *node, const char *id, const char *const *protocols, size_t count,
                           const struct p2p_stream_callbacks *callbacks, void *user)
{
    struct p2p_stream *stream;
    int error = callbacks == NULL ? P2P_ERR_CALL_INVALID : open_begin(node, &stream, id, protocols, count);

    if (error != 0)
        return error;
    stream->flags |= STREAM_INLINE;
    stream->callbacks = *callbacks;
    stream->user = user;
    error = open_post(stream);
    stream_unref(stream);
    return error;
}

/* The waiter will be finished, unless an error is returned.  *out is referenced. */
static int open_waiting(struct p2p_node *node, struct p2p_stream **out, struct waiter *waiter, const char *id,
                        const char *const *protocols, size_t count)
{
    struct p2p_stream *stream;
    int error = open_begin(node, &stream, id, protocols, count);

    if (error != 0)
        return error;
    snprintf(waiter->id, sizeof(waiter->id), "%s", id);
    stream->opener = waiter;
    stream->shared = stream_shared_new();
    error = stream->shared != NULL ? open_post(stream) : P2P_ERR_CALL_NOMEM;
    if (error != 0) {
        stream->opener = NULL;
        stream_unref(stream);
        return error;
    }
    *out = stream;
    return 0;
}

static const char *reason_of(int error)
{
    switch (error) {
    case P2P_ERR_CALL_NOT_FOUND:
        return "not connected to that peer; connect first";
    case P2P_ERR_CALL_INVALID:
        return "it takes the id of a peer and 1 to 128 protocol ids of 1 to 255 bytes without blanks";
    case P2P_ERR_CALL_THREAD:
        return "a worker must not wait; use p2p_stream_open_start() or p2p_stream_open_inline()";
    default:
        return p2p_error_string(error);
    }
}

static void explain(struct p2p_error_text *text, const char *id, const char *const *protocols, size_t count, int error)
{
    const char *first = count > 0 && protocols != NULL && protocols[0] != NULL ? protocols[0] : "(no protocol)";

    if (text != NULL)
        snprintf(text->text, sizeof(text->text), "cannot open a stream to %.128s with %.128s: %s",
                 id != NULL ? id : "(no id)", first, reason_of(error));
}

/* On the worker, if it has not been opened meanwhile. */
static void give_up(struct p2p_stream *stream, void *argument)
{
    (void)argument;
    if (stream->session != NULL && (stream->flags & (STREAM_OPENED | STREAM_FAILED)) == 0)
        session_give_up_open(stream->session, stream);
}

int p2p_stream_open(struct p2p_node *node, struct p2p_stream **out, const char *id, const char *const *protocols,
                    size_t count, int timeout_ms, struct p2p_error_text *text)
{
    struct p2p_stream *stream = NULL;
    struct waiter *waiter;
    int error = worker_current() != NULL ? P2P_ERR_CALL_THREAD : 0;

    *out = NULL;
    waiter = error == 0 ? waiter_new(node, WAITER_BLOCKING, 0) : NULL;
    if (waiter == NULL) {
        error = error != 0 ? error : P2P_ERR_CALL_NOMEM;
        explain(text, id, protocols, count, error);
        return error;
    }
    error = open_waiting(node, &stream, waiter, id, protocols, count);
    if (error != 0)
        waiter_finish(waiter, error);
    error = waiter_wait(waiter, timeout_ms);
    if (error == 0)
        *out = waiter->object;
    else
        explain(text, id, protocols, count, error);
    waiter_done(waiter);
    if (error == P2P_ERR_CALL_TIMEOUT && stream != NULL) {
        struct stream_mail mail = {.stream = stream, .function = give_up, .session_only = true};

        (void)stream_mail_post(&mail, SESSION_MSG_RUN); /* else it ends with the time that negotiations have */
    }
    if (stream != NULL)
        stream_unref(stream);
    return error;
}

int p2p_stream_open_start(struct p2p_node *node, uint64_t request, const char *id, const char *const *protocols,
                          size_t count)
{
    struct p2p_stream *stream;
    struct waiter *waiter = waiter_new(node, WAITER_OPEN_EVENT, request);
    int error;

    if (waiter == NULL)
        return P2P_ERR_CALL_NOMEM;
    error = open_waiting(node, &stream, waiter, id, protocols, count);
    if (error == 0) {
        stream_unref(stream);
        return 0;
    }
    if (error == P2P_ERR_NODE_CLOSING) { /* no event comes after NODE_CLOSED */
        waiter_drop(waiter);
        return error;
    }
    explain(&waiter->text, id, protocols, count, error);
    waiter_finish(waiter, error);
    return 0;
}
