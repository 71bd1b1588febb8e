#include "tests/unit/actors/node_fixture.h"

#include <algorithm>
#include <memory>
#include <vector>

extern "C" {
#include "actors/memory.h"
#include "actors/node.h"
#include "actors/session.h"
}

/* What all connections of a node hold together. */

namespace {

enum { MEBIBYTE = 1 << 20 };

TEST(Memory, LeavesAnEighthToWhatIsUnread)
{
    struct memory *memory = memory_new(8 * MEBIBYTE, 2);
    EXPECT_TRUE(memory_may_leave(memory, MEBIBYTE));
    EXPECT_FALSE(memory_may_leave(memory, MEBIBYTE + 1));
    memory_leave(memory, MEBIBYTE / 2);
    EXPECT_TRUE(memory_may_leave(memory, MEBIBYTE / 2));
    EXPECT_FALSE(memory_may_leave(memory, MEBIBYTE / 2 + 1));
    memory_return(memory, MEBIBYTE / 2);
    EXPECT_TRUE(memory_may_leave(memory, MEBIBYTE));
    memory_unref(memory);
}

TEST(Memory, LivesAsLongAsSomethingIsLeft)
{
    struct memory *memory = memory_new(8 * MEBIBYTE, 2);
    memory_leave(memory, 100);
    memory_unref(memory);
    EXPECT_EQ(memory->left_bytes, 100);
    memory_return(memory, 100);
}

TEST(Memory, IsNotOverByWhatTheApplicationKeeps)
{
    struct memory *memory = memory_new(8 * MEBIBYTE, 2);
    memory_leave(memory, 20 * MEBIBYTE);
    EXPECT_FALSE(memory_is_over(memory));
    memory->drawn_bytes += 21 * MEBIBYTE;
    EXPECT_TRUE(memory_is_over(memory));
    memory->drawn_bytes -= 21 * MEBIBYTE;
    memory_return(memory, 20 * MEBIBYTE);
    memory_unref(memory);
}

TEST(Memory, IsTightLongBeforeItIsOver)
{
    struct memory *memory = memory_new(8 * MEBIBYTE, 2);
    memory->drawn_bytes = 2 * MEBIBYTE;
    EXPECT_FALSE(memory_is_tight(memory));
    memory->drawn_bytes++;
    EXPECT_TRUE(memory_is_tight(memory));
    EXPECT_FALSE(memory_is_over(memory));
    memory->drawn_bytes = -1; /* workers count for themselves */
    EXPECT_FALSE(memory_is_tight(memory));
    memory_unref(memory);
}

void with_memory(struct p2p_config *config)
{
    p2p_config_serve_echo(config, true);
    EXPECT_EQ(p2p_config_memory(config, 8 * MEBIBYTE), 0);
}

/* Until it has that value, while `other` takes its own events and leaves the node's. */
bool reaches(Node &node, const char *name, int64_t value, Node &other)
{
    for (auto begin = Clock::now(); node.counter(name) != value;) {
        struct p2p_event event;
        if (milliseconds_since(begin) > TEST_PATIENCE_MS)
            return false;
        p2p_node_wait_event(other.node, &event, 1);
    }
    return true;
}

/* What is held when nothing is under way: what its one peer told of itself, less than a stream. */
int64_t held_idle(Node &node)
{
    struct p2p_event event;
    int64_t held;
    for (auto begin = Clock::now(); (held = node.counter("memory_held")) >= SESSION_IDLE_STREAM_BYTES;) {
        if (milliseconds_since(begin) > TEST_PATIENCE_MS)
            break;
        p2p_node_wait_event(node.node, &event, 1);
    }
    EXPECT_GT(held, 0);
    EXPECT_LT(held, SESSION_IDLE_STREAM_BYTES);
    return held;
}

/* Of an identify message, as long as its field. */
std::string protocols_of(size_t bytes, char of)
{
    std::string names, message;
    for (size_t left = bytes; left > 0; left -= 100)
        names += std::string("\x1a\x62") + "/" + of + std::string(96 - 6, of) + std::to_string(100000 + left);
    for (size_t length = names.size(); length > 0; length >>= 7)
        message += static_cast<char>((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
    return message + names;
}

void push(Node &from, const std::string &to, const std::string &message)
{
    struct p2p_stream *stream = from.open(to, "/ipfs/id/push/1.0.0");
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(p2p_stream_write_wait(stream, message.data(), message.size(), TEST_PATIENCE_MS),
              static_cast<int64_t>(message.size()));
    p2p_stream_close(stream);
}

struct MemoryTest : NodeTest {
    int64_t filled = 0;

    /* A peer of `victim` that fills streams which nobody reads. */
    struct Filler {
        Node node;
        std::string victim;
        std::vector<struct p2p_stream *> streams;
        int64_t *filled; /* by all */

        Filler(struct p2p_runtime *runtime, Node &to, int64_t *sum) : node(runtime), victim(to.id()), filled(sum)
        {
            node.start();
            EXPECT_EQ(node.connect(to), 0) << node.text.text;
        }

        ~Filler()
        {
            for (struct p2p_stream *stream : streams)
                p2p_stream_close(stream);
        }

        /* In streams of 200,000 bytes; until they have arrived. */
        void fill(Node &at, int count)
        {
            const std::string bytes(200000, 'x');
            for (int i = 0; i < count; i++) {
                struct p2p_stream *stream = node.open(victim, "/stuck/1.0.0");
                ASSERT_NE(stream, nullptr);
                streams.push_back(stream);
                ASSERT_EQ(p2p_stream_write_wait(stream, bytes.data(), bytes.size(), TEST_PATIENCE_MS), 200000);
            }
            *filled += count * 200000;
            ASSERT_TRUE(reaches(at, "stream_bytes_held", *filled, node));
        }

        int ping() { return p2p_node_ping(node.node, nullptr, victim.c_str(), TEST_PATIENCE_MS); }
    };

    /* The next stream that somebody opened there. */
    static struct p2p_stream *take(Node &node)
    {
        return node.await(P2P_EVENT_STREAM_INCOMING).stream;
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, MemoryTest, testing::Values(REAL_WORLDS, World{DRIVER_SIM, false}), world_name);

/* Where twenty seconds are none. */
struct SimMemoryTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, SimMemoryTest, testing::Values(World{DRIVER_SIM, false}), world_name);

TEST_P(MemoryTest, ANodeOverItsBoundLosesTheConnectionThatHoldsMost)
{
    Node victim(runtime, with_memory);
    victim.start();
    ASSERT_EQ(p2p_node_handle(victim.node, "/stuck/1.0.0", 0, nullptr, nullptr), 0);
    EXPECT_EQ(victim.counter("memory_max"), 8 * MEBIBYTE);
    EXPECT_EQ(victim.counter("memory_held"), 0);
    {
        std::vector<std::unique_ptr<Filler>> fillers;
        for (int i = 0; i < 3; i++) {
            fillers.push_back(std::make_unique<Filler>(runtime, victim, &filled));
            fillers.back()->fill(victim, i == 1 ? 20 : 6);
        }
        EXPECT_EQ(victim.counter("connections_shed"), 0);
        EXPECT_GE(victim.counter("memory_held"), 32 * 200000);
        EXPECT_LE(victim.counter("memory_held"), 8 * MEBIBYTE);
        /* Not by the one that held most before. */
        for (int i = 0; i < 12 && victim.counter("connections_shed") == 0; i++) {
            struct p2p_stream *stream = fillers[2]->node.open(fillers[2]->victim, "/stuck/1.0.0");
            ASSERT_NE(stream, nullptr);
            fillers[2]->streams.push_back(stream);
            const std::string bytes(200000, 'x');
            ASSERT_EQ(p2p_stream_write_wait(stream, bytes.data(), bytes.size(), TEST_PATIENCE_MS), 200000);
            EXPECT_EQ(fillers[0]->ping(), 0);
            EXPECT_EQ(fillers[2]->ping(), 0);
            EXPECT_LE(victim.counter("memory_held"), 8 * MEBIBYTE * 11 / 10);
        }
        ASSERT_TRUE(reaches(victim, "connections_shed", 1, fillers[0]->node));
        struct p2p_event event = victim.await(P2P_EVENT_PEER_DISCONNECTED);
        EXPECT_EQ(event.id, fillers[1]->node.id());
        EXPECT_EQ(event.error, P2P_ERR_CONN_LIMIT);
        EXPECT_NE(std::string(event.text.text).find("memory of 8388608 bytes (p2p_config_memory)"), std::string::npos)
            << event.text.text;
        EXPECT_EQ(fillers[1]->node.await(P2P_EVENT_PEER_DISCONNECTED).error, P2P_ERR_CONN_GOAWAY);
        EXPECT_EQ(p2p_node_peers(victim.node), 2u);
        for (int i : {0, 2}) {
            EXPECT_EQ(fillers[i]->ping(), 0);
            struct p2p_stream *echo = fillers[i]->node.open(fillers[i]->victim, "/echo/1.0.0");
            ASSERT_NE(echo, nullptr);
            expect_echo(echo, std::string(100000, 'e'));
            p2p_stream_close(echo);
        }
        EXPECT_EQ(victim.counter("connections_shed"), 1);
        /* And whoever was closed may come again. */
        EXPECT_EQ(fillers[1]->node.connect(victim), 0);
        EXPECT_EQ(fillers[1]->ping(), 0);
    }
    EXPECT_TRUE(victim.reaches("sessions", 0));
    EXPECT_TRUE(victim.reaches("memory_held", 0));
    EXPECT_TRUE(victim.reaches("stream_bytes_held", 0));
    EXPECT_LE(victim.counter("memory_drawn"), 8 * MEBIBYTE / 16); /* two chunks a worker */
}

/* What is unread when a connection ends can be read, up to a part of the bound. */
TEST_P(MemoryTest, KeepsOfEndedConnectionsNoMoreThanAPart)
{
    enum { STREAMS = 12 };
    Node victim(runtime, with_memory);
    victim.start();
    ASSERT_EQ(p2p_node_handle(victim.node, "/stuck/1.0.0", 0, nullptr, nullptr), 0);
    {
        Filler filler(runtime, victim, &filled);
        filler.fill(victim, STREAMS);
        EXPECT_EQ(p2p_node_disconnect(victim.node, filler.node.id().c_str()), 0);
        ASSERT_TRUE(reaches(victim, "sessions", 0, filler.node));
    }
    EXPECT_EQ(victim.counter("memory_held"), 0);
    EXPECT_EQ(victim.counter("memory_left"), 5 * 200000); /* of an eighth of 8 MiB */
    int whole = 0;
    for (int i = 0; i < STREAMS; i++) {
        struct p2p_stream *stream = take(victim);
        std::string bytes(300000, '\0');
        int64_t count = 0, part;
        ASSERT_NE(stream, nullptr);
        while ((part = p2p_stream_read(stream, bytes.data(), bytes.size())) > 0)
            count += part;
        EXPECT_TRUE(count == 0 || count == 200000) << count;
        EXPECT_TRUE(part == P2P_ERR_CONN_CLOSED) << p2p_error_name(static_cast<int>(part));
        whole += count > 0;
        p2p_stream_close(stream);
    }
    EXPECT_EQ(whole, 5);
    EXPECT_TRUE(victim.reaches("memory_left", 0));
}

TEST_P(MemoryTest, CountsBuffersThatAreLentBeyondTheirConnection)
{
    Node victim(runtime, with_memory);
    struct p2p_buffer *buffer = nullptr;
    size_t length;
    victim.start();
    ASSERT_EQ(p2p_node_handle(victim.node, "/stuck/1.0.0", 0, nullptr, nullptr), 0);
    {
        Filler filler(runtime, victim, &filled);
        filler.fill(victim, 1);
        struct p2p_stream *stream = take(victim);
        ASSERT_EQ(p2p_stream_read_buffer(stream, &buffer), 0);
        length = p2p_buffer_length(buffer);
        p2p_stream_close(stream);
        EXPECT_TRUE(victim.reaches("stream_bytes_held", static_cast<int64_t>(length)));
        EXPECT_GE(victim.counter("memory_held"), static_cast<int64_t>(length));
    }
    ASSERT_TRUE(victim.reaches("sessions", 0));
    EXPECT_EQ(victim.counter("memory_held"), 0);
    EXPECT_EQ(victim.counter("memory_left"), static_cast<int64_t>(length));
    p2p_buffer_free(buffer);
    EXPECT_TRUE(victim.reaches("memory_left", 0));
}

TEST_P(MemoryTest, CountsWhatAPushTakesUntilItEnds)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    const int64_t idle = held_idle(b);
    struct p2p_stream *push = a.open(b.id(), "/ipfs/id/push/1.0.0");
    ASSERT_NE(push, nullptr);
    std::string part = "\xc0\x3e" + std::string(7000, '\0'); /* of 8,000 bytes */
    ASSERT_EQ(p2p_stream_write_wait(push, part.data(), part.size(), TEST_PATIENCE_MS), 7002);
    EXPECT_TRUE(b.reaches("memory_held", idle + 8192 + SESSION_IDLE_STREAM_BYTES));
    p2p_stream_close(push);
    EXPECT_TRUE(b.reaches("memory_held", idle));
}

/* As long as the peer is there.  Of lists that several told each has a share. */
TEST_P(MemoryTest, CountsWhatIsKeptOfAPeer)
{
    enum { BYTES = 8000, REST = SESSION_IDLE_STREAM_BYTES };
    Node victim(runtime);
    victim.start();
    {
        Node a(runtime);
        a.start();
        ASSERT_EQ(a.connect(victim), 0) << a.text.text;
        a.await(P2P_EVENT_PEER_IDENTIFIED);
        victim.await(P2P_EVENT_PEER_IDENTIFIED);
        const int64_t idle = held_idle(victim);
        push(a, victim.id(), protocols_of(BYTES, 'x'));
        auto begin = Clock::now();
        int64_t held;
        struct p2p_event event;
        while ((held = victim.counter("memory_held")) < BYTES * 9 / 10 || held > BYTES + REST) {
            ASSERT_LT(milliseconds_since(begin), TEST_PATIENCE_MS) << held;
            p2p_node_wait_event(victim.node, &event, 1);
        }
        push(a, victim.id(), protocols_of(100, 'x')); /* it forgets the rest */
        EXPECT_LE(held_idle(victim), idle + 100);
    }
    EXPECT_TRUE(victim.reaches("memory_held", 0));
}

/* A record is kept until it is opened, also of a peer that had much to say before. */
TEST_P(SimMemoryTest, CountsARecordUntilItIsOpened)
{
    for (bool bulk : {false, true}) {
        Node a(runtime), b(runtime, with_memory);
        a.start();
        b.start();
        ASSERT_EQ(a.connect(b), 0) << a.text.text;
        a.await(P2P_EVENT_PEER_IDENTIFIED);
        b.await(P2P_EVENT_PEER_IDENTIFIED);
        const int64_t young = held_idle(b);
        if (bulk) {
            struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
            ASSERT_NE(stream, nullptr);
            expect_echo(stream, std::string(2000000, 'x'));
            p2p_stream_close(stream);
            sim_world_run(world, nullptr, nullptr, 2000000000);
            EXPECT_EQ(held_idle(b), young);
        }
        sim_world_run(world, nullptr, nullptr, SESSION_REVIEW_NS);
        const int64_t reviewed = held_idle(b);
        EXPECT_LE(reviewed, young - 100); /* a key, a signature, an address */
        struct p2p_identity *identity = nullptr;
        ASSERT_EQ(p2p_node_identify(b.node, &identity, a.id().c_str(), TEST_PATIENCE_MS), 0);
        EXPECT_TRUE(identity->signed_record);
        p2p_identity_free(identity);
        EXPECT_EQ(b.counter("memory_held"), reviewed);
    }
}

/* A large buffer waits a second for more, and no look is taken meanwhile whether it has. */
TEST_P(MemoryTest, BulkThatStopsGivesItsBufferBack)
{
    enum { BYTES = 1 << 20 };
    Node a(runtime), b(runtime, with_memory);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    const int64_t idle = held_idle(b);
    struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
    ASSERT_NE(stream, nullptr);
    expect_echo(stream, std::string(BYTES, 'x'));
    EXPECT_TRUE(b.reaches("memory_held", idle + SESSION_IDLE_STREAM_BYTES));
    expect_echo(stream, "small");
    p2p_stream_close(stream);
    EXPECT_TRUE(b.reaches("memory_held", idle));
}

/* With a large buffer each to receive and another to send they would be over it. */
TEST_P(MemoryTest, ManyInBulkTakeLessEach)
{
    enum { PEERS = 24, BYTES = 100000, ROUNDS = 5 };
    Node victim(runtime, with_memory);
    std::vector<std::unique_ptr<Node>> peers;
    std::vector<struct p2p_stream *> streams;
    std::string text(BYTES, 'x'), echo(BYTES, ' ');
    victim.start();
    for (int i = 0; i < PEERS; i++) {
        peers.push_back(std::make_unique<Node>(runtime));
        peers[i]->start();
        ASSERT_EQ(peers[i]->connect(victim), 0) << peers[i]->text.text;
        streams.push_back(peers[i]->open(victim.id(), "/echo/1.0.0"));
        ASSERT_NE(streams[i], nullptr);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (struct p2p_stream *stream : streams)
            ASSERT_EQ(p2p_stream_write_wait(stream, text.data(), BYTES, TEST_PATIENCE_MS), BYTES);
        for (struct p2p_stream *stream : streams)
            ASSERT_EQ(p2p_stream_read_full(stream, echo.data(), BYTES, TEST_PATIENCE_MS), BYTES);
    }
    for (struct p2p_stream *stream : streams)
        p2p_stream_close(stream);
    EXPECT_EQ(victim.counter("connections_shed"), 0);
}

/* However many of them: each overtakes the one before. */
TEST_P(MemoryTest, PushesThatDoNotEndTakeNoMoreThanOne)
{
    enum { PUSHES = 256 };
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    a.await(P2P_EVENT_PEER_IDENTIFIED);
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    const int64_t idle = held_idle(b);
    std::string part = "\xc0\x3e" + std::string(7000, '\0'); /* of 8,000 bytes */
    std::vector<struct p2p_stream *> pushes;
    int64_t most = 0;
    for (int i = 0; i < PUSHES; i++) {
        pushes.push_back(a.open(b.id(), "/ipfs/id/push/1.0.0"));
        ASSERT_NE(pushes.back(), nullptr);
        p2p_stream_write_wait(pushes.back(), part.data(), part.size(), TEST_PATIENCE_MS);
        ASSERT_EQ(p2p_node_ping(a.node, nullptr, b.id().c_str(), TEST_PATIENCE_MS), 0); /* slowly: it is no bulk */
        most = std::max(most, b.counter("memory_held"));
    }
    EXPECT_GE(most, 8192 + SESSION_IDLE_STREAM_BYTES);
    EXPECT_LE(most, 4 * (8192 + SESSION_STREAM_BYTES)); /* while one overtakes the other, and for the ping */
    for (struct p2p_stream *push : pushes)
        p2p_stream_close(push);
    EXPECT_TRUE(b.reaches("memory_held", idle + SESSION_IDLE_STREAM_BYTES)); /* the stream of the pings is kept */
}

/* Windows grow from half of it. */
TEST_P(MemoryTest, WindowsGrowWithinTheNodes)
{
    auto little = [](struct p2p_config *config) {
        p2p_config_serve_echo(config, true);
        p2p_config_memory(config, 4 * MEBIBYTE);
    };
    Node a(runtime), b(runtime, little);
    uint64_t most = 0;
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
    ASSERT_NE(stream, nullptr);
    for (int i = 0; i < 10; i++) {
        expect_echo(stream, std::string(2000000, 'x'));
        most = std::max(most, __atomic_load_n(&b.node->memory->windows.used_bytes, __ATOMIC_RELAXED));
    }
    p2p_stream_close(stream);
    EXPECT_LE(most, 2u * MEBIBYTE);
    if (GetParam().driver == DRIVER_SIM) { /* elsewhere it is a question of time */
        EXPECT_GT(most, 0u);
    }
    EXPECT_TRUE(b.reaches("streams", 0));
    EXPECT_EQ(__atomic_load_n(&b.node->memory->windows.used_bytes, __ATOMIC_RELAXED), 0u);
    EXPECT_EQ(b.counter("connections_shed"), 0);
}

} // namespace
