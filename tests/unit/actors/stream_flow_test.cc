#include "tests/unit/actors/stream_fixture.h"

/* Streams in full flow: back-pressure, blocking calls and their time. */

namespace {

enum {
    WINDOW_BYTES = 262144, /* YAMUX_WINDOW_BYTES_MIN */
    SLACK_BYTES = 1024,    /* what the negotiation took of the window */
    MEBIBYTE = 1 << 20,
};

struct StreamFlow : StreamTest {
    /* Writes the flow without waiting until nothing is taken any more: our queue
     * and the peer's window are full.  Returns how much of it has gone. */
    uint64_t fill(const Stream &stream, uint64_t key, uint64_t total)
    {
        uint64_t sent = 0;
        EXPECT_TRUE(until([&] {
            int64_t count;
            do {
                std::string bytes = flow(key, std::min<uint64_t>(65536, total - sent), sent);
                count = p2p_stream_write(stream.get(), bytes.data(), bytes.size());
                sent += count > 0 ? static_cast<uint64_t>(count) : 0;
            } while (count > 0);
            EXPECT_EQ(count, P2P_ERR_CALL_AGAIN);
            return a->counter("stream_bytes_held") >= P2P_STREAM_SEND_BYTES_MAX &&
                   b->counter("stream_bytes_held") >= WINDOW_BYTES - SLACK_BYTES;
        }));
        EXPECT_TRUE(until([&] { return held() == static_cast<int64_t>(sent); }));
        EXPECT_EQ(p2p_stream_write(stream.get(), "x", 1), P2P_ERR_CALL_AGAIN);
        return sent;
    }

