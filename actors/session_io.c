#include "actors/session_state.h"

#include "actors/registry.h"

#include <errno.h>
#include <string.h>

/* Bytes in: driver buffers, handshake machines or records, the muxer.
 * Bytes out: handshake output or the muxer's chunks, sealed into one buffer
 * per send. */

enum io_limits {
    IO_BULK_BYTES = 65536,       /* received in one turn: from here on large buffers; a full record */
    IO_BULK_KEEP_BYTES = 32768,  /* a receive that brought less ends that */
    IO_WHOLE_BYTES = 8192,       /* payload from here on is sealed where it lies, less is copied together */
    IO_DEFERRED_BYTES_MAX = 65536, /* a stranger's bytes that wait for a turn: more than any handshake has */
    IO_PIECES_MAX = 16,          /* runs of bytes in one record sealed in place */
    IO_SMALL_SEND_BYTES = 3072,  /* what surely fits a small buffer, headers and tags included */
    IO_MEDIUM_SEND_BYTES = 30000, /* and a medium one */
    IO_RECORD_SEND_BYTES = 68000, /* and one for a record, with the short one behind it */
};

#define IO_SLOW_NS 5000000000ull /* between two receives: then the next is not expected soon */

/* ---- In ------------------------------------------------------------------ */

static bool has_records(const struct session *session)
{
    return session->node->config.security;
}

/* Plaintext, whatever stands above it. */
static int deliver(struct session *session, struct buffer *buffer, uint32_t offset, uint32_t length)
{
    int error;

    if ((session->flags & SESSION_MUXER_AGREED) == 0) {
        size_t taken = 0;

        error = session_muxer_recv(session, buffer->data + offset, length, &taken);
        if (error != 0)
            return error;
        offset += (uint32_t)taken;
        length -= (uint32_t)taken;
    }
    return length > 0 ? session_muxed(session, buffer, offset, length) : 0;
}

static uint32_t record_bytes(const uint8_t *data)
{
    return NOISE_HEADER_BYTES + (((uint32_t)data[0] << 8) | data[1]);
}

/* Opens every whole record in [begin, end) of `buffer`; *begin is left at the
 * first that is cut. */
static int open_records(struct session *session, struct buffer *buffer, uint32_t *begin, uint32_t end)
{
    while (end - *begin >= NOISE_HEADER_BYTES) {
        uint8_t *record = buffer->data + *begin;
        uint32_t bytes = record_bytes(record);
        size_t plain = 0;
        int error;

        if (end - *begin < bytes)
            return 0;
        error = noise_open(&session->keys, session->local->aead, record + NOISE_HEADER_BYTES,
                           bytes - NOISE_HEADER_BYTES, &plain);
        if (error == 0 && plain > 0)
            error = deliver(session, buffer, *begin + NOISE_HEADER_BYTES, (uint32_t)plain);
        if (error != 0)
            return error;
        *begin += bytes;
        if (session->phase >= SESSION_DRAINING)
            return 0;
    }
    return 0;
}

/* Bytes that the cut record in session->record still lacks. */
static uint32_t record_lacks(const struct buffer *record)
{
    uint32_t have = record->end - record->begin;

    return have < NOISE_HEADER_BYTES ? NOISE_HEADER_BYTES - have
                                     : record_bytes(record->data + record->begin) - have;
}

/* Room for `more` bytes behind the cut record.  Grows with what has really
 * arrived, not with what a header claims. */
static int record_reserve(struct session *session, uint32_t more)
{
    struct buffer *record = session->record;
    uint32_t have = record != NULL ? record->end - record->begin : 0;
    struct buffer *larger;

    if (record != NULL && record->capacity - record->end >= more)
        return 0;
    larger = buffer_new(worker_buffers(session->local->worker), have + more);
    if (larger == NULL)
        return P2P_ERR_CALL_NOMEM;
    if (record != NULL)
        memcpy(larger->data, record->data + record->begin, have);
    larger->begin = 0;
    larger->end = have;
    buffer_unref(record);
    session->record = larger;
    return 0;
}

static int record_append(struct session *session, const uint8_t *data, uint32_t length)
{
    int error = record_reserve(session, length);

    if (error != 0)
        return error;
    memcpy(session->record->data + session->record->end, data, length);
    session->record->end += length;
    return 0;
}

