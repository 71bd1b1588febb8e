#include "agent.h"

#include "bench.h"
#include "dial.h"
#include "machine.h"
#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static bool write_line(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool write_line(int fd, const char *format, ...)
{
    char line[AGENT_LINE_BYTES_MAX];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    return length < (int)sizeof(line) && send(fd, line, (size_t)length, MSG_NOSIGNAL) == length;
}

/* ---- The server --------------------------------------------------------------------------- */

/* Somebody whose first line has not come, or who asks what a program uses. */
struct connection {
    int fd;
    double until_s;     /* for the first line; INFINITY for whoever asks */
    pid_t program;      /* that it asks about, and ends with itself; 0: none yet */
    size_t fill;
    char line[AGENT_LINE_BYTES_MAX];
};

struct agent {
    int listening;
    const struct side_spec *specs;
    size_t spec_count;
    pid_t programs[AGENT_PROGRAMS_MAX];
    size_t program_count;
    struct connection connections[AGENT_CONNECTIONS_MAX];
    size_t connection_count;
};

/* A program that has ended is nobody's any more: its number may be another's. */
static void reap(struct agent *agent)
{
    for (size_t i = 0; i < agent->program_count;) {
        if (waitpid(agent->programs[i], NULL, WNOHANG) == 0)
            i++;
        else
            agent->programs[i] = agent->programs[--agent->program_count];
    }
}

/* Only this process waits for its programs: until it has, the number is theirs. */
static bool is_program(const struct agent *agent, pid_t pid)
{
    for (size_t i = 0; i < agent->program_count; i++) {
        if (agent->programs[i] == pid)
            return true;
    }
    return false;
}

/* The address at which a client has found us: of one that came by IPv4, an IPv4
 * one, whatever the socket is. */
static bool own_host(int fd, char out[INET6_ADDRSTRLEN])
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t length = sizeof(address);

    if (getsockname(fd, &address.any, &length) != 0)
        return false;
    if (address.any.sa_family == AF_INET)
        return inet_ntop(AF_INET, &address.four.sin_addr, out, INET6_ADDRSTRLEN) != NULL;
    if (address.any.sa_family != AF_INET6)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&address.six.sin6_addr)) /* its last four bytes */
        return inet_ntop(AF_INET, &address.six.sin6_addr.s6_addr[12], out, INET6_ADDRSTRLEN) != NULL;
    return inet_ntop(AF_INET6, &address.six.sin6_addr, out, INET6_ADDRSTRLEN) != NULL;
}

static void become_program(int fd, const char *command, int cpu)
{
    struct timeval none = {0, 0}; /* a program may wait for its client as long as it likes */
    char host[INET6_ADDRSTRLEN], *shell;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!own_host(fd, host) || asprintf(&shell, "exec %s --host %s", command, host) < 0)
        _exit(126);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
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
    else
        (void)write_line(fd, "it cannot be started: %s\n", strerror(errno));
}

static bool tell_usage(const struct agent *agent, const struct connection *connection)
{
    struct meter meter = {.ours_count = 0};
    struct meter_reading reading;

    if (!is_program(agent, connection->program))
        return false;
    for (size_t i = 0; i < agent->program_count; i++)
        meter_add(&meter, agent->programs[i]);
    meter_read(&meter, &reading);
    return write_line(connection->fd, "%.9f %.0f %.3f %.3f\n", bench_cpu_s(connection->program),
                      (double)bench_status_kb(connection->program, "RssAnon") * 1024, reading.foreign_s,
                      reading.steal_s);
}

static void tell_machine(int fd)
{
    struct machine_place place = {.apart = false, .reason = "diallers are on another machine"};
    json_t *facts = machine_facts(&place);
    char *text = json_dumps(facts, JSON_COMPACT);

    if (text != NULL && send(fd, text, strlen(text), MSG_NOSIGNAL) > 0)
        (void)write_line(fd, "\n"); /* else whoever asked is gone */
    free(text);
    json_decref(facts);
}

