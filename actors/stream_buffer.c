#include "actors/lender.h"
#include "actors/session_state.h"
#include "actors/stream.h"

#include <stdlib.h>
#include <string.h>

/* Zero copy: buffers that change hands with the application. */

/* Takes the run's reference over, unless it returns NULL. */
static struct p2p_buffer *buffer_handle(struct p2p_node *node, struct buffer_slice run)
{
    struct local *local = local_current();
    struct p2p_buffer *handle = local != NULL ? cache_new(&local->buffers) : calloc(1, sizeof(*handle));

    if (handle == NULL)
        return NULL;
    handle->buffer = run.buffer;
    handle->offset = run.offset;
    handle->length = run.length;
    handle->lender = lender_lend(node->lender);
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

        *out = buffer_handle(stream->node, front);
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

/* A reference to what the handle holds.  What lies in another runtime's memory is
 * copied: that one may end before it is sent.  NULL when memory is out. */
static struct buffer_slice run_of(const struct p2p_stream *stream, const struct p2p_buffer *handle)
{
    struct buffer_slice run = {NULL, 0, handle->length};

    if (handle->buffer->pool == NULL || lender_is_of(handle->lender, stream->node->runtime))
        return (struct buffer_slice){buffer_ref(handle->buffer), handle->offset, handle->length};
    run.buffer = buffer_new_foreign(handle->length > 0 ? handle->length : 1);
    if (run.buffer != NULL)
        memcpy(run.buffer->data, handle->buffer->data + handle->offset, handle->length);
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

static int write_inline(struct p2p_stream *stream, const struct p2p_buffer *buffer)
{
    struct buffer_slice run;
    int error = stream_on_worker(stream) ? stream_write_check(stream) : P2P_ERR_CALL_THREAD;

    if (error != 0)
        return error;
    if (!session_takes_buffer(stream->session, stream, buffer->length)) {
        session_writer_waits(stream->session, stream);
        return P2P_ERR_CALL_AGAIN;
    }
    run = run_of(stream, buffer);
    return run.buffer != NULL ? write_run(stream, run) : P2P_ERR_CALL_NOMEM;
}

static int write_shared(struct p2p_stream *stream, const struct p2p_buffer *buffer)
{
    struct stream_shared *shared = stream->shared;
    struct buffer_slice run;
    int error = stream_shared_check(shared);

    if (error != 0)
        return error;
    if (shared->send_bytes >= shared->send_max) {
        shared->want_write = true;
        return P2P_ERR_CALL_AGAIN;
    }
    run = run_of(stream, buffer);
    error = run.buffer != NULL ? slices_append(&shared->send, run.buffer, run.offset, run.length)
                               : P2P_ERR_CALL_NOMEM;
    if (error != 0)
        return error;
    shared->send_bytes += buffer->length;
    stream_kick(stream);
    return 0;
}

int p2p_stream_write_buffer(struct p2p_stream *stream, struct p2p_buffer *buffer)
{
    int error;

    if (stream->shared == NULL) {
        error = write_inline(stream, buffer);
    } else {
        pthread_mutex_lock(&stream->shared->lock);
        error = write_shared(stream, buffer);
        pthread_mutex_unlock(&stream->shared->lock);
    }
    if (error != P2P_ERR_CALL_AGAIN)
        p2p_buffer_free(buffer); /* outside the lock: it may be lent by this very stream */
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
    handle = buffer_handle(node, run);
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

/* `bytes` lent by the stream are no longer in the application's hands.  Its
 * session, its node and its runtime may have gone. */
static void lent_back(struct p2p_stream *stream, struct lender *lender, uint32_t bytes)
{
    struct stream_shared *shared = stream->shared;
    struct stream_mail mail = {.stream = stream, .function = stream_lent_back, .session_only = true,
                               .argument = (void *)(uintptr_t)bytes};

    if (shared != NULL) {
        pthread_mutex_lock(&shared->lock);
        stream->lent -= bytes;
        shared->consumed += bytes;
        stream_kick(stream);
        pthread_mutex_unlock(&shared->lock);
    } else if (stream_on_worker(stream)) {
        stream_lent_back(stream, mail.argument);
    } else {
        lender_post(lender, &mail);
    }
}

void stream_lent_back(struct p2p_stream *stream, void *argument)
{
    uint32_t bytes = (uint32_t)(uintptr_t)argument;

    stream->lent -= bytes;
    if (stream->session != NULL)
        session_stream_consumed(stream->session, stream, bytes);
}

void p2p_buffer_trim(struct p2p_buffer *buffer, size_t length)
{
    if (length >= buffer->length)
        return;
    if (buffer->stream != NULL)
        lent_back(buffer->stream, buffer->lender, buffer->length - (uint32_t)length);
    buffer->length = (uint32_t)length;
}

void p2p_buffer_free(struct p2p_buffer *buffer)
{
    struct local *local = local_current();

    if (buffer == NULL)
        return;
    buffer_unref(buffer->buffer);
    if (buffer->stream != NULL) {
        lent_back(buffer->stream, buffer->lender, buffer->length);
        stream_unref(buffer->stream);
    }
    lender_return(buffer->lender);
    if (local != NULL)
        cache_free(&local->buffers, buffer);
    else
        free(buffer);
}
