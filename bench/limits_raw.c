#include "limits.h"

#include "bench.h"
#include "command.h"
#include "histogram.h"
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* `raw`: the program. */

enum { WORDS_MAX = 32, LINE_BYTES = 4096 };

static unsigned spin_us;
static bool sealed;
static struct sockaddr_in own; /* where it listens */

/* ---- Answers -------------------------------------------------------------------------- */

static void tell_event(const struct limits_load *load, const char *event)
{
    serve_print(json_pack("{s:s, s:s}", "id", load->tag, "event", event));
}

void limits_begin(struct limits_load *load)
{
    __atomic_store_n(&load->phase, LIMITS_MEASURED, __ATOMIC_RELAXED);
    tell_event(load, "begin");
}

void limits_end(struct limits_load *load)
{
    __atomic_store_n(&load->phase, LIMITS_OVER, __ATOMIC_RELAXED);
    tell_event(load, "end");
}

static double part_us(const struct histogram *latency_ns, double part)
{
    return (double)histogram_percentile(latency_ns, part) / 1000;
}

void limits_answer(struct limits_load *load, double units, double seconds, const struct histogram *latency_ns)
{
    json_t *answer = json_pack("{s:s, s:s, s:b, s:f, s:f, s:i}", "id", load->tag, "case", "load", "ok", 1, "units",
                               units, "seconds", seconds, "failed", 0);

    if (latency_ns != NULL) {
        json_t *parts = json_pack("{s:f, s:f, s:f, s:f, s:f}", "p50Us", part_us(latency_ns, 0.5), "p90Us",
                                  part_us(latency_ns, 0.9), "p99Us", part_us(latency_ns, 0.99), "p999Us",
                                  part_us(latency_ns, 0.999), "maxUs", (double)latency_ns->most / 1000);

        json_object_update(answer, parts);
        json_decref(parts);
    }
    serve_print(answer);
}

void limits_refuse(const char *tag, const char *error)
{
    serve_print(json_pack("{s:s, s:b, s:s}", "id", tag, "ok", 0, "error", error));
}

/* ---- Listening ------------------------------------------------------------------------ */

static void *accept_all(void *argument)
{
    int listening = *(int *)argument;

    for (;;) {
        struct limits_hello hello;
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            bench_die("accept: %s", strerror(errno));
        if (recv(fd, &hello, sizeof(hello), MSG_WAITALL) != sizeof(hello) || hello.size > LIMITS_SIZE_BYTES_MAX)
            close(fd);
        else if (hello.mode == LIMITS_ECHO)
            limits_serve_echo(fd, &hello, spin_us);
        else
            limits_serve_stream(fd, &hello, spin_us);
    }
    return NULL;
}

static void start_listening(void)
{
    static int listening;
    char host[INET_ADDRSTRLEN];
    pthread_t thread;

    listening = limits_listen(&own);
    if (pthread_create(&thread, NULL, accept_all, &listening) != 0)
        bench_die("no thread");
    printf("/ip4/%s/tcp/%d/p2p/raw\nready\n", inet_ntop(AF_INET, &own.sin_addr, host, sizeof(host)),
           ntohs(own.sin_port));
    fflush(stdout);
}

/* ---- Commands ---------------------------------------------------------------------------- */

