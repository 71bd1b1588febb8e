#include "runtime/buffer.h"

#include "runtime/mailbox.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum { KINDS = 4, PAGE = 4096 };

#define SQUEEZED UINT32_MAX /* buffer.begin of a free one: its pages are with the system */

static const uint32_t kind_bytes[KINDS] = {BUFFER_SMALL_BYTES, BUFFER_MEDIUM_BYTES, BUFFER_RECORD_BYTES,
                                           BUFFER_LARGE_BYTES};
static const uint32_t kind_count[KINDS] = {BUFFER_CHUNK_BYTES / BUFFER_SMALL_BYTES, 8, 4, 2};

struct chunk;

struct pooled {
    struct buffer buffer;
    struct chunk *chunk;
};

/* A mapping: this header and the buffers' headers on its first pages, then the
 * bytes of the buffers.  While it has a free buffer it is on a list of its kind:
 * that of chunks in use, or of those that are empty. */
struct chunk {
    struct chunk *next, *previous;
    struct buffer *free;
    uint64_t idle_since_ns; /* 0: not seen empty yet */
    uint32_t live;
    uint32_t kind;
    size_t bytes;
    struct pooled buffers[];
};

struct chunk_list {
    struct chunk *first, *last;
};

struct buffer_pool {
    struct mail_stack returned; /* pushed by any thread, taken by the owner */
    const char *owner;          /* atomic: the owning thread's `thread_mark` */
    struct chunk_list used[KINDS];
    /* The one emptied last in front: what is used again leaves the others idle. */
    struct chunk_list idle[KINDS];
    uint64_t bytes_max;
    uint64_t next_trim_ns;
    struct buffer_pool_stats stats;
    uint32_t keepers; /* atomic: the owner, and who keeps it */
};

/* Its address names the thread. */
static __thread char thread_mark;

_Static_assert(sizeof(struct mail_link) == sizeof(struct buffer *), "buffer->next serves as the link home");

static void list_remove(struct chunk_list *list, struct chunk *chunk)
{
    *(chunk->previous ? &chunk->previous->next : &list->first) = chunk->next;
    *(chunk->next ? &chunk->next->previous : &list->last) = chunk->previous;
    chunk->next = chunk->previous = NULL;
}

static void list_push_front(struct chunk_list *list, struct chunk *chunk)
{
    chunk->previous = NULL;
    chunk->next = list->first;
    *(list->first ? &list->first->previous : &list->last) = chunk;
    list->first = chunk;
}

struct buffer_pool *buffer_pool_new(uint64_t bytes_max)
{
    struct buffer_pool *pool = aligned_alloc(64, (sizeof(*pool) + 63) / 64 * 64);
    if (!pool)
        return NULL;
    *pool = (struct buffer_pool){.bytes_max = bytes_max, .keepers = 1};
    buffer_pool_own(pool);
    return pool;
}

void buffer_pool_own(struct buffer_pool *pool)
{
    /* Relaxed: only a thread that reads its own mark acts on it. */
    __atomic_store_n(&pool->owner, &thread_mark, __ATOMIC_RELAXED);
}

void buffer_pool_disown(struct buffer_pool *pool)
{
    __atomic_store_n(&pool->owner, NULL, __ATOMIC_RELAXED);
}

static bool is_owner(const struct buffer_pool *pool)
{
    return __atomic_load_n(&pool->owner, __ATOMIC_RELAXED) == &thread_mark;
}

