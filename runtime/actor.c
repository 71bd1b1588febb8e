#include "runtime/inner.h"
#include "runtime/probe.h"

#include "chorus/p2p.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    SLOT_INDEX_MASK = ACTOR_SLOTS_MAX - 1,
    BLOCK_SHIFT = 8, /* slots of a block, as a power of two */
    CLOCK_VISITS = 16, /* the clock of a long turn is read each so many visits */
};

_Static_assert(1 << BLOCK_SHIFT == ACTOR_BLOCK_SLOTS, "a block's slots");
_Static_assert(ACTOR_SLOT_BYTES == sizeof(struct actor_slot), "what the header says of a slot");
_Static_assert(ACTOR_BATCH_MESSAGES_MAX <= UINT8_MAX, "`taken` counts a batch");
_Static_assert(ACTOR_MAIL_MAX == UINT16_MAX, "`mail_count` counts it");

/* ---- slots ------------------------------------------------------------- */

int actors_init(struct worker *worker)
{
    timers_init(&worker->timers);
    worker->slab = slab_new();
    void *table = mmap(NULL, ACTOR_BLOCKS_MAX * sizeof(void *), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    worker->blocks = table == MAP_FAILED ? NULL : table;
    worker->watch_count = 1; /* index 0 is nobody */
    return reserve_init(&worker->reserve) || !worker->slab || !worker->blocks ? P2P_ERR_CALL_NOMEM : 0;
}

void actors_fini(struct worker *worker)
{
    timers_fini(&worker->timers);
    free(worker->watches);
    free(worker->refused.refs);
    if (worker->blocks)
        munmap(worker->blocks, ACTOR_BLOCKS_MAX * sizeof(void *));
    slab_free(worker->slab);
    reserve_fini(&worker->reserve);
}

/* Acquire pairs with the release in block_add(). */
static struct actor_slot *slot_at(const struct worker *worker, uint32_t index)
{
    struct actor_block *block = __atomic_load_n(&worker->blocks[index >> BLOCK_SHIFT], __ATOMIC_ACQUIRE);
    return block ? (struct actor_slot *)block + (index & (ACTOR_BLOCK_SLOTS - 1)) : NULL;
}

static uint32_t slot_index(const struct actor_slot *actor)
{
    struct actor_block *block = (struct actor_block *)((uintptr_t)actor & ~(uintptr_t)(SLAB_BLOCK_BYTES - 1));
    return block->base + (uint32_t)(actor - (struct actor_slot *)block);
}

static struct actor_ref ref_of(const struct worker *worker, const struct actor_slot *actor)
{
    return (struct actor_ref){(uint32_t)worker->index << 24 | slot_index(actor), actor->generation};
}

struct actor_slot *actor_find(struct worker *worker, struct actor_ref ref)
{
    struct actor_slot *actor = slot_at(worker, ref.slot & SLOT_INDEX_MASK);
    return actor && actor->generation == ref.generation && actor->actor_class ? actor : NULL;
}

bool actor_lives(const struct worker *home, struct actor_ref ref)
{
    struct actor_slot *actor = slot_at(home, ref.slot & SLOT_INDEX_MASK);
    return actor && __atomic_load_n(&actor->generation, __ATOMIC_RELAXED) == ref.generation;
}

static void list_append(struct worker *worker, struct index_list *list, struct actor_slot *actor)
{
    uint32_t index = slot_index(actor);
    actor->ready_next = 0;
    if (list->last)
        slot_at(worker, list->last)->ready_next = index;
    else
        list->first = index;
    list->last = index;
}

static struct actor_slot *list_take(struct worker *worker, struct index_list *list)
{
    if (!list->first)
        return NULL;
    struct actor_slot *actor = slot_at(worker, list->first);
    list->first = actor->ready_next;
    if (!list->first)
        list->last = 0;
    return actor;
}

static int block_add(struct worker *worker)
{
    struct actor_block *block = worker->block_count < ACTOR_BLOCKS_MAX ? slab_block(worker->slab) : NULL;
    if (!block)
        return P2P_ERR_CALL_NOMEM;
    block->base = worker->block_count << BLOCK_SHIFT;
    /* Release: another worker that looks at a generation sees the block zeroed. */
    __atomic_store_n(&worker->blocks[worker->block_count++], block, __ATOMIC_RELEASE);
    struct actor_slot *slots = (struct actor_slot *)block;
    for (unsigned i = 1; i < ACTOR_BLOCK_SLOTS; i++) {
        slots[i].generation = 1;
        list_append(worker, &worker->unused, &slots[i]);
    }
    return 0;
}

/* The slot that was free the longest: generations wrap as late as can be. */
static struct actor_slot *slot_take(struct worker *worker)
{
    if (!worker->unused.first && block_add(worker))
        return NULL;
    if (timers_reserve(&worker->timers))
        return NULL;
    return list_take(worker, &worker->unused);
}

static void set_generation(struct actor_slot *actor, uint32_t generation)
{
    __atomic_store_n(&actor->generation, generation ? generation : 1, __ATOMIC_RELAXED);
}

/* ---- mail -------------------------------------------------------------- */

static int mail_grow(struct worker *worker)
{
    struct mail_slot *slots = slab_block(worker->slab);
    if (!slots)
        return P2P_ERR_CALL_NOMEM;
    for (unsigned i = SLAB_BLOCK_BYTES / sizeof(*slots); i-- > 0;)
        mail_slot_free(worker, &slots[i]);
    return 0;
}

struct mail_slot *mail_slot_new(struct worker *worker, uint32_t kept)
{
    if (!worker->mail_free && mail_grow(worker))
        return reserve_take(&worker->reserve, kept);
    struct mail_slot *slot = worker->mail_free;
    worker->mail_free = slot->link.next;
    return slot;
}

void mail_slot_free(struct worker *worker, struct mail_slot *slot)
{
    if (worker->reserve.taken > 0 && reserve_give(&worker->reserve, slot))
        return;
    slot->link.next = worker->mail_free;
    worker->mail_free = slot;
}

static void make_ready(struct worker *worker, struct actor_slot *actor)
{
    if (actor->flags & ACTOR_READY)
        return;
    actor->flags |= ACTOR_READY;
    list_append(worker, &worker->ready, actor);
    /* A host may be waiting for a runtime without threads. */
    if (!worker->in_turn)
        worker_rouse(worker);
}

static void enqueue(struct worker *worker, struct actor_slot *actor, struct mail_slot *slot)
{
    if (actor->mail) {
        slot->link.next = actor->mail->link.next;
        actor->mail->link.next = slot;
    } else {
        slot->link.next = slot;
    }
    actor->mail = slot;
    make_ready(worker, actor);
}

static struct mail_slot *dequeue(struct actor_slot *actor)
{
    struct mail_slot *oldest = actor->mail->link.next;
    if (oldest == actor->mail)
        actor->mail = NULL;
    else
        actor->mail->link.next = oldest->link.next;
    if (oldest->message.kind != MESSAGE_CONTROL)
        actor->mail_count--;
    return oldest;
}

int actor_deliver(struct worker *worker, struct message *message)
{
    struct actor_slot *actor = actor_find(worker, message->to);
    if (!actor) {
        actor_bury(worker, NULL, message);
        return 0;
    }
    bool control = message->kind == MESSAGE_CONTROL;
    bool room = control || actor->mail_count < actor->actor_class->mail_max;
    struct mail_slot *slot = room ? mail_slot_new(worker, control ? 0 : RESERVE_UNITS) : NULL;
    if (!slot) {
        assert(!control); /* thousands of them, and no memory: there is no way to go on */
        worker->stats.refused++;
        return P2P_ERR_CALL_FULL;
    }
    actor->mail_count += !control;
    slot->message = *message;
    enqueue(worker, actor, slot);
    return 0;
}

/* An empty mailbox always takes one, so that a lane never stops for good. */
static bool has_room(const struct actor_slot *actor)
{
    return actor->mail_count == 0 || actor->mail_count < actor->actor_class->mail_max;
}

bool actor_accept(struct worker *worker, struct mail_slot *slot)
{
    struct actor_slot *actor = actor_find(worker, slot->message.to);
    if (!actor) {
        actor_bury(worker, NULL, &slot->message);
        mail_slot_free(worker, slot);
        return true;
    }
    if (slot->message.kind != MESSAGE_CONTROL) {
        if (!has_room(actor))
            return false;
        actor->mail_count++;
    }
    enqueue(worker, actor, slot);
    return true;
}

static void answer_gone(struct worker *worker, struct actor_ref to, struct actor_ref from,
                        uint32_t request_id)
{
    if (actor_ref_is_none(to))
        return;
    struct message gone = {.type = MESSAGE_GONE, .request_id = request_id, .to = to, .from = from};
    worker_send(worker, &gone);
}

void actor_bury(struct worker *worker, struct scope *scope, struct message *message)
{
    worker->stats.dropped++;
    if (scope)
        __atomic_fetch_add(&scope->dropped, 1, __ATOMIC_RELAXED);
    if (message->type == MESSAGE_IO_ACCEPTED && message->body.i64[0] >= 0 && worker->driver)
        driver_close_socket(worker->driver, (int)message->body.i64[0], DRIVER_CLOSE_RESET);
    if (message->type == MESSAGE_OFFLOADED)
        offload_settle(worker, message, false);
    buffer_unref(message->buffer);
    message->buffer = NULL;
    if (message->kind == MESSAGE_REQUEST)
        answer_gone(worker, message->from, message->to, message->request_id);
}

/* When the list cannot grow the sender is not told, and tries again when it
 * next runs. */
static void ref_list_add(struct ref_list *list, struct actor_ref ref)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct actor_ref *refs = realloc(list->refs, capacity * sizeof(*refs));
        if (!refs)
            return;
        list->refs = refs;
        list->capacity = capacity;
    }
    list->refs[list->count++] = ref;
}

