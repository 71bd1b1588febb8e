#include "net/yamux_inside.h"

#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"

enum {
    FAREWELLS_MIN = 8,
};

struct yamux_farewell {
    uint32_t id;
    uint32_t code;
    uint16_t flags;
    bool refusal;
};

static_assert(YAMUX_STREAMS_IN_MAX + YAMUX_STREAMS_OUT_MAX + YAMUX_REFUSALS_MAX <= INT16_MAX,
              "farewells are counted in 16 bits, and their ring doubles");
static_assert(YAMUX_QUANTUM_BYTES <= YAMUX_PAYLOAD_BYTES_MAX, "a turn may be a frame");

static void put_header(struct yamux_chunk *chunk, enum yamux_frame_type type, uint16_t flags, uint32_t id,
                       uint32_t length)
{
    const uint8_t header[YAMUX_HEADER_BYTES] = {
        0, (uint8_t)type, (uint8_t)(flags >> 8), (uint8_t)flags,
        (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id,
        (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length,
    };

    memcpy(chunk->header, header, sizeof(header));
}

/* A code stands where a window update has its delta; a data frame has no room for one. */
static void put_ending(struct yamux_chunk *chunk, uint16_t flags, uint32_t id, uint32_t code)
{
    put_header(chunk, code != 0 ? TYPE_WINDOW : TYPE_DATA, flags, id, code);
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

int yamux_send_farewell(struct yamux *yamux, uint32_t id, uint16_t flags, uint32_t code, bool refusal)
{
    struct yamux_farewell farewell = {id, code, flags, refusal};

    if (yamux->error != 0)
        return yamux->error;
    if (refusal && yamux->refusals == YAMUX_REFUSALS_MAX)
        return yamux_fail(yamux, P2P_ERR_CONN_LIMIT, YAMUX_GOAWAY_RESOURCE_LIMIT);
    if (yamux->farewell_count == yamux->farewell_room && farewells_grow(yamux) != 0)
        return yamux_fail(yamux, P2P_ERR_CONN_LIMIT, YAMUX_GOAWAY_INTERNAL);
    yamux->farewells[(yamux->farewell_head + yamux->farewell_count) & (yamux->farewell_room - 1)] = farewell;
    yamux->farewell_count++;
    yamux->refusals += refusal;
    return 0;
}

static void say_farewell(struct yamux *yamux, struct yamux_chunk *chunk)
{
    struct yamux_farewell farewell = yamux->farewells[yamux->farewell_head];

    put_ending(chunk, farewell.flags, farewell.id, farewell.code);
    if (farewell.refusal)
        yamux->refusals--;
    else
        yamux_stream_count_out(yamux, farewell.id);
    yamux->farewell_head = (uint16_t)((yamux->farewell_head + 1) & (yamux->farewell_room - 1));
    if (--yamux->farewell_count == 0) {
        free(yamux->farewells);
        yamux->farewells = NULL;
        yamux->farewell_head = yamux->farewell_room = 0;
    }
}

/* ---- pings ---- */

void yamux_send_pong(struct yamux *yamux, uint32_t value)
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

static void say_pong(struct yamux *yamux, struct yamux_chunk *chunk)
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

static void say_ping(struct yamux *yamux, struct yamux_chunk *chunk)
{
    yamux->flags &= (uint16_t)~PING_WAITS;
    put_header(chunk, TYPE_PING, FLAG_SYN, 0, yamux->ping_value);
}

/* ---- streams ---- */

static void say_window(struct yamux_chunk *chunk, struct yamux_stream *stream, uint16_t flags)
{
    uint32_t delta = stream->recv_consumed;

    stream->recv_window += delta;
    stream->recv_consumed = 0;
    assert(stream->recv_window + stream->recv_unread <= stream->recv_window_max);
    put_header(chunk, TYPE_WINDOW, flags, stream->id, delta);
}

/* A data frame of `length` bytes.  A FIN has a frame of its own, as go's, rust's and js's have: js hears a FIN
 * before the bytes it came with, and loses them; jvm hears one flag of a frame. */
static void put_data(struct yamux *yamux, struct yamux_chunk *chunk, struct yamux_stream *stream,
                     uint16_t flags, uint32_t length)
{
    assert(length <= stream->queued && length <= stream->send_window);
    stream->queued -= length;
    stream->send_window -= length;
    if (stream->queued == 0 && (stream->state & CLOSING))
        yamux_stream_say(yamux, stream, FLAG_FIN);
    if (stream->queued == 0 || stream->send_window == 0) {
        yamux_stream_withdraw(yamux, stream);
        stream->deficit = 0;
    }
    put_header(chunk, TYPE_DATA, flags, stream->id, length);
    chunk->stream = stream;
    chunk->length = length;
}

/* SYNs go out in the order of opening, and so do ACKs of accepting: no wait for
 * a turn to send payload, but a little of it comes along.  Payload, FIN and RST
 * go in data frames, as rust's, nim's and jvm's do: zig reads the flags of no others. */
static void say_control(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max)
{
    struct yamux_stream *stream = yamux->control;
    uint16_t pending = stream->pending, flags = pending & (FLAG_SYN | FLAG_ACK);
    uint32_t ride = least(least(least(YAMUX_RIDE_BYTES_MAX, payload_max), stream->send_window), stream->queued);

    yamux_stream_hush(yamux, stream);
    chunk->stream = stream;
    if (pending & FLAG_RST) {
        put_ending(chunk, FLAG_RST, stream->id, stream->reset_code);
        return;
    }
    if (pending == FLAG_FIN) {
        stream->state |= FIN_SAID;
        put_ending(chunk, FLAG_FIN, stream->id, 0);
        return;
    }
    if (pending & SAY_WINDOW)
        say_window(chunk, stream, flags);
    else if (ride > 0)
        put_data(yamux, chunk, stream, flags, ride);
    else
        put_header(chunk, TYPE_WINDOW, flags, stream->id, 0);
    if (pending & FLAG_FIN)
        yamux_stream_say(yamux, stream, FLAG_FIN);
}

/* Deficit round robin; who is alone sends whole frames. */
static void say_data(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max)
{
    struct yamux_stream *stream = yamux->data;
    bool alone = stream->data_next == NULL;
    uint32_t length = least(least(payload_max, YAMUX_PAYLOAD_BYTES_MAX), stream->queued);

    length = least(length, stream->send_window);
    if (!alone) {
        if (stream->deficit <= 0)
            stream->deficit += YAMUX_QUANTUM_BYTES;
        length = least(length, (uint32_t)stream->deficit);
        stream->deficit -= (int32_t)length;
    }
    put_data(yamux, chunk, stream, 0, length);
    if (!alone && stream->deficit <= 0 && (stream->state & IN_DATA)) {
        yamux_stream_withdraw(yamux, stream);
        yamux_stream_offer(yamux, stream);
    }
}

/* ---- what goes first ---- */

static void say_goaway(struct yamux *yamux, struct yamux_chunk *chunk)
{
    yamux->flags &= (uint16_t)~GOAWAY_WAITS;
    put_header(chunk, TYPE_GOAWAY, 0, 0, yamux->goaway_code);
}

bool yamux_send(struct yamux *yamux, struct yamux_chunk *chunk, uint32_t payload_max)
{
    bool goaway = (yamux->flags & GOAWAY_WAITS) != 0;

    memset(chunk, 0, sizeof(*chunk));
    if (yamux->error != 0) {
        if (goaway)
            say_goaway(yamux, chunk);
        return goaway;
    }
    if (yamux->pong_count > 0)
        say_pong(yamux, chunk);
    else if (yamux->flags & PING_WAITS)
        say_ping(yamux, chunk);
    else if (yamux->farewell_count > 0)
        say_farewell(yamux, chunk);
    else if (yamux->control != NULL)
        say_control(yamux, chunk, payload_max);
    else if (goaway && (yamux->goaway_code != YAMUX_GOAWAY_NORMAL || yamux->data == NULL))
        say_goaway(yamux, chunk);
    else if (yamux->data != NULL && payload_max > 0)
        say_data(yamux, chunk, payload_max);
    else
        return false;
    return true;
}

bool yamux_wants_send(const struct yamux *yamux)
{
    if (yamux->flags & GOAWAY_WAITS)
        return true;
    if (yamux->error != 0)
        return false;
    return yamux->pong_count > 0 || (yamux->flags & PING_WAITS) || yamux->farewell_count > 0 ||
           yamux->control != NULL || yamux->data != NULL;
}