    int64_t held() { return a->counter("stream_bytes_held") + b->counter("stream_bytes_held"); }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamFlow, testing::Values(ALL_WORLDS), world_name);

TEST_P(StreamFlow, AReaderThatNeverReadsStopsItsWriter)
{
    const uint64_t total = 4 * MEBIBYTE;
    Ends ends = open_ends();
    uint64_t sent = fill(ends.ours, 1, total);
    EXPECT_LE(sent, static_cast<uint64_t>(P2P_STREAM_SEND_BYTES_MAX + WINDOW_BYTES + SLACK_BYTES));
    struct p2p_event event;
    while (p2p_node_next_event(a->node, &event) == 0) /* a WRITABLE before the last write is told, too */
        EXPECT_TRUE(event.type == P2P_EVENT_STREAM_WRITABLE || event.type < P2P_EVENT_STREAM_INCOMING) << event.type;

    Digest got, expected;
    std::string bytes;
    while (got.bytes < sent) {
        ASSERT_GT(read_some(ends.theirs, &bytes), 0);
        got.add(bytes.data(), bytes.size());
    }
    EXPECT_EQ(a->await(P2P_EVENT_STREAM_WRITABLE).stream, ends.ours.get());
    while (sent < total) {
        bytes = flow(1, std::min<uint64_t>(65536, total - sent), sent);
        send(ends.ours, bytes);
        sent += bytes.size();
        std::string back(bytes.size(), '\0');
        ASSERT_EQ(p2p_stream_read_full(ends.theirs.get(), &back[0], back.size(), TEST_PATIENCE_MS),
                  static_cast<int64_t>(back.size()));
        got.add(back.data(), back.size());
    }
    EXPECT_EQ(p2p_stream_close_write(ends.ours.get()), 0);
    EXPECT_EQ(read_to_end(ends.theirs, &got), P2P_ERR_STREAM_EOF);
    bytes = flow(1, total);
    expected.add(bytes.data(), bytes.size());
    EXPECT_EQ(got.text(), expected.text());
    EXPECT_TRUE(until([&] { return held() == 0; }));
}

TEST_P(StreamFlow, AReaderThatNeverReadsStopsACallbackToo)
{
    Source source;
    source.total = 3 * MEBIBYTE + 12345;
    struct p2p_stream_callbacks callbacks = Source::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/source/1.0.0", 0, &callbacks, &source), 0);
    Stream stream(a->open(b->id(), "/source/1.0.0"));
    ASSERT_TRUE(stream);
    ASSERT_TRUE(until([&] {
        return a->counter("stream_bytes_held") >= WINDOW_BYTES - SLACK_BYTES && source.stopped_at > 0 &&
               b->counter("stream_bytes_held") > P2P_STREAM_SEND_BYTES_MAX / 2;
    }));
    EXPECT_LE(held(), static_cast<int64_t>(P2P_STREAM_SEND_BYTES_MAX + WINDOW_BYTES + SLACK_BYTES));
    EXPECT_FALSE(source.done);
    Digest got, expected;
    EXPECT_EQ(read_to_end(stream, &got), P2P_ERR_STREAM_EOF);
    std::string bytes = flow(2, source.total);
    expected.add(bytes.data(), bytes.size());
    EXPECT_EQ(got.text(), expected.text());
    EXPECT_TRUE(source.done);
    EXPECT_GT(source.writable, 0);
    EXPECT_EQ(source.failed, 0);
    stream.reset();
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamFlow, ACallbackThatReadsLaterGetsAll)
{
    const uint64_t total = 2 * MEBIBYTE + 4096;
    Sink sink;
    struct p2p_stream_callbacks callbacks = Sink::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/sink/1.0.0", 0, &callbacks, &sink), 0);
    Stream stream(a->open(b->id(), "/sink/1.0.0"));
    uint64_t sent = fill(stream, 3, total);
    sink.open = true;
    /* Nothing more arrives to call it: it is asked to look. */
    ASSERT_EQ(p2p_stream_run(sink.stream, [](struct p2p_stream *its, void *user) { Sink::on_readable(its, user); },
                             &sink), 0);
    while (sent < total) {
        std::string bytes = flow(3, std::min<uint64_t>(65536, total - sent), sent);
        send(stream, bytes);
        sent += bytes.size();
    }
    EXPECT_EQ(p2p_stream_close_write(stream.get()), 0);
    ASSERT_TRUE(until([&] { return sink.done.load(); }));
    EXPECT_EQ(sink.end, P2P_ERR_STREAM_EOF);
    Digest expected;
    std::string bytes = flow(3, total);
    expected.add(bytes.data(), bytes.size());
    EXPECT_EQ(sink.digest.text(), expected.text());
    stream.reset();
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamFlow, ManyMegabytesPassBothWaysAtOnce)
{
    constexpr uint64_t total = 8 * MEBIBYTE + 777;
    Source source;
    source.total = total;
    struct p2p_stream_callbacks callbacks = Source::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/source/1.0.0", 0, &callbacks, &source), 0);
    Sink sink;
    sink.open = true;
    struct p2p_stream_callbacks reader = Sink::callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/sink/1.0.0", 0, &reader, &sink), 0);
    Stream in(a->open(b->id(), "/source/1.0.0")), out(a->open(b->id(), "/sink/1.0.0"));
    Digest got, expected, sent_digest;
    std::string bytes;
    for (uint64_t sent = 0; sent < total;) {
        bytes = flow(4, std::min<uint64_t>(262144, total - sent), sent);
        send(out, bytes);
        sent += bytes.size();
        sent_digest.add(bytes.data(), bytes.size());
        while (got.bytes < sent) {
            ASSERT_GT(read_some(in, &bytes), 0);
            got.add(bytes.data(), bytes.size());
        }
    }
    EXPECT_EQ(p2p_stream_close_write(out.get()), 0);
    EXPECT_EQ(read_to_end(in, &got), P2P_ERR_STREAM_EOF);
    bytes = flow(2, total);
    expected.add(bytes.data(), bytes.size());
    EXPECT_EQ(got.text(), expected.text());
    ASSERT_TRUE(until([&] { return sink.done.load(); }));
    EXPECT_EQ(sink.digest.text(), sent_digest.text());
}

TEST_P(StreamFlow, AReadWhoseTimeIsOverLosesNothing)
{
    Ends ends = open_ends();
    char bytes[16];
    for (int timeout_ms : {0, 20}) {
        auto begin = Clock::now();
        EXPECT_EQ(p2p_stream_read_wait(ends.theirs.get(), bytes, sizeof(bytes), timeout_ms), P2P_ERR_CALL_TIMEOUT);
        EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), bytes, sizeof(bytes), timeout_ms), P2P_ERR_CALL_TIMEOUT);
        EXPECT_TRUE(world || milliseconds_since(begin) >= 2 * timeout_ms);
    }
    expect_alive(ends);
}

