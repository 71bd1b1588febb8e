#include "actors/registry.h"
#include "actors/session_state.h"
#include "actors/stream.h"

#include <stdio.h>
#include <string.h>

/* How the application opens streams. */

static void open_dropped(void *data)
{
    struct p2p_stream *stream;

    memcpy(&stream, data, sizeof(stream));
    stream_unref(stream); /* its opener, if any is left, hears that the connection is gone */
}

static int post_open(struct p2p_node *node, struct actor_ref session, struct p2p_stream *stream)
{
    struct message message = {.type = SESSION_MSG_OPEN_STREAM, .kind = MESSAGE_REQUEST, .to = session};
    int error;

    message.buffer = buffer_new_parcel(sizeof(stream), open_dropped);
    if (message.buffer == NULL) {
        stream_unref(stream);
        return P2P_ERR_CALL_NOMEM;
    }
    memcpy(message.buffer->data, &stream, sizeof(stream));
    error = node_post(node, &message);
    if (error != 0)
        buffer_unref(message.buffer);
    return error;
}

static int open_begin(struct p2p_node *node, struct p2p_stream **out, struct actor_ref *session, const char *id,
                      const char *const *protocols, size_t count)
{
    struct peer_id peer;
    int error;

    if (id == NULL || protocols == NULL || peer_id_from_text(&peer, id, strlen(id)) != 0)
        return P2P_ERR_CALL_INVALID;
    if (!registry_find(node->registry, session, &peer))
        return P2P_ERR_CALL_NOT_FOUND;
    *out = stream_new(node);
    if (*out == NULL)
        return P2P_ERR_CALL_NOMEM;
    (*out)->peer = peer;
    (*out)->session_ref = *session;
    error = stream_set_names(*out, protocols, count);
    if (error != 0)
        stream_unref(*out);
    return error;
}

int p2p_stream_open_inline(struct p2p_node *node, const char *id, const char *const *protocols, size_t count,
                           const struct p2p_stream_callbacks *callbacks, void *user)
{
    struct p2p_stream *stream;
    struct actor_ref session;
    int error = callbacks == NULL ? P2P_ERR_CALL_INVALID : open_begin(node, &stream, &session, id, protocols, count);

    if (error != 0)
        return error;
    stream->flags |= STREAM_INLINE | STREAM_OUTBOUND;
    stream->callbacks = *callbacks;
    stream->user = user;
    return post_open(node, session, stream);
}

static int open_waiting(struct p2p_node *node, struct waiter *waiter, const char *id, const char *const *protocols,
                        size_t count)
{
    struct p2p_stream *stream;
    struct actor_ref session;
    int error = open_begin(node, &stream, &session, id, protocols, count);

    if (error != 0)
        return error;
    stream->shared = stream_shared_new();
    if (stream->shared == NULL) {
        stream_unref(stream);
        return P2P_ERR_CALL_NOMEM;
    }
    stream->flags |= STREAM_OUTBOUND;
    snprintf(waiter->id, sizeof(waiter->id), "%s", id);
    stream->opener = waiter;
    error = post_open(node, session, stream);
    return error != 0 ? P2P_ERR_CALL_CANCELLED : 0; /* the waiter was finished with the stream */
}

static void explain(struct p2p_error_text *text, const char *id, const char *const *protocols, size_t count, int error)
{
    if (text != NULL)
        snprintf(text->text, sizeof(text->text), "cannot open a stream to %s with %s: %s", id != NULL ? id : "(no id)",
                 count > 0 && protocols != NULL && protocols[0] != NULL ? protocols[0] : "(no protocol)",
                 error == P2P_ERR_CALL_NOT_FOUND ? "not connected to that peer; connect first"
                                                 : p2p_error_string(error));
}

int p2p_stream_open(struct p2p_node *node, struct p2p_stream **out, const char *id, const char *const *protocols,
                    size_t count, int timeout_ms, struct p2p_error_text *text)
{
    struct waiter *waiter = waiter_new(node, WAITER_BLOCKING, 0);
    int error;

    *out = NULL;
    if (waiter == NULL)
        return P2P_ERR_CALL_NOMEM;
    error = open_waiting(node, waiter, id, protocols, count);
    if (error != 0 && error != P2P_ERR_CALL_CANCELLED)
        waiter_finish(waiter, error);
    error = waiter_wait(waiter, timeout_ms);
    if (error == 0)
        *out = waiter->object;
    else
        explain(text, id, protocols, count, error);
    waiter_done(waiter);
    return error;
}

int p2p_stream_open_start(struct p2p_node *node, uint64_t request, const char *id, const char *const *protocols,
                          size_t count)
{
    struct waiter *waiter = waiter_new(node, WAITER_OPEN_EVENT, request);
    int error;

    if (waiter == NULL)
        return P2P_ERR_CALL_NOMEM;
    error = open_waiting(node, waiter, id, protocols, count);
    if (error != 0 && error != P2P_ERR_CALL_CANCELLED) {
        explain(&waiter->text, id, protocols, count, error);
        waiter_finish(waiter, error);
    }
    return 0;
}
