#ifndef NET_YAMUX_INSIDE_H
#define NET_YAMUX_INSIDE_H

#include "net/yamux.h"

/* What the files of yamux share, and nobody else: yamux.c reads frames and has
 * the life of streams, yamux_stream.c their table, lists and windows,
 * yamux_send.c writes frames. */

enum yamux_frame_type { TYPE_DATA = 0, TYPE_WINDOW = 1, TYPE_PING = 2, TYPE_GOAWAY = 3 };
enum yamux_frame_flag { FLAG_SYN = 1, FLAG_ACK = 2, FLAG_FIN = 4, FLAG_RST = 8 };

/* yamux.flags */
enum {
    SERVER = 1 << 0,
    PING_WAITS = 1 << 1,
    GOAWAY_WAITS = 1 << 2,
    GOAWAY_SAID = 1 << 3, /* or waits */
    GOAWAY_HEARD = 1 << 4,
};

/* yamux_stream.state */
enum {
    OURS = 1 << 0,
    ACKED = 1 << 1,
    CLOSING = 1 << 2, /* FIN after the queue */
    FIN_SAID = 1 << 3,
    FIN_HEARD = 1 << 4,
    RESET = 1 << 5, /* by us */
    RST_HEARD = 1 << 6,
    IN_CONTROL = 1 << 7,
    IN_DATA = 1 << 8,
};

/* yamux_stream.pending: the flags of the frame, and */
enum { SAY_WINDOW = 1 << 8 };

static inline uint32_t least(uint32_t a, uint64_t b)
{
    return a < b ? a : (uint32_t)b;
}

static inline bool yamux_id_is_ours(const struct yamux *yamux, uint32_t id)
{
    return (id & 1) == !(yamux->flags & SERVER);
}

static inline bool yamux_stream_is_reset(const struct yamux_stream *stream)
{
    return (stream->state & (RESET | RST_HEARD)) != 0;
}

/* The connection ends here, with GoAway the only thing left to say.  Returns
 * the error it ends with: an earlier one if there was. */
int yamux_fail(struct yamux *yamux, int error, uint32_t code);

/* ---- yamux_stream.c ---- */

/* NULL when there is none. */
struct yamux_stream *yamux_stream_find(const struct yamux *yamux, uint32_t id);
/* 0 or P2P_ERR_CALL_NOMEM. */
int yamux_stream_insert(struct yamux *yamux, struct yamux_stream *stream);
void yamux_stream_remove(struct yamux *yamux, struct yamux_stream *stream);
/* One stream less of the peer's or ours in the count of those open at once. */
void yamux_stream_count_out(struct yamux *yamux, uint32_t id);

/* Puts it on the list of those with something short to say, and takes it off:
 * then nothing is pending. */
void yamux_stream_say(struct yamux *yamux, struct yamux_stream *stream, uint16_t pending);
void yamux_stream_hush(struct yamux *yamux, struct yamux_stream *stream);
/* The same for payload, if there is any and the window is open. */
void yamux_stream_offer(struct yamux *yamux, struct yamux_stream *stream);
void yamux_stream_withdraw(struct yamux *yamux, struct yamux_stream *stream);

/* A window update came due: a wider window, if the peer waited and there is budget. */
void yamux_stream_grow(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns);
/* Gives all growth back. */
void yamux_stream_shrink(struct yamux *yamux, struct yamux_stream *stream);

/* ---- yamux_send.c ---- */

/* Dropped when too many wait. */
void yamux_send_pong(struct yamux *yamux, uint32_t value);
/* RST or FIN for a stream that is no more, or (`refusal`) never was.  Returns 0,
 * or what the connection failed with. */
int yamux_send_farewell(struct yamux *yamux, uint32_t id, uint16_t flags, uint32_t code, bool refusal);

#endif
