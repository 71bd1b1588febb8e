#include "runtime/driver_socket.h"

#include "runtime/buffer.h"
#include "runtime/uring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* What an entry is about: the top byte of its user_data; then 24 bits of
 * generation and 32 of a descriptor, or of a watch's index. */
enum operation {
    OPERATION_ACCEPT = 1,
    OPERATION_CONNECT,
    OPERATION_RECEIVE,
    OPERATION_POLL, /* before a receive */
    OPERATION_RECEIVE_INTO,
    OPERATION_SEND,
    OPERATION_CANCEL,
    OPERATION_WATCH,
    OPERATION_WAKE,    /* the eventfd; not counted among those in flight */
    OPERATION_MESSAGE, /* another thread's MSG_RING */
};

struct uring_driver {
    struct driver base;
    struct uring ring;
    bool waking; /* the eventfd is watched */
    struct driver_sockets sockets;
    struct driver_socket_list starved; /* receives that found no buffer */
    struct driver_waker waker;
    struct driver_watches watches;
};

static struct uring_driver *uring_of(struct driver *driver)
{
    return (struct uring_driver *)driver;
}

/* ---- Submission ---------------------------------------------------------- */

static uint64_t tag_of(enum operation operation, uint32_t generation, uint32_t index)
{
    return (uint64_t)operation << 56 | (uint64_t)(generation & DRIVER_GENERATION_MASK) << 32 | index;
}

static uint64_t socket_tag(enum operation operation, const struct driver_socket *socket)
{
    return tag_of(operation, socket->generation, (uint32_t)socket->descriptor);
}

static void submit(struct uring_driver *uring, struct io_uring_sqe *entry, struct driver_socket *socket,
                   enum operation operation)
{
    io_uring_sqe_set_data64(entry, socket_tag(operation, socket));
    socket->in_flight++;
    uring->base.stats.operations_in_flight++;
}

static void cancel(struct uring_driver *uring, uint64_t tag)
{
    struct io_uring_sqe *entry = uring_entry(&uring->ring);

    io_uring_prep_cancel64(entry, tag, 0);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_CANCEL, 0, 0));
    uring->base.stats.operations_in_flight++;
}

static void cancel_all(struct uring_driver *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = uring_entry(&uring->ring);

    io_uring_prep_cancel_fd(entry, socket->descriptor, IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_CANCEL, 0, 0));
    uring->base.stats.operations_in_flight++;
}

