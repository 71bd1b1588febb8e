#include "tests/unit/actors/node_fixture.h"

#include <atomic>

/* What the application does with streams and their buffers, and when. */

namespace {

struct StreamTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamTest, testing::Values(REAL_WORLDS, World{DRIVER_SIM, false}), world_name);

/* Until the worker of that connection has done all that it was told before. */
void settle(Node &node, const std::string &peer)
{
    uint64_t rtt_ns;
    EXPECT_EQ(p2p_node_ping(node.node, &rtt_ns, peer.c_str(), TEST_PATIENCE_MS), 0);
}

std::string text_of(struct p2p_buffer *buffer)
{
    return std::string(reinterpret_cast<char *>(p2p_buffer_data(buffer)), p2p_buffer_length(buffer));
}

TEST_P(StreamTest, BuffersOutliveTheirStream)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(p2p_node_handle(b.node, "/kept/1.0.0", 0, nullptr, nullptr), 0);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/kept/1.0.0");
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(p2p_stream_write_wait(stream, "hello", 5, TEST_PATIENCE_MS), 5);
    struct p2p_stream *incoming = b.await(P2P_EVENT_STREAM_INCOMING).stream;
    ASSERT_NE(incoming, nullptr);
    struct p2p_buffer *buffer = nullptr;
    int error = P2P_ERR_CALL_AGAIN;
    while ((error = p2p_stream_read_buffer(incoming, &buffer)) == P2P_ERR_CALL_AGAIN)
        b.await(P2P_EVENT_STREAM_READABLE);
    ASSERT_EQ(error, 0);
    p2p_stream_close(incoming);
    settle(b, a.id());
    EXPECT_EQ(text_of(buffer), "hello");
    EXPECT_TRUE(b.reaches("stream_bytes_held", 5));
    p2p_buffer_free(buffer);
    settle(b, a.id());
    EXPECT_TRUE(b.reaches("stream_bytes_held", 0));
    p2p_stream_close(stream);
}

/* The same on the worker; its buffer comes back from another thread. */
TEST_P(StreamTest, BuffersOutliveTheirInlineStream)
{
    std::atomic<struct p2p_buffer *> buffer{nullptr};
    struct p2p_stream_callbacks callbacks = {};
    callbacks.readable = [](struct p2p_stream *stream, void *user) {
        struct p2p_buffer *lent = nullptr;
        ASSERT_EQ(p2p_stream_read_buffer(stream, &lent), 0);
        p2p_buffer_trim(lent, 4);
        p2p_stream_close(stream);
        static_cast<std::atomic<struct p2p_buffer *> *>(user)->store(lent);
    };
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(p2p_node_handle(b.node, "/kept/1.0.0", 0, &callbacks, &buffer), 0);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/kept/1.0.0");
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(p2p_stream_write_wait(stream, "hello", 5, TEST_PATIENCE_MS), 5);
    b.await(P2P_EVENT_PEER_CONNECTED);
    while (!buffer)
        settle(b, a.id());
    EXPECT_EQ(text_of(buffer), "hell");
    EXPECT_TRUE(b.reaches("stream_bytes_held", 4));
    p2p_buffer_free(buffer);
    settle(b, a.id());
    EXPECT_TRUE(b.reaches("stream_bytes_held", 0));
    p2p_stream_close(stream);
}

TEST_P(StreamTest, WhatAReadForMoreHadWhenItsTimeWasOverIsNotLost)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(p2p_node_handle(b.node, "/kept/1.0.0", 0, nullptr, nullptr), 0);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/kept/1.0.0");
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(p2p_stream_write_wait(stream, "abc", 3, TEST_PATIENCE_MS), 3);
    struct p2p_stream *incoming = b.await(P2P_EVENT_STREAM_INCOMING).stream;
    ASSERT_NE(incoming, nullptr);
    char bytes[8] = {};
    ASSERT_EQ(p2p_stream_read_wait(incoming, bytes, 1, TEST_PATIENCE_MS), 1);
    EXPECT_EQ(p2p_stream_read_full(incoming, bytes + 1, 7, 10), 2);
    EXPECT_STREQ(bytes, "abc");
    EXPECT_EQ(p2p_stream_read_full(incoming, bytes, 8, 10), P2P_ERR_CALL_TIMEOUT);
    p2p_stream_reset(stream, 7);
    EXPECT_EQ(p2p_stream_read_full(incoming, bytes, 8, TEST_PATIENCE_MS), P2P_ERR_STREAM_RESET);
    p2p_stream_close(incoming);
}

TEST_P(StreamTest, OpensBeyondTheBoundOfAConnectionWaitForTheirTurn)
{
    Node a(runtime, [](struct p2p_config *config) { ASSERT_EQ(p2p_config_max_streams(config, 2), 0); }), b(runtime);
    const char *protocol = "/kept/1.0.0";
    a.start();
    b.start();
    ASSERT_EQ(p2p_node_handle(b.node, protocol, 0, nullptr, nullptr), 0);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    ASSERT_TRUE(a.reaches("streams", 0));
    struct p2p_stream *first = a.open(b.id(), protocol), *second = a.open(b.id(), protocol), *third = nullptr;
    EXPECT_EQ(p2p_stream_open(a.node, &third, b.id().c_str(), &protocol, 1, 10, &a.text), P2P_ERR_CALL_TIMEOUT);
    ASSERT_EQ(p2p_stream_open_start(a.node, 3, b.id().c_str(), &protocol, 1), 0);
    p2p_stream_reset(first, 0);
    struct p2p_event opened = a.await(P2P_EVENT_STREAM_OPENED);
    EXPECT_EQ(opened.request, 3u);
    p2p_stream_close(opened.stream);
    p2p_stream_close(second);
}

} // namespace
