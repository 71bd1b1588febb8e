#include "tests/unit/actors/stream_fixture.h"

/* How streams end: by either side, with their connection, with their node. */

namespace {

struct StreamEnd : StreamTest {
    /* Takes what events wait, and what else comes until the connection is gone;
     * returns how often each stream was told to have failed, and with what. */
    std::vector<struct p2p_event> failures_until_disconnected(Node &node)
    {
        std::vector<struct p2p_event> failures;
        struct p2p_event event;
        bool gone = false;
        EXPECT_TRUE(until([&] {
            while (p2p_node_next_event(node.node, &event) == 0) {
                if (event.type == P2P_EVENT_STREAM_FAILED)
                    failures.push_back(event);
                gone |= event.type == P2P_EVENT_PEER_DISCONNECTED;
            }
            return gone && node.counter("connections") == 0;
        }));
        while (p2p_node_next_event(node.node, &event) == 0)
            if (event.type == P2P_EVENT_STREAM_FAILED)
                failures.push_back(event);
        return failures;
    }

    void expect_each_once(const std::vector<struct p2p_event> &failures, std::vector<struct p2p_stream *> streams,
                          int error)
    {
        EXPECT_EQ(failures.size(), streams.size());
        for (const auto &each : failures) {
            auto found = std::find(streams.begin(), streams.end(), each.stream);
            EXPECT_NE(found, streams.end()) << "twice, or nobody's";
            EXPECT_EQ(each.error, error);
            if (found != streams.end())
                streams.erase(found);
        }
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamEnd, testing::Values(ALL_WORLDS), world_name);

TEST_P(StreamEnd, AHalfClosedStreamGoesOnTheOtherWay)
{
    for (bool we_first : {true, false}) {
        Ends ends = open_ends();
        Stream &first = we_first ? ends.ours : ends.theirs, &second = we_first ? ends.theirs : ends.ours;
        Digest digest;
        expect_alive(ends);
        send(first, flow(1, 5000));
        EXPECT_EQ(p2p_stream_close_write(first.get()), 0);
        EXPECT_EQ(p2p_stream_write(first.get(), "x", 1), P2P_ERR_STREAM_CLOSED);
        EXPECT_EQ(p2p_stream_write_wait(first.get(), "x", 1, TEST_PATIENCE_MS), P2P_ERR_STREAM_CLOSED);
        expect_bytes(second, flow(1, 5000));
        EXPECT_EQ(read_to_end(second, &digest), P2P_ERR_STREAM_EOF);
        EXPECT_EQ(read_to_end(second, &digest), P2P_ERR_STREAM_EOF);
        for (uint64_t sent = 0; sent < 600000; sent += 200000) {
            send(second, flow(2, 200000, sent));
            expect_bytes(first, flow(2, 200000, sent));
        }
        EXPECT_EQ(p2p_stream_close_write(second.get()), 0);
        EXPECT_EQ(read_to_end(first, &digest), P2P_ERR_STREAM_EOF);
        EXPECT_EQ(digest.bytes, 0u);
        EXPECT_TRUE(is_quiet()) << "both have said their end: nothing is left but the handles";
    }
}

TEST_P(StreamEnd, ClosingTheSameDirectionAgainIsNoHarm)
{
    struct p2p_stream_callbacks callbacks = {};
    callbacks.readable = [](struct p2p_stream *stream, void *) {
        char bytes[100];
        int64_t count;
        while ((count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
            continue;
        if (count != P2P_ERR_STREAM_EOF)
            return;
        EXPECT_EQ(p2p_stream_write(stream, "end", 3), 3);
        EXPECT_EQ(p2p_stream_close_write(stream), 0);
        EXPECT_EQ(p2p_stream_close_write(stream), 0);
        EXPECT_EQ(p2p_stream_write(stream, "x", 1), P2P_ERR_STREAM_CLOSED);
        p2p_stream_close(stream);
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, nullptr), 0);
    Stream stream(a->open(b->id(), "/inline/1.0.0"));
    send(stream, "hello");
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(p2p_stream_close_write(stream.get()), 0);
    expect_bytes(stream, "end");
    Digest digest;
    EXPECT_EQ(read_to_end(stream, &digest), P2P_ERR_STREAM_EOF);
    EXPECT_EQ(p2p_stream_close_write(stream.get()), 0);
    stream.reset();
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamEnd, AResetIsSeenWithItsCode)
{
    for (uint32_t code : {0u, 1u, 0x1002u, 0xffffffffu}) {
        for (bool by_us : {true, false}) {
            Ends ends = open_ends(), other = open_ends();
            Stream &resetting = by_us ? ends.ours : ends.theirs, &hearing = by_us ? ends.theirs : ends.ours;
            Node &node = by_us ? *b : *a;
            expect_alive(ends);
            send(resetting, flow(1, 1000)); /* what was not read is dropped */
            send(hearing, flow(2, 100000));
            EXPECT_EQ(p2p_stream_error_code(hearing.get()), 0u);
            p2p_stream_reset(resetting.release(), code);
            auto event = node.await(P2P_EVENT_STREAM_FAILED);
            EXPECT_EQ(event.stream, hearing.get());
            EXPECT_EQ(event.error, P2P_ERR_STREAM_RESET);
            EXPECT_EQ(p2p_stream_error_code(hearing.get()), code);
            std::string bytes;
            EXPECT_EQ(read_some(hearing, &bytes), P2P_ERR_STREAM_RESET);
            EXPECT_EQ(p2p_stream_write(hearing.get(), "x", 1), P2P_ERR_STREAM_RESET);
            EXPECT_EQ(p2p_stream_close_write(hearing.get()), 0);
            hearing.reset();
            expect_alive(other);
        }
    }
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(a->counter("stream_bytes_held") + b->counter("stream_bytes_held"), 0);
}

TEST_P(StreamEnd, ACallbackHearsTheCodeOfAReset)
{
    Heard ours, theirs;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    callbacks.readable = [](struct p2p_stream *stream, void *) { p2p_stream_reset(stream, 77); };
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &theirs), 0);
    callbacks = Heard::callbacks();
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        Heard::on_opened(stream, user);
        EXPECT_EQ(p2p_stream_write(stream, "x", 1), 1);
    };
    callbacks.failed = [](struct p2p_stream *stream, void *user, int error) {
        char byte;
        EXPECT_EQ(p2p_stream_read(stream, &byte, 1), P2P_ERR_STREAM_RESET);
        EXPECT_EQ(p2p_stream_write(stream, &byte, 1), P2P_ERR_STREAM_RESET);
        Heard::on_failed(stream, user, error);
        p2p_stream_close(stream);
    };
    const char *name = "/inline/1.0.0";
    ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, &callbacks, &ours), 0);
    ASSERT_TRUE(until([&] { return ours.failed == 1; }));
    EXPECT_EQ(ours.error, P2P_ERR_STREAM_RESET);
    EXPECT_EQ(ours.code, 77u);
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(ours.failed, 1);
    EXPECT_EQ(theirs.failed, 0);
}

