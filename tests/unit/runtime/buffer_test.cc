#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

extern "C" {
#include "runtime/buffer.h"
}

namespace {

struct Pool {
    buffer_pool *pool;
    explicit Pool(uint64_t bytes_max = BUFFER_POOL_BYTES_MAX) : pool(buffer_pool_new(bytes_max)) {}
    ~Pool() { buffer_pool_free(pool); }
    buffer_pool_stats stats() const
    {
        buffer_pool_stats out;
        buffer_pool_stats_read(pool, &out);
        return out;
    }
};

TEST(Buffer, ComesInTheSmallestSizeThatFits)
{
    Pool pool;
    const struct {
        uint32_t asked, capacity;
    } cases[] = {{0, BUFFER_SMALL_BYTES},
                 {BUFFER_SMALL_BYTES, BUFFER_SMALL_BYTES},
                 {BUFFER_SMALL_BYTES + 1, BUFFER_MEDIUM_BYTES},
                 {BUFFER_MEDIUM_BYTES, BUFFER_MEDIUM_BYTES},
                 {BUFFER_MEDIUM_BYTES + 1, BUFFER_RECORD_BYTES},
                 {BUFFER_RECORD_BYTES, BUFFER_RECORD_BYTES},
                 {BUFFER_RECORD_BYTES + 1, BUFFER_LARGE_BYTES},
                 {BUFFER_LARGE_BYTES, BUFFER_LARGE_BYTES}};
    for (auto [asked, capacity] : cases) {
        buffer *b = buffer_new(pool.pool, asked);
        ASSERT_NE(b, nullptr);
        EXPECT_EQ(b->capacity, capacity);
        EXPECT_EQ(b->begin, 0u);
        EXPECT_EQ(b->end, 0u);
        EXPECT_EQ(b->next, nullptr);
        buffer_unref(b);
    }
}

TEST(Buffer, NoTwoShareAByte)
{
    Pool pool;
    std::vector<buffer *> all;
    const uint32_t sizes[] = {BUFFER_SMALL_BYTES, BUFFER_MEDIUM_BYTES, BUFFER_RECORD_BYTES, BUFFER_LARGE_BYTES};
    for (int i = 0; i < 200; i++) {
        buffer *b = buffer_new(pool.pool, sizes[i % 4]);
        ASSERT_NE(b, nullptr);
        memset(b->data, i, b->capacity);
        all.push_back(b);
    }
    for (size_t i = 0; i < all.size(); i++) {
        EXPECT_EQ(all[i]->data[0], static_cast<uint8_t>(i));
        EXPECT_EQ(memcmp(all[i]->data, all[i]->data + 1, all[i]->capacity - 1), 0);
    }
    EXPECT_EQ(pool.stats().buffers_live, 200u);
    for (buffer *b : all)
        buffer_unref(b);
    EXPECT_EQ(pool.stats().buffers_live, 0u);
    EXPECT_EQ(pool.stats().bytes_live, 0u);
}

TEST(Buffer, LivesUntilTheLastReferenceIsGone)
{
    Pool pool;
    buffer *b = buffer_new(pool.pool, 10);
    EXPECT_EQ(buffer_ref(b), b);
    buffer_unref(b);
    EXPECT_EQ(pool.stats().buffers_live, 1u);
    buffer_unref(b);
    EXPECT_EQ(pool.stats().buffers_live, 0u);
    buffer_unref(nullptr);
}

TEST(Buffer, TheMostRecentIsUsedAgainFirst)
{
    Pool pool;
    buffer *first = buffer_new(pool.pool, 10), *second = buffer_new(pool.pool, 10);
    buffer_unref(first);
    EXPECT_EQ(buffer_new(pool.pool, 10), first);
    buffer_unref(first);
    buffer_unref(second);
}

TEST(BufferPool, SaysNoAtItsBound)
{
    Pool pool(2 * 1024 * 1024);
    std::vector<buffer *> all;
    while (buffer *b = buffer_new(pool.pool, BUFFER_SMALL_BYTES))
        all.push_back(b);
    EXPECT_LE(pool.stats().bytes_mapped, 2u * 1024 * 1024);
    EXPECT_GE(all.size(), 384u);
    buffer_unref(all.back());
    all.pop_back();
    buffer *again = buffer_new(pool.pool, BUFFER_SMALL_BYTES);
    EXPECT_NE(again, nullptr);
    buffer_unref(again);
    for (buffer *b : all)
        buffer_unref(b);
}

TEST(BufferPool, GivesIdleChunksBack)
{
    Pool pool;
    std::vector<buffer *> all;
    for (int i = 0; i < 300; i++)
        all.push_back(buffer_new(pool.pool, 4096));
    buffer *kept = all.back();
    all.pop_back();
    for (buffer *b : all)
        buffer_unref(b);
    uint64_t full = pool.stats().bytes_mapped, now_ns = 1000000000;
    buffer_pool_collect(pool.pool, now_ns);
    buffer_pool_collect(pool.pool, now_ns + BUFFER_IDLE_NS / 2);
    EXPECT_EQ(pool.stats().bytes_mapped, full);
    buffer_pool_collect(pool.pool, now_ns + BUFFER_IDLE_NS);
    EXPECT_LT(pool.stats().bytes_mapped, full / 3);
    EXPECT_GT(pool.stats().bytes_mapped, 0u) << "one buffer is still lent";
    buffer_unref(kept);
    buffer_pool_collect(pool.pool, now_ns + 2 * BUFFER_IDLE_NS);
    buffer_pool_collect(pool.pool, now_ns + 4 * BUFFER_IDLE_NS);
    EXPECT_EQ(pool.stats().bytes_mapped, 0u);
    EXPECT_EQ(buffer_pool_deadline(pool.pool), UINT64_MAX);
}

/* Pages of the range that are in memory. */
size_t resident(const uint8_t *begin, size_t bytes)
{
    std::vector<unsigned char> pages((bytes + 4095) / 4096);
    size_t count = 0;
    EXPECT_EQ(mincore(const_cast<uint8_t *>(begin), bytes, pages.data()), 0);
    for (unsigned char page : pages)
        count += page & 1;
    return count;
}

TEST(BufferPool, SqueezedGivesBackAllThatIsNotLent)
{
    Pool pool;
    std::vector<buffer *> all;
    std::vector<uint8_t *> freed;
    for (int i = 0; i < 200; i++)
        all.push_back(buffer_new(pool.pool, 4096));
    for (buffer *b : all)
        memset(b->data, 'x', b->capacity);
    for (size_t i = 0; i < all.size(); i++) { /* all but every tenth, and some whole chunks */
        if (i < 130 && i % 10 == 0)
            continue;
        freed.push_back(all[i]->data);
        buffer_unref(all[i]);
    }
    buffer_pool_squeeze(pool.pool);
    for (size_t i = 0; i < 130; i += 10)
        EXPECT_EQ(std::string(reinterpret_cast<char *>(all[i]->data), 4096), std::string(4096, 'x'));
    EXPECT_EQ(resident(all[1]->data, 9 * 4096), 0u);
    EXPECT_LE(pool.stats().bytes_mapped, 3 * (BUFFER_CHUNK_BYTES + 2 * 4096u));
    buffer_pool_squeeze(pool.pool); /* nothing is left to give */
    std::vector<buffer *> again;
    for (int i = 0; i < 200; i++) {
        again.push_back(buffer_new(pool.pool, 4096));
        memset(again.back()->data, 'y', 4096);
    }
    for (size_t i = 0; i < 130; i += 10) {
        EXPECT_EQ(all[i]->data[4095], 'x');
        buffer_unref(all[i]);
    }
    for (buffer *b : again)
        buffer_unref(b);
    buffer_pool_squeeze(pool.pool);
    EXPECT_EQ(pool.stats().bytes_mapped, 0u);
}

TEST(BufferPool, SqueezesLargeBuffersToo)
{
    Pool pool;
    buffer *kept = buffer_new(pool.pool, BUFFER_LARGE_BYTES), *gone = buffer_new(pool.pool, BUFFER_LARGE_BYTES);
    memset(kept->data, 'x', BUFFER_LARGE_BYTES);
    memset(gone->data, 'x', BUFFER_LARGE_BYTES);
    uint8_t *page = reinterpret_cast<uint8_t *>((reinterpret_cast<uintptr_t>(gone->data) + 4095) & ~uintptr_t(4095));
    buffer_unref(gone);
    buffer_pool_squeeze(pool.pool);
    EXPECT_EQ(resident(page, 67 * 4096), 0u);
    for (uint32_t i = 0; i < BUFFER_LARGE_BYTES; i++)
        ASSERT_EQ(kept->data[i], 'x') << i;
    buffer_unref(kept);
}

TEST(BufferPool, ASleepingOwnerIsToldWhenToCollect)
{
    Pool pool;
    buffer *b = buffer_new(pool.pool, 10);
    buffer_pool_collect(pool.pool, 1000000000);
    EXPECT_EQ(buffer_pool_deadline(pool.pool), UINT64_MAX) << "the chunk is in use";
    buffer_unref(b);
    uint64_t now_ns = buffer_pool_deadline(pool.pool);
    for (int looks = 0; looks < 12 && now_ns != UINT64_MAX; looks++) {
        buffer_pool_collect(pool.pool, now_ns);
        now_ns = buffer_pool_deadline(pool.pool);
    }
    EXPECT_EQ(now_ns, UINT64_MAX);
    EXPECT_EQ(pool.stats().bytes_mapped, 0u);
}

TEST(BufferPool, AChunkThatWasUsedMeanwhileIsNotIdle)
{
    Pool pool;
    buffer_unref(buffer_new(pool.pool, 10));
    buffer_pool_collect(pool.pool, 1000000000);
    buffer_unref(buffer_new(pool.pool, 10));
    buffer_pool_collect(pool.pool, 1000000000 + BUFFER_IDLE_NS);
    EXPECT_GT(pool.stats().bytes_mapped, 0u);
}

TEST(BufferPool, ALittleTrafficLeavesTheOthersIdle)
{
    Pool pool;
    std::vector<buffer *> all;
    for (int i = 0; i < 640; i++)
        all.push_back(buffer_new(pool.pool, 4096));
    for (buffer *b : all)
        buffer_unref(b);
    uint64_t now_ns = 1000000000;
    for (int turn = 0; turn < 40; turn++, now_ns += BUFFER_IDLE_NS / 20) {
        buffer_unref(buffer_new(pool.pool, 4096));
        buffer_pool_collect(pool.pool, now_ns);
    }
    EXPECT_LT(pool.stats().bytes_mapped, 2u * BUFFER_CHUNK_BYTES);
    EXPECT_GT(pool.stats().bytes_mapped, 0u);
}

TEST(BufferPool, BuffersComeHomeFromOtherThreads)
{
    Pool pool;
    std::vector<std::thread> threads;
    std::vector<std::vector<buffer *>> shares(4);
    for (int i = 0; i < 1000; i++)
        for (auto &share : shares)
            share.push_back(buffer_new(pool.pool, 100));
    for (auto &share : shares)
        threads.emplace_back([&share] {
            for (buffer *b : share) {
                b->data[0] = 1;
                buffer_unref(buffer_ref(b));
                buffer_unref(b);
            }
        });
    for (int i = 0; i < 100; i++)
        buffer_pool_collect(pool.pool, 1);
    for (std::thread &thread : threads)
        thread.join();
    buffer_pool_collect(pool.pool, 1);
    EXPECT_EQ(pool.stats().buffers_live, 0u);
}

TEST(BufferPool, ReferencesFromManyThreadsEndInOneReturn)
{
    Pool pool;
    for (int round = 0; round < 200; round++) {
        buffer *b = buffer_new(pool.pool, 100);
        buffer_ref(b);
        buffer_ref(b);
        std::thread one([b] { b->data[1] = 1; buffer_unref(b); }), two([b] { b->data[2] = 1; buffer_unref(b); });
        buffer_unref(b);
        one.join();
        two.join();
    }
    buffer_pool_collect(pool.pool, 1);
    EXPECT_EQ(pool.stats().buffers_live, 0u);
}

TEST(BufferPool, WithoutAnOwnerAllComeHomeByTheStack)
{
    Pool pool;
    buffer *b = buffer_new(pool.pool, 1);
    buffer_pool_disown(pool.pool);
    buffer_unref(b);
    EXPECT_EQ(pool.stats().buffers_live, 1u);
    buffer_pool_own(pool.pool);
    buffer_pool_collect(pool.pool, 1);
    EXPECT_EQ(pool.stats().buffers_live, 0u);
}

// The kernel has no memory there any more.
bool is_unmapped(void *address)
{
    auto page = reinterpret_cast<uintptr_t>(address) & ~uintptr_t(4095);
    return msync(reinterpret_cast<void *>(page), 1, MS_ASYNC) != 0 && errno == ENOMEM;
}

TEST(BufferPool, StaysForBuffersThatAreOutWhileSomebodyKeepsIt)
{
    buffer_pool *pool = buffer_pool_keep(buffer_pool_new(BUFFER_POOL_BYTES_MAX));
    buffer *small = buffer_new(pool, 100), *large = buffer_new(pool, BUFFER_LARGE_BYTES);
    buffer *gone = buffer_new(pool, BUFFER_MEDIUM_BYTES);
    uint8_t *data = small->data, *idle = gone->data;
    memset(large->data, 7, large->capacity);
    buffer_unref(gone);
    EXPECT_FALSE(is_unmapped(idle));
    buffer_pool_free(pool);
    EXPECT_TRUE(is_unmapped(idle)) << "what nobody has goes at once";
    data[0] = 'x';
    EXPECT_EQ(large->data[large->capacity - 1], 7);
    std::thread([&] {
        buffer_unref(large);
        buffer_ref(small);
        buffer_unref(small);
        buffer_unref(small);
        EXPECT_FALSE(is_unmapped(data));
        buffer_pool_let_go(pool);
        EXPECT_TRUE(is_unmapped(data));
    }).join();
}

TEST(BufferPool, TheLastOfManyThreadsGivesItsMemoryBack)
{
    for (int round = 0; round < 50; round++) {
        buffer_pool *pool = buffer_pool_new(BUFFER_POOL_BYTES_MAX);
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            buffer *one = buffer_new(pool, 100), *other = buffer_new(pool, 100);
            buffer_pool_keep(pool);
            threads.emplace_back([=] {
                one->data[0] = 1;
                buffer_unref(one);
                buffer_unref(other);
                buffer_pool_let_go(pool);
            });
        }
        buffer_pool_free(pool); // while they bring them back
        for (std::thread &thread : threads)
            thread.join();
    }
}

TEST(Buffer, ForeignOnesHaveExactlyTheirSize)
{
    buffer *b = buffer_new_foreign(300000);
    ASSERT_NE(b, nullptr);
    EXPECT_EQ(b->capacity, 300000u);
    memset(b->data, 7, 300000);
    std::thread([b] { buffer_unref(b); }).join();
}

} // namespace
