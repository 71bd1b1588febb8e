#include "actors/resolver.h"

#include "actors/hosts.h"
#include "actors/node_private.h"
#include "actors/question.h"
#include "runtime/buffer.h"
#include "runtime/log.h"
#include "runtime/offload.h"

#include <ares.h>
#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DNS_CLASS_IN = 1, DNS_TYPE_TXT = 16 }; /* RFC 1035, 3.2 */

struct watched {
    int descriptor;
    unsigned wanted; /* poll events */
    unsigned armed;
    uint64_t look_ns; /* 0, or when to look at it, because the driver has no room to watch it */
};

struct resolver {
    struct actor_context *context; /* of the handler that runs */
    ares_channel channel;
    uint64_t channel_ns;           /* when it was made */
    bool channel_asked;
    bool stopping;
    unsigned jobs;                 /* in offload */
    unsigned question_count;
    uint32_t next_job;
    struct question *questions;
    struct watched watched[RESOLVER_SOCKETS_MAX];
    unsigned watched_count;
};

/* What offload threads do: read the hosts file, or the configuration. */
struct job {
    struct question *question; /* NULL: the configuration */
    struct resolver *resolver;
    char name[MULTIADDR_HOST_SIZE];
    int family;
    struct sockaddr_storage found[HOSTS_ADDRESSES_MAX];
    size_t found_count;
    ares_channel channel;
    int status;
};

/* ---- c-ares ---- */

static void on_socket_state(void *data, ares_socket_t descriptor, int readable, int writable)
{
    struct resolver *resolver = data;
    unsigned wanted = (readable ? POLLIN : 0u) | (writable ? POLLOUT : 0u);
    unsigned i = 0;

    while (i < resolver->watched_count && resolver->watched[i].descriptor != descriptor)
        i++;
    if (i == resolver->watched_count) {
        if (!wanted || i == RESOLVER_SOCKETS_MAX)
            return; /* one socket too many: its questions run into their time-out */
        resolver->watched[resolver->watched_count++] = (struct watched){.descriptor = descriptor};
    }
    resolver->watched[i].wanted = wanted;
    if (wanted)
        return;
    /* It is about to be closed: an armed poll would keep it open. */
    if (resolver->watched[i].armed)
        driver_unwatch(worker_driver(resolver->context->worker), descriptor);
    resolver->watched[i] = resolver->watched[--resolver->watched_count];
}

static void arm_sockets(struct resolver *resolver)
{
    struct actor_context *context = resolver->context;
    struct driver *driver = worker_driver(context->worker);

    for (unsigned i = 0; i < resolver->watched_count; i++) {
        struct watched *watched = &resolver->watched[i];
        if (watched->armed == watched->wanted)
            continue;
        if (watched->armed)
            driver_unwatch(driver, watched->descriptor);
        driver_watch(driver, watched->descriptor, watched->wanted, context->self);
        watched->armed = watched->wanted;
    }
}

static void on_host(void *data, int status, int timeouts, struct ares_addrinfo *found)
{
    struct question *question = data;

    (void)timeouts;
    for (struct ares_addrinfo_node *node = found ? found->nodes : NULL; node; node = node->ai_next)
        question_take_address(question, node->ai_addr);
    if (found)
        ares_freeaddrinfo(found);
    if (status != ARES_SUCCESS) {
        char name[MULTIADDR_HOST_SIZE] = "";
        enum multiaddr_code kind;
        multiaddr_host(&question->names[question->name_at], name, sizeof(name), &kind);
        question_say_why(question, name, ares_strerror(status));
    }
    question->name_at++;
    question->state = QUESTION_READY;
}

/* The strings of a record are joined; a new record starts at record_start. */
static void take_txt(struct question *question, const struct ares_txt_ext *list)
{
    char text[DNSADDR_TXT_BYTES_MAX];
    size_t length = 0;

    for (; list; list = list->next) {
        if (length + list->length <= sizeof(text))
            memcpy(text + length, list->txt, list->length);
        length += list->length;
        if (list->next && !list->next->record_start)
            continue;
        if (length <= sizeof(text))
            question_take_txt(question, text, length);
        length = 0;
    }
}

static void on_txt(void *data, int status, int timeouts, unsigned char *bytes, int length)
{
    struct question *question = data;
    struct ares_txt_ext *list = NULL;

    (void)timeouts;
    if (status == ARES_SUCCESS)
        status = ares_parse_txt_reply_ext(bytes, length, &list);
    if (status == ARES_SUCCESS)
        take_txt(question, list);
    else
        question_say_why(question, question->txt_name, ares_strerror(status));
    if (list)
        ares_free_data(list);
    question->state = QUESTION_READY;
}

