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

/* Where the lines of a scope go.  Lives as long as the log, for lines of it may
 * be in any spool. */
struct log_target {
    struct log_target *next;
    const struct scope *scope; /* whose it was; never followed */
    void (*write)(void *argument, enum log_level level, const char *line, size_t length);
    void *argument;
    enum log_format format;
    char prefix[64];
    bool closed; /* the log's lock */
};

/* The lines of one worker, or of all threads outside. */
struct log_source {
    struct spool *spool;
    uint64_t dropped;           /* atomic: lines that found it full, ever */
    uint64_t dropped_told;      /* the log thread's */
    struct log_target *target;  /* atomic: of the last line that was dropped */
};

/* Whoever lets go last frees it: the runtime, or a thread that hung in a sink. */
struct log {
    pthread_t thread;
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

/* Each value begins with what JSON is to make of it. */
enum { VALUE_TEXT = 's', VALUE_NUMBER = 'n' };

enum {
    LINE_END_BYTES = 24, /* kept for the end of a line that is cut */
    VALUE_BYTES_MIN = 8, /* with less room a field is not begun */
};

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG", "TRACE"};
static const char *const level_names_low[] = {"error", "warn", "info", "debug", "trace"};

/* ---- writing a line, on the log thread ---------------------------------- */

struct output {
    char *text;
    size_t length, capacity;
    bool cut;
};

static void put_char(struct output *out, char c)
{
    if (out->length < out->capacity)
        out->text[out->length++] = c;
    else
        out->cut = true;
}

static void put(struct output *out, const char *text)
{
    while (*text)
        put_char(out, *text++);
}

/* Whole or not at all, so that a cut does not fall into an escape. */
static void put_escape(struct output *out, const char *text)
{
    if (out->length + strlen(text) <= out->capacity && !out->cut)
        put(out, text);
    else
        out->cut = true;
}

static void put_quoted(struct output *out, const char *value)
{
    put_char(out, '"');
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        char escape[8];
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof(escape), "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            snprintf(escape, sizeof(escape), "\\u%04x", c);
        else
            snprintf(escape, sizeof(escape), "%c", c);
        put_escape(out, escape);
    }
    if (!out->cut)
        put_char(out, '"');
}

static bool needs_quotes(const char *value)
{
    if (!*value)
        return true;
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c <= 0x20 || c == 0x7f || c == '"' || c == '\\' || c == '=')
            return true;
    }
    return false;
}

/* JSON text is UTF-8: bytes of a peer's that are not become '?'. */
static void sanitize(char *text)
{
    unsigned char *at = (unsigned char *)text;
    while (*at) {
        unsigned length = *at < 0x80 ? 1 : *at >> 5 == 6 && *at >= 0xc2 ? 2 : *at >> 4 == 14 ? 3
                          : *at >> 3 == 30 && *at <= 0xf4 ? 4 : 0;
        unsigned good = length ? 1 : 0;
        while (good && good < length && at[good] >> 6 == 2)
            good++;
        bool bad = good < length || !length;
        bad = bad || (length == 3 && at[0] == 0xe0 && at[1] < 0xa0) || (length == 3 && at[0] == 0xed && at[1] > 0x9f)
              || (length == 4 && at[0] == 0xf0 && at[1] < 0x90) || (length == 4 && at[0] == 0xf4 && at[1] > 0x8f);
        if (bad)
            *at++ = '?';
        else
            at += length;
    }
}

static void put_time(struct output *out, uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    char text[40];
    gmtime_r(&seconds, &tm);
    size_t length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + length, sizeof(text) - length, ".%03uZ", (unsigned)(wall_ns / 1000000 % 1000));
    put(out, text);
}

static void put_field(struct output *out, enum log_format format, const char *key, char kind, char *value)
{
    sanitize(value);
    if (format == LOG_FORMAT_TEXT) {
        put_char(out, ' ');
        put(out, key);
        put_char(out, '=');
        if (needs_quotes(value))
            put_quoted(out, value);
        else
            put(out, value);
        return;
    }
    put(out, ",\"");
    put(out, key);
    put(out, "\":");
    if (kind == VALUE_NUMBER)
        put_escape(out, value);
    else
        put_quoted(out, value);
}

/* In JSON a field that does not fit is left out as a whole. */
static void put_fields(struct output *out, enum log_format format, char *text, size_t length)
{
    char *at = text, *end = text + length;
    while (at < end && !out->cut) {
        char *key = at, *value = at + strlen(at) + 2;
        at = value + strlen(value) + 1;
        size_t before = out->length;
        put_field(out, format, key, value[-1], value);
        if (out->cut && format == LOG_FORMAT_JSON)
            out->length = before;
    }
}

