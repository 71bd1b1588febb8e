#include "actors/session_state.h"
#include "actors/stream.h"

#include <string.h>

/* The streams of the public header.  An INLINE stream is touched on its worker
 * only; an EVENT stream by its shared part, under its lock. */

/* ---- Reading -------------------------------------------------------------- */

int stream_read_end(const struct p2p_stream *stream)
{
    if (stream->flags & STREAM_FIN_RECEIVED)
        return P2P_ERR_STREAM_EOF; /* it was whole, whatever came after */
    return stream->flags & STREAM_FAILED ? stream->error : P2P_ERR_CALL_AGAIN;
}

static int64_t read_shared(struct p2p_stream *stream, void *out, size_t capacity)
{
    struct stream_shared *shared = stream->shared;
    int64_t count = (int64_t)slices_copy_out(&shared->recv, out, capacity);

    if (count > 0) {
        shared->consumed += (uint64_t)count;
        if (shared->recv.bytes == 0 || shared->consumed >= YAMUX_WINDOW_BYTES_MIN / 4)
            stream_kick(stream);
        return count;
    }
    return shared->error != 0 ? shared->error : P2P_ERR_CALL_AGAIN;
}

int64_t p2p_stream_read(struct p2p_stream *stream, void *out, size_t capacity)
{
    int64_t count;

    if (capacity == 0)
        return 0;
    if (stream->shared != NULL) {
        pthread_mutex_lock(&stream->shared->lock);
        count = read_shared(stream, out, capacity);
        pthread_mutex_unlock(&stream->shared->lock);
        return count;
    }
    if (!stream_on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    count = (int64_t)slices_copy_out(&stream->recv, out, capacity);
    if (count == 0)
        return stream_read_end(stream);
    if (stream->session != NULL)
        session_stream_consumed(stream->session, stream, (uint32_t)count);
    return count;
}

/* ---- Writing -------------------------------------------------------------- */

int stream_write_check(const struct p2p_stream *stream)
{
    if (stream->flags & STREAM_FAILED)
        return stream->error;
    if (stream->flags & STREAM_FIN_QUEUED)
        return P2P_ERR_STREAM_CLOSED;
    if (stream->session == NULL)
        return P2P_ERR_CONN_CLOSED;
    return session_is_open(stream->session) ? 0 : stream->session->error;
}

int stream_shared_check(const struct stream_shared *shared)
{
    if (shared->write_error != 0)
        return shared->write_error;
    if (shared->close_write)
        return P2P_ERR_STREAM_CLOSED;
    return shared->detached ? P2P_ERR_CONN_CLOSED : 0;
}

static int64_t write_shared(struct p2p_stream *stream, const void *data, size_t length)
{
    struct stream_shared *shared = stream->shared;
    uint64_t room = shared->send_bytes < shared->send_max ? shared->send_max - shared->send_bytes : 0;
    size_t part = length < room ? length : (size_t)room;

    int error = stream_shared_check(shared);

    if (error != 0)
        return error;
    if (part < length)
        shared->want_write = true;
    if (part == 0)
        return P2P_ERR_CALL_AGAIN;
    part = slices_copy_in(&shared->send, NULL, data, part);
    if (part == 0)
        return P2P_ERR_CALL_NOMEM;
    shared->send_bytes += part;
    stream_kick(stream);
    return (int64_t)part;
}

int64_t p2p_stream_write(struct p2p_stream *stream, const void *data, size_t length)
{
    int64_t count;
    uint64_t room;
    size_t part;
    int error;

    if (length == 0)
        return 0;
    if (stream->shared != NULL) {
        pthread_mutex_lock(&stream->shared->lock);
        count = write_shared(stream, data, length);
        pthread_mutex_unlock(&stream->shared->lock);
        return count;
    }
    if (!stream_on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    error = stream_write_check(stream);
    if (error != 0)
        return error;
    room = session_send_room(stream->session, stream);
    part = length < room ? length : (size_t)room;
    if (part < length)
        session_writer_waits(stream->session, stream);
    if (part == 0)
        return P2P_ERR_CALL_AGAIN;
    part = slices_copy_in(&stream->send, worker_buffers(stream->worker), data, part);
    if (part == 0)
        return P2P_ERR_CALL_NOMEM;
    stream_written(stream, part);
    return (int64_t)part;
}

/* ---- Ending --------------------------------------------------------------- */

int p2p_stream_close_write(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;

    if (shared != NULL) {
        pthread_mutex_lock(&shared->lock);
        shared->close_write = true;
        stream_kick(stream);
        pthread_mutex_unlock(&shared->lock);
        return 0;
    }
    if (!stream_on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    stream_write_closed(stream);
    return 0;
}

static void end(struct p2p_stream *stream, bool reset, uint32_t code)
{
    struct stream_shared *shared = stream->shared;

    if (shared != NULL) {
        app_stream_forget(stream->node->app, &stream->ready);
        pthread_mutex_lock(&shared->lock);
        shared->close = true;
        shared->reset_wanted = reset;
        shared->reset_code = code;
        slices_clear(&shared->recv);
        if (shared->detached)
            slices_clear(&shared->send);
        stream_kick(stream);
        pthread_mutex_unlock(&shared->lock);
        app_stream_forget(stream->node->app, &stream->ready); /* the worker saw `close` at the latest now */
    } else if (!stream_on_worker(stream)) {
        (void)p2p_stream_run(stream, reset ? stream_end_reset : stream_end_close, (void *)(uintptr_t)code);
        return;
    } else if (reset) {
        stream_reset_by_us(stream, code);
    } else {
        stream_released(stream);
    }
    app_release(stream->node->app, &stream->handle);
    stream_unref(stream);
}

void stream_end_close(struct p2p_stream *stream, void *code)
{
    (void)code;
    end(stream, false, 0);
}

void stream_end_reset(struct p2p_stream *stream, void *code)
{
    end(stream, true, (uint32_t)(uintptr_t)code);
}

void p2p_stream_close(struct p2p_stream *stream)
{
    end(stream, false, 0);
}

void p2p_stream_reset(struct p2p_stream *stream, uint32_t code)
{
    end(stream, true, code);
}

/* ---- Facts ---------------------------------------------------------------- */

uint32_t p2p_stream_error_code(const struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;
    uint32_t code;

    if (shared == NULL)
        return stream->peer_code;
    pthread_mutex_lock(&shared->lock);
    code = shared->peer_code;
    pthread_mutex_unlock(&shared->lock);
    return code;
}

int p2p_stream_peer(const struct p2p_stream *stream, char id[P2P_ID_TEXT_BYTES])
{
    peer_id_to_text(&stream->peer, id);
    return 0;
}

const char *p2p_stream_protocol(const struct p2p_stream *stream)
{
    return stream->protocol != NULL ? stream->protocol : "";
}

struct p2p_node *p2p_stream_node(const struct p2p_stream *stream)
{
    return stream->node;
}

void p2p_stream_set_user(struct p2p_stream *stream, void *user)
{
    stream->user = user;
}

void *p2p_stream_user(const struct p2p_stream *stream)
{
    return stream->user;
}

/* ---- Running on the worker ------------------------------------------------ */

int p2p_stream_run(struct p2p_stream *stream, void (*function)(struct p2p_stream *stream, void *argument),
                   void *argument)
{
    struct stream_mail mail = {.stream = stream, .function = function, .argument = argument};

    return stream_mail_post(&mail, SESSION_MSG_RUN);
}
