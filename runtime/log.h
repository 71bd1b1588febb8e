#ifndef RUNTIME_LOG_H
#define RUNTIME_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One-line structured events.  Nothing is formatted unless its level is on.
 * Lines go to a bounded ring per worker that a thread of its own drains: a
 * stuck stderr stops nothing; lines that find the ring full are counted, and
 * the count is a line of its own later. */

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVEL_TRACE };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum log_limits {
    LOG_LINE_BYTES_MAX = 512,  /* ours: an address, two ids and room; longer ones are cut, with "..." */
    LOG_RING_LINES = 1024,     /* per worker; ours: half a MiB, the lines of a bad second */
};

/* How long the end of a scope or a runtime waits for a sink that hangs. */
#define LOG_STOP_NS_MAX 1000000000ull

struct scope;
struct worker;
struct runtime;

/* Where a runtime's lines go: called on the log thread, one line with its \n.
 * NULL: nowhere, nothing is formatted. */
struct log_sink {
    void (*write)(void *argument, enum log_level level, const char *line, size_t length);
    void *argument;
    enum log_level level;
    enum log_format format;
};

/* Of a scope; copied.  May change at run time, from any thread; a sink must stay
 * good until scope_free() has returned (and, if its write hangs for longer than
 * LOG_STOP_NS_MAX, for as long as that). */
void scope_log_to(struct scope *scope, const struct log_sink *sink);
bool log_enabled(struct scope *scope, enum log_level level);
/* `event` is a literal.  `fields` is printf's, pairs apart by one blank:
 * "peer=%s streams=%u" (no %n, no `*`, but "%.*s").  A value with blanks, quotes
 * or control characters is quoted by the writer, whatever a peer put there: pass
 * it as "key=%s".  Any thread; `worker` may be NULL.  Text lines read
 *     2026-11-23T21:00:00.123Z INFO conn_open peer=12D3... streams=2
 * and JSON lines
 *     {"time":"2026-...","level":"info","event":"conn_open","peer":"12D3...","streams":2} */
void log_write(struct scope *scope, struct worker *worker, enum log_level level, const char *event,
               const char *fields, ...) __attribute__((format(printf, 5, 6)));

#define LOG(context, level, event, ...)                                                        \
    do {                                                                                       \
        if (log_enabled((context)->scope, (level)))                                            \
            log_write((context)->scope, (context)->worker, (level), (event), __VA_ARGS__);     \
    } while (0)

#endif