static void put_head(struct output *out, const struct log_target *target, const struct log_line *line)
{
    bool json = target->format == LOG_FORMAT_JSON;
    put(out, json ? "{\"time\":\"" : "");
    put_time(out, line->wall_ns);
    put(out, json ? "\",\"level\":\"" : " ");
    put(out, (json ? level_names_low : level_names)[line->level]);
    put(out, json ? "\",\"event\":\"" : " ");
    put(out, line->event);
    put(out, json ? "\"" : "");
    char prefix[sizeof(target->prefix)];
    strcpy(prefix, target->prefix);
    if (*prefix)
        put_field(out, target->format, "node", VALUE_TEXT, prefix);
}

static size_t compose(char text[LOG_LINE_BYTES_MAX], const struct log_target *target, struct log_line *line)
{
    struct output out = {text, 0, LOG_LINE_BYTES_MAX - LINE_END_BYTES, false};
    put_head(&out, target, line);
    put_fields(&out, target->format, line->text, line->length);
    bool cut = out.cut || line->cut;
    out.capacity = LOG_LINE_BYTES_MAX;
    if (target->format == LOG_FORMAT_JSON)
        put(&out, cut ? ",\"cut\":\"...\"}" : "}");
    else if (cut)
        put(&out, "...");
    put_char(&out, '\n');
    return out.length;
}

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
    size_t length = compose(text, target, line);
    target->write(target->argument, (enum log_level)line->level, text, length);
    pthread_mutex_lock(&log->lock);
    log->writing = NULL;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tell_dropped(struct log *log, struct log_source *source)
{
    uint64_t dropped = __atomic_load_n(&source->dropped, __ATOMIC_ACQUIRE);
    if (dropped == source->dropped_told)
        return;
    struct log_line line = {.event = "log_dropped", .level = LOG_LEVEL_WARN, .wall_ns = wall_clock_ns()};
    line.target = __atomic_load_n(&source->target, __ATOMIC_ACQUIRE);
    int length = snprintf(line.text, sizeof(line.text), "lines%c%c%llu", '\0', VALUE_NUMBER,
                          (unsigned long long)(dropped - source->dropped_told));
    line.length = (uint16_t)(length + 1);
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

static struct log *log_new(unsigned workers)
{
    struct log *log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    log->source_count = workers + 1;
    log->sources = calloc(log->source_count, sizeof(*log->sources));
    sem_init(&log->lines, 0, 0);
    pthread_mutex_init(&log->outside, NULL);
    pthread_mutex_init(&log->lock, NULL);
    cond_init(&log->changed);
    bool whole = log->sources != NULL;
    for (unsigned i = 0; whole && i < log->source_count; i++)
        whole = (log->sources[i].spool = spool_new()) != NULL;
    if (whole && start(log) == 0)
        return log;
    destroy(log);
    return NULL;
}

static struct log *log_of(struct runtime *runtime)
{
    pthread_mutex_lock(&runtime->lock);
    if (!runtime->log)
        runtime->log = log_new(runtime->worker_count);
    struct log *log = runtime->log;
    pthread_mutex_unlock(&runtime->lock);
    return log;
}

/* A line was pushed, or there is something else to see. */
static void wake_thread(struct log *log)
{
    mailbox_fence(); /* pairs with the one in sleep_until_woken() */
    if (__atomic_load_n(&log->asleep, __ATOMIC_RELAXED) && __atomic_exchange_n(&log->asleep, 0, __ATOMIC_SEQ_CST))
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
        log_write(scope, NULL, LOG_LEVEL_WARN, "driver_fallback", "driver=%s refused=io_uring reason=%s", "epoll",
                  text);
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

void log_scope_end(struct scope *scope)
{
    __atomic_store_n(&scope->log_level, -1, __ATOMIC_RELEASE);
    struct log_target *target = __atomic_load_n(&scope->log, __ATOMIC_ACQUIRE);
    struct log *log = scope->runtime->log;
    if (!target)
        return;
    struct timespec until = stop_deadline();
    pthread_mutex_lock(&log->lock);
    uint64_t wanted = ++log->flush_wanted;
    pthread_mutex_unlock(&log->lock);
    if (__atomic_exchange_n(&log->asleep, 0, __ATOMIC_SEQ_CST))
        sem_post(&log->lines);
    pthread_mutex_lock(&log->lock);
    while (log->flush_done < wanted && pthread_cond_timedwait(&log->changed, &log->lock, &until) == 0)
        ;
    for (target = log->targets; target; target = target->next)
        target->closed = target->closed || target->scope == scope;
    while (log->writing && log->writing->scope == scope
           && pthread_cond_timedwait(&log->changed, &log->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&log->lock);
}

/* ---- taking a line, on any thread -------------------------------------- */

static void add(struct log_line *line, const char *text, size_t length)
{
    size_t room = sizeof(line->text) - 2 - line->length; /* the end of a piece always fits */
    if (length > room) {
        length = room;
        line->cut = true;
    }
    memcpy(line->text + line->length, text, length);
    line->length = (uint16_t)(line->length + length);
}

static void end_piece(struct log_line *line)
{
    line->text[line->length++] = '\0';
}

/* One conversion of printf: its length is at `*at` on return. */
struct conversion {
    char spec[24];
    char size; /* 0, 'l', 'L' for long long, 'z', 'j', 't' */
    char type;
    bool star; /* "%.*s" */
};

static const char *parse_conversion(struct conversion *out, const char *at)
{
    size_t length = 0;
    *out = (struct conversion){.spec = "%"};
    for (length = 1, at++; *at && strchr("-+ #0123456789.*", *at); at++) {
        out->star = out->star || *at == '*';
        if (length < sizeof(out->spec) - 5)
            out->spec[length++] = *at;
    }
    for (; *at && strchr("hlzjt", *at); at++) {
        out->size = *at == 'l' && out->size == 'l' ? 'L' : *at;
        out->spec[length++] = *at;
    }
    out->type = *at;
    out->spec[length++] = *at;
    out->spec[length] = '\0';
    return *at ? at + 1 : at;
}

static void add_integer(struct log_line *line, const struct conversion *conversion, va_list *arguments)
{
    char text[64];
    int length;
    switch (conversion->size) {
    case 'l':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, long));
        break;
    case 'L':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, long long));
        break;
    case 'z':
    case 't':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, size_t));
        break;
    case 'j':
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, intmax_t));
        break;
    default:
        length = snprintf(text, sizeof(text), conversion->spec, va_arg(*arguments, int));
    }
    add(line, text, length < (int)sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

static void add_string(struct log_line *line, const struct conversion *conversion, va_list *arguments)
{
    int precision = conversion->star ? va_arg(*arguments, int) : -1;
    const char *text = va_arg(*arguments, const char *);
    if (!text)
        text = "-";
    size_t room = sizeof(line->text);
    add(line, text, strnlen(text, precision >= 0 && (size_t)precision < room ? (size_t)precision : room));
}

static const char *add_conversion(struct log_line *line, const char *at, va_list *arguments)
{
    struct conversion conversion;
    char text[64];
    at = parse_conversion(&conversion, at);
    switch (conversion.type) {
    case '%':
        add(line, "%", 1);
        break;
    case 's':
        add_string(line, &conversion, arguments);
        break;
    case 'f':
    case 'g':
        snprintf(text, sizeof(text), conversion.spec, va_arg(*arguments, double));
        add(line, text, strlen(text));
        break;
    case 'p':
        snprintf(text, sizeof(text), "%p", va_arg(*arguments, void *));
        add(line, text, strlen(text));
        break;
    default:
        add_integer(line, &conversion, arguments);
    }
    return at;
}

/* One decimal number and nothing else. */
static bool is_number(const char *format)
{
    size_t length = strcspn(format, " ");
    if (length < 2 || format[0] != '%' || !strchr("diu", format[length - 1]))
        return false;
    return strspn(format + 1, "lhzjt") == length - 2;
}

static const char *take_value(struct log_line *line, const char *format, va_list *arguments)
{
    char kind = is_number(format) ? VALUE_NUMBER : VALUE_TEXT;
    add(line, &kind, 1);
    while (*format && *format != ' ') {
        if (*format == '%')
            format = add_conversion(line, format, arguments);
        else
            add(line, format++, 1);
    }
    return format;
}

/* "key=%d other=%s": pairs apart by the blanks of the format, never by those of
 * a value. */
static void take_fields(struct log_line *line, const char *format, va_list *arguments)
{
    for (format += strspn(format, " "); *format && !line->cut; format += strspn(format, " ")) {
        size_t key_length = strcspn(format, "= ");
        size_t before = line->length;
        add(line, format, key_length);
        end_piece(line);
        if (line->cut || sizeof(line->text) - line->length < VALUE_BYTES_MIN) {
            line->length = (uint16_t)before; /* no room for a value: it never was there */
            line->cut = true;
            return;
        }
        format += key_length + (format[key_length] == '=');
        format = take_value(line, format, arguments);
        end_piece(line);
    }
}

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
        line->wall_ns = worker ? driver_wall_ns(worker->driver) : wall_clock_ns();
        line->level = (uint8_t)level;
        line->cut = false;
        line->length = 0;
        va_list arguments;
        va_start(arguments, fields);
        take_fields(line, fields, &arguments);
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
