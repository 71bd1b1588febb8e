#ifndef ACTORS_INTERN_H
#define ACTORS_INTERN_H

#include "crypto/table.h"

#include <stddef.h>
#include <stdint.h>

/* Byte strings of which most holders have the same ones, held once each and
 * counted.  Not thread-safe: its owner has a lock. */

struct intern_blob {
    struct intern_blob *next; /* another of the same hash */
    uint64_t hash;
    uint32_t refs;
    uint32_t length;
    uint8_t bytes[]; /* and a NUL after them */
};

struct interns {
    struct table table; /* hash -> the first blob with it */
    uint64_t seed;
    size_t bytes; /* held in blobs */
};

enum { INTERN_BLOBS_MAX = 1 << 22 }; /* one a peer, for all that there may be */

void intern_init(struct interns *interns, uint64_t seed);
/* All blobs must have been given back. */
void intern_fini(struct interns *interns);
/* A reference to the blob with these bytes; NULL when memory is out. */
struct intern_blob *intern_ref(struct interns *interns, const void *bytes, size_t length);
/* NULL is fine. */
void intern_unref(struct interns *interns, struct intern_blob *blob);

#endif
