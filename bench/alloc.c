#include "bench.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they bring their own */

#include <errno.h>

/* Counts what asks the heap, by standing in front of it. */

/* NOLINTBEGIN(bugprone-reserved-identifier): glibc's names of its own */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
/* NOLINTEND(bugprone-reserved-identifier) */

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *memory, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);

static uint64_t calls;

static void count_call(void)
{
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    count_call();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    count_call();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    count_call();
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count_call();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    count_call();
    *out = __libc_memalign(alignment, size);
    return *out != NULL ? 0 : ENOMEM;
}

uint64_t bench_allocations(void)
{
    return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

#else

uint64_t bench_allocations(void)
{
    return 0;
}

#endif
