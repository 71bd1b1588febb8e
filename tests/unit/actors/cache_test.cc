#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

extern "C" {
#include "actors/cache.h"
}

namespace {

TEST(Cache, AsksTheHeapForManyAtOnceAndKeepsThemForTheNextUse)
{
    struct cache cache;
    cache_init(&cache, 48, 100);
    void *first = cache_new(&cache);
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(cache.count, CACHE_GROWTH - 1u);
    cache_free(&cache, first);
    EXPECT_EQ(cache.count, 0u + CACHE_GROWTH);
    cache_fini(&cache);
}

TEST(Cache, HandsOutZeroedObjectsEachOnce)
{
    struct cache cache;
    cache_init(&cache, 48, 100);
    for (int round = 0; round < 2; round++) {
        std::set<void *> objects;
        for (int i = 0; i < 3 * CACHE_GROWTH; i++) {
            auto *bytes = static_cast<uint8_t *>(cache_new(&cache));
            ASSERT_EQ(std::vector<uint8_t>(bytes, bytes + 48), std::vector<uint8_t>(48, 0));
            memset(bytes, 0xff, 48);
            objects.insert(bytes);
        }
        EXPECT_EQ(objects.size(), 3u * CACHE_GROWTH);
        for (void *object : objects)
            cache_free(&cache, object);
        EXPECT_EQ(cache.count, 3u * CACHE_GROWTH);
    }
    cache_fini(&cache);
}

TEST(Cache, KeepsNoMoreThanItsBound)
{
    struct cache cache;
    cache_init(&cache, 16, 2);
    void *objects[] = {cache_new(&cache), cache_new(&cache), cache_new(&cache)};
    for (void *object : objects)
        cache_free(&cache, object);
    EXPECT_EQ(cache.count, 2u);
    cache_fini(&cache);
    EXPECT_EQ(cache.count, 0u);
}

} // namespace
