#include "runtime/cpus.h"
#include "runtime/driver_sim.h"
#include "runtime/inner.h"

#include "chorus/p2p.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    DRAIN_TURNS_MAX = 200, /* of the end: 2 s in all until the driver's last operation is over */
    FOREIGN_DATA_MAX = WORKER_FOREIGN_MESSAGES_MAX / 8 * 7,
};

#define DRAIN_TURN_NS 10000000ull

void runtime_config_init(struct runtime_config *config)
{
    *config = (struct runtime_config){.threads = true, .spin_ns = WORKER_SPIN_NS_DEFAULT};
}

/* ---- the driver of a worker -------------------------------------------- */

static void say(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct worker *worker, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(worker->error_text, sizeof(worker->error_text), format, arguments);
    va_end(arguments);
}

static int fail(struct worker *worker, const char *name, int error)
{
    say(worker, "the %s driver cannot be had: %s", name, strerror(error < 0 ? -error : error));
    return P2P_ERR_NODE_SYSTEM;
}

/* Said once: by the first worker, when its runtime has a log. */
static void note_fallback(struct worker *worker, int error)
{
    if (worker->index == 0)
        snprintf(worker->runtime->fallback, sizeof(worker->runtime->fallback), "%s",
                 strerror(error < 0 ? -error : error));
}

static int open_real(struct worker *worker, enum driver_kind kind)
{
    int error = 0;
    if (kind != DRIVER_EPOLL) {
        worker->driver = driver_uring_new(worker, worker->buffers, &error);
        if (worker->driver)
            return 0;
        if (kind == DRIVER_URING)
            return fail(worker, "io_uring", error);
        note_fallback(worker, error);
    }
    worker->driver = driver_epoll_new(worker, worker->buffers, &error);
    return worker->driver ? 0 : fail(worker, "epoll", error);
}

static int open_sim(struct worker *worker)
{
    int error = 0;
    worker->driver = driver_sim_new(worker, worker->buffers, worker->runtime->config.sim, &error);
    return worker->driver ? 0 : fail(worker, "sim", error);
}

static int open_driver(struct worker *worker)
{
    enum driver_kind kind = worker->runtime->config.driver;
    return kind == DRIVER_SIM ? open_sim(worker) : open_real(worker, kind);
}

/* What the environment says goes before what the configuration says. */
static int forced_driver(const struct runtime_config *config, enum driver_kind *kind)
{
    *kind = config->driver;
    const char *name = config->driver == DRIVER_SIM ? NULL : getenv("CHORUS_P2P_DRIVER");
    if (!name || !*name || strcmp(name, "auto") == 0)
        return 0;
    if (strcmp(name, "uring") == 0 || strcmp(name, "io_uring") == 0)
        *kind = DRIVER_URING;
    else if (strcmp(name, "epoll") == 0)
        *kind = DRIVER_EPOLL;
    else
        return P2P_ERR_NODE_CONFIG;
    return 0;
}

/* ---- the life of a worker ---------------------------------------------- */

static int worker_start(struct worker *worker)
{
    const struct runtime_config *config = &worker->runtime->config;
    struct worker *previous = worker_enter(worker);
    uint64_t bytes_max = config->pool_bytes_max ? config->pool_bytes_max : BUFFER_POOL_BYTES_MAX;
    worker->buffers = buffer_pool_new(bytes_max);
    int error = worker->buffers ? open_driver(worker) : P2P_ERR_CALL_NOMEM;
    if (!error) {
        worker->now_ns = driver_now_ns(worker->driver);
        worker->local = config->local_new ? config->local_new(worker, config->local_argument) : NULL;
        if (config->local_new && !worker->local) {
            say(worker, "no memory for a worker");
            error = P2P_ERR_CALL_NOMEM;
        }
    }
    worker->error = error;
    if (worker->buffers && !config->threads)
        buffer_pool_disown(worker->buffers);
    worker_enter(previous);
    return error;
}

