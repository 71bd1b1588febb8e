#include "tests/unit/actors/stream_fixture.h"

#include <map>

/* Many streams over one connection. */

namespace {

enum {
    STREAMS = 1000,
    AT_ONCE = 256,
    BYTES_MAX = 5000,
    BACKLOG = 256, /* YAMUX_ACK_BACKLOG_STREAMS_MAX */
    INBOUND = 1024, /* YAMUX_STREAMS_IN_MAX */
};

size_t length_of(uint64_t key)
{
    return 1 + key * 7919 % BYTES_MAX;
}

struct StreamMany : StreamTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamMany, testing::Values(ALL_WORLDS), world_name);

/* Callbacks that open the next stream when one has ended. */
struct Crowd {
    struct Member {
        Crowd *crowd;
        uint64_t key;
        std::string got;
    };

    struct p2p_node *node;
    std::string peer;
    std::vector<Member> members;
    uint64_t begun = 0;
    std::atomic<uint64_t> done{0};
    std::atomic<int> wrong{0}, failed{0};

    void open_next()
    {
        const char *name = "/echo/many";
        if (begun == STREAMS)
            return;
        Member &member = members[begun];
        member = {this, begun++, ""};
        EXPECT_EQ(p2p_stream_open_inline(node, peer.c_str(), &name, 1, &callbacks, &member), 0);
    }

    static void opened(struct p2p_stream *stream, void *user)
    {
        auto *member = static_cast<Member *>(user);
        std::string bytes = flow(member->key, length_of(member->key));
        EXPECT_EQ(p2p_stream_write(stream, bytes.data(), bytes.size()), static_cast<int64_t>(bytes.size()));
        EXPECT_EQ(p2p_stream_close_write(stream), 0);
    }

    static void readable(struct p2p_stream *stream, void *user)
    {
        auto *member = static_cast<Member *>(user);
        Crowd *crowd = member->crowd;
        char bytes[1000];
        int64_t count;
        while ((count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
            member->got.append(bytes, static_cast<size_t>(count));
        if (count == P2P_ERR_CALL_AGAIN)
            return;
        crowd->wrong += count != P2P_ERR_STREAM_EOF || member->got != flow(member->key, length_of(member->key));
        p2p_stream_close(stream);
        crowd->done++;
        crowd->open_next();
    }

    static void ended(struct p2p_stream *stream, void *user, int)
    {
        static_cast<Member *>(user)->crowd->failed++;
        p2p_stream_close(stream);
    }

    static constexpr struct p2p_stream_callbacks callbacks = {opened, readable, nullptr, ended};
};

constexpr struct p2p_stream_callbacks Crowd::callbacks;

TEST_P(StreamMany, AThousandStreamsOfCallbacksShareAConnection)
{
    Crowd crowd;
    crowd.node = a->node;
    crowd.peer = b->id();
    crowd.members.resize(STREAMS);
    struct p2p_stream_callbacks server = echo_callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/echo/many", 0, &server, nullptr), 0);
    Heard heard; /* the crowd lives on the connection's worker from the beginning */
    const char *name = ENDS_PROTOCOL;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, &callbacks, &heard), 0);
    ASSERT_TRUE(until([&] { return heard.opened == 1; }));
    ASSERT_EQ(p2p_stream_run(heard.stream, [](struct p2p_stream *stream, void *argument) {
        for (int i = 0; i < AT_ONCE; i++)
            static_cast<Crowd *>(argument)->open_next();
        p2p_stream_close(stream);
    }, &crowd), 0);
    int64_t most = 0;
    ASSERT_TRUE(until([&] {
        most = std::max(most, b->counter("streams"));
        return crowd.done + static_cast<uint64_t>(crowd.failed.load()) == STREAMS;
    }, 3 * TEST_PATIENCE_MS));
    EXPECT_EQ(crowd.failed, 0);
    EXPECT_EQ(crowd.wrong, 0);
    EXPECT_LE(most, AT_ONCE + 10);
    Stream incoming(b->await(P2P_EVENT_STREAM_INCOMING).stream);
    incoming.reset();
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(a->counter("stream_bytes_held") + b->counter("stream_bytes_held"), 0);
}

