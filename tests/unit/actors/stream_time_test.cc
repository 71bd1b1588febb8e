#include "tests/unit/actors/stream_fixture.h"

/* What takes long: in virtual time, with a peer whose process can be stopped. */

namespace {

constexpr uint64_t second = 1000000000;

struct StreamTime : StreamTest {
    struct p2p_runtime *far_runtime = nullptr;
    std::unique_ptr<Node> far;

    void SetUp() override
    {
        StreamTest::SetUp();
        ASSERT_EQ(make_runtime(&far_runtime, GetParam(), world, nullptr), 0);
        far = std::make_unique<Node>(far_runtime);
        far->start();
        ASSERT_EQ(p2p_node_handle(far->node, ENDS_PROTOCOL, 0, nullptr, nullptr), 0);
        ASSERT_EQ(a->connect(*far), 0) << a->text.text;
        a->await(P2P_EVENT_PEER_IDENTIFIED);
        far->await(P2P_EVENT_PEER_IDENTIFIED);
        ASSERT_TRUE(until([&] { return a->counter("streams") == 0 && far->counter("streams") == 0; }));
    }

    void TearDown() override
    {
        freeze(false);
        far.reset();
        p2p_runtime_free(far_runtime);
        StreamTest::TearDown();
    }

    void freeze(bool frozen)
    {
        struct runtime *its = far_runtime->runtime;
        for (unsigned i = 0; i < runtime_workers(its); i++)
            sim_world_freeze(world, runtime_worker(its, i), frozen);
    }

    static void drain(Node &node)
    {
        struct p2p_event event;
        while (p2p_node_next_event(node.node, &event) == 0)
            continue;
    }

    uint64_t now_ns() const { return sim_world_now_ns(world); }
    void pass(uint64_t ns) { sim_world_run(world, nullptr, nullptr, ns); }

    Ends open_far()
    {
        Ends ends;
        ends.ours.reset(a->open(far->id(), ENDS_PROTOCOL));
        ends.theirs.reset(far->await(P2P_EVENT_STREAM_INCOMING).stream);
        EXPECT_TRUE(ends.ours && ends.theirs);
        return ends;
    }

    /* The connection to the far one is lost after that time, for that reason, and
     * the stream hears of it once. */
    void expect_lost(const Stream &stream, int error, uint64_t from_s, uint64_t to_s)
    {
        uint64_t begin_ns = now_ns();
        struct p2p_event event = {};
        int failed = 0;
        while (event.type != P2P_EVENT_PEER_DISCONNECTED) {
            ASSERT_EQ(p2p_node_wait_event(a->node, &event, 600 * 1000), 0) << "it is still there";
            failed += event.type == P2P_EVENT_STREAM_FAILED;
        }
        EXPECT_EQ(event.id, far->id());
        EXPECT_EQ(event.error, error);
        EXPECT_GE(now_ns() - begin_ns, from_s * second);
        EXPECT_LE(now_ns() - begin_ns, to_s * second);
        while (p2p_node_next_event(a->node, &event) == 0) {
            failed += event.type == P2P_EVENT_STREAM_FAILED;
            EXPECT_TRUE(event.type != P2P_EVENT_STREAM_FAILED || event.error == error);
        }
        EXPECT_EQ(failed, 1);
        char byte;
        EXPECT_EQ(p2p_stream_read(stream.get(), &byte, 1), error);
        EXPECT_EQ(p2p_stream_write(stream.get(), &byte, 1), error);
        EXPECT_EQ(a->counter("connections"), 1); /* the other one */
    }

    /* Writes until nothing more is taken; how much it was. */
    uint64_t fill(const Stream &stream)
    {
        uint64_t sent = 0;
        int64_t count;
        do {
            std::string bytes = flow(1, 65536, sent);
            count = p2p_stream_write(stream.get(), bytes.data(), bytes.size());
            sent += count > 0 ? static_cast<uint64_t>(count) : 0;
            pass(second / 1000);
        } while (count > 0);
        EXPECT_EQ(count, P2P_ERR_CALL_AGAIN);
        return sent;
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamTime, testing::Values(World{DRIVER_SIM, false}), world_name);

TEST_P(StreamTime, APeerThatDoesNotAnswerIsGivenUpAndSaysWhy)
{
    Ends ends = open_far();
    expect_alive(ends);
    drain(*a);
    freeze(true);
    expect_lost(ends.ours, P2P_ERR_CONN_TIMEOUT, 39, 41); /* 30 s of silence, and 10 s for an answer */
    freeze(false);
    far->await(P2P_EVENT_PEER_DISCONNECTED);
}

TEST_P(StreamTime, APeerThatAnswersLateIsKept)
{
    Ends ends = open_far();
    for (int i = 0; i < 5; i++) {
        freeze(true);
        pass(38 * second);
        freeze(false);
        pass(second);
    }
    expect_alive(ends);
}

/* More windows than one, so that they are wider than what the socket takes. */
TEST_P(StreamTime, APeerThatTakesNoByteIsGivenUpAndSaysWhy)
{
    Ends ends = open_far(), second_ends = open_far();
    expect_alive(ends);
    drain(*a);
    freeze(true);
    fill(ends.ours);
    fill(second_ends.ours);
    drain(*a);
    second_ends.ours.reset();
    expect_lost(ends.ours, P2P_ERR_CONN_STALLED, 29, 36); /* 30 s, seen within 5 */
    freeze(false);
    far->await(P2P_EVENT_PEER_DISCONNECTED);
}

struct Slow {
    Ends ends;
    uint64_t key, sent = 0, got = 0;

