#include "actors/session_state.h"

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

    return session->queued_bytes < max ? max - session->queued_bytes : 0;
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
    for (struct p2p_stream *stream = session->streams; stream != NULL; stream = stream->next) {
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
    return session->held_bytes + session->queued_bytes + (uint64_t)session->stream_count * SESSION_STREAM_BYTES >
           eighths(session, 7);
}

void session_enforce_budget(struct session *session)
{
    while (over_budget(session) && session->streams != NULL) {
        struct p2p_stream *most = session->streams;

        for (struct p2p_stream *stream = session->streams; stream != NULL; stream = stream->next) {
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
    return session->held_bytes + session->queued_bytes > eighths(session, 2);
}
