#include "net/multistream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"

#define HEADER "/multistream/1.0.0"
#define REFUSAL "na"
#define LISTING "ls"

enum flag {
    DIALER = 1 << 0,
    HEADER_SAID = 1 << 1,
    HEADER_READ = 1 << 2,
    PROPOSED = 1 << 3,   /* dialer: the proposal under way has been sent */
    CHOSEN = 1 << 4,     /* dialer: echoed */
    REFUSED = 1 << 5,    /* dialer: all were refused */
    ASKED = 1 << 6,      /* listener: the caller owes a verdict */
    ASKED_LIST = 1 << 7, /* listener: and the question was `ls` */
    LIST_WAITS = 1 << 8, /* listener: the answer to `ls` is to be sent */
    ACCEPTED = 1 << 9,   /* listener: the echo is to be sent */
    ECHOED = 1 << 10,    /* listener: and has been */
    BROKEN = 1 << 11,
};

struct token {
    const char *name; /* NULL: not whole yet */
    size_t length;    /* without its newline */
};

static_assert(MULTISTREAM_TOKEN_BYTES_MAX == MULTISTREAM_NAME_BYTES_MAX + 2, "a length of two bytes");
static_assert(MULTISTREAM_NAME_BYTES_MAX < 1 << 14, "what two bytes of varint can say");
static_assert(MULTISTREAM_PROPOSALS_MAX <= UINT8_MAX, "each may be refused");

static bool has(const struct multistream *ms, unsigned flags)
{
    return (ms->flags & flags) != 0;
}

static void init(struct multistream *ms)
{
    memset(ms, 0, offsetof(struct multistream, cut));
}

void multistream_init_dialer(struct multistream *ms, const char *const *names, unsigned name_count)
{
    assert(name_count >= 1 && name_count <= UINT16_MAX);
    for (unsigned i = 0; i < name_count; i++)
        assert(names[i][0] != '\0' && strlen(names[i]) < MULTISTREAM_NAME_BYTES_MAX);
    init(ms);
    ms->names = names;
    ms->name_count = (uint16_t)name_count;
    ms->flags = DIALER;
}

void multistream_init_listener(struct multistream *ms)
{
    init(ms);
}

void multistream_fini(struct multistream *ms)
{
    free(ms->heap);
    ms->heap = NULL;
}

/* ---- reading tokens ---- */

/* The whole size of the token that starts here; 0 when its length is not there
 * yet, or P2P_ERR_STREAM_PROTOCOL. */
static int token_size(const uint8_t *data, size_t length)
{
    unsigned value, prefix = 1;

    if (length == 0 || (data[0] >= 0x80 && length < 2))
        return 0;
    value = data[0];
    if (value >= 0x80) {
        if (data[1] == 0 || data[1] >= 0x80)
            return P2P_ERR_STREAM_PROTOCOL; /* longer than needed, or than we take */
        value = (value & 0x7f) | (unsigned)data[1] << 7;
        prefix = 2;
    }
    if (value < 1 || value > MULTISTREAM_NAME_BYTES_MAX) /* a name, which may be empty, and its newline */
        return P2P_ERR_STREAM_PROTOCOL;
    return (int)(prefix + value);
}

static int token_open(struct token *token, const uint8_t *data, size_t size)
{
    size_t prefix = data[0] >= 0x80 ? 2 : 1;

    if (data[size - 1] != '\n')
        return P2P_ERR_STREAM_PROTOCOL;
    token->name = (const char *)data + prefix;
    token->length = size - prefix - 1;
    return 0;
}

/* Adds to the token that arrives in pieces. */
static int token_collect(struct multistream *ms, const uint8_t *data, size_t length, size_t *taken,
                         struct token *token)
{
    uint8_t *kept = ms->heap != NULL ? ms->heap : ms->cut;
    size_t step;
    int size;

    while ((size = token_size(kept, ms->filled)) == 0 && *taken < length)
        kept[ms->filled++] = data[(*taken)++];
    if (size <= 0)
        return size;
    if (size > MULTISTREAM_INLINE_BYTES && ms->heap == NULL) {
        ms->heap = malloc((size_t)size);
        if (ms->heap == NULL)
            return P2P_ERR_CALL_NOMEM;
        kept = memcpy(ms->heap, ms->cut, ms->filled);
    }
    step = (size_t)size - ms->filled;
    if (step > length - *taken)
        step = length - *taken;
    if (step > 0)
        memcpy(kept + ms->filled, data + *taken, step);
    ms->filled += (uint16_t)step;
    *taken += step;
    if (ms->filled < size)
        return 0;
    ms->filled = 0; /* the bytes stay readable until the next call */
    return token_open(token, kept, (size_t)size);
}

