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

void bench_die(const char *format, ...)
{
    va_list arguments;

    fputs("chorus-bench: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

double bench_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
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

static void exec_listener(const struct bench_options *options, const char *command)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (options->driver != NULL)
        setenv("CHORUS_P2P_DRIVER", options->driver, 1);
    if (command != NULL) {
        char *shell;

        if (asprintf(&shell, "exec %s", command) > 0)
            execl("/bin/sh", "sh", "-c", shell, (char *)NULL);
    } else if (length > 0) {
        self[length] = '\0';
        execl(self, "chorus-bench", "serve", (char *)NULL);
    }
    _exit(127);
}

pid_t bench_listener(const struct bench_options *options, const char *command, char *address, size_t size)
{
    int pipes[2], in[2];
    char line[1024];
    FILE *out;
    pid_t pid;

    if (pipe(pipes) != 0 || pipe(in) != 0)
        bench_die("pipe: %s", strerror(errno));
    pid = fork();
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO); /* stays open: some listeners end with their input */
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(in[1]);
        exec_listener(options, command);
    }
    close(pipes[1]);
    close(in[0]);
    fcntl(in[1], F_SETFD, FD_CLOEXEC);
    fcntl(pipes[0], F_SETFD, FD_CLOEXEC);
    out = fdopen(pipes[0], "r");
    address[0] = '\0';
    while (fgets(line, sizeof(line), out) != NULL && strcmp(line, "ready\n") != 0) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '/' && address[0] == '\0')
            snprintf(address, size, "%s", line);
    }
    if (address[0] == '\0')
        bench_die("%s did not print an address to dial", command != NULL ? command : "our listener");
    return pid;
}

void bench_stop(pid_t pid)
{
    kill(pid, SIGTERM);
    for (int i = 0; i < 400; i++) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return;
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
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
