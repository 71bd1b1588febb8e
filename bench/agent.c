#include "agent.h"

#include "bench.h"
#include "machine.h"
#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* A line, byte by byte: what follows it is somebody else's. */
static bool read_line(int fd, char *out, size_t size)
{
    size_t length = 0;

    while (length + 1 < size && read(fd, out + length, 1) == 1) {
        if (out[length++] != '\n')
            continue;
        out[length - 1] = '\0';
        return true;
    }
    return false;
}

static bool write_line(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool write_line(int fd, const char *format, ...)
{
    char line[AGENT_LINE_BYTES_MAX];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    return length < (int)sizeof(line) && write(fd, line, (size_t)length) == length;
}

/* ---- The server --------------------------------------------------------------------------- */

struct agent {
    const struct side_spec *specs;
    size_t spec_count;
    pid_t programs[AGENT_PROGRAMS_MAX];
    size_t program_count;
};

static void reap(struct agent *agent)
{
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        for (size_t i = 0; i < agent->program_count; i++) {
            if (agent->programs[i] == pid)
                agent->programs[i--] = agent->programs[--agent->program_count];
        }
    }
}

static void become_program(int fd, const char *command, int cpu)
{
    struct sockaddr_in address = {.sin_family = AF_UNSPEC};
    socklen_t length = sizeof(address);
    char host[INET_ADDRSTRLEN], *shell;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 || address.sin_family != AF_INET ||
        inet_ntop(AF_INET, &address.sin_addr, host, sizeof(host)) == NULL ||
        asprintf(&shell, "exec %s --host %s", command, host) < 0)
        _exit(126);
    side_pin(cpu);
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    if (write_line(STDOUT_FILENO, "agent %d\n", (int)getpid()))
        execl("/bin/sh", "sh", "-c", shell, (char *)NULL);
    _exit(127);
}

static void start_named(struct agent *agent, int fd, char *name)
{
    const struct side_spec *found = NULL;
    char *space = strchr(name, ' ');
    int cpu = space != NULL ? atoi(space + 1) : -1;
    pid_t pid;

    if (space != NULL)
        *space = '\0';

    for (size_t i = 0; i < agent->spec_count; i++) {
        if (strcmp(agent->specs[i].name, name) == 0)
            found = &agent->specs[i];
    }
    if (found == NULL || agent->program_count == AGENT_PROGRAMS_MAX) {
        (void)write_line(fd, found == NULL ? "the server has no program of that name\n" : "too many programs\n");
        return;
    }
    pid = fork();
    if (pid == 0)
        become_program(fd, found->command, cpu);
    if (pid > 0)
        agent->programs[agent->program_count++] = pid;
}

/* A process of its own, which ends the program with its connection. */
static void tell_usage(const struct agent *agent, int fd, pid_t pid)
{
    struct meter meter = {.ours_count = 0};
    struct meter_reading reading;
    char line[AGENT_LINE_BYTES_MAX];

    meter_add(&meter, getppid());
    for (size_t i = 0; i < agent->program_count; i++)
        meter_add(&meter, agent->programs[i]);
    while (read_line(fd, line, sizeof(line))) {
        meter_read(&meter, &reading);
        if (!write_line(fd, "%.9f %.0f %.3f %.3f\n", bench_cpu_s(pid),
                        (double)bench_status_kb(pid, "RssAnon") * 1024, reading.foreign_s, reading.steal_s))
            break;
    }
    kill(pid, SIGKILL);
    _exit(0);
}

static void tell_machine(int fd)
{
    struct machine_place place = {.apart = false, .reason = "diallers are on another machine"};
    json_t *facts = machine_facts(&place);
    char *text = json_dumps(facts, JSON_COMPACT);

    if (text != NULL)
        dprintf(fd, "%s\n", text);
    free(text);
    json_decref(facts);
}

