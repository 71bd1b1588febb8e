#include "runtime/inner.h"
#include "runtime/log_line.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Where the lines of a scope go.  Lives until its scope has ended and no line of
 * it is in any spool; behind a sink that hangs, as long as the log. */
struct log_target {
    struct log_target *next;
    const struct scope *scope; /* whose it was; never followed; a later scope may have its address */
    void (*write)(void *argument, enum log_level level, const char *line, size_t length);
    void *argument;
    enum log_format format;
    char prefix[LOG_PREFIX_BYTES_MAX];
    bool closed; /* the log's lock */
};

/* The lines of one worker, or of all threads outside. */
struct log_source {
    struct spool *spool;
    uint64_t dropped;           /* atomic: lines that found it full, ever */
    uint64_t dropped_told;      /* the log thread's */
    struct log_target *target;  /* atomic: of the last line that was dropped, for who tells of it */
};

/* Whoever lets go last frees it: the runtime, or a thread that hung in a sink. */
struct log {
    pthread_t thread;
    struct driver *clock;        /* simulated: there is no thread, and this knows the time; else NULL */
    unsigned source_count;
    struct log_source *sources;  /* of each worker, and of the threads outside */
    pthread_mutex_t outside;     /* those take turns */
    sem_t lines;
    int asleep;                  /* atomic; with `lines`: see wake_thread() */
    int stopping;                /* atomic */
    pthread_mutex_t lock;        /* for what follows */
    pthread_cond_t changed;
    struct log_target *targets;
    struct log_target *writing;  /* the sink that is being called */
    uint64_t flush_wanted, flush_done;
    bool ended, abandoned;
};

/* ---- the log thread ----------------------------------------------------- */

