#include "tests/unit/actors/stream_fixture.h"

/* How streams begin: protocols, handlers of both kinds, refusals. */

namespace {

struct StreamOpen : StreamTest {
    /* `b` serves it with EVENT streams, and `a` has been told. */
    void serve(const char *protocol, unsigned flags = 0)
    {
        ASSERT_EQ(p2p_node_handle(b->node, protocol, flags, nullptr, nullptr), 0);
        ASSERT_TRUE(flags & P2P_HANDLE_PREFIX || until([&] { return is_known(protocol); }));
    }

    bool is_known(const char *protocol)
    {
        struct p2p_identity *identity = nullptr;
        bool known = false;
        EXPECT_EQ(p2p_node_identify(a->node, &identity, b->id().c_str(), 0), 0);
        for (size_t i = 0; identity && i < identity->protocol_count; i++)
            known |= strcmp(identity->protocols[i], protocol) == 0;
        p2p_identity_free(identity);
        return known;
    }

    /* Both sides agree on `expected`, and bytes pass. */
    void expect_agreed(const std::vector<const char *> &protocols, const char *expected)
    {
        int error;
        Ends ends;
        ends.ours = open(protocols, &error);
        ASSERT_EQ(error, 0) << a->text.text;
        auto incoming = b->await(P2P_EVENT_STREAM_INCOMING);
        ends.theirs.reset(incoming.stream);
        ASSERT_TRUE(ends.theirs);
        EXPECT_EQ(incoming.id, a->id());
        EXPECT_STREQ(p2p_stream_protocol(ends.theirs.get()), expected);
        expect_alive(ends);
        EXPECT_STREQ(p2p_stream_protocol(ends.ours.get()), expected);
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamOpen, testing::Values(ALL_WORLDS), world_name);

TEST_P(StreamOpen, AgreesOnTheFirstProtocolThatThePeerIsKnownToTake)
{
    serve("/one/1.0.0");
    serve("/two/1.0.0");
    expect_agreed({"/one/1.0.0", "/two/1.0.0"}, "/one/1.0.0");
    expect_agreed({"/two/1.0.0", "/one/1.0.0"}, "/two/1.0.0");
    expect_agreed({"/none/1.0.0", "/two/1.0.0", "/one/1.0.0"}, "/two/1.0.0");
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamOpen, AsksForOneAfterTheOtherWhenNothingIsKnown)
{
    serve("/first/", P2P_HANDLE_PREFIX); /* prefixes are not told */
    serve("/second/", P2P_HANDLE_PREFIX);
    expect_agreed({"/first/a", "/second/a"}, "/first/a");
    expect_agreed({"/none/a", "/second/a"}, "/second/a");
    expect_agreed({"/none/a", "/none/b", "/none/c", "/second/b", "/first/b"}, "/second/b");
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamOpen, RefusesAListOfWhichNothingIsServed)
{
    int error;
    Stream stream = open({"/none/1", "/none/2", "/none/3"}, &error);
    EXPECT_EQ(error, P2P_ERR_STREAM_REFUSED);
    EXPECT_EQ(stream, nullptr);
    EXPECT_NE(std::string(a->text.text).find("/none/1"), std::string::npos) << a->text.text;
    EXPECT_NE(std::string(a->text.text).find(b->id()), std::string::npos) << a->text.text;

    const char *names[] = {"/none/1", "/none/2"};
    ASSERT_EQ(p2p_stream_open_start(a->node, 77, b->id().c_str(), names, 2), 0);
    auto event = a->await(P2P_EVENT_STREAM_OPEN_FAILED);
    EXPECT_EQ(event.request, 77u);
    EXPECT_EQ(event.error, P2P_ERR_STREAM_REFUSED);
    EXPECT_EQ(event.stream, nullptr);
    EXPECT_NE(std::string(event.text.text).find("/none/1"), std::string::npos) << event.text.text;

    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), names, 2, &callbacks, &heard), 0);
    ASSERT_TRUE(until([&] { return heard.failed == 1; }));
    EXPECT_EQ(heard.error, P2P_ERR_STREAM_REFUSED);
    EXPECT_EQ(heard.opened, 0);
    p2p_stream_close(heard.stream);
    EXPECT_TRUE(is_quiet());
    expect_alive(open_ends()); /* it cost nothing but the streams */
}

