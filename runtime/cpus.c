#include "runtime/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

unsigned cpus_quota(const char *cpu_max)
{
    unsigned long long quota, period;
    if (sscanf(cpu_max, "%llu %llu", &quota, &period) != 2 || period == 0 || quota == 0)
        return 0;
    unsigned long long cpus = (quota + period - 1) / period;
    return cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus;
}

static unsigned affinity(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set))
        return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (unsigned)count : 1;
}

static unsigned quota_of_group(const char *group)
{
    char path[PATH_MAX], line[64];
    if (snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group) >= (int)sizeof(path))
        return 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    unsigned quota = fgets(line, sizeof(line), file) ? cpus_quota(line) : 0;
    fclose(file);
    return quota;
}

/* "0::/a/b\n" is the line of version 2. */
static int own_group(char *out, size_t capacity)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file)
        return -1;
    char line[PATH_MAX];
    int found = -1;
    while (found && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) == 0 && strlen(line + 3) < capacity) {
            memcpy(out, line + 3, strlen(line + 3) + 1);
            found = 0;
        }
    }
    fclose(file);
    return found;
}

/* Each group on the way up may have a quota. */
unsigned cpus_usable(void)
{
    unsigned cpus = affinity();
    char group[PATH_MAX];
    if (own_group(group, sizeof(group)))
        return cpus;
    for (;;) {
        unsigned quota = quota_of_group(group);
        if (quota && quota < cpus)
            cpus = quota;
        char *last = strrchr(group, '/');
        if (!last || group[0] == '\0')
            return cpus;
        *last = '\0';
    }
}
