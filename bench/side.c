#include "side.h"

#include "agent.h"
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- What went wrong ------------------------------------------------------------ */

/* How it ended, if it has. */
static void add_ending(const struct side *side, char *out, size_t size)
{
    int status;

    if (side->pid <= 0 || waitpid(side->pid, &status, WNOHANG) != side->pid)
        return;
    if (WIFSIGNALED(status))
        snprintf(out, size, " (signal %d, %s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, " (status %d)", WEXITSTATUS(status));
}

static void add_tail(const struct side *side, char *out, size_t size)
{
    char tail[SIDE_TAIL_BYTES + 1];
    off_t end = side->err >= 0 ? lseek(side->err, 0, SEEK_CUR) : 0;
    off_t from = end > SIDE_TAIL_BYTES ? end - SIDE_TAIL_BYTES : 0;
    ssize_t count = end > 0 ? pread(side->err, tail, (size_t)(end - from), from) : 0;

    if (count <= 0)
        return;
    tail[count] = '\0';
    while (count > 0 && tail[count - 1] == '\n')
        tail[--count] = '\0';
    snprintf(out, size, "; it wrote: %s", tail);
}

/* What programs print may be anything: it goes to terminals and into JSON. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~')
            *text = *text == '\n' ? ' ' : '?';
    }
}

void side_blame(const struct side *side, struct side_text *error, const char *format, ...)
{
    va_list arguments;
    size_t length, size = sizeof(error->text);

    snprintf(error->text, size, "%s (%s): ", side->spec->name, side->role);
    length = strlen(error->text);
    va_start(arguments, format);
    vsnprintf(error->text + length, size - length, format, arguments);
    va_end(arguments);
    length = strlen(error->text);
    add_tail(side, error->text + length, size - length);
    make_printable(error->text);
}

static void blame_ended(struct side *side, struct side_text *error)
{
    char how[64] = "";

    for (int i = 0; i < 100 && how[0] == '\0' && side->pid > 0; i++) {
        add_ending(side, how, sizeof(how)); /* its output closes a moment before it can be waited for */
        if (how[0] == '\0')
            poll(NULL, 0, 10);
    }
    if (how[0] != '\0')
        side->pid = -1;
    side_blame(side, error, "it ended%s", how);
}

/* ---- Starting and ending -------------------------------------------------------- */

void side_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* recorded as wanted, and unpinned is slower, not wrong */
}

static void start_program(const struct side_spec *spec, const int pipes[4], int err)
{
    char *shell;

    setpgid(0, 0); /* an interrupt is for whoever started us, who ends us in order */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    side_pin(spec->cpu);
    dup2(pipes[0], STDIN_FILENO);
    dup2(pipes[3], STDOUT_FILENO);
    if (err >= 0)
        dup2(err, STDERR_FILENO);
    if (asprintf(&shell, "exec %s", spec->command) > 0)
        execl("/bin/sh", "sh", "-c", shell, (char *)NULL);
    _exit(127);
}

