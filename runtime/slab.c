#include "runtime/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SIZES = SLAB_OBJECT_BYTES_MAX / SLAB_GRAIN_BYTES };

struct object {
    struct object *next;
};

/* The head of a block of objects; the objects follow. */
struct block {
    struct block *next, *previous; /* on its size's list while it has a free object */
    struct object *free;
    uint32_t live, size;           /* `size` in grains, less one */
    uint32_t untouched;            /* offset of the part never handed out */
};

struct region {
    struct region *next;
    void *mapping;
    size_t bytes;
};

struct slab {
    struct block *partial[SIZES];
    struct object *empty; /* blocks that nobody uses, touched */
    unsigned empty_count;
    void **cold;          /* and those whose pages went back */
    size_t cold_count, cold_capacity;
    struct region *regions;
    uint8_t *fresh, *fresh_end; /* what is left of the newest region */
    uint64_t blocks;
};

struct slab *slab_new(void)
{
    return calloc(1, sizeof(struct slab));
}

void slab_free(struct slab *slab)
{
    if (!slab)
        return;
    while (slab->regions) {
        struct region *region = slab->regions;
        slab->regions = region->next;
        munmap(region->mapping, region->bytes);
        free(region);
    }
    free(slab->cold);
    free(slab);
}

static int region_add(struct slab *slab)
{
    struct region *region = malloc(sizeof(*region));
    if (!region)
        return -1;
    region->bytes = SLAB_REGION_BYTES + SLAB_BLOCK_BYTES;
    region->mapping = mmap(NULL, region->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region->mapping == MAP_FAILED) {
        free(region);
        return -1;
    }
    region->next = slab->regions;
    slab->regions = region;
    uintptr_t past = (uintptr_t)region->mapping % SLAB_BLOCK_BYTES;
    slab->fresh = (uint8_t *)region->mapping + (past ? SLAB_BLOCK_BYTES - past : 0);
    slab->fresh_end = slab->fresh + SLAB_REGION_BYTES;
    return 0;
}

static void *block_take(struct slab *slab)
{
    struct object *block = slab->empty;
    if (block) {
        slab->empty = block->next;
        slab->empty_count--;
    } else if (slab->cold_count > 0) {
        block = slab->cold[--slab->cold_count];
    } else {
        if (slab->fresh == slab->fresh_end && region_add(slab))
            return NULL;
        block = (struct object *)slab->fresh;
        slab->fresh += SLAB_BLOCK_BYTES;
    }
    memset(block, 0, SLAB_BLOCK_BYTES);
    slab->blocks++;
    return block;
}

/* A list of their own: a link inside them would keep a page of each. */
static bool cold_reserve(struct slab *slab)
{
    if (slab->cold_count < slab->cold_capacity)
        return true;
    size_t capacity = slab->cold_capacity ? slab->cold_capacity * 2 : SLAB_REGION_BYTES / SLAB_BLOCK_BYTES;
    void **cold = realloc(slab->cold, capacity * sizeof(*cold));
    if (!cold)
        return false;
    slab->cold = cold;
    slab->cold_capacity = capacity;
    return true;
}

static void block_give(struct slab *slab, void *memory)
{
    struct object *block = memory;
    slab->blocks--;
    if (slab->empty_count >= SLAB_EMPTY_BLOCKS_KEPT && cold_reserve(slab)) {
        madvise(memory, SLAB_BLOCK_BYTES, MADV_DONTNEED);
        slab->cold[slab->cold_count++] = memory;
        return;
    }
    block->next = slab->empty;
    slab->empty = block;
    slab->empty_count++;
}

void *slab_block(struct slab *slab)
{
    return block_take(slab);
}

static unsigned size_of(size_t bytes)
{
    return bytes ? (unsigned)((bytes - 1) / SLAB_GRAIN_BYTES) : 0;
}

static size_t head_bytes(void)
{
    return (sizeof(struct block) + SLAB_GRAIN_BYTES - 1) / SLAB_GRAIN_BYTES * SLAB_GRAIN_BYTES;
}

static void partial_add(struct slab *slab, struct block *block)
{
    block->previous = NULL;
    block->next = slab->partial[block->size];
    if (block->next)
        block->next->previous = block;
    slab->partial[block->size] = block;
}

static void partial_remove(struct slab *slab, struct block *block)
{
    *(block->previous ? &block->previous->next : &slab->partial[block->size]) = block->next;
    if (block->next)
        block->next->previous = block->previous;
}

static bool block_is_full(const struct block *block)
{
    size_t grain_bytes = (size_t)(block->size + 1) * SLAB_GRAIN_BYTES;
    return !block->free && block->untouched + grain_bytes > SLAB_BLOCK_BYTES;
}

void *slab_take(struct slab *slab, size_t bytes)
{
    if (bytes > SLAB_OBJECT_BYTES_MAX)
        return calloc(1, bytes);
    unsigned size = size_of(bytes);
    struct block *block = slab->partial[size];
    if (!block) {
        block = block_take(slab);
        if (!block)
            return NULL;
        block->size = size;
        block->untouched = (uint32_t)head_bytes();
        partial_add(slab, block);
    }
    struct object *object = block->free;
    if (object) {
        block->free = object->next;
    } else {
        object = (struct object *)((uint8_t *)block + block->untouched);
        block->untouched += (size + 1) * SLAB_GRAIN_BYTES;
    }
    block->live++;
    if (block_is_full(block))
        partial_remove(slab, block);
    memset(object, 0, (size_t)(size + 1) * SLAB_GRAIN_BYTES);
    return object;
}

void slab_give(struct slab *slab, void *memory, size_t bytes)
{
    if (bytes > SLAB_OBJECT_BYTES_MAX) {
        free(memory);
        return;
    }
    struct object *object = memory;
    struct block *block = (struct block *)((uintptr_t)memory & ~(uintptr_t)(SLAB_BLOCK_BYTES - 1));
    assert(block->live > 0);
    assert(block->size == size_of(bytes));
    if (block_is_full(block))
        partial_add(slab, block);
    object->next = block->free;
    block->free = object;
    if (--block->live == 0) {
        partial_remove(slab, block);
        block_give(slab, block);
    }
}

uint64_t slab_bytes(const struct slab *slab)
{
    return slab->blocks * SLAB_BLOCK_BYTES;
}