static void obey(struct agent *agent, int fd)
{
    struct timeval patience = {.tv_sec = AGENT_LINE_S_MAX}, none = {0, 0};
    char line[AGENT_LINE_BYTES_MAX];
    pid_t pid;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (!read_line(fd, line, sizeof(line)))
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    reap(agent);
    if (strncmp(line, "start ", 6) == 0) {
        start_named(agent, fd, line + 6);
        return;
    }
    if (strcmp(line, "machine") == 0)
        tell_machine(fd);
    pid = strncmp(line, "usage ", 6) == 0 ? atoi(line + 6) : 0;
    for (size_t i = 0; i < agent->program_count; i++) {
        if (agent->programs[i] == pid && fork() == 0)
            tell_usage(agent, fd, pid);
    }
}

void agent_serve(const struct side_spec *specs, size_t count, unsigned port)
{
    struct agent agent = {.specs = specs, .spec_count = count};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t length = sizeof(address);
    int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(listening, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, length) != 0 || listen(listening, 64) != 0 ||
        getsockname(listening, (struct sockaddr *)&address, &length) != 0) {
        fprintf(stderr, "chorus-bench: cannot listen on port %u: %s\n", port, strerror(errno));
        return;
    }
    printf("serving on port %u; whoever reaches it can start these programs\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            obey(&agent, fd);
            close(fd); /* programs have it */
        }
    }
}

/* ---- The client ------------------------------------------------------------------------------ */

static int dial(const char *agent)
{
    const char *colon = strrchr(agent, ':');
    char *host = colon != NULL ? strndup(agent, (size_t)(colon - agent)) : strdup(agent), port[16];
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int one = 1, fd = -1;

    snprintf(port, sizeof(port), "%d", colon != NULL ? atoi(colon + 1) : AGENT_PORT);
    if (host != NULL && getaddrinfo(host, port, &hints, &found) == 0)
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (found != NULL)
        freeaddrinfo(found);
    free(host);
    return fd;
}

bool agent_start(struct side *side, struct side_text *error)
{
    char line[AGENT_LINE_BYTES_MAX] = "";

    side->in = side->out = dial(side->spec->agent);
    if (side->in < 0) {
        side_blame(side, error, "nobody serves at %s: %s", side->spec->agent, strerror(errno));
        return false;
    }
    if (!write_line(side->in, "start %s %d\n", side->spec->name, side->spec->cpu) ||
        !read_line(side->in, line, sizeof(line)) || strncmp(line, "agent ", 6) != 0) {
        side_blame(side, error, "the server at %s says: %s", side->spec->agent, line);
        return false;
    }
    side->control = dial(side->spec->agent);
    if (side->control >= 0 && write_line(side->control, "usage %d\n", atoi(line + 6)))
        return true;
    side_blame(side, error, "the server at %s does not tell of it", side->spec->agent);
    return false;
}

json_t *agent_machine(const char *agent, struct side_text *error)
{
    char line[AGENT_FACTS_BYTES_MAX] = "";
    int fd = dial(agent);
    json_t *facts = NULL;

    if (fd < 0) {
        snprintf(error->text, sizeof(error->text), "nobody serves at %s: %s", agent, strerror(errno));
        return NULL;
    }
    if (write_line(fd, "machine\n") && read_line(fd, line, sizeof(line)))
        facts = json_loads(line, 0, NULL);
    close(fd);
    if (facts == NULL)
        snprintf(error->text, sizeof(error->text), "%s does not tell what machine it is", agent);
    return facts;
}

bool agent_usage(struct side *side, struct side_usage *out, struct side_text *error)
{
    char line[AGENT_LINE_BYTES_MAX];

    if (write_line(side->control, "?\n") && read_line(side->control, line, sizeof(line)) &&
        sscanf(line, "%lf %lf %lf %lf", &out->cpu_s, &out->rss_anon_bytes, &out->foreign_s, &out->steal_s) == 4)
        return true;
    side_blame(side, error, "the server does not tell of it any more");
    return false;
}