/* A file that cannot grow: its offset is what was written. */
static int errors_file(void)
{
    int fd = memfd_create("stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, SIDE_STDERR_BYTES_MAX) != 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool start_here(struct side *side, struct side_text *error)
{
    int pipes[4]; /* theirs, ours; ours, theirs */

    if (pipe2(pipes, O_CLOEXEC) != 0) {
        side_blame(side, error, "no pipe: %s", strerror(errno));
        return false;
    }
    if (pipe2(pipes + 2, O_CLOEXEC) != 0) {
        side_blame(side, error, "no pipe: %s", strerror(errno));
        close(pipes[0]);
        close(pipes[1]);
        return false;
    }
    side->err = errors_file();
    side->pid = fork();
    if (side->pid == 0)
        start_program(side->spec, pipes, side->err);
    close(pipes[0]);
    close(pipes[3]);
    side->in = pipes[1];
    side->out = pipes[2];
    if (side->pid < 0)
        side_blame(side, error, "fork: %s", strerror(errno));
    return side->pid > 0;
}

/* Takes the first line out of the buffer, without its newline.  0: there is
 * none, -1: it does not fit. */
static int take_line(struct side *side, char *out)
{
    char *newline = memchr(side->buffer, '\n', side->fill);
    size_t length;

    if (newline == NULL)
        return side->fill == sizeof(side->buffer) ? -1 : 0;
    length = (size_t)(newline - side->buffer);
    memcpy(out, side->buffer, length);
    out[length] = '\0';
    side->fill -= length + 1;
    memmove(side->buffer, newline + 1, side->fill);
    return 1;
}

static void read_more(struct side *side)
{
    ssize_t count = read(side->out, side->buffer + side->fill, sizeof(side->buffer) - side->fill);

    if (count < 0 && errno == EINTR)
        return;
    if (count <= 0)
        side->ended = true;
    else
        side->fill += (size_t)count;
}

/* Waits for output of any; false when it is `until_s`. */
static bool wait_output(struct side *const *sides, size_t count, double until_s)
{
    struct pollfd waits[2 * 16];
    double left_s = until_s - bench_now_s();

    for (size_t i = 0; i < count; i++)
        waits[i] = (struct pollfd){.fd = sides[i]->out, .events = POLLIN};
    if (left_s < 0 || poll(waits, count, left_s > 3600 ? 3600000 : (int)(left_s * 1000) + 1) <= 0)
        return bench_now_s() < until_s; /* interrupted: look again */
    for (size_t i = 0; i < count; i++) {
        if (waits[i].revents != 0)
            read_more(sides[i]);
    }
    return true;
}

static void add_address(struct side *side, const char *line)
{
    size_t length = strlen(side->addresses);

    if (length == 0)
        snprintf(side->address, sizeof(side->address), "%.*s", SIDE_ADDRESS_BYTES - 1, line);
    if (length + strlen(line) + 2 <= sizeof(side->addresses))
        snprintf(side->addresses + length, sizeof(side->addresses) - length, "%s%s", length > 0 ? "," : "", line);
}

static bool wait_ready(struct side *side, struct side_text *error)
{
    char line[SIDE_LINE_BYTES_MAX + 1];
    double until_s = bench_now_s() + SIDE_READY_S_MAX;
    int taken;

    for (;;) {
        while ((taken = take_line(side, line)) > 0 && strcmp(line, "ready") != 0) {
            if (line[0] == '/')
                add_address(side, line);
        }
        if (taken > 0 && side->address[0] != '\0')
            return true;
        if (taken != 0)
            side_blame(side, error, "it printed no address to dial before 'ready'");
        else if (side->ended)
            blame_ended(side, error);
        else if (wait_output(&side, 1, until_s))
            continue;
        else
            side_blame(side, error, "it was not ready after %d s", SIDE_READY_S_MAX);
        return false;
    }
}

struct side *side_start(const struct side_spec *spec, const char *role, struct side_text *error)
{
    struct side *side = malloc(sizeof(*side));

    if (side == NULL) {
        snprintf(error->text, sizeof(error->text), "no memory for a program");
        return NULL;
    }
    *side = (struct side){.spec = spec, .role = role, .in = -1, .out = -1, .err = -1, .control = -1};
    if ((spec->agent != NULL ? agent_start(side, error) : start_here(side, error)) && wait_ready(side, error))
        return side;
    side_stop(side);
    return NULL;
}

void side_stop(struct side *side)
{
    if (side == NULL)
        return;
    if (side->pid > 0) {
        kill(-side->pid, SIGKILL);
        kill(side->pid, SIGKILL);
        waitpid(side->pid, NULL, 0);
    }
    for (int i = 0; i < 4; i++) {
        int fd = (const int[]){side->in, side->out == side->in ? -1 : side->out, side->err, side->control}[i];

        if (fd >= 0)
            close(fd);
    }
    free(side);
}

/* ---- Talking ---------------------------------------------------------------------- */

bool side_tell(struct side *side, const char *line, struct side_text *error)
{
    char text[SIDE_ADDRESSES_BYTES + 1024];
    int length = snprintf(text, sizeof(text), "%s\n", line);

    if (length < (int)sizeof(text) && write(side->in, text, (size_t)length) == length) /* a pipe takes it whole */
        return true;
    if (length >= (int)sizeof(text))
        side_blame(side, error, "the command is too long");
    else
        blame_ended(side, error);
    return false;
}

/* A whole line of one of them: 1, none: 0, nonsense or the end: -1. */
static int look(struct side *side, json_t **line, struct side_text *error)
{
    char text[SIDE_LINE_BYTES_MAX + 1];
    json_error_t wrong;
    int taken = take_line(side, text);

    if (taken == 0 && !side->ended)
        return 0;
    if (taken == 0) {
        blame_ended(side, error);
        return -1;
    }
    if (taken < 0) {
        side_blame(side, error, "a line of more than %d bytes is no answer", SIDE_LINE_BYTES_MAX);
        return -1;
    }
    *line = json_loads(text, 0, &wrong);
    if (json_is_object(*line))
        return 1;
    json_decref(*line);
    *line = NULL;
    side_blame(side, error, "it answered '%.200s', which is no JSON object", text);
    return -1;
}

/* Of several that should have answered it is not known which one would have. */
static void blame_silence(struct side *const *sides, size_t count, struct side_text *error)
{
    if (count == 1) {
        side_blame(sides[0], error, "no answer in time");
        return;
    }
    snprintf(error->text, sizeof(error->text), "no answer in time from");
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(error->text);

        snprintf(error->text + length, sizeof(error->text) - length, "%s%s (%s)", i == 0 ? " " : ", nor from ",
                 sides[i]->spec->name, sides[i]->role);
    }
}

int side_next(struct side *const *sides, size_t count, json_t **line, double until_s, struct side_text *error)
{
    *line = NULL;
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            int found = look(sides[i], line, error);

            if (found != 0)
                return found > 0 ? (int)i : -1;
        }
        if (!wait_output(sides, count, until_s)) {
            blame_silence(sides, count, error);
            return -1;
        }
    }
}