static int token_next(struct multistream *ms, const uint8_t *data, size_t length, size_t *taken,
                      struct token *token)
{
    int size;

    token->name = NULL;
    if (ms->filled == 0) {
        free(ms->heap);
        ms->heap = NULL;
        size = token_size(data + *taken, length - *taken);
        if (size < 0)
            return size;
        if (size > 0 && (size_t)size <= length - *taken) {
            *taken += (size_t)size;
            return token_open(token, data + *taken - size, (size_t)size);
        }
    }
    return token_collect(ms, data, length, taken, token);
}

static bool token_is(const struct token *token, const char *name)
{
    return token->length == strlen(name) && memcmp(token->name, name, token->length) == 0;
}

/* ---- what tokens mean ---- */

static int on_header(struct multistream *ms, const struct token *token)
{
    if (!token_is(token, HEADER))
        return P2P_ERR_STREAM_PROTOCOL;
    ms->flags |= HEADER_READ;
    return 0;
}

static int on_answer(struct multistream *ms, const struct token *token, struct multistream_event *event)
{
    if (!has(ms, PROPOSED))
        return P2P_ERR_STREAM_PROTOCOL; /* an answer to nothing */
    if (token_is(token, ms->names[ms->index])) {
        ms->flags |= CHOSEN;
        event->type = MULTISTREAM_EVENT_CHOSEN;
        event->index = ms->index;
        event->name = token->name;
        event->name_length = token->length;
        return 0;
    }
    if (!token_is(token, REFUSAL))
        return P2P_ERR_STREAM_PROTOCOL;
    if (ms->index + 1 == ms->name_count) {
        ms->flags |= REFUSED;
        event->type = MULTISTREAM_EVENT_REFUSED;
        return 0;
    }
    ms->index++;
    ms->flags &= ~PROPOSED;
    return 0;
}

static int on_proposal(struct multistream *ms, const struct token *token, struct multistream_event *event)
{
    if (ms->proposals == MULTISTREAM_PROPOSALS_MAX || token_is(token, HEADER))
        return P2P_ERR_STREAM_PROTOCOL;
    ms->proposals++;
    ms->flags |= ASKED;
    event->type = MULTISTREAM_EVENT_PROPOSED;
    event->name = token->name;
    event->name_length = token->length;
    if (!token_is(token, LISTING))
        return 0;
    ms->flags |= ASKED_LIST;
    event->type = MULTISTREAM_EVENT_LIST;
    if (has(ms, LIST_WAITS)) { /* a second one before the first was told: who asks so does not listen */
        memset(event, 0, sizeof(*event));
        multistream_refuse(ms);
    }
    return 0;
}

int multistream_recv(struct multistream *ms, const uint8_t *data, size_t length, size_t *taken,
                     struct multistream_event *event)
{
    struct token token;
    int result = has(ms, BROKEN) ? P2P_ERR_STREAM_PROTOCOL : 0;

    assert(!has(ms, ASKED));
    memset(event, 0, sizeof(*event));
    *taken = 0;
    while (result == 0 && event->type == MULTISTREAM_EVENT_NONE && *taken < length &&
           !has(ms, CHOSEN | REFUSED | ACCEPTED)) {
        result = token_next(ms, data, length, taken, &token);
        if (result != 0 || token.name == NULL)
            break;
        if (!has(ms, HEADER_READ))
            result = on_header(ms, &token);
        else if (has(ms, DIALER))
            result = on_answer(ms, &token, event);
        else
            result = on_proposal(ms, &token, event);
    }
    if (result != 0)
        ms->flags |= BROKEN;
    return result;
}

void multistream_accept(struct multistream *ms, const char *name)
{
    assert(has(ms, ASKED) && !has(ms, ASKED_LIST));
    assert(name[0] != '\0' && strlen(name) < MULTISTREAM_NAME_BYTES_MAX);
    ms->accepted = name;
    ms->flags = (uint16_t)((ms->flags & ~ASKED) | ACCEPTED);
}

void multistream_refuse(struct multistream *ms)
{
    assert(has(ms, ASKED));
    ms->flags &= (uint16_t)~(ASKED | ASKED_LIST);
    if (has(ms, LIST_WAITS))
        ms->refusals_late++;
    else
        ms->refusals++;
}

