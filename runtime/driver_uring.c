#include "runtime/driver_socket.h"

#include "runtime/buffer.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The floor is Linux 6.1: multishot accept and receive, a ring of provided
 * buffers, waits with a deadline.  What is later, or missing in liburing 2.3, is
 * here, tried when the driver is made, and done without where it fails. */
enum {
    REGISTER_SEND_MSG_RING = 31, /* IORING_REGISTER_SEND_MSG_RING, Linux 6.13 */
};

enum uring_limits {
    URING_SUBMISSIONS = 1024, /* then the queue is handed over before the turn ends */
    /* Completions beyond wait in the kernel, and end multishot operations. */
    URING_COMPLETIONS = 8192,
    URING_GROUP = 0, /* of the provided buffers */
};

/* Messages take buffers of the ring in the order of the ring, and their
 * successors come from wherever the pool has one: after a burst the ring would
 * hold one buffer of each of many chunks, and keep them all from going back to
 * the system.  So they are gathered, after so long with traffic. */
#define URING_GATHER_NS 500000000ull

/* What an entry is about: the top byte of its user_data; then 24 bits of
 * generation and 32 of a descriptor, or of a watch's index. */
enum operation {
    OPERATION_ACCEPT = 1,
    OPERATION_CONNECT,
    OPERATION_RECEIVE,
    OPERATION_RECEIVE_INTO,
    OPERATION_SEND,
    OPERATION_CANCEL,
    OPERATION_WATCH,
    OPERATION_WAKE,    /* the eventfd; not counted among those in flight */
    OPERATION_MESSAGE, /* another thread's MSG_RING */
};

struct uring {
    struct driver base;
    struct io_uring ring;
    unsigned features;
    bool deferred;     /* completions are made in an entry, and never else */
    bool message_wake; /* by MSG_RING; else by eventfd alone */
    bool waking;       /* the eventfd is watched */
    bool enabled;
    pthread_t thread;  /* that enabled it */
    struct driver_sockets sockets;
    struct driver_socket_list starved; /* receives that found no buffer */
    struct driver_waker waker;
    struct driver_watches watches;
    /* The ring of provided buffers: whose each entry is, and the entries that
     * have none because the pool is at its bound. */
    struct io_uring_buf_ring *entries;
    struct buffer *provided[DRIVER_RECEIVE_RING_BUFFERS];
    uint16_t missing[DRIVER_RECEIVE_RING_BUFFERS];
    unsigned missing_count;
    unsigned taken;           /* since they were gathered */
    uint64_t next_gather_ns;
};

_Static_assert((DRIVER_RECEIVE_RING_BUFFERS & (DRIVER_RECEIVE_RING_BUFFERS - 1)) == 0, "a mask is made of it");
_Static_assert(URING_COMPLETIONS >= 8 * URING_SUBMISSIONS, "multishot operations complete often");

static struct uring *uring_of(struct driver *driver)
{
    return (struct uring *)driver;
}

/* ---- Submission ---------------------------------------------------------- */

static uint64_t tag_of(enum operation operation, uint32_t generation, uint32_t index)
{
    return (uint64_t)operation << 56 | (uint64_t)(generation & 0xffffff) << 32 | index;
}

static uint64_t socket_tag(enum operation operation, const struct driver_socket *socket)
{
    return tag_of(operation, socket->generation, (uint32_t)socket->descriptor);
}

/* The thread that enables the ring is the only one that may enter it. */
static void enable(struct uring *uring)
{
    int result;

    if (uring->enabled) {
        assert(pthread_equal(uring->thread, pthread_self()));
        return;
    }
    uring->enabled = true;
    uring->thread = pthread_self();
    /* By hand: liburing 2.3 declares io_uring_enable_rings(), and does not export it. */
    result = io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    assert(result == 0);
    if (uring->features & URING_RING_FD)
        (void)io_uring_register_ring_fd(&uring->ring); /* else the plain descriptor serves */
}

