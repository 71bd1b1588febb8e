#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <algorithm>
#include <cinttypes>
#include <vector>

/* Many connections, each within its own budget, and together far beyond the node's. */

namespace {

enum {
    MEMORY_KB = 65536,
    /* A tenth more, for what is not payload. */
    GROWTH_KB_MAX = MEMORY_KB * 11 / 10,
    PEERS = 16,
    STREAMS = 40, /* of each: with full windows 10 MiB, of the 16 that a connection may hold */
    PING_MS_MAX = 1000,
    RESOURCE_LIMIT = 0x1001,
    BACKLOG_MS = 60000, /* until all that the kernel has taken is worked through, under a sanitizer */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool rss_is_ours = false;
#else
constexpr bool rss_is_ours = true;
#endif

uint32_t id(int index)
{
    return static_cast<uint32_t>(2 * index + 1);
}

void open_streams(Attacker &attacker, const std::string &protocol)
{
    std::string all;
    for (int i = 0; i < STREAMS; i++)
        all += data(SYN, id(i), proposal(protocol));
    ASSERT_TRUE(attacker.say(all));
    ASSERT_TRUE(attacker.pings());
    attacker.next_id = id(STREAMS);
}

class Memory : public testing::TestWithParam<Driver>
{
protected:
    std::unique_ptr<Victim> victim;
    std::unique_ptr<Inventory> before;
    std::unique_ptr<Attacker> known;
    int64_t rss_kb = 0, ping_ms = 0;
    int late = 0; /* pings that took too long; one may be the machine's fault */

    void begin(std::unique_ptr<Victim> of)
    {
        victim = std::move(of);
        ASSERT_TRUE(victim);
        good_peer_is_served(*victim);
        before = std::make_unique<Inventory>(*victim);
        known = std::make_unique<Attacker>(victim->port);
        ASSERT_TRUE(known->reach(Stage::MUXED));
        victim->process->rss_peak_kb();
        rss_kb = victim->process->rss_kb();
    }

    /* Who takes no part is served. */
    void ping()
    {
        int64_t took_ms = known->ping_ms(PATIENCE_MS);
        ASSERT_GE(took_ms, 0) << "no answer";
        ping_ms = std::max(ping_ms, took_ms);
        late += took_ms > PING_MS_MAX;
        if (victim->counts) {
            EXPECT_LE(victim->counter("memory_held") / 1024, int64_t(GROWTH_KB_MAX));
        }
    }