TEST_P(StreamFlow, AFullReadTellsWhatItGotBeforeItsTimeWasOver)
{
    Ends ends = open_ends();
    std::string bytes(1000, '\0');
    send(ends.ours, flow(1, 304));
    EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), &bytes[0], 0, TEST_PATIENCE_MS), 0);
    /* Some may come later than others, but none are lost. */
    size_t got = 0;
    for (int tries = 0; got < 304 && tries < 500; tries++) {
        int64_t count = p2p_stream_read_full(ends.theirs.get(), &bytes[got], bytes.size() - got, 20);
        ASSERT_TRUE(count > 0 || count == P2P_ERR_CALL_TIMEOUT) << count;
        got += count > 0 ? static_cast<size_t>(count) : 0;
    }
    ASSERT_EQ(got, 304u);
    EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), &bytes[got], 1, 0), P2P_ERR_CALL_TIMEOUT);
    send(ends.ours, flow(1, 96, 304));
    EXPECT_EQ(p2p_stream_close_write(ends.ours.get()), 0);
    /* The end gives what there is; then it is the end. */
    EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), &bytes[304], bytes.size() - 304, TEST_PATIENCE_MS), 96);
    EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), &bytes[400], 1, TEST_PATIENCE_MS), P2P_ERR_STREAM_EOF);
    EXPECT_TRUE(bytes.substr(0, 400) == flow(1, 400));
}

TEST_P(StreamFlow, AFullReadTellsWhatItGotBeforeAReset)
{
    Ends ends = open_ends();
    std::string bytes(1000, '\0');
    send(ends.ours, flow(1, 304));
    expect_bytes(ends.theirs, flow(1, 104));
    EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), &bytes[0], 200, TEST_PATIENCE_MS), 200);
    p2p_stream_reset(ends.ours.release(), 9);
    EXPECT_EQ(p2p_stream_read_full(ends.theirs.get(), &bytes[0], 1, TEST_PATIENCE_MS), P2P_ERR_STREAM_RESET);
}

TEST_P(StreamFlow, AWriteWhoseTimeIsOverTellsHowMuchWasTaken)
{
    Ends ends = open_ends();
    const std::string bytes = flow(5, 4 * MEBIBYTE);
    int64_t first = p2p_stream_write_wait(ends.ours.get(), bytes.data(), bytes.size(), 50);
    ASSERT_GT(first, 0);
    ASSERT_LE(first, P2P_STREAM_SEND_BYTES_MAX + WINDOW_BYTES + SLACK_BYTES);
    uint64_t sent = static_cast<uint64_t>(first);
    /* On a slow machine there may be some room left. */
    int64_t count;
    while ((count = p2p_stream_write_wait(ends.ours.get(), bytes.data() + sent, bytes.size() - sent, 20)) > 0)
        sent += static_cast<uint64_t>(count);
    EXPECT_EQ(count, P2P_ERR_CALL_TIMEOUT);
    EXPECT_EQ(p2p_stream_write_wait(ends.ours.get(), bytes.data() + sent, 1, 0), P2P_ERR_CALL_TIMEOUT);
    std::string got(sent, '\0');
    ASSERT_EQ(p2p_stream_read_full(ends.theirs.get(), &got[0], got.size(), TEST_PATIENCE_MS),
              static_cast<int64_t>(got.size()));
    EXPECT_TRUE(got == bytes.substr(0, sent));
    send(ends.ours, bytes.substr(sent, 100000));
    expect_bytes(ends.theirs, bytes.substr(sent, 100000));
}