static int family_of(enum multiaddr_code kind)
{
    return kind == MULTIADDR_DNS4 ? AF_INET : kind == MULTIADDR_DNS6 ? AF_INET6 : AF_UNSPEC;
}

/* Callbacks may come at once: they leave the question READY or not. */
static void ask_dns(struct question *question)
{
    struct resolver *resolver = question->resolver;
    char name[MULTIADDR_HOST_SIZE];
    enum multiaddr_code kind;
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};

    question->state = QUESTION_DNS;
    if (question->txt_name[0]) {
        ares_query(resolver->channel, question->txt_name, DNS_CLASS_IN, DNS_TYPE_TXT, on_txt, question);
        return;
    }
    multiaddr_host(&question->names[question->name_at], name, sizeof(name), &kind);
    hints.ai_family = family_of(kind);
    ares_getaddrinfo(resolver->channel, name, NULL, &hints, on_host, question);
}

/* ---- offloaded: files ---- */

static void init_library(void)
{
    ares_library_init(ARES_LIB_INIT_ALL);
}

static void run_job(void *argument, uint64_t result[3])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct job *job = argument;

    result[0] = (uint64_t)(uintptr_t)job;
    if (job->question) {
        FILE *file = fopen("/etc/hosts", "re");
        if (!file)
            return;
        job->found_count = hosts_find(job->found, HOSTS_ADDRESSES_MAX, file, job->name, job->family);
        fclose(file);
        return;
    }
    pthread_once(&once, init_library);
    struct ares_options options = {
        .flags = ARES_FLAG_EDNS, /* or every longer answer would have to come by TCP */
        .ednspsz = RESOLVER_UDP_BYTES,
        .timeout = RESOLVER_TIMEOUT_MS,
        .tries = RESOLVER_TRIES,
        .lookups = (char[]){"b"}, /* name servers only: the hosts file was looked into before */
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = job->resolver,
    };
    job->status = ares_init_options(&job->channel, &options,
                                    ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                    ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
}

static void drop_job(void *argument)
{
    struct job *job = argument;

    if (job->channel)
        ares_destroy(job->channel); /* has never asked: no callback comes */
    free(job);
}

static bool start_job(struct resolver *resolver, struct question *question, const char *name, int family)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return false;
    job->resolver = resolver;
    job->question = question;
    job->family = family;
    if (name)
        snprintf(job->name, sizeof(job->name), "%s", name);
    if (offload_run(resolver->context, resolver->next_job++, run_job, job, drop_job) < 0) {
        free(job);
        return false;
    }
    resolver->jobs++;
    return true;
}

static void on_hosts_read(struct question *question, const struct job *job)
{
    for (size_t i = 0; i < job->found_count; i++)
        question_take_address(question, (const struct sockaddr *)&job->found[i]);
    question->state = QUESTION_CHANNEL;
    if (job->found_count > 0) {
        question->name_at++;
        question->state = QUESTION_READY;
    }
}

static void on_configured(struct resolver *resolver, struct job *job)
{
    const char *servers = node_of(resolver->context)->own->name_servers;

    resolver->channel_asked = false;
    if (job->status == ARES_SUCCESS && servers)
        job->status = ares_set_servers_ports_csv(job->channel, servers);
    if (job->status == ARES_SUCCESS && !resolver->stopping) {
        resolver->channel = job->channel;
        resolver->channel_ns = resolver->context->now_ns;
        job->channel = NULL;
        return;
    }
    for (struct question *question = resolver->questions; question; question = question->next) {
        if (question->state != QUESTION_CHANNEL)
            continue;
        question_say_why(question, "/etc/resolv.conf", ares_strerror(job->status));
        question->name_at = question->name_count;
        question->state = QUESTION_READY;
    }
}

static void on_offloaded(struct resolver *resolver, const struct message *message)
{
    struct job *job = (struct job *)(uintptr_t)message->body.u64[0];

    resolver->jobs--;
    if (job->question)
        on_hosts_read(job->question, job);
    else
        on_configured(resolver, job);
    drop_job(job);
}

/* ---- questions ---- */

