#include "actors/session_state.h"

#include "actors/probes.h"
#include "actors/registry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum session_streams_limits {
    SESSION_PENDING_OPENS_MAX = 4096, /* opens that wait for the peer's acknowledgements; ours */
};

static_assert(YAMUX_STREAMS_IN_MAX + YAMUX_STREAMS_OUT_MAX + SESSION_PENDING_OPENS_MAX <= UINT16_MAX,
              "counts of a session");

static struct buffer_pool *pool_of(const struct session *session)
{
    return worker_buffers(session->local->worker);
}

static void count(struct session *session, enum node_counter counter, int64_t delta)
{
    scope_count(session->node->scope, session->local->worker, counter, delta);
}

/* ---- The lists ----------------------------------------------------------- */

static const struct session_busy not_busy;

int session_be_busy(struct session *session)
{
    struct session_busy *busy;

    if (session->busy != &not_busy)
        return 0;
    busy = cache_new(&session->local->busy);
    if (busy == NULL)
        return P2P_ERR_CALL_NOMEM;
    session->busy = busy;
    return 0;
}

void session_be_idle(struct session *session)
{
    const struct session_busy *busy = session->busy;

    if (busy == &not_busy || (busy != NULL && (busy->streams != NULL || busy->ready != NULL || busy->identify != NULL ||
                                               busy->push != NULL || busy->ping != NULL)))
        return;
    cache_free(&session->local->busy, session->busy);
    session->busy = (struct session_busy *)&not_busy;
}

static void attach(struct session *session, struct p2p_stream *stream)
{
    stream->session = session;
    stream->worker = session->local->worker;
    stream->previous = NULL;
    stream->next = session->busy->streams;
    if (session->busy->streams != NULL)
        session->busy->streams->previous = stream;
    session->busy->streams = stream;
    session->busy->stream_count++;
    count(session, NODE_STREAMS_LIVE, 1);
}

/* The oldest is the list; what stands before it is the youngest. */
static void deadline_append(struct p2p_stream **list, struct p2p_stream *stream)
{
    struct p2p_stream *oldest = *list != NULL ? *list : stream;

    stream->deadline_previous = *list != NULL ? oldest->deadline_previous : stream;
    stream->deadline_next = NULL;
    *(*list != NULL ? &oldest->deadline_previous->deadline_next : list) = stream;
    oldest->deadline_previous = stream;
}

/* In a step: a peer may end a thousand streams in any order it likes. */
static void deadline_remove(struct p2p_stream **list, struct p2p_stream *stream)
{
    struct p2p_stream *next = stream->deadline_next != NULL ? stream->deadline_next : *list;

    assert(next != NULL && stream->deadline_previous != NULL); /* it is on the list */
    next->deadline_previous = stream->deadline_previous;
    *(*list == stream ? list : &stream->deadline_previous->deadline_next) = stream->deadline_next;
    stream->deadline_next = stream->deadline_previous = NULL;
}

static void leave_deadlines(struct session *session, struct p2p_stream *stream)
{
    if (stream->flags & STREAM_NEGOTIATING)
        deadline_remove(&session->busy->negotiating, stream);
    if (stream->flags & STREAM_LINGERING)
        deadline_remove(&session->busy->lingering, stream);
    stream->flags &= ~(uint32_t)(STREAM_NEGOTIATING | STREAM_LINGERING);
}

void session_stream_deadline(struct session *session, struct p2p_stream *stream, bool linger)
{
    leave_deadlines(session, stream);
    stream->flags |= linger ? STREAM_LINGERING : STREAM_NEGOTIATING;
    stream->deadline_ns = session_now(session) + (linger ? STREAM_LINGER_NS_MAX : NODE_NEGOTIATION_NS_MAX);
    deadline_append(linger ? &session->busy->lingering : &session->busy->negotiating, stream);
}

uint64_t session_streams_deadline(const struct session *session)
{
    uint64_t deadline_ns = UINT64_MAX;

    if (session->busy->negotiating != NULL)
        deadline_ns = session->busy->negotiating->deadline_ns;
    if (session->busy->lingering != NULL && session->busy->lingering->deadline_ns < deadline_ns)
        deadline_ns = session->busy->lingering->deadline_ns;
    return deadline_ns;
}