/* A host with one loop for the events of both nodes. */
struct Loop {
    struct Member {
        uint64_t key;
        std::string got, back; /* back: read by the server, and not yet written */
    };

    Node *a, *b;
    std::map<struct p2p_stream *, Member> ours, theirs;
    uint64_t begun = 0, done = 0;
    int wrong = 0, failed = 0;
    size_t most = 0;

    void open_next()
    {
        const char *name = ENDS_PROTOCOL;
        if (begun < STREAMS) {
            EXPECT_EQ(p2p_stream_open_start(a->node, begun, b->id().c_str(), &name, 1), 0);
            begun++;
        }
    }

    void opened(const struct p2p_event &event)
    {
        std::string bytes = flow(event.request, length_of(event.request));
        ours[event.stream] = {event.request, "", ""};
        most = std::max(most, ours.size());
        EXPECT_EQ(p2p_stream_write(event.stream, bytes.data(), bytes.size()), static_cast<int64_t>(bytes.size()));
        EXPECT_EQ(p2p_stream_close_write(event.stream), 0);
    }

    static int64_t read_into(struct p2p_stream *stream, std::string *out)
    {
        char bytes[1000];
        int64_t count;
        while ((count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
            out->append(bytes, static_cast<size_t>(count));
        return count;
    }

    void our_bytes(struct p2p_stream *stream)
    {
        auto member = ours.find(stream);
        ASSERT_NE(member, ours.end());
        int64_t end = read_into(stream, &member->second.got);
        if (end == P2P_ERR_CALL_AGAIN)
            return;
        uint64_t key = member->second.key;
        wrong += end != P2P_ERR_STREAM_EOF || member->second.got != flow(key, length_of(key));
        ours.erase(member);
        p2p_stream_close(stream);
        done++;
        open_next();
    }

    void their_bytes(struct p2p_stream *stream)
    {
        auto member = theirs.find(stream);
        ASSERT_NE(member, theirs.end());
        int64_t end = read_into(stream, &member->second.back);
        if (end == P2P_ERR_CALL_AGAIN)
            return;
        const std::string &back = member->second.back;
        EXPECT_EQ(p2p_stream_write(stream, back.data(), back.size()), static_cast<int64_t>(back.size()));
        theirs.erase(member);
        p2p_stream_close(stream);
    }

    bool turn()
    {
        struct p2p_event event;
        bool any = false;
        while (p2p_node_next_event(a->node, &event) == 0) {
            any = true;
            if (event.type == P2P_EVENT_STREAM_OPENED)
                opened(event);
            else if (event.type == P2P_EVENT_STREAM_READABLE)
                our_bytes(event.stream);
            else
                failed += event.type == P2P_EVENT_STREAM_FAILED || event.type == P2P_EVENT_STREAM_OPEN_FAILED;
        }
        while (p2p_node_next_event(b->node, &event) == 0) {
            any = true;
            if (event.type == P2P_EVENT_STREAM_INCOMING)
                theirs[event.stream] = {};
            else if (event.type == P2P_EVENT_STREAM_READABLE)
                their_bytes(event.stream);
            else
                failed += event.type == P2P_EVENT_STREAM_FAILED;
        }
        return any;
    }
};

TEST_P(StreamMany, AThousandStreamsOfEventsShareAConnection)
{
    Loop loop;
    loop.a = a.get();
    loop.b = b.get();
    for (int i = 0; i < AT_ONCE; i++)
        loop.open_next();
    ASSERT_TRUE(until([&] {
        while (loop.turn())
            continue;
        return loop.done + static_cast<uint64_t>(loop.failed) >= STREAMS;
    }, 3 * TEST_PATIENCE_MS)) << loop.done << " " << loop.begun;
    EXPECT_EQ(loop.done, static_cast<uint64_t>(STREAMS));
    EXPECT_EQ(loop.failed, 0);
    EXPECT_EQ(loop.wrong, 0);
    EXPECT_LE(loop.most, static_cast<size_t>(AT_ONCE));
    EXPECT_TRUE(loop.ours.empty());
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(a->counter("stream_bytes_held") + b->counter("stream_bytes_held"), 0);
}

struct StreamCrowded : StreamMany {
    void configure(struct p2p_config *config) override { p2p_config_max_streams(config, 16384); }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamCrowded, testing::Values(ALL_WORLDS), world_name);

TEST_P(StreamCrowded, StreamsBeyondWhatAPeerTakesAreRefused)
{
    constexpr int count = INBOUND + 76;
    std::vector<Heard> heard(count);
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    const char *name = ENDS_PROTOCOL;
    for (Heard &each : heard)
        ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, &callbacks, &each), 0);
    auto sum = [&](std::atomic<int> Heard::*what) {
        int total = 0;
        for (Heard &each : heard)
            total += each.*what;
        return total;
    };
    ASSERT_TRUE(until([&] { return sum(&Heard::failed) == count - INBOUND; }));
    EXPECT_TRUE(until([&] { return b->counter("streams") == INBOUND && a->counter("streams") == INBOUND; }));
    EXPECT_EQ(sum(&Heard::opened), count);
    int64_t refused = 0;
    for (Heard &each : heard)
        refused += each.failed && each.error == P2P_ERR_STREAM_REFUSED && each.code == 0x1002;
    EXPECT_EQ(refused, count - INBOUND);
    struct p2p_event event;
    int incoming = 0;
    while (p2p_node_next_event(b->node, &event) == 0) {
        incoming += event.type == P2P_EVENT_STREAM_INCOMING;
        if (event.type == P2P_EVENT_STREAM_INCOMING)
            p2p_stream_close(event.stream);
    }
    EXPECT_EQ(incoming, INBOUND);
    for (Heard &each : heard)
        p2p_stream_close(each.stream);
    EXPECT_TRUE(is_quiet());
    expect_alive(open_ends()); /* there is room again */
}

