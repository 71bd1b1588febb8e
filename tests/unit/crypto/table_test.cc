#include <gtest/gtest.h>

#include <map>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/table.h"
}
#include "support.h"

TEST(Table, HoldsNoMemoryUntilSomethingIsInIt)
{
    struct table table;
    uint64_t key = 1, value = 7;
    size_t cursor = 0;

    table_init(&table, 8, 100, 1);
    EXPECT_EQ(table.tags, nullptr);
    EXPECT_FALSE(table_find(&table, &key, &value));
    EXPECT_FALSE(table_remove(&table, &key, &value));
    EXPECT_FALSE(table_next(&table, &cursor, nullptr, nullptr));
    EXPECT_EQ(value, 7u);
    table_clear(&table);
    table_fini(&table);
}

TEST(Table, InsertsOnceAndReplacesOnRequest)
{
    struct table table;
    uint64_t key = 1, value = 0;

    table_init(&table, 8, 100, 1);
    EXPECT_EQ(table_insert(&table, &key, 10), 0);
    EXPECT_EQ(table_insert(&table, &key, 11), P2P_ERR_CALL_EXISTS);
    ASSERT_TRUE(table_find(&table, &key, &value));
    EXPECT_EQ(value, 10u);
    EXPECT_EQ(table_set(&table, &key, 12), 0);
    EXPECT_TRUE(table_remove(&table, &key, &value));
    EXPECT_EQ(value, 12u);
    EXPECT_EQ(table_count(&table), 0u);
    EXPECT_EQ(table_set(&table, &key, 13), 0);
    EXPECT_EQ(table_count(&table), 1u);
    table_fini(&table);
}

TEST(Table, RefusesBeyondItsBoundAndRecovers)
{
    struct table table;
    uint64_t key;

    for (size_t bound : {1, 5, 6, 7, 100}) {
        table_init(&table, 8, bound, 1);
        for (key = 0; key < bound; key++)
            EXPECT_EQ(table_insert(&table, &key, key), 0);
        EXPECT_EQ(table_insert(&table, &key, key), P2P_ERR_CALL_FULL);
        EXPECT_EQ(table_set(&table, &key, key), P2P_ERR_CALL_FULL);
        key = 0;
        EXPECT_EQ(table_set(&table, &key, 5), 0) << "what is there may change";
        EXPECT_TRUE(table_remove(&table, &key, nullptr));
        key = bound;
        EXPECT_EQ(table_insert(&table, &key, key), 0);
        EXPECT_EQ(table_reserve(&table, bound + 1), P2P_ERR_CALL_FULL);
        table_fini(&table);
    }
}

/* Each key size against std::map under random operations. */
static void compare_with_map(size_t key_bytes, uint64_t seed, size_t key_space)
{
    std::map<Bytes, uint64_t> model;
    std::vector<Bytes> keys;
    struct table table;
    Random random(seed);

    table_init(&table, key_bytes, 400, seed);
    for (size_t i = 0; i < key_space; i++)
        keys.push_back(random.bytes(key_bytes));
    for (int step = 0; step < 6000; step++) {
        const Bytes &key = keys[random.below(keys.size())];
        uint64_t value = random.next(), got = 0;
        bool there = model.count(key) > 0;

        switch (random.below(4)) {
        case 0:
            EXPECT_EQ(table_insert(&table, key.data(), value),
                      there ? P2P_ERR_CALL_EXISTS : model.size() == 400 ? P2P_ERR_CALL_FULL : 0);
            if (!there && model.size() < 400)
                model[key] = value;
            break;
        case 1:
            if (table_set(&table, key.data(), value) == 0)
                model[key] = value;
            break;
        case 2:
            EXPECT_EQ(table_remove(&table, key.data(), &got), there);
            if (there) {
                EXPECT_EQ(got, model[key]);
            }
            model.erase(key);
            break;
        default:
            EXPECT_EQ(table_find(&table, key.data(), &got), there);
            if (there) {
                EXPECT_EQ(got, model[key]);
            }
        }
        ASSERT_EQ(table_count(&table), model.size());
    }
    std::map<Bytes, uint64_t> seen;
    size_t cursor = 0;
    const void *key;
    uint64_t value;
    while (table_next(&table, &cursor, &key, &value))
        seen[Bytes((const uint8_t *)key, (const uint8_t *)key + key_bytes)] = value;
    EXPECT_EQ(seen, model);
    table_fini(&table);
}

TEST(Table, AgreesWithAMapUnderRandomOperations)
{
    for (size_t key_bytes : {1, 4, 7, 8, 20, 32, 40, 64})
        for (uint64_t seed = 1; seed <= 4; seed++)
            compare_with_map(key_bytes, seed, seed == 1 ? 20 : 600);
}

TEST(Table, ReservedRoomIsNotMovedByInserts)
{
    struct table table;

    table_init(&table, 8, 10000, 9);
    ASSERT_EQ(table_reserve(&table, 10000), 0);
    uint32_t *tags = table.tags;
    for (uint64_t key = 0; key < 10000; key++)
        ASSERT_EQ(table_insert(&table, &key, ~key), 0);
    EXPECT_EQ(table.tags, tags);
    for (uint64_t key = 0; key < 10000; key++) {
        uint64_t value;

        ASSERT_TRUE(table_find(&table, &key, &value));
        EXPECT_EQ(value, ~key);
    }
    table_clear(&table);
    EXPECT_EQ(table_count(&table), 0u);
    uint64_t key = 5;
    EXPECT_FALSE(table_find(&table, &key, nullptr));
    table_fini(&table);
}

TEST(Table, StoresPointers)
{
    struct table table;
    int thing, key = 3, other = 4;

    table_init(&table, sizeof(key), 10, 1);
    EXPECT_EQ(table_insert_pointer(&table, &key, &thing), 0);
    EXPECT_EQ(table_find_pointer(&table, &key), &thing);
    EXPECT_EQ(table_find_pointer(&table, &other), nullptr);
    table_fini(&table);
}

TEST(Table, TheSeedDecidesThePlaces)
{
    const char text[] = "the same bytes";

    EXPECT_NE(table_hash(text, sizeof(text), 1), table_hash(text, sizeof(text), 2));
    EXPECT_EQ(table_hash(text, sizeof(text), 1), table_hash(text, sizeof(text), 1));
}