/* A program is asked about by one connection, so that there are no more of these
 * than programs. */
static bool begin_usage(const struct agent *agent, struct connection *connection, pid_t pid)
{
    for (size_t i = 0; i < agent->connection_count; i++) {
        if (agent->connections[i].program == pid)
            return false;
    }
    if (pid <= 0 || !is_program(agent, pid))
        return false;
    connection->program = pid;
    connection->until_s = INFINITY;
    return true;
}

/* False: it is over with the connection, and others may have it. */
static bool obey(struct agent *agent, struct connection *connection)
{
    char *line = connection->line;

    reap(agent);
    if (connection->program != 0)
        return tell_usage(agent, connection);
    if (strncmp(line, "usage ", 6) == 0)
        return begin_usage(agent, connection, atoi(line + 6));
    if (strncmp(line, "start ", 6) == 0)
        start_named(agent, connection->fd, line + 6);
    else if (strcmp(line, "machine") == 0)
        tell_machine(connection->fd);
    return false;
}

/* Byte by byte: what follows the first line is somebody else's. */
static bool take(struct agent *agent, struct connection *connection)
{
    ssize_t count;

    while ((count = recv(connection->fd, connection->line + connection->fill, 1, MSG_DONTWAIT)) == 1) {
        bool whole = connection->line[connection->fill++] == '\n';

        if (!whole && connection->fill == sizeof(connection->line))
            return false;
        if (!whole)
            continue;
        connection->line[connection->fill - 1] = '\0';
        connection->fill = 0;
        if (!obey(agent, connection))
            return false;
    }
    return count < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Programs have the descriptor by themselves. */
static void drop(struct agent *agent, size_t index)
{
    struct connection *connection = &agent->connections[index];

    reap(agent);
    if (connection->program != 0 && is_program(agent, connection->program))
        kill(connection->program, SIGKILL);
    close(connection->fd);
    *connection = agent->connections[--agent->connection_count];
}

/* A client that does not read, or whose machine is gone, ends in time. */
static void take_connection(struct agent *agent)
{
    struct timeval patience = {.tv_sec = AGENT_LINE_S_MAX};
    int one = 1, idle_s = AGENT_KEEP_ALIVE_S, fd = accept4(agent->listening, NULL, NULL, SOCK_CLOEXEC);
    struct connection *connection = &agent->connections[agent->connection_count];

    if (fd < 0)
        return; /* it has gone already */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof(idle_s));
    connection->fd = fd;
    connection->until_s = bench_now_s() + AGENT_LINE_S_MAX;
    connection->program = 0;
    connection->fill = 0;
    agent->connection_count++;
}

/* It has not asked in time, or its program has ended. */
static bool is_over(const struct agent *agent, const struct connection *connection)
{
    return connection->until_s < bench_now_s() ||
           (connection->program != 0 && !is_program(agent, connection->program));
}

/* Waits for anybody, or until somebody is late.  With all places taken new ones
 * wait in the kernel. */
static void serve_once(struct agent *agent)
{
    struct pollfd waits[AGENT_CONNECTIONS_MAX + 1];
    size_t count = agent->connection_count;
    double until_s = INFINITY, left_s;

    for (size_t i = 0; i < count; i++) {
        waits[i] = (struct pollfd){.fd = agent->connections[i].fd, .events = POLLIN};
        until_s = fmin(until_s, agent->connections[i].until_s);
    }
    waits[count] = (struct pollfd){.fd = count < AGENT_CONNECTIONS_MAX ? agent->listening : -1, .events = POLLIN};
    left_s = fmax(0, until_s - bench_now_s());
    if (poll(waits, count + 1, isinf(until_s) ? -1 : (int)(left_s * 1000) + 1) < 0)
        return;
    reap(agent);
    for (size_t i = count; i-- > 0;) { /* from the back: whoever takes a freed place has been looked at */
        if ((waits[i].revents != 0 && !take(agent, &agent->connections[i])) ||
            is_over(agent, &agent->connections[i]))
            drop(agent, i);
    }
    if (waits[count].revents != 0)
        take_connection(agent);
}

