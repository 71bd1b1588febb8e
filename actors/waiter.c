#include "actors/waiter.h"

#include "actors/api_runtime.h"
#include "actors/app.h"
#include "actors/node.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bits of `done`. */
enum {
    FINISHED = 1,
    GIVEN_UP = 2, /* the caller has gone away before it was finished */
};

/* What a blocking caller sleeps on. */
struct sync {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static struct sync *sync_new(void)
{
    struct sync *sync = malloc(sizeof(*sync));
    pthread_condattr_t attributes;

    if (!sync)
        return NULL;
    pthread_mutex_init(&sync->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&sync->cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return sync;
}

static void waiter_free(struct waiter *waiter)
{
    struct sync *sync = waiter->sync;

    if (sync) {
        pthread_cond_destroy(&sync->cond);
        pthread_mutex_destroy(&sync->mutex);
    }
    free(sync);
    app_answer_free(waiter->answer);
    free(waiter);
}

struct waiter *waiter_new(struct p2p_node *node, enum waiter_kind kind, uint64_t request)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));

    if (!waiter)
        return NULL;
    waiter->node = node;
    waiter->request = request;
    waiter->kind = (uint8_t)kind;
    waiter->refs = kind == WAITER_BLOCKING ? 2 : 1;
    if (kind == WAITER_BLOCKING)
        waiter->sync = sync_new();
    else
        waiter->answer = app_answer_new();
    if (!waiter->sync && !waiter->answer) {
        free(waiter);
        return NULL;
    }
    return waiter;
}

static void unref(struct waiter *waiter)
{
    struct sync *sync = waiter->sync;

    pthread_mutex_lock(&sync->mutex);
    bool last = --waiter->refs == 0;
    pthread_mutex_unlock(&sync->mutex);
    if (last)
        waiter_free(waiter);
}

static void finish_event(struct waiter *waiter)
{
    bool connect = waiter->kind == WAITER_CONNECT_EVENT;
    struct p2p_event event = {
        .error = waiter->result,
        .request = waiter->request,
        .text = waiter->text,
    };

    memcpy(event.id, waiter->id, sizeof(event.id));
    if (connect)
        event.type = waiter->result ? P2P_EVENT_CONNECT_FAILED : P2P_EVENT_CONNECTED;
    else
        event.type = waiter->result ? P2P_EVENT_STREAM_OPEN_FAILED : P2P_EVENT_STREAM_OPENED;
    if (!connect && !waiter->result)
        event.stream = waiter->object;
    app_push_answer(waiter->node->app, waiter->answer, &event);
    waiter->answer = NULL;
    waiter_free(waiter);
}

void waiter_finish(struct waiter *waiter, int result)
{
    struct sync *sync = waiter->sync;

    waiter->result = result;
    if (waiter->kind != WAITER_BLOCKING) {
        finish_event(waiter);
        return;
    }
    pthread_mutex_lock(&sync->mutex);
    assert(!(waiter->done & FINISHED));
    waiter->done |= FINISHED;
    bool given_up = waiter->done & GIVEN_UP;
    pthread_cond_signal(&sync->cond);
    pthread_mutex_unlock(&sync->mutex);
    if (waiter->node->runtime)
        api_runtime_rouse(waiter->node->runtime);
    /* Our reference still holds: the caller may be on its way out. */
    if (given_up && waiter->object && waiter->abandoned)
        waiter->abandoned(waiter);
    unref(waiter);
}

void waiter_done(struct waiter *waiter)
{
    struct sync *sync = waiter->sync;

    pthread_mutex_lock(&sync->mutex);
    if (!(waiter->done & FINISHED))
        waiter->done |= GIVEN_UP;
    pthread_mutex_unlock(&sync->mutex);
    unref(waiter);
}

void waiter_drop(struct waiter *waiter)
{
    assert(waiter->kind != WAITER_BLOCKING);
    waiter_free(waiter);
}

bool waiter_given_up(struct waiter *waiter)
{
    struct sync *sync = waiter->sync;

    if (waiter->kind != WAITER_BLOCKING)
        return false;
    pthread_mutex_lock(&sync->mutex);
    bool given_up = waiter->done & GIVEN_UP;
    pthread_mutex_unlock(&sync->mutex);
    return given_up;
}

/* Under the lock: the result, or the caller gives up. */
static int conclude(struct waiter *waiter, int otherwise)
{
    if (waiter->done & FINISHED)
        return waiter->result;
    waiter->done |= GIVEN_UP;
    return otherwise;
}

static int wait_asleep(struct waiter *waiter, int timeout_ms)
{
    struct sync *sync = waiter->sync;
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    if (timeout_ms > 0) {
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    pthread_mutex_lock(&sync->mutex);
    int waited = 0;
    while (!(waiter->done & FINISHED) && waited != ETIMEDOUT)
        waited = timeout_ms < 0 ? pthread_cond_wait(&sync->cond, &sync->mutex) :
                 pthread_cond_timedwait(&sync->cond, &sync->mutex, &until);
    int result = conclude(waiter, P2P_ERR_CALL_TIMEOUT);
    pthread_mutex_unlock(&sync->mutex);
    return result;
}

static bool finished(struct waiter *waiter)
{
    struct sync *sync = waiter->sync;

    pthread_mutex_lock(&sync->mutex);
    bool is = waiter->done & FINISHED;
    pthread_mutex_unlock(&sync->mutex);
    return is;
}

static int wait_turning(struct waiter *waiter, struct runtime *runtime, int timeout_ms)
{
    struct sync *sync = waiter->sync;
    uint64_t deadline_ns = api_runtime_deadline_ns(runtime, timeout_ms);

    while (!finished(waiter)) {
        runtime_turn(runtime, deadline_ns);
        if (api_runtime_now_ns(runtime) >= deadline_ns)
            break;
    }
    pthread_mutex_lock(&sync->mutex);
    int result = conclude(waiter, P2P_ERR_CALL_TIMEOUT);
    pthread_mutex_unlock(&sync->mutex);
    return result;
}

int waiter_wait(struct waiter *waiter, int timeout_ms)
{
    struct sync *sync = waiter->sync;

    assert(waiter->kind == WAITER_BLOCKING);
    if (worker_current()) {
        pthread_mutex_lock(&sync->mutex);
        int result = conclude(waiter, P2P_ERR_CALL_THREAD);
        pthread_mutex_unlock(&sync->mutex);
        return result;
    }
    struct runtime *runtime = waiter->node->runtime;
    if (runtime && !runtime_threaded(runtime))
        return wait_turning(waiter, runtime, timeout_ms);
    return wait_asleep(waiter, timeout_ms);
}
