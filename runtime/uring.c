#include "runtime/uring.h"

#include "runtime/buffer.h"
#include "runtime/driver_socket.h"
#include "runtime/hand_over.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Later than the floor, or than liburing 2.3. */
enum {
    REGISTER_SEND_MSG_RING = 31, /* IORING_REGISTER_SEND_MSG_RING, Linux 6.13 */
};

_Static_assert((DRIVER_RECEIVE_RING_BUFFERS & (DRIVER_RECEIVE_RING_BUFFERS - 1)) == 0, "a mask is made of it");
_Static_assert((int)URING_COMPLETIONS >= 8 * (int)URING_SUBMISSIONS, "multishot operations complete often");

/* ---- Provided buffers ---------------------------------------------------- */

/* Gives entry `id` a buffer; the caller advances the ring. */
static bool provide(struct uring *uring, uint16_t id, int position)
{
    struct buffer *buffer = buffer_new(uring->pool, BUFFER_SMALL_BYTES);

    uring->provided[id] = buffer;
    if (buffer == NULL)
        return false;
    io_uring_buf_ring_add(uring->entries, buffer->data, buffer->capacity, id,
                          io_uring_buf_ring_mask(DRIVER_RECEIVE_RING_BUFFERS), position);
    return true;
}

void uring_refill(struct uring *uring)
{
    int added = 0;

    while (uring->missing_count > 0 && provide(uring, uring->missing[uring->missing_count - 1], added)) {
        uring->missing_count--;
        added++;
    }
    if (added > 0)
        io_uring_buf_ring_advance(uring->entries, added);
}

unsigned uring_filled(const struct uring *uring)
{
    return DRIVER_RECEIVE_RING_BUFFERS - uring->missing_count;
}

/* A new one takes its place at once, if there is any. */
struct buffer *uring_take(struct uring *uring, uint32_t flags)
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
    unsigned filled = uring_filled(uring);

    for (unsigned id = 0; id < DRIVER_RECEIVE_RING_BUFFERS; id++) {
        buffer_unref(uring->provided[id]);
        uring->provided[id] = NULL;
    }
    for (unsigned i = 1; i <= filled; i++) {
        struct buffer *buffer = buffer_new(uring->pool, BUFFER_SMALL_BYTES);
        struct io_uring_buf *entry;

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

/* ---- Entering the kernel ------------------------------------------------- */

void uring_enable(struct uring *uring)
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

struct io_uring_sqe *uring_entry(struct uring *uring)
{
    struct timespec pause = {.tv_nsec = 1000000};
    struct io_uring_sqe *entry;

    while ((entry = io_uring_get_sqe(&uring->ring)) == NULL) {
        uring_enable(uring);
        uring->stats->syscalls++;
        if (io_uring_submit(&uring->ring) < 0) /* the kernel is out of memory: nothing else can be done */
            nanosleep(&pause, NULL);
    }
    return entry;
}

static unsigned kernel_flags(const struct uring *uring)
{
    return IO_URING_READ_ONCE(*uring->ring.sq.kflags);
}

/* With deferred task run completions are made in an entry only. */
static bool must_enter(const struct uring *uring)
{
    return io_uring_sq_ready(&uring->ring) > 0 || kernel_flags(uring) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Until when it may sleep; 0: not at all. */
static uint64_t sleep_until(struct uring *uring, uint64_t deadline_ns, uint64_t retry_ns, uint64_t *now_ns)
{
    if (deadline_ns == 0 || io_uring_cq_ready(&uring->ring) > 0)
        return 0;
    *now_ns = driver_kernel_now_ns(NULL);
    if (deadline_ns - *now_ns > retry_ns && deadline_ns > *now_ns)
        deadline_ns = *now_ns + retry_ns;
    if (deadline_ns <= *now_ns)
        return 0;
    if (kernel_flags(uring) & IORING_SQ_CQ_OVERFLOW) /* a completion that we have not seen */
        return deadline_ns;
    return gather_when_due(uring, deadline_ns, *now_ns);
}

void uring_enter(struct uring *uring, uint64_t deadline_ns, uint64_t retry_ns)
{
    struct __kernel_timespec wait;
    struct io_uring_cqe *completion;
    uint64_t now_ns = 0, until_ns = sleep_until(uring, deadline_ns, retry_ns, &now_ns);

    if (until_ns == 0 && !must_enter(uring))
        return;
    uring->stats->syscalls++;
    /* -ETIME and -EINTR are as good as a completion, after -EAGAIN and -EBUSY
     * the rest is submitted in the next turn. */
    if (until_ns == 0) {
        (void)io_uring_submit_and_get_events(&uring->ring);
        return;
    }
    uring->stats->waits++;
    wait.tv_sec = (int64_t)((until_ns - now_ns) / 1000000000u);
    wait.tv_nsec = (int64_t)((until_ns - now_ns) % 1000000000u);
    (void)io_uring_submit_and_wait_timeout(&uring->ring, &completion, 1, until_ns == UINT64_MAX ? NULL : &wait, NULL);
}

bool uring_pending(struct uring *uring)
{
    return io_uring_cq_ready(&uring->ring) > 0 || must_enter(uring);
}

/* ---- The bell ------------------------------------------------------------ */

/* Readable at first: only the ring's own thread can register it, in its turn. */
int uring_bell(struct uring *uring)
{
    if (uring->bell < 0)
        __atomic_store_n(&uring->bell, eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), __ATOMIC_RELEASE);
    return uring->bell;
}

void uring_quiet(struct uring *uring)
{
    int bell = __atomic_load_n(&uring->bell, __ATOMIC_ACQUIRE); /* pairs with the release of uring_bell() */
    uint64_t count;

    if (bell < 0)
        return;
    if (!uring->bell_registered)
        uring->bell_registered = io_uring_register_eventfd(&uring->ring, bell) == 0;
    uring->stats->syscalls++;
    /* While it is not registered the host turns us again and again. */
    if (uring->bell_registered)
        (void)!read(bell, &count, sizeof(count));
}

/* ---- Messages ------------------------------------------------------------ */

/* Without a ring of the sender's. */
static int send_message(int ring, uint64_t tag)
{
    struct io_uring_sqe entry = {0};

    io_uring_prep_msg_ring(&entry, ring, 0, tag, 0);
    return (int)syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING, &entry, 1);
}

