#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* chorus-bench: our figure, a reference measured in the same run, and their
 * ratio.  Our side goes through the public header; references are plain C on
 * sockets with the same cipher, or another program started beside ours. */

enum bench_limits {
    BENCH_RUNS_MAX = 101,
    BENCH_KEPT_MAX = 128,
    BENCH_SECONDS_MAX = 3600,
    BENCH_COUNT_MAX = 100000000, /* messages that take seconds */
    BENCH_PARALLEL_MAX = 1000,   /* threads; a node and a socket each */
    BENCH_WORKERS_MAX = 64,      /* of a runtime */
    BENCH_NODES_MAX = 256,       /* of a process that listen: their addresses are words of one line */
    BENCH_SPIN_US = 30,          /* that ours looks around, unless told otherwise */
    BENCH_SPIN_US_MAX = 1000,
    BENCH_CPU_MAX = 1023,        /* of a cpu_set_t */
};

struct bench_options {
    unsigned runs;          /* of each side, interleaved */
    double seconds;         /* of one run */
    unsigned count;         /* handshakes, connections, pings, as the row has it */
    unsigned parallel;
    unsigned workers;       /* of a program that serves */
    unsigned nodes;         /* of the same: that listen */
    unsigned spin_us;       /* of the same */
    const char *host;       /* that it listens on */
    int pin;                /* the CPU that it stays on; -1: any */
    const char *against;    /* a command that listens: prints its address, then "ready" */
    const char *driver;
    bool json;
};

/* Samples of one figure. */
struct bench_samples {
    double values[BENCH_RUNS_MAX];
    unsigned count;
};

void bench_add(struct bench_samples *samples, double value);
double bench_median(const struct bench_samples *samples);
double bench_least(const struct bench_samples *samples);
double bench_most(const struct bench_samples *samples);
/* One line: name, ours, the reference, the ratio of the medians. */
void bench_row(const struct bench_options *options, const char *name, const char *unit,
               const struct bench_samples *ours, const struct bench_samples *reference, const char *reference_name);

double bench_now_s(void);
uint64_t bench_now_ns(void); /* the same clock */
double bench_thread_cpu_s(void); /* CPU of the calling thread */
/* CPU seconds, user and system, of a process. */
double bench_cpu_s(pid_t pid);
/* A line of /proc/PID/status in kB, such as RssAnon. */
long bench_status_kb(pid_t pid, const char *name);

/* A listening program, with the ends of its standard input and output. */
struct bench_program {
    pid_t pid;
    FILE *in, *out;
    char address[1024]; /* to dial */
};

/* Starts ours (the hidden command `serve`) or `command`; returns when it has
 * printed its address and `ready`, exits with a message when it does not. */
void bench_start(const struct bench_options *options, const char *command, struct bench_program *program);
/* Writes it a line and reads one, without its newline.  Exits with a message
 * when the program has ended. */
void bench_ask(struct bench_program *program, const char *question, char *answer, size_t size);
void bench_stop(struct bench_program *program);
/* Pins the calling process to a CPU, when there are two or more. */
void bench_pin(unsigned cpu);

/* Calls of malloc, calloc, realloc and aligned forms in this process so far;
 * `serve` answers `heap` with its own. */
uint64_t bench_allocations(void);

/* Takes over a string that lives as long as the program, BENCH_KEPT_MAX at
 * most; NULL is no memory.  Exits with a message when there is none. */
const char *bench_keep(char *text);

/* A line on standard error, without control characters, and exit status 1. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The rows. */
int bench_bulk(const struct bench_options *options);
int bench_handshake(const struct bench_options *options);
int bench_idle(const struct bench_options *options);
int bench_ping(const struct bench_options *options);
int bench_msg(const struct bench_options *options);
int bench_timers(const struct bench_options *options);
int bench_mailbox(const struct bench_options *options);
/* Our program of tests/interop/README.md, as far as load goes. */
int bench_serve(const struct bench_options *options);
/* A process that holds connections: `serve`'s counterpart of idle. */
int bench_hold(const struct bench_options *options, const char *address);

/* References (limits.c). */
/* Bytes per second of TCP and our AEAD in plain C, for about `seconds`; CPU
 * seconds per GB of either side. */
double limits_pipeline(double seconds, double *send_cpu_gb, double *receive_cpu_gb);
/* Seconds of CPU of one side of a Noise XX handshake's crypto. */
double limits_handshake(unsigned count);
/* The median round trip of 32 bytes over plain TCP, in seconds. */
double limits_ping(unsigned count);

#endif
