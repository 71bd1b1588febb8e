#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <algorithm>
#include <cinttypes>
#include <vector>

#include "chorus/p2p.h"

/* Many streams on one connection: what they may hold, and how they share. */

namespace {

enum {
    STREAMS = 1000,
    BUDGET_KB = 16384, /* SESSION_RECV_BYTES_MAX, the default of a connection */
    /* A tenth more, for what is not payload. */
    GROWTH_KB_MAX = BUDGET_KB * 11 / 10,
    PING_MS_MAX = 1000,
};

/* Sanitizers have memory of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool rss_is_ours = false;
#else
constexpr bool rss_is_ours = true;
#endif

class Budget : public testing::TestWithParam<Driver>
{
protected:
    std::unique_ptr<Victim> victim = Victim::node(GetParam());
    std::unique_ptr<Inventory> before;
    std::unique_ptr<Attacker> attacker;
    int64_t rss_kb = 0, ping_ms = 0;
    int late = 0; /* pings that took too long; one may be the machine's fault */

    void SetUp() override
    {
        ASSERT_TRUE(victim);
        good_peer_is_served(*victim);
        before = std::make_unique<Inventory>(*victim);
        attacker = std::make_unique<Attacker>(victim->port);
        ASSERT_TRUE(attacker->reach(Stage::MUXED));
        victim->process->rss_peak_kb();
        rss_kb = victim->process->rss_kb();
    }

    void open_streams(int count, const std::string &protocol, const std::string &first = "")
    {
        std::string all;
        for (int i = 0; i < count; i++)
            all += data(SYN, id(i), proposal(protocol) + first);
        ASSERT_TRUE(attacker->say(all));
        ASSERT_TRUE(attacker->pings());
    }

    static uint32_t id(int index) { return static_cast<uint32_t>(2 * index + 1); }

    void ping()
    {
        int64_t took_ms = attacker->ping_ms(PATIENCE_MS);
        ASSERT_GE(took_ms, 0) << "no answer";
        answered(took_ms);
    }

    void answered(int64_t took_ms)
    {
        ping_ms = std::max(ping_ms, took_ms);
        late += took_ms > PING_MS_MAX;
    }

    void TearDown() override
    {
        int64_t growth_kb = victim->process->rss_peak_kb() - rss_kb;
        printf("    RSS grew by %" PRId64 " KiB of %d, ping at most %" PRId64 " ms\n", growth_kb, BUDGET_KB, ping_ms);
        EXPECT_LE(late, 1);
        if (rss_is_ours) {
            EXPECT_LE(growth_kb, GROWTH_KB_MAX);
        }
        good_peer_is_served(*victim);
        attacker->close();
        before->settles();
        EXPECT_EQ(victim->stop(), 0) << victim->process->errors();
    }

    void fill_windows(const std::string &protocol, size_t frame_bytes)
    {
        size_t window = WINDOW_BYTES - proposal(protocol).size();
        open_streams(STREAMS, protocol);
        for (size_t done = 0; done < window; done += frame_bytes) {
            std::string some, bytes = noise_bytes(std::min(frame_bytes, window - done));
            for (int i = 0; i < STREAMS; i++) {
                some += data(0, id(i), bytes);
                if (some.size() > 1000000 || i + 1 == STREAMS) {
                    ASSERT_TRUE(attacker->say(some));
                    some.clear();
                }
            }
            ping();
        }
    }
};

INSTANTIATE_TEST_SUITE_P(, Budget, both_drivers, driver_suffix);

/* An application that takes 1,000 streams and never reads them. */
TEST_P(Budget, HoldsWhenNobodyReads)
{
    fill_windows("/stuck/1.0.0", 32768);
}

TEST_P(Budget, HoldsWhenNoCallbackReads)
{
    fill_windows("/idle/1.0.0", 32768);
}

/* Frames of a size that fits the receive buffers badly. */
TEST_P(Budget, HoldsWhenNobodyReadsOddFrames)
{
    fill_windows("/stuck/1.0.0", 2100);
}

/* Payload by the byte: each in a frame of its own. */
TEST_P(Budget, HoldsWhenNobodyReadsSingleBytes)
{
    open_streams(STREAMS, "/stuck/1.0.0");
    for (int round = 0; round < 400; round++) {
        std::string some;
        for (int i = 0; i < STREAMS; i++)
            some += data(0, id(i), "x");
        ASSERT_TRUE(attacker->say(some));
        if (round % 20 == 0)
            ping();
    }
}