TEST_P(StreamOpen, TellsARefusalAtTheFirstReadWhenOneProtocolCostsNoRoundTrip)
{
    int error;
    Stream stream = open({"/none/1.0.0"}, &error);
    ASSERT_EQ(error, 0) << a->text.text;
    EXPECT_STREQ(p2p_stream_protocol(stream.get()), "/none/1.0.0");
    std::string bytes;
    EXPECT_EQ(read_some(stream, &bytes), P2P_ERR_STREAM_REFUSED);
    EXPECT_EQ(p2p_stream_write(stream.get(), "x", 1), P2P_ERR_STREAM_REFUSED);
    auto event = a->await(P2P_EVENT_STREAM_FAILED);
    EXPECT_EQ(event.stream, stream.get());
    EXPECT_EQ(event.error, P2P_ERR_STREAM_REFUSED);
    EXPECT_TRUE(is_quiet());
    expect_alive(open_ends());
}

TEST_P(StreamOpen, TellsARefusalToAWriterWhoWasFaster)
{
    for (int i = 0; i < 10; i++) {
        int error;
        Stream stream = open({"/none/1.0.0"}, &error);
        ASSERT_EQ(error, 0) << a->text.text;
        std::string bytes = flow(1, 50000);
        int64_t count = p2p_stream_write(stream.get(), bytes.data(), bytes.size());
        EXPECT_TRUE(count == P2P_ERR_STREAM_REFUSED || count == 50000) << count;
        EXPECT_EQ(p2p_stream_close_write(stream.get()), 0);
        EXPECT_EQ(read_some(stream, &bytes), P2P_ERR_STREAM_REFUSED);
    }
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamOpen, ServesAPrefixUnlessSomethingFitsBetter)
{
    serve("/app/", P2P_HANDLE_PREFIX);
    serve("/app/long/", P2P_HANDLE_PREFIX);
    serve("/app/long/exact");
    expect_agreed({"/app/x"}, "/app/x");
    expect_agreed({"/app/long/z"}, "/app/long/z");
    expect_agreed({"/app/long/exact"}, "/app/long/exact");
    int error;
    Stream stream = open({"/app", "/apps"}, &error); /* shorter than the prefix, and beside it */
    EXPECT_EQ(error, P2P_ERR_STREAM_REFUSED);
}

TEST_P(StreamOpen, ChoosesTheHandlerOfTheLongestPrefix)
{
    Heard shorter, longer, exact;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        Heard::on_opened(stream, user);
        p2p_stream_close(stream);
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/app/long/exact", 0, &callbacks, &exact), 0);
    ASSERT_EQ(p2p_node_handle(b->node, "/app/long/", P2P_HANDLE_PREFIX, &callbacks, &longer), 0);
    ASSERT_EQ(p2p_node_handle(b->node, "/app/", P2P_HANDLE_PREFIX, &callbacks, &shorter), 0);
    const struct {
        const char *protocol;
        Heard *heard;
    } cases[] = {{"/app/x", &shorter}, {"/app/long", &shorter}, {"/app/long/x", &longer}, {"/app/long/exact", &exact}};
    for (const auto &each : cases) {
        int before = each.heard->opened, error;
        Stream stream = open({each.protocol}, &error);
        ASSERT_EQ(error, 0);
        EXPECT_TRUE(until([&] { return each.heard->opened == before + 1; })) << each.protocol;
    }
    EXPECT_EQ(shorter.opened + longer.opened + exact.opened, 4);
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamOpen, RefusesWhatIsNoProposal)
{
    const std::string longest = "/" + std::string(P2P_PROTOCOL_BYTES_MAX - 2, 'x'), too_long = longest + "x";
    const std::vector<const char *> many(P2P_PROTOCOLS_MAX + 1, "/x"), none;
    const std::vector<std::vector<const char *>> wrong = {
        none, many, {""}, {nullptr}, {"/a", nullptr}, {too_long.c_str()}, {"/with space"}, {"/with\nnewline"},
    };
    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    for (const auto &each : wrong) {
        int error;
        Stream stream = open(each, &error);
        EXPECT_EQ(error, P2P_ERR_CALL_INVALID) << each.size();
        EXPECT_NE(a->text.text[0], '\0');
        EXPECT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), each.data(), each.size(), &callbacks, &heard),
                  P2P_ERR_CALL_INVALID);
    }
    int error;
    Stream stream = open({longest.c_str(), "/none"}, &error);
    EXPECT_EQ(error, P2P_ERR_STREAM_REFUSED);
    const char *name = "/x";
    EXPECT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, nullptr, nullptr), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(heard.opened + heard.failed, 0);
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamOpen, ProposesAsManyProtocolsAsOneMay)
{
    std::vector<std::string> names;
    std::vector<const char *> list;
    for (int i = 0; i < P2P_PROTOCOLS_MAX - 1; i++)
        names.push_back("/none/" + std::to_string(i) + "/" + std::string(200, 'n'));
    names.push_back("/last/taken");
    for (const auto &each : names)
        list.push_back(each.c_str());
    serve("/last/", P2P_HANDLE_PREFIX);
    expect_agreed(list, "/last/taken");
}