/* A free submission entry; hands the queue over if it is full. */
static struct io_uring_sqe *entry_new(struct uring *uring)
{
    struct timespec pause = {.tv_nsec = 1000000};
    struct io_uring_sqe *entry;

    while ((entry = io_uring_get_sqe(&uring->ring)) == NULL) {
        enable(uring);
        uring->base.stats.syscalls++;
        if (io_uring_submit(&uring->ring) < 0) /* the kernel is out of memory: nothing else can be done */
            nanosleep(&pause, NULL);
    }
    return entry;
}

static void submit(struct uring *uring, struct io_uring_sqe *entry, struct driver_socket *socket,
                   enum operation operation)
{
    io_uring_sqe_set_data64(entry, socket_tag(operation, socket));
    socket->in_flight++;
    uring->base.stats.operations_in_flight++;
}

static void cancel(struct uring *uring, uint64_t tag)
{
    struct io_uring_sqe *entry = entry_new(uring);

    io_uring_prep_cancel64(entry, tag, 0);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_CANCEL, 0, 0));
    uring->base.stats.operations_in_flight++;
}

static void cancel_all(struct uring *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = entry_new(uring);

    io_uring_prep_cancel_fd(entry, socket->descriptor, IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_CANCEL, 0, 0));
    uring->base.stats.operations_in_flight++;
}

