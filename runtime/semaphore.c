#include "runtime/semaphore.h"

#include "chorus/p2p.h"
#include "crypto/table.h"
#include "runtime/worker.h"

#include <assert.h>
#include <stdlib.h>

enum { PRIORITIES = SEMAPHORE_PRIORITY_UPKEEP + 1 };

enum semaphore_message {
    SEMAPHORE_MSG_ACQUIRE = MESSAGE_OWN, /* body.u64[0]: the priority */
    SEMAPHORE_MSG_RELEASE,
};

struct holder;

/* A permit, or the wait for one: named by its holder and request_id. */
struct record {
    struct record *next, *previous;             /* in its queue, while it waits */
    struct record *holder_next, *holder_previous;
    struct holder *holder;
    uint64_t asked_ns;
    uint32_t request_id;
    uint8_t priority;
    bool held;
};

/* Whoever has records is watched. */
struct holder {
    struct actor_ref ref;
    struct record *records;
};

struct record_key {
    struct actor_ref holder;
    uint32_t request_id;
};

struct queue {
    struct record *first, *last;
};

struct semaphore {
    struct semaphore_config config;
    struct semaphore_stats stats;
    struct queue queues[PRIORITIES];
    struct table records; /* record_key to struct record */
    struct table holders; /* actor_ref to struct holder */
};

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    struct semaphore *semaphore = state;
    uint64_t seed;
    driver_entropy(worker_driver(context->worker), &seed, sizeof(seed));
    semaphore->config = *(const struct semaphore_config *)argument;
    /* One is left for the others, or they would wait for ever. */
    if (semaphore->config.permits && semaphore->config.reserved >= semaphore->config.permits)
        semaphore->config.reserved = semaphore->config.permits - 1;
    semaphore->stats.permits = semaphore->config.permits;
    table_init(&semaphore->records, sizeof(struct record_key), SEMAPHORE_HOLDERS_MAX + SEMAPHORE_WAITERS_MAX,
               seed);
    table_init(&semaphore->holders, sizeof(struct actor_ref), SEMAPHORE_HOLDERS_MAX, seed);
    return 0;
}

/* ---- records ----------------------------------------------------------- */

static void queue_append(struct queue *queue, struct record *record)
{
    record->next = NULL;
    record->previous = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = record;
    queue->last = record;
}

static void queue_remove(struct queue *queue, struct record *record)
{
    *(record->previous ? &record->previous->next : &queue->first) = record->next;
    *(record->next ? &record->next->previous : &queue->last) = record->previous;
}

static struct holder *holder_of(struct actor_context *context, struct semaphore *semaphore,
                                struct actor_ref ref)
{
    struct holder *holder = table_find_pointer(&semaphore->holders, &ref);
    if (holder)
        return holder;
    holder = calloc(1, sizeof(*holder));
    if (!holder || table_insert_pointer(&semaphore->holders, &ref, holder)) {
        free(holder);
        return NULL;
    }
    holder->ref = ref;
    actor_watch(context, ref);
    return holder;
}

static void holder_forget(struct actor_context *context, struct semaphore *semaphore, struct holder *holder,
                          bool alive)
{
    if (alive)
        actor_unwatch(context, holder->ref);
    table_remove(&semaphore->holders, &holder->ref, NULL);
    free(holder);
}

/* NULL when there is no room, or the name is taken. */
static struct record *record_new(struct actor_context *context, struct semaphore *semaphore,
                                 struct actor_ref ref, uint32_t request_id)
{
    struct record_key key = {ref, request_id};
    struct record *record = calloc(1, sizeof(*record));
    if (!record || table_insert_pointer(&semaphore->records, &key, record)) {
        free(record);
        return NULL;
    }
    struct holder *holder = holder_of(context, semaphore, ref);
    if (!holder) {
        table_remove(&semaphore->records, &key, NULL);
        free(record);
        return NULL;
    }
    record->holder = holder;
    record->request_id = request_id;
    record->asked_ns = context->now_ns;
    record->holder_next = holder->records;
    if (holder->records)
        holder->records->holder_previous = record;
    holder->records = record;
    return record;
}

/* The one place where a permit or a wait ends. */
static void record_free(struct semaphore *semaphore, struct record *record)
{
    struct record_key key = {record->holder->ref, record->request_id};
    if (record->held) {
        semaphore->stats.held--;
    } else {
        queue_remove(&semaphore->queues[record->priority], record);
        semaphore->stats.waiting--;
    }
    *(record->holder_previous ? &record->holder_previous->holder_next : &record->holder->records) =
        record->holder_next;
    if (record->holder_next)
        record->holder_next->holder_previous = record->holder_previous;
    table_remove(&semaphore->records, &key, NULL);
    free(record);
}

/* ---- granting ---------------------------------------------------------- */

static void answer(struct actor_context *context, struct actor_ref to, uint32_t request_id, uint16_t type,
                   uint64_t permits)
{
    struct message message = {.type = type, .request_id = request_id, .to = to, .body.u64[0] = permits};
    int error = actor_tell(context, &message);
    assert(!error);
}

static bool is_free(const struct semaphore *semaphore, unsigned priority)
{
    if (semaphore->config.permits == 0)
        return semaphore->stats.held < SEMAPHORE_HOLDERS_MAX;
    uint32_t reserved = priority == SEMAPHORE_PRIORITY_USER ? 0 : semaphore->config.reserved;
    return semaphore->stats.held + reserved < semaphore->config.permits;
}