TEST_P(StreamOpen, NeedsAPeerThatIsConnected)
{
    struct p2p_stream *stream = nullptr;
    const char *name = ENDS_PROTOCOL;
    Node c(runtime);
    EXPECT_EQ(p2p_stream_open(a->node, &stream, c.id().c_str(), &name, 1, 1000, &a->text), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_NE(std::string(a->text.text).find("connect first"), std::string::npos) << a->text.text;
    for (const char *id : {"", "nonsense", static_cast<const char *>(nullptr)})
        EXPECT_EQ(p2p_stream_open(a->node, &stream, id, &name, 1, 1000, &a->text), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_stream_open(a->node, &stream, a->id().c_str(), &name, 1, 1000, nullptr), P2P_ERR_CALL_NOT_FOUND);
    ASSERT_EQ(p2p_stream_open_start(a->node, 5, c.id().c_str(), &name, 1), 0);
    auto event = a->await(P2P_EVENT_STREAM_OPEN_FAILED);
    EXPECT_EQ(event.request, 5u);
    EXPECT_EQ(event.error, P2P_ERR_CALL_NOT_FOUND);
    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    EXPECT_EQ(p2p_stream_open_inline(a->node, c.id().c_str(), &name, 1, &callbacks, &heard), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(p2p_node_disconnect(a->node, b->id().c_str()), 0);
    EXPECT_EQ(p2p_stream_open(a->node, &stream, b->id().c_str(), &name, 1, 1000, &a->text), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(stream, nullptr);
}

TEST_P(StreamOpen, TellsTheEventsOfAStreamInTheirOrder)
{
    const char *name = ENDS_PROTOCOL;
    ASSERT_EQ(p2p_stream_open_start(a->node, 42, b->id().c_str(), &name, 1), 0);
    auto opened = a->await(P2P_EVENT_STREAM_OPENED);
    Stream ours(opened.stream);
    ASSERT_TRUE(ours);
    EXPECT_EQ(opened.request, 42u);
    EXPECT_EQ(opened.id, b->id());
    send(ours, "hello");
    auto incoming = b->await(P2P_EVENT_STREAM_INCOMING);
    Stream theirs(incoming.stream);
    ASSERT_TRUE(theirs);
    auto readable = b->await(P2P_EVENT_STREAM_READABLE);
    EXPECT_EQ(readable.stream, theirs.get());
    char id[P2P_ID_TEXT_BYTES], bytes[8];
    EXPECT_EQ(p2p_stream_peer(theirs.get(), id), 0);
    EXPECT_EQ(id, a->id());
    EXPECT_EQ(p2p_stream_peer(ours.get(), id), 0);
    EXPECT_EQ(id, b->id());
    EXPECT_EQ(p2p_stream_node(theirs.get()), b->node);
    EXPECT_EQ(p2p_stream_user(theirs.get()), nullptr);
    p2p_stream_set_user(theirs.get(), this);
    EXPECT_EQ(p2p_stream_user(theirs.get()), this);
    EXPECT_EQ(p2p_stream_error_code(theirs.get()), 0u);
    EXPECT_EQ(p2p_stream_read(theirs.get(), bytes, sizeof(bytes)), 5);
    EXPECT_EQ(p2p_stream_read(theirs.get(), bytes, sizeof(bytes)), P2P_ERR_CALL_AGAIN);
    ours.reset();
    readable = b->await(P2P_EVENT_STREAM_READABLE); /* the end is something to read */
    EXPECT_EQ(readable.stream, theirs.get());
    EXPECT_EQ(p2p_stream_read(theirs.get(), bytes, sizeof(bytes)), P2P_ERR_STREAM_EOF);
}

TEST_P(StreamOpen, ServesWithCallbacksOnBothSides)
{
    struct Client {
        std::string sent = flow(3, 100000), got;
        size_t written = 0;
        std::atomic<bool> done{false};
        std::atomic<int> failed{0};
    } client;
    struct p2p_stream_callbacks callbacks = {};
    callbacks.opened = callbacks.writable = [](struct p2p_stream *stream, void *user) {
        auto *self = static_cast<Client *>(user);
        int64_t count = p2p_stream_write(stream, self->sent.data() + self->written, self->sent.size() - self->written);
        self->written += count > 0 ? static_cast<size_t>(count) : 0;
        if (self->written < self->sent.size())
            return;
        EXPECT_EQ(p2p_stream_close_write(stream), 0);
    };
    callbacks.readable = [](struct p2p_stream *stream, void *user) {
        auto *self = static_cast<Client *>(user);
        char bytes[5000];
        int64_t count;
        while ((count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
            self->got.append(bytes, static_cast<size_t>(count));
        if (count == P2P_ERR_CALL_AGAIN)
            return;
        EXPECT_EQ(count, P2P_ERR_STREAM_EOF);
        p2p_stream_close(stream);
        self->done = true;
    };
    callbacks.failed = [](struct p2p_stream *, void *user, int) { static_cast<Client *>(user)->failed++; };
    struct p2p_stream_callbacks server = echo_callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &server, nullptr), 0);
    const char *name = "/inline/1.0.0";
    ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, &callbacks, &client), 0);
    ASSERT_TRUE(until([&] { return client.done.load(); }));
    EXPECT_TRUE(client.got == client.sent);
    EXPECT_EQ(client.failed, 0);
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamOpen, GivesInlineStreamsTheHandlersUserAndTheirPeer)
{
    struct Facts {
        std::string id, protocol;
        struct p2p_node *node = nullptr;
        std::atomic<bool> done{false};
    } facts;
    struct p2p_stream_callbacks callbacks = {};
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        auto *self = static_cast<Facts *>(user);
        char id[P2P_ID_TEXT_BYTES];
        EXPECT_EQ(p2p_stream_user(stream), user);
        EXPECT_EQ(p2p_stream_peer(stream, id), 0);
        self->id = id;
        self->protocol = p2p_stream_protocol(stream);
        self->node = p2p_stream_node(stream);
        p2p_stream_set_user(stream, nullptr);
        self->done = true;
    };
    callbacks.readable = [](struct p2p_stream *stream, void *user) {
        EXPECT_EQ(user, nullptr);
        p2p_stream_close(stream);
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/facts/1.0.0", 0, &callbacks, &facts), 0);
    int error;
    Stream stream = open({"/facts/1.0.0"}, &error);
    ASSERT_EQ(error, 0);
    send(stream, "x");
    Digest digest;
    EXPECT_EQ(read_to_end(stream, &digest), P2P_ERR_STREAM_EOF);
    EXPECT_TRUE(facts.done);
    EXPECT_EQ(facts.id, a->id());
    EXPECT_EQ(facts.protocol, "/facts/1.0.0");
    EXPECT_EQ(facts.node, b->node);
}

TEST_P(StreamOpen, KnowsAProtocolOnce)
{
    EXPECT_EQ(p2p_node_handle(b->node, ENDS_PROTOCOL, 0, nullptr, nullptr), P2P_ERR_CALL_EXISTS);
    EXPECT_EQ(p2p_node_unhandle(b->node, "/none"), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(p2p_node_unhandle(b->node, nullptr), P2P_ERR_CALL_INVALID);
    for (const char *wrong : {"", "/with space", static_cast<const char *>(nullptr)})
        EXPECT_EQ(p2p_node_handle(b->node, wrong, 0, nullptr, nullptr), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_node_handle(b->node, "/flags", 2, nullptr, nullptr), P2P_ERR_CALL_INVALID);
}

TEST_P(StreamOpen, StreamsOutliveTheirHandler)
{
    struct p2p_stream_callbacks server = echo_callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &server, nullptr), 0);
    Ends ends = open_ends();
    Stream inlined(a->open(b->id(), "/inline/1.0.0"));
    expect_alive(ends);
    expect_echo(inlined.get(), flow(8, 1000));
    EXPECT_EQ(p2p_node_unhandle(b->node, ENDS_PROTOCOL), 0);
    EXPECT_EQ(p2p_node_unhandle(b->node, "/inline/1.0.0"), 0);
    expect_alive(ends, 5);
    expect_echo(inlined.get(), flow(9, 1000));
    EXPECT_STREQ(p2p_stream_protocol(ends.theirs.get()), ENDS_PROTOCOL);
    for (const char *gone : {ENDS_PROTOCOL, "/inline/1.0.0"}) {
        int error;
        std::string bytes;
        Stream refused = open({gone}, &error);
        ASSERT_EQ(error, 0);
        EXPECT_EQ(read_some(refused, &bytes), P2P_ERR_STREAM_REFUSED) << gone;
    }
    /* Served again, of the other kind. */
    ASSERT_EQ(p2p_node_handle(b->node, ENDS_PROTOCOL, 0, &server, nullptr), 0);
    Stream again(a->open(b->id(), ENDS_PROTOCOL));
    expect_echo(again.get(), flow(10, 1000));
    expect_alive(ends, 11);
}

