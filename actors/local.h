#ifndef ACTORS_LOCAL_H
#define ACTORS_LOCAL_H

#include "actors/cache.h"
#include "runtime/worker.h"

#include <stdbool.h>
#include <stdint.h>

struct aead_context;
struct verified;
struct x25519_pairs;

/* What the actors of one worker share: cipher contexts, object caches, signatures already checked.
 * There is one per worker, whatever the number of nodes. */

enum local_limits {
    LOCAL_STREAMS_KEPT = 4096,  /* idle stream objects; 2 MiB */
    LOCAL_SLICES_KEPT = 16384,  /* idle queue entries; 0.5 MiB */
    LOCAL_BUFFERS_KEPT = 1024,  /* idle handles of lent buffers */
    LOCAL_NEGOTIATIONS_KEPT = 512,
    LOCAL_BUSY_KEPT = 1024,     /* of connections without streams */
    LOCAL_TRIM_CONNECTIONS = 128, /* that leave a megabyte of holes; fewer are not worth a walk over the heap */
};

struct local {
    struct worker *worker;
    struct driver *driver;
    struct aead_context *aead;
    struct verified *verified;
    struct x25519_pairs *pairs;
    struct cache streams;
    struct cache slices;
    struct cache buffers;
    struct cache negotiations;
    struct cache busy;          /* struct session_busy */
    struct session *sessions;   /* of this worker, all nodes */
    struct session_handshake *handshakes; /* under way on this worker */
    size_t handshake_count;
    struct interfaces *interfaces;        /* of the nodes with their home here; the first watches for all */
    uint32_t reviewed;          /* connections since the heap was last trimmed */
    uint64_t handshake_turn;    /* the turn that handshake_ns counts in */
    uint64_t handshake_ns;
};

/* For runtime_config: called on the worker's thread. */
void *local_new(struct worker *worker, void *argument);
void local_free(struct worker *worker, void *local);

/* The local of the worker that is running on this thread, or NULL. */
struct local *local_current(void);

/* A connection is no longer new; `youngest`: none came after it.  When that were
 * many, what their handshakes had of the heap goes back to the system. */
void local_reviewed(struct local *local, bool youngest);

/* True while this turn has time left for handshakes ("Fair turns"). */
bool local_handshake_allowed(struct local *local);
/* Counts the time since `begin_ns` (driver_now_ns) as handshake work. */
void local_handshake_spent(struct local *local, uint64_t begin_ns);

#endif
