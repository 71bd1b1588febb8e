#include "actors/registry.h"
#include "actors/session_state.h"
#include "actors/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The streams of the public header.  An INLINE stream is touched on its worker
 * only; an EVENT stream by its shared part, under its lock. */

static bool on_worker(const struct p2p_stream *stream)
{
    return worker_current() == stream->worker;
}

/* ---- Reading -------------------------------------------------------------- */

static int64_t read_end(const struct p2p_stream *stream)
{
    if (stream->flags & STREAM_FAILED)
        return stream->error;
    return stream->flags & STREAM_FIN_RECEIVED ? P2P_ERR_STREAM_EOF : P2P_ERR_CALL_AGAIN;
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
    if (!on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    count = (int64_t)slices_copy_out(&stream->recv, out, capacity);
    if (count == 0)
        return read_end(stream);
    if (stream->session != NULL)
        session_stream_consumed(stream->session, stream, (uint32_t)count);
    return count;
}

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

    if (shared == NULL && !on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    if (shared != NULL)
        pthread_mutex_lock(&shared->lock);
    else if (stream->session != NULL && session_is_pressed(stream->session))
        slices_compact(recv, worker_buffers(stream->worker)); /* it may be kept long */
    if (recv->head == NULL) {
        result = shared == NULL ? (int)read_end(stream) : shared->error != 0 ? shared->error : P2P_ERR_CALL_AGAIN;
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

/* ---- Writing -------------------------------------------------------------- */

static int write_check(const struct p2p_stream *stream)
{
    if (stream->flags & STREAM_FAILED)
        return stream->error;
    if (stream->flags & STREAM_FIN_QUEUED)
        return P2P_ERR_STREAM_CLOSED;
    return stream->session == NULL ? P2P_ERR_CONN_CLOSED : 0;
}

static int64_t write_shared(struct p2p_stream *stream, const void *data, size_t length)
{
    struct stream_shared *shared = stream->shared;
    uint64_t room = shared->send_bytes < shared->send_max ? shared->send_max - shared->send_bytes : 0;
    size_t part = length < room ? length : (size_t)room;

    if (shared->write_error != 0)
        return shared->write_error;
    if (shared->close_write)
        return P2P_ERR_STREAM_CLOSED;
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
    if (!on_worker(stream))
        return P2P_ERR_CALL_THREAD;
    error = write_check(stream);
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

    if (shared == NULL && !on_worker(stream)) {
        p2p_buffer_free(buffer);
        return P2P_ERR_CALL_THREAD;
    }
    if (shared == NULL) {
        error = write_check(stream);
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
    } else if (on_worker(stream)) {
        stream->lent -= bytes;
        if (stream->session != NULL)
            session_stream_consumed(stream->session, stream, bytes);
    } else {
        (void)p2p_stream_run(stream, stream_lent_back, (void *)(uintptr_t)bytes);
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
    if (!on_worker(stream))
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
        stream_kick(stream);
        pthread_mutex_unlock(&shared->lock);
        app_stream_forget(stream->node->app, &stream->ready); /* the worker saw `close` at the latest now */
    } else if (!on_worker(stream)) {
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
    uint32_t code = stream->peer_code;

    if (shared != NULL) {
        pthread_mutex_lock(&shared->lock);
        code = shared->peer_code;
        pthread_mutex_unlock(&shared->lock);
    }
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

static void run_dropped(void *data)
{
    struct stream_run run;

    memcpy(&run, data, sizeof(run));
    stream_unref(run.stream);
}

int p2p_stream_run(struct p2p_stream *stream, void (*function)(struct p2p_stream *stream, void *argument),
                   void *argument)
{
    struct stream_run run = {.stream = stream, .function = function, .argument = argument};
    struct message message = {.type = SESSION_MSG_RUN, .kind = MESSAGE_CONTROL, .to = stream->session_ref};

    message.buffer = buffer_new_parcel(sizeof(run), run_dropped);
    if (message.buffer == NULL)
        return P2P_ERR_CALL_NOMEM;
    stream_ref(stream);
    memcpy(message.buffer->data, &run, sizeof(run));
    return node_post(stream->node, &message);
}

/* ---- Opening -------------------------------------------------------------- */

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