/* Completes the cut record with the first bytes of [*offset, end). */
static int finish_record(struct session *session, struct buffer *buffer, uint32_t *offset, uint32_t end)
{
    while (session->record != NULL && *offset < end) {
        uint32_t lacks = record_lacks(session->record);
        uint32_t part = end - *offset < lacks ? end - *offset : lacks;
        struct buffer *record;
        int error;

        if (lacks > 0) {
            error = record_append(session, buffer->data + *offset, part);
            if (error != 0)
                return error;
            *offset += part;
        }
        if (record_lacks(session->record) > 0)
            continue;
        record = session->record;
        session->record = NULL;
        error = open_records(session, record, &record->begin, record->end);
        buffer_unref(record);
        if (error != 0)
            return error;
    }
    return 0;
}

static int feed_records(struct session *session, struct buffer *buffer, uint32_t offset, uint32_t length)
{
    uint32_t end = offset + length;
    int error = finish_record(session, buffer, &offset, end);

    if (error == 0)
        error = open_records(session, buffer, &offset, end);
    if (error == 0 && offset < end && session->phase < SESSION_DRAINING)
        error = record_append(session, buffer->data + offset, end - offset);
    return error;
}

/* Raw bytes from the socket. */
static int feed(struct session *session, struct buffer *buffer, uint32_t offset, uint32_t length)
{
    if ((session->flags & SESSION_SECURE) == 0) {
        uint64_t begin_ns = driver_now_ns(session->local->driver);
        size_t taken = 0;
        int error = session_handshake_recv(session, buffer->data + offset, length, &taken);

        local_handshake_spent(session->local, begin_ns);
        if (error != 0)
            return error;
        offset += (uint32_t)taken;
        length -= (uint32_t)taken;
    }
    if (length == 0)
        return 0;
    return has_records(session) ? feed_records(session, buffer, offset, length)
                                : deliver(session, buffer, offset, length);
}

static uint32_t goaway_code(int error)
{
    switch (error) {
    case P2P_ERR_NODE_CLOSING:
        return YAMUX_GOAWAY_SHUTDOWN;
    case P2P_ERR_CONN_LIMIT:
    case P2P_ERR_CALL_NOMEM:
        return YAMUX_GOAWAY_RESOURCE_LIMIT;
    default:
        return YAMUX_GOAWAY_PROTOCOL;
    }
}

static void judge(struct session *session, int error)
{
    bool refused = session->handshake != NULL && session->handshake->refused;
    bool muxed = (session->flags & SESSION_MUXER) != 0;

    if (error == 0 || session->phase == SESSION_DEAD)
        return;
    if (!(muxed || refused) || error == P2P_ERR_CONN_AUTH) {
        session_end(session, error);
        return;
    }
    /* The muxer has its GoAway, if it has not queued one itself, or the negotiation
     * its `na`: it goes out before the end, and a reset would take it away from the
     * peer again. */
    if (muxed)
        yamux_goaway(&session->yamux, goaway_code(error));
    if (session->error == 0)
        session->error = (int16_t)error;
    session->flags |= SESSION_GOAWAY_SENT;
    session->phase = SESSION_CLOSING;
    if (session->flags & SESSION_REGISTERED)
        registry_retire(session->node->registry, &session->entry);
    session->deadline_ns = session_now(session) + NODE_CLOSE_FLUSH_NS;
    session_stop_writing(session);
}

/* Bulk: records lie in our own large buffer; what is cut moves to the front of
 * the next one. */
static void received_bulk(struct session *session, struct message *message, uint32_t bytes)
{
    struct buffer *buffer = message->buffer;
    int error;

    message->buffer = NULL;
    session->flags &= ~(uint32_t)SESSION_RECEIVING_INTO;
    buffer->end = message->offset + bytes;
    error = has_records(session) ? open_records(session, buffer, &buffer->begin, buffer->end)
                                 : deliver(session, buffer, buffer->begin, buffer->end - buffer->begin);
    if (!has_records(session))
        buffer->begin = buffer->end;
    if (error == 0 && buffer->begin < buffer->end && session->phase < SESSION_DRAINING) {
        session->record = buffer;
    } else {
        buffer_unref(buffer);
    }
    if (bytes < IO_BULK_KEEP_BYTES)
        session->flags &= ~(uint32_t)SESSION_BULK;
    judge(session, error);
}

