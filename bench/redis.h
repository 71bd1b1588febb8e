#ifndef BENCH_REDIS_H
#define BENCH_REDIS_H

#include <stdbool.h>
#include <stddef.h>

/* As much of Redis as the libp2p project's test runners need: one program leaves
 * its address there, the other one finds it. */

enum redis_limits {
    REDIS_VALUE_BYTES_MAX = 4096, /* a longer one is no address */
};

struct redis;

/* `address` is HOST:PORT.  NULL, with the reason on standard error. */
struct redis *redis_open(const char *address);
void redis_close(struct redis *redis);
bool redis_set(struct redis *redis, const char *key, const char *value);
/* False when there is none, or it is no text; `out` holds it else. */
bool redis_get(struct redis *redis, char *out, size_t size, const char *key);

#endif
