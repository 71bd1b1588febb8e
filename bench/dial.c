#include "dial.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct target {
    char host[256];
    const char *port;
};

/* Without a port, or with more colons than one and no brackets, all is host. */
static bool split(struct target *out, const char *address, const char *otherwise)
{
    const char *begin = address, *colon = strrchr(address, ':'), *end;

    if (address[0] == '[') {
        begin = address + 1;
        end = strchr(begin, ']');
        if (end == NULL || (end[1] != ':' && end[1] != '\0'))
            return false;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        if (colon != NULL && colon != strchr(address, ':'))
            colon = NULL;
        end = colon != NULL ? colon : address + strlen(address);
    }
    out->port = colon != NULL ? colon + 1 : otherwise;
    if (end == begin || (size_t)(end - begin) >= sizeof(out->host) || out->port == NULL || *out->port == '\0')
        return false;
    memcpy(out->host, begin, (size_t)(end - begin));
    out->host[end - begin] = '\0';
    return true;
}

bool dial_wait(int fd, short events, double until_s)
{
    struct pollfd wait = {.fd = fd, .events = events};

    for (;;) {
        double left_s = until_s - bench_now_s();
        int count = poll(&wait, 1, left_s > 0 ? (int)(left_s * 1000) + 1 : 0);

        if (count > 0 || (count < 0 && errno != EINTR))
            return count > 0;
        if (left_s <= 0)
            return false;
    }
}

/* Until it is connected, or refused, or late: an errno. */
static int wait_connected(int fd, double until_s)
{
    int error = 0;
    socklen_t length = sizeof(error);

    if (!dial_wait(fd, POLLOUT, until_s))
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

/* -1, with errno. */
static int dial_one(const struct addrinfo *address, double until_s)
{
    int one = 1, error = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);

    if (fd < 0)
        return -1;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0)
        error = errno == EINPROGRESS ? wait_connected(fd, until_s) : errno;
    if (error == 0 && fcntl(fd, F_SETFL, 0) != 0)
        error = errno;
    if (error == 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
        error = errno;
    if (error == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

int dial_tcp(const char *address, const char *otherwise, double until_s, const char **reason)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    struct target target;
    int fd = -1, error;

    if (!split(&target, address, otherwise)) {
        *reason = otherwise != NULL ? "it must be HOST or HOST:PORT" : "it must be HOST:PORT";
        return -1;
    }
    error = getaddrinfo(target.host, target.port, &hints, &found);
    if (error != 0) {
        *reason = gai_strerror(error);
        return -1;
    }
    for (const struct addrinfo *next = found; next != NULL && fd < 0; next = next->ai_next)
        fd = dial_one(next, until_s);
    *reason = fd < 0 ? strerror(errno) : "";
    freeaddrinfo(found);
    return fd;
}
