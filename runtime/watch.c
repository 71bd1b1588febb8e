#include "runtime/inner.h"

#include "chorus/p2p.h"

#include <assert.h>
#include <stdlib.h>

enum { WATCH_PRUNE_MIN = 64 };

static bool is_alive(const struct worker *worker, struct actor_ref ref)
{
    return actor_lives(worker->runtime->workers[actor_ref_worker(ref)], ref);
}

/* 0 when memory is out. */
static uint32_t watch_take(struct worker *worker)
{
    uint32_t index = worker->watch_free;
    if (index) {
        assert(worker->watches != NULL);
        worker->watch_free = worker->watches[index].next;
        return index;
    }
    if (worker->watch_count >= worker->watch_capacity) {
        uint32_t capacity = worker->watch_capacity ? worker->watch_capacity * 2 : 64;
        struct watch *watches = realloc(worker->watches, capacity * sizeof(*watches));
        if (!watches)
            return 0;
        worker->watches = watches;
        worker->watch_capacity = capacity;
    }
    assert(worker->watches != NULL);
    return worker->watch_count++;
}

static void watch_give(struct worker *worker, uint32_t index)
{
    worker->watches[index].next = worker->watch_free;
    worker->watch_free = index;
}

/* Drops the records for which `drop` holds, and leaves the rest in order. */
static void watches_filter(struct worker *worker, struct actor_slot *actor, const struct actor_ref *unwatch)
{
    uint32_t *link = &actor->watchers, count = 0;
    while (*link) {
        struct watch *watch = &worker->watches[*link];
        bool drop = unwatch ? actor_ref_equal(watch->watcher, *unwatch) : !is_alive(worker, watch->watcher);
        if (drop) {
            uint32_t index = *link;
            *link = watch->next;
            watch_give(worker, index);
        } else {
            link = &watch->next;
            count++;
        }
    }
    if (!actor->watchers)
        return;
    struct watch *first = &worker->watches[actor->watchers];
    first->count = count;
    first->prune_at = count * 2 < WATCH_PRUNE_MIN ? WATCH_PRUNE_MIN : count * 2;
}

static void death_tell(struct worker *worker, struct actor_ref watcher, struct actor_ref dead, int error)
{
    struct message death = {.type = MESSAGE_DEATH, .to = watcher, .from = dead};
    death.body.i64[0] = error;
    worker_send(worker, &death);
}

/* Watchers that died without a word are found when the list has doubled. */
void watch_add(struct worker *worker, struct actor_ref target, struct actor_ref watcher)
{
    struct actor_slot *actor = actor_find(worker, target);
    if (!actor) {
        death_tell(worker, watcher, target, 0);
        return;
    }
    const struct watch *first = actor->watchers ? &worker->watches[actor->watchers] : NULL;
    if (first && first->count >= first->prune_at)
        watches_filter(worker, actor, NULL);
    uint32_t index = watch_take(worker);
    if (!index) {
        death_tell(worker, watcher, target, P2P_ERR_CALL_NOMEM);
        return;
    }
    struct watch *watch = &worker->watches[index];
    *watch = (struct watch){watcher, actor->watchers, 1, WATCH_PRUNE_MIN};
    if (actor->watchers) {
        watch->count = worker->watches[actor->watchers].count + 1;
        watch->prune_at = worker->watches[actor->watchers].prune_at;
    }
    actor->watchers = index;
}

void watch_remove(struct worker *worker, struct actor_ref target, struct actor_ref watcher)
{
    struct actor_slot *actor = actor_find(worker, target);
    if (actor && actor->watchers)
        watches_filter(worker, actor, &watcher);
}

void watch_tell(struct worker *worker, uint32_t first, struct actor_ref dead)
{
    while (first) {
        struct watch watch = worker->watches[first];
        watch_give(worker, first);
        death_tell(worker, watch.watcher, dead, 0);
        first = watch.next;
    }
}

static void watch_send(struct actor_context *context, uint16_t type, struct actor_ref target)
{
    struct message message = {.type = type, .to = target, .from = context->self};
    worker_send(context->worker, &message);
}

void actor_watch(struct actor_context *context, struct actor_ref target)
{
    if (actor_ref_is_none(target) || actor_ref_worker(target) == context->worker->index)
        watch_add(context->worker, target, context->self);
    else
        watch_send(context, INNER_WATCH, target);
}

void actor_unwatch(struct actor_context *context, struct actor_ref target)
{
    if (actor_ref_is_none(target) || actor_ref_worker(target) == context->worker->index)
        watch_remove(context->worker, target, context->self);
    else
        watch_send(context, INNER_UNWATCH, target);
}