void session_stream_ready(struct session *session, struct p2p_stream *stream)
{
    if (stream->flags & STREAM_READY)
        return;
    stream->flags |= STREAM_READY;
    stream_ref(stream);
    stream->ready_next = session->busy->ready != NULL ? session->busy->ready->ready_next : stream;
    if (session->busy->ready != NULL)
        session->busy->ready->ready_next = stream;
    session->busy->ready = stream;
    session_wake(session);
}

void session_run_ready(struct session *session)
{
    const struct p2p_stream *last = session->busy->ready;

    /* Those that become ready meanwhile have their turn in the next round. */
    while (session->busy->ready != NULL) {
        struct p2p_stream *stream = session->busy->ready->ready_next;
        bool end = stream == last;

        if (stream == session->busy->ready)
            session->busy->ready = NULL;
        else
            session->busy->ready->ready_next = stream->ready_next;
        stream->ready_next = NULL;
        stream->flags &= ~(uint32_t)STREAM_READY;
        stream_run_callbacks(stream);
        if (stream->session != NULL) {
            if (stream->recv.bytes > 0)
                slices_compact(&stream->recv, pool_of(session));
            session_stream_settle(session, stream);
        }
        stream_unref(stream);
        if (end)
            return;
    }
}

/* ---- The end of streams -------------------------------------------------- */

static void drop_negotiation(struct session *session, struct p2p_stream *stream)
{
    if (stream->negotiation == NULL)
        return;
    multistream_fini(stream->negotiation);
    cache_free(&session->local->negotiations, stream->negotiation);
    stream->negotiation = NULL;
}

static void leave_pending(struct session *session, struct p2p_stream *stream)
{
    struct p2p_stream *before = session->busy->pending;

    if (stream->pending_next == NULL)
        return; /* it never had to wait */
    while (before->pending_next != stream)
        before = before->pending_next;
    before->pending_next = stream->pending_next;
    if (session->busy->pending == stream)
        session->busy->pending = before != stream ? before : NULL;
    session->busy->pending_count--;
    stream->pending_next = NULL;
}

void session_stream_forget(struct session *session, struct p2p_stream *stream)
{
    uint64_t held = stream->held + stream->send.bytes;

    if (stream->flags & STREAM_PENDING)
        leave_pending(session, stream);
    else
        yamux_forget(&session->yamux, &stream->mux);
    stream->flags &= ~(uint32_t)STREAM_PENDING;
    leave_deadlines(session, stream);
    drop_negotiation(session, stream);
    session->busy->queued_bytes -= stream->send.bytes;
    session->busy->held_bytes -= stream->held;
    stream->held = 0;
    count(session, NODE_STREAM_BYTES_HELD, -(int64_t)held);
    if (stream->next != NULL)
        stream->next->previous = stream->previous;
    if (stream->previous != NULL)
        stream->previous->next = stream->next;
    else
        session->busy->streams = stream->next;
    session->busy->stream_count--;
    count(session, NODE_STREAMS_LIVE, -1);
    PROBE_STREAM_CLOSE(session->socket, stream->mux.id);
    /* Bytes that arrived before the end can still be read; an INLINE stream nobody holds has none to give. */
    if ((stream->flags & STREAM_HANDLE) == 0)
        slices_clear(&stream->recv);
    stream_leave(stream);
    stream_detach(stream);
    stream_unref(stream);
    if (session->busy->pending != NULL)
        session_retry_pending(session);
}

void session_stream_settle(struct session *session, struct p2p_stream *stream)
{
    if (stream->session == NULL || stream->flags & STREAM_PENDING || !yamux_finished(&stream->mux))
        return;
    /* What is unread counts against the connection as long as somebody may read it. */
    if (stream->flags & STREAM_HANDLE && stream->held > 0)
        return;
    session_stream_forget(session, stream);
}

void session_stop_writing(struct session *session)
{
    for (struct p2p_stream *stream = session->busy->streams; stream != NULL; stream = stream->next)
        stream_stop_writing(stream, session->error);
}

/* It waits only for its reader: both have said their end. */
static bool is_complete(const struct p2p_stream *stream)
{
    return stream->flags & STREAM_FIN_RECEIVED && yamux_finished(&stream->mux);
}

/* Those that ended before may still wait to be told so. */
void session_fail_streams(struct session *session, int error, bool dropped)
{
    while (session->busy->streams != NULL) {
        struct p2p_stream *stream = session->busy->streams;

        if (dropped || !is_complete(stream))
            stream_fail(stream, error, 0);
        if (dropped)
            stream_drop_unread(stream);
        session_stream_forget(session, stream);
    }
    while (session->busy->ready != NULL)
        session_run_ready(session);
}

