#ifndef RUNTIME_SLAB_H
#define RUNTIME_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Small objects of a worker without a header of their own: a session's state
 * costs its size, rounded up to 16 B.  Objects of one size share blocks, which
 * are touched when they are made, kept for the next while few, and given back
 * to the system beyond that.  One thread. */

enum slab_limits {
    SLAB_BLOCK_BYTES = 16384,   /* also its alignment */
    SLAB_REGION_BYTES = 1 << 20, /* what is mapped at once */
    SLAB_OBJECT_BYTES_MAX = 4096, /* larger ones come from the heap */
    SLAB_GRAIN_BYTES = 16,
    SLAB_EMPTY_BLOCKS_KEPT = 16, /* a quarter of a region */
};

struct slab;

struct slab *slab_new(void); /* NULL when memory is out */
/* All its memory goes. */
void slab_free(struct slab *slab);
/* Zeroed; NULL when memory is out. */
void *slab_take(struct slab *slab, size_t bytes);
/* `bytes` as it was taken. */
void slab_give(struct slab *slab, void *object, size_t bytes);
/* A whole zeroed block, aligned to its size, that stays until slab_free(). */
void *slab_block(struct slab *slab);
/* Bytes of blocks in use. */
uint64_t slab_bytes(const struct slab *slab);

#endif
