#ifndef RUNTIME_BUFFER_H
#define RUNTIME_BUFFER_H

#include <stddef.h>
#include <stdint.h>

/* Reference-counted I/O buffers, in four sizes, from a pool that each worker
 * owns.  Any thread may ref and unref; the last unref on another thread sends
 * the buffer home by its worker's return stack.  The pool grows by chunks to
 * its limit, and gives chunks back to the system when they have been idle.
 * When it is at its limit buffer_new() says NULL: nothing waits. */

enum buffer_limits {
    BUFFER_SMALL_BYTES = 4096,   /* one page: most messages, and what a multishot receive fills */
    BUFFER_MEDIUM_BYTES = 34816, /* 32 KiB and the headers and tags of its records */
    BUFFER_RECORD_BYTES = 77824, /* a record of 65,537 B, and 12 KiB for what comes with it */
    BUFFER_LARGE_BYTES = 279552, /* 4 records of 65,537 B, and room for a cut one before them */
    BUFFER_POOL_BYTES_MAX = 1 << 30, /* a worker's default bound: part of a node's memory budget */
    BUFFER_CHUNK_BYTES = 262144,     /* of small ones; the pool grows by as much, or by two large ones */
};

/* A chunk without a buffer lent out goes back to the system after this time:
 * long enough for a burst to come again, short against the minute after which
 * memory is measured. */
#define BUFFER_IDLE_NS 10000000000ull

struct buffer_pool;

struct buffer {
    uint32_t refs;     /* atomic; buffer_ref and buffer_unref only */
    uint32_t capacity; /* bytes at `data` */
    struct buffer_pool *pool;
    struct buffer *next;  /* the holder's: a list of its own */
    uint32_t begin, end;  /* the holder's: the bytes in use */
    uint8_t *data;
};

/* A run of bytes inside a buffer.  Holding a slice is holding one reference. */
struct buffer_slice {
    struct buffer *buffer;
    uint32_t offset;
    uint32_t length;
};

struct buffer_pool_stats {
    uint64_t bytes_mapped; /* taken from the system */
    uint64_t bytes_live;   /* lent out now */
    uint64_t buffers_live;
};

/* `bytes_max` bounds what the pool takes from the system.  The calling thread
 * owns it.  NULL when memory is out. */
struct buffer_pool *buffer_pool_new(uint64_t bytes_max);
/* The calling thread owns it from now on, or nobody does: then every buffer
 * comes home by the return stack.  For a worker that is turned by whoever calls
 * runtime_turn(). */
void buffer_pool_own(struct buffer_pool *pool);
void buffer_pool_disown(struct buffer_pool *pool);
/* The owner's end of it.  All buffers must be home, asserts so, unless somebody
 * keeps the pool. */
void buffer_pool_free(struct buffer_pool *pool);
/* Any thread: buffers that are still out at the pool's end stay good, and may come
 * back, until whoever kept it has let go. */
struct buffer_pool *buffer_pool_keep(struct buffer_pool *pool);
void buffer_pool_let_go(struct buffer_pool *pool);
void buffer_pool_stats_read(const struct buffer_pool *pool, struct buffer_pool_stats *out);
/* Takes home what other threads returned, and gives idle chunks back; the
 * worker calls it once a turn (cheap when there is nothing). */
void buffer_pool_collect(struct buffer_pool *pool, uint64_t now_ns);
/* Memory is short: all that is not lent out goes back to the system now, free
 * buffers of chunks in use as well.  Their next use costs page faults. */
void buffer_pool_squeeze(struct buffer_pool *pool);
/* When to collect next though nothing happens; UINT64_MAX: no chunk is idle. */
uint64_t buffer_pool_deadline(const struct buffer_pool *pool);

/* A buffer of at least `bytes` (<= BUFFER_LARGE_BYTES), with one reference,
 * begin = end = 0, or NULL when the pool is at its bound.  Owner thread only. */
struct buffer *buffer_new(struct buffer_pool *pool, uint32_t bytes);
/* The same for any thread and any size from 1 B, from the heap: for commands
 * from outside the workers.  NULL when memory is out. */
struct buffer *buffer_new_foreign(uint32_t bytes);

/* The same, for what travels in a message: when the last reference goes,
 * handled or not, `dropped(data)` is called first, on the thread that let go. */
struct buffer *buffer_new_parcel(uint32_t bytes, void (*dropped)(void *data));

struct buffer *buffer_ref(struct buffer *buffer);
/* NULL is allowed. */
void buffer_unref(struct buffer *buffer);

#endif
