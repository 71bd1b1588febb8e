#include "tests/unit/actors/node_fixture.h"

#include <atomic>

namespace {

struct PingTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, PingTest, testing::Values(REAL_WORLDS, World{DRIVER_SIM, false}), world_name);

/* Takes the first ping and keeps it; echoes the others. */
struct Sleepy {
    std::atomic<int> streams{0};
};

void sleepy_opened(struct p2p_stream *, void *user)
{
    static_cast<Sleepy *>(user)->streams++;
}

void sleepy_readable(struct p2p_stream *stream, void *user)
{
    char bytes[32];
    int64_t count = P2P_ERR_CALL_AGAIN;

    if (static_cast<Sleepy *>(user)->streams > 1)
        count = p2p_stream_read(stream, bytes, sizeof(bytes));
    if (count > 0)
        p2p_stream_write(stream, bytes, static_cast<size_t>(count));
    else if (count != P2P_ERR_CALL_AGAIN)
        p2p_stream_close(stream);
}

void sleepy_failed(struct p2p_stream *stream, void *, int)
{
    p2p_stream_close(stream);
}

TEST_P(PingTest, APingThatHangsDoesNotHoldUpTheNext)
{
    static const struct p2p_stream_callbacks callbacks = {sleepy_opened, sleepy_readable, nullptr, sleepy_failed};
    Sleepy sleepy;
    Node a(runtime), b(runtime);
    ASSERT_EQ(p2p_node_unhandle(b.node, "/ipfs/ping/1.0.0"), 0);
    ASSERT_EQ(p2p_node_handle(b.node, "/ipfs/ping/1.0.0", 0, &callbacks, &sleepy), 0);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    uint64_t rtt_ns = 0;
    EXPECT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), 100), P2P_ERR_CALL_TIMEOUT);
    struct p2p_event event;
    while (sleepy.streams == 0) /* the first comes to b at last */
        p2p_node_wait_event(b.node, &event, 5);
    EXPECT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), TEST_PATIENCE_MS), 0);
    EXPECT_EQ(sleepy.streams, 2);
    EXPECT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), TEST_PATIENCE_MS), 0);
    EXPECT_EQ(sleepy.streams, 2);
}

struct SimPingTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, SimPingTest, testing::Values(World{DRIVER_SIM, false}), world_name);

TEST_P(SimPingTest, ABusyConnectionIsMeasuredToo)
{
    Node a(runtime), b(runtime, [](struct p2p_config *config) { p2p_config_serve_echo(config, true); });
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
    ASSERT_NE(stream, nullptr);
    for (int second = 0; second < 200; second++) { /* never silent for long enough to be asked whether it is there */
        expect_echo(stream, std::string(1000, 'x'));
        sim_world_run(world, nullptr, nullptr, 1000000000);
    }
    struct p2p_peer peer;
    size_t count = 0;
    p2p_node_connected_peers(a.node, &peer, 1, &count);
    ASSERT_EQ(count, 1u);
    EXPECT_GT(peer.bytes_out, 100000u);
    EXPECT_GT(peer.bytes_in, 100000u);
    p2p_stream_close(stream);
}

/* Of two silent ends one asks whether the other is there; that one asks half as often, to measure. */
TEST_P(SimPingTest, SilentEndsDoNotBothAsk)
{
    enum { INTERVALS = 10, INTERVAL_MS = 30000, FRAME = 2 + 12 + 16 /* a ping in a record */ };
    auto often = [](struct p2p_config *config) { p2p_config_keep_alive_ms(config, INTERVAL_MS); };
    Node a(runtime, often), b(runtime, often);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    sim_world_run(world, nullptr, nullptr, 2 * INTERVAL_MS * 1000000ull);
    for (Node *node : {&a, &b})
        ASSERT_TRUE(node->reaches("streams", 0));
    int64_t in = a.counter("bytes_in"), out = a.counter("bytes_out");
    sim_world_run(world, nullptr, nullptr, INTERVALS * INTERVAL_MS * 1000000ull);
    for (int64_t bytes : {a.counter("bytes_in") - in, a.counter("bytes_out") - out}) {
        EXPECT_GE(bytes, (INTERVALS + INTERVALS / 2 - 1) * FRAME);
        EXPECT_LE(bytes, (INTERVALS + INTERVALS / 2 + 1) * FRAME);
    }
    EXPECT_EQ(p2p_node_peers(a.node), 1u);
}

}  // namespace