TEST_P(StreamFlow, ABlockingReadHearsOfTheEnd)
{
    struct p2p_stream_callbacks callbacks = {};
    callbacks.readable = [](struct p2p_stream *stream, void *user) {
        char bytes[16];
        EXPECT_GT(p2p_stream_read(stream, bytes, sizeof(bytes)), 0);
        if (user)
            p2p_stream_reset(stream, 3);
        else
            p2p_stream_close(stream);
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/close/1.0.0", 0, &callbacks, nullptr), 0);
    ASSERT_EQ(p2p_node_handle(b->node, "/reset/1.0.0", 0, &callbacks, this), 0);
    char bytes[16];
    for (const char *name : {"/close/1.0.0", "/reset/1.0.0"}) {
        Stream stream(a->open(b->id(), name));
        send(stream, "x");
        EXPECT_EQ(p2p_stream_read_wait(stream.get(), bytes, sizeof(bytes), -1),
                  name[1] == 'c' ? P2P_ERR_STREAM_EOF : P2P_ERR_STREAM_RESET);
        EXPECT_EQ(p2p_stream_error_code(stream.get()), name[1] == 'c' ? 0u : 3u);
    }
}

TEST_P(StreamFlow, BlockingCallsAreForEventStreamsOutsideTheWorkers)
{
    struct Seen {
        std::atomic<int64_t> read{1}, full{1}, write{1};
        std::atomic<bool> done{false};
        struct p2p_stream *event;
    } seen;
    Ends ends = open_ends();
    seen.event = ends.theirs.get();
    struct p2p_stream_callbacks callbacks = {};
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        auto *self = static_cast<Seen *>(user);
        char byte = 'x';
        for (struct p2p_stream *each : {stream, self->event}) {
            self->read = p2p_stream_read_wait(each, &byte, 1, 1000);
            self->full = p2p_stream_read_full(each, &byte, 1, 1000);
            self->write = p2p_stream_write_wait(each, &byte, 1, 1000);
            if (self->read != P2P_ERR_CALL_THREAD)
                break;
        }
        self->done = true;
        p2p_stream_close(stream);
    };
    ASSERT_EQ(p2p_node_handle(b->node, "/inline/1.0.0", 0, &callbacks, &seen), 0);
    Stream stream(a->open(b->id(), "/inline/1.0.0"));
    ASSERT_TRUE(until([&] { return seen.done.load(); }));
    EXPECT_EQ(seen.read, P2P_ERR_CALL_THREAD);
    EXPECT_EQ(seen.full, P2P_ERR_CALL_THREAD);
    EXPECT_EQ(seen.write, P2P_ERR_CALL_THREAD);
    expect_alive(ends);
}

TEST_P(StreamFlow, WritesOfNothingAreTaken)
{
    Ends ends = open_ends();
    EXPECT_EQ(p2p_stream_write(ends.ours.get(), "x", 0), 0);
    EXPECT_EQ(p2p_stream_write_wait(ends.ours.get(), "x", 0, 0), 0);
    EXPECT_EQ(p2p_stream_read(ends.ours.get(), nullptr, 0), 0);
    EXPECT_EQ(p2p_stream_read_wait(ends.ours.get(), nullptr, 0, 0), 0);
    expect_alive(ends);
}

/* One thread reads while another waits for events, and a third writes. */
struct StreamThreads : StreamFlow {
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamThreads, testing::Values(World{DRIVER_URING, true}, World{DRIVER_EPOLL, true}),
                         world_name);

TEST_P(StreamThreads, StreamsOfOneConnectionServeThreadsOfTheirOwn)
{
    constexpr int pairs = 4;
    constexpr uint64_t total = 2 * MEBIBYTE;
    Ends ends[pairs];
    std::vector<std::thread> threads;
    std::string got[pairs];
    std::atomic<bool> stop{false};
    for (Ends &each : ends)
        each = open_ends();
    for (int i = 0; i < pairs; i++) {
        threads.emplace_back([&, i] {
            send(ends[i].ours, flow(static_cast<uint64_t>(i), total));
            EXPECT_EQ(p2p_stream_close_write(ends[i].ours.get()), 0);
        });
        threads.emplace_back([&, i] {
            Digest digest, expected;
            EXPECT_EQ(read_to_end(ends[i].theirs, &digest), P2P_ERR_STREAM_EOF);
            std::string bytes = flow(static_cast<uint64_t>(i), total);
            expected.add(bytes.data(), bytes.size());
            EXPECT_EQ(digest.text(), expected.text());
        });
    }
    std::thread events([&] {
        struct p2p_event event;
        while (!stop)
            p2p_node_wait_event(b->node, &event, 5);
    });
    for (std::thread &each : threads)
        each.join();
    stop = true;
    events.join();
}

/* In virtual time. */
struct StreamHours : StreamFlow {
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamHours, testing::Values(World{DRIVER_SIM, false}), world_name);

TEST_P(StreamHours, CallsWaitInTheTimeOfTheirRuntime)
{
    Ends ends = open_ends();
    char byte;
    const int hour_ms = 3600 * 1000;
    auto begin = Clock::now();
    uint64_t begin_ns = sim_world_now_ns(world);
    EXPECT_EQ(p2p_stream_read_wait(ends.ours.get(), &byte, 1, hour_ms), P2P_ERR_CALL_TIMEOUT);
    EXPECT_GE(sim_world_now_ns(world) - begin_ns, hour_ms * 1000000ull);
    EXPECT_LT(sim_world_now_ns(world) - begin_ns, 2 * hour_ms * 1000000ull);
    EXPECT_LT(milliseconds_since(begin), hour_ms / 10);
    expect_alive(ends);
}

}  // namespace