/* Bulk has dried up: the large buffer goes back, but for a record that is cut. */
static void cancelled_bulk(struct session *session, struct message *message)
{
    session->flags &= ~(uint32_t)(SESSION_RECEIVING_INTO | SESSION_BULK);
    if (message->buffer == NULL || message->buffer->begin == message->buffer->end)
        return;
    session->record = message->buffer;
    message->buffer = NULL;
}

static void received_nothing(struct session *session, int64_t result)
{
    bool refused = session->handshake != NULL && session->handshake->refused;
    int broken = refused ? P2P_ERR_CONN_NEGOTIATION : P2P_ERR_CONN_RESET; /* before it was open */

    session->flags |= SESSION_EOF;
    if (result == 0 || session->phase >= SESSION_CLOSING || session->flags & SESSION_PEER_GONE)
        session_end(session, session->phase < SESSION_OPEN ? broken : P2P_ERR_CONN_CLOSED);
    else if (result == -ECONNRESET && session->phase == SESSION_OPEN)
        session_end(session, P2P_ERR_CONN_CLOSED); /* go and others close by RST: it is their goodbye */
    else
        session_end(session, result == -ETIMEDOUT ? P2P_ERR_CONN_TIMEOUT : P2P_ERR_CONN_RESET);
}

void session_received(struct session *session, struct message *message)
{
    int64_t result = message->body.i64[0];
    uint32_t bytes = (uint32_t)result;

    if (result <= 0) {
        if (result == -ECANCELED && session->flags & SESSION_RECEIVING_INTO) {
            cancelled_bulk(session, message);
            return;
        }
        received_nothing(session, result);
        return;
    }
    registry_count(&session->entry.bytes_in, bytes);
    session->flags &= ~(uint32_t)SESSION_SLOW;
    if (session_now(session) - session->last_recv_ns >= IO_SLOW_NS)
        session->flags |= SESSION_SLOW;
    session->last_recv_ns = session_now(session);
    scope_count(session->node->scope, session->local->worker, NODE_BYTES_IN, bytes);
    if (session->phase >= SESSION_DRAINING ||
        (session->phase == SESSION_CLOSING && session->flags & SESSION_GOAWAY_SENT)) {
        session->flags &= ~(uint32_t)(SESSION_RECEIVING_INTO); /* all has been said: only the end counts */
        return;
    }
    session->turn_bytes += bytes;
    if (session->flags & SESSION_RECEIVING_INTO) {
        received_bulk(session, message, bytes);
        return;
    }
    if ((session->flags & SESSION_SECURE) == 0 &&
        (session->flags & SESSION_DEFERRED || !local_handshake_allowed(session->local))) {
        struct slices one = {0};

        /* Others' handshakes had this turn's share. */
        if (session->handshake->deferred.bytes + bytes > IO_DEFERRED_BYTES_MAX) {
            session_end(session, P2P_ERR_CONN_LIMIT);
            return;
        }
        if (slices_append(&one, message->buffer, message->offset, bytes) != 0)
            session_end(session, P2P_ERR_CALL_NOMEM);
        else
            slices_gather(&session->handshake->deferred, &one, worker_buffers(session->local->worker));
        message->buffer = NULL;
        session->flags |= SESSION_DEFERRED;
        return;
    }
    judge(session, feed(session, message->buffer, message->offset, bytes));
}

void session_feed_deferred(struct session *session)
{
    struct slices deferred;

    session->flags &= ~(uint32_t)SESSION_DEFERRED;
    if (session->handshake == NULL || session->phase >= SESSION_CLOSING)
        return;
    if (!local_handshake_allowed(session->local)) {
        session->flags |= SESSION_DEFERRED;
        return;
    }
    deferred = session->handshake->deferred;
    session->handshake->deferred = (struct slices){0};
    while (deferred.head != NULL && session->phase < SESSION_CLOSING) {
        struct buffer_slice run = slices_take(&deferred);

        judge(session, feed(session, run.buffer, run.offset, run.length));
        buffer_unref(run.buffer);
    }
    slices_clear(&deferred);
}

/* While memory is short a connection in bulk takes no more than a record at a
 * time: many that do so at once are slower, but none has to go. */
