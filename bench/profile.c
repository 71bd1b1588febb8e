#include "profile.h"

#include "bench.h"
#include "samples.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 24, PIDS_BYTES = 512, PATH_BYTES = 64 };

#define TRIAL_S 0.01 /* that tell whether perf may */

/* ---- What it says ---------------------------------------------------------------------- */

static double percent(unsigned part, unsigned whole)
{
    return 100.0 * part / (whole > 0 ? whole : 1);
}

/* The most frequent, of one kind (or SAMPLES_KINDS: of all). */
static json_t *symbols_of(const struct samples *samples, enum samples_kind kind)
{
    json_t *out = json_array();

    for (size_t i = 0; i < samples->symbol_count && json_array_size(out) < PROFILE_SYMBOLS; i++) {
        const struct samples_symbol *symbol = &samples->symbols[i];

        if (kind == SAMPLES_KINDS || symbol->kind == kind)
            json_array_append_new(out, json_pack("{s:s, s:s, s:f}", "symbol", symbol->name, "kind",
                                                 samples_kind_names[symbol->kind], "share",
                                                 percent(symbol->count, samples->count)));
    }
    return out;
}

json_t *profile_of(const struct samples *samples, double seconds)
{
    json_t *shares = json_object(), *out;

    for (int kind = 0; kind < SAMPLES_KINDS; kind++)
        json_object_set_new(shares, samples_kind_names[kind],
                            json_real(percent(samples->kinds[kind], samples->count)));
    out = json_pack("{s:i, s:o, s:o, s:o}", "samples", (int)samples->count, "shares", shares, "own",
                    symbols_of(samples, SAMPLES_OWN), "symbols", symbols_of(samples, SAMPLES_KINDS));
    if (seconds > 0)
        json_object_set_new(out, "cores", json_real(samples->count / (PROFILE_HZ * seconds)));
    return out;
}

/* ---- Recording ------------------------------------------------------------------------- */

static void clean(struct profile *profile)
{
    if (profile->data >= 0)
        close(profile->data);
    if (profile->err >= 0)
        close(profile->err);
    *profile = (struct profile){.data = -1, .err = -1};
}

/* The file of samples, which has no name, as perf finds it. */
static void data_path(const struct profile *profile, char *out, size_t size)
{
    snprintf(out, size, "/proc/self/fd/%d", profile->data);
}

/* Never returns.  It may ask no server for symbols. */
static void become_perf(const struct profile *profile, int out, char *const *arguments)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    setpgid(0, 0); /* an interrupt is for whoever started us */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("DEBUGINFOD_URLS", "", 1);
    dup2(nothing, STDIN_FILENO);
    dup2(out >= 0 ? out : nothing, STDOUT_FILENO);
    dup2(profile->err >= 0 ? profile->err : nothing, STDERR_FILENO);
    fcntl(profile->data, F_SETFD, 0);
    execvp(arguments[0], arguments);
    _exit(127);
}

static void list_pids(char *out, size_t size, const pid_t *pids, size_t count)
{
    *out = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(out);

        snprintf(out + length, size - length, "%s%d", i > 0 ? "," : "", (int)pids[i]);
    }
}

bool profile_start(struct profile *profile, const pid_t *pids, size_t count, const char *command, double seconds,
                   struct profile_text *error)
{
    char hz[16], stack[32], wait[32], list[PIDS_BYTES], path[PATH_BYTES];
    const char *common[] = {"perf", "record", "-q", "-N", "-e", "cpu-clock", "-F", hz, "--call-graph", stack,
                            "-o", path};
    const char *those[] = {"-p", list, "--", "sleep", wait}, *started[] = {"--", "sh", "-c", command};
    const char *arguments[ARGUMENTS_MAX + 1] = {NULL};
    size_t common_count = sizeof(common) / sizeof(common[0]);

    *profile = (struct profile){.data = memfd_create("samples", MFD_CLOEXEC), .err = memfd_create("perf", MFD_CLOEXEC),
                                .seconds = seconds};
    data_path(profile, path, sizeof(path));
    snprintf(hz, sizeof(hz), "%d", PROFILE_HZ);
    snprintf(stack, sizeof(stack), "dwarf,%d", PROFILE_STACK_BYTES);
    snprintf(wait, sizeof(wait), "%g", seconds);
    list_pids(list, sizeof(list), pids, count);
    memcpy(arguments, common, sizeof(common));
    memcpy(arguments + common_count, command != NULL ? started : those,
           command != NULL ? sizeof(started) : sizeof(those));
    profile->perf = profile->data >= 0 ? fork() : -1;
    if (profile->perf == 0)
        become_perf(profile, -1, (char *const *)(uintptr_t)arguments);
    if (profile->perf > 0)
        return true;
    snprintf(error->text, sizeof(error->text), "perf cannot be started: %s", strerror(errno));
    clean(profile);
    return false;
}

