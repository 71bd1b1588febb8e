#include "runtime/inner.h"
#include "runtime/offload.h"

#include "chorus/p2p.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct job *next;
    struct actor_ref from;
    uint32_t request_id;
    void (*run)(void *argument, uint64_t result[3]);
    void (*dropped)(void *argument);
    void *argument;
};

struct offload {
    struct runtime *runtime;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *first, *last; /* waiting */
    struct job *unused;
    bool stopping;
    unsigned threads;
    pthread_t thread[OFFLOAD_THREADS];
    struct job jobs[OFFLOAD_JOBS_MAX]; /* waiting, at work, and in the mail */
};

/* A message on its way has no buffer: the job travels where its offset and
 * length would be. */
static void carry(struct message *message, struct job *job)
{
    memcpy(&message->offset, &job, sizeof(job));
}

static struct job *carried(const struct message *message)
{
    struct job *job;
    memcpy(&job, &message->offset, sizeof(job));
    return job;
}

_Static_assert(offsetof(struct message, length) == offsetof(struct message, offset) + 4,
               "room for a pointer");

static void job_return(struct offload *offload, struct job *job)
{
    pthread_mutex_lock(&offload->lock);
    job->next = offload->unused;
    offload->unused = job;
    pthread_mutex_unlock(&offload->lock);
}

void offload_settle(struct worker *worker, struct message *message, bool delivered)
{
    struct job *job = carried(message);
    if (!job)
        return;
    if (!delivered && job->dropped)
        job->dropped(job->argument);
    job_return(worker->runtime->offload, job);
    carry(message, NULL);
}

static struct message job_do(struct job *job)
{
    struct message message = {.type = MESSAGE_OFFLOADED, .request_id = job->request_id, .to = job->from};
    job->run(job->argument, message.body.u64);
    carry(&message, job);
    return message;
}

static struct job *next_job(struct offload *offload)
{
    pthread_mutex_lock(&offload->lock);
    while (!offload->first && !offload->stopping)
        pthread_cond_wait(&offload->changed, &offload->lock);
    struct job *job = offload->first;
    if (job) {
        offload->first = job->next;
        if (!offload->first)
            offload->last = NULL;
    }
    pthread_mutex_unlock(&offload->lock);
    return job;
}

/* Jobs that wait are done also when it is stopping: files are whole. */
static void *offload_main(void *argument)
{
    struct offload *offload = argument;
    struct job *job;
    while ((job = next_job(offload))) {
        struct message message = job_do(job);
        runtime_post(offload->runtime, &message);
    }
    return NULL;
}

static void start_threads(struct offload *offload)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (offload->threads < OFFLOAD_THREADS
           && pthread_create(&offload->thread[offload->threads], NULL, offload_main, offload) == 0) {
        char name[16];
        snprintf(name, sizeof(name), "p2p-offload-%u", offload->threads);
        pthread_setname_np(offload->thread[offload->threads++], name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void offload_stop(struct offload *offload)
{
    if (!offload)
        return;
    pthread_mutex_lock(&offload->lock);
    offload->stopping = true;
    pthread_cond_broadcast(&offload->changed);
    pthread_mutex_unlock(&offload->lock);
    for (unsigned i = 0; i < offload->threads; i++)
        pthread_join(offload->thread[i], NULL);
    offload->threads = 0;
}

void offload_free(struct offload *offload)
{
    if (!offload)
        return;
    offload_stop(offload);
    pthread_mutex_destroy(&offload->lock);
    pthread_cond_destroy(&offload->changed);
    free(offload);
}

static struct offload *offload_new(struct runtime *runtime)
{
    struct offload *offload = calloc(1, sizeof(*offload));
    if (!offload)
        return NULL;
    offload->runtime = runtime;
    pthread_mutex_init(&offload->lock, NULL);
    pthread_cond_init(&offload->changed, NULL);
    for (unsigned i = OFFLOAD_JOBS_MAX; i-- > 0;) {
        offload->jobs[i].next = offload->unused;
        offload->unused = &offload->jobs[i];
    }
    /* Simulated, jobs run where they are asked for. */
    if (runtime->config.driver != DRIVER_SIM)
        start_threads(offload);
    if (offload->threads || runtime->config.driver == DRIVER_SIM)
        return offload;
    offload_free(offload);
    return NULL;
}

static struct offload *offload_of(struct runtime *runtime)
{
    pthread_mutex_lock(&runtime->lock);
    if (!runtime->offload)
        runtime->offload = offload_new(runtime);
    struct offload *offload = runtime->offload;
    pthread_mutex_unlock(&runtime->lock);
    return offload;
}

static struct job *job_take(struct offload *offload)
{
    struct job *job = offload->unused;
    if (job)
        offload->unused = job->next;
    return job;
}

static void job_append(struct offload *offload, struct job *job)
{
    job->next = NULL;
    *(offload->last ? &offload->last->next : &offload->first) = job;
    offload->last = job;
    pthread_cond_signal(&offload->changed);
}

int offload_run(struct actor_context *context, uint32_t request_id,
                void (*run)(void *argument, uint64_t result[3]), void *argument,
                void (*dropped)(void *argument))
{
    struct runtime *runtime = context->worker->runtime;
    struct offload *offload = offload_of(runtime);
    if (!offload)
        return P2P_ERR_CALL_FULL;
    bool simulated = runtime->config.driver == DRIVER_SIM;
    pthread_mutex_lock(&offload->lock);
    struct job *job = job_take(offload);
    if (job) {
        *job = (struct job){NULL, context->self, request_id, run, dropped, argument};
        if (!simulated)
            job_append(offload, job);
    }
    pthread_mutex_unlock(&offload->lock);
    if (!job)
        return P2P_ERR_CALL_FULL;
    if (simulated) {
        struct message message = job_do(job);
        actor_deliver(context->worker, &message);
    }
    return 0;
}
