#include "limits.h"

#include "bench.h"
#include "crypto/aead.h"
#include "crypto/noise.h"
#include "histogram.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Requests and answers over one ring: multishot receives into shared buffers, a
 * kernel entry for each turn. */

enum {
    RING_ENTRIES = 4096,
    SMALL_BUFFERS = 1024, SMALL_BYTES = 2048, /* a power of two of buffers: they fit the second cache */
    LARGE_BUFFERS = 256, LARGE_BYTES = 65536,
    SKIP_BYTES_MAX = 4096, /* sends that never come back short need no completion */
};

struct line {
    int fd;
    uint32_t size, wire;    /* of a message, and of what carries it */
    bool sealed, busy;
    size_t fill;
    uint64_t due_ns;        /* of the dialler's next message, or the one under way */
    struct noise_keys keys;
    uint8_t *in, *out;      /* `wire` bytes each */
};

struct loop {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    unsigned buffer_count, buffer_bytes;
    uint8_t *memory;
    struct aead_context *aead;
    uint64_t spin_ns;
    /* The dialler's. */
    struct limits_load *load;
    struct line *lines;
    uint64_t interval_ns;   /* between messages of one line; 0: at once */
    uint64_t units;
    struct histogram *latency_ns;
    /* The listener's: where new lines come from. */
    int news;
    struct line *fresh;
};

enum tag { TAG_RECEIVE, TAG_SEND, TAG_NEWS }; /* in the low bits of a line's address */

/* ---- The ring --------------------------------------------------------------------------- */

static void give_buffer(struct loop *loop, unsigned number)
{
    io_uring_buf_ring_add(loop->buffers, loop->memory + (size_t)number * loop->buffer_bytes, loop->buffer_bytes,
                          (unsigned short)number, io_uring_buf_ring_mask(loop->buffer_count), 0);
    io_uring_buf_ring_advance(loop->buffers, 1);
}

static void make_buffers(struct loop *loop, uint32_t wire)
{
    struct io_uring_buf_reg registration = {.bgid = 0};
    size_t ring_bytes;

    loop->buffer_count = wire <= SMALL_BYTES ? SMALL_BUFFERS : LARGE_BUFFERS;
    loop->buffer_bytes = wire <= SMALL_BYTES ? SMALL_BYTES : LARGE_BYTES;
    ring_bytes = loop->buffer_count * sizeof(struct io_uring_buf);
    loop->memory = malloc((size_t)loop->buffer_count * loop->buffer_bytes);
    loop->buffers = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    registration.ring_addr = (uint64_t)(uintptr_t)loop->buffers;
    registration.ring_entries = loop->buffer_count;
    if (loop->memory == NULL || loop->buffers == MAP_FAILED ||
        io_uring_register_buf_ring(&loop->ring, &registration, 0) != 0)
        bench_die("no buffers for the reference's ring");
    io_uring_buf_ring_init(loop->buffers);
    for (unsigned i = 0; i < loop->buffer_count; i++)
        give_buffer(loop, i);
}

/* On the thread that will use it. */
static void open_loop(struct loop *loop, uint32_t wire, unsigned spin_us)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_TASKRUN_FLAG,
                                     .cq_entries = 8 * RING_ENTRIES};
    int error = io_uring_queue_init_params(RING_ENTRIES, &loop->ring, &params);

    if (error != 0)
        bench_die("no io_uring for the reference: %s", strerror(-error));
    loop->aead = aead_context_new();
    loop->spin_ns = spin_us * 1000ull;
    if (loop->aead == NULL)
        bench_die("no cipher");
    make_buffers(loop, wire);
}

static void close_loop(struct loop *loop)
{
    io_uring_queue_exit(&loop->ring);
    munmap(loop->buffers, loop->buffer_count * sizeof(struct io_uring_buf));
    free(loop->memory);
    aead_context_free(loop->aead);
}

static struct io_uring_sqe *next_entry(struct loop *loop)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&loop->ring);

    while (entry == NULL) {
        io_uring_submit(&loop->ring);
        entry = io_uring_get_sqe(&loop->ring);
    }
    return entry;
}

static void tag_entry(struct io_uring_sqe *entry, struct line *line, enum tag tag)
{
    io_uring_sqe_set_data64(entry, (uint64_t)(uintptr_t)line | tag);
}