/* Notes who is to be woken when there may be room. */
static void refuse(struct worker *worker, struct actor_ref sender, struct ref_list *list)
{
    struct actor_slot *actor = actor_find(worker, sender);
    if (actor && !(actor->flags & ACTOR_REFUSED)) {
        actor->flags |= ACTOR_REFUSED;
        ref_list_add(list, sender);
    }
}

int actor_tell(struct actor_context *context, struct message *message)
{
    struct worker *worker = context->worker;
    message->from = context->self;
    int error = worker_send(worker, message);
    if (error) {
        unsigned target = actor_ref_worker(message->to);
        bool here = target == worker->index;
        refuse(worker, context->self, here ? &worker->refused : &worker->outlets[target].refused);
    }
    return error;
}

void actor_answer(struct actor_context *context, const struct message *request, struct message *answer)
{
    answer->kind = MESSAGE_CONTROL;
    answer->request_id = request->request_id;
    answer->to = request->from;
    answer->from = context->self;
    int error = worker_send(context->worker, answer);
    assert(!error);
}

void ref_list_wake(struct worker *worker, struct ref_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        struct actor_slot *actor = actor_find(worker, list->refs[i]);
        if (!actor)
            continue;
        actor->flags &= (uint8_t)~ACTOR_REFUSED;
        actor_wake(worker, list->refs[i]);
    }
    list->count = 0;
}