/* No actor is left: completions and mail that still come are buried.  As long as
 * they become fewer: a turn brings some dozens, of ten thousands perhaps. */
static void drain_driver(struct worker *worker)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < DRAIN_TURNS_MAX; i++) {
        struct driver_stats stats;
        driver_stats_read(worker->driver, &stats);
        if (stats.operations_in_flight == 0)
            return;
        if (stats.operations_in_flight < least) {
            least = stats.operations_in_flight;
            i = 0;
        }
        driver_turn(worker->driver, driver_now_ns(worker->driver) + DRAIN_TURN_NS);
    }
}

/* First half of the end, when no worker turns any more: nothing is sent after
 * it.  Mail goes before what actors kept per worker, and both before the driver. */
static void worker_end(struct worker *worker)
{
    struct worker *previous = worker_enter(worker);
    if (worker->buffers)
        buffer_pool_own(worker->buffers);
    worker->in_turn = true;
    if (worker->driver)
        worker_bury_mail(worker);
    if (worker->local && worker->runtime->config.local_free)
        worker->runtime->config.local_free(worker, worker->local);
    if (worker->driver) {
        drain_driver(worker);
        driver_free(worker->driver);
        worker->driver = NULL;
    }
    worker_enter(previous);
}

/* The threads meet the maker of the runtime once, and one another once. */
static void await_go(struct runtime *runtime)
{
    pthread_mutex_lock(&runtime->lock);
    runtime->threads_ready++;
    pthread_cond_broadcast(&runtime->changed);
    while (!runtime->go)
        pthread_cond_wait(&runtime->changed, &runtime->lock);
    pthread_mutex_unlock(&runtime->lock);
}

static void await_others(struct runtime *runtime)
{
    pthread_mutex_lock(&runtime->lock);
    runtime->threads_ended++;
    pthread_cond_broadcast(&runtime->changed);
    while (runtime->threads_ended < runtime->threads || !runtime->woken)
        pthread_cond_wait(&runtime->changed, &runtime->lock);
    pthread_mutex_unlock(&runtime->lock);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct runtime *runtime = worker->runtime;
    worker_start(worker);
    worker_enter(worker);
    await_go(runtime);
    /* Acquire pairs with the release in stop(). */
    while (!__atomic_load_n(&runtime->stopping, __ATOMIC_ACQUIRE))
        worker_turn(worker, UINT64_MAX);
    await_others(runtime);
    worker_end(worker);
    return NULL;
}

static void pin_to(struct worker *worker)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return;
    int nth = (int)worker->index % CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || nth-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(worker->thread, sizeof(one), &one);
        return;
    }
}

/* Threads start with all signals blocked: those are the host's. */
static int thread_start(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        say(worker, "a worker thread cannot be started: %s", strerror(error));
        worker->error = P2P_ERR_NODE_SYSTEM;
        return worker->error;
    }
    worker->started = true;
    worker->runtime->threads++;
    char name[16];
    snprintf(name, sizeof(name), "p2p-worker-%u", worker->index);
    pthread_setname_np(worker->thread, name);
    if (worker->runtime->config.pin)
        pin_to(worker);
    return 0;
}

/* ---- the life of a runtime --------------------------------------------- */

static void tell(const struct runtime_config *config, const char *text)
{
    if (config->error_text && config->error_text_bytes)
        snprintf(config->error_text, config->error_text_bytes, "%s", text);
}

static unsigned count_workers(const struct runtime_config *config)
{
    if (!config->threads && config->driver != DRIVER_SIM)
        return 1;
    unsigned count = config->workers ? config->workers : cpus_usable();
    return count > ACTOR_WORKERS_MAX ? ACTOR_WORKERS_MAX : count;
}

/* Mail that was sent while the others ended dies here, before any pool goes:
 * buffers of one worker are in the mail of another. */