TEST_P(StreamOpen, ABlockingOpenOnAWorkerDoesNothing)
{
    struct Seen {
        std::atomic<int> error{1};
        std::string peer;
    } seen;
    seen.peer = a->id();
    struct p2p_stream_callbacks callbacks = {};
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        auto *self = static_cast<Seen *>(user);
        struct p2p_stream *other = stream;
        const char *name = "/back/1.0.0";
        struct p2p_error_text text;
        self->error = p2p_stream_open(p2p_stream_node(stream), &other, self->peer.c_str(), &name, 1, 1000, &text);
        EXPECT_EQ(other, nullptr);
        p2p_stream_close(stream);
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &seen), 0);
    ASSERT_EQ(p2p_node_handle(a->node, "/back/1.0.0", 0, nullptr, nullptr), 0);
    ASSERT_TRUE(until([&] { return is_known("/inline/1.0.0"); }));
    ASSERT_TRUE(is_quiet()); /* what it had to tell is told */
    int64_t before = b->counter("streams_out");
    Stream stream(a->open(b->id(), "/inline/1.0.0"));
    Digest digest;
    EXPECT_EQ(read_to_end(stream, &digest), P2P_ERR_STREAM_EOF);
    stream.reset();
    EXPECT_EQ(seen.error, P2P_ERR_CALL_THREAD);
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(b->counter("streams_out"), before);
}

