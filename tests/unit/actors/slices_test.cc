#include <gtest/gtest.h>

#include <string>
#include <vector>

extern "C" {
#include "actors/slices.h"
}

namespace {

class SlicesTest : public testing::Test
{
protected:
    struct buffer_pool *pool = buffer_pool_new(BUFFER_POOL_BYTES_MAX);
    struct slices slices = {};
    std::string expected;
    unsigned char next = 'a';

    ~SlicesTest() override
    {
        slices_clear(&slices);
        buffer_pool_free(pool);
    }

    /* So many bytes somewhere in a buffer of that size. */
    void append(uint32_t capacity, uint32_t length, struct slices *to)
    {
        struct buffer *buffer = buffer_new(pool, capacity);
        uint32_t offset = (buffer->capacity - length) / 2;
        std::string bytes(length, static_cast<char>(next++));
        memcpy(buffer->data + offset, bytes.data(), length);
        EXPECT_EQ(slices_append(to, buffer, offset, length), 0);
        expected += bytes;
    }

    uint64_t live() const
    {
        struct buffer_pool_stats stats;
        buffer_pool_stats_read(pool, &stats);
        return stats.bytes_live;
    }

    /* What is held takes no more than an eighth beyond its bytes, and one small buffer. */
    void is_tight() const { EXPECT_LE(live(), slices.bytes * 8 / 7 + BUFFER_SMALL_BYTES); }

    void holds_what_was_put_in()
    {
        ASSERT_EQ(slices.bytes, expected.size());
        std::string out(expected.size(), '\0');
        EXPECT_EQ(slices_copy_out(&slices, reinterpret_cast<uint8_t *>(out.data()), out.size()), out.size());
        EXPECT_TRUE(out == expected);
        EXPECT_EQ(live(), 0u);
    }
};

TEST_F(SlicesTest, AFewBytesDoNotPinALargeBuffer)
{
    append(BUFFER_LARGE_BYTES, 20, &slices);
    slices_compact(&slices, pool);
    is_tight();
    holds_what_was_put_in();
}

TEST_F(SlicesTest, CompactsWhatComesInAnySize)
{
    for (uint32_t capacity : {BUFFER_SMALL_BYTES, BUFFER_MEDIUM_BYTES, BUFFER_LARGE_BYTES}) {
        for (uint32_t length : {1, 100, 2100, 4000, 4096}) {
            for (int i = 0; i < 5; i++) {
                append(capacity, length, &slices);
                slices_compact(&slices, pool);
                is_tight();
            }
        }
    }
    append(BUFFER_LARGE_BYTES, 65507, &slices);
    append(BUFFER_LARGE_BYTES, 40000, &slices);
    slices_compact(&slices, pool);
    is_tight();
    append(BUFFER_LARGE_BYTES, 279000, &slices);
    append(BUFFER_MEDIUM_BYTES, 34000, &slices);
    slices_compact(&slices, pool);
    is_tight();
    holds_what_was_put_in();
}

TEST_F(SlicesTest, CompactsManyPiecesAtOnce)
{
    for (int i = 0; i < 200; i++)
        append(i % 3 == 0 ? BUFFER_LARGE_BYTES : BUFFER_SMALL_BYTES, 1 + i * 7 % 3000, &slices);
    slices_compact(&slices, pool);
    is_tight();
    holds_what_was_put_in();
}

TEST_F(SlicesTest, LeavesFullBuffersWhereTheyAre)
{
    append(BUFFER_SMALL_BYTES, BUFFER_SMALL_BYTES - 100, &slices);
    append(BUFFER_SMALL_BYTES, 4000, &slices);
    struct buffer *first = slices.head->buffer, *second = slices.tail->buffer;
    slices_compact(&slices, pool);
    EXPECT_EQ(slices.head->buffer, first);
    EXPECT_EQ(slices.tail->buffer, second);
    holds_what_was_put_in();
}

TEST_F(SlicesTest, GathersPieceByPiece)
{
    for (int i = 0; i < 3000; i++) {
        struct slices some = {};
        append(BUFFER_SMALL_BYTES, 1 + i % 5, &some);
        slices_gather(&slices, &some, pool);
        EXPECT_EQ(some.bytes, 0u);
        EXPECT_EQ(some.head, nullptr);
        is_tight();
    }
    holds_what_was_put_in();
}

TEST_F(SlicesTest, GathersFromASharedBuffer)
{
    struct buffer *shared = buffer_new(pool, BUFFER_LARGE_BYTES);
    memset(shared->data, 's', shared->capacity);
    struct slices some = {};
    for (uint32_t i = 0; i < 20; i++) {
        EXPECT_EQ(slices_append(&some, buffer_ref(shared), i * 10000, 5000), 0);
        expected += std::string(5000, 's');
    }
    buffer_unref(shared);
    slices_gather(&slices, &some, pool);
    is_tight();
    holds_what_was_put_in();
}

/* With no memory nothing is lost: bytes stay in the buffer they came in. */
TEST_F(SlicesTest, LosesNothingWhenMemoryIsOut)
{
    std::vector<struct buffer *> all;
    struct slices some = {};
    append(BUFFER_LARGE_BYTES, 300, &some);
    append(BUFFER_LARGE_BYTES, 400, &some);
    struct buffer_pool *full = buffer_pool_new(0);
    slices_gather(&slices, &some, full);
    buffer_pool_free(full);
    buffer_pool_own(pool);
    holds_what_was_put_in();
}

} // namespace