/* The sink may hang: no lock is held meanwhile. */
static void write_line(struct log *log, struct log_line *line)
{
    struct log_target *target = line->target;
    pthread_mutex_lock(&log->lock);
    bool open = !target->closed && !log->abandoned;
    log->writing = open ? target : NULL;
    pthread_mutex_unlock(&log->lock);
    if (!open)
        return;
    char text[LOG_LINE_BYTES_MAX];
    size_t length = log_line_compose(text, line, target->format, target->prefix);
    target->write(target->argument, (enum log_level)line->level, text, length);
    pthread_mutex_lock(&log->lock);
    log->writing = NULL;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

static uint64_t wall_clock_ns(const struct log *log)
{
    struct timespec now;
    if (log->clock)
        return driver_wall_ns(log->clock);
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void take(struct log_line *line, const char *fields, ...) __attribute__((format(printf, 2, 3)));
static void take(struct log_line *line, const char *fields, ...)
{
    va_list arguments;
    va_start(arguments, fields);
    log_line_take(line, fields, &arguments);
    va_end(arguments);
}

static void tell_dropped(struct log *log, struct log_source *source)
{
    uint64_t dropped = __atomic_load_n(&source->dropped, __ATOMIC_ACQUIRE);
    if (dropped == source->dropped_told)
        return;
    struct log_line line = {.event = "log_dropped", .level = LOG_LEVEL_WARN, .wall_ns = wall_clock_ns(log)};
    line.target = __atomic_load_n(&source->target, __ATOMIC_ACQUIRE);
    take(&line, "lines=%llu", (unsigned long long)(dropped - source->dropped_told));
    source->dropped_told = dropped;
    write_line(log, &line);
}

/* True when there was a line. */
static bool drain(struct log *log)
{
    bool any = false;
    for (unsigned i = 0; i < log->source_count; i++) {
        struct log_line line;
        for (unsigned n = 0; n < LOG_RING_LINES && spool_take(log->sources[i].spool, &line); n++) {
            any = true;
            write_line(log, &line);
        }
        tell_dropped(log, &log->sources[i]);
    }
    return any;
}

static bool is_empty(struct log *log)
{
    for (unsigned i = 0; i < log->source_count; i++)
        if (!spool_is_empty(log->sources[i].spool))
            return false;
    return true;
}

static void destroy(struct log *log)
{
    for (unsigned i = 0; log->sources && i < log->source_count; i++)
        spool_free(log->sources[i].spool);
    while (log->targets) {
        struct log_target *target = log->targets;
        log->targets = target->next;
        free(target);
    }
    sem_destroy(&log->lines);
    pthread_mutex_destroy(&log->outside);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->changed);
    free(log->sources);
    free(log);
}

/* What was wanted before a look that found nothing is done after it. */
static bool flushed(struct log *log, uint64_t wanted)
{
    pthread_mutex_lock(&log->lock);
    log->flush_done = wanted;
    pthread_cond_broadcast(&log->changed);
    bool again = log->flush_wanted != wanted;
    pthread_mutex_unlock(&log->lock);
    return again;
}

static void sleep_until_woken(struct log *log)
{
    __atomic_store_n(&log->asleep, 1, __ATOMIC_SEQ_CST);
    mailbox_fence(); /* pairs with the one in wake_thread() */
    bool wait = is_empty(log) && !__atomic_load_n(&log->stopping, __ATOMIC_ACQUIRE);
    if (!wait && __atomic_exchange_n(&log->asleep, 0, __ATOMIC_SEQ_CST))
        return;
    while (sem_wait(&log->lines) && errno == EINTR)
        ;
}

static void *log_main(void *argument)
{
    struct log *log = argument;
    for (;;) {
        pthread_mutex_lock(&log->lock);
        uint64_t wanted = log->flush_wanted;
        pthread_mutex_unlock(&log->lock);
        bool stopping = __atomic_load_n(&log->stopping, __ATOMIC_ACQUIRE);
        if (drain(log) || flushed(log, wanted))
            continue;
        if (stopping)
            break;
        sleep_until_woken(log);
    }
    pthread_mutex_lock(&log->lock);
    log->ended = true;
    bool abandoned = log->abandoned;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    if (abandoned)
        destroy(log);
    return NULL;
}

/* ---- the log of a runtime ---------------------------------------------- */

static int start(struct log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&log->thread, NULL, log_main, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_setname_np(log->thread, "p2p-log");
    return error;
}

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

static struct log *log_new(unsigned workers, struct driver *clock)
{
    struct log *log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    log->clock = clock;
    log->source_count = workers + 1;
    log->sources = calloc(log->source_count, sizeof(*log->sources));
    sem_init(&log->lines, 0, 0);
    pthread_mutex_init(&log->outside, NULL);
    pthread_mutex_init(&log->lock, NULL);
    cond_init(&log->changed);
    bool whole = log->sources != NULL;
    for (unsigned i = 0; whole && i < log->source_count; i++)
        whole = (log->sources[i].spool = spool_new()) != NULL;
    if (whole && (clock || start(log) == 0))
        return log;
    destroy(log);
    return NULL;
}

static struct log *log_of(struct runtime *runtime)
{
    bool simulated = runtime->config.driver == DRIVER_SIM;
    pthread_mutex_lock(&runtime->lock);
    if (!runtime->log)
        runtime->log = log_new(runtime->worker_count, simulated ? runtime->workers[0]->driver : NULL);
    struct log *log = runtime->log;
    pthread_mutex_unlock(&runtime->lock);
    return log;
}

/* A line was pushed, or there is something else to see.  Simulated, that is
 * written where it comes from. */
static void wake_thread(struct log *log)
{
    if (log->clock) {
        drain(log);
        return;
    }
    mailbox_fence(); /* pairs with the one in sleep_until_woken() */
    if (__atomic_load_n(&log->asleep, __ATOMIC_RELAXED)
        && __atomic_exchange_n(&log->asleep, 0, __ATOMIC_SEQ_CST))
        sem_post(&log->lines);
}

static struct timespec stop_deadline(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(LOG_STOP_NS_MAX / 1000000000u);
    return at;
}

/* Joins the thread, or, when a sink hangs, leaves it all that it may touch: it
 * frees that if it ever comes back. */
void log_free(struct log *log)
{
    if (!log)
        return;
    if (log->clock) {
        destroy(log);
        return;
    }
    struct timespec until = stop_deadline();
    __atomic_store_n(&log->stopping, 1, __ATOMIC_RELEASE);
    wake_thread(log);
    pthread_mutex_lock(&log->lock);
    while (!log->ended && pthread_cond_timedwait(&log->changed, &log->lock, &until) == 0)
        ;
    bool ended = log->ended;
    log->abandoned = !ended;
    pthread_t thread = log->thread;
    pthread_mutex_unlock(&log->lock);
    if (ended) {
        pthread_join(thread, NULL);
        destroy(log);
    } else {
        pthread_detach(thread);
    }
}

/* ---- the log of a scope ------------------------------------------------ */

static struct log_target *target_new(struct log *log, const struct scope *scope, const struct log_sink *sink)
{
    struct log_target *target = calloc(1, sizeof(*target));
    if (!target)
        return NULL;
    target->scope = scope;
    target->write = sink->write;
    target->argument = sink->argument;
    target->format = sink->format;
    snprintf(target->prefix, sizeof(target->prefix), "%s", scope->prefix);
    pthread_mutex_lock(&log->lock);
    target->next = log->targets;
    log->targets = target;
    pthread_mutex_unlock(&log->lock);
    return target;
}

static void tell_fallback(struct scope *scope)
{
    char text[sizeof(scope->runtime->fallback)];
    pthread_mutex_lock(&scope->runtime->lock);
    memcpy(text, scope->runtime->fallback, sizeof(text));
    scope->runtime->fallback[0] = '\0';
    pthread_mutex_unlock(&scope->runtime->lock);
    if (text[0])
        log_write(scope, NULL, LOG_LEVEL_WARN, "driver_fallback", "driver=epoll io_uring=%s", text);
}

void scope_log_to(struct scope *scope, const struct log_sink *sink)
{
    __atomic_store_n(&scope->log_level, -1, __ATOMIC_RELEASE);
    struct log *log = sink && sink->write ? log_of(scope->runtime) : NULL;
    struct log_target *target = log ? target_new(log, scope, sink) : NULL;
    if (!target)
        return;
    /* Release pairs with the acquire of log_write(). */
    __atomic_store_n(&scope->log, target, __ATOMIC_RELEASE);
    __atomic_store_n(&scope->log_level, (int)sink->level, __ATOMIC_RELEASE);
    if (log_enabled(scope, LOG_LEVEL_WARN))
        tell_fallback(scope);
}

bool log_enabled(struct scope *scope, enum log_level level)
{
    return (int)level <= __atomic_load_n(&scope->log_level, __ATOMIC_RELAXED);
}

/* With the lock.  False: a sink hangs. */
static bool await_flush(struct log *log, const struct scope *scope, uint64_t wanted, const struct timespec *until)
{
    while (log->flush_done < wanted)
        if (pthread_cond_timedwait(&log->changed, &log->lock, until))
            return false;
    while (log->writing && log->writing->scope == scope)
        if (pthread_cond_timedwait(&log->changed, &log->lock, until))
            return false;
    return true;
}

/* With the lock.  Those that nothing points to any more go. */
static void end_targets(struct log *log, const struct scope *scope, bool flushed)
{
    for (struct log_target **at = &log->targets; *at;) {
        struct log_target *target = *at;
        target->closed = target->closed || target->scope == scope;
        if (target->scope == scope && flushed) {
            *at = target->next;
            free(target);
        } else {
            at = &target->next;
        }
    }
}

void log_scope_end(struct scope *scope)
{
    __atomic_store_n(&scope->log_level, -1, __ATOMIC_RELEASE);
    struct log *log = scope->runtime->log;
    if (!__atomic_load_n(&scope->log, __ATOMIC_ACQUIRE))
        return;
    struct timespec until = stop_deadline();
    pthread_mutex_lock(&log->lock);
    uint64_t wanted = log->clock ? log->flush_done : ++log->flush_wanted;
    pthread_mutex_unlock(&log->lock);
    if (__atomic_exchange_n(&log->asleep, 0, __ATOMIC_SEQ_CST))
        sem_post(&log->lines);
    pthread_mutex_lock(&log->lock);
    end_targets(log, scope, await_flush(log, scope, wanted, &until));
    pthread_mutex_unlock(&log->lock);
}

/* ---- taking a line, on any thread -------------------------------------- */

/* A worker has a source of its own; all others share one, and take turns. */
void log_write(struct scope *scope, struct worker *worker, enum log_level level, const char *event,
               const char *fields, ...)
{
    struct log_target *target = __atomic_load_n(&scope->log, __ATOMIC_ACQUIRE);
    struct log *log = scope->runtime->log;
    if (!target || !log_enabled(scope, level))
        return;
    if (worker)
        worker_note(worker, "log", level, event);
    else
        pthread_mutex_lock(&log->outside);
    struct log_source *source = &log->sources[worker ? worker->index : log->source_count - 1];
    struct log_line *line = spool_reserve(source->spool);
    if (line) {
        line->target = target;
        line->event = event;
        line->wall_ns = worker ? driver_wall_ns(worker->driver) : wall_clock_ns(log);
        line->level = (uint8_t)level;
        line->cut = false;
        line->length = 0;
        va_list arguments;
        va_start(arguments, fields);
        log_line_take(line, fields, &arguments);
        va_end(arguments);
        spool_commit(source->spool);
    } else {
        __atomic_store_n(&source->target, target, __ATOMIC_RELEASE);
        __atomic_fetch_add(&source->dropped, 1, __ATOMIC_RELEASE);
    }
    if (!worker)
        pthread_mutex_unlock(&log->outside);
    wake_thread(log);
}