TEST_P(StreamOpen, AnOpenThatMeetsTheEndOfItsConnectionIsAnswered)
{
    const char *name = ENDS_PROTOCOL;
    for (int round = 0; round < 20; round++) {
        std::vector<Heard> heard(10);
        struct p2p_stream_callbacks callbacks = Heard::callbacks();
        Node &ending = round % 2 ? *a : *b;
        size_t inlined = 0, waiting = 0;
        for (size_t i = 0; i < heard.size(); i++) {
            if (i == heard.size() / 2) {
                ASSERT_EQ(p2p_node_disconnect(ending.node, (round % 2 ? b : a)->id().c_str()), 0);
            }
            int error = p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, &callbacks, &heard[inlined]);
            ASSERT_TRUE(error == 0 || error == P2P_ERR_CALL_NOT_FOUND) << error;
            inlined += error == 0;
            ASSERT_EQ(p2p_stream_open_start(a->node, i, b->id().c_str(), &name, 1), 0);
            waiting++;
        }
        for (size_t i = 0; i < inlined; i++) {
            ASSERT_TRUE(until([&] { return heard[i].failed == 1; })) << round << " " << i << " " << heard[i].opened;
            EXPECT_LE(heard[i].opened, 1);
            p2p_stream_close(heard[i].stream);
        }
        for (struct p2p_event event; waiting > 0;) {
            ASSERT_EQ(p2p_node_wait_event(a->node, &event, TEST_PATIENCE_MS), 0) << round;
            waiting -= event.type == P2P_EVENT_STREAM_OPENED || event.type == P2P_EVENT_STREAM_OPEN_FAILED;
            if (event.type == P2P_EVENT_STREAM_OPENED)
                p2p_stream_close(event.stream);
        }
        ASSERT_TRUE(a->reaches("connections", 0));
        ASSERT_TRUE(b->reaches("connections", 0));
        join();
    }
}

