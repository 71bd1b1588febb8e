#ifndef ACTORS_SLICES_H
#define ACTORS_SLICES_H

#include "runtime/buffer.h"

#include <stddef.h>
#include <stdint.h>

/* Queues of bytes that lie in buffers: what a stream has received and not yet
 * given, or was given and has not yet sent.  An entry holds a reference to its
 * buffer.  Entries come from the cache of the worker that runs, or the heap. */

struct slice {
    struct slice *next;
    struct buffer *buffer;
    uint32_t offset;
    uint32_t length;
};

struct slices {
    struct slice *head;
    struct slice *tail;
    uint64_t bytes;
};

/* Appends; the reference is taken over, whatever is returned.  Neighbouring
 * bytes of one buffer become one entry.  0 or P2P_ERR_CALL_NOMEM. */
int slices_append(struct slices *slices, struct buffer *buffer, uint32_t offset, uint32_t length);
/* Copies bytes to the end: into the tail's buffer where that is ours alone and
 * has room, else into new ones of `pool` (NULL: the heap).  Returns how many
 * bytes were taken; fewer only when memory is out. */
size_t slices_copy_in(struct slices *slices, struct buffer_pool *pool, const uint8_t *data, size_t length);
/* Moves bytes out, at most `capacity`; returns how many. */
size_t slices_copy_out(struct slices *slices, uint8_t *out, size_t capacity);
/* Drops the first `bytes`, which must be there. */
void slices_drop(struct slices *slices, uint64_t bytes);
/* The first run of bytes, reference and all; slices must not be empty. */
struct buffer_slice slices_take(struct slices *slices);
/* All of `from` to the end of `to`. */
void slices_move(struct slices *to, struct slices *from);
void slices_clear(struct slices *slices);
/* All of `from` to the end of `to`, into small buffers unless it fills them
 * already: bytes that stay take hardly more memory than their number, an eighth
 * and the rest of one small buffer. */
void slices_gather(struct slices *to, struct slices *from, struct buffer_pool *pool);
/* The same within one queue. */
void slices_compact(struct slices *slices, struct buffer_pool *pool);

#endif
