#include "runtime/mailbox.h"

#include "runtime/hand_over.h"
#include "runtime/log_line.h"

#include <ck_pr.h>
#include <ck_ring.h>
#include <ck_stack.h>

#include <stdlib.h>
#include <sys/mman.h>

CK_RING_PROTOTYPE(message, message)
CK_RING_PROTOTYPE(line, log_line)

struct lane {
    ck_ring_t ring;
    char back; /* TSan's: room handed back by the consumer */
    struct message slots[LANE_SLOTS] __attribute__((aligned(64)));
};

struct spool {
    ck_ring_t ring;
    char back;
    struct log_line slots[SPOOL_SLOTS] __attribute__((aligned(64)));
};

/* Mapped, not allocated: pages that no message has reached cost nothing. */
static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

struct lane *lane_new(void)
{
    struct lane *lane = map(sizeof(*lane));
    if (lane)
        ck_ring_init(&lane->ring, LANE_SLOTS);
    return lane;
}

void lane_free(struct lane *lane)
{
    if (lane)
        munmap(lane, sizeof(*lane));
}

bool lane_push(struct lane *lane, const struct message *message)
{
    take_over(&lane->back);
    hand_over(lane);
    return ck_ring_enqueue_spsc_message(&lane->ring, lane->slots, (struct message *)message);
}

unsigned lane_size(const struct lane *lane)
{
    return ck_ring_size(&lane->ring);
}

bool lane_pop(struct lane *lane, struct message *out)
{
    if (!ck_ring_dequeue_spsc_message(&lane->ring, lane->slots, out))
        return false;
    take_over(lane);
    hand_over(&lane->back);
    return true;
}

_Static_assert(sizeof(struct mail_link) == sizeof(struct ck_stack_entry), "a link is ConcurrencyKit's entry");
_Static_assert(sizeof(struct mail_stack) == sizeof(struct ck_stack), "a stack is ConcurrencyKit's");

void mail_stack_push(struct mail_stack *stack, struct mail_link *link)
{
    hand_over(stack);
    ck_stack_push_mpmc((struct ck_stack *)stack, (struct ck_stack_entry *)link);
}

struct mail_link *mail_stack_pop(struct mail_stack *stack)
{
    struct mail_link *link = (struct mail_link *)ck_stack_pop_mpmc((struct ck_stack *)stack);
    take_over(stack);
    return link;
}

struct mail_link *mail_stack_take(struct mail_stack *stack)
{
    if (mail_stack_is_empty(stack))
        return NULL;
    struct mail_link *link = (struct mail_link *)ck_stack_batch_pop_mpmc((struct ck_stack *)stack);
    take_over(stack);
    struct mail_link *oldest = NULL;
    while (link) {
        struct mail_link *next = link->next;
        link->next = oldest;
        oldest = link;
        link = next;
    }
    return oldest;
}

bool mail_stack_is_empty(const struct mail_stack *stack)
{
    return ck_pr_load_ptr(&stack->head) == NULL;
}

struct spool *spool_new(void)
{
    struct spool *spool = map(sizeof(*spool));
    if (spool)
        ck_ring_init(&spool->ring, SPOOL_SLOTS);
    return spool;
}

void spool_free(struct spool *spool)
{
    if (spool)
        munmap(spool, sizeof(*spool));
}

struct log_line *spool_reserve(struct spool *spool)
{
    take_over(&spool->back);
    return ck_ring_enqueue_reserve_spsc_line(&spool->ring, spool->slots);
}

void spool_commit(struct spool *spool)
{
    hand_over(spool);
    ck_ring_enqueue_commit_spsc(&spool->ring);
}

bool spool_take(struct spool *spool, struct log_line *out)
{
    take_over(spool);
    if (!ck_ring_dequeue_spsc_line(&spool->ring, spool->slots, out))
        return false;
    take_over(spool);
    hand_over(&spool->back);
    return true;
}

bool spool_is_empty(const struct spool *spool)
{
    return ck_ring_size(&spool->ring) == 0;
}

void mailbox_fence(void)
{
    ck_pr_fence_memory();
}