static uint32_t bulk_buffer_bytes(const struct session *session)
{
    return memory_is_tight(session->node->memory) ? BUFFER_RECORD_BYTES : BUFFER_LARGE_BYTES;
}

/* The next large buffer, with what is cut at its front. */
static struct buffer *bulk_buffer(struct session *session)
{
    struct buffer *record = session->record;
    struct buffer *buffer;
    uint32_t have = record != NULL ? record->end - record->begin : 0;
    uint32_t bytes = bulk_buffer_bytes(session);

    buffer = buffer_new(worker_buffers(session->local->worker), bytes);
    if (buffer == NULL)
        return NULL;
    assert(have < bytes);
    if (have > 0)
        memcpy(buffer->data, record->data + record->begin, have);
    buffer->begin = 0;
    buffer->end = have;
    buffer_unref(record);
    session->record = NULL;
    return buffer;
}

/* Multishot receive has been stopped.  What it brought may still wait in our
 * mailbox: a message behind it tells when that is read. */
static void settle_receive(struct session *session)
{
    struct actor_context context = session_context(session);
    struct message settled = {.type = SESSION_MSG_SETTLED, .kind = MESSAGE_CONTROL, .to = session->entry.session};

    if (session->flags & SESSION_SETTLING)
        return;
    if (!driver_receive_idle(session->local->driver, session->socket)) {
        actor_wake(session->local->worker, session->entry.session); /* look again in the next turn */
        return;
    }
    session->flags |= SESSION_SETTLING;
    (void)actor_tell(&context, &settled); /* control mail cannot be refused */
}

/* Small receives for most, large ones while bytes come in bulk. */
void session_receive_mode(struct session *session)
{
    struct buffer *buffer;

    if (session->phase < SESSION_OPEN || session->phase == SESSION_DEAD ||
        session->flags & (SESSION_RECEIVING_INTO | SESSION_EOF))
        return;
    if (session->flags & SESSION_MULTISHOT) {
        if (session->phase == SESSION_OPEN && session->flags & SESSION_SLOW && session->busy->streams == NULL)
            driver_receive_quietly(session->local->driver, session->socket);
        if (session->turn_bytes < IO_BULK_BYTES || session->phase != SESSION_OPEN)
            return;
        session->flags &= ~(uint32_t)SESSION_MULTISHOT;
        session->flags |= SESSION_BULK | SESSION_SWITCHING;
        driver_receive_stop(session->local->driver, session->socket);
    }
    if (session->flags & SESSION_SWITCHING) {
        settle_receive(session);
        return;
    }
    session->flags &= ~(uint32_t)SESSION_PAUSED;
    if (session->flags & SESSION_BULK && session->phase == SESSION_OPEN && memory_is_over(session->node->memory)) {
        session->flags |= SESSION_PAUSED;
        return;
    }
    buffer = session->flags & SESSION_BULK ? bulk_buffer(session) : NULL;
    if (buffer == NULL) {
        session->flags &= ~(uint32_t)SESSION_BULK;
        session->flags |= SESSION_MULTISHOT;
        driver_receive(session->local->driver, session->socket, session->entry.session);
        return;
    }
    session->flags |= SESSION_RECEIVING_INTO;
    session->flags &= ~(uint32_t)SESSION_RECEIVING_LITTLE;
    if (buffer->capacity < BUFFER_LARGE_BYTES)
        session->flags |= SESSION_RECEIVING_LITTLE;
    driver_receive_into(session->local->driver, session->socket, session->entry.session, buffer, buffer->end);
}

/* ---- Out ----------------------------------------------------------------- */

/* A send buffer being filled: records, the last of which is still open. */
struct sealer {
    struct session *session;
    struct buffer *buffer;
    uint32_t position; /* where the open record begins */
    uint32_t staged;   /* plaintext in it */
    uint32_t header, tag;
    int error;
};

static uint32_t sealer_room(const struct sealer *sealer)
{
    /* Room for one more record's frame, too: payload may close this one. */
    uint32_t used = sealer->position + sealer->staged + 2 * (sealer->header + sealer->tag);

    return used < sealer->buffer->capacity ? sealer->buffer->capacity - used : 0;
}

static uint8_t *sealer_end(struct sealer *sealer)
{
    return sealer->buffer->data + sealer->position + sealer->header + sealer->staged;
}

