#include "net/yamux.h"

#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/table.h"

enum {
    BUCKET_BITS_MIN = 2, /* a connection has few streams: 32 bytes */
    BUCKET_BITS_MAX = 14,
    FAREWELLS_MIN = 8,
};

enum frame_type { TYPE_DATA = 0, TYPE_WINDOW = 1, TYPE_PING = 2, TYPE_GOAWAY = 3 };
enum frame_flag { FLAG_SYN = 1, FLAG_ACK = 2, FLAG_FIN = 4, FLAG_RST = 8 };

/* yamux.flags */
enum {
    SERVER = 1 << 0,
    PING_WAITS = 1 << 1,
    GOAWAY_WAITS = 1 << 2,
    GOAWAY_SAID = 1 << 3,  /* or waits */
    GOAWAY_HEARD = 1 << 4,
};

/* yamux_stream.state */
enum {
    OURS = 1 << 0,
    ACKED = 1 << 1,
    CLOSING = 1 << 2,   /* FIN after the queue */
    FIN_SAID = 1 << 3,
    FIN_HEARD = 1 << 4,
    RESET = 1 << 5,     /* by us */
    RST_HEARD = 1 << 6,
    IN_CONTROL = 1 << 7,
    IN_DATA = 1 << 8,
};

/* yamux_stream.pending: the flags of the frame, and */
enum { SAY_WINDOW = 1 << 8 };

/* What a frame is read in; each stage goes on to the next. */
enum stage { STAGE_HEADER, STAGE_ACK, STAGE_BODY, STAGE_PAYLOAD, STAGE_END, STAGE_VERDICT };

/* What a stage says; errors are negative. */
enum { STEP_NEXT, STEP_EVENT, STEP_STARVED };

struct input {
    const uint8_t *data;
    size_t length, offset;
    uint64_t now_ns;
};

struct yamux_farewell {
    uint32_t id;
    uint32_t code;
    uint16_t flags;
    bool refusal;
};

static_assert(YAMUX_STREAMS_IN_MAX + YAMUX_STREAMS_OUT_MAX + YAMUX_REFUSALS_MAX <= INT16_MAX, "counted in 16 bits");
static_assert(YAMUX_ACK_BACKLOG_STREAMS_MAX <= YAMUX_STREAMS_OUT_MAX, "the backlog is of streams");
static_assert(YAMUX_QUANTUM_BYTES <= YAMUX_PAYLOAD_BYTES_MAX, "a turn may be a frame");

static uint16_t get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t get_u32(const uint8_t *bytes)
{
    return (uint32_t)get_u16(bytes) << 16 | get_u16(bytes + 2);
}