/* The status of a child that has ended within `patience_s`; one that has not is
 * ended, and has -1. */
static int wait_child(pid_t pid, double patience_s)
{
    double until_s = bench_now_s() + patience_s;
    int status;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (bench_now_s() >= until_s) {
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        poll(NULL, 0, 10);
    }
    return status;
}

/* The last line that perf wrote, as it goes into reports. */
static void last_words(int err, char *out, size_t size)
{
    off_t end = err >= 0 ? lseek(err, 0, SEEK_END) : 0, from = end >= (off_t)size ? end - (off_t)size + 1 : 0;
    ssize_t count = end > 0 ? pread(err, out, (size_t)(end - from), from) : 0;
    char *line;

    out[count > 0 ? count : 0] = '\0';
    while (count > 0 && (out[count - 1] == '\n' || out[count - 1] == ' '))
        out[--count] = '\0';
    line = strrchr(out, '\n');
    if (line != NULL)
        memmove(out, line + 1, strlen(line + 1) + 1);
    for (; *out != '\0'; out++) {
        if (*out < ' ' || *out > '~')
            *out = '?';
    }
}

/* Has perf print the samples, and counts them.  False when it does not end well. */
static bool read_samples(struct profile *profile, struct samples *samples)
{
    char path[PATH_BYTES], self[4096];
    const char *arguments[] = {"perf", "script", "-i", path, "--no-inline", "-F", "ip,sym,dso", NULL};
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int out = memfd_create("script", MFD_CLOEXEC);
    FILE *script;
    pid_t pid;
    bool good;

    self[length > 0 ? length : 0] = '\0';
    data_path(profile, path, sizeof(path));
    pid = out >= 0 ? fork() : -1;
    if (pid == 0)
        become_perf(profile, out, (char *const *)(uintptr_t)arguments);
    good = pid > 0 && wait_child(pid, PROFILE_PATIENCE_S) == 0 && lseek(out, 0, SEEK_SET) == 0;
    script = good ? fdopen(out, "r") : NULL;
    if (script == NULL) {
        if (out >= 0)
            close(out);
        return false;
    }
    samples_read(samples, script, strrchr(self, '/') != NULL ? strrchr(self, '/') + 1 : self);
    fclose(script);
    return true;
}

static bool has_recorded(struct profile *profile, struct profile_text *error)
{
    char why[256];

    if (wait_child(profile->perf, profile->seconds + PROFILE_PATIENCE_S) == 0)
        return true;
    last_words(profile->err, why, sizeof(why));
    snprintf(error->text, sizeof(error->text), "perf could not sample it%s%s (root may, or anybody where "
             "kernel.perf_event_paranoid is 1 or less)", *why != '\0' ? ": " : "", why);
    return false;
}

static json_t *collect(struct profile *profile, struct profile_text *error)
{
    struct samples *samples = malloc(sizeof(*samples));
    json_t *out = NULL;
    char why[256];

    if (!has_recorded(profile, error)) {
        free(samples);
        return NULL;
    }
    if (samples == NULL || !read_samples(profile, samples)) {
        last_words(profile->err, why, sizeof(why));
        snprintf(error->text, sizeof(error->text), "perf could not read its samples: %s", why);
    } else if (samples->count < PROFILE_SAMPLES_LEAST) {
        snprintf(error->text, sizeof(error->text), "only %u samples came of it: it had next to nothing to do, or its "
                 "machine no CPU for it", samples->count);
    } else {
        out = profile_of(samples, profile->seconds);
    }
    free(samples);
    return out;
}

json_t *profile_finish(struct profile *profile, struct profile_text *error)
{
    json_t *out = collect(profile, error);

    clean(profile);
    return out;
}

void profile_cancel(struct profile *profile)
{
    if (profile->perf <= 0)
        return;
    (void)wait_child(profile->perf, 0);
    clean(profile);
}

const char *profile_obstacle(void)
{
    static char why[sizeof(struct profile_text)];
    const pid_t self = getpid();
    struct profile_text error;
    struct profile profile;

    if (system("command -v perf >/dev/null 2>&1") != 0)
        return "perf is not installed (Debian: apt install linux-perf)";
    *why = '\0';
    if (!profile_start(&profile, &self, 1, NULL, TRIAL_S, &error) || !has_recorded(&profile, &error))
        snprintf(why, sizeof(why), "%s", error.text);
    clean(&profile);
    return *why != '\0' ? why : NULL;
}
