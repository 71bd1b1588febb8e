#ifndef ACTORS_MEMORY_H
#define ACTORS_MEMORY_H

#include "net/yamux.h"
#include "runtime/worker.h"

#include <stdbool.h>
#include <stdint.h>

/* The memory of a node: what its connections hold together, on all workers of
 * its runtime.  Each worker counts what its own hold, to the byte
 * (NODE_MEMORY_HELD), and draws credit for it on the node's account in chunks:
 * the line that workers share is touched once a chunk, and says at most two
 * chunks a worker too much, never too little.
 *
 * When the account is over its bound, less a reserve, the shedder closes the
 * connection that holds most.  Half of the bound is what windows may grow into; an eighth is
 * for what streams leave unread when their connection ends. */

enum memory_limits {
    MEMORY_CHUNK_BYTES_MAX = 1048576, /* of credit: at 1 GB/s the shared line is touched a thousand times a second */
    MEMORY_CHUNK_PART = 32,           /* all workers' chunks are at most so small a part of the bound */
    MEMORY_TIGHT_PART = 4,            /* held from this part on: connections in bulk take less at a time */
    MEMORY_RESERVE_PART = 16,         /* the part for what arrives while the largest connection is found and closed */
};

struct memory {
    uint64_t max_bytes;
    int64_t chunk_bytes;
    struct yamux_budget windows;
    int64_t drawn_bytes;         /* atomic: the account */
    int64_t left_bytes;          /* atomic, and part of it: of streams without a connection */
    uint32_t refs;               /* atomic */
    int over;                    /* atomic: it is over its bound, and that was told */
};

/* `workers` of its runtime.  NULL when memory is out. */
struct memory *memory_new(uint64_t max_bytes, unsigned workers);
/* NULL is allowed.  The node has one reference; a stream that leaves something
 * has another, for it may end after its node. */
void memory_unref(struct memory *memory);

/* On `worker`: the connections of that node hold `delta` bytes more, or less.
 * True when that takes it over its bound and nobody was told yet: the caller
 * tells. */
bool memory_count(struct memory *memory, struct scope *scope, struct worker *worker, int64_t delta);
/* It is over its bound, by what connections hold: not if the application sits
 * on most of it in buffers of streams that have ended. */
bool memory_is_over(const struct memory *memory);
/* A part of it is held that many connections in bulk take together: each can do with less. */
bool memory_is_tight(const struct memory *memory);
/* Whoever was told found that it is not over its bound any more.  True when it
 * is again: he goes on. */
bool memory_settled(struct memory *memory);

/* Any thread: a stream whose connection has let go of it leaves so many bytes
 * with the application; with a reference, to be given back with the bytes by
 * memory_return(). */
void memory_leave(struct memory *memory, uint32_t bytes);
void memory_return(struct memory *memory, uint32_t bytes);
/* Whether so much more may be left unread. */
bool memory_may_leave(const struct memory *memory, uint64_t bytes);

#endif