static void release(struct runtime *runtime)
{
    bool whole = runtime->workers != NULL;
    for (unsigned i = 0; whole && i < runtime->worker_count; i++)
        whole = runtime->workers[i] != NULL;
    for (unsigned round = 0; whole && round < 2; round++)
        for (unsigned i = 0; i < runtime->worker_count; i++)
            worker_bury_mail(runtime->workers[i]);
    offload_free(runtime->offload);
    for (unsigned i = 0; runtime->workers && i < runtime->worker_count; i++) {
        if (!runtime->workers[i])
            continue;
        buffer_pool_free(runtime->workers[i]->buffers);
        runtime->workers[i]->buffers = NULL;
    }
    for (unsigned i = 0; runtime->workers && i < runtime->worker_count; i++)
        if (runtime->workers[i])
            worker_free(runtime->workers[i]);
    if (runtime->foreign_slots)
        munmap(runtime->foreign_slots, WORKER_FOREIGN_MESSAGES_MAX * sizeof(*runtime->foreign_slots));
    pthread_mutex_destroy(&runtime->lock);
    pthread_cond_destroy(&runtime->changed);
    free(runtime->workers);
    free(runtime);
}

static struct runtime *allocate(const struct runtime_config *config)
{
    struct runtime *runtime = aligned_alloc(64, (sizeof(*runtime) + 63) / 64 * 64);
    if (!runtime)
        return NULL;
    memset(runtime, 0, sizeof(*runtime));
    runtime->config = *config;
    runtime->worker_count = count_workers(config);
    if (config->driver == DRIVER_SIM)
        runtime->config.threads = false;
    runtime->may_spin = config->driver != DRIVER_SIM && cpus_usable() > 1;
    runtime_set_spin(runtime, config->spin_ns);
    pthread_mutex_init(&runtime->lock, NULL);
    pthread_cond_init(&runtime->changed, NULL);
    size_t slots_bytes = WORKER_FOREIGN_MESSAGES_MAX * sizeof(struct foreign_slot);
    void *slots = mmap(NULL, slots_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    runtime->foreign_slots = slots == MAP_FAILED ? NULL : slots;
    runtime->workers = calloc(runtime->worker_count, sizeof(*runtime->workers));
    for (unsigned i = 0; runtime->workers && i < runtime->worker_count; i++)
        runtime->workers[i] = worker_new(runtime, i);
    bool whole = runtime->foreign_slots && runtime->workers;
    for (unsigned i = 0; whole && i < runtime->worker_count; i++)
        whole = runtime->workers[i] != NULL;
    for (unsigned i = 0; whole && i < runtime->worker_count; i++)
        whole = worker_make_lanes(runtime->workers[i]) == 0;
    if (whole)
        return runtime;
    release(runtime);
    return NULL;
}

/* The first worker that could not start speaks for all. */
static int started(struct runtime *runtime)
{
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        if (!runtime->workers[i]->error)
            continue;
        tell(&runtime->config, runtime->workers[i]->error_text);
        return runtime->workers[i]->error;
    }
    return 0;
}

/* No driver goes before all were woken. */
static void stop(struct runtime *runtime)
{
    /* Release pairs with the acquire of worker_main() and fall_asleep(). */
    __atomic_store_n(&runtime->stopping, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < runtime->worker_count; i++)
        if (runtime->workers[i]->driver)
            driver_wake(runtime->workers[i]->driver);
    pthread_mutex_lock(&runtime->lock);
    runtime->woken = true;
    pthread_cond_broadcast(&runtime->changed);
    pthread_mutex_unlock(&runtime->lock);
}

static void join(struct runtime *runtime)
{
    for (unsigned i = 0; i < runtime->worker_count; i++)
        if (runtime->workers[i]->started)
            pthread_join(runtime->workers[i]->thread, NULL);
}