    void write(uint64_t total)
    {
        int64_t count;
        do {
            std::string bytes = flow(key, std::min<uint64_t>(65536, total - sent), sent);
            count = p2p_stream_write(ends.ours.get(), bytes.data(), bytes.size());
            sent += count > 0 ? static_cast<uint64_t>(count) : 0;
        } while (count > 0);
        ASSERT_TRUE(count == 0 || count == P2P_ERR_CALL_AGAIN) << count;
    }

    void read()
    {
        std::string bytes(400000, '\0');
        int64_t count = p2p_stream_read(ends.theirs.get(), &bytes[0], bytes.size());
        ASSERT_TRUE(count > 0 || count == P2P_ERR_CALL_AGAIN) << count;
        bytes.resize(count > 0 ? static_cast<size_t>(count) : 0);
        ASSERT_TRUE(bytes == flow(key, bytes.size(), got));
        got += bytes.size();
    }
};

TEST_P(StreamTime, APeerThatTakesALittleNowAndThenIsKept)
{
    constexpr uint64_t total = 3 << 20;
    std::vector<Slow> streams(3);
    for (Slow &each : streams) {
        each.ends = open_far();
        each.key = static_cast<uint64_t>(&each - &streams[0]);
    }
    uint64_t got = 0;
    for (int round = 0; round < 1000 && got < total * streams.size() && !HasFatalFailure(); round++) {
        freeze(true);
        for (Slow &each : streams)
            each.write(total);
        pass(9 * second); /* a ping is answered within ten */
        freeze(false);
        pass(second / 1000);
        got = 0;
        for (Slow &each : streams) {
            each.read();
            got += each.got;
        }
        pass(second / 1000); /* what it grants is heard */
    }
    EXPECT_EQ(got, total * streams.size());
    expect_alive(streams[0].ends);
}

TEST_P(StreamTime, AStreamThatItsPeerNeverEndsIsResetAfterTenSeconds)
{
    Ends ends = open_far();
    expect_alive(ends);
    ends.ours.reset();
    Digest digest;
    EXPECT_EQ(read_to_end(ends.theirs, &digest), P2P_ERR_STREAM_EOF);
    pass(9 * second);
    EXPECT_EQ(a->counter("streams"), 1);
    pass(2 * second);
    EXPECT_EQ(a->counter("streams"), 0);
    EXPECT_EQ(p2p_stream_write(ends.theirs.get(), "x", 1), P2P_ERR_STREAM_RESET);
    EXPECT_EQ(far->await(P2P_EVENT_STREAM_FAILED).error, P2P_ERR_STREAM_RESET);
}

TEST_P(StreamTime, OpensThatNobodyAnswersEndAfterTenSeconds)
{
    constexpr int backlog = 256;
    std::vector<Stream> streams;
    const char *name = ENDS_PROTOCOL, *several[] = {"/none/1", "/none/2"};
    freeze(true);
    for (int i = 0; i < backlog; i++)
        streams.emplace_back(a->open(far->id(), name)); /* costs no round trip */
    uint64_t begin_ns = now_ns();
    ASSERT_EQ(p2p_stream_open_start(a->node, 1, far->id().c_str(), &name, 1), 0); /* waits for the backlog */
    ASSERT_EQ(p2p_stream_open_start(a->node, 2, far->id().c_str(), several, 2), 0);
    int failed = 0, unopened = 0, opened = 0;
    while (failed < backlog || unopened + opened < 2) {
        struct p2p_event event;
        ASSERT_EQ(p2p_node_wait_event(a->node, &event, 60 * 1000), 0) << failed << " " << unopened;
        failed += event.type == P2P_EVENT_STREAM_FAILED;
        unopened += event.type == P2P_EVENT_STREAM_OPEN_FAILED;
        opened += event.type == P2P_EVENT_STREAM_OPENED;
        if (event.type == P2P_EVENT_STREAM_OPENED)
            p2p_stream_close(event.stream);
        if (event.type == P2P_EVENT_STREAM_FAILED || event.type == P2P_EVENT_STREAM_OPEN_FAILED) {
            EXPECT_EQ(event.error, P2P_ERR_STREAM_TIMEOUT);
        }
    }
    EXPECT_EQ(failed, backlog);
    EXPECT_GE(now_ns() - begin_ns, 10 * second - second / 10);
    EXPECT_LE(now_ns() - begin_ns, 21 * second); /* those that waited have their own ten */
    streams.clear();
    freeze(false);
    uint64_t rtt_ns; /* behind all that was said */
    EXPECT_EQ(p2p_node_ping(a->node, &rtt_ns, far->id().c_str(), TEST_PATIENCE_MS), 0);
    struct p2p_event event;
    while (p2p_node_next_event(far->node, &event) == 0)
        if (event.type == P2P_EVENT_STREAM_INCOMING)
            p2p_stream_close(event.stream);
    expect_alive(open_far());
}

TEST_P(StreamTime, ANodeClosesInTimeThoughItsPeerDoesNot)
{
    Ends ends = open_far();
    fill(ends.ours);
    freeze(true);
    uint64_t begin_ns = now_ns();
    EXPECT_EQ(p2p_node_close(a->node, 3000), 0);
    EXPECT_LE(now_ns() - begin_ns, 3 * second);
    for (const char *gauge : {"actors", "streams", "sessions", "connections", "stream_bytes_held"})
        EXPECT_EQ(a->counter(gauge), 0) << gauge;
    Digest digest;
    EXPECT_EQ(read_to_end(ends.ours, &digest), P2P_ERR_NODE_CLOSING);
    freeze(false);
    far->await(P2P_EVENT_PEER_DISCONNECTED);
}

}  // namespace
