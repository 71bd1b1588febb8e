#ifndef RUNTIME_LOG_LINE_H
#define RUNTIME_LOG_LINE_H

#include "runtime/log.h"

#include <stdarg.h>

enum log_line_limits {
    LOG_PREFIX_BYTES_MAX = 64, /* of a scope's prefix, its terminator included; longer ones are cut */
};

/* A line on its way from a worker to the log thread: what was formatted, in
 * pieces that the log thread quotes and joins.  mailbox.c moves it by value. */
struct log_line {
    struct log_target *target; /* lives as long as the log */
    const char *event;         /* a literal */
    uint64_t wall_ns;
    uint8_t level;
    bool cut;                  /* there was more than fits */
    uint16_t length;           /* of `text`: key \0 kind value \0 key \0 ... */
    char text[LOG_LINE_BYTES_MAX];
};

/* Takes the fields of log_write() apart, into the text of a line that is empty. */
void log_line_take(struct log_line *line, const char *fields, va_list *arguments);
/* The whole line with its \n; returns its length. */
size_t log_line_compose(char out[LOG_LINE_BYTES_MAX], struct log_line *line, enum log_format format,
                        const char *prefix);

#endif