/* All that could be started are let go, be it only to end at once. */
static int start_threads(struct runtime *runtime)
{
    for (unsigned i = 0; i < runtime->worker_count; i++)
        if (thread_start(runtime->workers[i]))
            break;
    pthread_mutex_lock(&runtime->lock);
    while (runtime->threads_ready < runtime->threads)
        pthread_cond_wait(&runtime->changed, &runtime->lock);
    int error = started(runtime);
    if (error)
        __atomic_store_n(&runtime->stopping, 1, __ATOMIC_RELEASE);
    runtime->woken = error != 0;
    runtime->go = true;
    pthread_cond_broadcast(&runtime->changed);
    pthread_mutex_unlock(&runtime->lock);
    if (error)
        join(runtime);
    return error;
}

static int start_inline(struct runtime *runtime)
{
    for (unsigned i = 0; i < runtime->worker_count; i++)
        if (worker_start(runtime->workers[i]))
            break;
    int error = started(runtime);
    for (unsigned i = 0; error && i < runtime->worker_count; i++)
        worker_end(runtime->workers[i]);
    return error;
}

int runtime_new(struct runtime **out, const struct runtime_config *config)
{
    enum driver_kind kind;
    int error = forced_driver(config, &kind);
    if (error) {
        char text[160];
        snprintf(text, sizeof(text), "CHORUS_P2P_DRIVER=%.40s: there is no such driver; set it to uring, epoll or "
                 "auto, or unset it", getenv("CHORUS_P2P_DRIVER"));
        tell(config, text);
        return error;
    }
    struct runtime *runtime = allocate(config);
    if (!runtime) {
        tell(config, "no memory for a runtime");
        return P2P_ERR_CALL_NOMEM;
    }
    runtime->config.driver = kind;
    error = runtime->config.threads ? start_threads(runtime) : start_inline(runtime);
    if (error) {
        release(runtime);
        return error;
    }
    *out = runtime;
    return 0;
}

void runtime_free(struct runtime *runtime)
{
    if (!runtime)
        return;
    assert(__atomic_load_n(&runtime->scopes, __ATOMIC_ACQUIRE) == 0);
    offload_stop(runtime->offload);
    stop(runtime);
    if (runtime->config.threads)
        join(runtime);
    for (unsigned i = 0; !runtime->config.threads && i < runtime->worker_count; i++)
        worker_end(runtime->workers[i]);
    log_free(runtime->log);
    release(runtime);
}

unsigned runtime_workers(const struct runtime *runtime)
{
    return runtime->worker_count;
}

bool runtime_threaded(const struct runtime *runtime)
{
    return runtime->config.threads;
}

void runtime_set_spin(struct runtime *runtime, uint64_t spin_ns)
{
    uint64_t most_ns = runtime->may_spin ? WORKER_SPIN_NS_MAX : 0;

    __atomic_store_n(&runtime->spin_ns, spin_ns < most_ns ? spin_ns : most_ns, __ATOMIC_RELAXED);
}

uint64_t runtime_spin(const struct runtime *runtime)
{
    return __atomic_load_n(&runtime->spin_ns, __ATOMIC_RELAXED);
}

struct worker *runtime_worker(struct runtime *runtime, unsigned index)
{
    assert(index < runtime->worker_count);
    return runtime->workers[index];
}

const char *runtime_driver_name(struct runtime *runtime)
{
    return driver_name(runtime->workers[0]->driver);
}

bool runtime_turn(struct runtime *runtime, uint64_t deadline_ns)
{
    assert(!runtime->config.threads);
    if (runtime->config.driver == DRIVER_SIM)
        return sim_world_turn(runtime->config.sim, deadline_ns);
    return worker_turn(runtime->workers[0], deadline_ns);
}

int runtime_descriptor(struct runtime *runtime)
{
    struct worker *worker = runtime->workers[0];
    if (runtime->config.threads)
        return -1;
    pthread_mutex_lock(&runtime->lock);
    int of_driver = driver_descriptor(worker->driver);
    int descriptor = of_driver < 0 ? -1 : host_open(&worker->host, of_driver);
    pthread_mutex_unlock(&runtime->lock);
    return descriptor < 0 ? -1 : descriptor;
}

/* ---- mail from outside ------------------------------------------------- */