static void submit_accept(struct uring_driver *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = uring_entry(&uring->ring);

    /* No address: one buffer would be shared by all completions. */
    io_uring_prep_multishot_accept(entry, socket->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    submit(uring, entry, socket, OPERATION_ACCEPT);
    socket->armed = true;
}

static void submit_receive(struct uring_driver *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = uring_entry(&uring->ring);

    io_uring_prep_recv(entry, socket->descriptor, NULL, 0, 0);
    entry->ioprio |= IORING_RECV_MULTISHOT;
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = URING_GROUP;
    submit(uring, entry, socket, OPERATION_RECEIVE);
    socket->armed = true;
}

/* Nothing is waited for with less: a multishot receive keeps its message header
 * and a poll besides. */
static void submit_poll(struct uring_driver *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = uring_entry(&uring->ring);

    io_uring_prep_poll_add(entry, socket->descriptor, POLLIN);
    submit(uring, entry, socket, OPERATION_POLL);
    socket->armed = true;
    socket->polling = true;
}

static void submit_receive_into(struct uring_driver *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = uring_entry(&uring->ring);
    struct buffer *buffer = socket->receive_buffer;

    io_uring_prep_recv(entry, socket->descriptor, buffer->data + socket->receive_offset,
                       buffer->capacity - socket->receive_offset, 0);
    submit(uring, entry, socket, OPERATION_RECEIVE_INTO);
}

/* The last step of a close, when nothing is in flight any more. */
static void settle(struct uring_driver *uring, struct driver_socket *socket)
{
    if (!socket->closing || socket->in_flight > 0 || socket->listed)
        return;
    buffer_unref(socket->receive_buffer); /* that waited for the end of a driver_receive() */
    socket->receive_buffer = NULL;
    driver_socket_close(socket);
    uring->base.stats.sockets_open--;
}

/* Receives that found the ring empty begin again, no more than there are buffers. */
static void rearm_starved(struct uring_driver *uring)
{
    unsigned filled = uring_filled(&uring->ring);
    struct driver_socket_list starved = uring->starved;
    struct driver_socket *socket;

    driver_socket_list_init(&uring->starved);
    while ((socket = driver_socket_list_take(&uring->sockets, &starved)) != NULL) {
        if (socket->receiving && !socket->armed && filled == 0) {
            driver_socket_list_add(&uring->sockets, &uring->starved, socket);
        } else if (socket->receiving && !socket->armed) {
            submit_receive(uring, socket);
            filled--;
        }
        settle(uring, socket);
    }
}

/* ---- Completion ---------------------------------------------------------- */

static void on_accept(struct uring_driver *uring, struct driver_socket *socket, int result)
{
    int listening = socket->descriptor;
    struct driver_socket *accepted = NULL;

    if (result >= 0) {
        if (!socket->closing)
            accepted = driver_socket_open(&uring->sockets, result);
        if (accepted == NULL) {
            close(result);
            return;
        }
        uring->base.stats.sockets_open++;
        driver_deliver(&uring->base, MESSAGE_IO_ACCEPTED, socket->receiver, result, listening);
        return;
    }
    if (socket->closing || result == -ECANCELED || driver_kernel_accept_again(-result))
        return;
    if (!socket->receiving)
        return;
    socket->receiving = false;
    driver_deliver(&uring->base, MESSAGE_IO_ACCEPTED, socket->receiver, result, listening);
}

/* The end, or an error: said to whoever receives by then. */
static void end_receive(struct uring_driver *uring, struct driver_socket *socket, int result)
{
    struct buffer *buffer = socket->receive_buffer;

    socket->receiving = false;
    socket->receive_buffer = NULL;
    driver_deliver_bytes(&uring->base, socket->receiver, result, socket->descriptor, buffer,
                         buffer != NULL ? socket->receive_offset : 0);
}

static void on_receive(struct uring_driver *uring, struct driver_socket *socket, int result, uint32_t flags)
{
    struct buffer *buffer = uring_take(&uring->ring, flags);

    if (socket->closing || result <= 0)
        buffer_unref(buffer);
    if (socket->closing)
        return;
    if (result > 0) {
        driver_deliver_bytes(&uring->base, socket->receiver, result, socket->descriptor, buffer, 0);
        return;
    }
    switch (-result) {
    case ENOBUFS:
        if (socket->receiving)
            driver_socket_list_add(&uring->sockets, &uring->starved, socket);
        return;
    case ECANCELED: case EINTR: case EAGAIN:
        return;
    default:
        end_receive(uring, socket, result);
    }
}

/* A multishot operation has ended: as it should, or for the kernel's own
 * reasons; then it begins again.  Or the poll has, whatever it says: the receive
 * will tell. */
static void after_multishot(struct uring_driver *uring, struct driver_socket *socket)
{
    bool quiet = socket->quiet;

    socket->armed = false;
    socket->cancelling = false;
    socket->polling = false;
    socket->quiet = false;
    if (socket->closing)
        return;
    if (socket->receiving && socket->listening)
        submit_accept(uring, socket);
    else if (socket->receiving && !socket->listed && quiet)
        submit_poll(uring, socket);
    else if (socket->receiving && !socket->listed)
        submit_receive(uring, socket);
    else if (socket->receive_buffer != NULL)
        submit_receive_into(uring, socket);
}

static void on_receive_into(struct uring_driver *uring, struct driver_socket *socket, int result)
{
    struct buffer *buffer = socket->receive_buffer;

    socket->cancelling = false;
    if (!socket->closing && (result == -EINTR || result == -EAGAIN)) {
        submit_receive_into(uring, socket);
        return;
    }
    socket->receive_buffer = NULL;
    if (socket->closing)
        buffer_unref(buffer);
    else
        driver_deliver_bytes(&uring->base, socket->receiver, result, socket->descriptor, buffer,
                             socket->receive_offset);
}

static void on_send(struct uring_driver *uring, struct driver_socket *socket, int result)
{
    buffer_unref(socket->send_buffer);
    socket->send_buffer = NULL;
    if (socket->closing)
        return;
    if (socket->shutting)
        (void)shutdown(socket->descriptor, SHUT_WR);
    socket->shutting = false;
    driver_deliver(&uring->base, MESSAGE_IO_SENT, socket->sender, result, socket->descriptor);
}

static void on_connect(struct uring_driver *uring, struct driver_socket *socket, int result)
{
    socket->connecting = false;
    if (socket->closing)
        return;
    if (result >= 0)
        result = driver_kernel_connected(socket->descriptor);
    driver_deliver(&uring->base, MESSAGE_IO_CONNECTED, socket->sender, result, socket->descriptor);
}

static void on_watch(struct uring_driver *uring, uint32_t index, uint32_t generation, int result)
{
    struct driver_watch *watch = driver_watch_at(&uring->watches, index, generation);
    struct actor_ref owner;

    uring->base.stats.operations_in_flight--;
    if (watch == NULL) /* unwatched meanwhile */
        return;
    owner = watch->owner;
    driver_watch_close(&uring->watches, watch);
    driver_deliver(&uring->base, MESSAGE_IO_READY, owner, result, watch->descriptor);
}

static void on_socket(struct uring_driver *uring, enum operation operation, const struct io_uring_cqe *completion)
{
    struct driver_socket *socket = driver_socket_at(&uring->sockets, (int)(uint32_t)completion->user_data);
    bool more = completion->flags & IORING_CQE_F_MORE;

    /* Its number is not given back before the last completion. */
    assert((completion->user_data >> 32 & DRIVER_GENERATION_MASK) == socket->generation);
    assert(socket->in_flight > 0);
    if (!more) {
        socket->in_flight--;
        uring->base.stats.operations_in_flight--;
    }
    switch (operation) {
    case OPERATION_ACCEPT:
        on_accept(uring, socket, completion->res);
        break;
    case OPERATION_RECEIVE:
        on_receive(uring, socket, completion->res, completion->flags);
        break;
    case OPERATION_POLL:
        break;
    case OPERATION_RECEIVE_INTO:
        on_receive_into(uring, socket, completion->res);
        break;
    case OPERATION_SEND:
        on_send(uring, socket, completion->res);
        break;
    default:
        on_connect(uring, socket, completion->res);
        break;
    }
    if (!more && (operation == OPERATION_ACCEPT || operation == OPERATION_RECEIVE || operation == OPERATION_POLL))
        after_multishot(uring, socket);
    settle(uring, socket);
}

static void on_completion(struct uring_driver *uring, const struct io_uring_cqe *completion)
{
    enum operation operation = (enum operation)(completion->user_data >> 56);

    switch (operation) {
    case OPERATION_CANCEL:
        uring->base.stats.operations_in_flight--;
        break;
    case OPERATION_WATCH:
        on_watch(uring, (uint32_t)completion->user_data, completion->user_data >> 32 & DRIVER_GENERATION_MASK,
                 completion->res);
        break;
    case OPERATION_WAKE:
        uring->waking = completion->flags & IORING_CQE_F_MORE;
        break;
    case OPERATION_MESSAGE:
        break;
    default:
        on_socket(uring, operation, completion);
    }
}

/* ---- The turn ------------------------------------------------------------ */

static void watch_wakes(struct uring_driver *uring)
{
    struct io_uring_sqe *entry;

    if (uring->waking)
        return;
    entry = uring_entry(&uring->ring);
    io_uring_prep_poll_multishot(entry, uring->waker.descriptor, POLLIN);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_WAKE, 0, 0));
    uring->waking = true;
}