static bool parse_address(const char *text, struct sockaddr_in *out)
{
    char host[64];
    unsigned port;

    *out = (struct sockaddr_in){.sin_family = AF_INET};
    if (text == NULL || sscanf(text, "/ip4/%63[0-9.]/tcp/%u/", host, &port) != 2 || port > 65535)
        return false;
    out->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

static bool parse_direction(struct limits_load *load, const char *value)
{
    load->up = strcmp(value, "up") == 0 || strcmp(value, "both") == 0;
    load->down = strcmp(value, "down") == 0 || strcmp(value, "both") == 0;
    return load->up || load->down;
}

static bool parse_key(struct limits_load *load, char *word)
{
    char *value = strchr(word, '=');
    unsigned *counts[] = {&load->connections, &load->streams, &load->size};
    static const char *const names[] = {"connections", "streams", "size"};
    static const unsigned most[] = {LIMITS_CONNECTIONS_MAX, 1000, LIMITS_SIZE_BYTES_MAX};

    if (value == NULL)
        return false;
    *value++ = '\0';
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, names[i]) == 0) {
            *counts[i] = (unsigned)strtoul(value, NULL, 10);
            return *counts[i] > 0 && *counts[i] <= most[i];
        }
    }
    if (strcmp(word, "direction") == 0)
        return parse_direction(load, value);
    if (strcmp(word, "rate") == 0)
        load->rate = atof(value);
    else if (strcmp(word, "warm") == 0)
        load->warm_s = atof(value);
    else if (strcmp(word, "seconds") == 0)
        load->seconds = atof(value);
    else
        return strcmp(word, "parallel") == 0 || strcmp(word, "distinct") == 0; /* a side does it all, on a core */
    return load->rate >= 0 && load->warm_s >= 0 && load->seconds > 0;
}

static void load(char **words)
{
    static const struct {
        const char *name;
        void (*run)(struct limits_load *load);
    } works[] = {{"bulk", limits_bulk}, {"rtt", limits_rtt}, {"rr", limits_rr}, {"handshake", limits_sides}};
    struct limits_load load = {.tag = words[0], .connections = 1, .streams = 1, .size = 32, .up = true,
                               .sealed = sealed, .warm_s = 1, .seconds = 5, .spin_us = spin_us};

    if (words[2] == NULL || !parse_address(words[3], &load.address)) {
        limits_refuse(words[0], "load WORK ADDR [KEY=VALUE...]");
        return;
    }
    for (char **word = words + 4; *word != NULL; word++) {
        if (!parse_key(&load, *word)) {
            limits_refuse(words[0], "a key or value that is not known");
            return;
        }
    }
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
        if (strcmp(works[i].name, words[2]) == 0) {
            works[i].run(&load);
            return;
        }
    }
    limits_refuse(words[0], "the reference knows bulk, rtt, rr and handshake only");
}

static void about(const char *tag)
{
    char waiting[64] = "sleep";

    if (spin_us > 0)
        snprintf(waiting, sizeof(waiting), "spin %u us, then sleep", spin_us);
    serve_print(json_pack("{s:s, s:b, s:s, s:s, s:i, s:s, s:i, s:s}", "id", tag, "ok", 1, "implementation",
                          sealed ? "plain C with the cipher" : "plain C", "version", CHORUS_VERSION, "workers", 1,
                          "waiting", waiting, "spinUs", (int)spin_us, "driver",
                          "io_uring, blocking calls for bulk and rtt"));
}

static void obey(char *line)
{
    char *words[WORDS_MAX + 1] = {NULL}, *save = NULL;
    int count = 0;

    for (char *word = strtok_r(line, " \n", &save); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, " \n", &save))
        words[count++] = word;
    if (count >= 2 && strcmp(words[1], "about") == 0)
        about(words[0]);
    else if (count >= 2 && strcmp(words[1], "load") == 0)
        load(words);
    else if (count > 0)
        limits_refuse(words[0], "no command of that name");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    switch (key) {
    case 'a':
        sealed = true;
        return 0;
    case 'h':
        if (inet_pton(AF_INET, argument, &own.sin_addr) != 1)
            argp_error(state, "--host: '%s' is no IPv4 address", argument);
        return 0;
    case 's':
        spin_us = (unsigned)command_number(state, "spin", argument, 0, 1000000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_raw(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"aead", 'a', NULL, 0, "seal what is sent, open what comes", 0},
        {"host", 'h', "IP", 0, "to listen on (default 127.0.0.1)", 0},
        {"spin", 's', "US", 0, "look around so long before sleeping", 0},
        {0},
    };
    static const struct argp argp = {options, parse, NULL, "The reference: plain C on sockets.", NULL, NULL, NULL};
    char line[LINE_BYTES];

    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return COMMAND_USAGE;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1); /* what is due is due */
    start_listening();
    while (fgets(line, sizeof(line), stdin) != NULL)
        obey(line);
    return COMMAND_DONE;
}