static struct foreign_slot *foreign_take(struct runtime *runtime, enum message_kind kind)
{
    int64_t bound = kind == MESSAGE_CONTROL ? WORKER_FOREIGN_MESSAGES_MAX : FOREIGN_DATA_MAX;
    /* Acquire pairs with the release of a return: whoever gets the credit sees
     * the slot on the stack. */
    if (__atomic_fetch_add(&runtime->foreign_used, 1, __ATOMIC_ACQUIRE) >= bound) {
        __atomic_fetch_sub(&runtime->foreign_used, 1, __ATOMIC_RELAXED);
        struct foreign_slot *slot = kind == MESSAGE_CONTROL ? malloc(sizeof(*slot)) : NULL;
        assert(slot || kind != MESSAGE_CONTROL);
        if (slot)
            slot->heap = true;
        return slot;
    }
    struct mail_link *link = mail_stack_pop(&runtime->foreign_free);
    if (link)
        return (struct foreign_slot *)((char *)link - offsetof(struct foreign_slot, link));
    /* Credits are given back after their slots, so a fresh one is there. */
    uint32_t fresh = __atomic_fetch_add(&runtime->foreign_fresh, 1, __ATOMIC_RELAXED);
    assert(fresh < WORKER_FOREIGN_MESSAGES_MAX);
    return &runtime->foreign_slots[fresh];
}

void runtime_foreign_return(struct runtime *runtime, struct foreign_slot *slot)
{
    if (slot->heap) {
        free(slot);
        return;
    }
    mail_stack_push(&runtime->foreign_free, &slot->link);
    __atomic_fetch_sub(&runtime->foreign_used, 1, __ATOMIC_RELEASE);
}

int runtime_post(struct runtime *runtime, struct message *message)
{
    unsigned target = actor_ref_worker(message->to);
    if (target >= runtime->worker_count || actor_ref_is_none(message->to)) {
        buffer_unref(message->buffer);
        return 0;
    }
    struct foreign_slot *slot = foreign_take(runtime, message->kind);
    if (!slot)
        return P2P_ERR_CALL_FULL;
    slot->message = *message;
    struct worker *worker = runtime->workers[target];
    mail_stack_push(&worker->foreign, &slot->link);
    mailbox_fence(); /* pairs with the one in fall_asleep() */
    worker_rouse(worker);
    return 0;
}

/* ---- the last events, for a handler of SIGABRT -------------------------- */

static size_t put_text(char *out, size_t at, size_t capacity, const char *text)
{
    while (*text && at < capacity)
        out[at++] = *text++;
    return at;
}

static size_t put_number(char *out, size_t at, size_t capacity, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count && at < capacity)
        out[at++] = digits[--count];
    return at;
}

static void dump_event(int descriptor, unsigned worker, const struct worker_event *event)
{
    char line[160];
    size_t room = sizeof(line) - 1, at = put_text(line, 0, room, "worker ");
    at = put_number(line, at, room, worker);
    at = put_text(line, at, room, " ns ");
    at = put_number(line, at, room, event->now_ns);
    at = put_text(line, at, room, " ");
    at = put_text(line, at, room, event->what);
    at = put_text(line, at, room, " ");
    at = put_number(line, at, room, event->a);
    at = put_text(line, at, room, " ");
    at = put_text(line, at, room, event->b);
    line[at++] = '\n';
    ssize_t written = write(descriptor, line, at);
    (void)written; /* there is nowhere to complain */
}

void runtime_dump_events(int descriptor)
{
    struct worker *self = worker_current();
    if (!self)
        return;
    for (unsigned i = 0; i < self->runtime->worker_count; i++) {
        const struct worker *worker = self->runtime->workers[i];
        uint64_t end = worker->event_count, from = end > WORKER_EVENTS ? end - WORKER_EVENTS : 0;
        for (; from < end; from++)
            if (worker->events[from % WORKER_EVENTS].what)
                dump_event(descriptor, i, &worker->events[from % WORKER_EVENTS]);
    }
}
