#include <assert.h>
#include <string.h>

#include "net/multistream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"/tls/1.0.0", "/noise", "/echo/1.0.0"};

/* What is said is whole tokens of at most 1,024 bytes. */
static void say(struct multistream *ms, size_t capacity)
{
    uint8_t out[4096];
    size_t written, at = 0;
    int result = multistream_send(ms, out, capacity, &written);
    assert(written <= capacity);
    assert(result == 0 || (written == 0 && capacity < MULTISTREAM_TOKEN_BYTES_MAX));
    while (at < written) {
        size_t length = out[at] < 0x80 ? out[at] : (out[at] & 0x7f) | (size_t)out[at + 1] << 7;
        at += (out[at] < 0x80 ? 1 : 2) + length;
        assert(length >= 2 && length <= MULTISTREAM_NAME_BYTES_MAX && at <= written && out[at - 1] == '\n');
    }
}

static void on_proposed(struct multistream *ms, const struct multistream_event *event)
{
    assert(event->name_length < MULTISTREAM_NAME_BYTES_MAX); /* an empty one is a proposal like any other */
    if (event->name_length == 6 && memcmp(names[1], event->name, 6) == 0)
        multistream_accept(ms, names[1]);
    else
        multistream_refuse(ms);
}

/* The first byte is the size of the pieces, the second the role and what is said in between. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multistream ms;
    struct multistream_event event;
    size_t at = 2, taken = 1, piece;
    if (size < 2)
        return 0;
    piece = data[0] + 1u;
    if (data[1] & 1)
        multistream_init_listener(&ms);
    else
        multistream_init_dialer(&ms, names, 3);
    for (; at < size && (taken > 0 || event.type != MULTISTREAM_EVENT_NONE); at += taken) {
        say(&ms, data[1] & 2 ? 4096 : data[at]);
        if (multistream_recv(&ms, data + at, size - at < piece ? size - at : piece, &taken, &event) != 0)
            break;
        assert(taken <= piece && taken <= size - at);
        if (event.type == MULTISTREAM_EVENT_PROPOSED)
            on_proposed(&ms, &event);
        else if (event.type == MULTISTREAM_EVENT_LIST)
            multistream_list(&ms, names, 3);
        assert(event.type != MULTISTREAM_EVENT_CHOSEN || multistream_done(&ms));
    }
    say(&ms, 4096);
    multistream_fini(&ms);
    return 0;
}
