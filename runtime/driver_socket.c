#include "runtime/driver_socket.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h> /* not netinet/tcp.h, whose tcp_info ends too early */
#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* ---- Records ------------------------------------------------------------- */

int driver_sockets_init(struct driver_sockets *sockets)
{
    struct rlimit limit;
    void *records;

    sockets->count = DRIVER_SOCKETS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < DRIVER_SOCKETS_MAX)
        sockets->count = (uint32_t)limit.rlim_max;
    records = mmap(NULL, sockets->count * sizeof(struct driver_socket), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    sockets->records = records == MAP_FAILED ? NULL : records;
    return sockets->records == NULL ? -ENOMEM : 0;
}

void driver_sockets_fini(struct driver_sockets *sockets)
{
    if (sockets->records == NULL)
        return;
    for (uint32_t i = 0; i < sockets->top; i++)
        if (sockets->records[i].open)
            driver_socket_close(&sockets->records[i]);
    munmap(sockets->records, sockets->count * sizeof(struct driver_socket));
}

struct driver_socket *driver_socket_open(struct driver_sockets *sockets, int descriptor)
{
    struct driver_socket *socket;
    uint16_t generation;

    assert(descriptor >= 0);
    if ((uint32_t)descriptor >= sockets->count)
        return NULL;
    socket = &sockets->records[descriptor];
    assert(!socket->open);
    generation = socket->generation;
    memset(socket, 0, sizeof(*socket));
    socket->descriptor = descriptor;
    socket->generation = (uint16_t)(generation + 1);
    socket->next = -1;
    socket->open = true;
    if ((uint32_t)descriptor >= sockets->top)
        sockets->top = (uint32_t)descriptor + 1;
    return socket;
}

struct driver_socket *driver_socket_at(struct driver_sockets *sockets, int descriptor)
{
    struct driver_socket *socket;

    assert(descriptor >= 0 && (uint32_t)descriptor < sockets->count);
    socket = &sockets->records[descriptor];
    assert(socket->open);
    return socket;
}

void driver_socket_forget(struct driver_socket *socket)
{
    assert(socket->in_flight == 0 && !socket->listed);
    assert(socket->receive_buffer == NULL && socket->send_buffer == NULL);
    socket->open = false;
}

void driver_socket_close(struct driver_socket *socket)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    /* A close in order never waits: without SO_LINGER the kernel goes on sending. */
    if (socket->resetting && !socket->listening)
        (void)setsockopt(socket->descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    driver_socket_forget(socket);
    close(socket->descriptor);
}

void driver_socket_list_init(struct driver_socket_list *list)
{
    list->first = -1;
    list->last = -1;
}

void driver_socket_list_add(struct driver_sockets *sockets, struct driver_socket_list *list,
                            struct driver_socket *socket)
{
    if (socket->listed)
        return;
    socket->listed = true;
    socket->next = -1;
    if (list->first < 0)
        list->first = socket->descriptor;
    else
        sockets->records[list->last].next = socket->descriptor;
    list->last = socket->descriptor;
}

struct driver_socket *driver_socket_list_take(struct driver_sockets *sockets, struct driver_socket_list *list)
{
    struct driver_socket *socket;

    if (list->first < 0)
        return NULL;
    socket = &sockets->records[list->first];
    list->first = socket->next;
    socket->listed = false;
    return socket;
}

void driver_socket_list_remove(struct driver_sockets *sockets, struct driver_socket_list *list,
                               struct driver_socket *socket)
{
    struct driver_socket_list rest = *list;
    struct driver_socket *other;

    if (!socket->listed)
        return;
    driver_socket_list_init(list);
    while ((other = driver_socket_list_take(sockets, &rest)) != NULL)
        if (other != socket)
            driver_socket_list_add(sockets, list, other);
}

/* ---- System calls -------------------------------------------------------- */

static int set_option(int descriptor, int level, int option, int value)
{
    return setsockopt(descriptor, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Of each connection; an accepted one inherits them from its listener.  Nagle
 * would hold back what we have gathered already.  Keep-alive is not set: dead
 * peers are found by the muxer's pings.  NOTSENT_LOWAT keeps no more than one
 * large send of ours waiting in the kernel, so that a pong is not queued behind
 * megabytes; on loopback it costs bulk nothing that can be measured. */
static void set_options(int descriptor)
{
    (void)set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    (void)set_option(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, DRIVER_NOTSENT_LOWAT_BYTES);
}

static int bind_and_listen(int descriptor, const struct sockaddr *address, socklen_t address_length,
                           unsigned flags, struct sockaddr_storage *bound)
{
    socklen_t length = sizeof(*bound);
    int result = 0;

    set_options(descriptor);
    /* Connections of an earlier life in TIME_WAIT do not keep the port. */
    result = set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);
    if (result == 0 && address->sa_family == AF_INET6)
        result = set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, (flags & DRIVER_LISTEN_V6ONLY) != 0);
    if (result == 0 && flags & DRIVER_LISTEN_SHARED)
        result = set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1);
    if (result < 0)
        return result;
    if (bind(descriptor, address, address_length) < 0)
        return -errno;
    /* The first is bound without, and lets its siblings in from here on. */
    if (!(flags & DRIVER_LISTEN_SHARED))
        result = set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1);
    if (result < 0)
        return result;
    if (listen(descriptor, DRIVER_LISTEN_BACKLOG_CONNECTIONS) < 0)
        return -errno;
    memset(bound, 0, sizeof(*bound));
    return getsockname(descriptor, (struct sockaddr *)bound, &length) < 0 ? -errno : 0;
}