void multistream_list(struct multistream *ms, const char *const *names, unsigned count)
{
    assert(has(ms, ASKED) && has(ms, ASKED_LIST) && count <= UINT16_MAX);
    ms->list = names;
    ms->list_count = (uint16_t)count;
    ms->flags = (uint16_t)((ms->flags & ~(ASKED | ASKED_LIST)) | LIST_WAITS);
}

/* ---- writing tokens ---- */

struct output {
    uint8_t *data;
    size_t capacity, length;
    bool full;
};

static size_t prefix_bytes(size_t length)
{
    return length < 0x80 ? 1 : 2;
}

static uint8_t *put_prefix(uint8_t *out, size_t length)
{
    if (length >= 0x80)
        *out++ = (uint8_t)(length | 0x80);
    *out++ = (uint8_t)(length >= 0x80 ? length >> 7 : length);
    return out;
}

static uint8_t *put_name(uint8_t *out, const char *name, size_t length)
{
    out = put_prefix(out, length + 1);
    memcpy(out, name, length);
    out[length] = '\n';
    return out + length + 1;
}

static bool output_fits(struct output *output, size_t length)
{
    output->full |= prefix_bytes(length) + length > output->capacity - output->length;
    return !output->full;
}

static bool say(struct output *output, const char *name)
{
    size_t length = strlen(name);

    if (!output_fits(output, length + 1))
        return false;
    output->length = (size_t)(put_name(output->data + output->length, name, length) - output->data);
    return true;
}

/* A list is a token of tokens, with a newline of its own (go, rust and js alike). */
static bool say_list(struct output *output, const char *const *names, unsigned count)
{
    size_t total = 1;
    unsigned told;
    uint8_t *out;

    for (told = 0; told < count; told++) {
        size_t length = strlen(names[told]) + 1, size = prefix_bytes(length) + length;

        if (size > MULTISTREAM_NAME_BYTES_MAX - total)
            break;
        total += size;
    }
    if (!output_fits(output, total))
        return false;
    out = put_prefix(output->data + output->length, total);
    for (unsigned i = 0; i < told; i++)
        out = put_name(out, names[i], strlen(names[i]));
    *out++ = '\n';
    output->length = (size_t)(out - output->data);
    return true;
}

static void say_refusals(uint8_t *refusals, struct output *output)
{
    while (*refusals > 0 && say(output, REFUSAL))
        --*refusals;
}

static void say_answers(struct multistream *ms, struct output *output)
{
    say_refusals(&ms->refusals, output);
    if (has(ms, LIST_WAITS) && !output->full && say_list(output, ms->list, ms->list_count))
        ms->flags &= (uint16_t)~LIST_WAITS;
    if (!output->full)
        say_refusals(&ms->refusals_late, output);
    if (has(ms, ACCEPTED) && !has(ms, ECHOED) && !output->full && say(output, ms->accepted))
        ms->flags |= ECHOED;
}

int multistream_send(struct multistream *ms, uint8_t *out, size_t capacity, size_t *written)
{
    struct output output = {out, capacity, 0, false};

    *written = 0;
    if (!multistream_wants_send(ms))
        return 0;
    if (!has(ms, HEADER_SAID) && say(&output, HEADER))
        ms->flags |= HEADER_SAID;
    if (!output.full && !has(ms, DIALER))
        say_answers(ms, &output);
    if (!output.full && has(ms, DIALER) && !has(ms, PROPOSED) && say(&output, ms->names[ms->index]))
        ms->flags |= PROPOSED;
    *written = output.length;
    return output.length == 0 ? P2P_ERR_CALL_SHORT : 0;
}

bool multistream_wants_send(const struct multistream *ms)
{
    if (has(ms, BROKEN))
        return false;
    if (has(ms, DIALER))
        return !has(ms, PROPOSED);
    return !has(ms, HEADER_SAID) || ms->refusals > 0 || ms->refusals_late > 0 || has(ms, LIST_WAITS) ||
           (has(ms, ACCEPTED) && !has(ms, ECHOED));
}

bool multistream_done(const struct multistream *ms)
{
    return has(ms, CHOSEN | ECHOED);
}

bool multistream_optimistic(const struct multistream *ms)
{
    bool last = ms->index + 1 == ms->name_count;

    return last && has(ms, DIALER) && has(ms, PROPOSED) && !has(ms, REFUSED | BROKEN);
}
