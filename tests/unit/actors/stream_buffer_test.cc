#include "tests/unit/actors/stream_fixture.h"

#include <mutex>

/* Buffers that change hands without a copy. */

namespace {

std::string text_of(const Buffer &buffer)
{
    if (!buffer)
        return "";
    return std::string(reinterpret_cast<char *>(p2p_buffer_data(buffer.get())), p2p_buffer_length(buffer.get()));
}

Buffer filled(Node &node, const std::string &bytes)
{
    Buffer buffer(p2p_buffer_new(node.node, bytes.size()));
    EXPECT_TRUE(buffer);
    memcpy(p2p_buffer_data(buffer.get()), bytes.data(), bytes.size());
    return buffer;
}

struct StreamBuffer : StreamTest {
    /* The next one that is lent, when there is one. */
    Buffer lend(const Stream &stream)
    {
        struct p2p_buffer *buffer = nullptr;
        int error = P2P_ERR_CALL_AGAIN;
        EXPECT_TRUE(until([&] {
            error = p2p_stream_read_buffer(stream.get(), &buffer);
            return error != P2P_ERR_CALL_AGAIN;
        }));
        EXPECT_EQ(error, 0);
        return Buffer(buffer);
    }

    /* As many as hold so many bytes, and these bytes. */
    std::vector<Buffer> lend_all(const Stream &stream, size_t bytes, std::string *text)
    {
        std::vector<Buffer> out;
        while (text->size() < bytes && !HasFailure()) {
            out.push_back(lend(stream));
            *text += text_of(out.back());
        }
        EXPECT_EQ(text->size(), bytes);
        return out;
    }