bool uring_send_message(const struct uring *uring, uint64_t tag)
{
    return uring->message_wake && send_message(uring->ring.ring_fd, tag) == 0;
}

/* ---- Life ---------------------------------------------------------------- */

/* liburing maps by system calls of its own, which TSan does not see: a ring at
 * the address of an earlier one comes after the other's end. */
static const char former_rings;

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

    take_over(&former_rings);
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
    for (unsigned id = 0; id < DRIVER_RECEIVE_RING_BUFFERS; id++)
        uring->missing[uring->missing_count++] = (uint16_t)(DRIVER_RECEIVE_RING_BUFFERS - 1 - id);
    uring_refill(uring);
    return 0;
}

int uring_init(struct uring *uring, struct buffer_pool *pool, struct driver_stats *stats, unsigned features)
{
    int result;

    uring->pool = pool;
    uring->stats = stats;
    uring->features = features;
    uring->bell = -1;
    result = make_ring(uring);
    if (result == 0)
        result = check_operations(uring);
    if (result == 0)
        result = make_buffers(uring);
    if (result < 0)
        return result;
    /* A ring that is still disabled answers -EBADFD: the kernel knows the call. */
    uring->message_wake =
        features & URING_MSG_WAKE && (send_message(uring->ring.ring_fd, 0) == 0 || errno == EBADFD);
    return 0;
}

void uring_fini(struct uring *uring)
{
    /* The registered descriptor is its thread's: on another one liburing would
     * take away a stranger's. */
    if (!uring->enabled || !pthread_equal(uring->thread, pthread_self()))
        uring->ring.int_flags = 0;
    if (uring->ring.ring_fd >= 0) {
        hand_over(&former_rings);
        io_uring_queue_exit(&uring->ring);
    }
    if (uring->bell >= 0)
        close(uring->bell);
    if (uring->entries != NULL)
        munmap(uring->entries, DRIVER_RECEIVE_RING_BUFFERS * sizeof(struct io_uring_buf));
    for (unsigned id = 0; id < DRIVER_RECEIVE_RING_BUFFERS; id++)
        buffer_unref(uring->provided[id]);
}