/* The same, each in a record of its own, and that in a receive of its own. */
TEST_P(Budget, HoldsWhenNobodyReadsRecordsOfOneByte)
{
    open_streams(STREAMS, "/idle/1.0.0");
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < STREAMS; i++)
            ASSERT_TRUE(attacker->send(attacker->record(data(0, id(i), "x"))));
        ping();
    }
}

/* Windows filled, streams reset, windows filled: what is reset holds nothing. */
TEST_P(Budget, HoldsWhenStreamsAreFilledAndReset)
{
    std::string bytes = noise_bytes(200000);
    for (int round = 0; round < 500; round++) {
        uint32_t stream = attacker->next_id;
        attacker->next_id += 2;
        ASSERT_TRUE(attacker->say(data(SYN, stream, proposal("/stuck/1.0.0")) + data(0, stream, bytes) +
                                  frame(WINDOW, RST, stream, 0)));
        if (round % 50 == 0)
            ping();
    }
    ping();
}

/* Echoes that the peer does not grant any window for. */
TEST_P(Budget, HoldsWhenEchoesHaveNoWindow)
{
    open_streams(STREAMS, "/echo/1.0.0");
    std::string bytes = noise_bytes(16384);
    std::vector<uint32_t> room(STREAMS, WINDOW_BYTES - static_cast<uint32_t>(proposal("/echo/1.0.0").size()));
    int idle = 0;
    for (size_t sent = 0, round = 0; sent < 100000000 && idle < 3; round++) {
        std::string some;
        for (int i = 0; i < STREAMS; i++) {
            if (room[i] < bytes.size() || some.size() > 4000000)
                continue;
            some += data(0, id(i), bytes);
            room[i] -= static_cast<uint32_t>(bytes.size());
        }
        idle = some.empty() ? idle + 1 : 0;
        sent += some.size();
        ASSERT_TRUE(attacker->say(some));
        /* What it grants is used. */
        int64_t begin_ms = now_ms();
        ASSERT_TRUE(attacker->say(frame(PING, SYN, 0, 0x60000000 + static_cast<uint32_t>(round))));
        for (;;) {
            auto got = attacker->next_frame();
            ASSERT_TRUE(got);
            size_t index = (got->id - 1) / 2;
            if (got->type == PING && got->flags & ACK)
                break;
            if (got->type == WINDOW && got->flags & RST && index < room.size())
                room[index] = 0;
            else if (got->type == WINDOW && got->id % 2 == 1 && index < room.size())
                room[index] += got->length;
        }
        answered(now_ms() - begin_ms);
    }
}

/* Echoes to a peer that does not read its socket. */
TEST_P(Budget, HoldsWhenNothingIsRead)
{
    open_streams(STREAMS, "/echo/1.0.0");
    attacker->deaf = true;
    std::string bytes = noise_bytes(65000);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < STREAMS; i++) {
            if (!attacker->say(data(0, id(i), bytes)))
                return; /* a connection that is ended holds nothing */
        }
    }
    attacker->deaf = false;
}

/* A few bytes ask for all that there are. */
TEST_P(Budget, HoldsWhenDownloadsAreNotRead)
{
    std::string all;
    for (int i = 0; i < STREAMS; i++)
        all += data(SYN | FIN, id(i), proposal("/perf/1.0.0") + std::string(8, '\x7f'));
    ASSERT_TRUE(attacker->say(all));
    ping();
    ping();
}

/* Pings whose answers have no window. */
TEST_P(Budget, HoldsWhenPongsAreNotRead)
{
    std::string bytes = noise_bytes(65000);
    open_streams(STREAMS, "/ipfs/ping/1.0.0");
    attacker->deaf = true;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < STREAMS; i++) {
            if (!attacker->say(data(0, id(i), bytes)))
                return;
        }
    }
    attacker->deaf = false;
}

/* Over its budget a connection loses the stream that holds most, and no other. */
TEST_P(Budget, CostsTheStreamThatHoldsMost)
{
    enum { RESOURCE_LIMIT = 0x1002, FULL = 90 };
    std::string bytes = noise_bytes(65000);
    open_streams(FULL, "/idle/1.0.0");
    attacker->next_id = id(FULL);
    uint32_t echo = attacker->open("/echo/1.0.0");
    ASSERT_NE(echo, 0u);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < FULL; i++)
            ASSERT_TRUE(attacker->say(data(0, id(i), bytes)));
    }
    auto reset = attacker->await([](const Frame &got) { return got.type == WINDOW && got.flags & RST; });
    ASSERT_TRUE(reset);
    EXPECT_EQ(reset->length, uint32_t(RESOURCE_LIMIT));
    ping();
    ASSERT_TRUE(attacker->say(data(0, echo, "still here")));
    EXPECT_EQ(attacker->read(echo, 10), "still here");
}

} // namespace
