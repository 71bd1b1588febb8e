#include "actors/depot.h"

#include "runtime/slab.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct depot {
    pthread_mutex_t mutex;
    struct slab *slab;
};

struct depot *depot_new(void)
{
    struct depot *depot = calloc(1, sizeof(*depot));

    if (!depot)
        return NULL;
    depot->slab = slab_new();
    if (!depot->slab) {
        free(depot);
        return NULL;
    }
    pthread_mutex_init(&depot->mutex, NULL);
    return depot;
}

void depot_free(struct depot *depot)
{
    if (!depot)
        return;
    assert(slab_bytes(depot->slab) == 0);
    slab_free(depot->slab);
    pthread_mutex_destroy(&depot->mutex);
    free(depot);
}

void *depot_take(struct depot *depot, size_t bytes)
{
    pthread_mutex_lock(&depot->mutex);
    void *object = slab_take(depot->slab, bytes);
    pthread_mutex_unlock(&depot->mutex);
    return object;
}

void depot_give(struct depot *depot, void *object, size_t bytes)
{
    if (!object)
        return;
    pthread_mutex_lock(&depot->mutex);
    slab_give(depot->slab, object, bytes);
    pthread_mutex_unlock(&depot->mutex);
}
