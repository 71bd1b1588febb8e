#include "tests/unit/actors/node_fixture.h"

#include <atomic>
#include <cstring>

/* What identify costs us with peers that never end, what it does while the
 * connection is full, and what it says of peers that do not answer. */

namespace {

struct IdentifyTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, IdentifyTest, testing::Values(REAL_WORLDS, World{DRIVER_SIM, false}), world_name);

/* Where ten seconds are none. */
struct SimIdentifyTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, SimIdentifyTest, testing::Values(World{DRIVER_SIM, false}), world_name);

void let_go(struct p2p_stream *stream, void *, int)
{
    p2p_stream_close(stream);
}

const struct p2p_stream_callbacks silent = {nullptr, nullptr, nullptr, let_go};

TEST_P(SimIdentifyTest, AQuestionThatIsNeverAnsweredIsGivenUp)
{
    Node a(runtime), b(runtime);
    ASSERT_EQ(p2p_node_unhandle(b.node, "/ipfs/id/1.0.0"), 0);
    ASSERT_EQ(p2p_node_handle(b.node, "/ipfs/id/1.0.0", 0, &silent, nullptr), 0);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    EXPECT_TRUE(a.reaches("streams", 1)); /* the question */
    EXPECT_TRUE(a.reaches("streams", 0));
    EXPECT_EQ(p2p_node_peers(a.node), 1u);
}

TEST_P(SimIdentifyTest, APushThatNeverEndsIsGivenUp)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    struct p2p_stream *stream = a.open(b.id(), "/ipfs/id/push/1.0.0");
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(p2p_stream_write_wait(stream, "\x40", 1, TEST_PATIENCE_MS), 1);
    EXPECT_EQ(a.await(P2P_EVENT_STREAM_FAILED).stream, stream);
    p2p_stream_close(stream);
    EXPECT_TRUE(b.reaches("streams", 0));
}

TEST_P(IdentifyTest, OfPushesThatDoNotEndOnlyTheLastIsHeld)
{
    Node a(runtime), b(runtime);
    struct p2p_stream *streams[5];
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    for (auto &stream : streams) {
        stream = a.open(b.id(), "/ipfs/id/push/1.0.0");
        ASSERT_NE(stream, nullptr);
        ASSERT_EQ(p2p_stream_write_wait(stream, "\x40", 1, TEST_PATIENCE_MS), 1);
    }
    for (int i = 0; i < 4; i++) {
        auto failed = a.await(P2P_EVENT_STREAM_FAILED);
        EXPECT_EQ(failed.stream, streams[i]);
        EXPECT_EQ(p2p_stream_error_code(streams[i]), 0x1003u); /* too many of them */
    }
    EXPECT_TRUE(b.reaches("streams", 1));
    for (auto &stream : streams)
        p2p_stream_close(stream);
}

/* Sends more than window and queue of its connection hold. */
struct Filler {
    int left = 2;
    std::atomic<bool> full{false};
};

void fill(struct p2p_stream *stream, void *user)
{
    auto *filler = static_cast<Filler *>(user);

    while (filler->left > 0) {
        struct p2p_buffer *buffer = p2p_buffer_new(p2p_stream_node(stream), 262144);
        ASSERT_NE(buffer, nullptr);
        if (p2p_stream_write_buffer(stream, buffer) == P2P_ERR_CALL_AGAIN) {
            p2p_buffer_free(buffer);
            return;
        }
        filler->left--;
    }
    filler->full = true;
}

const struct p2p_stream_callbacks filling = {fill, nullptr, fill, let_go};

bool knows(Node &node, const std::string &peer, const std::string &protocol)
{
    struct p2p_identity *identity = nullptr;
    bool found = false;

    if (p2p_node_identify(node.node, &identity, peer.c_str(), TEST_PATIENCE_MS) != 0)
        return false;
    for (size_t i = 0; i < identity->protocol_count; i++)
        found |= identity->protocols[i] == protocol;
    p2p_identity_free(identity);
    return found;
}

