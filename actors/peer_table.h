#ifndef ACTORS_PEER_TABLE_H
#define ACTORS_PEER_TABLE_H

#include "crypto/peer_id.h"

/* Peers by their ids, through a link inside each: a table costs 8 bytes a peer,
 * however many there are.  It grows and shrinks by one chain at a time (linear
 * hashing), so no call waits for all the others to be moved.  Seeded: a peer
 * cannot choose our collisions.  Not thread-safe: its owner has a lock. */

enum { PEER_TABLE_CHAINS_MIN = 4 };

struct peer_link {
    struct peer_link *next; /* of its chain */
    struct peer_id id;
};

/* Caller's memory; fields are private. */
struct peer_table {
    struct peer_link **chains;
    uint32_t size, capacity; /* chains in use, and those there is memory for */
    uint32_t count;
    uint64_t seed;
};

void peer_table_init(struct peer_table *table, uint64_t seed);
/* Links are not touched. */
void peer_table_fini(struct peer_table *table);
/* NULL when it is not there. */
struct peer_link *peer_table_find(const struct peer_table *table, const struct peer_id *id);
/* An id that is not there.  0 or P2P_ERR_CALL_NOMEM. */
int peer_table_add(struct peer_table *table, struct peer_link *link);
/* A link that is there: asserts so. */
void peer_table_remove(struct peer_table *table, struct peer_link *link);

#endif