TEST_P(StreamEnd, WhoClosesWithBytesUnreadIsNoLongerHeldUp)
{
    Ends ends = open_ends();
    send(ends.theirs, flow(1, 200000));
    ASSERT_TRUE(until([&] { return a->counter("stream_bytes_held") == 200000; }));
    send(ends.ours, "goodbye");
    ends.ours.reset();
    EXPECT_TRUE(until([&] { return a->counter("stream_bytes_held") == 0; }));
    expect_bytes(ends.theirs, "goodbye");
    Digest digest;
    EXPECT_EQ(read_to_end(ends.theirs, &digest), P2P_ERR_STREAM_EOF);
    EXPECT_GT(p2p_stream_write(ends.theirs.get(), "more", 4), 0); /* which nobody will read */
    ends.theirs.reset();
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(a->counter("stream_bytes_held") + b->counter("stream_bytes_held"), 0);
}

TEST_P(StreamEnd, EachStreamHearsOnceOfTheEndOfItsConnection)
{
    constexpr int count = 12;
    std::vector<Ends> ends;
    std::vector<struct p2p_stream *> ours, theirs;
    Heard heard[count];
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    for (int i = 0; i < count; i++) {
        ends.push_back(open_ends());
        ours.push_back(ends.back().ours.get());
        theirs.push_back(ends.back().theirs.get());
        expect_alive(ends.back());
        const char *name = ENDS_PROTOCOL;
        ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &name, 1, &callbacks, &heard[i]), 0);
        Stream incoming(b->await(P2P_EVENT_STREAM_INCOMING).stream);
        theirs.push_back(incoming.get());
        ends.push_back({nullptr, std::move(incoming)});
    }
    send(ends[0].theirs, flow(5, 1000)); /* arrived before the end: it can be read */
    ASSERT_TRUE(until([&] { return a->counter("stream_bytes_held") == 1000; }));
    ASSERT_EQ(p2p_node_disconnect(b->node, a->id().c_str()), 0);
    expect_each_once(failures_until_disconnected(*a), ours, P2P_ERR_CONN_CLOSED);
    expect_each_once(failures_until_disconnected(*b), theirs, P2P_ERR_CONN_CLOSED);
    for (Heard &each : heard) {
        EXPECT_EQ(each.failed, 1);
        EXPECT_EQ(each.error, P2P_ERR_CONN_CLOSED);
        p2p_stream_close(each.stream);
    }
    expect_bytes(ends[0].ours, flow(5, 1000));
    for (const Ends &each : ends) {
        for (const Stream *end : {&each.ours, &each.theirs}) {
            if (!*end)
                continue;
            char id[P2P_ID_TEXT_BYTES], byte = 'x';
            EXPECT_EQ(p2p_stream_read(end->get(), &byte, 1), P2P_ERR_CONN_CLOSED);
            EXPECT_EQ(p2p_stream_read_wait(end->get(), &byte, 1, -1), P2P_ERR_CONN_CLOSED);
            EXPECT_EQ(p2p_stream_write(end->get(), &byte, 1), P2P_ERR_CONN_CLOSED);
            EXPECT_EQ(p2p_stream_write_wait(end->get(), &byte, 1, -1), P2P_ERR_CONN_CLOSED);
            EXPECT_EQ(p2p_stream_close_write(end->get()), 0);
            EXPECT_EQ(p2p_stream_error_code(end->get()), 0u);
            EXPECT_EQ(p2p_stream_peer(end->get(), id), 0);
            EXPECT_STREQ(p2p_stream_protocol(end->get()), ENDS_PROTOCOL);
        }
    }
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamEnd, WhatAPeerHasFinishedStaysWholeWhenTheConnectionEnds)
{
    Ends whole = open_ends(), cut = open_ends();
    Sink sink;
    struct p2p_stream_callbacks callbacks = Sink::callbacks();
    ASSERT_EQ(p2p_node_handle(a->node, "/sink/1.0.0", 0, &callbacks, &sink), 0);
    Stream inlined(b->open(a->id(), "/sink/1.0.0"));
    for (const Stream *each : {&whole.theirs, &cut.theirs, &inlined})
        send(*each, flow(1, 3000));
    EXPECT_EQ(p2p_stream_close_write(whole.theirs.get()), 0);
    EXPECT_EQ(p2p_stream_close_write(inlined.get()), 0);
    ASSERT_TRUE(until([&] { return a->counter("stream_bytes_held") == 9000; }));
    uint64_t rtt_ns; /* behind the FINs */
    ASSERT_EQ(p2p_node_ping(b->node, &rtt_ns, a->id().c_str(), TEST_PATIENCE_MS), 0);
    ASSERT_EQ(p2p_node_disconnect(b->node, a->id().c_str()), 0);
    a->await(P2P_EVENT_PEER_DISCONNECTED);
    Digest digest;
    expect_bytes(whole.ours, flow(1, 3000));
    EXPECT_EQ(read_to_end(whole.ours, &digest), P2P_ERR_STREAM_EOF);
    expect_bytes(cut.ours, flow(1, 3000));
    EXPECT_EQ(read_to_end(cut.ours, &digest), P2P_ERR_CONN_CLOSED);
    EXPECT_EQ(p2p_stream_write(whole.ours.get(), "x", 1), P2P_ERR_CONN_CLOSED);
    sink.open = true;
    ASSERT_EQ(p2p_stream_run(sink.stream, [](struct p2p_stream *its, void *user) { Sink::on_readable(its, user); },
                             &sink), 0);
    ASSERT_TRUE(until([&] { return sink.done.load(); }));
    EXPECT_EQ(sink.end, P2P_ERR_STREAM_EOF);
    EXPECT_EQ(sink.digest.bytes, 3000u);
}