    void write(const Stream &stream, Buffer buffer)
    {
        EXPECT_TRUE(until([&] {
            int error = p2p_stream_write_buffer(stream.get(), buffer.get());
            if (error != P2P_ERR_CALL_AGAIN)
                buffer.release();
            EXPECT_TRUE(error == 0 || error == P2P_ERR_CALL_AGAIN) << error;
            return error != P2P_ERR_CALL_AGAIN;
        }));
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, StreamBuffer, testing::Values(ALL_WORLDS), world_name);

TEST_P(StreamBuffer, HasExactlyTheSizeAskedFor)
{
    for (size_t size : {size_t(1), size_t(4096), size_t(100001), size_t(262144)}) {
        Buffer buffer(p2p_buffer_new(a->node, size));
        ASSERT_TRUE(buffer);
        EXPECT_EQ(p2p_buffer_length(buffer.get()), size);
        memset(p2p_buffer_data(buffer.get()), 'x', size);
        EXPECT_EQ(a->counter("buffers_lent"), 1);
        p2p_buffer_trim(buffer.get(), size + 1);
        EXPECT_EQ(p2p_buffer_length(buffer.get()), size);
        p2p_buffer_trim(buffer.get(), size / 2);
        EXPECT_EQ(p2p_buffer_length(buffer.get()), size / 2);
    }
    EXPECT_EQ(p2p_buffer_new(a->node, 0), nullptr);
    EXPECT_EQ(p2p_buffer_new(a->node, 262145), nullptr);
    EXPECT_EQ(a->counter("buffers_lent"), 0);
    p2p_buffer_free(nullptr);
}

TEST_P(StreamBuffer, BytesPassBothWaysWithoutACopy)
{
    Ends ends = open_ends();
    for (size_t size : {1, 13, 4096, 65536, 100000}) { /* half a window: all may be held at once */
        for (bool ours : {true, false}) {
            const Stream &from = ours ? ends.ours : ends.theirs, &to = ours ? ends.theirs : ends.ours;
            Node &writer = ours ? *a : *b, &reader = ours ? *b : *a;
            std::string bytes = flow(size, size), text;
            write(from, filled(writer, bytes));
            std::vector<Buffer> lent = lend_all(to, size, &text);
            EXPECT_TRUE(text == bytes) << size;
            EXPECT_EQ(reader.counter("buffers_lent"), static_cast<int64_t>(lent.size()));
            EXPECT_EQ(writer.counter("buffers_lent"), 0);
        }
    }
    write(ends.ours, filled(*a, flow(7, 262144)));
    expect_bytes(ends.theirs, flow(7, 262144));
    /* Trimmed, and mixed with what is copied. */
    Buffer buffer = filled(*a, flow(1, 3000));
    p2p_buffer_trim(buffer.get(), 1000);
    write(ends.ours, std::move(buffer));
    send(ends.ours, flow(1, 1000, 1000));
    write(ends.ours, filled(*a, flow(1, 1000, 2000)));
    expect_bytes(ends.theirs, flow(1, 3000));
    EXPECT_EQ(p2p_stream_close_write(ends.ours.get()), 0);
    struct p2p_buffer *none = nullptr;
    EXPECT_TRUE(until([&] { return p2p_stream_read_buffer(ends.theirs.get(), &none) == P2P_ERR_STREAM_EOF; }));
    EXPECT_EQ(none, nullptr);
}

TEST_P(StreamBuffer, WhatIsLentGoesBackToItsSender)
{
    Ends ends = open_ends();
    std::string bytes = flow(2, 300000), back(bytes.size(), '\0');
    size_t sent = 0, returned = 0;
    while (returned < bytes.size() && !HasFailure()) {
        size_t piece = std::min<size_t>(50000, bytes.size() - sent);
        send(ends.ours, bytes.substr(sent, piece));
        sent += piece;
        for (size_t size = 0; size < piece && !HasFailure();) {
            Buffer buffer = lend(ends.theirs);
            size += p2p_buffer_length(buffer.get());
            write(ends.theirs, std::move(buffer));
        }
        ASSERT_EQ(p2p_stream_read_full(ends.ours.get(), &back[returned], piece, TEST_PATIENCE_MS),
                  static_cast<int64_t>(piece));
        returned += piece;
    }
    EXPECT_TRUE(back == bytes);
    EXPECT_TRUE(until([&] { return a->counter("stream_bytes_held") + b->counter("stream_bytes_held") == 0; }));
    EXPECT_EQ(b->counter("buffers_lent"), 0);
}

TEST_P(StreamBuffer, WhatIsLentHoldsTheWriterUpUntilItIsBack)
{
    constexpr size_t window = 262144, total = 3 * window;
    Ends ends = open_ends();
    std::string text;
    size_t sent = 0;
    ASSERT_TRUE(until([&] {
        std::string piece = flow(3, std::min<size_t>(65536, total - sent), sent);
        int64_t count = piece.empty() ? 0 : p2p_stream_write(ends.ours.get(), piece.data(), piece.size());
        sent += count > 0 ? static_cast<size_t>(count) : 0;
        return sent == total && b->counter("stream_bytes_held") > static_cast<int64_t>(window - 1024);
    }));
    size_t there = static_cast<size_t>(b->counter("stream_bytes_held"));
    std::vector<Buffer> lent = lend_all(ends.theirs, there, &text);
    /* All is read, but nothing given back: no more comes, whatever is asked meanwhile. */
    uint64_t rtt_ns;
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(p2p_node_ping(b->node, &rtt_ns, a->id().c_str(), TEST_PATIENCE_MS), 0);
    struct p2p_buffer *none = nullptr;
    EXPECT_EQ(p2p_stream_read_buffer(ends.theirs.get(), &none), P2P_ERR_CALL_AGAIN);
    EXPECT_GE(b->counter("stream_bytes_held"), static_cast<int64_t>(there));
    EXPECT_EQ(b->counter("buffers_lent"), static_cast<int64_t>(lent.size()));
    EXPECT_TRUE(text == flow(3, there));
    lent.clear();
    while (text.size() < total && !HasFailure())
        text += text_of(lend(ends.theirs));
    EXPECT_TRUE(text == flow(3, total));
    EXPECT_TRUE(until([&] { return b->counter("stream_bytes_held") == 0; }));
}

TEST_P(StreamBuffer, AWriteThatFindsNoRoomLeavesTheBuffer)
{
    Ends ends = open_ends();
    Buffer buffer;
    int error = 0;
    int64_t written = 0;
    for (int i = 0; i < 100 && error == 0; i++) {
        buffer = filled(*a, flow(4, 100000, static_cast<uint64_t>(written)));
        error = p2p_stream_write_buffer(ends.ours.get(), buffer.get());
        if (error == 0) {
            buffer.release();
            written += 100000;
        }
    }
    /* The first window may have gone meanwhile; the queue takes one beyond its bound. */
    ASSERT_EQ(error, P2P_ERR_CALL_AGAIN);
    EXPECT_LE(written, P2P_STREAM_SEND_BYTES_MAX + 262144 + 200000);
    EXPECT_TRUE(text_of(buffer) == flow(4, 100000, static_cast<uint64_t>(written)));
    for (int64_t read = 0; read < written; read += 100000)
        expect_bytes(ends.theirs, flow(4, 100000, static_cast<uint64_t>(read)));
    a->await(P2P_EVENT_STREAM_WRITABLE);
    write(ends.ours, std::move(buffer));
    expect_bytes(ends.theirs, flow(4, 100000, static_cast<uint64_t>(written)));
}

TEST_P(StreamBuffer, AWriteThatIsRefusedTakesTheBuffer)
{
    Ends closed = open_ends(), reset = open_ends();
    EXPECT_EQ(p2p_stream_close_write(closed.ours.get()), 0);
    EXPECT_EQ(p2p_stream_write_buffer(closed.ours.get(), p2p_buffer_new(a->node, 5)), P2P_ERR_STREAM_CLOSED);
    p2p_stream_reset(reset.theirs.release(), 1);
    EXPECT_EQ(a->await(P2P_EVENT_STREAM_FAILED).stream, reset.ours.get());
    EXPECT_EQ(p2p_stream_write_buffer(reset.ours.get(), p2p_buffer_new(a->node, 5)), P2P_ERR_STREAM_RESET);
    EXPECT_EQ(p2p_node_disconnect(a->node, b->id().c_str()), 0);
    a->await(P2P_EVENT_PEER_DISCONNECTED);
    EXPECT_EQ(p2p_stream_write_buffer(closed.ours.get(), p2p_buffer_new(a->node, 5)), P2P_ERR_CONN_CLOSED);
    EXPECT_EQ(a->counter("buffers_lent"), 0);
}

/* Whatever became of their stream, the bytes stay good, and may be given back. */
TEST_P(StreamBuffer, OutlivesItsStream)
{
    for (int how = 0; how < 4; how++) {
        Ends ends = open_ends();
        send(ends.ours, flow(5, 50000));
        send(ends.ours, flow(6, 50000));
        Buffer buffer = lend(ends.theirs);
        size_t length = p2p_buffer_length(buffer.get());
        std::string text = text_of(buffer);
        if (how == 0)
            ends.theirs.reset(); /* it lingers: its peer has not ended it */
        else if (how == 1)
            p2p_stream_reset(ends.theirs.release(), 1);
        else if (how == 2)
            p2p_stream_reset(ends.ours.release(), 1);
        else
            ends = {};
        expect_alive(open_ends()); /* behind it on the same connection: it is done */
        if (how == 0) { /* as long as there is a stream it holds what it has lent */
            EXPECT_TRUE(until([&] { return b->counter("stream_bytes_held") == static_cast<int64_t>(length); }));
        }
        EXPECT_TRUE(text_of(buffer) == text) << how;
        EXPECT_TRUE(text == flow(5, length)) << how;
        p2p_buffer_trim(buffer.get(), length / 2);
        buffer.reset();
        ends = {};
        EXPECT_TRUE(is_quiet()) << how;
        EXPECT_EQ(b->counter("stream_bytes_held"), 0);
        EXPECT_EQ(b->counter("buffers_lent"), 0);
    }
}

/* Buffers of an INLINE stream, handed to the test. */
struct Taker {
    std::mutex mutex;
    std::vector<struct p2p_buffer *> buffers;
    std::atomic<uint64_t> bytes{0};
    std::atomic<struct p2p_stream *> stream{nullptr};
    std::atomic<int> failed{0};