int driver_kernel_listen(const struct sockaddr *address, socklen_t address_length, unsigned flags,
                         struct sockaddr_storage *bound)
{
    int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result;

    if (descriptor < 0)
        return -errno;
    result = bind_and_listen(descriptor, address, address_length, flags, bound);
    if (result == 0)
        return descriptor;
    close(descriptor);
    return result;
}

int driver_kernel_connect(const struct sockaddr *address, socklen_t address_length)
{
    int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result;

    if (descriptor < 0)
        return -errno;
    set_options(descriptor);
    if (connect(descriptor, address, address_length) == 0 || errno == EINPROGRESS || errno == EINTR)
        return descriptor;
    result = -errno;
    close(descriptor);
    return result;
}

int driver_kernel_connected(int descriptor)
{
    int error = 0;
    socklen_t length = sizeof(error);

    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return -errno;
    return -error;
}

bool driver_kernel_accept_again(int error)
{
    switch (error) {
    /* accept(2): errors pending on the new socket, to be treated like EAGAIN. */
    case ECONNABORTED: case ENETDOWN: case EPROTO: case ENOPROTOOPT: case EHOSTDOWN: case ENONET:
    case EHOSTUNREACH: case EOPNOTSUPP: case ENETUNREACH: case ETIMEDOUT:
    case EPERM: /* a firewall's rule */
    case EINTR: case EAGAIN:
        return true;
    default:
        return false;
    }
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t driver_kernel_now_ns(struct driver *driver)
{
    (void)driver;
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t driver_kernel_wall_ns(struct driver *driver)
{
    (void)driver;
    return clock_ns(CLOCK_REALTIME);
}

void driver_kernel_entropy(struct driver *driver, void *out, size_t length)
{
    uint8_t *bytes = out;

    (void)driver;
    while (length > 0) {
        ssize_t result = getrandom(bytes, length, 0);

        assert(result > 0 || errno == EINTR); /* what else getrandom(2) may say is about its arguments */
        if (result > 0) {
            bytes += result;
            length -= (size_t)result;
        }
    }
}

int driver_kernel_names(struct driver *driver, int socket, struct sockaddr_storage *local,
                        struct sockaddr_storage *remote)
{
    socklen_t local_length = sizeof(*local), remote_length = sizeof(*remote);

    (void)driver;
    memset(local, 0, sizeof(*local));
    memset(remote, 0, sizeof(*remote));
    if (getsockname(socket, (struct sockaddr *)local, &local_length) < 0 ||
        getpeername(socket, (struct sockaddr *)remote, &remote_length) < 0)
        return -errno;
    return 0;
}

uint64_t driver_kernel_acknowledged(struct driver *driver, int socket)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof(info);

    (void)driver;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return 0;
    return info.tcpi_bytes_acked;
}

/* ---- Wakes --------------------------------------------------------------- */

int driver_waker_init(struct driver_waker *waker)
{
    waker->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return waker->descriptor < 0 ? -errno : 0;
}

void driver_waker_fini(struct driver_waker *waker)
{
    if (waker->descriptor >= 0)
        close(waker->descriptor);
}

bool driver_waker_begin(struct driver *driver, struct driver_waker *waker)
{
    if (__atomic_exchange_n(&waker->pending, 1, __ATOMIC_SEQ_CST) != 0)
        return false;
    __atomic_fetch_add(&driver->wakes, 1, __ATOMIC_RELAXED);
    return true;
}

void driver_waker_signal(struct driver_waker *waker)
{
    uint64_t one = 1;
    ssize_t written = write(waker->descriptor, &one, sizeof(one));

    /* Its counter is never read: both drivers watch for the edge.  It would be full after 2^64 wakes. */
    assert(written == sizeof(one));
}

void driver_waker_end(struct driver_waker *waker)
{
    if (__atomic_load_n(&waker->pending, __ATOMIC_RELAXED) != 0)
        __atomic_exchange_n(&waker->pending, 0, __ATOMIC_SEQ_CST);
}

/* ---- Foreign descriptors ------------------------------------------------- */

struct driver_watch *driver_watch_find(struct driver_watches *watches, int descriptor)
{
    for (unsigned i = 0; i < watches->used; i++) {
        struct driver_watch *watch = &watches->records[i];

        if (!actor_ref_is_none(watch->owner) && watch->descriptor == descriptor)
            return watch;
    }
    return NULL;
}

struct driver_watch *driver_watch_open(struct driver_watches *watches, int descriptor, unsigned events,
                                       struct actor_ref owner)
{
    struct driver_watch *watch = watches->records;

    assert(!actor_ref_is_none(owner));
    while (watch < watches->records + watches->used && !actor_ref_is_none(watch->owner))
        watch++;
    if (watch == watches->records + DRIVER_WATCHES_MAX)
        return NULL;
    if (watch == watches->records + watches->used)
        watches->used++;
    watch->owner = owner;
    watch->descriptor = descriptor;
    watch->events = events;
    watch->generation++;
    return watch;
}

void driver_watch_close(struct driver_watches *watches, struct driver_watch *watch)
{
    watch->owner = (struct actor_ref){0, 0};
    while (watches->used > 0 && actor_ref_is_none(watches->records[watches->used - 1].owner))
        watches->used--;
}

struct driver_watch *driver_watch_at(struct driver_watches *watches, uint32_t index, uint32_t generation)
{
    struct driver_watch *watch = &watches->records[index];
    bool same = (watch->generation & DRIVER_GENERATION_MASK) == generation;

    assert(index < DRIVER_WATCHES_MAX);
    return same && !actor_ref_is_none(watch->owner) ? watch : NULL;
}
