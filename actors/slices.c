#include "actors/slices.h"

#include "actors/local.h"
#include "chorus/p2p.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct slice *entry_new(void)
{
    struct local *local = local_current();

    return local != NULL ? cache_new(&local->slices) : calloc(1, sizeof(struct slice));
}

static void entry_free(struct slice *entry)
{
    struct local *local = local_current();

    if (local != NULL)
        cache_free(&local->slices, entry);
    else
        free(entry);
}

int slices_append(struct slices *slices, struct buffer *buffer, uint32_t offset, uint32_t length)
{
    struct slice *tail = slices->tail;
    struct slice *entry;

    if (length == 0) {
        buffer_unref(buffer);
        return 0;
    }
    if (tail != NULL && tail->buffer == buffer && tail->offset + tail->length == offset) {
        tail->length += length;
        slices->bytes += length;
        buffer_unref(buffer);
        return 0;
    }
    entry = entry_new();
    if (entry == NULL) {
        buffer_unref(buffer);
        return P2P_ERR_CALL_NOMEM;
    }
    *entry = (struct slice){.buffer = buffer, .offset = offset, .length = length};
    if (tail != NULL)
        tail->next = entry;
    else
        slices->head = entry;
    slices->tail = entry;
    slices->bytes += length;
    return 0;
}

/* Bytes that still fit behind an entry, if nobody else holds its buffer. */
static uint32_t room_behind(const struct slice *entry)
{
    if (entry == NULL || __atomic_load_n(&entry->buffer->refs, __ATOMIC_ACQUIRE) != 1)
        return 0;
    return entry->buffer->capacity - (entry->offset + entry->length);
}

/* From here on a buffer is nearly full. */
enum { LARGE_BYTES_MIN = BUFFER_LARGE_BYTES / 8 * 7, MEDIUM_BYTES_MIN = BUFFER_MEDIUM_BYTES / 8 * 7 };

/* A buffer that `bytes` will nearly fill, or a small one. */
static struct buffer *fresh(struct buffer_pool *pool, uint64_t bytes)
{
    if (pool == NULL)
        return buffer_new_foreign(bytes < BUFFER_SMALL_BYTES   ? BUFFER_SMALL_BYTES
                                  : bytes > BUFFER_LARGE_BYTES ? BUFFER_LARGE_BYTES
                                                               : (uint32_t)bytes);
    if (bytes >= LARGE_BYTES_MIN)
        return buffer_new(pool, BUFFER_LARGE_BYTES);
    return buffer_new(pool, bytes >= MEDIUM_BYTES_MIN ? BUFFER_MEDIUM_BYTES : BUFFER_SMALL_BYTES);
}

/* Into buffers that they nearly fill, or into small ones only. */
static size_t copy_in(struct slices *slices, struct buffer_pool *pool, const uint8_t *data, size_t length, bool small)
{
    size_t taken = 0;

    while (taken < length) {
        uint32_t room = room_behind(slices->tail);
        struct buffer *buffer;
        uint32_t part;

        if (room > 0) {
            struct slice *tail = slices->tail;

            part = length - taken < room ? (uint32_t)(length - taken) : room;
            memcpy(tail->buffer->data + tail->offset + tail->length, data + taken, part);
            tail->length += part;
            slices->bytes += part;
            taken += part;
            continue;
        }
        buffer = fresh(pool, small ? BUFFER_SMALL_BYTES : length - taken);
        if (buffer == NULL)
            break;
        part = length - taken < buffer->capacity ? (uint32_t)(length - taken) : buffer->capacity;
        memcpy(buffer->data, data + taken, part);
        if (slices_append(slices, buffer, 0, part) != 0)
            break;
        taken += part;
    }
    return taken;
}

size_t slices_copy_in(struct slices *slices, struct buffer_pool *pool, const uint8_t *data, size_t length)
{
    return copy_in(slices, pool, data, length, false);
}

