#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing"

static int read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    int value = -1;

    if (file != NULL && fscanf(file, "%d", &value) != 1)
        value = -1;
    if (file != NULL)
        fclose(file);
    return value;
}

/* The tracepoint's number.  Where the file system that tells it is not mounted,
 * it is for us alone. */
static int tracepoint(void)
{
    static const char path[] = TRACING "/events/raw_syscalls/sys_enter/id";
    int id = read_number(path);

    if (id < 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("none", TRACING, "tracefs", MS_RDONLY, NULL) == 0)
        id = read_number(path);
    return id;
}

static int open_thread(int id, pid_t thread)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = (uint64_t)id,
                                   .inherit = 1};

    return (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

bool calls_open(struct calls *calls, pid_t pid)
{
    static int id = -2;
    char path[64];
    struct dirent *entry;
    DIR *folder;

    if (id == -2)
        id = tracepoint();
    calls->count = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    folder = id >= 0 ? opendir(path) : NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL && calls->count < CALLS_THREADS_MAX) {
        int fd = entry->d_name[0] != '.' ? open_thread(id, atoi(entry->d_name)) : -1;

        if (fd >= 0)
            calls->fds[calls->count++] = fd;
    }
    if (folder != NULL)
        closedir(folder);
    return calls->count > 0;
}

double calls_read(const struct calls *calls)
{
    double sum = 0;

    for (unsigned i = 0; i < calls->count; i++) {
        uint64_t value;

        if (read(calls->fds[i], &value, sizeof(value)) == sizeof(value))
            sum += (double)value;
    }
    return sum;
}

void calls_close(struct calls *calls)
{
    for (unsigned i = 0; i < calls->count; i++)
        close(calls->fds[i]);
    calls->count = 0;
}

const char *calls_obstacle(void)
{
    struct calls calls;

    if (!calls_open(&calls, getpid()))
        return "the kernel does not let this user count system calls (root, with tracefs, may)";
    calls_close(&calls);
    return NULL;
}