/* A socket that listens on this address; the port that it has.  -1 with errno. */
static int listen_on(const struct sockaddr *address, socklen_t length, unsigned *port)
{
    struct sockaddr_in6 own = {.sin6_port = 0}; /* where an IPv4 address has its port, too */
    socklen_t own_length = sizeof(own);
    int one = 1, none = 0, error;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if ((address->sa_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof(none)) == 0) &&
        bind(fd, address, length) == 0 && listen(fd, 64) == 0 &&
        getsockname(fd, (struct sockaddr *)&own, &own_length) == 0) {
        *port = ntohs(own.sin6_port);
        return fd;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* On both kinds of addresses, or on IPv4 alone where there is nothing else. */
static int listen_on_all(unsigned *port)
{
    const struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)*port)};
    const struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    int fd = listen_on((const struct sockaddr *)&six, sizeof(six), port);

    return fd >= 0 || errno == EADDRINUSE ? fd : listen_on((const struct sockaddr *)&four, sizeof(four), port);
}

void agent_serve(const struct side_spec *specs, size_t count, unsigned port)
{
    struct agent agent = {.specs = specs, .spec_count = count};

    agent.listening = listen_on_all(&port);
    if (agent.listening < 0) {
        fprintf(stderr, "chorus-bench: cannot listen on port %u: %s\n", port, strerror(errno));
        return;
    }
    printf("serving on port %u; whoever reaches it can start these programs\n", port);
    fflush(stdout);
    for (;;)
        serve_once(&agent);
}

/* ---- The client ------------------------------------------------------------------------------ */

/* A line, byte by byte, within AGENT_LINE_S_MAX: what follows it is somebody
 * else's. */
static bool read_line(int fd, char *out, size_t size)
{
    double until_s = bench_now_s() + AGENT_LINE_S_MAX;
    size_t length = 0;

    while (length + 1 < size && dial_wait(fd, POLLIN, until_s)) {
        if (read(fd, out + length, 1) != 1)
            return false;
        if (out[length++] != '\n')
            continue;
        out[length - 1] = '\0';
        return true;
    }
    return false;
}

/* An agent that takes nothing is as good as none. */
static int dial(const char *agent, const char **reason)
{
    struct timeval patience = {.tv_sec = AGENT_LINE_S_MAX};
    char port[16];
    int fd;

    snprintf(port, sizeof(port), "%d", AGENT_PORT);
    fd = dial_tcp(agent, port, bench_now_s() + AGENT_LINE_S_MAX, reason);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

bool agent_start(struct side *side, struct side_text *error)
{
    char line[AGENT_LINE_BYTES_MAX] = "";
    const char *reason;

    side->in = side->out = dial(side->spec->agent, &reason);
    if (side->in < 0) {
        side_blame(side, error, "nobody serves at %s: %s; start `chorus-bench run --server` there",
                   side->spec->agent, reason);
        return false;
    }
    if (!write_line(side->in, "start %s %d\n", side->spec->name, side->spec->cpu) ||
        !read_line(side->in, line, sizeof(line)) || strncmp(line, "agent ", 6) != 0) {
        side_blame(side, error, "the server at %s says: %s", side->spec->agent, *line != '\0' ? line : "nothing");
        return false;
    }
    side->control = dial(side->spec->agent, &reason);
    if (side->control >= 0 && write_line(side->control, "usage %d\n", atoi(line + 6)))
        return true;
    side_blame(side, error, "the server at %s does not tell of it", side->spec->agent);
    return false;
}

json_t *agent_machine(const char *agent, struct side_text *error)
{
    char line[AGENT_FACTS_BYTES_MAX] = "";
    const char *reason;
    int fd = dial(agent, &reason);
    json_t *facts = NULL;

    if (fd < 0) {
        snprintf(error->text, sizeof(error->text), "nobody serves at %s: %s; start `chorus-bench run --server` there",
                 agent, reason);
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
