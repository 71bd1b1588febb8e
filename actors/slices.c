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

/* Bytes that still fit behind the tail, if nobody else holds its buffer. */
static uint32_t tail_room(const struct slices *slices)
{
    const struct slice *tail = slices->tail;

    if (tail == NULL || __atomic_load_n(&tail->buffer->refs, __ATOMIC_ACQUIRE) != 1)
        return 0;
    return tail->buffer->capacity - (tail->offset + tail->length);
}

static struct buffer *fresh(struct buffer_pool *pool, size_t length)
{
    uint32_t bytes = length > BUFFER_LARGE_BYTES ? BUFFER_LARGE_BYTES : (uint32_t)length;

    return pool != NULL ? buffer_new(pool, bytes) : buffer_new_foreign(bytes < 4096 ? 4096 : bytes);
}

size_t slices_copy_in(struct slices *slices, struct buffer_pool *pool, const uint8_t *data, size_t length)
{
    size_t taken = 0;

    while (taken < length) {
        uint32_t room = tail_room(slices);
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
        buffer = fresh(pool, length - taken);
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

void slices_compact(struct slices *slices, struct buffer_pool *pool)
{
    struct slices compact = {0};

    /* Half of a buffer is worth keeping; less is copied together. */
    for (struct slice *entry = slices->head; entry != NULL; entry = entry->next) {
        if (entry->length < entry->buffer->capacity / 2 && tail_room(slices) == 0)
            goto copy;
    }
    return;
copy:
    while (slices->head != NULL) {
        struct buffer_slice run = slices_take(slices);
        uint32_t copied = 0;

        if (run.length < run.buffer->capacity / 2)
            copied = (uint32_t)slices_copy_in(&compact, pool, run.buffer->data + run.offset, run.length);
        /* What memory did not suffice for stays where it was; an empty rest only gives its reference back. */
        if (slices_append(&compact, run.buffer, run.offset + copied, run.length - copied) != 0)
            break;
    }
    slices_move(&compact, slices);
    *slices = compact;
}
