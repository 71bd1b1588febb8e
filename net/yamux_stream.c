#include "net/yamux_inside.h"

#include <stdlib.h>

#include "chorus/p2p.h"
#include "crypto/table.h"

enum {
    BUCKET_BITS_MIN = 2, /* a connection has few streams: 32 bytes */
    BUCKET_BITS_MAX = 14,
};

static_assert(YAMUX_STREAMS_IN_MAX + YAMUX_STREAMS_OUT_MAX <= UINT16_MAX, "counted in 16 bits");

/* ---- the table of streams ---- */

static struct yamux_stream **bucket_of(const struct yamux *yamux, uint32_t id)
{
    uint64_t hash = table_hash(&id, sizeof(id), yamux->hash_seed);

    return &yamux->buckets[hash & ((1u << yamux->bucket_bits) - 1)];
}

struct yamux_stream *yamux_stream_find(const struct yamux *yamux, uint32_t id)
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

int yamux_stream_insert(struct yamux *yamux, struct yamux_stream *stream)
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

void yamux_stream_remove(struct yamux *yamux, struct yamux_stream *stream)
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

void yamux_stream_count_out(struct yamux *yamux, uint32_t id)
{
    uint16_t *streams = yamux_id_is_ours(yamux, id) ? &yamux->streams_out : &yamux->streams_in;

    assert(*streams > 0);
    --*streams;
}

/* ---- the two lists: before the first stands the last ---- */

void yamux_stream_say(struct yamux *yamux, struct yamux_stream *stream, uint16_t pending)
{
    struct yamux_stream *first = yamux->control;

    stream->pending |= pending;
    if (stream->state & IN_CONTROL)
        return;
    stream->state |= IN_CONTROL;
    stream->control_next = NULL;
    stream->control_prev = first != NULL ? first->control_prev : stream;
    *(first != NULL ? &first->control_prev->control_next : &yamux->control) = stream;
    yamux->control->control_prev = stream;
}

void yamux_stream_hush(struct yamux *yamux, struct yamux_stream *stream)
{
    stream->pending = 0;
    if (!(stream->state & IN_CONTROL))
        return;
    stream->state &= (uint16_t)~IN_CONTROL;
    (stream->control_next != NULL ? stream->control_next : yamux->control)->control_prev = stream->control_prev;
    *(yamux->control == stream ? &yamux->control : &stream->control_prev->control_next) = stream->control_next;
}

void yamux_stream_offer(struct yamux *yamux, struct yamux_stream *stream)
{
    struct yamux_stream *first = yamux->data;

    if ((stream->state & IN_DATA) || stream->queued == 0 || stream->send_window == 0)
        return;
    stream->state |= IN_DATA;
    stream->data_next = NULL;
    stream->data_prev = first != NULL ? first->data_prev : stream;
    *(first != NULL ? &first->data_prev->data_next : &yamux->data) = stream;
    yamux->data->data_prev = stream;
}

void yamux_stream_withdraw(struct yamux *yamux, struct yamux_stream *stream)
{
    if (!(stream->state & IN_DATA))
        return;
    stream->state &= (uint16_t)~IN_DATA;
    (stream->data_next != NULL ? stream->data_next : yamux->data)->data_prev = stream->data_prev;
    *(yamux->data == stream ? &yamux->data : &stream->data_prev->data_next) = stream->data_next;
}

/* ---- windows ---- */

static void budget_return(struct yamux_budget *budget, uint32_t bytes)
{
    uint64_t before;

    if (budget == NULL || bytes == 0)
        return;
    before = __atomic_fetch_sub(&budget->used_bytes, bytes, __ATOMIC_RELAXED);
    assert(before >= bytes);
}

/* Takes as much of `wanted` as is left: all, a part that is worth it, or nothing. */
static uint32_t budget_take(struct yamux_budget *budget, uint32_t wanted)
{
    uint64_t used, left;
    uint32_t taken;

    if (budget == NULL)
        return wanted;
    used = __atomic_load_n(&budget->used_bytes, __ATOMIC_RELAXED);
    do {
        left = used < budget->max_bytes ? budget->max_bytes - used : 0;
        taken = least(wanted, left);
        if (taken < YAMUX_WINDOW_GROWTH_BYTES_MIN)
            return 0;
    } while (!__atomic_compare_exchange_n(&budget->used_bytes, &used, used + taken, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return taken;
}

/* Doubles it when its half was used up within two round trips, for then the peer
 * may have been waiting for us.  The first round trip was measured while the
 * connection was being made, and is long: growing measures once more. */
void yamux_stream_grow(struct yamux *yamux, struct yamux_stream *stream, uint64_t now_ns)
{
    uint32_t growth = least(stream->recv_window_max, YAMUX_WINDOW_BYTES_MAX - stream->recv_window_max);

    if (yamux->rtt_ns == 0 || now_ns - stream->window_since_ns >= YAMUX_WINDOW_GROWTH_RTTS * yamux->rtt_ns)
        return;
    assert(yamux->window_growth_bytes <= yamux->window_growth_max);
    growth = least(growth, yamux->window_growth_max - yamux->window_growth_bytes);
    if (growth < YAMUX_WINDOW_GROWTH_BYTES_MIN)
        return;
    growth = budget_take(yamux->budget, growth);
    if (growth == 0)
        return;
    yamux->window_growth_bytes += growth;
    stream->recv_window_max += growth;
    stream->recv_consumed += growth;
    yamux_ping(yamux, now_ns);
}

void yamux_stream_shrink(struct yamux *yamux, struct yamux_stream *stream)
{
    uint32_t growth = stream->recv_window_max - YAMUX_WINDOW_BYTES_MIN;

    assert(yamux->window_growth_bytes >= growth);
    yamux->window_growth_bytes -= growth;
    budget_return(yamux->budget, growth);
    stream->recv_window_max = YAMUX_WINDOW_BYTES_MIN;
}