static void sealer_put(struct sealer *sealer, const struct aead_piece *pieces, size_t count)
{
    struct session *session = sealer->session;
    size_t written = 0;

    if (sealer->error == 0)
        sealer->error = noise_seal(&session->keys, session->local->aead, sealer->buffer->data + sealer->position,
                                   sealer->buffer->capacity - sealer->position, &written, pieces, count);
    sealer->position += (uint32_t)written;
}

/* Closes the open record, if it holds anything. */
static void sealer_close(struct sealer *sealer)
{
    struct aead_piece piece = {sealer->buffer->data + sealer->position + sealer->header, sealer->staged};

    if (sealer->staged == 0)
        return;
    if (sealer->header == 0)
        sealer->position += sealer->staged; /* plaintext */
    else
        sealer_put(sealer, &piece, 1);
    sealer->staged = 0;
}

static void sealer_stage(struct sealer *sealer, const uint8_t *data, uint32_t length)
{
    if (sealer->staged + length > NOISE_PLAIN_BYTES_MAX)
        sealer_close(sealer);
    memcpy(sealer_end(sealer), data, length);
    sealer->staged += length;
}

/* The front of a queue as pieces; 0 when it lies in too many. */
static size_t front_pieces(const struct slices *slices, uint32_t length, struct aead_piece *pieces, size_t capacity)
{
    const struct slice *entry = slices->head;
    size_t count = 0;

    while (length > 0 && count < capacity) {
        uint32_t part = entry->length < length ? entry->length : length;

        pieces[count++] = (struct aead_piece){entry->buffer->data + entry->offset, part};
        length -= part;
        entry = entry->next;
    }
    return length == 0 ? count : 0;
}

static void seal_chunk(struct sealer *sealer, const struct yamux_chunk *chunk)
{
    struct aead_piece pieces[IO_PIECES_MAX];
    struct p2p_stream *stream = chunk->stream != NULL ? stream_of(chunk->stream) : NULL;
    size_t count = 0;

    if (sealer->header != 0 && chunk->length >= IO_WHOLE_BYTES)
        count = front_pieces(&stream->send, chunk->length, pieces + 1, IO_PIECES_MAX - 1);
    if (count > 0) {
        sealer_close(sealer);
        pieces[0] = (struct aead_piece){chunk->header, YAMUX_HEADER_BYTES};
        sealer_put(sealer, pieces, count + 1);
        slices_drop(&stream->send, chunk->length);
    } else {
        if (sealer->staged + YAMUX_HEADER_BYTES + chunk->length > NOISE_PLAIN_BYTES_MAX)
            sealer_close(sealer);
        sealer_stage(sealer, chunk->header, YAMUX_HEADER_BYTES);
        if (chunk->length > 0)
            slices_copy_out(&stream->send, sealer_end(sealer), chunk->length);
        sealer->staged += chunk->length;
    }
    if (chunk->length > 0) {
        sealer->session->busy->queued_bytes -= chunk->length;
        scope_count(sealer->session->node->scope, sealer->session->local->worker, NODE_STREAM_BYTES_HELD,
                    -(int64_t)chunk->length);
        stream_sent(stream, chunk->length);
    }
}

static uint32_t send_buffer_bytes(const struct session *session)
{
    uint64_t queued = session->busy->queued_bytes + (session->handshake != NULL ? session->handshake->out.bytes +
                                                                               session->handshake->muxer_out.bytes : 0);

    if (queued <= IO_SMALL_SEND_BYTES && session->busy->stream_count < 128)
        return BUFFER_SMALL_BYTES;
    if (queued <= IO_MEDIUM_SEND_BYTES)
        return BUFFER_MEDIUM_BYTES;
    return queued <= IO_RECORD_SEND_BYTES ? BUFFER_RECORD_BYTES : bulk_buffer_bytes(session);
}