    static void on_readable(struct p2p_stream *its, void *user)
    {
        auto *self = static_cast<Taker *>(user);
        struct p2p_buffer *buffer;
        self->stream = its;
        while (p2p_stream_read_buffer(its, &buffer) == 0) {
            std::lock_guard<std::mutex> lock(self->mutex);
            self->buffers.push_back(buffer);
            self->bytes += p2p_buffer_length(buffer);
        }
    }

    struct p2p_stream_callbacks callbacks()
    {
        struct p2p_stream_callbacks out = {};
        out.readable = on_readable;
        out.failed = [](struct p2p_stream *its, void *user, int) {
            static_cast<Taker *>(user)->failed++;
            p2p_stream_close(its);
        };
        return out;
    }

    std::vector<Buffer> take()
    {
        std::lock_guard<std::mutex> lock(mutex);
        std::vector<Buffer> out;
        for (struct p2p_buffer *each : buffers)
            out.emplace_back(each);
        buffers.clear();
        return out;
    }
};

TEST_P(StreamBuffer, ComesBackFromAnyThread)
{
    constexpr uint64_t total = 4 << 20;
    Taker taker;
    struct p2p_stream_callbacks callbacks = taker.callbacks();
    ASSERT_EQ(p2p_node_handle(b->node, "/taker/1.0.0", 0, &callbacks, &taker), 0);
    Stream stream(a->open(b->id(), "/taker/1.0.0"));
    std::string text;
    uint64_t sent = 0;
    ASSERT_TRUE(until([&] {
        std::string piece = flow(7, std::min<uint64_t>(65536, total - sent), sent);
        int64_t count = piece.empty() ? 0 : p2p_stream_write(stream.get(), piece.data(), piece.size());
        sent += count > 0 ? static_cast<uint64_t>(count) : 0;
        std::vector<Buffer> buffers = taker.take();
        for (const Buffer &each : buffers)
            text += text_of(each);
        /* On this thread, and on one that knows nothing of all this. */
        if (buffers.size() % 2)
            std::thread([](std::vector<Buffer> all) { all.clear(); }, std::move(buffers)).join();
        return text.size() == total;
    }));
    EXPECT_TRUE(text == flow(7, total));
    stream.reset();
    p2p_stream_close(taker.stream);
    EXPECT_TRUE(is_quiet());
    EXPECT_EQ(b->counter("stream_bytes_held"), 0);
    EXPECT_EQ(b->counter("buffers_lent"), 0);
}

/* What a node logs. */
struct Log {
    std::mutex mutex;
    std::string text;