static void arm_receive(struct loop *loop, struct line *line)
{
    struct io_uring_sqe *entry = next_entry(loop);

    io_uring_prep_recv_multishot(entry, line->fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = 0;
    tag_entry(entry, line, TAG_RECEIVE);
}

static void arm_news(struct loop *loop)
{
    struct io_uring_sqe *entry = next_entry(loop);

    io_uring_prep_read(entry, loop->news, &loop->fresh, sizeof(loop->fresh), 0);
    tag_entry(entry, NULL, TAG_NEWS);
}

/* ---- Messages ----------------------------------------------------------------------------- */

static void line_init(struct line *line, int fd, uint32_t size, bool sealed)
{
    *line = (struct line){.fd = fd, .size = size, .sealed = sealed};
    line->wire = sealed ? (uint32_t)noise_record_bytes(size) : size;
    line->in = calloc(1, line->wire);
    line->out = calloc(1, line->wire);
    if (line->in == NULL || line->out == NULL)
        bench_die("no memory for a connection");
}

static void line_fini(struct line *line)
{
    close(line->fd);
    free(line->in);
    free(line->out);
}

/* Sends the message of `plain`. */
static void send_message(struct loop *loop, struct line *line, const uint8_t *plain)
{
    struct aead_piece piece = {plain, line->size};
    struct io_uring_sqe *entry;
    size_t written;

    if (!line->sealed)
        memcpy(line->out, plain, line->size);
    else if (noise_seal(&line->keys, loop->aead, line->out, line->wire, &written, &piece, 1) != 0)
        bench_die("the cipher failed");
    entry = next_entry(loop);
    io_uring_prep_send(entry, line->fd, line->out, line->wire, MSG_WAITALL | MSG_NOSIGNAL);
    if (line->wire <= SKIP_BYTES_MAX)
        entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag_entry(entry, line, TAG_SEND);
}

static const uint8_t *open_message(struct loop *loop, struct line *line)
{
    size_t plain;

    if (!line->sealed)
        return line->in;
    if (noise_open(&line->keys, loop->aead, line->in + NOISE_HEADER_BYTES, line->wire - NOISE_HEADER_BYTES, &plain) !=
            0 || plain != line->size)
        bench_die("a record is not what was sealed");
    return line->in + NOISE_HEADER_BYTES;
}

static void send_due(struct loop *loop, struct line *line, uint64_t now_ns)
{
    static const uint8_t request[LIMITS_SIZE_BYTES_MAX];

    if (loop->interval_ns == 0)
        line->due_ns = now_ns;
    line->busy = true;
    send_message(loop, line, request);
}

static void on_answer(struct loop *loop, struct line *line)
{
    uint64_t now_ns = bench_now_ns();

    loop->units++;
    histogram_add(loop->latency_ns, now_ns - line->due_ns);
    line->busy = false;
    line->due_ns += loop->interval_ns;
    if (loop->interval_ns == 0 || line->due_ns <= now_ns)
        send_due(loop, line, now_ns);
}

static void on_bytes(struct loop *loop, struct line *line, const uint8_t *data, size_t length)
{
    while (length > 0) {
        size_t taken = line->wire - line->fill < length ? line->wire - line->fill : length;
        const uint8_t *plain;

        memcpy(line->in + line->fill, data, taken);
        line->fill += taken;
        data += taken;
        length -= taken;
        if (line->fill < line->wire)
            return;
        line->fill = 0;
        plain = open_message(loop, line);
        if (loop->load != NULL)
            on_answer(loop, line);
        else
            send_message(loop, line, plain);
    }
}

/* ---- Turns ---------------------------------------------------------------------------------- */

static void on_received(struct loop *loop, struct line *line, const struct io_uring_cqe *completion)
{
    unsigned number = completion->flags >> IORING_CQE_BUFFER_SHIFT;

    if (completion->res > 0) {
        on_bytes(loop, line, loop->memory + (size_t)number * loop->buffer_bytes, (size_t)completion->res);
        give_buffer(loop, number);
    }
    if (completion->flags & IORING_CQE_F_MORE)
        return;
    if (completion->res > 0 || completion->res == -ENOBUFS)
        arm_receive(loop, line);
    else if (loop->load != NULL)
        bench_die("the other side is gone");
    else
        line_fini(line); /* the rest of it stays: nothing comes here often */
}

static void on_completion(struct loop *loop, const struct io_uring_cqe *completion)
{
    uint64_t data = completion->user_data;
    struct line *line = (struct line *)(uintptr_t)(data & ~(uint64_t)3);

    switch (data & 3) {
    case TAG_RECEIVE:
        on_received(loop, line, completion);
        break;
    case TAG_NEWS:
        arm_receive(loop, loop->fresh);
        arm_news(loop);
        break;
    default: /* what goes wrong with a send, the receive tells */
        break;
    }
}

/* Submits, and waits for the first completion or `until_ns`: looking for a while,
 * then asleep. */
static void wait_completion(struct loop *loop, uint64_t until_ns)
{
    uint64_t now_ns = bench_now_ns(), look_ns = now_ns + loop->spin_ns;
    struct io_uring_cqe *completion;
    struct __kernel_timespec left;

    if (loop->spin_ns > 0) {
        io_uring_submit(&loop->ring);
        for (; now_ns < look_ns && now_ns < until_ns; now_ns = bench_now_ns()) {
            if (io_uring_peek_cqe(&loop->ring, &completion) == 0)
                return;
            sched_yield(); /* whom we wait for may share our CPU */
        }
    }
    if (now_ns >= until_ns)
        until_ns = now_ns;
    left = (struct __kernel_timespec){(int64_t)((until_ns - now_ns) / 1000000000u),
                                      (long long)((until_ns - now_ns) % 1000000000u)};
    (void)io_uring_submit_and_wait_timeout(&loop->ring, &completion, 1, &left, NULL); /* in time or not: look */
}

static void turn(struct loop *loop, uint64_t until_ns)
{
    struct io_uring_cqe *completion;
    unsigned head, count = 0;

    wait_completion(loop, until_ns);
    io_uring_for_each_cqe(&loop->ring, head, completion) {
        on_completion(loop, completion);
        count++;
    }
    io_uring_cq_advance(&loop->ring, count);
}

/* ---- The listener ------------------------------------------------------------------------------ */

struct service {
    int news[2];
    uint32_t wire;
    unsigned spin_us;
};

static void *serve(void *argument)
{
    struct service *service = argument;
    struct loop loop = {.news = service->news[0]};

    open_loop(&loop, service->wire, service->spin_us);
    arm_news(&loop);
    for (;;)
        turn(&loop, bench_now_ns() + 3600000000000u);
    return NULL;
}

void limits_serve_echo(int fd, const struct limits_hello *hello, unsigned spin_us)
{
    static struct service service;
    static bool started;
    struct line *line = malloc(sizeof(*line));
    pthread_t thread;

    if (line == NULL)
        bench_die("no memory for a connection");
    line_init(line, fd, hello->size, hello->sealed != 0);
    if (!started) { /* with buffers for the first one's size: others work, too */
        service = (struct service){.wire = line->wire, .spin_us = spin_us};
        if (pipe2(service.news, O_CLOEXEC) != 0 || pthread_create(&thread, NULL, serve, &service) != 0)
            bench_die("no thread");
        started = true;
    }
    if (write(service.news[1], &line, sizeof(line)) != sizeof(line))
        bench_die("a pipe does not take eight bytes");
}

/* ---- The dialler -------------------------------------------------------------------------------- */

static void connect_all(struct loop *loop)
{
    struct limits_load *load = loop->load;
    struct limits_hello hello = {LIMITS_ECHO, load->sealed, 0, load->size};

    for (unsigned i = 0; i < load->connections; i++) {
        int fd = limits_connect(&load->address);

        if (!limits_write_all(fd, (const uint8_t *)&hello, sizeof(hello)))
            bench_die("the other side is gone");
        line_init(&loop->lines[i], fd, load->size, load->sealed);
        arm_receive(loop, &loop->lines[i]);
    }
}

/* Sends what is due, and returns when the next message is. */
static uint64_t send_all_due(struct loop *loop, uint64_t until_ns)
{
    uint64_t now_ns = bench_now_ns();

    if (loop->interval_ns == 0)
        return until_ns; /* answers are what sends */
    for (unsigned i = 0; i < loop->load->connections; i++) {
        struct line *line = &loop->lines[i];

        if (!line->busy && line->due_ns <= now_ns)
            send_due(loop, line, now_ns);
        else if (!line->busy && line->due_ns < until_ns)
            until_ns = line->due_ns;
    }
    return until_ns;
}

static void run_until(struct loop *loop, uint64_t until_ns)
{
    while (bench_now_ns() < until_ns)
        turn(loop, send_all_due(loop, until_ns));
}

static void start_all(struct loop *loop)
{
    struct limits_load *load = loop->load;
    uint64_t now_ns = bench_now_ns();

    loop->interval_ns = load->rate > 0 ? (uint64_t)(1e9 / load->rate * load->connections) : 0;
    for (unsigned i = 0; i < load->connections; i++) {
        loop->lines[i].due_ns = now_ns + loop->interval_ns * i / load->connections;
        if (loop->interval_ns == 0)
            send_due(loop, &loop->lines[i], now_ns);
    }
}

static void measure(struct loop *loop)
{
    struct limits_load *load = loop->load;
    uint64_t begin_ns, units;

    run_until(loop, bench_now_ns() + (uint64_t)(load->warm_s * 1e9));
    memset(loop->latency_ns, 0, sizeof(*loop->latency_ns));
    limits_begin(load);
    begin_ns = bench_now_ns();
    units = loop->units;
    run_until(loop, begin_ns + (uint64_t)(load->seconds * 1e9));
    limits_end(load);
    limits_answer(load, (double)(loop->units - units), (double)(bench_now_ns() - begin_ns) / 1e9, loop->latency_ns);
}

void limits_rr(struct limits_load *load)
{
    struct loop loop = {.load = load, .lines = calloc(load->connections, sizeof(struct line)),
                        .latency_ns = calloc(1, sizeof(struct histogram))};

    if (loop.lines == NULL || loop.latency_ns == NULL)
        bench_die("no memory");
    open_loop(&loop, load->sealed ? (uint32_t)noise_record_bytes(load->size) : load->size, load->spin_us);
    connect_all(&loop);
    start_all(&loop);
    measure(&loop);
    close_loop(&loop);
    for (unsigned i = 0; i < load->connections; i++)
        line_fini(&loop.lines[i]);
    free(loop.lines);
    free(loop.latency_ns);
}
