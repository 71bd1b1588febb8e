#include "redis.h"

#include "bench.h"
#include "dial.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct redis {
    int fd; /* -1: it is closed */
    double until_s;
    char error[REDIS_LINE_BYTES_MAX];
};

struct redis *redis_open(const char *address)
{
    struct redis *redis = calloc(1, sizeof(*redis));
    const char *reason = "no memory";

    if (redis != NULL)
        redis->fd = dial_tcp(address, NULL, bench_now_s() + REDIS_S_MAX, &reason);
    if (redis != NULL && redis->fd >= 0)
        return redis;
    fprintf(stderr, "chorus-bench: no Redis answers at '%s': %s\n", address, reason);
    free(redis);
    return NULL;
}

void redis_close(struct redis *redis)
{
    if (redis == NULL)
        return;
    if (redis->fd >= 0)
        close(redis->fd);
    free(redis);
}

const char *redis_error(const struct redis *redis)
{
    return redis->error;
}

/* What follows would be the rest of this answer. */
static bool give_up(struct redis *redis, const char *why)
{
    if (redis->fd >= 0)
        close(redis->fd);
    redis->fd = -1;
    snprintf(redis->error, sizeof(redis->error), "%s", why);
    return false;
}

/* ---- Bytes ------------------------------------------------------------------------ */

static bool write_all(struct redis *redis, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t count = send(redis->fd, text, length, MSG_NOSIGNAL);

        if (count <= 0)
            return give_up(redis, "the connection has ended");
        text += count;
        length -= (size_t)count;
    }
    return true;
}

static bool read_all(struct redis *redis, char *out, size_t length)
{
    for (size_t fill = 0; fill < length;) {
        ssize_t count;

        if (!dial_wait(redis->fd, POLLIN, redis->until_s))
            return give_up(redis, "no answer in time");
        count = read(redis->fd, out + fill, length - fill);
        if (count <= 0)
            return give_up(redis, "the connection has ended");
        fill += (size_t)count;
    }
    return true;
}

/* Without its end. */
static bool read_line(struct redis *redis, char line[REDIS_LINE_BYTES_MAX])
{
    for (size_t length = 0; length + 1 < REDIS_LINE_BYTES_MAX; length++) {
        if (!read_all(redis, line + length, 1))
            return false;
        if (line[length] != '\n')
            continue;
        line[length > 0 && line[length - 1] == '\r' ? length - 1 : length] = '\0';
        return true;
    }
    return give_up(redis, "its answer is too long");
}

/* ---- Questions -------------------------------------------------------------------- */

/* Sends words, and reads the first line of the answer.  False when that is an
 * error, too: what follows is the next answer. */
static bool ask(struct redis *redis, char line[REDIS_LINE_BYTES_MAX], const char *const *words, int count)
{
    char head[32];

    redis->until_s = bench_now_s() + REDIS_S_MAX;
    if (redis->fd < 0)
        return false;
    snprintf(head, sizeof(head), "*%d\r\n", count);
    if (!write_all(redis, head, strlen(head)))
        return false;
    for (int i = 0; i < count; i++) {
        snprintf(head, sizeof(head), "$%zu\r\n", strlen(words[i]));
        if (!write_all(redis, head, strlen(head)) || !write_all(redis, words[i], strlen(words[i])) ||
            !write_all(redis, "\r\n", 2))
            return false;
    }
    if (!read_line(redis, line))
        return false;
    if (line[0] != '-')
        return true;
    snprintf(redis->error, sizeof(redis->error), "%s", line + 1);
    return false;
}

bool redis_set(struct redis *redis, const char *key, const char *value)
{
    char line[REDIS_LINE_BYTES_MAX];

    if (!ask(redis, line, (const char *const[]){"SET", key, value}, 3))
        return false;
    return line[0] == '+' || give_up(redis, "its answer to SET is not understood");
}

enum redis_answer redis_get(struct redis *redis, char *out, size_t size, const char *key)
{
    char line[REDIS_LINE_BYTES_MAX], tail[2], *end;
    long length;

    if (!ask(redis, line, (const char *const[]){"GET", key}, 2))
        return REDIS_FAILED;
    if (strcmp(line, "$-1") == 0 || strcmp(line, "_") == 0) /* the newer form has a null of its own */
        return REDIS_NONE;
    length = line[0] == '$' ? strtol(line + 1, &end, 10) : -1;
    if (length <= 0 || *end != '\0' || (size_t)length >= size || length > REDIS_VALUE_BYTES_MAX) {
        (void)give_up(redis, "what it has is no address");
        return REDIS_FAILED;
    }
    if (!read_all(redis, out, (size_t)length) || !read_all(redis, tail, 2))
        return REDIS_FAILED;
    out[length] = '\0';
    return REDIS_FOUND;
}
