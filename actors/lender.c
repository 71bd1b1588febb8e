#include "actors/lender.h"

#include <stdlib.h>

struct lender {
    uint32_t holders;       /* atomic: the node, and each buffer */
    unsigned pool_count;
    pthread_mutex_t lock;
    struct p2p_node *node;  /* under the lock; NULL: it has gone */
    struct buffer_pool *pools[];
};

struct lender *lender_new(struct p2p_node *node)
{
    unsigned count = runtime_workers(node->runtime);
    struct lender *lender = calloc(1, sizeof(*lender) + count * sizeof(*lender->pools));

    if (lender == NULL)
        return NULL;
    pthread_mutex_init(&lender->lock, NULL);
    lender->node = node;
    lender->holders = 1;
    lender->pool_count = count;
    for (unsigned i = 0; i < count; i++)
        lender->pools[i] = buffer_pool_keep(worker_buffers(runtime_worker(node->runtime, i)));
    return lender;
}

void lender_leave(struct lender *lender)
{
    if (lender == NULL)
        return;
    pthread_mutex_lock(&lender->lock);
    lender->node = NULL;
    pthread_mutex_unlock(&lender->lock);
    lender_return(lender);
}

struct lender *lender_lend(struct lender *lender)
{
    __atomic_add_fetch(&lender->holders, 1, __ATOMIC_RELAXED);
    return lender;
}

void lender_return(struct lender *lender)
{
    /* Release pairs with the acquire of whoever comes last and frees what the others used. */
    if (__atomic_sub_fetch(&lender->holders, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (unsigned i = 0; i < lender->pool_count; i++)
        buffer_pool_let_go(lender->pools[i]);
    pthread_mutex_destroy(&lender->lock);
    free(lender);
}

uint64_t lender_buffers(const struct lender *lender)
{
    return __atomic_load_n(&lender->holders, __ATOMIC_RELAXED) - 1;
}

bool lender_is_of(const struct lender *lender, struct runtime *runtime)
{
    /* Pools, not runtimes: what we keep has an address of its own. */
    return lender->pools[0] == worker_buffers(runtime_worker(runtime, 0));
}

void lender_post(struct lender *lender, const struct stream_mail *mail)
{
    pthread_mutex_lock(&lender->lock);
    if (lender->node != NULL)
        (void)stream_mail_post(mail, SESSION_MSG_RUN); /* without memory the window stays as it is */
    pthread_mutex_unlock(&lender->lock);
}