static unsigned turn(struct driver *driver, uint64_t deadline_ns)
{
    struct uring_driver *uring = uring_of(driver);
    uint64_t before = driver->delivered;

    uring_enable(&uring->ring);
    watch_wakes(uring);
    uring_refill(&uring->ring);
    rearm_starved(uring);
    uring_enter(&uring->ring, deadline_ns, uring->starved.first >= 0 ? DRIVER_STARVED_RETRY_NS : UINT64_MAX);
    for (unsigned left = io_uring_cq_ready(&uring->ring.ring); left > 0; left--) {
        struct io_uring_cq *queue = &uring->ring.ring.cq;
        struct io_uring_cqe completion = queue->cqes[*queue->khead & queue->ring_mask];

        io_uring_cq_advance(&uring->ring.ring, 1);
        on_completion(uring, &completion);
    }
    driver_waker_end(&uring->waker);
    uring_quiet(&uring->ring);
    return (unsigned)(driver->delivered - before);
}

static void wake(struct driver *driver)
{
    struct uring_driver *uring = uring_of(driver);

    if (!driver_waker_begin(driver, &uring->waker))
        return;
    if (!uring_send_message(&uring->ring, tag_of(OPERATION_MESSAGE, 0, 0)))
        driver_waker_signal(&uring->waker);
}

static int descriptor(struct driver *driver)
{
    return uring_bell(&uring_of(driver)->ring);
}