/* ---- life -------------------------------------------------------------- */

static struct actor_context context_of(struct worker *worker, struct actor_slot *actor)
{
    return (struct actor_context){worker, actor->scope, ref_of(worker, actor), worker->now_ns};
}

/* The reference dies first: whatever is sent to it from here on is buried. */
static void die(struct worker *worker, struct actor_slot *actor, bool fini)
{
    struct actor_context context = context_of(worker, actor);
    const struct actor_class *actor_class = actor->actor_class;
    set_generation(actor, actor->generation + 1);
    timers_release(&worker->timers, &actor->timer);
    while (actor->mail) {
        struct mail_slot *slot = dequeue(actor);
        slot->message.to = context.self;
        actor_bury(worker, actor->scope, &slot->message);
        mail_slot_free(worker, slot);
    }
    if (fini && actor_class->fini)
        actor_class->fini(&context, actor->state);
    worker_note(worker, "exit", context.self.slot, actor_class->name);
    watch_tell(worker, actor->watchers, context.self);
    slab_give(worker->slab, actor->state, actor_class->state_bytes);
    actor->watchers = 0;
    actor->mail_count = 0;
    actor->flags = actor->taken = 0;
    actor->actor_class = NULL;
    actor->scope = NULL;
    actor->state = NULL;
    list_append(worker, &worker->unused, actor);
    /* Release: whoever sees the scope without actors sees all that they did, and
     * the scope is not touched after this. */
    __atomic_fetch_sub(&context.scope->live, 1, __ATOMIC_RELEASE);
}

/* The scope has counted it already. */
static int spawn(struct worker *worker, struct actor_ref *ref, const struct actor_class *actor_class,
                 struct scope *scope, const void *argument)
{
    assert(actor_class->mail_max <= ACTOR_MAIL_MAX);
    void *state = slab_take(worker->slab, actor_class->state_bytes);
    struct actor_slot *actor = state ? slot_take(worker) : NULL;
    if (!actor) {
        if (state)
            slab_give(worker->slab, state, actor_class->state_bytes);
        __atomic_fetch_sub(&scope->live, 1, __ATOMIC_RELEASE);
        return P2P_ERR_CALL_NOMEM;
    }
    timer_init(&actor->timer);
    actor->actor_class = actor_class;
    actor->scope = scope;
    actor->state = state;
    struct actor_context context = context_of(worker, actor);
    *ref = context.self;
    actor->flags = ACTOR_READY; /* it runs only when init has returned */
    int error = actor_class->init ? actor_class->init(&context, state, argument) : 0;
    if (error) {
        die(worker, actor, false);
        return error;
    }
    worker_note(worker, "spawn", ref->slot, actor_class->name);
    bool ready = actor->mail || actor->flags != ACTOR_READY;
    actor->flags &= (uint8_t)~ACTOR_READY;
    if (ready)
        make_ready(worker, actor);
    return 0;
}