static void put_header(struct yamux_chunk *chunk, enum frame_type type, uint16_t flags, uint32_t id, uint32_t length)
{
    const uint8_t header[YAMUX_HEADER_BYTES] = {
        0, (uint8_t)type, (uint8_t)(flags >> 8), (uint8_t)flags,
        (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id,
        (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length,
    };

    memcpy(chunk->header, header, sizeof(header));
}

static uint32_t least(uint32_t a, uint64_t b)
{
    return a < b ? a : (uint32_t)b;
}

static bool is_reset(const struct yamux_stream *stream)
{
    return (stream->state & (RESET | RST_HEARD)) != 0;
}

void yamux_init(struct yamux *yamux, bool client, uint64_t hash_seed, struct yamux_budget *budget,
                uint32_t window_growth_max)
{
    memset(yamux, 0, sizeof(*yamux));
    yamux->flags = client ? 0 : SERVER;
    yamux->next_id = client ? 1 : 2;
    yamux->hash_seed = hash_seed;
    yamux->budget = budget;
    yamux->window_growth_max = window_growth_max;
}

void yamux_fini(struct yamux *yamux)
{
    assert(yamux->streams == 0 && yamux->buckets == NULL);
    assert(yamux->window_growth_bytes == 0);
    free(yamux->farewells);
    free(yamux->pongs);
    yamux->farewells = NULL;
    yamux->pongs = NULL;
}

/* The connection ends here: GoAway is the only thing left to say. */
static int fail(struct yamux *yamux, int error, uint32_t code)
{
    if (yamux->error != 0)
        return yamux->error;
    yamux->error = (int16_t)error;
    yamux_goaway(yamux, code);
    yamux->goaway_code = code; /* if one waits already, this one says more */
    return error;
}

static int fail_protocol(struct yamux *yamux)
{
    return fail(yamux, P2P_ERR_CONN_PROTOCOL, YAMUX_GOAWAY_PROTOCOL);
}

/* ---- the table of streams ---- */

static struct yamux_stream **bucket_of(const struct yamux *yamux, uint32_t id)
{
    uint64_t hash = table_hash(&id, sizeof(id), yamux->hash_seed);

    return &yamux->buckets[hash & ((1u << yamux->bucket_bits) - 1)];
}

static struct yamux_stream *find(const struct yamux *yamux, uint32_t id)
{
    struct yamux_stream *stream;

    if (yamux->buckets == NULL)
        return NULL;
    for (stream = *bucket_of(yamux, id); stream != NULL && stream->id != id; stream = stream->hash_next)
        ;
    return stream;
}

static int table_resize(struct yamux *yamux, uint8_t bits)
{
    struct yamux_stream **old = yamux->buckets, **fresh = calloc((size_t)1 << bits, sizeof(*fresh));
    size_t old_size = old == NULL ? 0 : (size_t)1 << yamux->bucket_bits;

    if (fresh == NULL)
        return P2P_ERR_CALL_NOMEM;
    yamux->buckets = fresh;
    yamux->bucket_bits = bits;
    for (size_t i = 0; i < old_size; i++) {
        for (struct yamux_stream *stream = old[i], *next; stream != NULL; stream = next) {
            struct yamux_stream **bucket = bucket_of(yamux, stream->id);

            next = stream->hash_next;
            stream->hash_next = *bucket;
            *bucket = stream;
        }
    }
    free(old);
    return 0;
}

static int table_add(struct yamux *yamux, struct yamux_stream *stream)
{
    struct yamux_stream **bucket;

    if (yamux->buckets == NULL && table_resize(yamux, BUCKET_BITS_MIN) != 0)
        return P2P_ERR_CALL_NOMEM;
    /* Without memory to grow the chains are longer, no more. */
    if (yamux->streams >= 1u << yamux->bucket_bits && yamux->bucket_bits < BUCKET_BITS_MAX)
        (void)table_resize(yamux, yamux->bucket_bits + 1);
    bucket = bucket_of(yamux, stream->id);
    stream->hash_next = *bucket;
    *bucket = stream;
    yamux->streams++;
    return 0;
}

static void table_take(struct yamux *yamux, struct yamux_stream *stream)
{
    struct yamux_stream **link = bucket_of(yamux, stream->id);

    while (*link != stream) {
        assert(*link != NULL);
        link = &(*link)->hash_next;
    }
    *link = stream->hash_next;
    if (--yamux->streams == 0) {
        free(yamux->buckets);
        yamux->buckets = NULL;
    }
}

/* ---- the two lists ---- */

static void control_put(struct yamux *yamux, struct yamux_stream *stream, uint16_t pending)
{
    stream->pending |= pending;
    if (stream->state & IN_CONTROL)
        return;
    stream->state |= IN_CONTROL;
    stream->control_next = NULL;
    stream->control_prev = yamux->control_tail;
    *(yamux->control_tail != NULL ? &yamux->control_tail->control_next : &yamux->control_head) = stream;
    yamux->control_tail = stream;
}

static void control_take(struct yamux *yamux, struct yamux_stream *stream)
{
    stream->pending = 0;
    if (!(stream->state & IN_CONTROL))
        return;
    stream->state &= (uint16_t)~IN_CONTROL;
    *(stream->control_prev != NULL ? &stream->control_prev->control_next : &yamux->control_head) =
        stream->control_next;
    *(stream->control_next != NULL ? &stream->control_next->control_prev : &yamux->control_tail) =
        stream->control_prev;
}

static void data_put(struct yamux *yamux, struct yamux_stream *stream)
{
    if ((stream->state & IN_DATA) || stream->queued == 0 || stream->send_window == 0)
        return;
    stream->state |= IN_DATA;
    stream->data_next = NULL;
    stream->data_prev = yamux->data_tail;
    *(yamux->data_tail != NULL ? &yamux->data_tail->data_next : &yamux->data_head) = stream;
    yamux->data_tail = stream;
}

static void data_take(struct yamux *yamux, struct yamux_stream *stream)
{
    if (!(stream->state & IN_DATA))
        return;
    stream->state &= (uint16_t)~IN_DATA;
    *(stream->data_prev != NULL ? &stream->data_prev->data_next : &yamux->data_head) = stream->data_next;
    *(stream->data_next != NULL ? &stream->data_next->data_prev : &yamux->data_tail) = stream->data_prev;
}

/* ---- farewells: what is said for streams that are no more, or never were ---- */

static int farewells_grow(struct yamux *yamux)
{
    uint16_t room = yamux->farewell_room == 0 ? FAREWELLS_MIN : (uint16_t)(yamux->farewell_room * 2);
    struct yamux_farewell *fresh = malloc(room * sizeof(*fresh));

    if (fresh == NULL)
        return P2P_ERR_CALL_NOMEM;
    for (uint16_t i = 0; i < yamux->farewell_count; i++)
        fresh[i] = yamux->farewells[(yamux->farewell_head + i) & (yamux->farewell_room - 1)];
    free(yamux->farewells);
    yamux->farewells = fresh;
    yamux->farewell_head = 0;
    yamux->farewell_room = room;
    return 0;
}

static int farewell_put(struct yamux *yamux, uint32_t id, uint16_t flags, uint32_t code, bool refusal)
{
    struct yamux_farewell farewell = {id, code, flags, refusal};

    if (yamux->error != 0)
        return yamux->error;
    if (refusal && yamux->refusals == YAMUX_REFUSALS_MAX)
        return fail(yamux, P2P_ERR_CONN_LIMIT, YAMUX_GOAWAY_RESOURCE_LIMIT);
    if (yamux->farewell_count == yamux->farewell_room && farewells_grow(yamux) != 0)
        return fail(yamux, P2P_ERR_CONN_LIMIT, YAMUX_GOAWAY_INTERNAL);
    yamux->farewells[(yamux->farewell_head + yamux->farewell_count) & (yamux->farewell_room - 1)] = farewell;
    yamux->farewell_count++;
    yamux->refusals += refusal;
    return 0;
}

static bool id_is_ours(const struct yamux *yamux, uint32_t id)
{
    return (id & 1) == !(yamux->flags & SERVER);
}

static void count_out(struct yamux *yamux, uint32_t id)
{
    uint16_t *streams = id_is_ours(yamux, id) ? &yamux->streams_out : &yamux->streams_in;

    assert(*streams > 0);
    --*streams;
}

static void send_farewell(struct yamux *yamux, struct yamux_chunk *chunk)
{
    struct yamux_farewell farewell = yamux->farewells[yamux->farewell_head];

    put_header(chunk, TYPE_WINDOW, farewell.flags, farewell.id, farewell.code);
    if (farewell.refusal)
        yamux->refusals--;
    else
        count_out(yamux, farewell.id);
    yamux->farewell_head = (uint16_t)((yamux->farewell_head + 1) & (yamux->farewell_room - 1));
    if (--yamux->farewell_count == 0) {
        free(yamux->farewells);
        yamux->farewells = NULL;
        yamux->farewell_head = yamux->farewell_room = 0;
    }
}

/* ---- windows ---- */

/* As go: double it when its half was used up within four round trips, for then
 * the peer may have been waiting for us. */
static void grow_window(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns)
{
    struct yamux_budget *budget = yamux->budget;
    uint32_t growth = least(stream->recv_window_max, YAMUX_WINDOW_BYTES_MAX - stream->recv_window_max);

    if (yamux->rtt_ns == 0 || now_ns - stream->window_since_ns >= YAMUX_WINDOW_GROWTH_RTTS * yamux->rtt_ns)
        return;
    assert(yamux->window_growth_bytes <= yamux->window_growth_max);
    growth = least(growth, yamux->window_growth_max - yamux->window_growth_bytes);
    if (budget != NULL)
        growth = least(growth, budget->used_bytes < budget->max_bytes ? budget->max_bytes - budget->used_bytes : 0);
    if (growth < YAMUX_WINDOW_GROWTH_BYTES_MIN)
        return;
    if (budget != NULL)
        budget->used_bytes += growth;
    yamux->window_growth_bytes += growth;
    stream->recv_window_max += growth;
    stream->recv_consumed += growth;
}

static void shrink_window(struct yamux *yamux, struct yamux_stream *stream)
{
    uint32_t growth = stream->recv_window_max - YAMUX_WINDOW_BYTES_MIN;

    assert(yamux->window_growth_bytes >= growth);
    yamux->window_growth_bytes -= growth;
    if (yamux->budget != NULL) {
        assert(yamux->budget->used_bytes >= growth);
        yamux->budget->used_bytes -= growth;
    }
    stream->recv_window_max = YAMUX_WINDOW_BYTES_MIN;
}

void yamux_consumed(struct yamux *yamux, struct yamux_stream *stream, uint32_t bytes, uint64_t now_ns)
{
    assert(bytes <= stream->recv_unread);
    stream->recv_unread -= bytes;
    if (is_reset(stream) || (stream->state & FIN_HEARD))
        return;
    stream->recv_consumed += bytes;
    if (stream->recv_consumed < stream->recv_window_max / 2 || (stream->pending & SAY_WINDOW))
        return;
    grow_window(yamux, stream, now_ns);
    stream->window_since_ns = now_ns;
    control_put(yamux, stream, SAY_WINDOW);
}

/* ---- reading frames ---- */

static uint16_t frame_flags(const struct yamux *yamux)
{
    return get_u16(yamux->header + 2);
}

static uint32_t frame_id(const struct yamux *yamux)
{
    return get_u32(yamux->header + 4);
}

static uint32_t frame_length(const struct yamux *yamux)
{
    return get_u32(yamux->header + 8);
}

static int yield(struct yamux *yamux, struct yamux_event *event, enum yamux_event_type type)
{
    event->type = type;
    event->stream = yamux->payload_stream;
    event->stream_id = frame_id(yamux);
    return STEP_EVENT;
}

static void pong_put(struct yamux *yamux, uint32_t value)
{
    if (yamux->pong_count == YAMUX_PONGS_MAX)
        return;
    if (yamux->pong_count > 0 && yamux->pongs == NULL)
        yamux->pongs = malloc((YAMUX_PONGS_MAX - 1) * sizeof(*yamux->pongs));
    if (yamux->pong_count == 0)
        yamux->pong_first = value;
    else if (yamux->pongs != NULL)
        yamux->pongs[yamux->pong_count - 1] = value;
    else
        return; /* no memory: dropped, like one too many */
    yamux->pong_count++;
}

static int on_ping(struct yamux *yamux, struct yamux_event *event, uint64_t now_ns)
{
    uint64_t rtt_ns;

    if (frame_id(yamux) != 0)
        return fail_protocol(yamux);
    if (frame_flags(yamux) & FLAG_SYN) {
        pong_put(yamux, frame_length(yamux));
        return STEP_NEXT;
    }
    if (yamux->ping_sent_ns == 0 || (yamux->flags & PING_WAITS) || frame_length(yamux) != yamux->ping_value)
        return STEP_NEXT; /* not asked for */
    rtt_ns = now_ns > yamux->ping_sent_ns ? now_ns - yamux->ping_sent_ns : 1;
    yamux->rtt_ns = yamux->rtt_ns == 0 ? rtt_ns : yamux->rtt_ns / 2 + rtt_ns / 2 + 1;
    yamux->ping_sent_ns = 0;
    event->type = YAMUX_EVENT_PONG;
    event->rtt_ns = rtt_ns;
    return STEP_EVENT;
}

static int on_goaway(struct yamux *yamux, struct yamux_event *event)
{
    if (frame_id(yamux) != 0)
        return fail_protocol(yamux);
    yamux->flags |= GOAWAY_HEARD;
    event->type = YAMUX_EVENT_GOAWAY;
    event->code = frame_length(yamux);
    return STEP_EVENT;
}

/* The peer opens a stream: asked of the caller, or refused here. */
static int on_syn(struct yamux *yamux, struct yamux_event *event)
{
    uint32_t id = frame_id(yamux);

    if (id_is_ours(yamux, id) || find(yamux, id) != NULL)
        return fail_protocol(yamux);
    if (frame_flags(yamux) & FLAG_RST)
        return STEP_NEXT; /* opened and given up */
    if (yamux->flags & GOAWAY_SAID)
        return farewell_put(yamux, id, FLAG_RST, YAMUX_RESET_SHUTDOWN, true);
    if (yamux->streams_in >= YAMUX_STREAMS_IN_MAX)
        return farewell_put(yamux, id, FLAG_RST, YAMUX_RESET_RESOURCE_LIMIT, true);
    yamux->stage = STAGE_VERDICT;
    return yield(yamux, event, YAMUX_EVENT_OPEN);
}

static int step_header(struct yamux *yamux, struct input *in, struct yamux_event *event)
{
    size_t part = YAMUX_HEADER_BYTES - yamux->header_filled;

    if (part > in->length - in->offset)
        part = in->length - in->offset;
    if (part > 0)
        memcpy(yamux->header + yamux->header_filled, in->data + in->offset, part);
    in->offset += part;
    yamux->header_filled += (uint8_t)part;
    if (yamux->header_filled < YAMUX_HEADER_BYTES)
        return STEP_STARVED;
    yamux->header_filled = 0;
    if (yamux->header[0] != 0 || yamux->header[1] > TYPE_GOAWAY)
        return fail_protocol(yamux);
    if (yamux->header[1] == TYPE_PING)
        return on_ping(yamux, event, in->now_ns);
    if (yamux->header[1] == TYPE_GOAWAY)
        return on_goaway(yamux, event);
    if (frame_id(yamux) == 0)
        return fail_protocol(yamux);
    yamux->stage = STAGE_ACK;
    yamux->payload_stream = NULL;
    if (frame_flags(yamux) & FLAG_SYN)
        return on_syn(yamux, event);
    yamux->payload_stream = find(yamux, frame_id(yamux));
    if (yamux->payload_stream != NULL && is_reset(yamux->payload_stream))
        yamux->payload_stream = NULL;
    return STEP_NEXT;
}

static void acknowledge(struct yamux *yamux, struct yamux_stream *stream)
{
    if ((stream->state & (OURS | ACKED)) == OURS) {
        assert(yamux->unacked > 0);
        yamux->unacked--;
        stream->state |= ACKED;
    }
}

/* Whoever answers has taken the stream, with the flag or (older peers) without. */
static int step_ack(struct yamux *yamux, struct input *in, struct yamux_event *event)
{
    struct yamux_stream *stream = yamux->payload_stream;

    (void)in;
    yamux->stage = STAGE_BODY;
    if (stream == NULL || (stream->state & (OURS | ACKED)) != OURS || (frame_flags(yamux) & FLAG_RST))
        return STEP_NEXT;
    acknowledge(yamux, stream);
    return yield(yamux, event, YAMUX_EVENT_ACKED);
}

static int on_window(struct yamux *yamux, struct yamux_stream *stream, struct yamux_event *event)
{
    uint32_t delta = frame_length(yamux);
    bool closed = yamux_send_room(stream) == 0 && !(stream->state & CLOSING);

    if (delta > UINT32_MAX - stream->send_window)
        return fail_protocol(yamux);
    stream->send_window += delta;
    data_put(yamux, stream);
    return closed && delta > 0 ? yield(yamux, event, YAMUX_EVENT_WRITABLE) : STEP_NEXT;
}

static int on_data(struct yamux *yamux, struct yamux_stream *stream)
{
    uint32_t length = frame_length(yamux);

    if (length > 0 && (stream->state & FIN_HEARD))
        return fail_protocol(yamux);
    if (length > stream->recv_window)
        return fail(yamux, P2P_ERR_CONN_FLOW, YAMUX_GOAWAY_PROTOCOL);
    stream->recv_window -= length;
    stream->recv_unread += length;
    return STEP_NEXT;
}

static int step_body(struct yamux *yamux, struct input *in, struct yamux_event *event)
{
    struct yamux_stream *stream = yamux->payload_stream;
    bool reset = (frame_flags(yamux) & FLAG_RST) != 0;

    (void)in;
    if (yamux->header[1] == TYPE_WINDOW) {
        yamux->stage = STAGE_END;
        /* With RST the length is an error code. */
        return stream == NULL || reset ? STEP_NEXT : on_window(yamux, stream, event);
    }
    yamux->stage = STAGE_PAYLOAD;
    yamux->payload_left = frame_length(yamux);
    return stream == NULL || reset ? STEP_NEXT : on_data(yamux, stream);
}

/* Delivered, or drained: a stream that is unknown or reset, or a RST that brings payload along. */
static int step_payload(struct yamux *yamux, struct input *in, struct yamux_event *event)
{
    struct yamux_stream *stream = yamux->payload_stream;
    uint32_t part = least(yamux->payload_left, in->length - in->offset);
    size_t offset = in->offset;

    if (yamux->payload_left == 0) {
        yamux->stage = STAGE_END;
        return STEP_NEXT;
    }
    if (part == 0)
        return STEP_STARVED;
    in->offset += part;
    yamux->payload_left -= part;
    if (stream == NULL || (frame_flags(yamux) & FLAG_RST))
        return STEP_NEXT;
    event->offset = offset;
    event->length = part;
    return yield(yamux, event, YAMUX_EVENT_DATA);
}

/* Nothing more is sent on it, and nothing owed to it. */
static void silence(struct yamux *yamux, struct yamux_stream *stream)
{
    control_take(yamux, stream);
    data_take(yamux, stream);
    stream->queued = 0;
    shrink_window(yamux, stream);
}

static int on_rst(struct yamux *yamux, struct yamux_stream *stream, struct yamux_event *event)
{
    stream->state |= RST_HEARD;
    acknowledge(yamux, stream);
    silence(yamux, stream);
    event->code = yamux->header[1] == TYPE_WINDOW ? frame_length(yamux) : 0;
    return yield(yamux, event, YAMUX_EVENT_RESET);
}

static int step_end(struct yamux *yamux, struct input *in, struct yamux_event *event)
{
    struct yamux_stream *stream = yamux->payload_stream;

    (void)in;
    yamux->stage = STAGE_HEADER;
    if (stream == NULL)
        return STEP_NEXT;
    if (frame_flags(yamux) & FLAG_RST)
        return on_rst(yamux, stream, event);
    if (!(frame_flags(yamux) & FLAG_FIN) || (stream->state & FIN_HEARD))
        return STEP_NEXT;
    stream->state |= FIN_HEARD;
    if (stream->pending == SAY_WINDOW) /* of no use any more */
        control_take(yamux, stream);
    stream->pending &= (uint16_t)~SAY_WINDOW;
    return yield(yamux, event, YAMUX_EVENT_FIN);
}

int yamux_recv(struct yamux *yamux, const uint8_t *data, size_t length, size_t *taken, struct yamux_event *event,
               uint64_t now_ns)
{
    static int (*const steps[])(struct yamux *, struct input *, struct yamux_event *) = {
        step_header, step_ack, step_body, step_payload, step_end,
    };
    struct input in = {data, length, 0, now_ns};
    int step = yamux->error;

    assert(yamux->error != 0 || yamux->stage != STAGE_VERDICT);
    memset(event, 0, sizeof(*event));
    while (step == STEP_NEXT)
        step = steps[yamux->stage](yamux, &in, event);
    *taken = in.offset;
    if (step >= 0)
        return 0;
    memset(event, 0, sizeof(*event));
    return step;
}

/* ---- the life of a stream ---- */

static int stream_begin(struct yamux *yamux, struct yamux_stream *stream, uint32_t id, uint64_t now_ns)
{
    memset(stream, 0, sizeof(*stream));
    stream->id = id;
    stream->send_window = YAMUX_WINDOW_BYTES_MIN;
    stream->recv_window = YAMUX_WINDOW_BYTES_MIN;
    stream->recv_window_max = YAMUX_WINDOW_BYTES_MIN;
    stream->window_since_ns = now_ns;
    return table_add(yamux, stream);
}

int yamux_open(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns)
{
    if (yamux->error != 0 || (yamux->flags & (GOAWAY_HEARD | GOAWAY_SAID)))
        return P2P_ERR_CONN_GOAWAY;
    if (yamux->next_id >= UINT32_MAX - 2)
        return P2P_ERR_CONN_LIMIT;
    if (yamux->unacked >= YAMUX_ACK_BACKLOG_STREAMS_MAX || yamux->streams_out >= YAMUX_STREAMS_OUT_MAX)
        return P2P_ERR_CALL_FULL;
    if (stream_begin(yamux, stream, yamux->next_id, now_ns) != 0)
        return P2P_ERR_CALL_NOMEM;
    stream->state = OURS;
    yamux->next_id += 2;
    yamux->streams_out++;
    yamux->unacked++;
    control_put(yamux, stream, FLAG_SYN);
    return 0;
}

int yamux_accept(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns)
{
    assert(yamux->stage == STAGE_VERDICT);
    if (stream_begin(yamux, stream, frame_id(yamux), now_ns) != 0)
        return P2P_ERR_CALL_NOMEM;
    stream->state = ACKED;
    yamux->streams_in++;
    yamux->payload_stream = stream;
    yamux->stage = STAGE_ACK;
    control_put(yamux, stream, FLAG_ACK);
    return 0;
}

void yamux_refuse(struct yamux *yamux, uint32_t code)
{
    assert(yamux->stage == STAGE_VERDICT);
    yamux->stage = STAGE_ACK;
    /* On failure the next recv says so. */
    (void)farewell_put(yamux, frame_id(yamux), FLAG_RST, code, true);
}

void yamux_queue(struct yamux *yamux, struct yamux_stream *stream, uint32_t bytes)
{
    if (is_reset(stream))
        return;
    assert(!(stream->state & CLOSING));
    stream->queued += bytes;
    data_put(yamux, stream);
}

void yamux_close_write(struct yamux *yamux, struct yamux_stream *stream)
{
    if (is_reset(stream) || (stream->state & CLOSING))
        return;
    stream->state |= CLOSING;
    if (stream->queued == 0)
        control_put(yamux, stream, FLAG_FIN);
}

bool yamux_finished(const struct yamux_stream *stream)
{
    return is_reset(stream) || (stream->state & (FIN_SAID | FIN_HEARD)) == (FIN_SAID | FIN_HEARD);
}

void yamux_reset(struct yamux *yamux, struct yamux_stream *stream, uint32_t code)
{
    bool known = !(stream->pending & FLAG_SYN);

    if (yamux_finished(stream))
        return;
    silence(yamux, stream);
    stream->state |= RESET;
    stream->reset_code = code;
    if (yamux->payload_stream == stream)
        yamux->payload_stream = NULL;
    if (known) /* else it was never mentioned */
        control_put(yamux, stream, FLAG_RST);
}

/* What the peer has still to be told when the stream goes now. */
static uint16_t last_words(const struct yamux_stream *stream)
{
    if (is_reset(stream))
        return stream->pending; /* RST, or nothing more */
    if (yamux_finished(stream) || (stream->pending & FLAG_SYN))
        return 0;
    if ((stream->state & (CLOSING | FIN_HEARD)) == (CLOSING | FIN_HEARD) && stream->queued == 0)
        return stream->pending & (FLAG_FIN | FLAG_ACK);
    return FLAG_RST;
}

void yamux_forget(struct yamux *yamux, struct yamux_stream *stream)
{
    uint16_t words = last_words(stream);

    silence(yamux, stream);
    acknowledge(yamux, stream);
    if (yamux->payload_stream == stream)
        yamux->payload_stream = NULL;
    table_take(yamux, stream);
    if (words == 0 || farewell_put(yamux, stream->id, words, stream->reset_code, false) != 0)
        count_out(yamux, stream->id);
}

uint32_t yamux_send_room(const struct yamux_stream *stream)
{
    if (is_reset(stream) || (stream->state & CLOSING) || stream->queued >= stream->send_window)
        return 0;
    return stream->send_window - (uint32_t)stream->queued;
}

bool yamux_acknowledged(const struct yamux_stream *stream)
{
    return (stream->state & ACKED) != 0;
}

void yamux_ping(struct yamux *yamux, uint64_t now_ns)
{
    if (yamux->ping_sent_ns != 0)
        return;
    yamux->ping_sent_ns = now_ns > 0 ? now_ns : 1;
    yamux->ping_value++;
    yamux->flags |= PING_WAITS;
}

uint64_t yamux_ping_outstanding_ns(const struct yamux *yamux)
{
    return yamux->ping_sent_ns;
}

void yamux_goaway(struct yamux *yamux, uint32_t code)
{
    if (yamux->flags & GOAWAY_SAID)
        return;
    yamux->flags |= GOAWAY_SAID | GOAWAY_WAITS;
    yamux->goaway_code = code;
}

/* ---- writing frames ---- */

static void send_goaway(struct yamux *yamux, struct yamux_chunk *chunk)
{
    yamux->flags &= (uint16_t)~GOAWAY_WAITS;
    put_header(chunk, TYPE_GOAWAY, 0, 0, yamux->goaway_code);
}

static void send_pong(struct yamux *yamux, struct yamux_chunk *chunk)
{
    put_header(chunk, TYPE_PING, FLAG_ACK, 0, yamux->pong_first);
    if (--yamux->pong_count > 0) {
        yamux->pong_first = yamux->pongs[0];
        memmove(yamux->pongs, yamux->pongs + 1, (yamux->pong_count - 1u) * sizeof(*yamux->pongs));
    } else {
        free(yamux->pongs);
        yamux->pongs = NULL;
    }
}

static void send_ping(struct yamux *yamux, struct yamux_chunk *chunk)
{
    yamux->flags &= (uint16_t)~PING_WAITS;
    put_header(chunk, TYPE_PING, FLAG_SYN, 0, yamux->ping_value);
}

/* A data frame of `length` bytes; FIN rides on the last. */
static void put_data(struct yamux *yamux, struct yamux_stream *stream, struct yamux_chunk *chunk, uint16_t flags,
                     uint32_t length)
{
    assert(length <= stream->queued && length <= stream->send_window);
    stream->queued -= length;
    stream->send_window -= length;
    if (stream->queued == 0 && (stream->state & CLOSING)) {
        flags |= FLAG_FIN;
        stream->state |= FIN_SAID;
    }
    if (stream->queued == 0 || stream->send_window == 0) {
        data_take(yamux, stream);
        stream->deficit = 0;
    }
    put_header(chunk, TYPE_DATA, flags, stream->id, length);
    chunk->stream = stream;
    chunk->length = length;
}

/* SYNs go out in the order of opening, and so do ACKs of accepting: no wait for
 * a turn to send payload, but a little of it may come along. */
static void send_control(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max)
{
    struct yamux_stream *stream = yamux->control_head;
    uint16_t pending = stream->pending, flags = pending & (FLAG_SYN | FLAG_ACK | FLAG_FIN | FLAG_RST);
    uint32_t ride_max = least(least(YAMUX_RIDE_BYTES_MAX, payload_max), stream->send_window), delta = 0;

    control_take(yamux, stream);
    if (flags & FLAG_RST) {
        put_header(chunk, TYPE_WINDOW, flags, stream->id, stream->reset_code);
        return;
    }
    if (!(pending & SAY_WINDOW) && stream->queued > 0 && stream->queued <= ride_max) {
        put_data(yamux, stream, chunk, flags, (uint32_t)stream->queued);
        return;
    }
    if (pending & SAY_WINDOW) {
        delta = stream->recv_consumed;
        stream->recv_window += delta;
        stream->recv_consumed = 0;
        assert(stream->recv_window + stream->recv_unread <= stream->recv_window_max);
    }
    if (flags & FLAG_FIN)
        stream->state |= FIN_SAID;
    put_header(chunk, TYPE_WINDOW, flags, stream->id, delta);
}

/* Deficit round robin; who is alone sends whole frames. */
static void send_data(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max)
{
    struct yamux_stream *stream = yamux->data_head;
    bool alone = stream == yamux->data_tail;
    uint32_t length = least(least(payload_max, YAMUX_PAYLOAD_BYTES_MAX), stream->queued);

    length = least(length, stream->send_window);
    if (!alone) {
        if (stream->deficit <= 0)
            stream->deficit += YAMUX_QUANTUM_BYTES;
        length = least(length, (uint32_t)stream->deficit);
        stream->deficit -= (int32_t)length;
    }
    put_data(yamux, stream, chunk, 0, length);
    if (!alone && stream->deficit <= 0 && (stream->state & IN_DATA)) {
        data_take(yamux, stream);
        data_put(yamux, stream);
    }
}

bool yamux_send(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max)
{
    bool goaway = (yamux->flags & GOAWAY_WAITS) != 0;

    memset(chunk, 0, sizeof(*chunk));
    if (yamux->error != 0) {
        if (goaway)
            send_goaway(yamux, chunk);
        return goaway;
    }
    if (yamux->pong_count > 0)
        send_pong(yamux, chunk);
    else if (yamux->flags & PING_WAITS)
        send_ping(yamux, chunk);
    else if (yamux->farewell_count > 0)
        send_farewell(yamux, chunk);
    else if (yamux->control_head != NULL)
        send_control(yamux, chunk, payload_max);
    else if (goaway && (yamux->goaway_code != YAMUX_GOAWAY_NORMAL || yamux->data_head == NULL))
        send_goaway(yamux, chunk);
    else if (yamux->data_head != NULL && payload_max > 0)
        send_data(yamux, chunk, payload_max);
    else
        return false;
    return true;
}

bool yamux_wants_send(const struct yamux *yamux)
{
    if (yamux->flags & GOAWAY_WAITS)
        return true;
    return yamux->error == 0 && (yamux->pong_count > 0 || (yamux->flags & PING_WAITS) || yamux->farewell_count > 0 ||
                                 yamux->control_head != NULL || yamux->data_head != NULL);
}