struct StreamBound : StreamMany {
    void configure(struct p2p_config *config) override { p2p_config_max_streams(config, 2); }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamBound, testing::Values(ALL_WORLDS), world_name);

TEST_P(StreamBound, OpensBeyondTheBoundOfAConnectionWaitForTheirTurn)
{
    const char *name = ENDS_PROTOCOL;
    struct p2p_stream *third = nullptr;
    Stream first(a->open(b->id(), name)), second(a->open(b->id(), name));
    EXPECT_EQ(p2p_stream_open(a->node, &third, b->id().c_str(), &name, 1, 10, &a->text), P2P_ERR_CALL_TIMEOUT);
    ASSERT_EQ(p2p_stream_open_start(a->node, 3, b->id().c_str(), &name, 1), 0);
    p2p_stream_reset(first.release(), 0);
    auto opened = a->await(P2P_EVENT_STREAM_OPENED);
    EXPECT_EQ(opened.request, 3u);
    Stream last(opened.stream);
}

/* Where ten seconds are none. */
struct StreamBoundTime : StreamBound {
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamBoundTime, testing::Values(World{DRIVER_SIM, false}), world_name);

TEST_P(StreamBoundTime, AnOpenWhoseTurnDoesNotComeNamesTheBound)
{
    const char *name = ENDS_PROTOCOL;
    Stream first(a->open(b->id(), name)), second(a->open(b->id(), name));
    for (uint64_t request : {3, 4})
        ASSERT_EQ(p2p_stream_open_start(a->node, request, b->id().c_str(), &name, 1), 0);
    for (uint64_t request : {3, 4}) {
        auto failed = a->await(P2P_EVENT_STREAM_OPEN_FAILED, 20000);
        EXPECT_EQ(failed.request, request);
        EXPECT_EQ(failed.error, P2P_ERR_STREAM_LIMIT);
        EXPECT_NE(std::string(failed.text.text).find("2 streams of ours are open"), std::string::npos)
            << failed.text.text;
        EXPECT_NE(std::string(failed.text.text).find("p2p_config_max_streams"), std::string::npos);
    }
    EXPECT_EQ(a->counter("streams"), 2);
    p2p_stream_reset(first.release(), 0);
    EXPECT_TRUE(a->reaches("streams", 1));
    Stream third(a->open(b->id(), name)); /* nothing is left of those that failed */
}