TEST_P(StreamEnd, AStreamThatBothHaveFinishedHearsOfNoOtherEnd)
{
    Ends done = open_ends(), open = open_ends();
    send(done.theirs, flow(1, 3000));
    EXPECT_EQ(p2p_stream_close_write(done.theirs.get()), 0);
    EXPECT_EQ(p2p_stream_close_write(done.ours.get()), 0);
    ASSERT_TRUE(until([&] { return a->counter("stream_bytes_held") == 3000 && b->counter("streams") == 1; }));
    struct p2p_stream *failing = open.ours.get();
    ASSERT_EQ(p2p_node_disconnect(b->node, a->id().c_str()), 0);
    expect_each_once(failures_until_disconnected(*a), {failing}, P2P_ERR_CONN_CLOSED);
    expect_bytes(done.ours, flow(1, 3000));
    Digest digest;
    EXPECT_EQ(read_to_end(done.ours, &digest), P2P_ERR_STREAM_EOF);
    EXPECT_EQ(p2p_stream_write(done.ours.get(), "x", 1), P2P_ERR_STREAM_CLOSED);
}

TEST_P(StreamEnd, AnInlineStreamIsTouchedOnItsWorkerOnly)
{
    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &heard), 0);
    Stream ours(a->open(b->id(), "/inline/1.0.0"));
    send(ours, "hello");
    ASSERT_TRUE(until([&] { return heard.readable > 0; }));
    struct p2p_stream *stream = heard.stream;
    struct p2p_buffer *buffer = nullptr;
    char bytes[8];
    EXPECT_EQ(p2p_stream_read(stream, bytes, sizeof(bytes)), P2P_ERR_CALL_THREAD);
    EXPECT_EQ(p2p_stream_write(stream, bytes, sizeof(bytes)), P2P_ERR_CALL_THREAD);
    EXPECT_EQ(p2p_stream_read_wait(stream, bytes, sizeof(bytes), 0), P2P_ERR_CALL_THREAD);
    EXPECT_EQ(p2p_stream_read_buffer(stream, &buffer), P2P_ERR_CALL_THREAD);
    EXPECT_EQ(p2p_stream_write_buffer(stream, p2p_buffer_new(b->node, 5)), P2P_ERR_CALL_THREAD);
    EXPECT_EQ(p2p_stream_close_write(stream), P2P_ERR_CALL_THREAD);
    std::string got;
    struct Run {
        std::string got;
        std::atomic<bool> done{false};
    } run;
    ASSERT_EQ(p2p_stream_run(stream, [](struct p2p_stream *its, void *argument) {
        auto *self = static_cast<Run *>(argument);
        char in[8];
        int64_t count = p2p_stream_read(its, in, sizeof(in));
        self->got.assign(in, count > 0 ? static_cast<size_t>(count) : 0);
        EXPECT_EQ(p2p_stream_write(its, "there", 5), 5);
        self->done = true;
    }, &run), 0);
    ASSERT_TRUE(until([&] { return run.done.load(); }));
    EXPECT_EQ(run.got, "hello");
    expect_bytes(ours, "there");
    p2p_stream_close(stream); /* this may be said from anywhere */
    Digest digest;
    EXPECT_EQ(read_to_end(ours, &digest), P2P_ERR_STREAM_EOF);
    ours.reset();
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamEnd, AnInlineStreamIsResetFromAnywhere)
{
    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &heard), 0);
    Stream ours(a->open(b->id(), "/inline/1.0.0"));
    send(ours, "hello");
    ASSERT_TRUE(until([&] { return heard.readable > 0; }));
    p2p_stream_reset(heard.stream, 5);
    Digest digest;
    EXPECT_EQ(read_to_end(ours, &digest), P2P_ERR_STREAM_RESET);
    EXPECT_EQ(p2p_stream_error_code(ours.get()), 5u);
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(heard.failed, 0);
}

