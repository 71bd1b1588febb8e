#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Where one side of a run spends its CPU, sampled by `perf`.  The form of what
 * comes back is in README.md, `profiles`. */

enum profile_limits {
    PROFILE_HZ = 499,           /* no multiple of what programs and the kernel do at even times */
    PROFILE_STACK_BYTES = 8192, /* of a sample, to find its callers: libraries keep no frame pointers */
    PROFILE_PATIENCE_S = 20,    /* for perf to end, and to print */
    PROFILE_SAMPLES_LEAST = 20, /* fewer say nothing */
    PROFILE_SYMBOLS = 8,        /* that are told */
};

struct profile_text {
    char text[512];
};

struct profile {
    pid_t perf;          /* 0: it does not run */
    int data, err;       /* files of its samples, and of what it complains about, or -1 */
    double seconds;
};

/* NULL, or why no program can be sampled here, and what to do. */
const char *profile_obstacle(void);

/* Has perf sample these processes for so long; or, with `command`, what a shell
 * makes of it, to its end (`seconds` is 0).  Returns at once.  False with the
 * reason. */
bool profile_start(struct profile *profile, const pid_t *pids, size_t count, const char *command, double seconds,
                   struct profile_text *error);
/* Waits until it has them.  The caller's, or NULL with the reason.  Nothing is
 * left behind. */
json_t *profile_finish(struct profile *profile, struct profile_text *error);
/* Ends it, where nobody wants it any more. */
void profile_cancel(struct profile *profile);

struct samples;
/* What samples of so many seconds (0: nobody knows) come to: as profile_finish()
 * returns. */
json_t *profile_of(const struct samples *samples, double seconds);

#endif
