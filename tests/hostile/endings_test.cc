#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <atomic>
#include <cstring>

#include "chorus/p2p.h"

/* What an application hears when a stream and its connection end in one breath.
 * The attacked node is this process's own. */

namespace {

class Breath : public testing::TestWithParam<Driver>
{
protected:
    struct p2p_node *node = nullptr;
    uint16_t port = 0;
    std::atomic<int> opened{0}, failed{0};

    static void count_opened(struct p2p_stream *stream, void *)
    {
        auto *self = static_cast<Breath *>(p2p_stream_user(stream));
        self->opened++;
    }

    static void count_failed(struct p2p_stream *stream, void *user, int)
    {
        static_cast<Breath *>(user)->failed++;
        p2p_stream_close(stream);
    }

    void SetUp() override
    {
        static const struct p2p_stream_callbacks counting = {count_opened, nullptr, nullptr, count_failed};
        struct p2p_error_text text = {};
        struct p2p_config *config = p2p_config_new();
        struct p2p_address address;
        size_t count = 0;

        p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", nullptr);
        p2p_config_workers(config, 1);
        p2p_config_driver(config, GetParam() == Driver::URING ? P2P_DRIVER_AUTO : P2P_DRIVER_EPOLL);
        ASSERT_EQ(p2p_node_new(&node, config, nullptr, &text), 0) << text.text;
        p2p_config_free(config);
        ASSERT_EQ(p2p_node_handle(node, "/event/1.0.0", 0, nullptr, nullptr), 0);
        ASSERT_EQ(p2p_node_handle(node, "/inline/1.0.0", 0, &counting, this), 0);
        ASSERT_EQ(p2p_node_start(node, &text), 0) << text.text;
        ASSERT_EQ(p2p_node_addresses(node, &address, 1, &count), 0);
        port = static_cast<uint16_t>(atoi(strstr(address.text, "/tcp/") + 5));
    }

    void TearDown() override { p2p_node_free(node); }

    struct p2p_event await(enum p2p_event_type type)
    {
        struct p2p_event event = {};
        while (p2p_node_wait_event(node, &event, PATIENCE_MS) == 0) {
            if (event.type == type)
                return event;
        }
        ADD_FAILURE() << "no event of type " << type;
        return {};
    }

    /* Its id, and the application's end of it. */
    uint32_t open_event(Attacker &attacker, struct p2p_stream **stream)
    {
        uint32_t id = attacker.reach(Stage::MUXED) ? attacker.open("/event/1.0.0") : 0;
        *stream = id != 0 ? await(P2P_EVENT_STREAM_INCOMING).stream : nullptr;
        return id;
    }

    /* The last record, and one that nobody sealed: the connection ends there and then. */
    static void say_and_break(Attacker &attacker, const std::string &plain)
    {
        ASSERT_TRUE(attacker.send(attacker.record(plain) + noise_frame(noise_bytes(32))));
    }
};

INSTANTIATE_TEST_SUITE_P(, Breath, both_drivers, driver_suffix);

TEST_P(Breath, EventsTellOfAResetJustBeforeTheEnd)
{
    Attacker attacker(port);
    struct p2p_stream *stream = nullptr;
    uint32_t id = open_event(attacker, &stream);
    ASSERT_NE(stream, nullptr);
    say_and_break(attacker, frame(WINDOW, RST, id, 77));
    char byte;
    EXPECT_EQ(p2p_stream_read_wait(stream, &byte, 1, PATIENCE_MS), P2P_ERR_STREAM_RESET);
    EXPECT_EQ(p2p_stream_error_code(stream), 77u);
    EXPECT_EQ(await(P2P_EVENT_STREAM_FAILED).stream, stream);
    p2p_stream_close(stream);
}

TEST_P(Breath, CallbacksTellOfAResetJustBeforeTheEnd)
{
    Attacker attacker(port);
    ASSERT_TRUE(attacker.reach(Stage::MUXED));
    uint32_t id = attacker.open("/inline/1.0.0");
    ASSERT_NE(id, 0u);
    ASSERT_TRUE(attacker.pings());
    EXPECT_EQ(opened, 1);
    say_and_break(attacker, frame(WINDOW, RST, id, 77));
    await(P2P_EVENT_PEER_DISCONNECTED);
    p2p_node_close(node, -1);
    EXPECT_EQ(failed, 1);
}

/* An answer and its end, and then the connection breaks: the answer is whole. */
TEST_P(Breath, AnAnswerThatCameWholeEndsInItsEnd)
{
    Attacker attacker(port);
    struct p2p_stream *stream = nullptr;
    uint32_t id = open_event(attacker, &stream);
    ASSERT_NE(stream, nullptr);
    say_and_break(attacker, data(FIN, id, "answer"));
    char bytes[16];
    EXPECT_EQ(p2p_stream_read_full(stream, bytes, sizeof(bytes), PATIENCE_MS), 6);
    EXPECT_EQ(p2p_stream_read(stream, bytes, 1), P2P_ERR_STREAM_EOF);
    EXPECT_EQ(await(P2P_EVENT_STREAM_FAILED).stream, stream);
    EXPECT_EQ(p2p_stream_write(stream, bytes, 1), P2P_ERR_CONN_AUTH);
    p2p_stream_close(stream);
}

/* What a peer says of itself counts, though it hangs up with the last byte. */
TEST_P(Breath, AnIdentityThatCameWholeIsTaken)
{
    Attacker attacker(port);
    ASSERT_TRUE(attacker.reach(Stage::MUXED));
    auto asked = attacker.await([](const Frame &got) { return got.flags & SYN && got.type != PING; });
    ASSERT_TRUE(asked);
    std::string message = field(1, attacker.public_key()) + field(6, "in a hurry");
    say_and_break(attacker, data(ACK | FIN, asked->id, proposal("/ipfs/id/1.0.0") + varint(message.size()) + message));
    await(P2P_EVENT_PEER_IDENTIFIED);
}

/* Opened, reset and gone at once: nothing of it is left with the node. */
TEST_P(Breath, StreamsThatLiveForOneRecordAreLetGo)
{
    for (const char *protocol : {"/inline/1.0.0", "/ipfs/ping/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/id/1.0.0"}) {
        Attacker attacker(port);
        ASSERT_TRUE(attacker.reach(Stage::MUXED));
        std::string all;
        for (uint32_t id = 1; id < 20; id += 2)
            all += data(SYN, id, proposal(protocol)) + frame(WINDOW, RST, id, 0);
        say_and_break(attacker, all);
        await(P2P_EVENT_PEER_DISCONNECTED);
    }
    p2p_node_close(node, -1);
    EXPECT_EQ(opened, failed);
    int64_t streams = -1;
    ASSERT_EQ(p2p_node_counter(node, &streams, "streams"), 0);
    EXPECT_EQ(streams, 0);
}

} // namespace
