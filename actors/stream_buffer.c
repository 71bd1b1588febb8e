#include "actors/session_state.h"
#include "actors/stream.h"

#include <stdlib.h>

/* Zero copy: buffers that change hands with the application. */

static struct p2p_buffer *buffer_handle(struct buffer_slice run)
{
    struct local *local = local_current();
    struct p2p_buffer *handle = local != NULL ? cache_new(&local->buffers) : calloc(1, sizeof(*handle));

    if (handle == NULL)
        return NULL;
    handle->buffer = run.buffer;
    handle->offset = run.offset;
    handle->length = run.length;
    return handle;
}

int p2p_stream_read_buffer(struct p2p_stream *stream, struct p2p_buffer **out)
{
    struct stream_shared *shared = stream->shared;
    struct slices *recv = shared != NULL ? &shared->recv : &stream->recv;
    int result = 0;

    if (shared == NULL && !stream_on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    if (shared != NULL)
        pthread_mutex_lock(&shared->lock);
    else if (stream->session != NULL && session_is_pressed(stream->session))
        slices_compact(recv, worker_buffers(stream->worker)); /* it may be kept long */
    if (recv->head == NULL) {
        result = shared == NULL ? stream_read_end(stream) : shared->error != 0 ? shared->error : P2P_ERR_CALL_AGAIN;
    } else {
        struct buffer_slice front = {recv->head->buffer, recv->head->offset, recv->head->length};

        *out = buffer_handle(front);
        if (*out != NULL) {
            (void)slices_take(recv);
            (*out)->stream = stream_ref(stream);
            stream->lent += front.length;
        } else {
            result = P2P_ERR_CALL_NOMEM;
        }
    }
    if (shared != NULL)
        pthread_mutex_unlock(&shared->lock);
    return result;
}

/* Takes the buffer out of its handle. */
static struct buffer_slice unwrap(struct p2p_buffer *handle)
{
    struct buffer_slice run = {buffer_ref(handle->buffer), handle->offset, handle->length};

    p2p_buffer_free(handle);
    return run;
}

/* What cannot go out at once may stay long: then it does not pin a buffer that
 * is much larger. */
static int write_run(struct p2p_stream *stream, struct buffer_slice run)
{
    struct session *session = stream->session;
    bool waits = session->flags & SESSION_SENDING || yamux_send_room(&stream->mux) < run.length;
    bool fills = run.length >= run.buffer->capacity / 8 * 7;
    struct slices one = {0};
    uint32_t length = run.length;
    int error = slices_append(waits && !fills ? &one : &stream->send, run.buffer, run.offset, run.length);

    if (error != 0)
        return error;
    slices_gather(&stream->send, &one, worker_buffers(stream->worker));
    stream_written(stream, length);
    return 0;
}

int p2p_stream_write_buffer(struct p2p_stream *stream, struct p2p_buffer *buffer)
{
    struct stream_shared *shared = stream->shared;
    struct buffer_slice run;
    uint32_t length = buffer->length;
    int error;

    if (shared == NULL && !stream_on_worker(stream)) {
        p2p_buffer_free(buffer);
        return P2P_ERR_CALL_THREAD;
    }
    if (shared == NULL) {
        error = stream_write_check(stream);
        if (error == 0 && !session_takes_buffer(stream->session, stream, length)) {
            session_writer_waits(stream->session, stream);
            return P2P_ERR_CALL_AGAIN;
        }
        if (error != 0) {
            p2p_buffer_free(buffer);
            return error;
        }
        return write_run(stream, unwrap(buffer));
    }
    pthread_mutex_lock(&shared->lock);
    error = shared->write_error != 0 ? shared->write_error : shared->close_write ? P2P_ERR_STREAM_CLOSED : 0;
    if (error == 0 && shared->send_bytes >= shared->send_max) {
        shared->want_write = true;
        pthread_mutex_unlock(&shared->lock);
        return P2P_ERR_CALL_AGAIN;
    }
    pthread_mutex_unlock(&shared->lock);
    if (error != 0) {
        p2p_buffer_free(buffer);
        return error;
    }
    run = unwrap(buffer); /* outside the lock: it may be lent by this very stream */
    pthread_mutex_lock(&shared->lock);
    error = slices_append(&shared->send, run.buffer, run.offset, run.length);
    if (error == 0) {
        shared->send_bytes += length;
        stream_kick(stream);
    }
    pthread_mutex_unlock(&shared->lock);
    return error;
}

struct p2p_buffer *p2p_buffer_new(struct p2p_node *node, size_t bytes)
{
    struct worker *worker = worker_current();
    struct buffer_slice run = {NULL, 0, (uint32_t)bytes};
    struct p2p_buffer *handle;

    if (bytes == 0 || bytes > 262144)
        return NULL;
    if (worker != NULL && worker_runtime(worker) == node->runtime)
        run.buffer = buffer_new(worker_buffers(worker), (uint32_t)bytes);
    else
        run.buffer = buffer_new_foreign((uint32_t)bytes);
    if (run.buffer == NULL)
        return NULL;
    handle = buffer_handle(run);
    if (handle == NULL)
        buffer_unref(run.buffer);
    return handle;
}

uint8_t *p2p_buffer_data(struct p2p_buffer *buffer)
{
    return buffer->buffer->data + buffer->offset;
}

size_t p2p_buffer_length(const struct p2p_buffer *buffer)
{
    return buffer->length;
}

/* `bytes` lent by the stream are no longer in the application's hands. */
static void lent_back(struct p2p_stream *stream, uint32_t bytes)
{
    struct stream_shared *shared = stream->shared;

    if (shared != NULL) {
        pthread_mutex_lock(&shared->lock);
        stream->lent -= bytes;
        shared->consumed += bytes;
        stream_kick(stream);
        pthread_mutex_unlock(&shared->lock);
    } else if (stream_on_worker(stream)) {
        stream->lent -= bytes;
        if (stream->session != NULL)
            session_stream_consumed(stream->session, stream, bytes);
    } else {
        struct stream_mail mail = {.stream = stream, .function = stream_lent_back,
                                   .argument = (void *)(uintptr_t)bytes, .always = true};

        (void)stream_mail_post(&mail, SESSION_MSG_RUN);
    }
}

void stream_lent_back(struct p2p_stream *stream, void *bytes)
{
    lent_back(stream, (uint32_t)(uintptr_t)bytes);
}

void p2p_buffer_trim(struct p2p_buffer *buffer, size_t length)
{
    if (length >= buffer->length)
        return;
    if (buffer->stream != NULL)
        lent_back(buffer->stream, buffer->length - (uint32_t)length);
    buffer->length = (uint32_t)length;
}

void p2p_buffer_free(struct p2p_buffer *buffer)
{
    struct local *local = local_current();

    if (buffer == NULL)
        return;
    buffer_unref(buffer->buffer);
    if (buffer->stream != NULL) {
        lent_back(buffer->stream, buffer->length);
        stream_unref(buffer->stream);
    }
    if (local != NULL)
        cache_free(&local->buffers, buffer);
    else
        free(buffer);
}
