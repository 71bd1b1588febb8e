#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

extern "C" {
#include "actors/depot.h"
}

namespace {

struct DepotTest : testing::Test {
    struct depot *depot = depot_new();

    ~DepotTest() override { depot_free(depot); } /* asserts that nothing is left */
};

TEST_F(DepotTest, GivesZeroedObjectsAlsoWhenTheyWereUsed)
{
    const size_t sizes[] = {1, 48, 160, 161, 4096};

    for (int round = 0; round < 3; round++) {
        for (size_t bytes : sizes) {
            auto *object = static_cast<uint8_t *>(depot_take(depot, bytes));
            ASSERT_NE(object, nullptr);
            EXPECT_TRUE(std::all_of(object, object + bytes, [](uint8_t byte) { return byte == 0; })) << bytes;
            std::fill(object, object + bytes, 0xff);
            depot_give(depot, object, bytes);
        }
    }
}

TEST_F(DepotTest, AnObjectOfNoBytesIsOne)
{
    void *one = depot_take(depot, 0), *other = depot_take(depot, 0);
    EXPECT_NE(one, nullptr);
    EXPECT_NE(other, nullptr);
    depot_give(depot, one, 0);
    depot_give(depot, other, 0);
    depot_give(depot, nullptr, 100);
}

/* Each fills what it has with its own number: nobody else may have it, too. */
TEST_F(DepotTest, IsForAnyThread)
{
    enum { THREADS = 4, ROUNDS = 2000, HELD = 16 };
    std::vector<std::thread> threads;
    std::vector<int> strangers(THREADS);

    for (int number = 0; number < THREADS; number++) {
        threads.emplace_back([&, number] {
            std::vector<std::pair<uint8_t *, size_t>> held(HELD);
            for (int round = 0; round < ROUNDS; round++) {
                auto &[object, bytes] = held[round % HELD];
                if (object)
                    strangers[number] += !std::all_of(object, object + bytes, [&](int byte) { return byte == number; });
                depot_give(depot, object, bytes);
                bytes = 1 + static_cast<size_t>(round * 37 + number) % 300;
                object = static_cast<uint8_t *>(depot_take(depot, bytes));
                strangers[number] += !std::all_of(object, object + bytes, [](int byte) { return byte == 0; });
                std::fill(object, object + bytes, static_cast<uint8_t>(number));
            }
            for (auto &[object, bytes] : held)
                depot_give(depot, object, bytes);
        });
    }
    for (auto &thread : threads)
        thread.join();
    EXPECT_EQ(strangers, std::vector<int>(THREADS));
}

} // namespace
