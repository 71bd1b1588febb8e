#ifndef RUNTIME_LOG_LINE_H
#define RUNTIME_LOG_LINE_H

#include "runtime/log.h"

/* A line on its way from a worker to the log thread: what was formatted, in
 * pieces that the log thread quotes and joins.  mailbox.c moves it by value. */
struct log_line {
    struct log_target *target; /* lives as long as the log */
    const char *event;         /* a literal */
    uint64_t wall_ns;
    uint8_t level;
    bool cut;                  /* there was more than fits */
    uint16_t length;           /* of `text`: key \0 value \0 key \0 value \0 ... */
    char text[LOG_LINE_BYTES_MAX];
};

#endif