static void seal_muxer(struct sealer *sealer)
{
    struct session *session = sealer->session;
    struct session_handshake *handshake = session->handshake;
    struct yamux_chunk chunk;

    if (handshake != NULL && handshake->muxer_out.bytes > 0) {
        uint8_t *end = sealer_end(sealer);

        sealer->staged += (uint32_t)slices_copy_out(&handshake->muxer_out, end, sealer_room(sealer));
    }
    if ((session->flags & SESSION_MUXER) == 0)
        return;
    for (;;) {
        uint32_t room = sealer_room(sealer);
        uint32_t payload_max;

        /* A last, short record for a stream in bulk would cost more than it carries. */
        if (room < 2 * YAMUX_HEADER_BYTES || (room < IO_WHOLE_BYTES && sealer->position > room))
            break;
        payload_max = room - YAMUX_HEADER_BYTES;
        if (payload_max > YAMUX_PAYLOAD_BYTES_MAX)
            payload_max = YAMUX_PAYLOAD_BYTES_MAX;
        if (!yamux_send(&session->yamux, &chunk, payload_max))
            break;
        seal_chunk(sealer, &chunk);
        if (chunk.stream != NULL && chunk.length == 0)
            session_stream_settle(session, stream_of(chunk.stream)); /* a FIN may be the last of it */
    }
}

/* One buffer of what there is to send, or NULL. */
static struct buffer *gather(struct session *session)
{
    struct session_handshake *handshake = session->handshake;
    struct sealer sealer = {.session = session};
    bool raw = handshake != NULL && handshake->out.bytes > 0;
    bool sealed = session->flags & SESSION_SECURE &&
                  ((handshake != NULL && handshake->muxer_out.bytes > 0) ||
                   (session->flags & SESSION_MUXER && yamux_wants_send(&session->yamux)));

    if (!raw && !sealed)
        return NULL;
    sealer.buffer = buffer_new(worker_buffers(session->local->worker), send_buffer_bytes(session));
    if (sealer.buffer == NULL) {
        session_end(session, P2P_ERR_CALL_NOMEM);
        return NULL;
    }
    if (raw)
        sealer.position = (uint32_t)slices_copy_out(&handshake->out, sealer.buffer->data, sealer.buffer->capacity);
    if (has_records(session)) {
        sealer.header = NOISE_HEADER_BYTES;
        sealer.tag = AEAD_TAG_BYTES;
    }
    if (sealed && (handshake == NULL || handshake->out.bytes == 0)) {
        seal_muxer(&sealer);
        sealer_close(&sealer);
    }
    sealer.buffer->begin = 0;
    sealer.buffer->end = sealer.position;
    if (sealer.error != 0 || sealer.position == 0) {
        buffer_unref(sealer.buffer);
        if (sealer.error != 0)
            session_end(session, sealer.error);
        return NULL;
    }
    return sealer.buffer;
}

/* One that failed is kept until its dialer has been told, at the end. */
static void handshake_over(struct session *session)
{
    struct session_handshake *handshake = session->handshake;

    if (handshake != NULL && session->phase >= SESSION_OPEN && actor_ref_is_none(handshake->dialer) &&
        handshake->out.bytes == 0 &&
        handshake->muxer_out.bytes == 0 && handshake->deferred.bytes == 0 &&
        multistream_done(&handshake->select))
        session_handshake_free(session);
}

void session_flush(struct session *session)
{
    if (session->flags & SESSION_SENDING || session->phase == SESSION_CONNECTING ||
        session->phase >= SESSION_DRAINING || session->socket < 0)
        return;
    if (session->sending == NULL) {
        session->sending = gather(session);
        if (session->sending == NULL || session->phase == SESSION_DEAD)
            return;
        handshake_over(session);
        session_wake_writers(session);
    }
    session->flags |= SESSION_SENDING;
    session->stall_since_ns = session_now(session);
    session->stall_look_ns = session->stall_since_ns + NODE_STALL_LOOK_NS;
    driver_send(session->local->driver, session->socket, session->entry.session, buffer_ref(session->sending),
                session->sending->begin, session->sending->end - session->sending->begin);
}

void session_sent(struct session *session, struct message *message)
{
    int64_t result = message->body.i64[0];

    session->flags &= ~(uint32_t)SESSION_SENDING;
    if (result < 0) {
        session_end(session, P2P_ERR_CONN_RESET);
        return;
    }
    registry_count(&session->entry.bytes_out, (uint64_t)result);
    scope_count(session->node->scope, session->local->worker, NODE_BYTES_OUT, result);
    session->sending->begin += (uint32_t)result;
    if (session->sending->begin == session->sending->end) {
        buffer_unref(session->sending);
        session->sending = NULL;
    }
}
