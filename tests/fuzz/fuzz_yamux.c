#include <assert.h>
#include <stdlib.h>

#include "net/yamux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct yamux_stream *streams[64]; /* by id; in memory of their own, so that a late touch is seen */
static struct yamux yamux;

static void forget(unsigned i)
{
    if (streams[i] != NULL)
        yamux_forget(&yamux, streams[i]);
    free(streams[i]);
    streams[i] = NULL;
}

static void open_stream(unsigned i, uint64_t now_ns)
{
    streams[i] = malloc(sizeof(*streams[i]));
    if (yamux_open(&yamux, streams[i], now_ns) != 0) {
        free(streams[i]);
        streams[i] = NULL;
    }
}

static void on_event(const struct yamux_event *event, size_t taken, uint64_t now_ns)
{
    unsigned i = event->stream_id % 64;
    assert(event->type == YAMUX_EVENT_OPEN || event->stream == NULL || event->stream == streams[i]);
    assert(event->type != YAMUX_EVENT_DATA || (event->length > 0 && event->offset + event->length == taken));
    if (event->type == YAMUX_EVENT_OPEN && streams[i] != NULL) {
        yamux_refuse(&yamux, 1);
    } else if (event->type == YAMUX_EVENT_OPEN) {
        streams[i] = malloc(sizeof(*streams[i]));
        assert(streams[i] && yamux_accept(&yamux, streams[i], now_ns) == 0 && streams[i]->id == event->stream_id);
    } else if (event->type == YAMUX_EVENT_RESET) {
        forget(i);
    } else if (event->type == YAMUX_EVENT_DATA && i % 4 < 2) { /* others never read */
        yamux_consumed(&yamux, event->stream, (uint32_t)event->length, now_ns);
    }
}

/* Something the application might do, as the byte says. */
static void act(uint8_t byte, uint64_t now_ns)
{
    unsigned i = yamux.next_id % 64;
    struct yamux_stream *stream = streams[byte % 64];
    struct yamux_chunk chunk;
    for (unsigned n = byte & 3; n > 0 && yamux_send(&yamux, &chunk, byte * 300u); n--)
        assert(chunk.length <= byte * 300u && (!chunk.stream || chunk.stream == streams[chunk.stream->id % 64]));
    if (byte > 250)
        yamux_ping(&yamux, now_ns);
    else if (byte == 250)
        yamux_goaway(&yamux, i);
    else if (byte % 5 == 0 && streams[i] == NULL)
        open_stream(i, now_ns);
    else if (stream != NULL && byte % 7 == 0)
        forget(byte % 64);
    else if (stream != NULL && byte % 7 == 1)
        yamux_reset(&yamux, stream, byte);
    else if (stream != NULL && byte % 7 == 2)
        yamux_close_write(&yamux, stream);
    else if (stream != NULL && yamux_send_room(stream) > 0)
        yamux_queue(&yamux, stream, byte * 100u);
}

static int feed(const uint8_t *data, size_t length, uint64_t now_ns)
{
    struct yamux_event event;
    size_t taken;
    int result;
    do {
        result = yamux_recv(&yamux, data, length, &taken, &event, now_ns);
        assert(taken <= length && (result == 0 || event.type == YAMUX_EVENT_NONE));
        if (event.type != YAMUX_EVENT_NONE)
            on_event(&event, taken, now_ns);
        data += taken;
        length -= taken;
    } while (event.type != YAMUX_EVENT_NONE);
    assert(result != 0 || length == 0);
    return result;
}

/* The first byte is the role and the size of the pieces; each piece begins with
 * what we do, and whether a frame that it leaves open is filled with zeros. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t zeros[65536];
    struct yamux_budget budget = {0, 1 << 20};
    struct yamux_chunk chunk;
    size_t piece = size ? 2u + data[0] / 2 : 2;
    int result = 0;
    yamux_init(&yamux, size && data[0] & 1, 7, &budget, 1 << 20);
    for (size_t at = 1; at < size && result == 0; at += piece) {
        act(data[at], at * 1000);
        result = feed(data + at + 1, (size - at < piece ? size - at : piece) - 1, at * 1000);
        for (unsigned i = data[at] & 8 ? 8 : 0; i > 0 && result == 0; i--)
            result = feed(zeros, yamux.payload_left < 65536 ? yamux.payload_left : 65536, at * 1000);
        assert(budget.used_bytes <= budget.max_bytes);
    }
    while (yamux_send(&yamux, &chunk, YAMUX_PAYLOAD_BYTES_MAX))
        ;
    assert(!yamux_wants_send(&yamux) && (result == 0) == (yamux.error == 0));
    for (unsigned i = 0; i < 64; i++)
        forget(i);
    assert(yamux.buckets == NULL && yamux.unacked == 0 && budget.used_bytes == 0);
    yamux_fini(&yamux);
    return 0;
}