/* As many of ours as the configuration allows. */
static bool has_streams_enough(const struct session *session)
{
    return session->yamux.streams_out >= session->node->config.streams_max;
}

void session_expire_streams(struct session *session, uint64_t now_ns)
{
    while (session->busy->negotiating != NULL && session->busy->negotiating->deadline_ns <= now_ns) {
        struct p2p_stream *stream = session->busy->negotiating;

        leave_deadlines(session, stream);
        if ((stream->flags & STREAM_PENDING) == 0)
            yamux_reset(&session->yamux, &stream->mux, YAMUX_RESET_NEGOTIATION);
        stream_fail(stream, stream->flags & STREAM_PENDING && has_streams_enough(session) ? P2P_ERR_STREAM_LIMIT
                                                                                           : P2P_ERR_STREAM_TIMEOUT, 0);
        session_stream_forget(session, stream);
    }
    while (session->busy->lingering != NULL && session->busy->lingering->deadline_ns <= now_ns) {
        struct p2p_stream *stream = session->busy->lingering;

        leave_deadlines(session, stream);
        yamux_reset(&session->yamux, &stream->mux, 0);
        session_stream_forget(session, stream);
    }
}

/* ---- Opening ------------------------------------------------------------- */

/* All that multistream has to say: an accept that stayed behind would leave both
 * sides waiting. */
static int queue_negotiation(struct session *session, struct p2p_stream *stream)
{
    while (multistream_wants_send(stream->negotiation)) {
        uint8_t out[MULTISTREAM_TOKEN_BYTES_MAX];
        size_t written = 0, queued;
        int error = multistream_send(stream->negotiation, out, sizeof(out), &written);

        if (error != 0)
            return error;
        queued = slices_copy_in(&stream->send, pool_of(session), out, written);
        session->busy->queued_bytes += queued;
        count(session, NODE_STREAM_BYTES_HELD, (int64_t)queued);
        yamux_queue(&session->yamux, &stream->mux, (uint32_t)queued);
        if (queued != written)
            return P2P_ERR_CALL_NOMEM;
    }
    return 0;
}

static int begin_negotiation(struct session *session, struct p2p_stream *stream)
{
    stream->negotiation = cache_new(&session->local->negotiations);
    if (stream->negotiation == NULL)
        return P2P_ERR_CALL_NOMEM;
    if ((stream->flags & STREAM_OUTBOUND) == 0) {
        multistream_init_listener(stream->negotiation);
        return queue_negotiation(session, stream);
    }
    if (stream->guess < stream->name_count)
        multistream_init_dialer(stream->negotiation, stream_names(stream) + stream->guess, 1);
    else
        multistream_init_dialer(stream->negotiation, stream_names(stream), stream->name_count);
    return queue_negotiation(session, stream);
}

static void refuse_open(struct p2p_stream *stream, int error)
{
    stream_not_opened(stream, error);
    stream_unref(stream);
}

/* Opens it with the muxer, or says why not. */
static int open_now(struct session *session, struct p2p_stream *stream)
{
    int error;

    if (has_streams_enough(session))
        return P2P_ERR_CALL_FULL;
    error = yamux_open(&session->yamux, &stream->mux, session_now(session));
    if (error != 0)
        return error;
    stream->flags &= ~(uint32_t)STREAM_PENDING;
    error = begin_negotiation(session, stream);
    if (error != 0)
        return error;
    count(session, NODE_STREAMS_OUT, 1);
    PROBE_STREAM_OPEN(session->socket, stream->mux.id);
    session_stream_deadline(session, stream, false);
    if (multistream_optimistic(stream->negotiation)) {
        stream->flags |= STREAM_OPTIMISTIC;
        stream->protocol = stream_names(stream)[stream->guess < stream->name_count ? stream->guess : 0];
        stream_opened(stream);
    }
    session_wake(session);
    return 0;
}

static void wait_for_backlog(struct session *session, struct p2p_stream *stream)
{
    stream->flags |= STREAM_PENDING;
    stream->pending_next = session->busy->pending != NULL ? session->busy->pending->pending_next : stream;
    if (session->busy->pending != NULL)
        session->busy->pending->pending_next = stream;
    session->busy->pending = stream;
    session->busy->pending_count++;
    session_stream_deadline(session, stream, false);
}