static void submit_accept(struct uring *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = entry_new(uring);

    /* No address: one buffer would be shared by all completions. */
    io_uring_prep_multishot_accept(entry, socket->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    submit(uring, entry, socket, OPERATION_ACCEPT);
    socket->armed = true;
}

static void submit_receive(struct uring *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = entry_new(uring);

    io_uring_prep_recv(entry, socket->descriptor, NULL, 0, 0);
    entry->ioprio |= IORING_RECV_MULTISHOT;
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = URING_GROUP;
    submit(uring, entry, socket, OPERATION_RECEIVE);
    socket->armed = true;
}

static void submit_receive_into(struct uring *uring, struct driver_socket *socket)
{
    struct io_uring_sqe *entry = entry_new(uring);
    struct buffer *buffer = socket->receive_buffer;

    io_uring_prep_recv(entry, socket->descriptor, buffer->data + socket->receive_offset,
                       buffer->capacity - socket->receive_offset, 0);
    submit(uring, entry, socket, OPERATION_RECEIVE_INTO);
}

/* ---- The ring of provided buffers ---------------------------------------- */

/* Gives entry `id` a buffer; the caller advances the ring. */
static bool provide(struct uring *uring, uint16_t id, int position)
{
    struct buffer *buffer = buffer_new(uring->base.pool, BUFFER_SMALL_BYTES);

    uring->provided[id] = buffer;
    if (buffer == NULL)
        return false;
    io_uring_buf_ring_add(uring->entries, buffer->data, buffer->capacity, id,
                          io_uring_buf_ring_mask(DRIVER_RECEIVE_RING_BUFFERS), position);
    return true;
}

static void refill(struct uring *uring)
{
    int added = 0;

    while (uring->missing_count > 0 && provide(uring, uring->missing[uring->missing_count - 1], added)) {
        uring->missing_count--;
        added++;
    }
    if (added > 0)
        io_uring_buf_ring_advance(uring->entries, added);
}

/* The buffer that a completion filled, which the caller owns; a new one takes
 * its place at once, if there is any. */
static struct buffer *take_buffer(struct uring *uring, uint32_t flags)
{
    uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
    struct buffer *buffer;

    if (!(flags & IORING_CQE_F_BUFFER))
        return NULL;
    assert(id < DRIVER_RECEIVE_RING_BUFFERS);
    buffer = uring->provided[id];
    assert(buffer != NULL);
    uring->taken++;
    if (provide(uring, id, 0))
        io_uring_buf_ring_advance(uring->entries, 1);
    else
        uring->missing[uring->missing_count++] = id;
    return buffer;
}

/* Gives all buffers of the ring back and takes as many: these come out of few
 * chunks.  Only while the kernel cannot have taken one that we do not know of:
 * with deferred completions, and none waiting. */
static void gather(struct uring *uring)
{
    unsigned filled = DRIVER_RECEIVE_RING_BUFFERS - uring->missing_count;
    struct io_uring_buf *entry;

    for (unsigned id = 0; id < DRIVER_RECEIVE_RING_BUFFERS; id++) {
        buffer_unref(uring->provided[id]);
        uring->provided[id] = NULL;
    }
    for (unsigned i = 1; i <= filled; i++) {
        struct buffer *buffer = buffer_new(uring->base.pool, BUFFER_SMALL_BYTES);

        assert(buffer != NULL); /* there are those that went back */
        entry = &uring->entries->bufs[(uring->entries->tail - i) & (DRIVER_RECEIVE_RING_BUFFERS - 1)];
        entry->addr = (uint64_t)(uintptr_t)buffer->data;
        uring->provided[entry->bid] = buffer;
    }
    uring->taken = 0;
}

/* Before a sleep that begins now.  Returns until when it may last. */
static uint64_t gather_when_due(struct uring *uring, uint64_t deadline_ns, uint64_t now_ns)
{
    if (uring->taken == 0 || !uring->deferred)
        return deadline_ns;
    if (now_ns >= uring->next_gather_ns) {
        gather(uring);
        uring->next_gather_ns = now_ns + URING_GATHER_NS;
        return deadline_ns;
    }
    return deadline_ns < uring->next_gather_ns ? deadline_ns : uring->next_gather_ns;
}

/* The last step of a close, when nothing is in flight any more. */
static void settle(struct uring *uring, struct driver_socket *socket)
{
    if (!socket->closing || socket->in_flight > 0 || socket->listed)
        return;
    buffer_unref(socket->receive_buffer); /* that waited for the end of a driver_receive() */
    socket->receive_buffer = NULL;
    driver_socket_close(socket);
    uring->base.stats.sockets_open--;
}

/* Receives that found the ring empty begin again, no more than there are buffers. */
static void rearm_starved(struct uring *uring)
{
    unsigned filled = DRIVER_RECEIVE_RING_BUFFERS - uring->missing_count;
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

static void on_accept(struct uring *uring, struct driver_socket *socket, int result)
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
static void end_receive(struct uring *uring, struct driver_socket *socket, int result)
{
    struct buffer *buffer = socket->receive_buffer;

    socket->receiving = false;
    socket->receive_buffer = NULL;
    driver_deliver_bytes(&uring->base, socket->receiver, result, socket->descriptor, buffer,
                         buffer != NULL ? socket->receive_offset : 0);
}

static void on_receive(struct uring *uring, struct driver_socket *socket, int result, uint32_t flags)
{
    struct buffer *buffer = take_buffer(uring, flags);

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
 * reasons; then it begins again. */
static void after_multishot(struct uring *uring, struct driver_socket *socket)
{
    socket->armed = false;
    socket->cancelling = false;
    if (socket->closing)
        return;
    if (socket->receiving && socket->listening)
        submit_accept(uring, socket);
    else if (socket->receiving && !socket->listed)
        submit_receive(uring, socket);
    else if (socket->receive_buffer != NULL)
        submit_receive_into(uring, socket);
}

static void on_receive_into(struct uring *uring, struct driver_socket *socket, int result)
{
    struct buffer *buffer = socket->receive_buffer;

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

static void on_send(struct uring *uring, struct driver_socket *socket, int result)
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

static void on_connect(struct uring *uring, struct driver_socket *socket, int result)
{
    socket->connecting = false;
    if (socket->closing)
        return;
    if (result >= 0)
        result = driver_kernel_connected(socket->descriptor);
    driver_deliver(&uring->base, MESSAGE_IO_CONNECTED, socket->sender, result, socket->descriptor);
}

static void on_watch(struct uring *uring, uint32_t index, uint32_t generation, int result)
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

static void on_socket(struct uring *uring, enum operation operation, const struct io_uring_cqe *completion)
{
    struct driver_socket *socket = driver_socket_at(&uring->sockets, (int)(uint32_t)completion->user_data);
    bool more = completion->flags & IORING_CQE_F_MORE;

    /* Its number is not given back before the last completion. */
    assert((completion->user_data >> 32 & 0xffffff) == socket->generation);
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
    if (!more && (operation == OPERATION_ACCEPT || operation == OPERATION_RECEIVE))
        after_multishot(uring, socket);
    settle(uring, socket);
}

static void on_completion(struct uring *uring, const struct io_uring_cqe *completion)
{
    enum operation operation = (enum operation)(completion->user_data >> 56);

    switch (operation) {
    case OPERATION_CANCEL:
        uring->base.stats.operations_in_flight--;
        break;
    case OPERATION_WATCH:
        on_watch(uring, (uint32_t)completion->user_data, completion->user_data >> 32 & 0xffffff, completion->res);
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

static void watch_wakes(struct uring *uring)
{
    struct io_uring_sqe *entry;

    if (uring->waking)
        return;
    entry = entry_new(uring);
    io_uring_prep_poll_multishot(entry, uring->waker.descriptor, POLLIN);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_WAKE, 0, 0));
    uring->waking = true;
}

/* With deferred task run completions are made in an entry only. */
static bool must_enter(struct uring *uring)
{
    return io_uring_sq_ready(&uring->ring) > 0 ||
           IO_URING_READ_ONCE(*uring->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Until when it may sleep; 0: not at all. */
static uint64_t sleep_until(struct uring *uring, uint64_t deadline_ns, uint64_t *now_ns)
{
    if (deadline_ns == 0 || io_uring_cq_ready(&uring->ring) > 0)
        return 0;
    *now_ns = driver_kernel_now_ns(&uring->base);
    if (uring->starved.first >= 0 && deadline_ns > *now_ns + DRIVER_STARVED_RETRY_NS)
        deadline_ns = *now_ns + DRIVER_STARVED_RETRY_NS;
    if (deadline_ns <= *now_ns)
        return 0;
    if (IO_URING_READ_ONCE(*uring->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) /* one that we have not seen */
        return deadline_ns;
    return gather_when_due(uring, deadline_ns, *now_ns);
}

static void enter(struct uring *uring, uint64_t deadline_ns)
{
    struct driver_stats *stats = &uring->base.stats;
    struct __kernel_timespec wait;
    struct io_uring_cqe *completion;
    uint64_t now_ns = 0, until_ns = sleep_until(uring, deadline_ns, &now_ns);

    if (until_ns == 0 && !must_enter(uring))
        return;
    stats->syscalls++;
    /* -ETIME and -EINTR are as good as a completion, after -EAGAIN and -EBUSY
     * the rest is submitted in the next turn. */
    if (until_ns == 0) {
        (void)io_uring_submit_and_get_events(&uring->ring);
        return;
    }
    stats->waits++;
    wait.tv_sec = (int64_t)((until_ns - now_ns) / 1000000000u);
    wait.tv_nsec = (int64_t)((until_ns - now_ns) % 1000000000u);
    (void)io_uring_submit_and_wait_timeout(&uring->ring, &completion, 1, until_ns == UINT64_MAX ? NULL : &wait, NULL);
}

static unsigned turn(struct driver *driver, uint64_t deadline_ns)
{
    struct uring *uring = uring_of(driver);
    uint64_t before = driver->delivered;

    enable(uring);
    watch_wakes(uring);
    refill(uring);
    rearm_starved(uring);
    enter(uring, deadline_ns);
    for (unsigned left = io_uring_cq_ready(&uring->ring); left > 0; left--) {
        struct io_uring_cq *queue = &uring->ring.cq;
        struct io_uring_cqe completion = queue->cqes[*queue->khead & queue->ring_mask];

        io_uring_cq_advance(&uring->ring, 1);
        on_completion(uring, &completion);
    }
    driver_waker_end(&uring->waker);
    return (unsigned)(driver->delivered - before);
}

/* Posts a completion to the ring from any thread, without a ring of its own. */
static int send_message(int ring)
{
    struct io_uring_sqe entry = {0};

    io_uring_prep_msg_ring(&entry, ring, 0, tag_of(OPERATION_MESSAGE, 0, 0), 0);
    return (int)syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING, &entry, 1);
}

static void wake(struct driver *driver)
{
    struct uring *uring = uring_of(driver);

    if (!driver_waker_begin(driver, &uring->waker))
        return;
    if (!uring->message_wake || send_message(uring->ring.ring_fd) < 0)
        driver_waker_signal(&uring->waker);
}

static int descriptor(struct driver *driver)
{
    return uring_of(driver)->ring.ring_fd;
}

/* ---- Operations ---------------------------------------------------------- */

static int listen_on(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                     unsigned flags, struct sockaddr_storage *bound)
{
    struct uring *uring = uring_of(driver);
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
    struct uring *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, listening);

    assert(socket->listening && !socket->closing);
    socket->receiver = owner;
    socket->receiving = true;
    if (!socket->armed)
        submit_accept(uring, socket);
}

/* Also of driver_accept(). */
static void receive_stop(struct driver *driver, int socket_)
{
    struct uring *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    socket->receiving = false;
    if (!socket->armed || socket->cancelling || socket->closing)
        return;
    /* A cancelled accept stays an exclusive waiter, and swallows wake-ups meant
     * for other rings, until this one is entered for events: the next turn. */
    socket->cancelling = true;
    cancel(uring, socket_tag(socket->listening ? OPERATION_ACCEPT : OPERATION_RECEIVE, socket));
}

static int connect_to(struct driver *driver, const struct sockaddr *address, socklen_t address_length,
                      struct actor_ref owner)
{
    struct uring *uring = uring_of(driver);
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
    entry = entry_new(uring);
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
    struct uring *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);

    assert(!socket->closing);
    driver_socket_list_remove(&uring->sockets, &uring->starved, socket);
    driver_socket_forget(socket);
    driver->stats.sockets_open--;
}

static void receive(struct driver *driver, int socket_, struct actor_ref owner)
{
    struct uring *uring = uring_of(driver);
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
    struct uring *uring = uring_of(driver);
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
    struct uring *uring = uring_of(driver);
    struct driver_socket *socket = driver_socket_at(&uring->sockets, socket_);
    struct io_uring_sqe *entry = entry_new(uring);

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
    struct uring *uring = uring_of(driver);
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
    struct uring *uring = uring_of(driver);
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
    entry = entry_new(uring);
    io_uring_prep_poll_add(entry, foreign, events);
    io_uring_sqe_set_data64(entry, tag_of(OPERATION_WATCH, watch->generation, index));
    driver->stats.operations_in_flight++;
}

static void unwatch(struct driver *driver, int foreign)
{
    struct uring *uring = uring_of(driver);
    struct driver_watch *watch = driver_watch_find(&uring->watches, foreign);

    if (watch == NULL)
        return;
    cancel(uring, tag_of(OPERATION_WATCH, watch->generation, (uint32_t)(watch - uring->watches.records)));
    driver_watch_close(&uring->watches, watch);
}

/* ---- Life ---------------------------------------------------------------- */

static int make_ring(struct uring *uring)
{
    struct io_uring_params params;
    unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
    unsigned better[] = {
        uring->features & URING_DEFER ? IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                                            IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG : 0,
        uring->features & URING_COOP ? IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
                                           IORING_SETUP_TASKRUN_FLAG : 0,
        0,
    };
    int result = -EINVAL;

    for (unsigned i = 0; i < sizeof(better) / sizeof(better[0]) && result == -EINVAL; i++) {
        memset(&params, 0, sizeof(params));
        params.flags = flags | better[i];
        params.cq_entries = URING_COMPLETIONS;
        result = io_uring_queue_init_params(URING_SUBMISSIONS, &uring->ring, &params);
    }
    if (result < 0) {
        uring->ring.ring_fd = -1;
        return result;
    }
    uring->deferred = params.flags & IORING_SETUP_DEFER_TASKRUN;
    io_uring_ring_dontfork(&uring->ring);
    if (!(params.features & IORING_FEAT_EXT_ARG) || !(params.features & IORING_FEAT_NODROP))
        return -ENOSYS;
    return 0;
}

/* Multishot receive cannot be asked for; SEND_ZC came with it, in Linux 6.0. */
static int check_operations(struct uring *uring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
    int result = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC) ? 0 : -ENOSYS;

    io_uring_free_probe(probe);
    return result;
}

static int make_buffers(struct uring *uring)
{
    struct io_uring_buf_reg registration = {.ring_entries = DRIVER_RECEIVE_RING_BUFFERS, .bgid = URING_GROUP};
    void *entries = mmap(NULL, DRIVER_RECEIVE_RING_BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int result;

    if (entries == MAP_FAILED)
        return -ENOMEM;
    uring->entries = entries;
    registration.ring_addr = (uint64_t)(uintptr_t)entries;
    result = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (result < 0)
        return result;
    io_uring_buf_ring_init(uring->entries);
    for (uint16_t id = 0; id < DRIVER_RECEIVE_RING_BUFFERS; id++)
        uring->missing[uring->missing_count++] = (uint16_t)(DRIVER_RECEIVE_RING_BUFFERS - 1 - id);
    refill(uring);
    return 0;
}

/* A ring that is still disabled answers -EBADFD: the kernel knows the call. */
static void check_message_wake(struct uring *uring)
{
    uring->message_wake = uring->features & URING_MSG_WAKE &&
                          (send_message(uring->ring.ring_fd) == 0 || errno == EBADFD);
}

static void uring_free(struct driver *driver)
{
    struct uring *uring = uring_of(driver);

    driver_sockets_fini(&uring->sockets);
    /* The registered descriptor is its thread's: on another one liburing would
     * take away a stranger's. */
    if (!uring->enabled || !pthread_equal(uring->thread, pthread_self()))
        uring->ring.int_flags = 0;
    if (uring->ring.ring_fd >= 0)
        io_uring_queue_exit(&uring->ring);
    if (uring->entries != NULL)
        munmap(uring->entries, DRIVER_RECEIVE_RING_BUFFERS * sizeof(struct io_uring_buf));
    for (unsigned id = 0; id < DRIVER_RECEIVE_RING_BUFFERS; id++)
        buffer_unref(uring->provided[id]);
    driver_waker_fini(&uring->waker);
    free(uring);
}

static const struct driver_operations uring_operations = {
    .name = "io_uring",
    .turn = turn,
    .wake = wake,
    .descriptor = descriptor,
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
    struct uring *uring = calloc(1, sizeof(*uring));

    *error = uring == NULL ? -ENOMEM : 0;
    if (uring == NULL)
        return NULL;
    driver_init(&uring->base, &uring_operations, worker, pool);
    uring->features = features;
    uring->waker.descriptor = -1;
    uring->ring.ring_fd = -1;
    driver_socket_list_init(&uring->starved);
    *error = make_ring(uring);
    if (*error == 0)
        *error = check_operations(uring);
    if (*error == 0)
        *error = make_buffers(uring);
    if (*error == 0)
        *error = driver_sockets_init(&uring->sockets);
    if (*error == 0)
        *error = driver_waker_init(&uring->waker);
    if (*error < 0) {
        uring_free(&uring->base);
        return NULL;
    }
    check_message_wake(uring);
    return &uring->base;
}

struct driver *driver_uring_new(struct worker *worker, struct buffer_pool *pool, int *error)
{
    return driver_uring_new_with(worker, pool, URING_ALL, error);
}