int actor_spawn(struct worker *worker, struct actor_ref *ref, const struct actor_class *actor_class,
                struct scope *scope, const void *argument)
{
    assert(scope);
    __atomic_fetch_add(&scope->live, 1, __ATOMIC_RELAXED);
    return spawn(worker, ref, actor_class, scope, argument);
}

/* Counts the actor in its scope at once, so that nobody finds the scope empty
 * while a spawn is on its way. */
static struct spawn *spawn_new(const struct actor_class *actor_class, struct scope *scope,
                               const struct message *message)
{
    struct spawn *record = malloc(sizeof(*record));
    if (!record)
        return NULL;
    *record = (struct spawn){actor_class, scope, *message};
    record->message.type = MESSAGE_START;
    record->message.kind = MESSAGE_CONTROL;
    __atomic_fetch_add(&scope->live, 1, __ATOMIC_RELAXED);
    return record;
}

static struct message spawn_message(unsigned worker_index, struct spawn *record)
{
    struct message message = {.type = INNER_SPAWN, .to = {(uint32_t)worker_index << 24, 1}};
    message.body.pointer[0] = record;
    return message;
}

void actor_spawn_on(struct actor_context *context, unsigned worker_index,
                    const struct actor_class *actor_class, struct scope *scope, struct message *message)
{
    message->from = context->self;
    struct spawn *record = spawn_new(actor_class, scope, message);
    if (!record) {
        buffer_unref(message->buffer);
        answer_gone(context->worker, message->from, (struct actor_ref){0}, message->request_id);
        return;
    }
    struct message carrier = spawn_message(worker_index, record);
    worker_send(context->worker, &carrier);
}

int runtime_spawn(struct runtime *runtime, unsigned worker_index, const struct actor_class *actor_class,
                  struct scope *scope, struct message *message)
{
    struct spawn *record = spawn_new(actor_class, scope, message);
    if (!record) {
        buffer_unref(message->buffer);
        return P2P_ERR_CALL_NOMEM;
    }
    struct message carrier = spawn_message(worker_index, record);
    return runtime_post(runtime, &carrier);
}

static void spawn_take(struct worker *worker, struct spawn *record)
{
    struct message message = record->message;
    struct actor_ref ref;
    int error = spawn(worker, &ref, record->actor_class, record->scope, NULL);
    free(record);
    if (error) {
        buffer_unref(message.buffer);
        answer_gone(worker, message.from, (struct actor_ref){0}, message.request_id);
        return;
    }
    message.to = ref;
    actor_deliver(worker, &message);
}

void actor_inner(struct worker *worker, struct message *message)
{
    if (message->type == INNER_SPAWN)
        spawn_take(worker, (struct spawn *)message->body.pointer[0]);
    else if (message->type == INNER_WATCH)
        watch_add(worker, message->to, message->from);
    else
        watch_remove(worker, message->to, message->from);
}

void actor_exit(struct actor_context *context)
{
    struct actor_slot *actor = actor_find(context->worker, context->self);
    if (!actor)
        return;
    actor->flags |= ACTOR_EXITING;
    make_ready(context->worker, actor);
}

void actor_wake(struct worker *worker, struct actor_ref ref)
{
    struct actor_slot *actor = actor_find(worker, ref);
    if (!actor)
        return;
    actor->flags |= actor == worker->running ? ACTOR_LATER : ACTOR_WOKEN;
    make_ready(worker, actor);
}

void actor_deadline(struct actor_context *context, uint64_t deadline_ns)
{
    struct worker *worker = context->worker;
    struct actor_slot *actor = actor_find(worker, context->self);
    if (!actor)
        return;
    actor->flags &= (uint8_t)~ACTOR_TIMER_DUE;
    timers_arm(&worker->timers, &actor->timer, deadline_ns);
    if (!worker->in_turn)
        worker_rouse(worker);
}

void *actor_state(struct worker *worker, struct actor_ref ref, const struct actor_class *actor_class)
{
    struct actor_slot *actor = actor_find(worker, ref);
    return actor && actor->actor_class == actor_class ? actor->state : NULL;
}

