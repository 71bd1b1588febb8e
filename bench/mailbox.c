#include "bench.h"

#include "runtime/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/* The queues between threads: a lane from one worker to another, the stack that
 * any thread may push on; the reference is a list behind a mutex. */

struct letter {
    struct mail_link link; /* first */
    uint64_t number;
};

enum { LETTERS = 4096 }; /* in use at a time */

struct post {
    void (*send)(struct post *post, uint64_t number);
    uint64_t (*receive)(struct post *post); /* how many came */
    uint64_t count;
    struct lane *lane;
    struct mail_stack stack;
    struct letter *letters;
    uint64_t taken;        /* atomic: letters that may be used again */
    pthread_mutex_t lock;
    struct mail_link *list;
};

static void lane_send(struct post *post, uint64_t number)
{
    struct message message = {.type = MESSAGE_OWN};

    message.body.u64[0] = number;
    while (!lane_push(post->lane, &message))
        sched_yield();
}

static uint64_t lane_receive(struct post *post)
{
    struct message message;
    uint64_t count = 0;

    while (lane_pop(post->lane, &message))
        count++;
    return count;
}

/* A letter that the other side has done with. */
static struct letter *next_letter(struct post *post, uint64_t number)
{
    while (number - __atomic_load_n(&post->taken, __ATOMIC_ACQUIRE) >= LETTERS)
        sched_yield();
    post->letters[number % LETTERS].number = number;
    return &post->letters[number % LETTERS];
}

static void give_back(struct post *post, uint64_t count)
{
    /* Pairs with the load of next_letter(). */
    __atomic_store_n(&post->taken, post->taken + count, __ATOMIC_RELEASE);
}

static void stack_send(struct post *post, uint64_t number)
{
    mail_stack_push(&post->stack, &next_letter(post, number)->link);
}

static uint64_t count_links(const struct mail_link *link)
{
    uint64_t count = 0;

    for (; link != NULL; link = link->next)
        count++;
    return count;
}

static uint64_t stack_receive(struct post *post)
{
    uint64_t count = count_links(mail_stack_take(&post->stack));

    give_back(post, count);
    return count;
}

static void mutex_send(struct post *post, uint64_t number)
{
    struct letter *letter = next_letter(post, number);

    pthread_mutex_lock(&post->lock);
    letter->link.next = post->list;
    post->list = &letter->link;
    pthread_mutex_unlock(&post->lock);
}

static uint64_t mutex_receive(struct post *post)
{
    struct mail_link *all;
    uint64_t count;

    pthread_mutex_lock(&post->lock);
    all = post->list;
    post->list = NULL;
    pthread_mutex_unlock(&post->lock);
    count = count_links(all);
    give_back(post, count);
    return count;
}

static void *send_all(void *argument)
{
    struct post *post = argument;

    bench_pin(1);
    for (uint64_t i = 0; i < post->count; i++)
        post->send(post, i);
    return NULL;
}

/* Nanoseconds of a message from one running thread to another. */
static double across_once(struct post *post)
{
    uint64_t received = 0;
    pthread_t thread;
    double begin_s = bench_now_s();

    post->taken = 0;
    if (pthread_create(&thread, NULL, send_all, post) != 0)
        bench_die("no thread");
    while (received < post->count) {
        uint64_t count = post->receive(post);

        received += count;
        if (count == 0)
            sched_yield();
    }
    pthread_join(thread, NULL);
    return (bench_now_s() - begin_s) / (double)post->count * 1e9;
}

static double same_once(struct post *post)
{
    double begin_s = bench_thread_cpu_s();

    post->taken = 0;
    for (uint64_t i = 0; i < post->count; i++) {
        post->send(post, i);
        if (i % 64 == 63 || i + 1 == post->count)
            (void)post->receive(post); /* all that is there */
    }
    return (bench_thread_cpu_s() - begin_s) / (double)post->count * 1e9;
}

struct kind {
    const char *name;
    void (*send)(struct post *post, uint64_t number);
    uint64_t (*receive)(struct post *post);
    struct bench_samples same, across;
};

int bench_mailbox(const struct bench_options *options)
{
    struct post post = {.count = options->count > 0 ? options->count : 1000000, .lock = PTHREAD_MUTEX_INITIALIZER,
                        .lane = lane_new(), .letters = calloc(LETTERS, sizeof(*post.letters))};
    struct kind kinds[] = {{.name = "list behind a mutex", .send = mutex_send, .receive = mutex_receive},
                           {.name = "lane", .send = lane_send, .receive = lane_receive},
                           {.name = "stack", .send = stack_send, .receive = stack_receive}};

    if (post.lane == NULL || post.letters == NULL)
        bench_die("no memory for mail");
    bench_pin(0);
    for (unsigned run = 0; run < options->runs; run++) {
        for (int i = 0; i < 3; i++) {
            post.send = kinds[i].send;
            post.receive = kinds[i].receive;
            bench_add(&kinds[i].same, same_once(&post));
            bench_add(&kinds[i].across, across_once(&post));
        }
    }
    for (int i = 1; i < 3; i++) {
        char label[64];

        snprintf(label, sizeof(label), "%s, within a thread", kinds[i].name);
        bench_row(options, label, "ns", &kinds[i].same, &kinds[0].same, "mutex, within a thread");
        snprintf(label, sizeof(label), "%s, from thread to thread", kinds[i].name);
        bench_row(options, label, "ns", &kinds[i].across, &kinds[0].across, "mutex, from thread to thread");
    }
    lane_free(post.lane);
    free(post.letters);
    return 0;
}
