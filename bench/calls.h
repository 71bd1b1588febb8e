#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include <stdbool.h>
#include <sys/types.h>

/* Counts system calls of programs, by the kernel's own tracepoint. */

enum calls_limits {
    CALLS_THREADS_MAX = 256, /* that a program has when counting starts; later ones are followed */
};

struct calls {
    int fds[CALLS_THREADS_MAX];
    unsigned count;
};

/* False where the kernel does not let us; then nothing is open. */
bool calls_open(struct calls *calls, pid_t pid);
double calls_read(const struct calls *calls);
void calls_close(struct calls *calls);
/* Whether a program of ours can be counted; if not, why. */
const char *calls_obstacle(void);

#endif