TEST_P(StreamEnd, AFunctionRunsOnTheWorkerAfterTheConnectionToo)
{
    struct Run {
        std::atomic<int> count{0};
        int64_t read = 0;
    } run;
    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &heard), 0);
    Stream ours(a->open(b->id(), "/inline/1.0.0"));
    send(ours, "hello");
    ASSERT_TRUE(until([&] { return heard.readable > 0; }));
    ASSERT_EQ(p2p_node_disconnect(a->node, b->id().c_str()), 0);
    ASSERT_TRUE(until([&] { return heard.failed == 1 && b->counter("connections") == 0; }));
    auto read = [](struct p2p_stream *stream, void *argument) {
        auto *self = static_cast<Run *>(argument);
        char bytes[8];
        self->read = p2p_stream_read(stream, bytes, sizeof(bytes));
        self->count++;
    };
    for (int i = 1; i <= 2; i++) {
        ASSERT_EQ(p2p_stream_run(heard.stream, read, &run), 0);
        ASSERT_TRUE(until([&] { return run.count == i; }));
        EXPECT_EQ(run.read, i == 1 ? 5 : P2P_ERR_CONN_CLOSED);
    }
    p2p_stream_close(heard.stream);
    EXPECT_EQ(p2p_node_close(b->node, 3000), 0);
    EXPECT_EQ(b->counter("actors"), 0);
}

