#include "actors/session_state.h"

#include "actors/shedder.h"

/* What the streams of one connection may hold together.  Of its memory an
 * eighth is for bytes on their way between socket and streams, three are for what
 * is to be sent (beyond that applications wait), and half is for windows to grow
 * into.  Over seven eighths, the connection loses the stream that holds most. */

static uint64_t eighths(const struct session *session, unsigned count)
{
    return session->node->config.connection_memory_bytes / 8 * count;
}

static uint64_t send_left(const struct session *session)
{
    uint64_t max = eighths(session, 3);

    return session->busy->queued_bytes < max ? max - session->busy->queued_bytes : 0;
}

/* Each may queue as much as all leave free: who sends slowly cannot take it
 * all, and a few bytes always find room. */
uint64_t session_send_max(const struct session *session)
{
    uint64_t left = send_left(session);

    if (left >= P2P_STREAM_SEND_BYTES_MAX)
        return P2P_STREAM_SEND_BYTES_MAX;
    return left > SESSION_STREAM_SEND_BYTES_MIN ? left : SESSION_STREAM_SEND_BYTES_MIN;
}

uint64_t session_send_room(const struct session *session, const struct p2p_stream *stream)
{
    uint64_t max = session_send_max(session);

    return stream->send.bytes < max ? max - stream->send.bytes : 0;
}

bool session_takes_buffer(const struct session *session, const struct p2p_stream *stream, uint32_t length)
{
    uint64_t room = session_send_room(session, stream);

    return room >= length || (room > 0 && send_left(session) > 0);
}

void session_writer_waits(struct session *session, struct p2p_stream *stream)
{
    stream->flags |= STREAM_WANT_WRITE;
    session->flags |= SESSION_WRITERS_WAIT;
}

/* A stream that drains hears of it by itself; this is for those that had
 * nothing queued when there was no room at all. */
void session_wake_writers(struct session *session)
{
    uint64_t half = eighths(session, 3) / 2; /* of a connection that may not hold as much */

    if ((session->flags & SESSION_WRITERS_WAIT) == 0 ||
        send_left(session) < (half < SESSION_WAKE_BYTES ? half : SESSION_WAKE_BYTES))
        return;
    session->flags &= ~(uint32_t)SESSION_WRITERS_WAIT;
    for (struct p2p_stream *stream = session->busy->streams; stream != NULL; stream = stream->next) {
        if ((stream->flags & STREAM_WANT_WRITE) == 0 || stream->send.bytes > 0)
            continue;
        stream->flags &= ~(uint32_t)STREAM_WANT_WRITE;
        stream->flags |= STREAM_WRITABLE;
        session_stream_ready(session, stream);
    }
}

static uint64_t held_by(const struct p2p_stream *stream)
{
    return stream->held + stream->send.bytes;
}

static bool over_budget(const struct session *session)
{
    const struct session_busy *busy = session->busy;

    return busy->held_bytes + busy->queued_bytes + (uint64_t)busy->stream_count * SESSION_STREAM_BYTES >
           eighths(session, 7);
}

void session_enforce_budget(struct session *session)
{
    while (over_budget(session) && session->busy->streams != NULL) {
        struct p2p_stream *most = session->busy->streams;

        for (struct p2p_stream *stream = session->busy->streams; stream != NULL; stream = stream->next) {
            if (held_by(stream) > held_by(most))
                most = stream;
        }
        if (held_by(most) == 0)
            return;
        yamux_reset(&session->yamux, &most->mux, YAMUX_RESET_RESOURCE_LIMIT);
        stream_fail(most, P2P_ERR_STREAM_LIMIT, 0);
        stream_drop_unread(most);
        session_stream_forget(session, most);
    }
}

bool session_is_pressed(const struct session *session)
{
    return session->busy->held_bytes + session->busy->queued_bytes > eighths(session, 2);
}

/* ---- In the node's memory ------------------------------------------------ */

static uint64_t capacity_of(const struct buffer *buffer)
{
    return buffer != NULL ? buffer->capacity : 0;
}

/* The buffer that the driver fills for it. */
static uint64_t receiving_bytes(const struct session *session)
{
    if ((session->flags & SESSION_RECEIVING_INTO) == 0)
        return 0;
    return session->flags & SESSION_RECEIVING_LITTLE ? BUFFER_RECORD_BYTES : BUFFER_LARGE_BYTES;
}

/* What it holds altogether.  Streams that hold something lie in a buffer each:
 * there are no more of them than bytes. */
static uint64_t memory_of(const struct session *session)
{
    uint64_t payload = session->busy->held_bytes + session->busy->queued_bytes;
    uint64_t holders = payload < session->busy->stream_count ? payload : session->busy->stream_count;

    if (session->flags & SESSION_SHED)
        return 0; /* no more than a send is left, and that not for long */
    return payload + session->busy->stream_count * (uint64_t)SESSION_IDLE_STREAM_BYTES +
           holders * (SESSION_STREAM_BYTES - SESSION_IDLE_STREAM_BYTES) + session_identify_bytes(session) +
           session->told_bytes + capacity_of(session->record) + capacity_of(session->sending) +
           receiving_bytes(session);
}

void session_count_memory(struct session *session)
{
    uint64_t bytes = memory_of(session);
    int64_t delta = (int64_t)(bytes - session->counted_bytes);

    if (delta == 0)
        return;
    session->counted_bytes = bytes;
    if (memory_count(session->node->memory, session->node->scope, session->local->worker, delta))
        shedder_tell_over(session->node);
}

void session_heaviest(struct actor_context *context, struct actor_ref *session, uint64_t *bytes, uint64_t *opened_ns)
{
    const struct local *local = worker_local(context->worker);
    const struct session *most = NULL;

    for (const struct session *at = local->sessions; at != NULL; at = at->next) {
        if (at->node->scope != context->scope || at->counted_bytes == 0)
            continue;
        if (most == NULL || at->counted_bytes > most->counted_bytes ||
            (at->counted_bytes == most->counted_bytes && at->entry.opened_ns > most->entry.opened_ns))
            most = at;
    }
    if (most == NULL)
        return;
    *session = most->entry.session;
    *bytes = most->counted_bytes;
    *opened_ns = most->entry.opened_ns;
}

static void log_shed(struct session *session)
{
    struct actor_context context = session_context(session);
    char peer[PEER_ID_SHORT_SIZE] = "";

    if (!log_enabled(session->node->scope, LOG_LEVEL_WARN))
        return;
    peer_id_to_short(session_peer(session), peer);
    LOG(&context, LOG_LEVEL_WARN, "connection_shed", "limit=memory peer=%s held=%llu streams=%u max=%llu", peer,
        (unsigned long long)session->counted_bytes, session->busy->stream_count,
        (unsigned long long)session->node->memory->max_bytes);
}

void session_shed(struct session *session)
{
    if (session->phase == SESSION_DEAD || session->flags & SESSION_SHED)
        return;
    log_shed(session);
    scope_count(session->node->scope, session->local->worker, NODE_CONNECTIONS_SHED, 1);
    session->flags |= SESSION_SHED;
    session_fail_streams(session, P2P_ERR_CONN_LIMIT, true);
    session_close(session, P2P_ERR_CONN_LIMIT, YAMUX_GOAWAY_RESOURCE_LIMIT);
    session_count_memory(session);
    buffer_pool_squeeze(worker_buffers(session->local->worker)); /* another worker may need it */
}
