#include "actors/memory.h"

#include "actors/node.h"

#include <stdlib.h>

struct memory *memory_new(uint64_t max_bytes, unsigned workers)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    uint64_t chunk = max_bytes / MEMORY_CHUNK_PART / workers;

    if (memory == NULL)
        return NULL;
    memory->refs = 1;
    memory->max_bytes = max_bytes;
    memory->chunk_bytes = chunk < MEMORY_CHUNK_BYTES_MAX ? (int64_t)chunk + 1 : MEMORY_CHUNK_BYTES_MAX;
    memory->windows.max_bytes = max_bytes / 2;
    return memory;
}

void memory_unref(struct memory *memory)
{
    if (memory != NULL && __atomic_sub_fetch(&memory->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(memory);
}

bool memory_is_over(const struct memory *memory)
{
    int64_t drawn = __atomic_load_n(&memory->drawn_bytes, __ATOMIC_RELAXED);
    int64_t left = __atomic_load_n(&memory->left_bytes, __ATOMIC_RELAXED);

    uint64_t most = memory->max_bytes - memory->max_bytes / MEMORY_RESERVE_PART;

    return drawn > 0 && (uint64_t)drawn > most && drawn > 2 * left;
}

bool memory_is_tight(const struct memory *memory)
{
    int64_t drawn = __atomic_load_n(&memory->drawn_bytes, __ATOMIC_RELAXED);

    return drawn > 0 && (uint64_t)drawn > memory->max_bytes / MEMORY_TIGHT_PART;
}

/* True for one caller, until memory_settled(). */
static bool is_to_be_told(struct memory *memory)
{
    return memory_is_over(memory) && __atomic_exchange_n(&memory->over, 1, __ATOMIC_ACQ_REL) == 0;
}

bool memory_settled(struct memory *memory)
{
    /* Pairs with the exchange above: whoever found the mark set has drawn before, and that is seen here. */
    __atomic_exchange_n(&memory->over, 0, __ATOMIC_ACQ_REL);
    return is_to_be_told(memory);
}

bool memory_count(struct memory *memory, struct scope *scope, struct worker *worker, int64_t delta)
{
    int64_t chunk = memory->chunk_bytes, held, drawn, wanted;

    scope_count(scope, worker, NODE_MEMORY_HELD, delta);
    held = scope_counter_of(scope, worker_index(worker), NODE_MEMORY_HELD);
    drawn = scope_counter_of(scope, worker_index(worker), NODE_MEMORY_DRAWN);
    if (held <= drawn && drawn - held < 2 * chunk)
        return false;
    wanted = (held + chunk - 1) / chunk * chunk;
    scope_count(scope, worker, NODE_MEMORY_DRAWN, wanted - drawn);
    __atomic_fetch_add(&memory->drawn_bytes, wanted - drawn, __ATOMIC_RELAXED);
    return wanted > drawn && is_to_be_told(memory);
}

void memory_leave(struct memory *memory, uint32_t bytes)
{
    __atomic_add_fetch(&memory->refs, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&memory->left_bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&memory->drawn_bytes, bytes, __ATOMIC_RELAXED);
}

void memory_return(struct memory *memory, uint32_t bytes)
{
    __atomic_fetch_sub(&memory->left_bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&memory->drawn_bytes, bytes, __ATOMIC_RELAXED);
    memory_unref(memory);
}

bool memory_may_leave(const struct memory *memory, uint64_t bytes)
{
    return (uint64_t)__atomic_load_n(&memory->left_bytes, __ATOMIC_RELAXED) + bytes <= memory->max_bytes / 8;
}
