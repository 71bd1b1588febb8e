#ifndef RUNTIME_MESSAGE_H
#define RUNTIME_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer;

/* A reference to an actor: slot and generation.  Mail to a reference whose
 * actor has died is never delivered to the slot's next tenant.  The worker is
 * in the slot's top eight bits.  Generation 0 names nobody. */
struct actor_ref {
    uint32_t slot;
    uint32_t generation;
};

static inline bool actor_ref_is_none(struct actor_ref ref)
{
    return ref.generation == 0;
}

static inline bool actor_ref_equal(struct actor_ref a, struct actor_ref b)
{
    return a.slot == b.slot && a.generation == b.generation;
}

static inline unsigned actor_ref_worker(struct actor_ref ref)
{
    return ref.slot >> 24;
}

/* The types every actor knows.  An actor's own enum starts at MESSAGE_OWN. */
enum message_type {
    MESSAGE_NONE = 0,
    MESSAGE_START,        /* the first of an actor spawned from another worker: body is the spawner's */
    MESSAGE_STOP,         /* please stop in order; body.u64[0] is a reason of the sender's */
    MESSAGE_TIMER,        /* the deadline set by actor_deadline() has passed */
    MESSAGE_DEATH,        /* `from` has died, or cannot be watched; sent to those who asked by actor_watch() */
    MESSAGE_GONE,         /* the answer to a request that died before it was delivered; `from` is the dead */
    MESSAGE_GRANT,        /* a semaphore's answer: body.u64[0] permits */
    MESSAGE_OFFLOADED,    /* an offload job is done: body is the job's result */
    MESSAGE_IO_ACCEPTED,  /* body.i64[0] result: a socket, or -errno;  body.i64[1] the listening socket */
    MESSAGE_IO_CONNECTED, /* body.i64[0] result: 0 or -errno;  body.i64[1] the socket */
    MESSAGE_IO_RECEIVED,  /* body.i64[0] bytes (0: the end) or -errno;  body.i64[1] the socket; the buffer */
    MESSAGE_IO_SENT,      /* body.i64[0] bytes taken, or -errno;  body.i64[1] the socket */
    MESSAGE_IO_READY,     /* body.i64[0] poll events, or -errno;  body.i64[1] the descriptor watched */
    MESSAGE_OWN = 32,
};

/* What may happen to a message when a queue is full. */
enum message_kind {
    MESSAGE_CONTROL = 0, /* reserved room: cannot fail (start, stop, grant, answer, death, I/O) */
    MESSAGE_DATA = 1,    /* may be refused with P2P_ERR_CALL_FULL */
    MESSAGE_REQUEST = 2, /* may be refused; once admitted its answer has room.  Dies with GONE to `from` */
};

/* One fixed slot, one cache line.  Anything larger travels as a buffer, whose
 * reference belongs to the message and moves with it; a receiver that keeps the
 * buffer sets `buffer` to NULL, else the runtime unrefs it after the handler. */
struct message {
    uint16_t type;
    uint8_t kind;
    uint8_t flags;       /* the sender's own */
    uint32_t request_id; /* an answer repeats its request's */
    struct actor_ref to;
    struct actor_ref from;
    struct buffer *buffer;
    uint32_t offset; /* of the bytes meant, inside the buffer */
    uint32_t length;
    union {
        uint64_t u64[3];
        int64_t i64[3];
        uint32_t u32[6];
        const void *pointer[3];
        uint8_t bytes[24];
    } body;
};

#ifdef __cplusplus
static_assert(sizeof(struct message) == 64, "a message is one cache line");
#else
_Static_assert(sizeof(struct message) == 64, "a message is one cache line");
#endif

#endif
