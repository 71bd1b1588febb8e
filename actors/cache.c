#include "actors/cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void cache_init(struct cache *cache, size_t object_bytes, uint32_t count_max)
{
    assert(object_bytes >= sizeof(void *));
    *cache = (struct cache){.object_bytes = (uint32_t)object_bytes, .count_max = count_max};
}

void cache_fini(struct cache *cache)
{
    while (cache->head != NULL) {
        void *object = cache->head;

        memcpy(&cache->head, object, sizeof(void *));
        free(object);
    }
    cache->count = 0;
}

/* Some more than are asked for, so that a number in use that rises slowly does
 * not ask the heap each time. */
static void grow(struct cache *cache)
{
    uint32_t count = cache->count_max < CACHE_GROWTH ? cache->count_max : CACHE_GROWTH;

    while (count-- > 0) {
        void *object = malloc(cache->object_bytes);

        if (object == NULL)
            return;
        cache_free(cache, object);
    }
}

void *cache_new(struct cache *cache)
{
    void *object;

    if (cache->head == NULL)
        grow(cache);
    object = cache->head;
    if (object == NULL)
        return calloc(1, cache->object_bytes);
    memcpy(&cache->head, object, sizeof(void *));
    cache->count--;
    memset(object, 0, cache->object_bytes);
    return object;
}

void cache_free(struct cache *cache, void *object)
{
    if (object == NULL)
        return;
    if (cache->count == cache->count_max) {
        free(object);
        return;
    }
    memcpy(object, &cache->head, sizeof(void *));
    cache->head = object;
    cache->count++;
}