static uint64_t due(struct driver *driver)
{
    struct uring_driver *uring = uring_of(driver);

    if (uring_pending(&uring->ring))
        return 0;
    return uring->starved.first >= 0 ? driver_kernel_now_ns(driver) + DRIVER_STARVED_RETRY_NS : UINT64_MAX;
}

/* ---- Operations ---------------------------------------------------------- */

static int listen_on(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                     unsigned flags, struct sockaddr_storage *bound)
{
    struct uring_driver *uring = uring_of(driver);
    int result = driver_kernel_listen(address, address_length, flags, bound);
    struct driver_socket *socket;

    if (result < 0)
        return result;
    socket = driver_socket_open(&uring->sockets, result);
    if (socket == NULL) {
        close(result);
        return -EMFILE;
    }
    socket->listening = true;
    driver->stats.sockets_open++;
    return result;
}

static void accept_on(struct driver *driver, int listening, struct actor_ref owner)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, listening);

    assert(socket->listening && !socket->closing);
    socket->receiver = owner;
    socket->receiving = true;
    if (!socket->armed)
        submit_accept(uring, socket);
}

/* That is with the kernel. */
static enum operation receive_operation(const struct driver_socket *socket)
{
    if (!socket->armed)
        return OPERATION_RECEIVE_INTO;
    if (socket->listening)
        return OPERATION_ACCEPT;
    return socket->polling ? OPERATION_POLL : OPERATION_RECEIVE;
}

/* Also of driver_accept(). */
static void receive_stop(struct driver *driver, int socket_)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    socket->receiving = false;
    socket->quiet = false;
    if (socket->cancelling || socket->closing || (!socket->armed && socket->receive_buffer == NULL))
        return;
    /* A cancelled accept stays an exclusive waiter, and swallows wake-ups meant
     * for other rings, until this one is entered for events: the next turn. */
    socket->cancelling = true;
    cancel(uring, socket_tag(receive_operation(socket), socket));
}

static void receive_quietly(struct driver *driver, int socket_)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    assert(!socket->listening);
    if (!socket->receiving || !socket->armed || socket->polling || socket->cancelling || socket->closing)
        return;
    socket->quiet = true;
    socket->cancelling = true;
    cancel(uring, socket_tag(OPERATION_RECEIVE, socket));
}

static int connect_to(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                      struct actor_ref owner)
{
    struct uring_driver *uring = uring_of(driver);
    int result = driver_kernel_connect(address, address_length);
    struct driver_socket *socket;
    struct io_uring_sqe *entry;

    if (result < 0)
        return result;
    socket = driver_socket_open(&uring->sockets, result);
    if (socket == NULL) {
        close(result);
        return -EMFILE;
    }
    driver->stats.sockets_open++;
    socket->sender = owner;
    socket->connecting = true;
    entry = uring_entry(&uring->ring);
    io_uring_prep_poll_add(entry, socket->descriptor, POLLOUT);
    submit(uring, entry, socket, OPERATION_CONNECT);
    return result;
}

static void adopt(struct driver *driver, int socket)
{
    /* It has a record: it was opened by a driver with as many. */
    struct driver_socket *adopted = driver_socket_open(&uring_of(driver)->sockets, socket);

    assert(adopted != NULL);
    driver->stats.sockets_open++;
}

static void release(struct driver *driver, int socket_)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    assert(!socket->closing);
    driver_socket_list_remove(&uring->sockets, &uring->starved, socket);
    driver_socket_forget(socket);
    driver->stats.sockets_open--;
}

static void receive(struct driver *driver, int socket_, struct actor_ref owner)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    assert(!socket->listening && !socket->closing && socket->receive_buffer == NULL);
    socket->receiver = owner;
    socket->receiving = true;
    if (!socket->armed && !socket->listed)
        submit_receive(uring, socket);
}

static void receive_into(struct driver *driver, int socket_, struct actor_ref owner, struct buffer *buffer,
                         uint32_t offset)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    assert(!socket->listening && !socket->closing && !socket->receiving && socket->receive_buffer == NULL);
    assert(offset < buffer->capacity);
    socket->receiver = owner;
    socket->receive_buffer = buffer;
    socket->receive_offset = offset;
    if (!socket->armed)
        submit_receive_into(uring, socket);
}

static bool receive_idle(struct driver *driver, int socket_)
{
    struct driver_socket *socket = driver_socket_at(&uring_of(driver)->sockets, socket_);

    return !socket->armed && !socket->receiving && socket->receive_buffer == NULL;
}