static void ask_host(struct question *question)
{
    struct resolver *resolver = question->resolver;
    const struct resolver_zone *zone = node_of(resolver->context)->own->zone;
    struct sockaddr_storage found[HOSTS_ADDRESSES_MAX];
    char name[MULTIADDR_HOST_SIZE];
    enum multiaddr_code kind;

    if (multiaddr_host(&question->names[question->name_at], name, sizeof(name), &kind) < 0) {
        question->name_at++;
        return;
    }
    size_t count = hosts_local(found, HOSTS_ADDRESSES_MAX, name, family_of(kind));
    for (size_t i = 0; i < count; i++)
        question_take_address(question, (struct sockaddr *)&found[i]);
    if (count > 0)
        question->name_at++;
    else if (zone)
        question_ask_zone(question, zone, name, family_of(kind));
    else
        question->state = start_job(resolver, question, name, family_of(kind)) ? QUESTION_HOSTS : QUESTION_CHANNEL;
}

static void ask_txt(struct question *question)
{
    const struct resolver_zone *zone = node_of(question->resolver->context)->own->zone;

    if (zone)
        question_ask_zone(question, zone, question->txt_name, AF_UNSPEC);
    else
        question->state = QUESTION_CHANNEL;
}

/* One step of a question that is READY; true when it has its answer. */
static bool advance(struct question *question)
{
    if (question->resolver->stopping) {
        question->answer.error = P2P_ERR_NODE_CLOSING;
        return true;
    }
    if (question_next_txt(question))
        ask_txt(question);
    else if (question->name_at < question->name_count)
        ask_host(question);
    else
        return true;
    return false;
}

static void answer(struct actor_context *context, const struct message *request,
                   const struct resolver_answer *found)
{
    struct message message = {.type = RESOLVER_MSG_RESOLVED, .kind = MESSAGE_CONTROL};

    message.buffer = buffer_new_foreign(sizeof(*found));
    if (message.buffer) {
        memcpy(message.buffer->data, found, sizeof(*found));
        message.length = sizeof(*found);
    }
    actor_answer(context, request, &message);
}

static void on_resolve(struct actor_context *context, struct resolver *resolver, struct message *message)
{
    struct question *question = NULL;
    struct resolver_answer refusal = {0};
    struct multiaddr address;

    memcpy(&address, message->buffer->data, sizeof(address));
    if (resolver->stopping)
        refusal.error = P2P_ERR_NODE_CLOSING;
    else if (resolver->question_count == RESOLVER_QUESTIONS_MAX)
        refusal.error = P2P_ERR_CALL_FULL;
    else if (!(question = question_new(resolver, message, &address)))
        refusal.error = P2P_ERR_CALL_NOMEM;
    if (!question) {
        answer(context, message, &refusal);
        return;
    }
    question->next = resolver->questions;
    resolver->questions = question;
    resolver->question_count++;
}

static void on_stop(struct resolver *resolver)
{
    resolver->stopping = true;
    if (resolver->channel)
        ares_destroy(resolver->channel); /* every question under way is called back */
    resolver->channel = NULL;
}

static void process(struct resolver *resolver, ares_socket_t descriptor, int64_t events)
{
    if (resolver->channel)
        ares_process_fd(resolver->channel, events & ~POLLOUT ? descriptor : ARES_SOCKET_BAD,
                        events & POLLOUT ? descriptor : ARES_SOCKET_BAD);
}

static void on_ready(struct resolver *resolver, const struct message *message)
{
    ares_socket_t descriptor = (ares_socket_t)message->body.i64[1];
    int64_t events = message->body.i64[0];

    for (unsigned i = 0; i < resolver->watched_count; i++) {
        if (resolver->watched[i].descriptor != descriptor)
            continue;
        if (events < 0) {
            resolver->watched[i].look_ns = resolver->context->now_ns + RESOLVER_REFUSED_NS;
            return;
        }
        resolver->watched[i].armed = 0;
        process(resolver, descriptor, events);
        return;
    }
}

/* What c-ares has waited for too long, and the sockets that are not watched:
 * these are then tried again. */
static void on_timer(struct resolver *resolver)
{
    ares_socket_t due[RESOLVER_SOCKETS_MAX]; /* a copy: c-ares may close some of them */
    unsigned count = 0;

    for (unsigned i = 0; i < resolver->watched_count; i++) {
        struct watched *watched = &resolver->watched[i];
        if (watched->look_ns == 0 || watched->look_ns > resolver->context->now_ns)
            continue;
        due[count++] = watched->descriptor;
        watched->look_ns = 0;
        watched->armed = 0;
    }
    for (unsigned i = 0; i < count; i++)
        process(resolver, due[i], POLLIN | POLLOUT);
    if (resolver->channel)
        ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct resolver *resolver = state;

    resolver->context = context;
    switch (message->type) {
    case MESSAGE_STOP:
        on_stop(resolver);
        break;
    case MESSAGE_TIMER:
        on_timer(resolver);
        break;
    case MESSAGE_OFFLOADED:
        on_offloaded(resolver, message);
        break;
    case MESSAGE_IO_READY:
        on_ready(resolver, message);
        break;
    case RESOLVER_MSG_RESOLVE:
        on_resolve(context, resolver, message);
        break;
    default:
        break;
    }
    resolver->context = NULL;
}

