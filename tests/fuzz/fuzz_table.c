/* The hash table against a plain array: each two bytes are an operation and a key. */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "chorus/p2p.h"
#include "crypto/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    ENTRIES_MAX = 100,
};

static void check_all(const struct table *table, const bool there[256], const uint64_t values[256])
{
    const void *key;
    uint64_t value;
    size_t cursor = 0, seen = 0;

    for (; table_next(table, &cursor, &key, &value); seen++)
        assert(there[*(const uint8_t *)key] && values[*(const uint8_t *)key] == value);
    assert(seen == table_count(table));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool there[256] = {false};
    uint64_t values[256] = {0}, value;
    struct table table;

    table_init(&table, 1, ENTRIES_MAX, size);
    for (size_t i = 0; i + 1 < size; i += 2) {
        const uint8_t *key = &data[i + 1];
        bool full = !there[*key] && table_count(&table) == ENTRIES_MAX;

        switch (data[i] % 6) {
        case 0:
            assert(table_insert(&table, key, i) == (there[*key] ? P2P_ERR_CALL_EXISTS : full ? P2P_ERR_CALL_FULL : 0));
            values[*key] = there[*key] || full ? values[*key] : i;
            there[*key] = there[*key] || !full;
            break;
        case 1:
            assert(table_set(&table, key, i) == (full ? P2P_ERR_CALL_FULL : 0));
            values[*key] = full ? values[*key] : i;
            there[*key] = !full;
            break;
        case 2:
            assert(table_remove(&table, key, &value) == there[*key]);
            assert(!there[*key] || value == values[*key]);
            there[*key] = false;
            break;
        case 3:
            assert(table_find(&table, key, &value) == there[*key]);
            assert(!there[*key] || value == values[*key]);
            break;
        case 4:
            assert(table_reserve(&table, *key) == (*key > ENTRIES_MAX ? P2P_ERR_CALL_FULL : 0));
            break;
        default:
            if (*key == 0)
                table_clear(&table);
            for (int k = 0; *key == 0 && k < 256; k++)
                there[k] = false;
        }
    }
    check_all(&table, there, values);
    table_fini(&table);
    return 0;
}
