#include "runtime/driver_socket.h"

#include "runtime/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

/* The fallback where io_uring is refused.  Sockets are watched for edges, once
 * and for good; what we know of them is in `readable`, `writable`, `hung_up`.  A
 * socket is on the list `ready` while it has an operation that may go on.  As
 * with io_uring, operations are carried out in the turn and not in the call. */

enum epoll_limits {
    EPOLL_EVENTS_MAX = 512,
    /* In one visit; a socket is visited twice a turn at most, so that it takes
     * 256 KiB ("Fair turns"). */
    EPOLL_VISIT_BUFFERS_MAX = 32,
    EPOLL_VISIT_ACCEPTS_MAX = 64,
};

/* The top bits of an event's data; below, 24 bits of generation and 32 of a
 * descriptor, or of a watch's index. */
enum event_source {
    SOURCE_SOCKET,
    SOURCE_WATCH,
    SOURCE_WAKE,
};

struct poller {
    struct driver base;
    int descriptor;
    struct driver_sockets sockets;
    struct driver_socket_list ready;
    struct driver_socket_list starved; /* receives that found no buffer */
    struct driver_waker waker;
    struct driver_watches watches;
    struct buffer *spare; /* taken for a receive that found nothing */
    struct epoll_event events[EPOLL_EVENTS_MAX];
};

static struct poller *poller_of(struct driver *driver)
{
    return (struct poller *)driver;
}

static uint64_t tag_of(enum event_source source, uint32_t generation, uint32_t index)
{
    return (uint64_t)source << 56 | (uint64_t)(generation & DRIVER_GENERATION_MASK) << 32 | index;
}

static int control(struct poller *poller, int operation, int descriptor, unsigned events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data = {.u64 = tag}};

    poller->base.stats.syscalls++;
    return epoll_ctl(poller->descriptor, operation, descriptor, &event) < 0 ? -errno : 0;
}

/* ---- Operations that may go on ------------------------------------------- */

static void begin(struct poller *poller, struct driver_socket *socket)
{
    poller->base.stats.operations_in_flight++;
    driver_socket_list_add(&poller->sockets, &poller->ready, socket);
}

static void end(struct poller *poller)
{
    assert(poller->base.stats.operations_in_flight > 0);
    poller->base.stats.operations_in_flight--;
}

/* A new socket is watched from here on.  -errno: it is not, and has no record. */
static int open_socket(struct poller *poller, int descriptor, struct driver_socket **out)
{
    struct driver_socket *socket = driver_socket_open(&poller->sockets, descriptor);
    int result;

    if (socket == NULL)
        return -EMFILE;
    result = control(poller, EPOLL_CTL_ADD, descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                     tag_of(SOURCE_SOCKET, socket->generation, (uint32_t)descriptor));
    if (result < 0) {
        driver_socket_forget(socket);
        return result;
    }
    poller->base.stats.sockets_open++;
    *out = socket;
    return 0;
}

static bool can_receive(const struct driver_socket *socket)
{
    return socket->readable && (socket->receiving || socket->receive_buffer != NULL);
}

/* Something to do without a further event. */
static bool can_go_on(const struct driver_socket *socket)
{
    if (socket->connecting)
        return socket->writable || socket->hung_up;
    return can_receive(socket) || (socket->send_buffer != NULL && socket->writable);
}

static void go_on_connecting(struct poller *poller, struct driver_socket *socket)
{
    socket->connecting = false;
    end(poller);
    driver_deliver(&poller->base, MESSAGE_IO_CONNECTED, socket->sender, driver_kernel_connected(socket->descriptor),
                   socket->descriptor);
}

