#include "net/yamux_inside.h"

#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"

/* What a frame is read in; each stage goes on to the next. */
enum stage { STAGE_HEADER, STAGE_ACK, STAGE_BODY, STAGE_PAYLOAD, STAGE_END, STAGE_VERDICT };

/* What a stage says; errors are negative. */
enum { STEP_NEXT, STEP_EVENT, STEP_STARVED };

struct input {
    const uint8_t *data;
    size_t length, offset;
    uint64_t now_ns;
};

static_assert(YAMUX_ACK_BACKLOG_STREAMS_MAX <= YAMUX_STREAMS_OUT_MAX, "the backlog is of streams");

static uint16_t get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t get_u32(const uint8_t *bytes)
{
    return (uint32_t)get_u16(bytes) << 16 | get_u16(bytes + 2);
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
int yamux_fail(struct yamux *yamux, int error, uint32_t code)
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
    return yamux_fail(yamux, P2P_ERR_CONN_PROTOCOL, YAMUX_GOAWAY_PROTOCOL);
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

static int on_ping(struct yamux *yamux, struct yamux_event *event, uint64_t now_ns)
{
    uint64_t rtt_ns;

    if (frame_id(yamux) != 0)
        return fail_protocol(yamux);
    if (frame_flags(yamux) & FLAG_SYN) {
        yamux_send_pong(yamux, frame_length(yamux));
        return STEP_NEXT;
    }
    if (yamux->ping_sent_ns == 0 || (yamux->flags & PING_WAITS) || frame_length(yamux) != yamux->ping_value)
        return STEP_NEXT; /* not asked for */
    rtt_ns = now_ns > yamux->ping_sent_ns ? now_ns - yamux->ping_sent_ns : 1;
    if (yamux->rtt_ns == 0 || rtt_ns < yamux->rtt_ns)
        yamux->rtt_ns = rtt_ns;
    else /* most of a longer one is waiting behind others */
        yamux->rtt_ns += (rtt_ns - yamux->rtt_ns) / 8;
    yamux->ping_sent_ns = 0;
    event->type = YAMUX_EVENT_PONG;
    event->rtt_ns = rtt_ns;
    return STEP_EVENT;
}

static int on_goaway(struct yamux *yamux, struct yamux_event *event)
{
    if (frame_id(yamux) != 0)
        return fail_protocol(yamux);
    if (yamux->flags & GOAWAY_HEARD)
        return STEP_NEXT;
    yamux->flags |= GOAWAY_HEARD;
    event->type = YAMUX_EVENT_GOAWAY;
    event->code = frame_length(yamux);
    return STEP_EVENT;
}

/* The peer opens a stream: asked of the caller, or refused here. */
static int on_syn(struct yamux *yamux, struct yamux_event *event)
{
    uint32_t id = frame_id(yamux);

    if (yamux_id_is_ours(yamux, id) || yamux_stream_find(yamux, id) != NULL)
        return fail_protocol(yamux);
    if (frame_flags(yamux) & FLAG_RST)
        return STEP_NEXT; /* opened and given up */
    if (yamux->flags & GOAWAY_SAID)
        return yamux_send_farewell(yamux, id, FLAG_RST, YAMUX_RESET_SHUTDOWN, true);
    if (yamux->streams_in >= YAMUX_STREAMS_IN_MAX)
        return yamux_send_farewell(yamux, id, FLAG_RST, YAMUX_RESET_RESOURCE_LIMIT, true);
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
    yamux->payload_stream = yamux_stream_find(yamux, frame_id(yamux));
    if (yamux->payload_stream != NULL && yamux_stream_is_reset(yamux->payload_stream))
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
    yamux_stream_offer(yamux, stream);
    return closed && delta > 0 ? yield(yamux, event, YAMUX_EVENT_WRITABLE) : STEP_NEXT;
}

static int on_data(struct yamux *yamux, struct yamux_stream *stream)
{
    uint32_t length = frame_length(yamux);

    if (length > 0 && (stream->state & FIN_HEARD))
        return fail_protocol(yamux);
    if (length > stream->recv_window)
        return yamux_fail(yamux, P2P_ERR_CONN_FLOW, YAMUX_GOAWAY_PROTOCOL);
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
    yamux_stream_hush(yamux, stream);
    yamux_stream_withdraw(yamux, stream);
    stream->queued = 0;
    yamux_stream_shrink(yamux, stream);
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
        yamux_stream_hush(yamux, stream);
    stream->pending &= (uint16_t)~SAY_WINDOW;
    return yield(yamux, event, YAMUX_EVENT_FIN);
}

int yamux_recv(struct yamux *yamux, const uint8_t *data, size_t length, size_t *taken,
               struct yamux_event *event, uint64_t now_ns)
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
    return yamux_stream_insert(yamux, stream);
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
    yamux_stream_say(yamux, stream, FLAG_SYN);
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
    yamux_stream_say(yamux, stream, FLAG_ACK);
    return 0;
}

void yamux_refuse(struct yamux *yamux, uint32_t code)
{
    assert(yamux->stage == STAGE_VERDICT);
    yamux->stage = STAGE_ACK;
    /* On failure the next recv says so. */
    (void)yamux_send_farewell(yamux, frame_id(yamux), FLAG_RST, code, true);
}

void yamux_queue(struct yamux *yamux, struct yamux_stream *stream, uint32_t bytes)
{
    if (yamux_stream_is_reset(stream))
        return;
    assert(!(stream->state & CLOSING));
    stream->queued += bytes;
    yamux_stream_offer(yamux, stream);
}

void yamux_close_write(struct yamux *yamux, struct yamux_stream *stream)
{
    if (yamux_stream_is_reset(stream) || (stream->state & CLOSING))
        return;
    stream->state |= CLOSING;
    if (stream->queued == 0)
        yamux_stream_say(yamux, stream, FLAG_FIN);
}

void yamux_consumed(struct yamux *yamux, struct yamux_stream *stream, uint32_t bytes, uint64_t now_ns)
{
    assert(bytes <= stream->recv_unread);
    stream->recv_unread -= bytes;
    if (yamux_stream_is_reset(stream) || (stream->state & FIN_HEARD))
        return;
    stream->recv_consumed += bytes;
    if (stream->recv_consumed < stream->recv_window_max / 2 || (stream->pending & SAY_WINDOW))
        return;
    yamux_stream_grow(yamux, stream, now_ns);
    stream->window_since_ns = now_ns;
    yamux_stream_say(yamux, stream, SAY_WINDOW);
}

bool yamux_finished(const struct yamux_stream *stream)
{
    const uint16_t both = FIN_SAID | FIN_HEARD;

    return yamux_stream_is_reset(stream) || (stream->state & both) == both;
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
        yamux_stream_say(yamux, stream, FLAG_RST);
}

/* What the peer has still to be told when the stream goes now. */
static uint16_t last_words(const struct yamux_stream *stream)
{
    if (yamux_stream_is_reset(stream))
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
    yamux_stream_remove(yamux, stream);
    if (words == 0 || yamux_send_farewell(yamux, stream->id, words, stream->reset_code, false) != 0)
        yamux_stream_count_out(yamux, stream->id);
}

uint32_t yamux_send_room(const struct yamux_stream *stream)
{
    if (yamux_stream_is_reset(stream) || (stream->state & CLOSING))
        return 0;
    if (stream->queued >= stream->send_window)
        return 0;
    return stream->send_window - (uint32_t)stream->queued;
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
