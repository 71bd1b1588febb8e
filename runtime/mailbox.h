#ifndef RUNTIME_MAILBOX_H
#define RUNTIME_MAILBOX_H

#include "runtime/message.h"

/* The queues between threads: the only door to ConcurrencyKit's rings and
 * stacks.  It is compiled without ThreadSanitizer's instrumentation, which does
 * not see ConcurrencyKit's fences, and announces each hand-over itself. */

struct log_line;

/* A lane: a bounded queue of messages by value, from one worker to one other
 * (ck_ring, one producer, one consumer). */
struct lane;

enum mailbox_limits {
    LANE_SLOTS = 4096, /* a power of two; one stays empty */
    SPOOL_SLOTS = 1024,
};

struct lane *lane_new(void); /* NULL when memory is out */
void lane_free(struct lane *lane);
/* The producer: false when it is full. */
bool lane_push(struct lane *lane, const struct message *message);
/* Messages waiting: exact for the consumer as a lower bound, for the producer
 * as an upper one. */
unsigned lane_size(const struct lane *lane);
/* The consumer: false when it is empty. */
bool lane_pop(struct lane *lane, struct message *out);

/* A stack that any thread pushes on and one thread takes as a whole. */
struct mail_link {
    struct mail_link *next;
};

struct mail_stack {
    struct mail_link *head;
    void *generation; /* ConcurrencyKit's, against the reuse of a link while it is popped */
} __attribute__((aligned(16)));

void mail_stack_push(struct mail_stack *stack, struct mail_link *link);
/* One link, by any thread, or NULL. */
struct mail_link *mail_stack_pop(struct mail_stack *stack);
/* All that is there, the oldest first, or NULL.  One thread only. */
struct mail_link *mail_stack_take(struct mail_stack *stack);
bool mail_stack_is_empty(const struct mail_stack *stack);

/* A spool: the log lines of one producer to the log thread (ck_ring by value).
 * Reserve, fill, commit. */
struct spool;

struct spool *spool_new(void);
void spool_free(struct spool *spool);
struct log_line *spool_reserve(struct spool *spool); /* NULL when it is full */
void spool_commit(struct spool *spool);
bool spool_take(struct spool *spool, struct log_line *out);
bool spool_is_empty(const struct spool *spool);

/* A full fence: what was pushed is visible before what is loaded next.  Pairs
 * with the one between a worker's store of `sleeping` and its last look. */
void mailbox_fence(void);

#endif