struct StreamBacklog : StreamStill {
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamBacklog, testing::Values(REAL_WORLDS), world_name);

TEST_P(StreamBacklog, OpensBeyondTheBacklogWaitAndNoneIsLost)
{
    constexpr uint64_t more = 44, count = BACKLOG + more;
    ASSERT_NO_FATAL_FAILURE(join_still());
    int64_t before = a->counter("streams_out");
    const char *name = STILL_PROTOCOL;
    for (uint64_t i = 0; i < count; i++)
        ASSERT_EQ(p2p_stream_open_start(a->node, i, still->node.id().c_str(), &name, 1), 0);
    std::map<uint64_t, Stream> ours;
    struct p2p_event event;
    auto take_opened = [&] {
        while (p2p_node_next_event(a->node, &event) == 0) {
            EXPECT_NE(event.type, P2P_EVENT_STREAM_OPEN_FAILED) << event.error;
            if (event.type != P2P_EVENT_STREAM_OPENED)
                continue;
            EXPECT_EQ(ours.count(event.request), 0u) << "twice";
            ours[event.request] = Stream(event.stream);
            send(ours[event.request], flow(event.request, 100));
        }
    };
    ASSERT_TRUE(until([&] { return a->counter("streams") == static_cast<int64_t>(count); }));
    take_opened();
    EXPECT_EQ(ours.size(), static_cast<size_t>(BACKLOG));
    EXPECT_EQ(a->counter("streams_out") - before, BACKLOG);
    for (uint64_t i = 0; i < BACKLOG; i++)
        EXPECT_EQ(ours.count(i), 1u) << "in their order";

    /* One more finds no room in its time, and takes nobody's. */
    struct p2p_stream *none = nullptr;
    EXPECT_EQ(p2p_stream_open(a->node, &none, still->node.id().c_str(), &name, 1, 20, &a->text),
              P2P_ERR_CALL_TIMEOUT);
    EXPECT_TRUE(until([&] { return a->counter("streams") == static_cast<int64_t>(count); }, NEGOTIATION_MS / 2));

    std::map<uint64_t, int> got; /* by the first bytes */
    std::vector<Stream> theirs;
    std::map<struct p2p_stream *, std::string> bytes;
    ASSERT_TRUE(until_still([&] {
        take_opened();
        while (p2p_node_next_event(still->node.node, &event) == 0) {
            if (event.type == P2P_EVENT_STREAM_INCOMING)
                theirs.emplace_back(event.stream);
            if (event.type != P2P_EVENT_STREAM_READABLE)
                continue;
            char in[200];
            int64_t length = p2p_stream_read(event.stream, in, sizeof(in));
            bytes[event.stream].append(in, length > 0 ? static_cast<size_t>(length) : 0);
        }
        size_t whole = 0;
        for (const auto &each : bytes)
            whole += each.second.size() == 100;
        return whole == count;
    }));
    EXPECT_EQ(ours.size(), count);
    EXPECT_EQ(theirs.size(), count);
    for (uint64_t i = 0; i < count; i++) {
        int found = 0;
        for (const auto &each : bytes)
            found += each.second == flow(i, 100);
        EXPECT_EQ(found, 1) << i;
    }
    EXPECT_EQ(a->counter("streams_out") - before, static_cast<int64_t>(count));
}

}  // namespace