INSTANTIATE_TEST_SUITE_P(Drivers, StreamStill, testing::Values(REAL_WORLDS), world_name);

TEST_P(StreamStill, AnOpenWhoseTimeIsOverLeavesNothing)
{
    ASSERT_NO_FATAL_FAILURE(join_still());
    struct p2p_stream *stream = nullptr;
    const char *names[] = {"/none/1.0.0", "/still/none"};
    for (int timeout_ms : {0, 30}) {
        auto begin = Clock::now();
        EXPECT_EQ(p2p_stream_open(a->node, &stream, still->node.id().c_str(), names, 2, timeout_ms, &a->text),
                  P2P_ERR_CALL_TIMEOUT);
        EXPECT_GE(milliseconds_since(begin), timeout_ms);
        EXPECT_EQ(stream, nullptr);
        EXPECT_NE(std::string(a->text.text).find("/none/1.0.0"), std::string::npos) << a->text.text;
    }
    /* Long before the time that a negotiation has is over, and without a word of the peer. */
    EXPECT_TRUE(until([&] { return a->counter("streams") == 0; }, NEGOTIATION_MS / 2));
    EXPECT_TRUE(until_still([&] { return still->node.counter("streams") == 0; }));
    struct p2p_event event;
    while (p2p_node_next_event(still->node.node, &event) == 0)
        EXPECT_NE(event.type, P2P_EVENT_STREAM_INCOMING);
}

TEST_P(StreamStill, OneProtocolIsOpenWithoutAWordOfThePeer)
{
    ASSERT_NO_FATAL_FAILURE(join_still());
    Ends ends;
    ends.ours.reset(a->open(still->node.id(), STILL_PROTOCOL));
    ASSERT_TRUE(ends.ours);
    send(ends.ours, flow(1, 5000));
    EXPECT_EQ(p2p_stream_close_write(ends.ours.get()), 0);
    std::string bytes(5000, '\0');
    EXPECT_EQ(p2p_stream_read(ends.ours.get(), &bytes[0], 1), P2P_ERR_CALL_AGAIN);
    struct p2p_event event = {};
    ASSERT_TRUE(until_still([&] {
        return p2p_node_next_event(still->node.node, &event) == 0 && event.type == P2P_EVENT_STREAM_INCOMING;
    }));
    ends.theirs.reset(event.stream);
    int64_t got = 0;
    ASSERT_TRUE(until_still([&] {
        int64_t count = p2p_stream_read(ends.theirs.get(), &bytes[static_cast<size_t>(got)], bytes.size());
        got += count > 0 ? count : 0;
        return count == P2P_ERR_STREAM_EOF;
    }));
    EXPECT_EQ(got, 5000);
    EXPECT_TRUE(bytes == flow(1, 5000));
}

}  // namespace
