#ifndef BENCH_SIDE_H
#define BENCH_SIDE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A side of a comparison: a program that keeps the contract of
 * tests/interop/README.md, here or, through an agent (agent.h), on another
 * machine.  What it does wrong is told, never fatal. */

enum side_limits {
    SIDE_LINE_BYTES_MAX = 65536,  /* of an answer; a longer one is nonsense */
    SIDE_STDERR_BYTES_MAX = 1 << 20,
    SIDE_TAIL_BYTES = 600,        /* of its standard error, shown when it fails */
    SIDE_ADDRESS_BYTES = 1024,
    SIDE_ADDRESSES_BYTES = 24576, /* of a program with 256 nodes */
    SIDE_READY_S_MAX = 30,
};

/* How to start it. */
struct side_spec {
    const char *name;    /* "go" */
    const char *command; /* for the shell: it must exec what does the work, whose clock is read */
    const char *agent;   /* HOST:PORT of another machine, which knows the name; NULL: here */
    int cpu;             /* it is pinned to; -1: any */
    double warm_s;       /* what it asks to be given before it is measured; 0: no more than others */
    double start_s;      /* that it took to start and to say what it is */
};

struct side_text {
    char text[1024];
};

struct side {
    const struct side_spec *spec;
    const char *role;     /* "listener", "dialler" */
    pid_t pid;            /* 0: on another machine */
    int control;          /* the agent's, or -1 */
    int in, out;          /* its standard input and output */
    int err;              /* a file of its standard error, or -1 */
    bool ended;           /* its output is closed */
    size_t fill;
    char address[SIDE_ADDRESS_BYTES];       /* the first */
    char addresses[SIDE_ADDRESSES_BYTES];   /* all, with commas between them */
    char buffer[SIDE_LINE_BYTES_MAX];
};

/* Keeps the calling process on a CPU; -1, or one that there is not: on any. */
void side_pin(int cpu);

/* What the kernel has counted of it so far. */
struct side_usage {
    double cpu_s;
    double rss_anon_bytes;
    double foreign_s, steal_s; /* of its machine, as in meter.h; 0: of this one */
};

/* Starts it and waits until it is ready.  NULL with the reason, which names the
 * side. */
struct side *side_start(const struct side_spec *spec, const char *role, struct side_text *error);
/* Kills it and frees; NULL is fine.  The program has answered and has nothing to
 * lose. */
void side_stop(struct side *side);
/* Writes a line, without its newline.  False when it takes none. */
bool side_tell(struct side *side, const char *line, struct side_text *error);
/* The next line of JSON of any of them: its index, and *line is the caller's.
 * Or -1: one has ended, or said what is no JSON, or it is `until_s`. */
int side_next(struct side *const *sides, size_t count, json_t **line, double until_s, struct side_text *error);
/* Whether an answer is `ok`; if not, why. */
bool side_accepted(struct side *side, const json_t *answer, struct side_text *error);
/* Starts it once and asks what it is.  The caller's, or NULL with the reason. */
json_t *side_about(const struct side_spec *spec, struct side_text *error);
bool side_read_usage(struct side *side, struct side_usage *out, struct side_text *error);

/* "go (listener): REASON", with the end of its standard error. */
void side_blame(const struct side *side, struct side_text *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