static void go_on_accepting(struct poller *poller, struct driver_socket *socket)
{
    for (unsigned i = 0; i < EPOLL_VISIT_ACCEPTS_MAX; i++) {
        int result = accept4(socket->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct driver_socket *accepted;

        poller->base.stats.syscalls++;
        if (result >= 0) {
            if (open_socket(poller, result, &accepted) < 0)
                close(result);
            else
                driver_deliver(&poller->base, MESSAGE_IO_ACCEPTED, socket->receiver, result, socket->descriptor);
        } else if (errno == EAGAIN) {
            socket->readable = false;
            return;
        } else if (!driver_kernel_accept_again(errno)) {
            socket->receiving = false;
            end(poller);
            driver_deliver(&poller->base, MESSAGE_IO_ACCEPTED, socket->receiver, -errno, socket->descriptor);
            return;
        }
    }
}

/* The buffer of the next receive, or NULL when the pool is at its bound. */
static struct buffer *receive_buffer(struct poller *poller, struct driver_socket *socket)
{
    if (socket->receive_buffer != NULL)
        return socket->receive_buffer;
    if (poller->spare == NULL)
        poller->spare = buffer_new(poller->base.pool, BUFFER_SMALL_BYTES);
    return poller->spare;
}

/* One receive.  True: there may be more. */
static bool receive_once(struct poller *poller, struct driver_socket *socket)
{
    struct buffer *buffer = receive_buffer(poller, socket);
    uint32_t offset = socket->receive_buffer != NULL ? socket->receive_offset : 0;
    size_t room;
    ssize_t result;

    if (buffer == NULL) {
        driver_socket_list_add(&poller->sockets, &poller->starved, socket);
        return false;
    }
    room = buffer->capacity - offset;
    result = recv(socket->descriptor, buffer->data + offset, room, 0);
    poller->base.stats.syscalls++;
    if (result < 0 && errno == EINTR)
        return true;
    if (result < 0 && errno == EAGAIN) {
        socket->readable = false;
        return false;
    }
    /* Less than we asked for: there is no more, unless the end comes after it. */
    if (result > 0 && (size_t)result < room && !socket->hung_up)
        socket->readable = false;
    if (result < 0)
        result = -errno;
    if (socket->receive_buffer != NULL || result <= 0) {
        buffer = socket->receive_buffer;
        end(poller);
        socket->receiving = false;
        socket->receive_buffer = NULL;
    } else {
        poller->spare = NULL;
    }
    driver_deliver_bytes(&poller->base, socket->receiver, result, socket->descriptor, buffer, offset);
    return can_receive(socket);
}

static void go_on_receiving(struct poller *poller, struct driver_socket *socket)
{
    for (unsigned i = 0; i < EPOLL_VISIT_BUFFERS_MAX; i++)
        if (!receive_once(poller, socket))
            return;
}

static void go_on_sending(struct poller *poller, struct driver_socket *socket)
{
    struct buffer *buffer = socket->send_buffer;
    ssize_t result = send(socket->descriptor, buffer->data + socket->send_offset, socket->send_length, MSG_NOSIGNAL);

    poller->base.stats.syscalls++;
    if (result < 0 && errno == EINTR)
        return;
    if (result < 0 && errno == EAGAIN) {
        socket->writable = false;
        return;
    }
    result = result < 0 ? -errno : result;
    if (result > 0) {
        socket->sent += (uint32_t)result;
        socket->send_offset += (uint32_t)result;
        socket->send_length -= (uint32_t)result;
    }
    if (result > 0 && socket->shutting && socket->send_length > 0)
        return; /* short: the FIN comes after all of it */
    socket->send_buffer = NULL;
    end(poller);
    buffer_unref(buffer);
    if (socket->shutting)
        (void)shutdown(socket->descriptor, SHUT_WR);
    socket->shutting = false;
    driver_deliver(&poller->base, MESSAGE_IO_SENT, socket->sender, socket->sent > 0 ? socket->sent : result,
                   socket->descriptor);
}

static void visit(struct poller *poller, struct driver_socket *socket)
{
    if (socket->closing) { /* it was on a list when it was closed */
        driver_socket_close(socket);
        poller->base.stats.sockets_open--;
        return;
    }
    if (socket->connecting && can_go_on(socket))
        go_on_connecting(poller, socket);
    if (socket->connecting)
        return;
    if (socket->send_buffer != NULL && socket->writable)
        go_on_sending(poller, socket);
    if (can_receive(socket) && socket->listening)
        go_on_accepting(poller, socket);
    else if (can_receive(socket))
        go_on_receiving(poller, socket);
    if (!socket->listed && can_go_on(socket))
        driver_socket_list_add(&poller->sockets, &poller->ready, socket);
}

/* Each that is on the list now, once. */
static void visit_ready(struct poller *poller)
{
    struct driver_socket_list ready = poller->ready;
    struct driver_socket *socket;

    driver_socket_list_init(&poller->ready);
    while ((socket = driver_socket_list_take(&poller->sockets, &ready)) != NULL)
        visit(poller, socket);
}

static void revive_starved(struct poller *poller)
{
    struct driver_socket *socket;

    while ((socket = driver_socket_list_take(&poller->sockets, &poller->starved)) != NULL)
        driver_socket_list_add(&poller->sockets, &poller->ready, socket);
}

/* ---- The turn ------------------------------------------------------------ */

static void on_socket_event(struct poller *poller, uint64_t tag, unsigned events)
{
    struct driver_socket *socket = &poller->sockets.records[(uint32_t)tag];

    if (!socket->open || (tag >> 32 & DRIVER_GENERATION_MASK) != socket->generation)
        return; /* of an earlier life: a forked process may hold the descriptor */
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        socket->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        socket->writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        socket->hung_up = true;
    if (can_go_on(socket))
        driver_socket_list_add(&poller->sockets, &poller->ready, socket);
}

static void on_watch_event(struct poller *poller, uint64_t tag, unsigned events)
{
    struct driver_watch *watch = driver_watch_at(&poller->watches, (uint32_t)tag, tag >> 32 & DRIVER_GENERATION_MASK);
    struct actor_ref owner;
    int foreign;

    if (watch == NULL)
        return;
    owner = watch->owner;
    foreign = watch->descriptor;
    driver_unwatch(&poller->base, foreign);
    driver_deliver(&poller->base, MESSAGE_IO_READY, owner, events, foreign);
}

static void on_event(struct poller *poller, const struct epoll_event *event)
{
    switch ((enum event_source)(event->data.u64 >> 56)) {
    case SOURCE_SOCKET:
        on_socket_event(poller, event->data.u64, event->events);
        break;
    case SOURCE_WATCH:
        on_watch_event(poller, event->data.u64, event->events);
        break;
    case SOURCE_WAKE: /* an edge: the counter needs no reading */
        break;
    }
}

/* How long to sleep; NULL: until something happens. */
static const struct timespec *wait_until(struct poller *poller, uint64_t deadline_ns, bool busy,
                                         struct timespec *out)
{
    uint64_t now_ns, wait_ns;

    *out = (struct timespec){0};
    if (busy || deadline_ns == 0 || poller->ready.first >= 0)
        return out;
    if (deadline_ns == UINT64_MAX && poller->starved.first < 0)
        return NULL;
    now_ns = driver_kernel_now_ns(&poller->base);
    wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    if (poller->starved.first >= 0 && wait_ns > DRIVER_STARVED_RETRY_NS)
        wait_ns = DRIVER_STARVED_RETRY_NS;
    out->tv_sec = (time_t)(wait_ns / 1000000000u);
    out->tv_nsec = (long)(wait_ns % 1000000000u);
    return out;
}

static unsigned turn(struct driver *driver, uint64_t deadline_ns)
{
    struct poller *poller = poller_of(driver);
    uint64_t before = driver->delivered;
    const struct timespec *wait;
    struct timespec storage;
    int count;

    revive_starved(poller);
    visit_ready(poller);
    wait = wait_until(poller, deadline_ns, driver->delivered > before, &storage);
    driver->stats.syscalls++;
    driver->stats.waits += wait == NULL || wait->tv_sec > 0 || wait->tv_nsec > 0;
    count = epoll_pwait2(poller->descriptor, poller->events, EPOLL_EVENTS_MAX, wait, NULL);
    for (int i = 0; i < count; i++)
        on_event(poller, &poller->events[i]);
    visit_ready(poller);
    driver_waker_end(&poller->waker);
    return (unsigned)(driver->delivered - before);
}

static void wake(struct driver *driver)
{
    if (driver_waker_begin(driver, &poller_of(driver)->waker))
        driver_waker_signal(&poller_of(driver)->waker);
}

static int descriptor(struct driver *driver)
{
    return poller_of(driver)->descriptor;
}

static uint64_t due(struct driver *driver)
{
    const struct poller *poller = poller_of(driver);

    if (poller->ready.first >= 0)
        return 0;
    return poller->starved.first >= 0 ? driver_kernel_now_ns(driver) + DRIVER_STARVED_RETRY_NS : UINT64_MAX;
}

/* ---- Operations ---------------------------------------------------------- */

static int listen_on(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                     unsigned flags, struct sockaddr_storage *bound)
{
    int descriptor_ = driver_kernel_listen(address, address_length, flags, bound);
    struct driver_socket *socket;
    int result;

    if (descriptor_ < 0)
        return descriptor_;
    result = open_socket(poller_of(driver), descriptor_, &socket);
    if (result < 0) {
        close(descriptor_);
        return result;
    }
    socket->listening = true;
    return descriptor_;
}

static int connect_to(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                      struct actor_ref owner)
{
    struct poller *poller = poller_of(driver);
    int descriptor_ = driver_kernel_connect(address, address_length);
    struct driver_socket *socket;
    int result;

    if (descriptor_ < 0)
        return descriptor_;
    result = open_socket(poller, descriptor_, &socket);
    if (result < 0) {
        close(descriptor_);
        return result;
    }
    socket->sender = owner;
    socket->connecting = true;
    begin(poller, socket);
    return descriptor_;
}

static void adopt(struct driver *driver, int socket_)
{
    struct driver_socket *socket;

    if (open_socket(poller_of(driver), socket_, &socket) == 0)
        return;
    /* It cannot be watched: whoever uses it shall hear of an end, and not wait for ever. */
    (void)shutdown(socket_, SHUT_RDWR);
    socket = driver_socket_open(&poller_of(driver)->sockets, socket_);
    assert(socket != NULL); /* it was opened by a driver with as many records */
    socket->readable = socket->writable = socket->hung_up = true;
    driver->stats.sockets_open++;
}

static void release(struct driver *driver, int socket_)
{
    struct driver_socket *socket = driver_socket_at(&poller_of(driver)->sockets, socket_);

    assert(!socket->closing && !socket->receiving && !socket->connecting);
    (void)control(poller_of(driver), EPOLL_CTL_DEL, socket_, 0, 0);
    driver_socket_list_remove(&poller_of(driver)->sockets, &poller_of(driver)->ready, socket);
    driver_socket_list_remove(&poller_of(driver)->sockets, &poller_of(driver)->starved, socket);
    driver_socket_forget(socket);
    driver->stats.sockets_open--;
}

/* Also of driver_accept(). */
static void receive(struct driver *driver, int socket_, struct actor_ref owner)
{
    struct poller *poller = poller_of(driver);
    struct driver_socket *socket = driver_socket_at(&poller->sockets, socket_);

    assert(!socket->closing && socket->receive_buffer == NULL);
    socket->receiver = owner;
    if (socket->receiving)
        return;
    socket->receiving = true;
    begin(poller, socket);
}

static void receive_stop(struct driver *driver, int socket_)
{
    struct driver_socket *socket = driver_socket_at(&poller_of(driver)->sockets, socket_);
    struct buffer *buffer = socket->receive_buffer;

    if (socket->receiving || buffer != NULL)
        end(poller_of(driver));
    socket->receiving = false;
    socket->receive_buffer = NULL;
    if (buffer != NULL)
        driver_deliver_bytes(driver, socket->receiver, -ECANCELED, socket_, buffer, socket->receive_offset);
}

static void receive_into(struct driver *driver, int socket_, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset)
{
    struct poller *poller = poller_of(driver);
    struct driver_socket *socket = driver_socket_at(&poller->sockets, socket_);

    assert(!socket->listening && !socket->closing && !socket->receiving && socket->receive_buffer == NULL);
    assert(offset < buffer->capacity);
    socket->receiver = owner;
    socket->receive_buffer = buffer;
    socket->receive_offset = offset;
    begin(poller, socket);
}

static bool receive_idle(struct driver *driver, int socket_)
{
    struct driver_socket *socket = driver_socket_at(&poller_of(driver)->sockets, socket_);

    return !socket->receiving && socket->receive_buffer == NULL;
}

static void send_bytes(struct driver *driver, int socket_, struct actor_ref owner, struct buffer *buffer,
                       uint32_t offset, uint32_t length)
{
    struct poller *poller = poller_of(driver);
    struct driver_socket *socket = driver_socket_at(&poller->sockets, socket_);

    assert(!socket->listening && !socket->closing && !socket->shutting && socket->send_buffer == NULL);
    assert(length > 0 && offset <= buffer->capacity && length <= buffer->capacity - offset);
    socket->sender = owner;
    socket->send_buffer = buffer;
    socket->send_offset = offset;
    socket->send_length = length;
    socket->sent = 0;
    begin(poller, socket);
}

static void shutdown_write(struct driver *driver, int socket_)
{
    struct driver_socket *socket = driver_socket_at(&poller_of(driver)->sockets, socket_);

    assert(!socket->closing);
    if (socket->send_buffer != NULL)
        socket->shutting = true;
    else
        (void)shutdown(socket->descriptor, SHUT_WR);
}

static void close_socket(struct driver *driver, int socket_, enum driver_close_how how)
{
    struct poller *poller = poller_of(driver);
    struct driver_socket *socket = driver_socket_at(&poller->sockets, socket_);
    struct buffer *buffers[] = {socket->receive_buffer, socket->send_buffer};

    assert(!socket->closing);
    for (unsigned i = socket->receiving + socket->connecting; i > 0; i--)
        end(poller);
    for (unsigned i = 0; i < 2; i++) {
        if (buffers[i] != NULL)
            end(poller);
        buffer_unref(buffers[i]);
    }
    socket->receive_buffer = socket->send_buffer = NULL;
    socket->receiving = socket->connecting = false;
    socket->closing = true;
    socket->resetting = how == DRIVER_CLOSE_RESET;
    if (!socket->listed)
        visit(poller, socket);
}

static void watch(struct driver *driver, int foreign, unsigned events, struct actor_ref owner)
{
    struct poller *poller = poller_of(driver);
    struct driver_watch *watch;
    int result = -ENOSPC;

    driver_unwatch(driver, foreign);
    watch = driver_watch_open(&poller->watches, foreign, events, owner);
    if (watch != NULL) {
        driver->stats.operations_in_flight++;
        result = control(poller, EPOLL_CTL_ADD, foreign, events | EPOLLONESHOT,
                         tag_of(SOURCE_WATCH, watch->generation, (uint32_t)(watch - poller->watches.records)));
    }
    if (result == 0)
        return;
    driver_unwatch(driver, foreign);
    driver_deliver(driver, MESSAGE_IO_READY, owner, result, foreign);
}

static void unwatch(struct driver *driver, int foreign)
{
    struct poller *poller = poller_of(driver);
    struct driver_watch *watch = driver_watch_find(&poller->watches, foreign);

    if (watch == NULL)
        return;
    end(poller);
    driver_watch_close(&poller->watches, watch);
    (void)control(poller, EPOLL_CTL_DEL, foreign, 0, 0);
}

/* ---- Life ---------------------------------------------------------------- */

static void epoll_free(struct driver *driver)
{
    struct poller *poller = poller_of(driver);

    /* Sockets that were closed while they were on a list. */
    revive_starved(poller);
    visit_ready(poller);
    driver_sockets_fini(&poller->sockets);
    driver_waker_fini(&poller->waker);
    if (poller->descriptor >= 0)
        close(poller->descriptor);
    buffer_unref(poller->spare);
    free(poller);
}

static const struct driver_operations epoll_operations = {
    .name = "epoll",
    .turn = turn,
    .wake = wake,
    .descriptor = descriptor,
    .due = due,
    .free = epoll_free,
    .now_ns = driver_kernel_now_ns,
    .wall_ns = driver_kernel_wall_ns,
    .entropy = driver_kernel_entropy,
    .listen = listen_on,
    .accept = receive,
    .accept_stop = receive_stop,
    .connect = connect_to,
    .adopt = adopt,
    .release = release,
    .receive = receive,
    .receive_stop = receive_stop,
    .receive_into = receive_into,
    .receive_idle = receive_idle,
    .send = send_bytes,
    .shutdown_write = shutdown_write,
    .close_socket = close_socket,
    .names = driver_kernel_names,
    .acknowledged = driver_kernel_acknowledged,
    .watch = watch,
    .unwatch = unwatch,
};

struct driver *driver_epoll_new(struct worker *worker, struct buffer_pool *pool, int *error)
{
    struct poller *poller = calloc(1, sizeof(*poller));

    *error = poller == NULL ? -ENOMEM : 0;
    if (poller == NULL)
        return NULL;
    driver_init(&poller->base, &epoll_operations, worker, pool);
    driver_socket_list_init(&poller->ready);
    driver_socket_list_init(&poller->starved);
    poller->waker.descriptor = -1;
    poller->descriptor = epoll_create1(EPOLL_CLOEXEC);
    if (poller->descriptor < 0)
        *error = -errno;
    if (*error == 0)
        *error = driver_sockets_init(&poller->sockets);
    if (*error == 0)
        *error = driver_waker_init(&poller->waker);
    if (*error == 0)
        *error = control(poller, EPOLL_CTL_ADD, poller->waker.descriptor, EPOLLIN | EPOLLET, tag_of(SOURCE_WAKE, 0, 0));
    if (*error < 0) {
        epoll_free(&poller->base);
        return NULL;
    }
    return &poller->base;
}
