#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What happened on the machine beside a measurement. */

enum meter_limits {
    METER_OURS_MAX = 64,      /* programs of a run */
    METER_PROCESSES_MAX = 4096, /* seen at a time; more are not looked at */
};

/* A run with more than this beside it is disturbed. */
#define METER_FOREIGN_CORES_MAX 0.08 /* CPU of processes that are not ours, in cores */
#define METER_STEAL_CORES_MAX 0.04   /* time that the host took from our CPUs */

struct meter {
    pid_t ours[METER_OURS_MAX]; /* this process is, too */
    unsigned ours_count;
};

/* Sums since the machine started; only differences mean something. */
struct meter_reading {
    double at_s;
    double foreign_s;      /* CPU of visible processes that are not ours, and of their dead children */
    double steal_s;
    double loopback_bytes; /* of this network namespace */
    double slab_bytes;     /* the kernel's objects, all of them, and page tables */
};

void meter_add(struct meter *meter, pid_t pid);
void meter_read(const struct meter *meter, struct meter_reading *out);

#endif
