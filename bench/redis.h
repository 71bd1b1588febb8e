#ifndef BENCH_REDIS_H
#define BENCH_REDIS_H

#include <stdbool.h>
#include <stddef.h>

/* As much of Redis as the libp2p project's test runners need: one program leaves
 * its address there, the other one finds it. */

enum redis_limits {
    REDIS_VALUE_BYTES_MAX = 4096, /* a longer one is no address */
    REDIS_LINE_BYTES_MAX = 512,
    REDIS_S_MAX = 10,             /* to connect, and for an answer */
};

enum redis_answer { REDIS_FOUND, REDIS_NONE, REDIS_FAILED };

struct redis;

/* `address` is HOST:PORT.  NULL, with the reason on standard error. */
struct redis *redis_open(const char *address);
void redis_close(struct redis *redis);
/* False: redis_error() says why. */
bool redis_set(struct redis *redis, const char *key, const char *value);
/* REDIS_FOUND with text in `out`; REDIS_NONE: nobody has set it yet; REDIS_FAILED:
 * redis_error() says why.  What is empty or takes more than `size` bytes with its
 * terminator fails. */
enum redis_answer redis_get(struct redis *redis, char *out, size_t size, const char *key);
/* Of what failed last.  When the answer did not come or was not understood, the
 * connection is closed, and all that follows fails, too. */
const char *redis_error(const struct redis *redis);

#endif