/* An open that failed: the muxer does not know it, or no longer. */
static void open_failed(struct session *session, struct p2p_stream *stream, int error)
{
    stream_fail(stream, error, 0);
    session_stream_forget(session, stream);
}

/* Which of the proposals identify has told us of: it is sent optimistically. */
static void guess_protocol(struct session *session, struct p2p_stream *stream)
{
    const char *const *names = stream_names(stream);

    stream->guess = stream->name_count;
    if (stream->name_count == 1) {
        stream->guess = 0;
        return;
    }
    for (uint16_t i = 0; i < stream->name_count && stream->guess == stream->name_count; i++) {
        if (registry_speaks(session->node->registry, session_peer(session), names[i]))
            stream->guess = i;
    }
}

void session_open_stream(struct session *session, struct p2p_stream *stream)
{
    int error;

    stream->worker = session->local->worker;
    if (!session_is_open(session)) {
        refuse_open(stream, P2P_ERR_CONN_CLOSED);
        return;
    }
    guess_protocol(session, stream);
    stream->flags |= STREAM_OUTBOUND;
    if (session->busy->pending != NULL && session->busy->pending_count >= SESSION_PENDING_OPENS_MAX) {
        refuse_open(stream, P2P_ERR_STREAM_LIMIT);
        return;
    }
    if (session_be_busy(session) != 0) {
        refuse_open(stream, P2P_ERR_CALL_NOMEM);
        return;
    }
    attach(session, stream);
    stream->flags |= STREAM_PENDING; /* until the muxer knows it */
    error = session->busy->pending == NULL ? open_now(session, stream) : P2P_ERR_CALL_FULL;
    if (error == P2P_ERR_CALL_FULL)
        wait_for_backlog(session, stream);
    else if (error != 0)
        open_failed(session, stream, error);
}

void session_give_up_open(struct session *session, struct p2p_stream *stream)
{
    if ((stream->flags & STREAM_PENDING) == 0)
        yamux_reset(&session->yamux, &stream->mux, 0);
    stream_fail(stream, P2P_ERR_CALL_CANCELLED, 0);
    session_stream_forget(session, stream);
}

void session_retry_pending(struct session *session)
{
    if (session->flags & SESSION_RETRYING)
        return;
    session->flags |= SESSION_RETRYING;
    while (session->busy->pending != NULL && session_is_open(session)) {
        struct p2p_stream *stream = session->busy->pending->pending_next; /* the oldest */
        int error = open_now(session, stream);

        if (error == P2P_ERR_CALL_FULL)
            break;
        leave_pending(session, stream);
        if (error != 0)
            open_failed(session, stream, error);
    }
    session->flags &= ~(uint32_t)SESSION_RETRYING;
}

/* ---- The muxer's events -------------------------------------------------- */

static void on_open(struct session *session, uint32_t id)
{
    struct p2p_stream *stream;

    if (!session_is_open(session)) {
        yamux_refuse(&session->yamux, YAMUX_RESET_RESOURCE_LIMIT);
        return;
    }
    stream = session_be_busy(session) == 0 ? stream_new(session->node) : NULL;
    if (stream == NULL || yamux_accept(&session->yamux, &stream->mux, session_now(session)) != 0) {
        yamux_refuse(&session->yamux, YAMUX_RESET_RESOURCE_LIMIT);
        if (stream != NULL)
            stream_unref(stream);
        return;
    }
    stream->session_ref = session->entry.session;
    stream->peer = *session_peer(session);
    attach(session, stream);
    count(session, NODE_STREAMS_IN, 1);
    PROBE_STREAM_OPEN(session->socket, id);
    if (begin_negotiation(session, stream) != 0) {
        yamux_reset(&session->yamux, &stream->mux, YAMUX_RESET_RESOURCE_LIMIT);
        session_stream_forget(session, stream);
        return;
    }
    session_stream_deadline(session, stream, false);
}

static int bind_protocol(struct p2p_stream *stream, const struct protocol *protocol, const char *name)
{
    stream->protocol = name;
    stream->user = protocol->user;
    if (!protocol->event) {
        stream->flags |= STREAM_INLINE;
        stream->callbacks = protocol->callbacks;
        return 0;
    }
    stream->shared = stream_shared_new();
    return stream->shared != NULL ? 0 : P2P_ERR_CALL_NOMEM;
}

/* A prefix handler serves names of the peer's choice: the stream keeps its own
 * copy. */
