#include "bench.h"
#include "load.h"
#include "node.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* `serve`: the program of tests/interop/README.md, as far as load goes.  Besides
 * its commands, the line `heap` is answered by the number of heap calls so far. */

enum serve_limits {
    LINE_BYTES_MAX = 32768, /* 256 addresses */
    WORDS_MAX = 64,
    COMMANDS_MAX = 64, /* at a time */
    EVENTS_MS = 100,   /* between two looks at the listening node's events */
};

/* A command that runs on a thread of its own. */
struct command {
    struct command *next;
    pthread_t thread;
    bool done; /* atomic */
    char *words[WORDS_MAX + 1];
    char line[LINE_BYTES_MAX];
};

struct input {
    char bytes[LINE_BYTES_MAX];
    size_t fill;
    bool skipping; /* the rest of a line that is too long */
};

static struct serve serve;
static struct p2p_runtime *runtime; /* of the listening nodes */
static struct p2p_node *listening[BENCH_NODES_MAX]; /* the first is serve.listening */
static unsigned listening_count;
static struct command *commands;

/* ---- Answers ---------------------------------------------------------------------- */

void serve_print(json_t *line)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&lock);
    json_decref(line);
}

static void refuse(const char *tag, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(const char *tag, const char *name, const char *format, ...)
{
    char error[200];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, sizeof(error), format, arguments);
    va_end(arguments);
    serve_print(json_pack("{s:s, s:s, s:b, s:s}", "id", tag, "case", name, "ok", 0, "error", error));
}

static void about(const char *tag)
{
    unsigned spin_us = p2p_runtime_spin_us(runtime);
    char waiting[160] = "sleep";

    if (spin_us > 0)
        snprintf(waiting, sizeof(waiting), "spin %u us, then sleep", spin_us);
    if (serve.workers == 1)
        snprintf(waiting + strlen(waiting), sizeof(waiting) - strlen(waiting),
                 "; dialling handshake, one thread turns its nodes and asks each for events");
    serve_print(json_pack("{s:s, s:s, s:b, s:s, s:s, s:i, s:s, s:i, s:s}", "id", tag, "case", "about", "ok", 1,
                          "implementation", "chorus-p2p", "version", p2p_version(), "workers", (int)serve.workers,
                          "waiting", waiting, "spinUs", (int)spin_us, "driver", p2p_runtime_driver(runtime)));
}

/* ---- Commands ---------------------------------------------------------------------- */

static void *run(void *argument)
{
    struct command *command = argument;
    json_t *answer = load_command(&serve, command->words[0], command->words + 2);

    /* First: whoever has the answer may ask again, and finds us done. */
    __atomic_store_n(&command->done, true, __ATOMIC_RELEASE);
    serve_print(answer);
    return NULL;
}

/* Joins the threads of commands that are done, or of all.  Returns how many are
 * left. */
static unsigned join(bool all)
{
    unsigned left = 0;

    for (struct command **link = &commands; *link != NULL;) {
        struct command *command = *link;

        /* Acquire pairs with the release of run(), for the memory. */
        if (!all && !__atomic_load_n(&command->done, __ATOMIC_ACQUIRE)) {
            link = &command->next;
            left++;
            continue;
        }
        pthread_join(command->thread, NULL);
        *link = command->next;
        free(command);
    }
    return left;
}

static void start(struct command *command)
{
    if (join(false) >= COMMANDS_MAX) {
        refuse(command->words[0], "load", "%d commands run already", COMMANDS_MAX);
        free(command);
        return;
    }
    if (pthread_create(&command->thread, NULL, run, command) != 0)
        bench_die("a thread cannot be started: %s", strerror(errno));
    command->next = commands;
    commands = command;
}

/* Without a heap call of its own. */
static void tell_heap_calls(void)
{
    printf("%" PRIu64 "\n", bench_allocations());
    fflush(stdout);
}

static void obey(const char *line, size_t length)
{
    struct command *command;
    char *save = NULL;
    int count = 0;

    if (length == 4 && memcmp(line, "heap", length) == 0) {
        tell_heap_calls();
        return;
    }
    command = calloc(1, sizeof(*command));
    if (command == NULL)
        bench_die("no memory for a command");
    memcpy(command->line, line, length);
    for (char *word = strtok_r(command->line, " \r", &save); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, " \r", &save))
        command->words[count++] = word;
    if (count == 2 && strcmp(command->words[1], "about") == 0) {
        about(command->words[0]);
    } else if (count >= 4 && strcmp(command->words[1], "load") == 0) {
        start(command);
        return;
    } else if (count > 0) {
        refuse(command->words[0], count > 1 ? command->words[1] : "", "no command '%.100s'",
               count > 1 ? command->words[1] : "");
    }
    free(command);
}

