#include "redis.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct redis {
    FILE *in, *out;
};

static int dial(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int fd = -1;

    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -1;
    for (const struct addrinfo *next = found; next != NULL && fd < 0; next = next->ai_next) {
        fd = socket(next->ai_family, next->ai_socktype | SOCK_CLOEXEC, next->ai_protocol);
        if (fd >= 0 && connect(fd, next->ai_addr, next->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static bool open_files(struct redis *redis, int fd)
{
    int other = dup(fd);

    redis->in = fdopen(fd, "r");
    redis->out = other >= 0 ? fdopen(other, "w") : NULL;
    if (redis->in == NULL)
        close(fd);
    if (redis->out == NULL && other >= 0)
        close(other);
    return redis->in != NULL && redis->out != NULL;
}

struct redis *redis_open(const char *address)
{
    const char *colon = strrchr(address, ':');
    char *host = colon != NULL ? strndup(address, (size_t)(colon - address)) : NULL;
    struct redis *redis = calloc(1, sizeof(*redis));
    int fd = host != NULL ? dial(host, colon + 1) : -1;

    free(host);
    if (fd >= 0 && redis != NULL && open_files(redis, fd))
        return redis;
    if (fd >= 0 && redis == NULL)
        close(fd);
    fprintf(stderr, "chorus-bench: no Redis answers at '%s'; it must be HOST:PORT\n", address);
    redis_close(redis);
    return NULL;
}

void redis_close(struct redis *redis)
{
    if (redis == NULL)
        return;
    if (redis->in != NULL)
        fclose(redis->in);
    if (redis->out != NULL)
        fclose(redis->out);
    free(redis);
}

/* Sends words, and reads the first line of the answer. */
static bool ask(struct redis *redis, char *line, int size, const char *const *words, int count)
{
    fprintf(redis->out, "*%d\r\n", count);
    for (int i = 0; i < count; i++)
        fprintf(redis->out, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    return fflush(redis->out) == 0 && fgets(line, size, redis->in) != NULL;
}

bool redis_set(struct redis *redis, const char *key, const char *value)
{
    char line[512];

    return ask(redis, line, sizeof(line), (const char *const[]){"SET", key, value}, 3) && line[0] == '+';
}

bool redis_get(struct redis *redis, char *out, size_t size, const char *key)
{
    char line[512], tail[2];
    long length;

    if (!ask(redis, line, sizeof(line), (const char *const[]){"GET", key}, 2) || line[0] != '$')
        return false;
    length = strtol(line + 1, NULL, 10);
    if (length <= 0 || (size_t)length >= size || length > REDIS_VALUE_BYTES_MAX ||
        fread(out, 1, (size_t)length, redis->in) != (size_t)length || fread(tail, 1, 2, redis->in) != 2)
        return false;
    out[length] = '\0';
    return true;
}
