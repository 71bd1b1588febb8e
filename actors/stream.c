#include "actors/stream.h"

#include "actors/api_runtime.h"
#include "actors/session_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Life ---------------------------------------------------------------- */

struct p2p_stream *stream_new(struct p2p_node *node)
{
    struct local *local = local_current();
    struct p2p_stream *stream = local != NULL ? cache_new(&local->streams) : calloc(1, sizeof(*stream));

    if (stream == NULL)
        return NULL;
    stream->node = node;
    stream->refs = 1;
    return stream;
}

struct stream_shared *stream_shared_new(void)
{
    struct stream_shared *shared = calloc(1, sizeof(*shared));
    pthread_condattr_t attributes;

    if (shared == NULL)
        return NULL;
    shared->send_max = STREAM_FIRST_SEND_BYTES_MAX;
    pthread_mutex_init(&shared->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&shared->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return shared;
}

static void shared_free(struct stream_shared *shared)
{
    if (shared == NULL)
        return;
    slices_clear(&shared->recv);
    slices_clear(&shared->send);
    pthread_cond_destroy(&shared->changed);
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

struct p2p_stream *stream_ref(struct p2p_stream *stream)
{
    __atomic_add_fetch(&stream->refs, 1, __ATOMIC_RELAXED);
    return stream;
}

void stream_unref(struct p2p_stream *stream)
{
    struct local *local;

    /* Release pairs with the acquire of whoever comes last: it sees all that the others did. */
    if (__atomic_sub_fetch(&stream->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    slices_clear(&stream->recv);
    slices_clear(&stream->send);
    shared_free(stream->shared);
    free(stream->names);
    assert(stream->opener == NULL); /* it has heard, or was taken back */
    if (stream->left_in != NULL)
        memory_return(stream->left_in, stream->left);
    local = local_current();
    if (local != NULL)
        cache_free(&local->streams, stream);
    else
        free(stream);
}

int stream_set_names(struct p2p_stream *stream, const char *const *names, size_t number)
{
    size_t bytes = number * sizeof(char *);
    char *text;

    assert(number > 0 && number <= P2P_PROTOCOLS_MAX);
    for (size_t i = 0; i < number; i++)
        bytes += strlen(names[i]) + 1;
    stream->names = malloc(bytes);
    if (stream->names == NULL)
        return P2P_ERR_CALL_NOMEM;
    text = stream->names + number * sizeof(char *);
    for (size_t i = 0; i < number; i++) {
        memcpy(stream->names + i * sizeof(char *), &text, sizeof(text));
        text = stpcpy(text, names[i]) + 1;
    }
    stream->name_count = (uint16_t)number;
    return 0;
}

const char *const *stream_names(const struct p2p_stream *stream)
{
    return (const char *const *)(const void *)stream->names;
}

/* ---- The worker's side ---------------------------------------------------- */

static bool is_inline(const struct p2p_stream *stream)
{
    return stream->shared == NULL;
}

void stream_deliver(struct p2p_stream *stream, struct buffer *buffer, uint32_t offset, uint32_t length)
{
    if (slices_append(&stream->recv, buffer_ref(buffer), offset, length) != 0) {
        stream_fail(stream, P2P_ERR_CALL_NOMEM, 0);
        return;
    }
    stream->flags |= STREAM_READABLE;
    session_stream_ready(stream->session, stream);
}

void stream_deliver_fin(struct p2p_stream *stream)
{
    stream->flags |= STREAM_FIN_RECEIVED | STREAM_READABLE | STREAM_TELL_FIN;
    session_stream_ready(stream->session, stream);
}

void stream_fail(struct p2p_stream *stream, int error, uint32_t peer_code)
{
    if (stream->flags & STREAM_FAILED)
        return;
    stream->flags |= STREAM_FAILED;
    stream->error = error;
    stream->peer_code = peer_code;
    if (stream->session != NULL)
        session_stream_ready(stream->session, stream);
}

void stream_not_opened(struct p2p_stream *stream, int error)
{
    stream_fail(stream, error, 0);
    stream_run_callbacks(stream);
}

void stream_drop_unread(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;

    stream->flags &= ~(uint32_t)(STREAM_FIN_RECEIVED | STREAM_TELL_FIN); /* no longer whole */
    slices_clear(&stream->recv);
    if (shared == NULL)
        return;
    pthread_mutex_lock(&shared->lock);
    slices_clear(&shared->recv);
    if (shared->error == P2P_ERR_STREAM_EOF)
        shared->error = stream->error;
    pthread_mutex_unlock(&shared->lock);
}

void stream_stop_writing(struct p2p_stream *stream, int error)
{
    struct stream_shared *shared = stream->shared;

    if (shared == NULL)
        return;
    pthread_mutex_lock(&shared->lock);
    if (shared->write_error == 0)
        shared->write_error = error;
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
    api_runtime_rouse(stream->node->runtime);
}

/* Unread, and with `lent` true also what is in the application's buffers. */
static uint64_t bytes_there(struct p2p_stream *stream, bool lent)
{
    struct stream_shared *shared = stream->shared;
    uint64_t bytes = stream->recv.bytes;

    if (shared != NULL)
        pthread_mutex_lock(&shared->lock);
    bytes += shared != NULL ? shared->recv.bytes : 0;
    bytes += lent ? stream->lent : 0;
    if (shared != NULL)
        pthread_mutex_unlock(&shared->lock);
    return bytes;
}

void stream_leave(struct p2p_stream *stream)
{
    struct memory *memory = stream->node->memory;
    uint64_t unread = bytes_there(stream, false);

    assert(stream->left_in == NULL);
    if (unread > 0 && !memory_may_leave(memory, unread)) {
        stream_fail(stream, P2P_ERR_STREAM_LIMIT, 0); /* if it ended well: not all of it can be read */
        stream_drop_unread(stream);
    }
    stream->left = (uint32_t)bytes_there(stream, true);
    if (stream->left == 0)
        return;
    stream->left_in = memory;
    memory_leave(memory, stream->left);
}

bool stream_is_held(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;
    bool closed;

    if (shared == NULL)
        return (stream->flags & STREAM_HANDLE) != 0;
    pthread_mutex_lock(&shared->lock);
    closed = shared->close;
    pthread_mutex_unlock(&shared->lock);
    return !closed;
}

void stream_drop(struct p2p_stream *stream)
{
    /* A buffer that was lent may hold the stream for long, but nothing else. */
    slices_clear(&stream->recv);
    slices_clear(&stream->send);
    if (stream->shared != NULL) {
        slices_clear(&stream->shared->recv);
        slices_clear(&stream->shared->send);
    }
    stream_unref(stream);
}

void stream_detach(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;

    stream->session = NULL;
    slices_clear(&stream->send);
    if (shared == NULL)
        return;
    pthread_mutex_lock(&shared->lock);
    shared->detached = true;
    slices_clear(&shared->send);
    pthread_mutex_unlock(&shared->lock);
}

static void open_abandoned(struct waiter *waiter)
{
    p2p_stream_reset(waiter->object, 0);
}

void stream_opened(struct p2p_stream *stream)
{
    stream->flags |= STREAM_OPENED | STREAM_TELL_OPENED | STREAM_HANDLE;
    stream_ref(stream); /* the application's */
    app_hold(stream->node->app, &stream->handle, stream);
    session_stream_ready(stream->session, stream);
}

/* Says what there is room for, under the lock; true when a writer waits for that. */
static bool shared_writable(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;
    bool writable;

    shared->send_max = session_send_max(stream->session);
    writable = shared->want_write && shared->send_bytes <= shared->send_max / 2;
    if (writable)
        shared->want_write = false;
    return writable;
}

void stream_sent(struct p2p_stream *stream, uint64_t bytes)
{
    struct stream_shared *shared = stream->shared;
    bool writable = false;

    if (shared == NULL) {
        writable = stream->flags & STREAM_WANT_WRITE &&
                   stream->send.bytes <= session_send_room(stream->session, stream);
    } else {
        pthread_mutex_lock(&shared->lock);
        shared->send_bytes -= bytes < shared->send_bytes ? bytes : shared->send_bytes;
        writable = shared_writable(stream);
        pthread_mutex_unlock(&shared->lock);
    }
    if (!writable)
        return;
    stream->flags &= ~(uint32_t)STREAM_WANT_WRITE;
    stream->flags |= STREAM_WRITABLE;
    session_stream_ready(stream->session, stream);
}

void stream_written(struct p2p_stream *stream, uint64_t bytes)
{
    struct session *session = stream->session;

    stream->flags |= STREAM_WRITTEN;
    session->busy->queued_bytes += bytes;
    scope_count(session->node->scope, session->local->worker, NODE_STREAM_BYTES_HELD, (int64_t)bytes);
    yamux_queue(&session->yamux, &stream->mux, (uint32_t)bytes);
    session_wake(session);
}

void stream_write_closed(struct p2p_stream *stream)
{
    if (stream->flags & (STREAM_FIN_QUEUED | STREAM_FAILED) || stream->session == NULL)
        return;
    /* A closing connection has refused what the application would have written before: the peer is to hear of
     * the connection's end, and not to take a part for the whole. */
    if (stream->session->phase >= SESSION_CLOSING)
        return;
    stream->flags |= STREAM_FIN_QUEUED;
    /* js refuses a stream whose FIN comes right behind proposal and bytes: it waits until they are agreed. */
    if (stream->flags & STREAM_OPTIMISTIC && stream->flags & STREAM_WRITTEN)
        return;
    yamux_close_write(&stream->session->yamux, &stream->mux);
    session_wake(stream->session);
}

/* Of what it holds, the bytes that are not ours to drop: lent, or read and not
 * yet accounted for. */
static uint32_t in_other_hands(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;
    uint32_t bytes;

    if (shared == NULL)
        return stream->lent;
    pthread_mutex_lock(&shared->lock);
    bytes = stream->lent + (uint32_t)shared->consumed;
    pthread_mutex_unlock(&shared->lock);
    return bytes;
}

void stream_released(struct p2p_stream *stream)
{
    struct session *session = stream->session;
    uint32_t dropped;

    stream->flags &= ~(uint32_t)(STREAM_HANDLE | STREAM_READABLE | STREAM_WRITABLE);
    slices_clear(&stream->recv);
    if (session == NULL)
        return;
    stream_write_closed(stream);
    dropped = stream->held - in_other_hands(stream);
    session->busy->held_bytes -= dropped;
    scope_count(session->node->scope, session->local->worker, NODE_STREAM_BYTES_HELD, -(int64_t)dropped);
    stream->held -= dropped;
    if (yamux_finished(&stream->mux) || stream->flags & STREAM_FAILED)
        session_stream_forget(session, stream);
    else if ((stream->flags & STREAM_NEGOTIATING) == 0)
        session_stream_deadline(session, stream, true);
}

void stream_reset_by_us(struct p2p_stream *stream, uint32_t code)
{
    struct session *session = stream->session;

    stream->flags &= ~(uint32_t)(STREAM_HANDLE | STREAM_READABLE | STREAM_WRITABLE);
    slices_clear(&stream->recv);
    if (session == NULL)
        return;
    yamux_reset(&session->yamux, &stream->mux, code);
    session_stream_forget(session, stream);
    session_wake(session);
}

/* ---- Callbacks and hand-over --------------------------------------------- */

static void tell_opened_event(struct p2p_stream *stream)
{
    struct waiter *opener = stream->opener;
    struct p2p_event event = {.type = P2P_EVENT_STREAM_INCOMING, .stream = stream};

    if (opener != NULL) {
        stream->opener = NULL;
        opener->object = stream;
        opener->abandoned = open_abandoned;
        peer_id_to_text(&stream->peer, opener->id);
        waiter_finish(opener, 0);
        return;
    }
    peer_id_to_text(&stream->peer, event.id);
    if (app_push(stream->node->app, &event))
        return;
    /* The application takes its streams too slowly. */
    stream_reset_by_us(stream, YAMUX_RESET_RESOURCE_LIMIT);
    app_release(stream->node->app, &stream->handle);
    stream_unref(stream);
}

static void hand_over(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;
    uint32_t bits = 0;

    pthread_mutex_lock(&shared->lock);
    slices_gather(&shared->recv, &stream->recv, worker_buffers(stream->worker));
    if (shared->close)
        slices_clear(&shared->recv);
    if (stream->flags & STREAM_READABLE)
        bits |= APP_STREAM_READABLE;
    if (stream->flags & STREAM_WRITABLE)
        bits |= APP_STREAM_WRITABLE;
    if (stream->flags & STREAM_TELL_FIN && shared->error == 0)
        shared->error = P2P_ERR_STREAM_EOF;
    if (stream->flags & STREAM_FAILED && (stream->flags & STREAM_TOLD_FAILED) == 0) {
        if (shared->error == 0) /* what came whole stays so */
            shared->error = stream->error;
        shared->write_error = stream->error;
        shared->peer_code = stream->peer_code;
        bits |= APP_STREAM_FAILED;
    }
    pthread_cond_broadcast(&shared->changed);
    api_runtime_rouse(stream->node->runtime);
    if (bits != 0 && !shared->close)
        app_stream_ready(stream->node->app, &stream->ready, stream, bits, stream->error);
    pthread_mutex_unlock(&shared->lock);
    if (bits & APP_STREAM_FAILED)
        stream->flags |= STREAM_TOLD_FAILED;
    stream->flags &= ~(uint32_t)(STREAM_READABLE | STREAM_WRITABLE | STREAM_TELL_FIN);
}

static void explain_not_opened(const struct p2p_stream *stream, struct waiter *opener)
{
    char why[P2P_ADDRESS_TEXT_BYTES];

    if (stream->error == P2P_ERR_STREAM_LIMIT)
        snprintf(why, sizeof(why), "%u streams of ours are open on this connection, as many as may be "
                 "(p2p_config_max_streams), or thousands wait for that; close some, or raise the limit",
                 stream->node->config.streams_max);
    else
        snprintf(why, sizeof(why), "%s", p2p_error_string(stream->error));
    snprintf(opener->text.text, sizeof(opener->text.text), "stream to %s with %.150s: %.250s", opener->id,
             stream->name_count > 0 ? stream_names(stream)[0] : "", why);
}

/* It failed before the application had it. */
static void tell_not_opened(struct p2p_stream *stream)
{
    struct waiter *opener = stream->opener;

    stream->flags |= STREAM_TOLD_FAILED;
    if (opener != NULL) {
        stream->opener = NULL;
        explain_not_opened(stream, opener);
        waiter_finish(opener, stream->error);
        return;
    }
    if ((stream->flags & (STREAM_OUTBOUND | STREAM_INLINE)) != (STREAM_OUTBOUND | STREAM_INLINE))
        return;
    stream->flags |= STREAM_HANDLE;
    stream_ref(stream);
    app_hold(stream->node->app, &stream->handle, stream);
    if (stream->callbacks.failed != NULL)
        stream->callbacks.failed(stream, stream->user, stream->error);
    else
        p2p_stream_close(stream);
}

static bool held_by_app(const struct p2p_stream *stream)
{
    return (stream->flags & STREAM_HANDLE) != 0;
}

void stream_run_callbacks(struct p2p_stream *stream)
{
    const struct p2p_stream_callbacks *callbacks = &stream->callbacks;

    if (stream->flags & STREAM_FAILED && (stream->flags & STREAM_OPENED) == 0) {
        if ((stream->flags & STREAM_TOLD_FAILED) == 0)
            tell_not_opened(stream);
        return;
    }
    if (stream->flags & STREAM_TELL_OPENED) {
        stream->flags &= ~(uint32_t)STREAM_TELL_OPENED;
        if (!is_inline(stream))
            tell_opened_event(stream);
        else if (callbacks->opened != NULL)
            callbacks->opened(stream, stream->user);
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): who calls holds a reference */
    if (!held_by_app(stream))
        return;
    if (!is_inline(stream)) {
        hand_over(stream);
        return;
    }
    if (stream->flags & STREAM_READABLE) {
        stream->flags &= ~(uint32_t)STREAM_READABLE;
        if (callbacks->readable != NULL)
            callbacks->readable(stream, stream->user);
    }
    if (held_by_app(stream) && stream->flags & STREAM_WRITABLE) {
        stream->flags &= ~(uint32_t)STREAM_WRITABLE;
        if (callbacks->writable != NULL)
            callbacks->writable(stream, stream->user);
    }
    if (held_by_app(stream) && stream->flags & STREAM_FAILED && (stream->flags & STREAM_TOLD_FAILED) == 0) {
        stream->flags |= STREAM_TOLD_FAILED;
        if (callbacks->failed != NULL)
            callbacks->failed(stream, stream->user, stream->error);
    }
}

/* ---- Messages from the application's threads ------------------------------ */

void stream_kick(struct p2p_stream *stream)
{
    struct stream_mail mail = {.stream = stream}; /* without a session there is nothing to do for it */

    if (stream->shared->kicked || stream->shared->detached)
        return;
    stream->shared->kicked = stream_mail_post(&mail, SESSION_MSG_STREAM) == 0;
}

static void send_absorbed(struct p2p_stream *stream, struct slices *send, bool fin)
{
    struct stream_shared *shared = stream->shared;
    uint64_t bytes = send->bytes;
    bool writable;

    slices_gather(&stream->send, send, worker_buffers(stream->worker));
    if (bytes > 0)
        stream_written(stream, bytes);
    if (fin)
        stream_write_closed(stream);
    pthread_mutex_lock(&shared->lock);
    writable = shared_writable(stream);
    pthread_mutex_unlock(&shared->lock);
    if (!writable)
        return;
    stream->flags |= STREAM_WRITABLE;
    session_stream_ready(stream->session, stream);
}

void stream_absorb(struct p2p_stream *stream)
{
    struct stream_shared *shared = stream->shared;
    struct slices send = {0};
    uint64_t consumed;
    uint32_t code;
    bool fin, close, reset;

    pthread_mutex_lock(&shared->lock);
    shared->kicked = false;
    slices_move(&send, &shared->send);
    consumed = shared->consumed;
    shared->consumed = 0;
    fin = shared->close_write;
    close = shared->close;
    reset = shared->reset_wanted;
    code = shared->reset_code;
    pthread_mutex_unlock(&shared->lock);
    if (stream->session != NULL && consumed > 0)
        session_stream_consumed(stream->session, stream, (uint32_t)consumed);
    if (stream->session == NULL || stream->flags & STREAM_FAILED)
        slices_clear(&send);
    else
        send_absorbed(stream, &send, fin);
    if (reset)
        stream_reset_by_us(stream, code);
    else if (close)
        stream_released(stream);
    else if (stream->session != NULL)
        session_stream_settle(stream->session, stream);
}
