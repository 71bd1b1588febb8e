#ifndef RUNTIME_ACTOR_H
#define RUNTIME_ACTOR_H

#include "runtime/message.h"

/* Actors: state that only its own worker touches, reached by messages.  An
 * actor is pinned to the worker that spawned it.  A turn gives it one bounded
 * batch of messages, each to `receive`, and then one call of `pump`; what other
 * actors send it in the same turn comes in a further visit, as long as the
 * batch is not used up.  Handlers only feed; `pump` drains.  Nothing blocks. */

enum actor_limits {
    ACTOR_BATCH_MESSAGES_MAX = 64, /* "Fair turns": what one actor may take in a turn */
    ACTOR_WORKERS_MAX = 64,        /* eight bits of a slot, and lanes are per ordered pair */
    ACTOR_SLOTS_MAX = 1 << 24,     /* per worker: the rest of a slot's bits */
    ACTOR_SLOT_BYTES = 64,         /* what an actor costs beside its state (and 16 B for its timer's place) */
    ACTOR_MAIL_MAX = 65535,        /* bound of mail_max */
};

struct worker;
struct scope;

/* What a handler is given.  Valid during the call only. */
struct actor_context {
    struct worker *worker;
    struct scope *scope; /* the node this actor belongs to */
    struct actor_ref self;
    uint64_t now_ns; /* monotonic, of this turn */
};

struct actor_class {
    const char *name;
    uint32_t state_bytes;
    uint32_t mail_max; /* data and requests that may wait (<= ACTOR_MAIL_MAX); control always has room */
    /* Fills zeroed state.  0, or an error: then the actor was never there. */
    int (*init)(struct actor_context *context, void *state, const void *argument);
    /* One message.  Takes the buffer by setting message->buffer to NULL. */
    void (*receive)(struct actor_context *context, void *state, struct message *message);
    /* After each batch, and after actor_wake().  May be NULL. */
    void (*pump)(struct actor_context *context, void *state);
    /* The last call, with no message left: frees what the state owns.  May be
     * NULL.  Mail to self has no receiver any more. */
    void (*fini)(struct actor_context *context, void *state);
};

/* Spawns on the calling worker.  `argument` is passed to init, and not kept.
 * Returns 0 with *ref set, P2P_ERR_CALL_NOMEM, or what init returned. */
int actor_spawn(struct worker *worker, struct actor_ref *ref, const struct actor_class *actor_class,
                struct scope *scope, const void *argument);

/* Spawns on any worker of the runtime, by message: init gets `argument` NULL,
 * and `message` (type MESSAGE_START, buffer and body the caller's) is the first
 * that the new actor receives, its `from` the caller.  When it cannot be
 * spawned, MESSAGE_GONE with the request_id comes back. */
void actor_spawn_on(struct actor_context *context, unsigned worker_index,
                    const struct actor_class *actor_class, struct scope *scope, struct message *message);

/* Sends a copy of *message to message->to; `from` is set to self.  The buffer
 * reference is given away, whatever is returned, unless it is
 * P2P_ERR_CALL_FULL (only DATA and REQUEST): then it stays the caller's, and
 * the caller's `pump` runs when there may be room again.  A dead receiver is not
 * an error: a request is answered by MESSAGE_GONE. */
int actor_tell(struct actor_context *context, struct message *message);

/* Answers `request`: same request_id, to its sender, as CONTROL.  Cannot fail.  A
 * request that was delivered is the receiver's to answer, also when it exits. */
void actor_answer(struct actor_context *context, const struct message *request, struct message *answer);

/* Ends the calling actor after this handler: waiting mail dies (GONE, unref),
 * watchers hear of it, fini runs.  Sockets must have been closed before. */
void actor_exit(struct actor_context *context);

/* Has `pump` run in this turn (or the next, if this actor had its batch), with
 * or without mail.  For calls made on the worker from outside the actor; an actor
 * that wakes itself from its pump is asking for the next turn. */
void actor_wake(struct worker *worker, struct actor_ref ref);

/* MESSAGE_DEATH comes from `target` when it dies, or at once if it is dead: one
 * for each watch, so keep one watch a pair.  Unwatch may cross a death already
 * on its way.  When memory is out it comes at once, too, with body.i64[0]
 * P2P_ERR_CALL_NOMEM (else 0): the target may live, but nobody would tell of its
 * end, and the watcher does without it as if it were dead. */
void actor_watch(struct actor_context *context, struct actor_ref target);
void actor_unwatch(struct actor_context *context, struct actor_ref target);

/* The one timer of an actor: MESSAGE_TIMER comes in the first turn at or after
 * `deadline_ns`.  Setting it again moves it; UINT64_MAX takes it away.  A later
 * deadline costs a store only. */
void actor_deadline(struct actor_context *context, uint64_t deadline_ns);

/* The state of a live actor of that class on the calling worker, or NULL. */
void *actor_state(struct worker *worker, struct actor_ref ref, const struct actor_class *actor_class);

/* A context to act as `ref` on its own worker, outside a turn of its own (a
 * function call by the application on the owning worker).  The scope is NULL
 * when it is dead. */
struct actor_context actor_context_of(struct worker *worker, struct actor_ref ref);

#endif