static void grant(struct actor_context *context, struct semaphore *semaphore, struct record *record)
{
    queue_remove(&semaphore->queues[record->priority], record);
    semaphore->stats.waiting--;
    semaphore->stats.held++;
    semaphore->stats.granted++;
    semaphore->stats.waited_ns_total += context->now_ns - record->asked_ns;
    record->held = true;
    answer(context, record->holder->ref, record->request_id, MESSAGE_GRANT, 1);
}

static void pump(struct actor_context *context, void *state)
{
    struct semaphore *semaphore = state;
    for (unsigned priority = 0; priority < PRIORITIES; priority++)
        while (semaphore->queues[priority].first && is_free(semaphore, priority))
            grant(context, semaphore, semaphore->queues[priority].first);
}

/* ---- mail -------------------------------------------------------------- */

static void on_acquire(struct actor_context *context, struct semaphore *semaphore,
                       const struct message *message)
{
    struct record *record = NULL;
    if (semaphore->stats.waiting < SEMAPHORE_WAITERS_MAX)
        record = record_new(context, semaphore, message->from, message->request_id);
    if (!record) {
        semaphore->stats.refused++;
        answer(context, message->from, message->request_id, MESSAGE_GRANT, 0);
        return;
    }
    uint64_t priority = message->body.u64[0];
    record->priority = (uint8_t)(priority < PRIORITIES ? priority : PRIORITIES - 1);
    queue_append(&semaphore->queues[record->priority], record);
    semaphore->stats.waiting++;
}

static void on_release(struct actor_context *context, struct semaphore *semaphore,
                       const struct message *message)
{
    struct record_key key = {message->from, message->request_id};
    struct record *record = table_find_pointer(&semaphore->records, &key);
    if (!record)
        return;
    struct holder *holder = record->holder;
    bool waited = !record->held;
    record_free(semaphore, record);
    if (waited)
        answer(context, message->from, message->request_id, MESSAGE_GONE, 0);
    if (!holder->records)
        holder_forget(context, semaphore, holder, true);
}

/* Who cannot be watched counts as dead, but hears that it waits in vain. */
static void on_death(struct actor_context *context, struct semaphore *semaphore, const struct message *message)
{
    struct holder *holder = table_find_pointer(&semaphore->holders, &message->from);
    bool lives = message->body.i64[0] != 0;
    if (!holder)
        return;
    for (struct record *record = holder->records, *next; record; record = next) {
        next = record->holder_next;
        if (lives && !record->held) {
            semaphore->stats.refused++;
            answer(context, holder->ref, record->request_id, MESSAGE_GRANT, 0);
        }
        record_free(semaphore, record);
    }
    holder_forget(context, semaphore, holder, false);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct semaphore *semaphore = state;
    switch (message->type) {
    case SEMAPHORE_MSG_ACQUIRE:
        on_acquire(context, semaphore, message);
        break;
    case SEMAPHORE_MSG_RELEASE:
        on_release(context, semaphore, message);
        break;
    case MESSAGE_DEATH:
        on_death(context, semaphore, message);
        break;
    case MESSAGE_STOP:
        actor_exit(context);
        break;
    default:
        break;
    }
}

/* Those who wait hear of it, in their order. */
static void fini(struct actor_context *context, void *state)
{
    struct semaphore *semaphore = state;
    for (unsigned priority = 0; priority < PRIORITIES; priority++)
        for (struct record *record = semaphore->queues[priority].first; record; record = record->next)
            answer(context, record->holder->ref, record->request_id, MESSAGE_GONE, 0);
    size_t cursor = 0;
    uint64_t value;
    const void *key;
    while (table_next(&semaphore->records, &cursor, &key, &value))
        free((void *)(uintptr_t)value);
    cursor = 0;
    while (table_next(&semaphore->holders, &cursor, &key, &value))
        free((void *)(uintptr_t)value);
    table_fini(&semaphore->records);
    table_fini(&semaphore->holders);
}

static const struct actor_class semaphore_class = {
    .name = "semaphore",
    .state_bytes = sizeof(struct semaphore),
    .mail_max = SEMAPHORE_WAITERS_MAX,
    .init = on_init,
    .receive = receive,
    .pump = pump,
    .fini = fini,
};

int semaphore_spawn(struct worker *worker, struct actor_ref *ref, struct scope *scope,
                    const struct semaphore_config *config)
{
    return actor_spawn(worker, ref, &semaphore_class, scope, config);
}

/* A full mailbox is too many who wait. */
void semaphore_acquire(struct actor_context *context, struct actor_ref semaphore, uint32_t request_id,
                       enum semaphore_priority priority)
{
    struct message message = {
        .type = SEMAPHORE_MSG_ACQUIRE,
        .kind = MESSAGE_REQUEST,
        .request_id = request_id,
        .to = semaphore,
        .body.u64[0] = priority,
    };
    if (actor_tell(context, &message))
        answer(context, context->self, request_id, MESSAGE_GRANT, 0);
}

void semaphore_release(struct actor_context *context, struct actor_ref semaphore, uint32_t request_id)
{
    struct message message = {.type = SEMAPHORE_MSG_RELEASE, .request_id = request_id, .to = semaphore};
    int error = actor_tell(context, &message);
    assert(!error);
}

void semaphore_stats_read(struct worker *worker, struct actor_ref semaphore, struct semaphore_stats *out)
{
    const struct semaphore *state = actor_state(worker, semaphore, &semaphore_class);
    *out = state ? state->stats : (struct semaphore_stats){0};
}
