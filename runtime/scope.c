#include "runtime/inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct scope *scope_new(struct runtime *runtime, const char *log_prefix)
{
    struct scope *scope = calloc(1, sizeof(*scope));
    size_t counters_bytes = (runtime->worker_count + 1) * sizeof(*scope->counters);
    if (!scope)
        return NULL;
    scope->runtime = runtime;
    scope->log_level = -1;
    scope->prefix = strdup(log_prefix ? log_prefix : "");
    scope->counters = aligned_alloc(64, counters_bytes);
    if (!scope->prefix || !scope->counters) {
        free(scope->prefix);
        free(scope->counters);
        free(scope);
        return NULL;
    }
    memset(scope->counters, 0, counters_bytes);
    __atomic_fetch_add(&runtime->scopes, 1, __ATOMIC_RELAXED);
    return scope;
}

void scope_free(struct scope *scope)
{
    if (!scope)
        return;
    /* Acquire pairs with the release of the last actor's end. */
    assert(__atomic_load_n(&scope->live, __ATOMIC_ACQUIRE) == 0);
    log_scope_end(scope);
    __atomic_fetch_sub(&scope->runtime->scopes, 1, __ATOMIC_RELEASE);
    free(scope->prefix);
    free(scope->counters);
    free(scope);
}

void scope_set_owner(struct scope *scope, void *owner)
{
    scope->owner = owner;
}

void *scope_owner(struct scope *scope)
{
    return scope->owner;
}

void scope_stats_read(struct scope *scope, struct scope_stats *out)
{
    out->actors_live = (uint64_t)__atomic_load_n(&scope->live, __ATOMIC_ACQUIRE);
    out->messages_dropped = (uint64_t)__atomic_load_n(&scope->dropped, __ATOMIC_RELAXED);
}

/* A worker is the only writer of its block: a plain add, stored whole for those
 * who read. */
void scope_count(struct scope *scope, struct worker *worker, unsigned counter, int64_t delta)
{
    assert(counter < SCOPE_COUNTERS_MAX);
    if (!worker) {
        int64_t *outside = &scope->counters[scope->runtime->worker_count].values[counter];
        __atomic_fetch_add(outside, delta, __ATOMIC_RELAXED);
        return;
    }
    int64_t *value = &scope->counters[worker->index].values[counter];
    __atomic_store_n(value, *value + delta, __ATOMIC_RELAXED);
}

int64_t scope_counter(struct scope *scope, unsigned counter)
{
    assert(counter < SCOPE_COUNTERS_MAX);
    int64_t sum = 0;
    for (unsigned i = 0; i <= scope->runtime->worker_count; i++)
        sum += __atomic_load_n(&scope->counters[i].values[counter], __ATOMIC_RELAXED);
    return sum;
}

int64_t scope_counter_of(struct scope *scope, unsigned worker_index, unsigned counter)
{
    assert(counter < SCOPE_COUNTERS_MAX);
    assert(worker_index < scope->runtime->worker_count);
    return __atomic_load_n(&scope->counters[worker_index].values[counter], __ATOMIC_RELAXED);
}