/* The channel for those who wait for it; one that was idle for long is made
 * anew, for the name servers may have changed. */
static void serve_channel(struct resolver *resolver)
{
    unsigned waiting = 0, asked = 0;

    for (struct question *question = resolver->questions; question; question = question->next) {
        if (resolver->stopping && question->state == QUESTION_CHANNEL)
            question->state = QUESTION_READY;
        waiting += question->state == QUESTION_CHANNEL;
        asked += question->state == QUESTION_DNS;
    }
    if (waiting == 0 || resolver->channel_asked)
        return;
    if (resolver->channel && asked == 0 &&
        resolver->context->now_ns - resolver->channel_ns > RESOLVER_CONFIG_NS_MAX) {
        ares_destroy(resolver->channel);
        resolver->channel = NULL;
    }
    if (!resolver->channel) {
        resolver->channel_asked = start_job(resolver, NULL, NULL, AF_UNSPEC);
        if (!resolver->channel_asked) { /* offload is full: later */
            actor_deadline(resolver->context, resolver->context->now_ns + RESOLVER_TIMEOUT_MS * 1000000ull);
        }
        return;
    }
    for (struct question *question = resolver->questions; question; question = question->next)
        if (question->state == QUESTION_CHANNEL)
            ask_dns(question);
}

/* Answers what is ready to be answered; true when a step was made. */
static bool serve_questions(struct resolver *resolver)
{
    bool moved = false;

    for (struct question **at = &resolver->questions; *at;) {
        struct question *question = *at;
        bool done = false;
        while (!done && question->state == QUESTION_READY) {
            done = advance(question);
            moved = true;
        }
        if (!done) {
            at = &question->next;
            continue;
        }
        *at = question->next;
        resolver->question_count--;
        answer(resolver->context, &question->request, question_answer(question));
        question_free(question);
    }
    return moved;
}

static void set_timer(struct resolver *resolver)
{
    struct timeval wait;
    uint64_t deadline_ns;

    if (!resolver->channel || !ares_timeout(resolver->channel, NULL, &wait))
        return;
    deadline_ns = resolver->context->now_ns + (uint64_t)wait.tv_sec * 1000000000u + (uint64_t)wait.tv_usec * 1000u;
    for (unsigned i = 0; i < resolver->watched_count; i++)
        if (resolver->watched[i].look_ns != 0 && resolver->watched[i].look_ns < deadline_ns)
            deadline_ns = resolver->watched[i].look_ns;
    actor_deadline(resolver->context, deadline_ns);
}

static void pump(struct actor_context *context, void *state)
{
    struct resolver *resolver = state;

    resolver->context = context;
    do {
        serve_channel(resolver);
    } while (serve_questions(resolver));
    arm_sockets(resolver);
    set_timer(resolver);
    resolver->context = NULL;
    if (resolver->stopping && resolver->jobs == 0 && resolver->question_count == 0)
        actor_exit(context);
}

static void on_fini(struct actor_context *context, void *state)
{
    struct resolver *resolver = state;

    resolver->context = context;
    if (resolver->channel)
        ares_destroy(resolver->channel);
    assert(resolver->question_count == 0);
}

const struct actor_class resolver_class = {
    .name = "resolver",
    .state_bytes = sizeof(struct resolver),
    .mail_max = RESOLVER_QUESTIONS_MAX,
    .receive = receive,
    .pump = pump,
    .fini = on_fini,
};

int resolver_tell(struct actor_context *context, struct actor_ref resolver, uint32_t request_id,
                  const struct multiaddr *question)
{
    struct message message = {
        .type = RESOLVER_MSG_RESOLVE,
        .kind = MESSAGE_REQUEST,
        .request_id = request_id,
        .to = resolver,
        .buffer = buffer_new_foreign(sizeof(*question)),
        .length = sizeof(*question),
    };

    if (!message.buffer)
        return P2P_ERR_CALL_NOMEM;
    memcpy(message.buffer->data, question, sizeof(*question));
    int error = actor_tell(context, &message);
    if (error)
        buffer_unref(message.buffer);
    return error;
}