static const char *agreed_name(struct p2p_stream *stream, const struct protocol *protocol, const char *name,
                               size_t length)
{
    char copy[MULTISTREAM_NAME_BYTES_MAX];
    const char *names[] = {copy};

    if (strlen(protocol->name) == length && memcmp(protocol->name, name, length) == 0)
        return protocol->name;
    memcpy(copy, name, length);
    copy[length] = '\0';
    /* With a zero inside it could not be told as a string. */
    if (strlen(copy) != length || stream_set_names(stream, names, 1) != 0)
        return NULL;
    return stream_names(stream)[0];
}

static int on_proposed(struct session *session, struct p2p_stream *stream, const char *name, size_t length)
{
    struct protocol protocol;
    const char *agreed = NULL;

    if (node_protocol_find(session->node, name, length, &protocol))
        agreed = agreed_name(stream, &protocol, name, length);
    if (agreed == NULL) {
        multistream_refuse(stream->negotiation);
        return queue_negotiation(session, stream);
    }
    if (bind_protocol(stream, &protocol, agreed) != 0)
        return P2P_ERR_CALL_NOMEM;
    multistream_accept(stream->negotiation, agreed);
    return queue_negotiation(session, stream);
}

static int on_list(struct session *session, struct p2p_stream *stream)
{
    const char *names[P2P_PROTOCOLS_MAX];
    size_t number = node_protocols(session->node, names, P2P_PROTOCOLS_MAX);

    multistream_list(stream->negotiation, names, (unsigned)(number < P2P_PROTOCOLS_MAX ? number : P2P_PROTOCOLS_MAX));
    return queue_negotiation(session, stream);
}

static void negotiated(struct session *session, struct p2p_stream *stream)
{
    if ((stream->flags & STREAM_TIMED) == 0)
        leave_deadlines(session, stream);
    drop_negotiation(session, stream);
    stream->flags &= ~(uint32_t)STREAM_OPTIMISTIC;
    if ((stream->flags & STREAM_OPENED) == 0)
        stream_opened(stream);
    if (stream->flags & STREAM_FIN_QUEUED)
        yamux_close_write(&session->yamux, &stream->mux); /* it has waited for this */
    if ((stream->flags & STREAM_HANDLE) == 0)
        session_stream_deadline(session, stream, true);
}

/* Feeds the negotiation; *taken tells where the protocol's own bytes begin. */
static int negotiate(struct session *session, struct p2p_stream *stream, const uint8_t *data, size_t length,
                     size_t *taken)
{
    *taken = 0;
    while (*taken < length && stream->negotiation != NULL) {
        struct multistream_event event;
        size_t part = 0;
        int error = multistream_recv(stream->negotiation, data + *taken, length - *taken, &part, &event);

        *taken += part;
        if (error != 0)
            return error;
        if (event.type == MULTISTREAM_EVENT_PROPOSED)
            error = on_proposed(session, stream, event.name, event.name_length);
        else if (event.type == MULTISTREAM_EVENT_LIST)
            error = on_list(session, stream);
        else if (event.type == MULTISTREAM_EVENT_REFUSED)
            error = P2P_ERR_STREAM_REFUSED;
        else if (event.type == MULTISTREAM_EVENT_NONE)
            error = queue_negotiation(session, stream);
        if (event.type == MULTISTREAM_EVENT_CHOSEN && stream->protocol == NULL)
            stream->protocol = stream_names(stream)[event.index];
        if (error != 0)
            return error;
        if (multistream_done(stream->negotiation))
            negotiated(session, stream);
    }
    return 0;
}

static void negotiation_failed(struct session *session, struct p2p_stream *stream, int error)
{
    yamux_reset(&session->yamux, &stream->mux, YAMUX_RESET_NEGOTIATION);
    stream_fail(stream, error, 0);
    session_stream_forget(session, stream);
}

void session_stream_consumed(struct session *session, struct p2p_stream *stream, uint32_t bytes)
{
    assert(bytes <= stream->held);
    stream->held -= bytes;
    session->busy->held_bytes -= bytes;
    count(session, NODE_STREAM_BYTES_HELD, -(int64_t)bytes);
    yamux_consumed(&session->yamux, &stream->mux, bytes, session_now(session));
    session_wake(session);
}