bool side_accepted(struct side *side, const json_t *answer, struct side_text *error)
{
    const char *reason = json_string_value(json_object_get(answer, "error"));

    if (json_is_true(json_object_get(answer, "ok")))
        return true;
    side_blame(side, error, "it refused: %.400s", reason != NULL ? reason : "without a reason");
    return false;
}

json_t *side_about(const struct side_spec *spec, struct side_text *error)
{
    struct side *side = side_start(spec, "listener", error);
    json_t *answer = NULL;

    if (side == NULL)
        return NULL;
    if (side_tell(side, "0 about", error) &&
        side_next(&side, 1, &answer, bench_now_s() + SIDE_READY_S_MAX, error) == 0 &&
        side_accepted(side, answer, error)) {
        (void)json_object_del(answer, "id"); /* what all answers have; some lack these */
        (void)json_object_del(answer, "case");
        (void)json_object_del(answer, "ok");
    } else {
        json_decref(answer);
        answer = NULL;
    }
    side_stop(side);
    return answer;
}

bool side_read_usage(struct side *side, struct side_usage *out, struct side_text *error)
{
    if (side->pid == 0)
        return agent_usage(side, out, error);
    *out = (struct side_usage){0, 0, 0, 0};
    out->cpu_s = side->pid > 0 ? bench_cpu_s(side->pid) : 0;
    out->rss_anon_bytes = side->pid > 0 ? (double)bench_status_kb(side->pid, "RssAnon") * 1024 : 0;
    if (out->cpu_s > 0)
        return true;
    blame_ended(side, error);
    return false;
}
