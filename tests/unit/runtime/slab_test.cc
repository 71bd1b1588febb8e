#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include <sys/mman.h>

extern "C" {
#include "runtime/slab.h"
}

namespace {

TEST(Slab, ObjectsAreZeroedAndApart)
{
    slab *s = slab_new();
    std::vector<std::pair<uint8_t *, size_t>> all;
    std::mt19937 random(7);
    for (int i = 0; i < 3000; i++) {
        size_t bytes = random() % 5000;
        auto *object = static_cast<uint8_t *>(slab_take(s, bytes));
        ASSERT_NE(object, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(object) % SLAB_GRAIN_BYTES, 0u);
        for (size_t k = 0; k < bytes; k++)
            ASSERT_EQ(object[k], 0);
        memset(object, i, bytes);
        all.emplace_back(object, bytes);
        if (random() % 2) {
            size_t victim = random() % all.size();
            slab_give(s, all[victim].first, all[victim].second);
            all[victim] = all.back();
            all.pop_back();
        }
    }
    for (auto [object, bytes] : all) {
        for (size_t k = 1; k < bytes; k++)
            ASSERT_EQ(object[k], object[0]);
        slab_give(s, object, bytes);
    }
    EXPECT_EQ(slab_bytes(s), 0u);
    slab_free(s);
}

TEST(Slab, TenThousandSessionsCostTheirSize)
{
    slab *s = slab_new();
    std::vector<void *> all;
    for (int i = 0; i < 10000; i++)
        all.push_back(slab_take(s, 320));
    EXPECT_LE(slab_bytes(s), 10000u * 320 * 103 / 100);
    for (void *object : all)
        slab_give(s, object, 320);
    EXPECT_EQ(slab_bytes(s), 0u);
    slab_free(s);
}

size_t resident(uint8_t *begin, size_t bytes)
{
    std::vector<unsigned char> pages(bytes / 4096);
    size_t count = 0;
    EXPECT_EQ(mincore(begin, bytes, pages.data()), 0);
    for (unsigned char page : pages)
        count += page & 1;
    return count;
}

TEST(Slab, BlocksBeyondThoseKeptGoBackWhole)
{
    slab *s = slab_new();
    std::vector<uint8_t *> blocks;
    std::vector<void *> all;
    for (int i = 0; i < 3000; i++) {
        all.push_back(slab_take(s, 1000));
        uintptr_t block = reinterpret_cast<uintptr_t>(all.back()) & ~uintptr_t(SLAB_BLOCK_BYTES - 1);
        if (blocks.empty() || reinterpret_cast<uintptr_t>(blocks.back()) != block)
            blocks.push_back(reinterpret_cast<uint8_t *>(block));
    }
    for (void *object : all)
        slab_give(s, object, 1000);
    size_t pages = 0;
    for (uint8_t *block : blocks)
        pages += resident(block, SLAB_BLOCK_BYTES);
    EXPECT_EQ(pages, SLAB_EMPTY_BLOCKS_KEPT * size_t(SLAB_BLOCK_BYTES / 4096));
    for (int i = 0; i < 3000; i++) { /* and serve again, zeroed */
        all[i] = slab_take(s, 500);
        for (int k = 0; k < 500; k++)
            ASSERT_EQ(static_cast<uint8_t *>(all[i])[k], 0);
    }
    slab_free(s);
}

TEST(Slab, BlocksThatWentBackServeOtherSizes)
{
    slab *s = slab_new();
    for (size_t bytes = 16; bytes <= 4096; bytes *= 2) {
        std::vector<void *> all;
        for (int i = 0; i < 2000; i++)
            all.push_back(slab_take(s, bytes));
        for (void *object : all)
            slab_give(s, object, bytes);
    }
    EXPECT_EQ(slab_bytes(s), 0u);
    slab_free(s);
}

} // namespace