TEST_P(IdentifyTest, AFullConnectionDelaysAPushButCutsNothingOff)
{
    Node a(runtime), b(runtime, [](struct p2p_config *config) { p2p_config_connection_memory(config, 524288); });
    const char *protocol = "/stuck/1.0.0";
    Filler filler;
    ASSERT_EQ(p2p_node_handle(a.node, protocol, 0, nullptr, nullptr), 0);
    for (int i = 0; i < 40; i++) { /* more than a stream may always queue */
        std::string name = "/some/protocol/or/other/" + std::to_string(i);
        ASSERT_EQ(p2p_node_handle(b.node, name.c_str(), 0, &silent, nullptr), 0);
    }
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    ASSERT_EQ(p2p_stream_open_inline(b.node, a.id().c_str(), &protocol, 1, &filling, &filler), 0);
    struct p2p_stream *unread = a.await(P2P_EVENT_STREAM_INCOMING).stream;
    ASSERT_NE(unread, nullptr);
    struct p2p_event event;
    while (!filler.full)
        p2p_node_wait_event(b.node, &event, 5);
    int64_t opened = b.counter("streams_out");
    ASSERT_EQ(p2p_node_handle(b.node, "/new/1.0.0", 0, &silent, nullptr), 0);
    ASSERT_TRUE(b.reaches("streams_out", opened + 1));
    uint64_t rtt_ns = 0; /* a turn of b's worker, at least, has gone by */
    ASSERT_EQ(p2p_node_ping(b.node, &rtt_ns, a.id().c_str(), TEST_PATIENCE_MS), 0);
    EXPECT_FALSE(knows(a, b.id(), "/new/1.0.0"));
    std::string bytes(2 * 262144, '\0');
    EXPECT_EQ(p2p_stream_read_full(unread, bytes.data(), bytes.size(), TEST_PATIENCE_MS), int64_t(bytes.size()));
    auto begin = Clock::now();
    while (!knows(a, b.id(), "/new/1.0.0") && milliseconds_since(begin) < TEST_PATIENCE_MS)
        p2p_node_wait_event(a.node, &event, 5);
    EXPECT_TRUE(knows(a, b.id(), "/new/1.0.0"));
    p2p_stream_close(unread);
}

/* Asking says that, at once, and again when it is known. */
void expect_unanswered(struct p2p_runtime *runtime, const struct p2p_stream_callbacks *answer, int error)
{
    Node a(runtime), b(runtime);
    struct p2p_identity *identity = nullptr;
    ASSERT_EQ(p2p_node_unhandle(b.node, "/ipfs/id/1.0.0"), 0);
    if (answer) {
        ASSERT_EQ(p2p_node_handle(b.node, "/ipfs/id/1.0.0", 0, answer, nullptr), 0);
    }
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    EXPECT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), TEST_PATIENCE_MS), error);
    EXPECT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), 0), error);
    EXPECT_EQ(identity, nullptr);
    b.await(P2P_EVENT_PEER_IDENTIFIED); /* the other way it works */
    /* It may tell later, of its own accord. */
    ASSERT_EQ(p2p_node_handle(b.node, "/news/1.0.0", 0, nullptr, nullptr), 0);
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    ASSERT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), 0), 0);
    p2p_identity_free(identity);
}

TEST_P(IdentifyTest, APeerThatDoesNotSpeakItIsAnErrorAtOnce)
{
    expect_unanswered(runtime, nullptr, P2P_ERR_STREAM_REFUSED);
}

TEST_P(IdentifyTest, SoIsOneThatResetsTheQuestion)
{
    struct p2p_stream_callbacks answer = {};
    answer.opened = [](struct p2p_stream *stream, void *) { p2p_stream_reset(stream, 42); };
    expect_unanswered(runtime, &answer, P2P_ERR_STREAM_RESET);
}

TEST_P(IdentifyTest, SoIsOneThatTalksNonsense)
{
    struct p2p_stream_callbacks answer = {};
    answer.opened = [](struct p2p_stream *stream, void *) {
        EXPECT_EQ(p2p_stream_write(stream, "\x04nope", 5), 5);
        p2p_stream_close(stream);
    };
    expect_unanswered(runtime, &answer, P2P_ERR_STREAM_PROTOCOL);
}

TEST_P(IdentifyTest, SoIsOneThatSaysNothing)
{
    struct p2p_stream_callbacks answer = {};
    answer.opened = [](struct p2p_stream *stream, void *) { p2p_stream_close(stream); };
    expect_unanswered(runtime, &answer, P2P_ERR_STREAM_PROTOCOL);
}

TEST_P(SimIdentifyTest, OneThatNeverAnswersIsWaitedForTenSeconds)
{
    Node a(runtime), b(runtime);
    struct p2p_identity *identity = nullptr;
    ASSERT_EQ(p2p_node_unhandle(b.node, "/ipfs/id/1.0.0"), 0);
    ASSERT_EQ(p2p_node_handle(b.node, "/ipfs/id/1.0.0", 0, &silent, nullptr), 0);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    uint64_t begin_ns = sim_world_now_ns(world);
    EXPECT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), 9000), P2P_ERR_CALL_TIMEOUT);
    EXPECT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), 9000), P2P_ERR_STREAM_TIMEOUT);
    EXPECT_LT(sim_world_now_ns(world) - begin_ns, 10100 * 1000000ull);
}

}  // namespace
