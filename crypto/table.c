#include "crypto/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "chorus/p2p.h"

enum {
    SLOTS_MIN = 8,
    TAG_USED = 1u << 31, /* set in every tag, so that 0 means empty */
};

static_assert((uint64_t)TABLE_ENTRIES_MAX * 4 / 3 < TAG_USED, "a tag's other bits must reach every slot");

uint64_t table_hash(const void *data, size_t length, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, length, seed);
}

void table_init(struct table *table, size_t key_bytes, size_t entries_max, uint64_t seed)
{
    assert(key_bytes >= 1 && key_bytes <= TABLE_KEY_BYTES_MAX);
    assert(entries_max >= 1 && entries_max <= TABLE_ENTRIES_MAX);
    memset(table, 0, sizeof(*table));
    table->seed = seed;
    table->entries_max = (uint32_t)entries_max;
    table->key_bytes = (uint16_t)key_bytes;
    table->slot_bytes = (uint16_t)(sizeof(uint64_t) + (key_bytes + 7) / 8 * 8);
}

void table_fini(struct table *table)
{
    free(table->tags);
    free(table->slots);
    table->tags = NULL;
    table->slots = NULL;
    table->mask = 0;
    table->count = 0;
}

void table_clear(struct table *table)
{
    if (table->tags != NULL)
        memset(table->tags, 0, ((size_t)table->mask + 1) * sizeof(uint32_t));
    table->count = 0;
}

static uint8_t *slot_at(const struct table *table, uint32_t slot)
{
    return table->slots + (size_t)slot * table->slot_bytes;
}

static uint64_t *value_at(const struct table *table, uint32_t slot)
{
    return (uint64_t *)(void *)slot_at(table, slot);
}

static uint8_t *key_at(const struct table *table, uint32_t slot)
{
    return slot_at(table, slot) + sizeof(uint64_t);
}

static uint32_t tag_of(const struct table *table, const void *key)
{
    return (uint32_t)table_hash(key, table->key_bytes, table->seed) | TAG_USED;
}

/* The slot of the key, or the empty one where it would go.  At a quarter empty
 * there always is one. */
static uint32_t probe(const struct table *table, uint32_t tag, const void *key)
{
    uint32_t slot = tag & table->mask;

    while (table->tags[slot] != 0) {
        if (table->tags[slot] == tag && memcmp(key_at(table, slot), key, table->key_bytes) == 0)
            break;
        slot = (slot + 1) & table->mask;
    }
    return slot;
}

/* Moves everything to fresh memory of `slots` slots. */
static int rehash(struct table *table, size_t slots)
{
    struct table fresh = *table;

    fresh.tags = calloc(slots, sizeof(uint32_t));
    fresh.slots = malloc(slots * table->slot_bytes);
    if (fresh.tags == NULL || fresh.slots == NULL) {
        free(fresh.tags);
        free(fresh.slots);
        return P2P_ERR_CALL_NOMEM;
    }
    fresh.mask = (uint32_t)(slots - 1);
    for (uint32_t from = 0; table->count > 0 && from <= table->mask; from++) {
        uint32_t to;

        if (table->tags[from] == 0)
            continue;
        for (to = table->tags[from] & fresh.mask; fresh.tags[to] != 0; to = (to + 1) & fresh.mask)
            ;
        fresh.tags[to] = table->tags[from];
        memcpy(slot_at(&fresh, to), slot_at(table, from), table->slot_bytes);
    }
    free(table->tags);
    free(table->slots);
    table->tags = fresh.tags;
    table->slots = fresh.slots;
    table->mask = fresh.mask;
    return 0;
}

int table_reserve(struct table *table, size_t entries)
{
    size_t slots = SLOTS_MIN;

    if (entries > table->entries_max)
        return P2P_ERR_CALL_FULL;
    while (slots / 4 * 3 < entries)
        slots *= 2;
    if (table->tags != NULL && slots <= (size_t)table->mask + 1)
        return 0;
    return rehash(table, slots);
}

/* Puts a key that is not there into the slot that probe found, growing first if need be. */
static int add(struct table *table, uint32_t tag, uint32_t slot, const void *key, uint64_t value)
{
    if (table->count == table->entries_max)
        return P2P_ERR_CALL_FULL;
    if (table->tags == NULL || table->count + 1 > (table->mask + 1) / 4 * 3) {
        if (table_reserve(table, table->count + 1) != 0)
            return P2P_ERR_CALL_NOMEM;
        slot = probe(table, tag, key);
    }
    table->tags[slot] = tag;
    *value_at(table, slot) = value;
    memcpy(key_at(table, slot), key, table->key_bytes);
    table->count++;
    return 0;
}

int table_insert(struct table *table, const void *key, uint64_t value)
{
    uint32_t tag = tag_of(table, key);
    uint32_t slot = table->tags == NULL ? 0 : probe(table, tag, key);

    if (table->tags != NULL && table->tags[slot] != 0)
        return P2P_ERR_CALL_EXISTS;
    return add(table, tag, slot, key, value);
}

int table_set(struct table *table, const void *key, uint64_t value)
{
    uint32_t tag = tag_of(table, key);
    uint32_t slot = table->tags == NULL ? 0 : probe(table, tag, key);

    if (table->tags == NULL || table->tags[slot] == 0)
        return add(table, tag, slot, key, value);
    *value_at(table, slot) = value;
    return 0;
}

bool table_find(const struct table *table, const void *key, uint64_t *value)
{
    uint32_t slot;

    if (table->count == 0)
        return false;
    slot = probe(table, tag_of(table, key), key);
    if (table->tags[slot] == 0)
        return false;
    if (value != NULL)
        *value = *value_at(table, slot);
    return true;
}

/* Closes the gap: each follower that is not at home moves back, so that no
 * search ends too early and no tombstones are left. */
static void close_gap(struct table *table, uint32_t gap)
{
    uint32_t slot = gap;

    for (;;) {
        uint32_t from_home;

        slot = (slot + 1) & table->mask;
        if (table->tags[slot] == 0)
            break;
        from_home = (slot - table->tags[slot]) & table->mask;
        if (from_home < ((slot - gap) & table->mask))
            continue; /* its home lies behind the gap */
        table->tags[gap] = table->tags[slot];
        memcpy(slot_at(table, gap), slot_at(table, slot), table->slot_bytes);
        gap = slot;
    }
    table->tags[gap] = 0;
}

bool table_remove(struct table *table, const void *key, uint64_t *value)
{
    uint32_t slot;

    if (table->count == 0)
        return false;
    slot = probe(table, tag_of(table, key), key);
    if (table->tags[slot] == 0)
        return false;
    if (value != NULL)
        *value = *value_at(table, slot);
    close_gap(table, slot);
    table->count--;
    return true;
}

bool table_next(const struct table *table, size_t *cursor, const void **key, uint64_t *value)
{
    if (table->tags == NULL)
        return false;
    for (; *cursor <= table->mask; (*cursor)++) {
        uint32_t slot = (uint32_t)*cursor;

        if (table->tags[slot] == 0)
            continue;
        if (key != NULL)
            *key = key_at(table, slot);
        if (value != NULL)
            *value = *value_at(table, slot);
        (*cursor)++;
        return true;
    }
    return false;
}
