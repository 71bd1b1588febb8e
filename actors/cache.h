#ifndef ACTORS_CACHE_H
#define ACTORS_CACHE_H

#include <stddef.h>
#include <stdint.h>

/* Objects of one size, kept by a worker for their next use: the heap is asked
 * only while the number in use grows.  An object may be freed by plain free()
 * where its worker is not at hand. */

enum cache_limits { CACHE_GROWTH = 32 }; /* objects that the heap is asked for at once */

struct cache {
    void *head;
    uint32_t object_bytes;
    uint32_t count;
    uint32_t count_max; /* kept idle; more go back to the heap */
};

void cache_init(struct cache *cache, size_t object_bytes, uint32_t count_max);
/* All it keeps goes back to the heap; it may be used again. */
void cache_fini(struct cache *cache);
/* Zeroed; NULL when memory is out. */
void *cache_new(struct cache *cache);
void cache_free(struct cache *cache, void *object);

#endif
