#ifndef CRYPTO_TABLE_H
#define CRYPTO_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A hash table from keys of one fixed size to 64-bit values, for every room.
 *
 * Open addressing, linear probing, XXH3 with a seed from the driver's entropy:
 * a peer cannot choose our collisions.  It grows by doubling (at 3/4 full) up
 * to its bound, and never shrinks; one that never had an entry holds no memory.
 * Growing moves all entries at once: reserve what the data path will need.
 *
 * The order of iteration depends on the seed: it must reach no decision, no
 * message order and no log line.  Collect and sort, or keep a list. */

enum {
    TABLE_KEY_BYTES_MAX = 64,     /* a hash of 512 bits: nothing longer is a key */
    TABLE_ENTRIES_MAX = 1u << 28, /* what 31 bits of stored hash can place at 3/4 full */
};

/* Caller's memory; fields are private. */
struct table {
    uint32_t *tags;      /* hash with the top bit set; 0 is an empty slot */
    uint8_t *slots;      /* per slot: value, then key padded to 8 */
    uint64_t seed;
    uint32_t mask;       /* slots - 1; 0 with no memory */
    uint32_t count;
    uint32_t entries_max;
    uint16_t key_bytes;
    uint16_t slot_bytes;
};

/* key_bytes 1 to TABLE_KEY_BYTES_MAX, entries_max 1 to TABLE_ENTRIES_MAX (asserted). */
void table_init(struct table *table, size_t key_bytes, size_t entries_max, uint64_t seed);
void table_fini(struct table *table);

/* Makes room for `entries` without further growing.  0 or P2P_ERR_CALL_NOMEM;
 * P2P_ERR_CALL_FULL when that is more than entries_max. */
int table_reserve(struct table *table, size_t entries);

/* Adds a key that is not there.  Returns 0, P2P_ERR_CALL_EXISTS (value
 * unchanged), P2P_ERR_CALL_FULL at entries_max, P2P_ERR_CALL_NOMEM. */
int table_insert(struct table *table, const void *key, uint64_t value);

/* Adds or replaces.  Returns 0, P2P_ERR_CALL_FULL, P2P_ERR_CALL_NOMEM. */
int table_set(struct table *table, const void *key, uint64_t value);

/* True when the key is there; its value goes to `value` (may be NULL, and is
 * left alone when it is not). */
bool table_find(const struct table *table, const void *key, uint64_t *value);
bool table_remove(struct table *table, const void *key, uint64_t *value);

/* Forgets all entries, keeps the memory. */
void table_clear(struct table *table);

static inline size_t table_count(const struct table *table)
{
    return table->count;
}

/* Iteration: start with *cursor = 0; false at the end.  `key` points into the
 * table until its next change.  The table must not change meanwhile. */
bool table_next(const struct table *table, size_t *cursor, const void **key, uint64_t *value);

/* Pointers as values. */
static inline int table_insert_pointer(struct table *table, const void *key, void *pointer)
{
    return table_insert(table, key, (uint64_t)(uintptr_t)pointer);
}

static inline void *table_find_pointer(const struct table *table, const void *key)
{
    uint64_t value = 0;

    return table_find(table, key, &value) ? (void *)(uintptr_t)value : NULL;
}

/* The hash itself, for whoever needs to spread bytes under a seed. */
uint64_t table_hash(const void *data, size_t length, uint64_t seed);

#endif
