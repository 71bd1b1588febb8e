#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>
#include <vector>

extern "C" {
#include "actors/peer_table.h"
}

namespace {

struct peer_link link_of(uint32_t number)
{
    struct peer_link link = {};

    link.id.length = 4;
    memcpy(link.id.bytes, &number, sizeof(number));
    return link;
}

struct PeerTable : testing::Test {
    struct peer_table table;

    void SetUp() override { peer_table_init(&table, 42); }
    void TearDown() override { peer_table_fini(&table); }
};

TEST_F(PeerTable, AnEmptyOneFindsNobodyAndHoldsNoMemory)
{
    struct peer_link link = link_of(1);

    EXPECT_EQ(peer_table_find(&table, &link.id), nullptr);
    EXPECT_EQ(table.chains, nullptr);
}

TEST_F(PeerTable, FindsWhoWasAddedAndNobodyElse)
{
    std::vector<struct peer_link> links;

    for (uint32_t i = 0; i < 5000; i++)
        links.push_back(link_of(i));
    for (size_t i = 0; i < links.size(); i++) {
        ASSERT_EQ(peer_table_add(&table, &links[i]), 0);
        for (size_t k : {size_t(0), i / 2, i})
            ASSERT_EQ(peer_table_find(&table, &links[k].id), &links[k]);
        struct peer_link stranger = link_of(100000 + (uint32_t)i);
        ASSERT_EQ(peer_table_find(&table, &stranger.id), nullptr);
    }
}

TEST_F(PeerTable, IsWhatASetIsWhateverComesAndGoes)
{
    std::mt19937 random(7);
    std::vector<struct peer_link> links;
    std::set<uint32_t> there;

    for (uint32_t i = 0; i < 700; i++)
        links.push_back(link_of(i));
    for (int step = 0; step < 60000; step++) {
        bool fills = step / 10000 % 2 == 0; /* then it empties */
        uint32_t i = random() % links.size();
        bool adds = random() % 4 != 0 ? fills : !fills;

        if (adds && there.insert(i).second)
            ASSERT_EQ(peer_table_add(&table, &links[i]), 0);
        else if (!adds && there.erase(i) > 0)
            peer_table_remove(&table, &links[i]);
        uint32_t asked = random() % links.size();
        ASSERT_EQ(peer_table_find(&table, &links[asked].id), there.count(asked) ? &links[asked] : nullptr);
        ASSERT_EQ(table.count, there.size());
    }
}

TEST_F(PeerTable, CostsEightBytesAPeerAndGivesThemBack)
{
    std::vector<struct peer_link> links;

    for (uint32_t i = 0; i < 10000; i++)
        links.push_back(link_of(i));
    for (auto &link : links)
        ASSERT_EQ(peer_table_add(&table, &link), 0);
    EXPECT_EQ(table.size, 10000u);
    for (auto &link : links)
        peer_table_remove(&table, &link);
    EXPECT_EQ(table.size, (uint32_t)PEER_TABLE_CHAINS_MIN);
    EXPECT_LE(table.capacity, 4u * PEER_TABLE_CHAINS_MIN);
}

} // namespace