static void drop_head(struct slices *slices)
{
    struct slice *entry = slices->head;

    slices->head = entry->next;
    if (slices->head == NULL)
        slices->tail = NULL;
    buffer_unref(entry->buffer);
    entry_free(entry);
}

size_t slices_copy_out(struct slices *slices, uint8_t *out, size_t capacity)
{
    size_t written = 0;

    while (written < capacity && slices->head != NULL) {
        struct slice *entry = slices->head;
        uint32_t part = capacity - written < entry->length ? (uint32_t)(capacity - written) : entry->length;

        memcpy(out + written, entry->buffer->data + entry->offset, part);
        written += part;
        slices_drop(slices, part);
    }
    return written;
}

void slices_drop(struct slices *slices, uint64_t bytes)
{
    assert(bytes <= slices->bytes);
    slices->bytes -= bytes;
    while (bytes > 0) {
        struct slice *entry = slices->head;

        if (bytes < entry->length) {
            entry->offset += (uint32_t)bytes;
            entry->length -= (uint32_t)bytes;
            return;
        }
        bytes -= entry->length;
        drop_head(slices);
    }
}

struct buffer_slice slices_take(struct slices *slices)
{
    struct slice *entry = slices->head;
    struct buffer_slice run = {entry->buffer, entry->offset, entry->length};

    slices->bytes -= entry->length;
    slices->head = entry->next;
    if (slices->head == NULL)
        slices->tail = NULL;
    entry_free(entry);
    return run;
}

void slices_move(struct slices *to, struct slices *from)
{
    if (from->head == NULL)
        return;
    if (to->tail != NULL)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->bytes += from->bytes;
    *from = (struct slices){0};
}

void slices_clear(struct slices *slices)
{
    while (slices->head != NULL)
        drop_head(slices);
    slices->bytes = 0;
}

/* What stays lies in small buffers (or the application's own): those that are
 * given back serve whatever stays next, so that few bytes never keep many. */
static bool is_tight(const struct slice *entry)
{
    const struct buffer *buffer = entry->buffer;

    return entry->length >= buffer->capacity / 8 * 7 &&
           (buffer->capacity <= BUFFER_SMALL_BYTES || buffer->pool == NULL);
}

/* Takes the first entry out, as a queue of its own. */
static struct slices pop(struct slices *slices)
{
    struct slices one = {slices->head, slices->head, slices->head->length};

    slices->head = one.head->next;
    slices->bytes -= one.bytes;
    if (slices->head == NULL)
        slices->tail = NULL;
    one.head->next = NULL;
    return one;
}

/* A small buffer that can become tight. */
static bool can_be_filled(const struct slice *entry)
{
    return entry->buffer->capacity <= BUFFER_SMALL_BYTES && entry->offset <= entry->buffer->capacity / 8;
}

/* At the very end it may wait for that. */
static bool may_stay(const struct slices *to, const struct slice *entry)
{
    if (is_tight(entry))
        return true;
    return entry->next == NULL && can_be_filled(entry) && (to->tail == NULL || is_tight(to->tail));
}

void slices_gather(struct slices *to, struct slices *from, struct buffer_pool *pool)
{
    while (from->head != NULL) {
        const struct slice *entry = from->head;
        struct slices one;

        if (!may_stay(to, entry))
            slices_drop(from, copy_in(to, pool, entry->buffer->data + entry->offset, entry->length, true));
        if (from->head != entry)
            continue;
        /* It stays as it is, or memory is out. */
        one = pop(from);
        slices_move(to, &one);
    }
}

void slices_compact(struct slices *slices, struct buffer_pool *pool)
{
    struct slices done = {0};
    bool more = true;

    /* What is tight stays, and a small buffer behind it is filled further. */
    while (slices->head != NULL && more) {
        struct slices one;

        more = may_stay(&done, slices->head);
        if (!more && (!can_be_filled(slices->head) || room_behind(slices->head) == 0))
            break;
        one = pop(slices);
        slices_move(&done, &one);
    }
    slices_gather(&done, slices, pool);
    *slices = done;
}
