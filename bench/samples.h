#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdio.h>

/* Where a program spends its CPU: samples, as `perf script -F ip,sym,dso` prints
 * them, each with the calls that led there. */

enum samples_limits {
    SAMPLES_NAME_BYTES = 64,    /* of a symbol; longer ones are cut */
    SAMPLES_SYMBOLS_MAX = 2048, /* told apart; the rest counts for its kind alone */
    SAMPLES_FRAMES_MAX = 64,    /* of a sample that are looked at, the innermost */
};

enum samples_kind {
    SAMPLES_NETWORK,   /* the kernel's TCP, IP, sockets */
    SAMPLES_COPIES,    /* of bytes, the kernel's and ours */
    SAMPLES_WAKE,      /* the scheduler: to sleep, and to wake */
    SAMPLES_KERNEL,    /* the rest of the kernel */
    SAMPLES_CIPHER,    /* AEAD of records */
    SAMPLES_HANDSHAKE, /* X25519, Ed25519, hashes */
    SAMPLES_OWN,       /* the program's own functions */
    SAMPLES_LIBRARIES, /* libc's heap, liburing, clocks */
    SAMPLES_KINDS,
};

struct samples_symbol {
    char name[SAMPLES_NAME_BYTES];
    enum samples_kind kind;
    unsigned count;
};

struct samples {
    unsigned count, kinds[SAMPLES_KINDS];
    struct samples_symbol symbols[SAMPLES_SYMBOLS_MAX]; /* the most frequent first */
    size_t symbol_count;
};

/* For files ("network"), and for people ("TCP and network, in the kernel"). */
extern const char *const samples_kind_names[SAMPLES_KINDS];
extern const char *const samples_kind_titles[SAMPLES_KINDS];

/* Reads to the end.  `program` is the file name of the program, whose functions
 * are its own.  What is no sample is passed over. */
void samples_read(struct samples *out, FILE *script, const char *program);

#endif