TEST_P(StreamEnd, AFunctionDoesNotRunOnAStreamThatWasClosed)
{
    std::atomic<int> runs{0}, opened{0};
    struct Counts {
        std::atomic<int> *runs, *opened;
    } counts = {&runs, &opened};
    struct p2p_stream_callbacks callbacks = {};
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        auto run = [](struct p2p_stream *, void *argument) { ++*static_cast<Counts *>(argument)->runs; };
        EXPECT_EQ(p2p_stream_run(stream, run, user), 0);
        p2p_stream_close(stream);
        ++*static_cast<Counts *>(user)->opened;
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &counts), 0);
    Stream ours(a->open(b->id(), "/inline/1.0.0"));
    Digest digest;
    EXPECT_EQ(read_to_end(ours, &digest), P2P_ERR_STREAM_EOF);
    ours.reset();
    ASSERT_TRUE(is_quiet());
    EXPECT_EQ(p2p_node_close(b->node, 3000), 0);
    EXPECT_EQ(opened, 1);
    EXPECT_EQ(runs, 0);
}

TEST_P(StreamEnd, ANodeThatClosesTellsItsStreamsAndItsPeers)
{
    Ends ends = open_ends();
    expect_alive(ends);
    Heard heard;
    struct p2p_stream_callbacks callbacks = Heard::callbacks();
    const char *name = ENDS_PROTOCOL;
    ASSERT_EQ(p2p_stream_open_inline(b->node, a->id().c_str(), &name, 1, &callbacks, &heard), 0);
    ASSERT_TRUE(until([&] { return heard.failed == 1; })); /* refused: it is not served there */
    p2p_stream_close(heard.stream);
    ASSERT_EQ(p2p_node_handle(a->node, "/kept/1.0.0", 0, nullptr, nullptr), 0);
    name = "/kept/1.0.0";
    ASSERT_EQ(p2p_stream_open_inline(b->node, a->id().c_str(), &name, 1, &callbacks, &heard), 0);
    Stream kept(a->await(P2P_EVENT_STREAM_INCOMING).stream);
    ASSERT_EQ(p2p_stream_open_start(b->node, 6, a->id().c_str(), &name, 1), 0);
    EXPECT_EQ(p2p_node_close(b->node, 3000), 0);
    EXPECT_EQ(p2p_stream_open_start(b->node, 7, a->id().c_str(), &name, 1), P2P_ERR_NODE_CLOSING);
    struct p2p_stream *none = nullptr;
    EXPECT_EQ(p2p_stream_open(b->node, &none, a->id().c_str(), &name, 1, -1, &b->text), P2P_ERR_NODE_CLOSING);
    EXPECT_EQ(p2p_stream_open_inline(b->node, a->id().c_str(), &name, 1, &callbacks, &heard), P2P_ERR_NODE_CLOSING);
    for (const char *gauge : {"actors", "streams", "sessions", "connections", "stream_bytes_held"})
        EXPECT_EQ(b->counter(gauge), 0) << gauge;

    struct p2p_event event;
    int failed = 0, answered = 0;
    Stream late;
    do {
        ASSERT_EQ(p2p_node_next_event(b->node, &event), 0);
        if (event.type == P2P_EVENT_STREAM_FAILED && event.stream == ends.theirs.get()) {
            EXPECT_EQ(event.error, P2P_ERR_NODE_CLOSING);
            failed++;
        }
        answered += event.request == 6;
        if (event.type == P2P_EVENT_STREAM_OPENED)
            late.reset(event.stream);
    } while (event.type != P2P_EVENT_NODE_CLOSED);
    EXPECT_EQ(failed, 1);
    EXPECT_EQ(answered, 1);
    EXPECT_EQ(p2p_node_next_event(b->node, &event), P2P_ERR_CALL_AGAIN);
    EXPECT_EQ(heard.failed, 2);
    EXPECT_EQ(heard.error, P2P_ERR_NODE_CLOSING);
    p2p_stream_close(heard.stream);
    Digest digest;
    EXPECT_EQ(read_to_end(ends.theirs, &digest), P2P_ERR_NODE_CLOSING);
    EXPECT_EQ(read_to_end(ends.ours, &digest), P2P_ERR_CONN_GOAWAY);
    EXPECT_EQ(read_to_end(kept, &digest), P2P_ERR_CONN_GOAWAY);
}

