#include "tests/sim/sim.h"

#include "runtime/inner.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names, of --wrap */

/* The heap, seen by our own objects, not by the libraries: how much they have of
 * it, and whether a worker of a host without memory is refused what it asks for.
 * Outside of turns nobody is refused: an application that starts a node would be
 * told, and that is the unit tests' (tests/unit/nomem).  What is asked for by
 * reallocarray() is the simulator's own. */

static struct sim_heap live;

struct sim_heap sim_heap_live(void)
{
    return live;
}

void sim_memory_refuse(struct sim_node *node, uint32_t ppm)
{
    node->sim->starving += (ppm > 0) - (node->refused_ppm > 0);
    node->refused_ppm = ppm;
}

static bool is_refused(void)
{
    struct sim *sim = sim_current;
    const struct worker *worker = sim && sim->starving ? worker_current() : NULL;

    if (!worker || !worker->in_turn)
        return false;
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        const struct sim_node *node = &sim->nodes[i];

        if (node->refused_ppm == 0 || !node->process || node->process->runtime->runtime != worker->runtime)
            continue;
        if (sim_below(sim, 1000000) >= node->refused_ppm)
            return false;
        sim->refusals++;
        errno = ENOMEM;
        return true;
    }
    return false;
}

static void *count(void *memory)
{
    if (memory) {
        live.pieces++;
        live.bytes += (int64_t)malloc_usable_size(memory);
    }
    return memory;
}

static void uncount(void *memory)
{
    if (memory) {
        live.pieces--;
        live.bytes -= (int64_t)malloc_usable_size(memory);
    }
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t number, size_t bytes);
void *__wrap_calloc(size_t number, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__real_reallocarray(void *memory, size_t number, size_t bytes);
void *__wrap_reallocarray(void *memory, size_t number, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
void __real_free(void *memory);
void __wrap_free(void *memory);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int descriptor, off_t offset);
int __real_munmap(void *memory, size_t bytes);
int __wrap_munmap(void *memory, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return is_refused() ? NULL : count(__real_malloc(bytes));
}

void *__wrap_calloc(size_t number, size_t bytes)
{
    return is_refused() ? NULL : count(__real_calloc(number, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    if (is_refused())
        return NULL;
    uncount(memory);
    return count(__real_realloc(memory, bytes));
}

void *__wrap_reallocarray(void *memory, size_t number, size_t bytes)
{
    uncount(memory);
    return count(__real_reallocarray(memory, number, bytes));
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return is_refused() ? NULL : count(__real_aligned_alloc(alignment, bytes));
}

char *__wrap_strdup(const char *text)
{
    return is_refused() ? NULL : count(__real_strdup(text));
}

void __wrap_free(void *memory)
{
    uncount(memory);
    __real_free(memory);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int descriptor, off_t offset)
{
    void *memory = is_refused() ? MAP_FAILED : __real_mmap(at, bytes, protection, flags, descriptor, offset);

    if (memory != MAP_FAILED) {
        live.pieces++;
        live.bytes += (int64_t)bytes;
    }
    return memory;
}

int __wrap_munmap(void *memory, size_t bytes)
{
    live.pieces--;
    live.bytes -= (int64_t)bytes;
    return __real_munmap(memory, bytes);
}

/* NOLINTEND(bugprone-reserved-identifier) */