struct actor_context actor_context_of(struct worker *worker, struct actor_ref ref)
{
    struct actor_slot *actor = actor_find(worker, ref);
    if (!worker->in_turn)
        worker->now_ns = driver_now_ns(worker->driver);
    return (struct actor_context){worker, actor ? actor->scope : NULL, ref, worker->now_ns};
}

/* ---- a turn ------------------------------------------------------------ */

void actor_fire_timers(struct worker *worker)
{
    struct timer *timer;
    while ((timer = timers_due(&worker->timers, worker->now_ns))) {
        struct actor_slot *actor = (struct actor_slot *)timer;
        actor->flags |= ACTOR_TIMER_DUE;
        make_ready(worker, actor);
    }
}

static void receive(struct actor_context *context, struct actor_slot *actor, struct message *message)
{
    message->to = context->self;
    actor->actor_class->receive(context, actor->state, message);
    if (message->type == MESSAGE_OFFLOADED)
        offload_settle(context->worker, message, true);
    if (message->buffer)
        buffer_unref(message->buffer);
    actor->taken++;
    context->worker->stats.messages++;
}

static void receive_mail(struct actor_context *context, struct actor_slot *actor)
{
    while (actor->mail && actor->taken < ACTOR_BATCH_MESSAGES_MAX && !(actor->flags & ACTOR_EXITING)) {
        struct mail_slot *slot = dequeue(actor);
        receive(context, actor, &slot->message);
        mail_slot_free(context->worker, slot);
    }
}

/* The timer comes after the mail: what arrived in time may have moved it. */
static void receive_timer(struct actor_context *context, struct actor_slot *actor)
{
    if ((actor->flags & (ACTOR_TIMER_DUE | ACTOR_EXITING)) != ACTOR_TIMER_DUE)
        return;
    actor->flags &= (uint8_t)~ACTOR_TIMER_DUE;
    struct message message = {.type = MESSAGE_TIMER};
    receive(context, actor, &message);
}

static void put_back(struct worker *worker, struct actor_slot *actor)
{
    if (actor->flags & ACTOR_LATER) {
        actor->flags = (uint8_t)((actor->flags & ~ACTOR_LATER) | ACTOR_WOKEN);
        list_append(worker, &worker->again, actor);
    } else if (actor->mail || actor->flags & (ACTOR_WOKEN | ACTOR_TIMER_DUE)) {
        list_append(worker, actor->taken < ACTOR_BATCH_MESSAGES_MAX ? &worker->ready : &worker->again, actor);
    } else {
        actor->flags &= (uint8_t)~ACTOR_READY;
    }
}

static void visit(struct worker *worker, struct actor_slot *actor)
{
    struct actor_context context = context_of(worker, actor);
    worker->running = actor;
    receive_mail(&context, actor);
    receive_timer(&context, actor);
    actor->flags &= (uint8_t)~(ACTOR_WOKEN | ACTOR_LATER); /* this is the pump that was asked for */
    if (actor->actor_class->pump && !(actor->flags & ACTOR_EXITING))
        actor->actor_class->pump(&context, actor->state);
    if (actor->taken < ACTOR_BATCH_MESSAGES_MAX)
        actor->taken++; /* a visit counts, so that two that wake each other come to an end */
    if (actor->flags & ACTOR_EXITING)
        die(worker, actor, true);
    else
        put_back(worker, actor);
    worker->running = NULL;
}

/* A batch is of one turn.  Who rests for just 256 turns may find the old count
 * still there, and has a shorter one. */
static bool has_batch(const struct worker *worker, struct actor_slot *actor)
{
    if (actor->turn != (uint8_t)worker->turn) {
        actor->turn = (uint8_t)worker->turn;
        actor->taken = 0;
    }
    return actor->taken < ACTOR_BATCH_MESSAGES_MAX;
}

unsigned actor_run(struct worker *worker)
{
    unsigned visits = 0;
    struct actor_slot *actor;
    while ((actor = list_take(worker, &worker->ready))) {
        if (!has_batch(worker, actor) && !(actor->flags & ACTOR_EXITING)) {
            list_append(worker, &worker->again, actor);
            continue;
        }
        visit(worker, actor);
        visits++;
        worker_flush_wakes(worker);
        if (visits % CLOCK_VISITS == 0 && driver_now_ns(worker->driver) - worker->now_ns > WORKER_TURN_NS_MAX)
            break;
    }
    worker->stats.visits += visits;
    return visits;
}

void actor_rearrange(struct worker *worker)
{
    struct actor_slot *actor;
    while ((actor = list_take(worker, &worker->again)))
        list_append(worker, &worker->ready, actor);
}
