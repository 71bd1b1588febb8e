#include "tests/unit/actors/node_fixture.h"

#include <atomic>
#include <memory>

extern "C" {
#include "actors/stream.h"
}

/* How streams end, for an application that does things in an order of its own. */

namespace {

/* What happens between the calls is ours to say. */
struct TurnedEndingsTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, TurnedEndingsTest,
                         testing::Values(World{DRIVER_URING, false}, World{DRIVER_EPOLL, false}), world_name);

struct Told {
    std::atomic<int> opened{0}, failed{0}, error{0};
};

void count_opened(struct p2p_stream *, void *user)
{
    static_cast<Told *>(user)->opened++;
}

void count_failed(struct p2p_stream *stream, void *user, int error)
{
    auto *told = static_cast<Told *>(user);
    told->failed++;
    told->error = error;
    p2p_stream_close(stream);
}

const struct p2p_stream_callbacks counting = {count_opened, nullptr, nullptr, count_failed};

/* A worker of its own each: what one does, the other hears when it is turned. */
struct Pair {
    struct p2p_runtime *theirs = nullptr;
    std::unique_ptr<Node> a, b;

    Pair(struct p2p_runtime *ours, enum driver_kind driver)
    {
        enum p2p_driver kind = driver == DRIVER_URING ? P2P_DRIVER_URING : P2P_DRIVER_EPOLL;
        EXPECT_EQ(p2p_runtime_new(&theirs, 1, true, kind, nullptr), 0);
        a = std::make_unique<Node>(ours);
        b = std::make_unique<Node>(theirs);
        a->start();
        b->start();
        EXPECT_EQ(a->connect(*b), 0) << a->text.text;
        a->await(P2P_EVENT_PEER_IDENTIFIED);
    }

    ~Pair()
    {
        a.reset();
        b.reset();
        p2p_runtime_free(theirs);
    }
};

TEST_P(TurnedEndingsTest, AnOpenThatComesTooLateFails)
{
    Pair pair(runtime, GetParam().driver);
    const char *protocol = "/late/1.0.0";
    std::string id = pair.b->id();
    Told told;
    EXPECT_EQ(p2p_node_close(pair.b->node, -1), 0);
    int opens = 0;
    /* Whenever it is that the connection's end is heard of, some open stands behind it. */
    while (p2p_stream_open_inline(pair.a->node, id.c_str(), &protocol, 1, &counting, &told) == 0) {
        opens++;
        p2p_runtime_turn(runtime, 0);
    }
    EXPECT_GT(opens, 0);
    pair.a->reaches("connections", 0);
    EXPECT_EQ(told.failed, opens);
    EXPECT_EQ(pair.a->counter("streams"), 0);
}

TEST_P(TurnedEndingsTest, AWaitForAnOpenThatComesTooLateEndsAndSaysWhy)
{
    Pair pair(runtime, GetParam().driver);
    const char *protocol = "/late/1.0.0";
    std::string id = pair.b->id();
    EXPECT_EQ(p2p_node_close(pair.b->node, -1), 0);
    int opens = 0, ended = 0;
    while (pair.a->counter("connections") > 0) {
        if (p2p_stream_open_start(pair.a->node, 7, id.c_str(), &protocol, 1) == 0)
            opens++;
        p2p_runtime_turn(runtime, 0);
    }
    struct p2p_event event;
    for (int i = 0; i < 3; i++)
        p2p_runtime_turn(runtime, 0);
    while (p2p_node_next_event(pair.a->node, &event) == 0) {
        if (event.type == P2P_EVENT_STREAM_OPENED)
            p2p_stream_close(event.stream);
        if (event.type == P2P_EVENT_STREAM_OPEN_FAILED) {
            EXPECT_NE(std::string(event.text.text).find(protocol), std::string::npos) << event.text.text;
        }
        ended += event.type == P2P_EVENT_STREAM_OPENED || event.type == P2P_EVENT_STREAM_OPEN_FAILED;
    }
    EXPECT_EQ(ended, opens);
}

void keep(struct p2p_stream *stream, void *user)
{
    *static_cast<struct p2p_stream **>(user) = stream_ref(stream);
}

void hear(struct p2p_stream *, void *, int)
{
}

TEST_P(TurnedEndingsTest, ACloseFromAnotherThreadThatComesTooLateGivesTheHandleUp)
{
    Pair pair(runtime, GetParam().driver);
    const struct p2p_stream_callbacks keeping = {keep, nullptr, nullptr, hear};
    const char *protocol = "/ipfs/ping/1.0.0";
    struct p2p_stream *stream = nullptr;
    ASSERT_EQ(p2p_stream_open_inline(pair.a->node, pair.b->id().c_str(), &protocol, 1, &keeping, &stream), 0);
    while (!stream)
        p2p_runtime_turn(runtime, 100);
    EXPECT_EQ(p2p_node_close(pair.b->node, -1), 0);
    ASSERT_TRUE(pair.a->reaches("connections", 0));
    p2p_stream_close(stream); /* its worker is whoever turns; here it does not turn */
    for (int i = 0; i < 3; i++)
        p2p_runtime_turn(runtime, 0);
    EXPECT_EQ(stream->refs, 1u);
    stream_unref(stream);
}

}  // namespace