    static void write(void *argument, enum p2p_log_level level, const char *line, size_t length)
    {
        auto *self = static_cast<Log *>(argument);
        std::lock_guard<std::mutex> lock(self->mutex);
        if (level <= P2P_LOG_WARN)
            self->text.append(line, length);
    }
};

TEST_P(StreamBuffer, CountsUntilItIsBackThoughItsStreamWasClosed)
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
    ASSERT_EQ(p2p_node_handle(b->node, "/kept/1.0.0", 0, &callbacks, &buffer), 0);
    Stream stream(a->open(b->id(), "/kept/1.0.0"));
    send(stream, "hello");
    ASSERT_TRUE(until([&] { return buffer != nullptr; }));
    EXPECT_TRUE(until([&] { return b->counter("stream_bytes_held") == 4; }));
    p2p_buffer_trim(buffer, 1);
    EXPECT_TRUE(until([&] { return b->counter("stream_bytes_held") == 1; }));
    EXPECT_EQ(*p2p_buffer_data(buffer), 'h');
    p2p_buffer_free(buffer);
    EXPECT_TRUE(until([&] { return b->counter("stream_bytes_held") == 0; }));
    stream.reset();
    EXPECT_TRUE(is_quiet());
}

TEST_P(StreamBuffer, OutlivesItsConnectionItsNodeAndItsRuntime)
{
    Log log;
    auto c = std::make_unique<Node>(runtime, [&log](struct p2p_config *config) {
        p2p_config_log(config, P2P_LOG_WARN, P2P_LOG_TEXT, Log::write, &log);
    });
    c->start();
    Taker taker;
    struct p2p_stream_callbacks callbacks = taker.callbacks();
    ASSERT_EQ(p2p_node_handle(c->node, "/taker/1.0.0", 0, &callbacks, &taker), 0);
    ASSERT_EQ(p2p_node_handle(c->node, ENDS_PROTOCOL, 0, nullptr, nullptr), 0);
    ASSERT_EQ(a->connect(*c), 0) << a->text.text;
    Ends ends;
    Stream inlined(a->open(c->id(), "/taker/1.0.0"));
    ends.ours.reset(a->open(c->id(), ENDS_PROTOCOL));
    ends.theirs.reset(c->await(P2P_EVENT_STREAM_INCOMING).stream);
    for (int i = 0; i < 10; i++) {
        send(inlined, flow(8, 9000, static_cast<uint64_t>(i) * 9000));
        send(ends.ours, flow(9, 9000, static_cast<uint64_t>(i) * 9000));
    }
    ASSERT_TRUE(until([&] { return taker.bytes == 90000 && c->counter("stream_bytes_held") == 180000; }));
    std::vector<Buffer> all = taker.take();
    ASSERT_GE(all.size(), 4u);
    Buffer event = lend(ends.theirs); /* and bytes behind it stay unread */
    std::string event_text = text_of(event), text;
    for (const Buffer &each : all)
        text += text_of(each);
    Buffer own = filled(*c, "of my own");

    all.pop_back(); /* while all is there */
    EXPECT_EQ(p2p_node_disconnect(c->node, a->id().c_str()), 0);
    ASSERT_TRUE(until([&] { return taker.failed == 1 && c->counter("connections") == 0; }));
    all.pop_back(); /* after the connection */
    EXPECT_EQ(c->counter("buffers_lent"), static_cast<int64_t>(all.size()) + 2);
    std::string count = "count=" + std::to_string(all.size() + 2) + " ";
    ends.theirs.release(); /* closed by its node */
    c.reset();
    EXPECT_NE(log.text.find("buffers_lent"), std::string::npos) << log.text;
    EXPECT_NE(log.text.find(count), std::string::npos) << log.text;
    all.pop_back(); /* after the node */
    a.reset();
    b.reset();
    inlined.release();
    ends.ours.release();
    p2p_runtime_free(runtime);
    runtime = nullptr;
    /* And after the runtime. */
    std::string left;
    for (const Buffer &each : all)
        left += text_of(each);
    EXPECT_TRUE(left == text.substr(0, left.size()));
    EXPECT_TRUE(text == flow(8, 90000));
    EXPECT_TRUE(text_of(event) == event_text);
    EXPECT_EQ(text_of(own), "of my own");
    std::thread([&] {
        p2p_buffer_trim(event.get(), 1);
        event.reset();
        all.clear();
        own.reset();
    }).join();
}

TEST_P(StreamBuffer, MayGoToAStreamOfAnotherRuntime)
{
    struct p2p_runtime *other = nullptr;
    ASSERT_EQ(make_runtime(&other, GetParam(), world, nullptr), 0);
    auto c = std::make_unique<Node>(other);
    auto d = std::make_unique<Node>(other);
    c->start();
    d->start();
    ASSERT_EQ(p2p_node_handle(d->node, ENDS_PROTOCOL, 0, nullptr, nullptr), 0);
    struct p2p_event event;
    int connected = 0;
    ASSERT_EQ(p2p_node_connect_start(c->node, 1, d->address().c_str(), TEST_PATIENCE_MS, nullptr), 0);
    auto turn = [&] { return GetParam().threads || p2p_runtime_turn(other, 0) >= 0; };
    ASSERT_TRUE(until([&] {
        while (turn() && p2p_node_next_event(c->node, &event) == 0)
            connected += event.type == P2P_EVENT_CONNECTED;
        return connected == 1;
    }));
    Stream from;
    const char *name = ENDS_PROTOCOL;
    ASSERT_EQ(p2p_stream_open_start(c->node, 2, d->id().c_str(), &name, 1), 0);
    ASSERT_TRUE(until([&] {
        while (turn() && p2p_node_next_event(c->node, &event) == 0)
            if (event.type == P2P_EVENT_STREAM_OPENED)
                from.reset(event.stream);
        return from != nullptr;
    }));
    Stream to;
    ASSERT_TRUE(until([&] {
        while (turn() && p2p_node_next_event(d->node, &event) == 0)
            if (event.type == P2P_EVENT_STREAM_INCOMING)
                to.reset(event.stream);
        return to != nullptr;
    }));
    ASSERT_GT(p2p_stream_write(from.get(), flow(1, 3000).data(), 3000), 0);
    std::string text;
    Ends ends = open_ends();
    ASSERT_TRUE(until([&] {
        struct p2p_buffer *buffer = nullptr;
        if (turn() && p2p_stream_read_buffer(to.get(), &buffer) == 0) {
            text += std::string(reinterpret_cast<char *>(p2p_buffer_data(buffer)), p2p_buffer_length(buffer));
            EXPECT_EQ(p2p_stream_write_buffer(ends.ours.get(), buffer), 0); /* it stays in a queue of ours */
        }
        return text.size() == 3000;
    }));
    from.release();
    to.release();
    c.reset();
    d.reset();
    p2p_runtime_free(other);
    expect_bytes(ends.theirs, flow(1, 3000));
}

}  // namespace
