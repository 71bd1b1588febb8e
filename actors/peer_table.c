#include "actors/peer_table.h"

#include "chorus/p2p.h"
#include "crypto/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void peer_table_init(struct peer_table *table, uint64_t seed)
{
    *table = (struct peer_table){.seed = seed};
}

void peer_table_fini(struct peer_table *table)
{
    free(table->chains);
    *table = (struct peer_table){.seed = table->seed};
}

/* As many bits of the hash as address all chains; where the chain of all of them
 * is not there yet, one bit fewer: it will be split off that one. */
static struct peer_link **chain_of(const struct peer_table *table, const struct peer_id *id)
{
    uint32_t hash = (uint32_t)table_hash(id, sizeof(*id), table->seed);
    uint32_t mask = UINT32_MAX >> __builtin_clz(table->size - 1);
    uint32_t place = hash & mask;

    return &table->chains[place < table->size ? place : place & mask >> 1];
}

static bool resize(struct peer_table *table, uint32_t capacity)
{
    struct peer_link **chains = realloc(table->chains, capacity * sizeof(struct peer_link *));

    if (!chains)
        return false;
    table->chains = chains;
    table->capacity = capacity;
    return true;
}

/* Without memory for it chains are longer, no more. */
static void split(struct peer_table *table)
{
    if (table->size == table->capacity && !resize(table, table->capacity * 2))
        return;
    uint32_t buddy = table->size & ~(1u << (31 - __builtin_clz(table->size)));
    struct peer_link *link = table->chains[buddy];

    table->chains[buddy] = NULL;
    table->chains[table->size++] = NULL;
    while (link) {
        struct peer_link *next = link->next, **chain = chain_of(table, &link->id);

        link->next = *chain;
        *chain = link;
        link = next;
    }
}

static void merge(struct peer_table *table)
{
    uint32_t last = --table->size;
    struct peer_link **end = &table->chains[last & ~(1u << (31 - __builtin_clz(last)))];

    while (*end)
        end = &(*end)->next;
    *end = table->chains[last];
    if (table->size <= table->capacity / 4 && table->capacity > PEER_TABLE_CHAINS_MIN)
        (void)resize(table, table->capacity / 2); /* else the memory stays */
}

struct peer_link *peer_table_find(const struct peer_table *table, const struct peer_id *id)
{
    struct peer_link *link = table->count > 0 ? *chain_of(table, id) : NULL;

    while (link && !peer_id_equal(&link->id, id))
        link = link->next;
    return link;
}

int peer_table_add(struct peer_table *table, struct peer_link *link)
{
    if (!table->chains) {
        if (!resize(table, PEER_TABLE_CHAINS_MIN))
            return P2P_ERR_CALL_NOMEM;
        table->size = PEER_TABLE_CHAINS_MIN;
        memset(table->chains, 0, PEER_TABLE_CHAINS_MIN * sizeof(struct peer_link *));
    }
    if (table->count >= table->size)
        split(table);
    struct peer_link **chain = chain_of(table, &link->id);

    link->next = *chain;
    *chain = link;
    table->count++;
    return 0;
}

void peer_table_remove(struct peer_table *table, struct peer_link *link)
{
    struct peer_link **at = chain_of(table, &link->id);

    while (*at != link) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = link->next;
    table->count--;
    /* Two for each that goes: so an empty table is a small one. */
    for (int i = 0; i < 2 && table->size > PEER_TABLE_CHAINS_MIN && table->count < table->size / 2; i++)
        merge(table);
}