static void on_data(struct session *session, struct p2p_stream *stream, struct buffer *buffer, uint32_t offset,
                    uint32_t length)
{
    assert(stream != NULL);
    session->busy->held_bytes += length;
    stream->held += length;
    count(session, NODE_STREAM_BYTES_HELD, length);
    if (stream->negotiation != NULL) {
        size_t taken = 0;
        int error = negotiate(session, stream, buffer->data + offset, length, &taken);

        session_stream_consumed(session, stream, (uint32_t)taken);
        if (error != 0) {
            negotiation_failed(session, stream, error);
            return;
        }
        offset += (uint32_t)taken;
        length -= (uint32_t)taken;
    }
    if (length == 0 || stream->session == NULL)
        return;
    if ((stream->flags & STREAM_HANDLE) == 0 || stream->flags & STREAM_FAILED) {
        /* Nobody will read it.  The window stays as it is: a peer that goes on is stopped by it. */
        session->busy->held_bytes -= length;
        stream->held -= length;
        count(session, NODE_STREAM_BYTES_HELD, -(int64_t)length);
        return;
    }
    stream_deliver(stream, buffer, offset, length);
    session_enforce_budget(session);
}

static void on_fin(struct session *session, struct p2p_stream *stream)
{
    assert(stream != NULL);
    if (stream->negotiation != NULL) {
        /* It closed before both agreed, an optimistic one without the echo: it did not take the protocol. */
        negotiation_failed(session, stream, P2P_ERR_STREAM_REFUSED);
        return;
    }
    stream_deliver_fin(stream);
    session_stream_settle(session, stream);
}

/* Before the protocol's echo.  Any other code is the application's: it took the
 * stream, and its reset was faster than the echo. */
static bool is_refusal(uint32_t code)
{
    return code == YAMUX_RESET_NONE || code == YAMUX_RESET_NEGOTIATION || code == YAMUX_RESET_RESOURCE_LIMIT ||
           code == YAMUX_RESET_RATE_LIMITED;
}

/* What came whole, with its FIN, may still be read (some peers reset a stream
 * once they have said all); what was cut off is dropped, as go does. */
static void on_reset(struct session *session, struct p2p_stream *stream, uint32_t code)
{
    bool refused = stream->negotiation != NULL && stream->flags & STREAM_OUTBOUND && is_refusal(code);

    stream_fail(stream, refused ? P2P_ERR_STREAM_REFUSED : P2P_ERR_STREAM_RESET, code);
    if (stream->flags & STREAM_FIN_RECEIVED) {
        session_stream_settle(session, stream);
        return;
    }
    stream_drop_unread(stream);
    session_stream_forget(session, stream);
}

static void on_event(struct session *session, const struct yamux_event *event, struct buffer *buffer, uint32_t offset)
{
    struct p2p_stream *stream = event->stream != NULL ? stream_of(event->stream) : NULL;

    switch (event->type) {
    case YAMUX_EVENT_OPEN:
        on_open(session, event->stream_id);
        break;
    case YAMUX_EVENT_ACKED:
        session_retry_pending(session);
        break;
    case YAMUX_EVENT_DATA:
        on_data(session, stream, buffer, offset + (uint32_t)event->offset, (uint32_t)event->length);
        break;
    case YAMUX_EVENT_FIN:
        on_fin(session, stream);
        break;
    case YAMUX_EVENT_RESET:
        assert(stream != NULL);
        on_reset(session, stream, event->code);
        break;
    case YAMUX_EVENT_PONG:
        registry_measured(session->node->registry, &session->entry, event->rtt_ns);
        break;
    case YAMUX_EVENT_GOAWAY:
        session->flags |= SESSION_PEER_GONE;
        registry_retire(session->node->registry, &session->entry);
        if (session->error == 0)
            session->error = event->code == 0 ? P2P_ERR_CONN_CLOSED : P2P_ERR_CONN_GOAWAY;
        break;
    case YAMUX_EVENT_WRITABLE: /* the pump sends */
    case YAMUX_EVENT_NONE:
        break;
    }
}

int session_muxed(struct session *session, struct buffer *buffer, uint32_t offset, uint32_t length)
{
    size_t done = 0;

    for (;;) {
        struct yamux_event event;
        size_t taken = 0;
        int error = yamux_recv(&session->yamux, buffer->data + offset + done, length - done, &taken, &event,
                               session_now(session));

        if (error != 0)
            return error;
        if (event.type == YAMUX_EVENT_NONE && done + taken >= length)
            return 0;
        on_event(session, &event, buffer, offset + (uint32_t)done);
        done += taken;
        if (session->phase >= SESSION_DRAINING)
            return 0;
    }
}