/* ---- Input ------------------------------------------------------------------------- */

/* The lines that are whole; what is cut moves to the front. */
static void take_lines(struct input *input)
{
    char *begin = input->bytes, *end = begin + input->fill, *newline;

    while ((newline = memchr(begin, '\n', (size_t)(end - begin))) != NULL) {
        if (!input->skipping)
            obey(begin, (size_t)(newline - begin));
        input->skipping = false;
        begin = newline + 1;
    }
    input->fill = (size_t)(end - begin);
    if (input->fill == sizeof(input->bytes)) {
        if (!input->skipping)
            fprintf(stderr, "chorus-bench: a line of more than %d bytes is no command\n", LINE_BYTES_MAX);
        input->skipping = true;
        input->fill = 0;
    }
    memmove(input->bytes, begin, input->fill);
}

/* False at the end of standard input. */
static bool read_more(struct input *input)
{
    ssize_t count = read(STDIN_FILENO, input->bytes + input->fill, sizeof(input->bytes) - input->fill);

    if (count < 0 && errno == EINTR)
        return true;
    if (count <= 0)
        return false;
    input->fill += (size_t)count;
    take_lines(input);
    return true;
}

/* Nobody needs the listening nodes' events, but they shall not pile up.  So they
 * are taken now and then, and a storm of them wakes nobody more often. */
static bool take_events(void)
{
    struct p2p_event event;
    bool some = false;

    for (unsigned i = 0; i < listening_count; i++) {
        while (p2p_node_next_event(listening[i], &event) == 0)
            some = true;
    }
    return some;
}

/* Until the end of standard input, or a signal. */
static void take_commands(int signals)
{
    struct input input = {.fill = 0};
    struct pollfd waits[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = signals, .events = POLLIN},
                              {.fd = p2p_node_event_fd(serve.listening), .events = POLLIN}};
    bool some = false;

    node_check(waits[2].fd, "descriptor of events"); /* without it events would pile up unseen */
    for (;;) {
        /* The first wakes us; the others' are seen when its are, or soon. */
        if (poll(waits, some ? 2 : 3, some ? EVENTS_MS : listening_count > 1 ? 10 * EVENTS_MS : -1) < 0)
            continue;
        if (waits[1].revents != 0 || (waits[0].revents != 0 && !read_more(&input)))
            return;
        some = take_events();
    }
}

/* ---- The program ------------------------------------------------------------------- */

static int block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN); /* whoever read our output is gone: so is our input, soon */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        bench_die("signals cannot be blocked");
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections then */
}

static void start_listening(const struct bench_options *options)
{
    struct p2p_error_text text = {""};

    serve.workers = options->workers;
    serve.spin_us = options->spin_us;
    serve.ending = eventfd(0, EFD_CLOEXEC);
    if (serve.ending < 0)
        bench_die("eventfd: %s", strerror(errno));
    if (p2p_runtime_new(&runtime, serve.workers, true, P2P_DRIVER_AUTO, &text) != 0 ||
        p2p_runtime_set_spin_us(runtime, serve.spin_us) != 0)
        bench_die("%s", text.text);
    while (listening_count < options->nodes) {
        struct p2p_address address;
        size_t count = 0;

        if (node_try(&listening[listening_count], runtime, options->host, &text) != 0)
            bench_die("%s", text.text);
        node_check(p2p_node_addresses(listening[listening_count++], &address, 1, &count), "addresses");
        puts(address.text);
    }
    serve.listening = listening[0];
    puts("ready");
    fflush(stdout);
}

int bench_serve(const struct bench_options *options)
{
    uint64_t one = 1;
    int signals = block_signals(), error = 0;

    if (signals < 0)
        bench_die("signalfd: %s", strerror(errno));
    if (options->pin >= 0)
        bench_pin((unsigned)options->pin);
    raise_descriptors();
    start_listening(options);
    take_commands(signals);
    (void)!write(serve.ending, &one, sizeof(one)); /* loads end early */
    (void)join(true);
    for (unsigned i = 0; i < listening_count; i++)
        error |= p2p_node_close(listening[i], 5000);
    for (unsigned i = 0; i < listening_count; i++)
        p2p_node_free(listening[i]);
    p2p_runtime_free(runtime);
    close(serve.ending);
    close(signals);
    return error == 0 ? 0 : 1;
}