    void end()
    {
        int64_t growth_kb = victim->process->rss_peak_kb() - rss_kb;
        printf("    RSS grew by %" PRId64 " KiB of %d, ping at most %" PRId64 " ms\n", growth_kb, MEMORY_KB, ping_ms);
        EXPECT_LE(late, 1);
        if (rss_is_ours) {
            EXPECT_LE(growth_kb, GROWTH_KB_MAX);
        }
        uint32_t echo = known->open("/echo/1.0.0");
        ASSERT_NE(echo, 0u);
        ASSERT_TRUE(known->say(data(0, echo, "still here")));
        EXPECT_EQ(known->read(echo, 10), "still here");
        good_peer_is_served(*victim);
        known->close();
        before->settles();
        EXPECT_EQ(victim->stop(), 0) << victim->process->errors();
    }
};

INSTANTIATE_TEST_SUITE_P(, Memory, both_drivers, driver_suffix);

/* Windows are filled everywhere by turns; applications take streams and never read them. */
TEST_P(Memory, HoldsWhenNobodyReads)
{
    for (const char *protocol : {"/stuck/1.0.0", "/idle/1.0.0"}) {
        begin(Victim::node(GetParam(), 0, MEMORY_KB * 1024));
        ASSERT_FALSE(HasFatalFailure());
        {
            std::vector<Attacker> peers;
            std::vector<bool> open(PEERS, true);
            for (int i = 0; i < PEERS; i++) {
                peers.emplace_back(victim->port);
                ASSERT_TRUE(peers.back().reach(Stage::MUXED));
                open_streams(peers.back(), protocol);
            }
            std::string some, bytes = noise_bytes(65000);
            for (int i = 0; i < STREAMS; i++)
                some += data(0, id(i), bytes);
            for (int round = 0; round < 4; round++) {
                for (int i = 0; i < PEERS; i++) {
                    open[i] = open[i] && peers[i].say(some);
                    ping();
                }
            }
            int64_t closed = 0;
            for (Attacker &peer : peers)
                peer.pings(BACKLOG_MS); /* all that was said has arrived */
            for (Attacker &peer : peers)
                closed += !peer.pings(BACKLOG_MS);
            EXPECT_GE(closed, PEERS - 6); /* six with 10 MiB each fit */
            EXPECT_EQ(victim->counter("connections_shed"), closed);
        }
        end();
        ASSERT_FALSE(HasFatalFailure());
    }
}

/* The largest one goes, by a GoAway that says why; those beside it keep all they have. */
TEST_P(Memory, CostsTheConnectionThatHoldsMost)
{
    begin(Victim::node(GetParam(), 0, MEMORY_KB * 1024));
    ASSERT_FALSE(HasFatalFailure());
    std::string bytes = noise_bytes(65000), some;
    for (int i = 0; i < STREAMS; i++)
        some += data(0, id(i), bytes);
    /* The second holds twice as much as any other. */
    std::vector<Attacker> peers;
    while (peers.size() < PEERS && victim->counter("connections_shed") == 0) {
        peers.emplace_back(victim->port);
        ASSERT_TRUE(peers.back().reach(Stage::MUXED));
        open_streams(peers.back(), "/stuck/1.0.0");
        for (int round = 0; round < (peers.size() == 2 ? 4 : 2); round++)
            ASSERT_TRUE(peers.back().say(some));
        ASSERT_TRUE(peers.back().pings(BACKLOG_MS));
        ping();
    }
    EXPECT_GE(peers.size(), 8u); /* one with 10 MB and seven with 5 are 45 */
    EXPECT_EQ(peers[1].goaway(), RESOURCE_LIMIT);
    EXPECT_NE(peers[1].ending(), Ending::OPEN);
    for (size_t i = 0; i < peers.size(); i++) {
        if (i == 1)
            continue;
        uint32_t echo = peers[i].open("/echo/1.0.0");
        ASSERT_NE(echo, 0u) << i;
        ASSERT_TRUE(peers[i].say(data(0, echo, "still here")));
        EXPECT_EQ(peers[i].read(echo, 10), "still here");
    }
    EXPECT_EQ(victim->counter("connections_shed"), 1);
    EXPECT_GE(victim->counter("stream_bytes_held"), static_cast<int64_t>(peers.size() - 1) * 2 * STREAMS * 65000);
    EXPECT_TRUE(victim->process->says("connection_shed")) << victim->process->errors();
    EXPECT_TRUE(victim->process->says("limit=memory")) << victim->process->errors();
    peers.clear();
    end();
}

/* The built program, whose echoes are not read; what it sends is in the way. */
TEST_P(Memory, HoldsWhenEchoesAreNotRead)
{
    begin(Victim::program(GetParam(), {"--max-connections", "0", "--memory", std::to_string(MEMORY_KB) + "Ki"}));
    ASSERT_FALSE(HasFatalFailure());
    {
        std::vector<Attacker> peers;
        std::vector<bool> open(PEERS, true);
        std::string bytes = noise_bytes(65000), some;
        for (int i = 0; i < STREAMS; i++)
            some += data(0, id(i), bytes);
        for (int i = 0; i < PEERS; i++) {
            peers.emplace_back(victim->port);
            ASSERT_TRUE(peers.back().reach(Stage::MUXED));
            open_streams(peers.back(), "/echo/1.0.0");
            peers.back().deaf = true;
        }
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < PEERS; i++) {
                open[i] = open[i] && peers[i].say(some);
                ping();
            }
        }
        EXPECT_TRUE(victim->process->says("connection_shed", BACKLOG_MS)) << victim->process->errors();
    }
    end();
}

} // namespace