static void send_bytes(struct driver *driver, int socket_, struct actor_ref owner, struct buffer *buffer,
                       uint32_t offset, uint32_t length)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);
    struct io_uring_sqe *entry = uring_entry(&uring->ring);

    assert(!socket->listening && !socket->closing && !socket->shutting && socket->send_buffer == NULL);
    assert(length > 0 && offset <= buffer->capacity && length <= buffer->capacity - offset);
    socket->sender = owner;
    socket->send_buffer = buffer;
    io_uring_prep_send(entry, socket->descriptor, buffer->data + offset, length, MSG_NOSIGNAL | MSG_WAITALL);
    submit(uring, entry, socket, OPERATION_SEND);
}

static void shutdown_write(struct driver *driver, int socket_)
{
    struct driver_socket *socket = driver_socket_at(&uring_of(driver)->sockets, socket_);

    assert(!socket->closing);
    if (socket->send_buffer != NULL)
        socket->shutting = true;
    else /* by a call of its own: io_uring would give it to a thread */
        (void)shutdown(socket->descriptor, SHUT_WR);
}

static void close_socket(struct driver *driver, int socket_, enum driver_close_how how)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    assert(!socket->closing);
    socket->closing = true;
    socket->resetting = how == DRIVER_CLOSE_RESET;
    socket->receiving = false;
    if (socket->in_flight > 0)
        cancel_all(uring, socket);
    settle(uring, socket);
}

static void watch(struct driver *driver, int foreign, unsigned events, struct actor_ref owner)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_watch *watch = driver_watch_find(&uring->watches, foreign);
    struct io_uring_sqe *entry;
    uint32_t index;

    if (watch != NULL && watch->events == events && actor_ref_equal(watch->owner, owner))
        return;
    driver_unwatch(driver, foreign);
    watch = driver_watch_open(&uring->watches, foreign, events, owner);
    if (watch == NULL) {
        driver_deliver(driver, MESSAGE_IO_READY, owner, -ENOSPC, foreign);
        return;
    }
    index = (uint32_t)(watch - uring->watches.records);
    entry = uring_entry(&uring->ring);
    io_uring_prep_poll_add(entry, foreign, events);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_WATCH, watch->generation, index));
    driver->stats.operations_in_flight++;
}

static void unwatch(struct driver *driver, int foreign)
{
    struct uring_driver *uring = uring_of(driver);
    struct driver_watch *watch = driver_watch_find(&uring->watches, foreign);

    if (watch == NULL)
        return;
    cancel(uring, tag_of(OPERATION_WATCH, watch->generation, (uint32_t)(watch - uring->watches.records)));
    driver_watch_close(&uring->watches, watch);
}

/* ---- Life ---------------------------------------------------------------- */

static void uring_free(struct driver *driver)
{
    struct uring_driver *uring = uring_of(driver);

    while (driver_socket_list_take(&uring->sockets, &uring->starved) != NULL)
        continue; /* no longer listed, they can be closed */
    driver_sockets_fini(&uring->sockets);
    uring_fini(&uring->ring);
    driver_waker_fini(&uring->waker);
    free(uring);
}

static const struct driver_operations uring_operations = {
    .name = "io_uring",
    .turn = turn,
    .wake = wake,
    .descriptor = descriptor,
    .due = due,
    .free = uring_free,
    .now_ns = driver_kernel_now_ns,
    .wall_ns = driver_kernel_wall_ns,
    .entropy = driver_kernel_entropy,
    .listen = listen_on,
    .accept = accept_on,
    .accept_stop = receive_stop,
    .connect = connect_to,
    .adopt = adopt,
    .release = release,
    .receive = receive,
    .receive_quietly = receive_quietly,
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

struct driver *driver_uring_new_with(struct worker *worker, struct buffer_pool *pool, unsigned features, int *error)
{
    struct uring_driver *uring = calloc(1, sizeof(*uring));

    *error = uring == NULL ? -ENOMEM : 0;
    if (uring == NULL)
        return NULL;
    driver_init(&uring->base, &uring_operations, worker, pool);
    uring->waker.descriptor = -1;
    driver_socket_list_init(&uring->starved);
    *error = uring_init(&uring->ring, pool, &uring->base.stats, features);
    if (*error == 0)
        *error = driver_sockets_init(&uring->sockets);
    if (*error == 0)
        *error = driver_waker_init(&uring->waker);
    if (*error == 0)
        return &uring->base;
    uring_free(&uring->base);
    return NULL;
}

struct driver *driver_uring_new(struct worker *worker, struct buffer_pool *pool, int *error)
{
    return driver_uring_new_with(worker, pool, URING_ALL, error);
}