static size_t chunk_header_bytes(unsigned kind)
{
    size_t bytes = sizeof(struct chunk) + kind_count[kind] * sizeof(struct pooled);
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static size_t chunk_bytes(unsigned kind)
{
    size_t bytes = chunk_header_bytes(kind) + (size_t)kind_count[kind] * kind_bytes[kind];
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* Touched at once: a page fault costs more than sealing a small message. */
static struct chunk *chunk_new(struct buffer_pool *pool, unsigned kind)
{
    size_t bytes = chunk_bytes(kind);
    if (pool->stats.bytes_mapped + bytes > pool->bytes_max)
        return NULL;
    struct chunk *chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (chunk == MAP_FAILED)
        return NULL;
    chunk->kind = kind;
    chunk->bytes = bytes;
    uint8_t *data = (uint8_t *)chunk + chunk_header_bytes(kind);
    for (uint32_t i = kind_count[kind]; i-- > 0;) {
        struct buffer *buffer = &chunk->buffers[i].buffer;
        chunk->buffers[i].chunk = chunk;
        buffer->pool = pool;
        buffer->capacity = kind_bytes[kind];
        buffer->data = data + (size_t)i * kind_bytes[kind];
        buffer->next = chunk->free;
        chunk->free = buffer;
        ASAN_POISON_MEMORY_REGION(buffer->data, buffer->capacity);
    }
    pool->stats.bytes_mapped += bytes;
    return chunk;
}

static void chunk_free(struct buffer_pool *pool, struct chunk *chunk)
{
    assert(chunk->live == 0);
    list_remove(&pool->idle[chunk->kind], chunk);
    pool->stats.bytes_mapped -= chunk->bytes;
    ASAN_UNPOISON_MEMORY_REGION(chunk, chunk->bytes);
    munmap(chunk, chunk->bytes);
}

static unsigned kind_of(uint32_t bytes)
{
    unsigned kind = 0;
    while (kind_bytes[kind] < bytes)
        kind++;
    return kind;
}

static void take_home(struct buffer_pool *pool, struct buffer *buffer)
{
    struct chunk *chunk = ((struct pooled *)buffer)->chunk;
    struct chunk_list *used = &pool->used[chunk->kind];
    assert(chunk->live > 0);
    chunk->live--;
    if (chunk->live == 0) {
        if (chunk->free)
            list_remove(used, chunk);
        list_push_front(&pool->idle[chunk->kind], chunk);
        chunk->idle_since_ns = 0;
    } else if (!chunk->free) {
        list_push_front(used, chunk);
    }
    buffer->next = chunk->free;
    buffer->begin = 0;
    chunk->free = buffer;
    pool->stats.bytes_live -= buffer->capacity;
    pool->stats.buffers_live--;
    ASAN_POISON_MEMORY_REGION(buffer->data, buffer->capacity);
}

static void take_returned(struct buffer_pool *pool)
{
    struct mail_link *link = mail_stack_take(&pool->returned);
    while (link) {
        struct mail_link *next = link->next;
        take_home(pool, (struct buffer *)((char *)link - offsetof(struct buffer, next)));
        link = next;
    }
}

/* One in use that has a free buffer: the idle ones stay idle as long as can be. */
static struct chunk *chunk_take(struct buffer_pool *pool, unsigned kind)
{
    if (!pool->used[kind].first)
        take_returned(pool);
    if (pool->used[kind].first)
        return pool->used[kind].first;
    struct chunk *chunk = pool->idle[kind].first;
    if (chunk)
        list_remove(&pool->idle[kind], chunk);
    else if (!(chunk = chunk_new(pool, kind)))
        return NULL;
    list_push_front(&pool->used[kind], chunk);
    return chunk;
}

struct buffer *buffer_new(struct buffer_pool *pool, uint32_t bytes)
{
    assert(bytes <= BUFFER_LARGE_BYTES);
    assert(is_owner(pool));
    struct chunk *chunk = chunk_take(pool, kind_of(bytes));
    if (!chunk)
        return NULL;
    struct buffer *buffer = chunk->free;
    chunk->free = buffer->next;
    chunk->live++;
    if (!chunk->free)
        list_remove(&pool->used[chunk->kind], chunk);
    pool->stats.bytes_live += buffer->capacity;
    pool->stats.buffers_live++;
    ASAN_UNPOISON_MEMORY_REGION(buffer->data, buffer->capacity);
    buffer->next = NULL;
    buffer->begin = buffer->end = 0;
    __atomic_store_n(&buffer->refs, 1, __ATOMIC_RELAXED);
    return buffer;
}

struct buffer *buffer_new_foreign(uint32_t bytes)
{
    struct buffer *buffer = malloc(sizeof(*buffer) + bytes);
    if (!buffer)
        return NULL;
    *buffer = (struct buffer){.refs = 1, .capacity = bytes, .data = (uint8_t *)(buffer + 1)};
    return buffer;
}

/* What a parcel keeps before its data. */
struct parcel {
    struct buffer buffer;
    void (*dropped)(void *data);
};

struct buffer *buffer_new_parcel(uint32_t bytes, void (*dropped)(void *data))
{
    struct parcel *parcel = malloc(sizeof(*parcel) + bytes);

    if (!parcel)
        return NULL;
    parcel->buffer = (struct buffer){.refs = 1, .capacity = bytes, .data = (uint8_t *)(parcel + 1)};
    parcel->dropped = dropped;
    return &parcel->buffer;
}

/* Foreign buffers have their data right behind; parcels have `dropped` between. */
static void foreign_free(struct buffer *buffer)
{
    struct parcel *parcel = (struct parcel *)buffer;

    if (buffer->data == (uint8_t *)(parcel + 1))
        parcel->dropped(buffer->data);
    free(buffer);
}

struct buffer *buffer_ref(struct buffer *buffer)
{
    uint32_t before = __atomic_fetch_add(&buffer->refs, 1, __ATOMIC_RELAXED);
    assert(before > 0);
    return buffer;
}

/* True when this was the last reference.  The only holder needs no exchange:
 * nobody is left who could add one.  The acquire pairs with the release of
 * those who let go before, the release with the acquire of is_waste(): the pages
 * may go when we have read them. */
static bool let_go(struct buffer *buffer)
{
    if (__atomic_load_n(&buffer->refs, __ATOMIC_ACQUIRE) == 1) {
        __atomic_store_n(&buffer->refs, 0, __ATOMIC_RELEASE);
        return true;
    }
    uint32_t before = __atomic_fetch_sub(&buffer->refs, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    return before == 1;
}

void buffer_unref(struct buffer *buffer)
{
    if (!buffer || !let_go(buffer))
        return;
    struct buffer_pool *pool = buffer->pool;
    if (!pool)
        foreign_free(buffer);
    else if (is_owner(pool))
        take_home(pool, buffer);
    else
        mail_stack_push(&pool->returned, (struct mail_link *)(void *)&buffer->next);
}

/* Chunks that stay empty go: a few looks in the time that they are kept do. */
static void trim(struct buffer_pool *pool, uint64_t now_ns)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (struct chunk *chunk = pool->idle[kind].first, *next; chunk; chunk = next) {
            next = chunk->next;
            if (chunk->idle_since_ns == 0)
                chunk->idle_since_ns = now_ns;
            else if (now_ns - chunk->idle_since_ns >= BUFFER_IDLE_NS)
                chunk_free(pool, chunk);
        }
    }
}

void buffer_pool_collect(struct buffer_pool *pool, uint64_t now_ns)
{
    take_returned(pool);
    if (now_ns < pool->next_trim_ns)
        return;
    pool->next_trim_ns = now_ns + BUFFER_IDLE_NS / 8;
    trim(pool, now_ns);
}

static bool is_waste(const struct buffer *buffer)
{
    return __atomic_load_n(&buffer->refs, __ATOMIC_ACQUIRE) == 0 && buffer->begin != SQUEEZED;
}

/* The whole pages of [begin, end). */
static void give_pages_back(uint8_t *begin, uint8_t *end)
{
    uintptr_t first = ((uintptr_t)begin + PAGE - 1) / PAGE * PAGE, last = (uintptr_t)end / PAGE * PAGE;

    if (first < last)
        (void)madvise((void *)first, last - first, MADV_DONTNEED); /* else they stay ours */
}

static void squeeze_chunk(struct chunk *chunk)
{
    uint32_t count = kind_count[chunk->kind];

    for (uint32_t i = 0; i < count; i++) {
        uint8_t *begin = chunk->buffers[i].buffer.data;
        uint32_t run = 0;

        for (; i + run < count && is_waste(&chunk->buffers[i + run].buffer); run++)
            chunk->buffers[i + run].buffer.begin = SQUEEZED;
        give_pages_back(begin, begin + (size_t)run * kind_bytes[chunk->kind]);
        i += run;
    }
}

static void free_idle_chunks(struct buffer_pool *pool)
{
    for (unsigned kind = 0; kind < KINDS; kind++)
        while (pool->idle[kind].first)
            chunk_free(pool, pool->idle[kind].first);
}

void buffer_pool_squeeze(struct buffer_pool *pool)
{
    take_returned(pool);
    free_idle_chunks(pool);
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (struct chunk *chunk = pool->used[kind].first; chunk; chunk = chunk->next)
            squeeze_chunk(chunk);
}

uint64_t buffer_pool_deadline(const struct buffer_pool *pool)
{
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (pool->idle[kind].first)
            return pool->next_trim_ns;
    return UINT64_MAX;
}

void buffer_pool_stats_read(const struct buffer_pool *pool, struct buffer_pool_stats *out)
{
    *out = pool->stats;
}

struct buffer_pool *buffer_pool_keep(struct buffer_pool *pool)
{
    __atomic_add_fetch(&pool->keepers, 1, __ATOMIC_RELAXED);
    return pool;
}

void buffer_pool_let_go(struct buffer_pool *pool)
{
    /* Release pairs with the acquire of whoever comes last: it sees what the others brought back. */
    if (__atomic_sub_fetch(&pool->keepers, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    take_returned(pool);
    assert(pool->stats.buffers_live == 0);
    free_idle_chunks(pool);
    free(pool);
}

void buffer_pool_free(struct buffer_pool *pool)
{
    if (!pool)
        return;
    buffer_pool_own(pool);
    take_returned(pool);
    free_idle_chunks(pool);
    buffer_pool_disown(pool);
    buffer_pool_let_go(pool);
}
