#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DIE_BYTES_MAX = 8192 }; /* the longest value that Redis may have, and what is said about it */

void bench_die(const char *format, ...)
{
    char text[DIE_BYTES_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?'; /* a peer or a Redis may have said it: no word to the terminal */
    }
    fprintf(stderr, "chorus-bench: %s\n", text);
    exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *bench_keep(char *text)
{
    static char *kept[BENCH_KEPT_MAX] __attribute__((used)); /* so that nothing takes them for lost */
    static unsigned count;

    if (text == NULL || count == BENCH_KEPT_MAX)
        bench_die("no memory");
    kept[count++] = text;
    return text;
}

double bench_now_s(void)
{
    return (double)bench_now_ns() / 1e9;
}

double bench_thread_cpu_s(void)
{
    struct timespec spent;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

double bench_cpu_s(pid_t pid)
{
    struct timespec spent;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &spent) != 0)
        return 0;
    return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

long bench_status_kb(pid_t pid, const char *name)
{
    char path[64], line[256];
    size_t length = strlen(name);
    long value = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            value = atol(line + length + 1);
    }
    if (file != NULL)
        fclose(file);
    return value;
}

/* All CPUs there are: what the parent pinned itself to is not for its child. */
static void unpin(void)
{
    cpu_set_t set;

    memset(&set, 0xff, sizeof(set));
    (void)sched_setaffinity(0, sizeof(set), &set); /* the kernel takes those that exist */
}

static void exec_listener(const struct bench_options *options, const char *command)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unpin();
    if (options->driver != NULL)
        setenv("CHORUS_P2P_DRIVER", options->driver, 1);
    if (command != NULL) {
        char *shell;

        if (asprintf(&shell, "exec %s", command) > 0)
            execl("/bin/sh", "sh", "-c", shell, (char *)NULL);
    } else if (length > 0) {
        self[length] = '\0';
        execl(self, "chorus-bench", "serve", "--pin", "1", (char *)NULL);
    }
    _exit(127);
}

/* Other programs started later must not hold our ends of the pipes open. */
static FILE *our_end(int fd, const char *mode)
{
    FILE *file;

    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || (file = fdopen(fd, mode)) == NULL)
        bench_die("pipe: %s", strerror(errno));
    return file;
}

void bench_start(const struct bench_options *options, const char *command, struct bench_program *program)
{
    int out[2], in[2];
    char line[1024];

    if (pipe(out) != 0 || pipe(in) != 0)
        bench_die("pipe: %s", strerror(errno));
    program->pid = fork();
    if (program->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(in[1]);
        exec_listener(options, command);
    }
    close(out[1]);
    close(in[0]);
    program->in = our_end(in[1], "w");
    program->out = our_end(out[0], "r");
    program->address[0] = '\0';
    while (fgets(line, sizeof(line), program->out) != NULL && strcmp(line, "ready\n") != 0) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '/' && program->address[0] == '\0')
            snprintf(program->address, sizeof(program->address), "%s", line);
    }
    if (program->address[0] == '\0')
        bench_die("%s did not print an address to dial", command != NULL ? command : "our listener");
}

void bench_ask(struct bench_program *program, const char *question, char *answer, size_t size)
{
    if (fprintf(program->in, "%s\n", question) < 0 || fflush(program->in) != 0 ||
        fgets(answer, (int)size, program->out) == NULL)
        bench_die("the program at %s has ended", program->address);
    answer[strcspn(answer, "\n")] = '\0';
}

void bench_stop(struct bench_program *program)
{
    bool ended = false;

    kill(program->pid, SIGTERM);
    fclose(program->in);
    for (int i = 0; i < 400 && !ended; i++) {
        ended = waitpid(program->pid, NULL, WNOHANG) == program->pid;
        if (!ended)
            usleep(10000);
    }
    if (!ended) {
        kill(program->pid, SIGKILL);
        waitpid(program->pid, NULL, 0);
    }
    fclose(program->out);
}

void bench_pin(unsigned cpu)
{
    cpu_set_t set;

    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* unpinned is slower, not wrong */
}
