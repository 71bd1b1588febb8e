#include "meter.h"

#include "bench.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KERNEL_THREADS_PARENT = 2 };

void meter_add(struct meter *meter, pid_t pid)
{
    if (pid > 0 && meter->ours_count < METER_OURS_MAX)
        meter->ours[meter->ours_count++] = pid;
}

static bool is_ours(const struct meter *meter, pid_t pid)
{
    if (pid == getpid())
        return true;
    for (unsigned i = 0; i < meter->ours_count; i++) {
        if (meter->ours[i] == pid)
            return true;
    }
    return false;
}

/* A process's CPU with that of its children that it has waited for: what a
 * process has used moves to its parent when it ends, and the sum over all stays.
 * Kernel threads do not count: they work for us, too. */
static double process_cpu_ticks(const struct meter *meter, pid_t pid)
{
    char path[64], text[1024], *fields;
    unsigned long user, system;
    long child_user, child_system;
    size_t length;
    FILE *file;
    int parent;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return 0; /* it has just ended */
    length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = '\0';
    fields = strrchr(text, ')'); /* the name may hold anything */
    if (fields == NULL || sscanf(fields + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &parent,
                                 &user, &system, &child_user, &child_system) != 5)
        return 0;
    if (pid == KERNEL_THREADS_PARENT || parent == KERNEL_THREADS_PARENT || is_ours(meter, parent))
        return 0;
    return (double)(user + system) + (double)(child_user + child_system);
}

static double foreign_s(const struct meter *meter)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    double ticks = 0;
    unsigned seen = 0;

    while (folder != NULL && (entry = readdir(folder)) != NULL && seen < METER_PROCESSES_MAX) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

        if (pid <= 0 || is_ours(meter, pid))
            continue;
        ticks += process_cpu_ticks(meter, pid);
        seen++;
    }
    if (folder != NULL)
        closedir(folder);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Finds the line that begins with `name`; its text behind that. */
static bool find_line(const char *path, const char *name, char *out, size_t size)
{
    FILE *file = fopen(path, "re");
    bool found = false;

    while (file != NULL && !found && fgets(out, (int)size, file) != NULL) {
        const char *start = out + strspn(out, " ");

        found = strncmp(start, name, strlen(name)) == 0;
        if (found)
            memmove(out, start + strlen(name), strlen(start + strlen(name)) + 1);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

void meter_read(const struct meter *meter, struct meter_reading *out)
{
    char line[512];
    unsigned long long value = 0;

    *out = (struct meter_reading){.at_s = bench_now_s(), .foreign_s = foreign_s(meter)};
    if (find_line("/proc/stat", "cpu ", line, sizeof(line)) &&
        sscanf(line, "%*u %*u %*u %*u %*u %*u %*u %llu", &value) == 1)
        out->steal_s = (double)value / (double)sysconf(_SC_CLK_TCK);
    if (find_line("/proc/self/net/dev", "lo:", line, sizeof(line)))
        out->loopback_bytes = strtod(line, NULL);
    if (find_line("/proc/meminfo", "Slab:", line, sizeof(line)))
        out->slab_bytes = strtod(line, NULL) * 1024;
    if (find_line("/proc/meminfo", "PageTables:", line, sizeof(line)))
        out->slab_bytes += strtod(line, NULL) * 1024;
}