/* Callbacks that carry a transfer on while the test looks elsewhere. */
TEST_P(StreamEnd, OneOfThreeClosesInMidTransferAndTheOthersGoOn)
{
    Node c(runtime);
    c.start();
    ASSERT_EQ(c.connect(*b), 0) << c.text.text;
    ASSERT_EQ(c.connect(*a), 0) << c.text.text;
    c.await(P2P_EVENT_PEER_IDENTIFIED);
    Source from_a, from_c;
    from_a.total = 6 << 20;
    from_c.total = uint64_t(1) << 40; /* it will not end by itself */
    Sink of_a, of_c;
    of_a.open = of_c.open = true;
    struct p2p_stream_callbacks reader = Sink::callbacks(), writer = Source::callbacks();
    reader.failed = [](struct p2p_stream *stream, void *user, int error) {
        p2p_stream_close(stream);
        static_cast<Sink *>(user)->end = error;
        static_cast<Sink *>(user)->done = true;
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/from/a", 0, &reader, &of_a), 0);
    ASSERT_EQ(p2p_node_handle(b->node, "/from/c", 0, &reader, &of_c), 0);
    const char *a_name = "/from/a", *c_name = "/from/c";
    ASSERT_EQ(p2p_stream_open_inline(c.node, b->id().c_str(), &c_name, 1, &writer, &from_c), 0);
    ASSERT_TRUE(until([&] { return c.counter("bytes_out") > 1 << 20; }));
    ASSERT_EQ(p2p_stream_open_inline(a->node, b->id().c_str(), &a_name, 1, &writer, &from_a), 0);
    ASSERT_TRUE(until([&] { return a->counter("bytes_out") > 1 << 18; }));

    auto begin = Clock::now();
    EXPECT_EQ(p2p_node_close(c.node, 3000), 0);
    EXPECT_LT(milliseconds_since(begin), 3000);
    for (const char *gauge : {"actors", "streams", "sessions", "connections", "stream_bytes_held"})
        EXPECT_EQ(c.counter(gauge), 0) << gauge;
    EXPECT_EQ(from_c.failed, 1);
    struct p2p_event event = {}, last = {};
    while (p2p_node_next_event(c.node, &event) == 0)
        last = event;
    EXPECT_EQ(last.type, P2P_EVENT_NODE_CLOSED);

    ASSERT_TRUE(until([&] { return of_a.done && of_c.done; }));
    EXPECT_EQ(of_a.end, P2P_ERR_STREAM_EOF);
    Digest expected;
    std::string bytes = flow(from_a.key, from_a.total);
    expected.add(bytes.data(), bytes.size());
    EXPECT_EQ(of_a.digest.text(), expected.text());
    EXPECT_EQ(of_c.end, P2P_ERR_CONN_GOAWAY);
    EXPECT_EQ(p2p_node_peers(b->node), 1u);
    EXPECT_EQ(from_a.failed, 0);
}

}  // namespace
