#ifndef TESTS_STREAM_FIXTURE_H
#define TESTS_STREAM_FIXTURE_H

#include "tests/unit/actors/node_fixture.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <poll.h>
#include <thread>

extern "C" {
#include "crypto/sha256.h"
}

/* Two nodes that are connected, and streams between them. */

#define ALL_WORLDS REAL_WORLDS, World{DRIVER_SIM, false}

/* `length` bytes of the flow `key`, from byte `from` on: no two flows look alike,
 * and no two places of one. */
inline std::string flow(uint64_t key, size_t length, uint64_t from = 0)
{
    size_t skip = from % 8, whole = skip + length;
    std::string out(whole, '\0');
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word = (key << 32 ^ (from - skip + i)) * 0x9e3779b97f4a7c15u;
        word ^= word >> 29;
        memcpy(&out[i], &word, std::min<size_t>(8, whole - i));
    }
    return out.substr(skip);
}

/* Counts bytes and hashes them. */
class Digest
{
public:
    uint64_t bytes = 0;

    Digest() { sha256_init(&sha); }

    void add(const void *data, size_t length)
    {
        sha256_update(&sha, data, length);
        bytes += length;
    }

    std::string text() const
    {
        struct sha256 copy = sha;
        uint8_t hash[SHA256_BYTES];
        sha256_final(&copy, hash);
        std::string out = std::to_string(bytes);
        for (uint8_t byte : hash)
            out += "0123456789abcdef"[byte >> 4], out += "0123456789abcdef"[byte & 15];
        return out;
    }

private:
    struct sha256 sha;
};

struct StreamCloser {
    void operator()(struct p2p_stream *stream) const { p2p_stream_close(stream); }
};

/* A handle that is given up by itself. */
using Stream = std::unique_ptr<struct p2p_stream, StreamCloser>;

struct BufferFreer {
    void operator()(struct p2p_buffer *buffer) const { p2p_buffer_free(buffer); }
};

using Buffer = std::unique_ptr<struct p2p_buffer, BufferFreer>;

/* Both ends of an EVENT stream. */
struct Ends {
    Stream ours, theirs;
};

#define ENDS_PROTOCOL "/ends/1.0.0"

/* What an INLINE stream's callbacks heard; all streams that share one live on
 * one worker, but the test looks from its own thread. */
struct Heard {
    std::atomic<int> opened{0}, readable{0}, writable{0}, failed{0}, error{0};
    std::atomic<uint32_t> code{0};
    std::atomic<struct p2p_stream *> stream{nullptr};

    static void on_opened(struct p2p_stream *stream, void *user)
    {
        auto *heard = static_cast<Heard *>(user);
        heard->stream = stream;
        heard->opened++;
    }

    static void on_readable(struct p2p_stream *, void *user) { static_cast<Heard *>(user)->readable++; }
    static void on_writable(struct p2p_stream *, void *user) { static_cast<Heard *>(user)->writable++; }

    static void on_failed(struct p2p_stream *stream, void *user, int error)
    {
        auto *heard = static_cast<Heard *>(user);
        heard->error = error;
        heard->code = p2p_stream_error_code(stream);
        heard->stream = stream;
        heard->failed++;
    }

    /* Callbacks that only take note: the streams stay the test's to close. */
    static struct p2p_stream_callbacks callbacks()
    {
        return {on_opened, on_readable, on_writable, on_failed};
    }
};

/* Callbacks that send back what comes, and close after the end. */
inline void echo_back(struct p2p_stream *stream, void *)
{
    char bytes[4096];
    int64_t count;
    while ((count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
        EXPECT_EQ(p2p_stream_write(stream, bytes, static_cast<size_t>(count)), count);
    if (count != P2P_ERR_CALL_AGAIN)
        p2p_stream_close(stream);
}

inline struct p2p_stream_callbacks echo_callbacks()
{
    struct p2p_stream_callbacks callbacks = {};
    callbacks.readable = echo_back;
    callbacks.failed = [](struct p2p_stream *stream, void *, int) { p2p_stream_close(stream); };
    return callbacks;
}

/* A writer of callbacks, which writes as much as there is room for. */
struct Source {
    uint64_t key = 2, total = 0, sent = 0;
    std::atomic<uint64_t> stopped_at{0};
    std::atomic<int> writable{0}, failed{0};
    std::atomic<bool> done{false};

    static void go_on(struct p2p_stream *stream, void *user)
    {
        auto *self = static_cast<Source *>(user);
        while (self->sent < self->total) {
            std::string bytes = flow(self->key, std::min<uint64_t>(65536, self->total - self->sent), self->sent);
            int64_t count = p2p_stream_write(stream, bytes.data(), bytes.size());
            if (count == P2P_ERR_CALL_AGAIN) {
                self->stopped_at = self->sent;
                return;
            }
            if (count < 0)
                return; /* `failed` will say so */
            self->sent += static_cast<uint64_t>(count);
        }
        p2p_stream_close(stream);
        self->done = true;
    }

    static void on_writable(struct p2p_stream *stream, void *user)
    {
        static_cast<Source *>(user)->writable++;
        go_on(stream, user);
    }

    static struct p2p_stream_callbacks callbacks()
    {
        struct p2p_stream_callbacks out = {};
        out.opened = go_on;
        out.writable = on_writable;
        out.failed = [](struct p2p_stream *stream, void *user, int) {
            static_cast<Source *>(user)->failed++;
            p2p_stream_close(stream);
        };
        return out;
    }
};

/* A reader of callbacks that takes nothing until it is told to. */
struct Sink {
    Digest digest;
    std::atomic<bool> open{false}, done{false};
    std::atomic<int> end{0};
    std::atomic<struct p2p_stream *> stream{nullptr};

    static void on_readable(struct p2p_stream *stream, void *user)
    {
        auto *self = static_cast<Sink *>(user);
        char bytes[7000];
        int64_t count = P2P_ERR_CALL_AGAIN;
        self->stream = stream;
        while (self->open && (count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
            self->digest.add(bytes, static_cast<size_t>(count));
        if (count == P2P_ERR_CALL_AGAIN)
            return;
        p2p_stream_close(stream);
        self->end = static_cast<int>(count);
        self->done = true;
    }

    static struct p2p_stream_callbacks callbacks()
    {
        struct p2p_stream_callbacks out = {};
        out.readable = on_readable;
        return out;
    }
};

class StreamTest : public NodeTest
{
public:
    std::unique_ptr<Node> a, b;

    void SetUp() override
    {
        NodeTest::SetUp();
        if (!runtime)
            return;
        auto setup = [this](struct p2p_config *config) { configure(config); };
        a = std::make_unique<Node>(runtime, setup);
        b = std::make_unique<Node>(runtime, setup);
        a->start();
        b->start();
        ASSERT_EQ(p2p_node_handle(b->node, ENDS_PROTOCOL, 0, nullptr, nullptr), 0);
        join();
    }

    void TearDown() override
    {
        a.reset();
        b.reset();
        NodeTest::TearDown();
    }

    /* Of both nodes. */
    virtual void configure(struct p2p_config *) {}

    /* Connects them and waits until they have told each other what they speak. */
    void join()
    {
        ASSERT_EQ(a->connect(*b), 0) << a->text.text;
        a->await(P2P_EVENT_PEER_IDENTIFIED);
        b->await(P2P_EVENT_PEER_IDENTIFIED);
        ASSERT_TRUE(is_quiet());
    }

    /* No stream is left on either side. */
    bool is_quiet(int64_t streams = 0)
    {
        return until([&] { return a->counter("streams") == streams && b->counter("streams") == streams; });
    }

    /* Until the condition holds; takes no event. */
    template <typename Condition> bool until(Condition condition, int patience_ms = TEST_PATIENCE_MS)
    {
        auto begin = Clock::now();
        while (!condition()) {
            if (milliseconds_since(begin) > patience_ms)
                return false;
            if (GetParam().threads)
                poll(nullptr, 0, 1);
            else
                p2p_runtime_turn(runtime, 1);
        }
        return true;
    }

    Ends open_ends()
    {
        Ends ends;
        ends.ours.reset(a->open(b->id(), ENDS_PROTOCOL));
        ends.theirs.reset(b->await(P2P_EVENT_STREAM_INCOMING).stream);
        EXPECT_TRUE(ends.ours && ends.theirs);
        return ends;
    }

    /* Opens with a list; the error in `error`. */
    Stream open(const std::vector<const char *> &protocols, int *error, int timeout_ms = TEST_PATIENCE_MS)
    {
        struct p2p_stream *stream = nullptr;
        *error = p2p_stream_open(a->node, &stream, b->id().c_str(), protocols.data(), protocols.size(), timeout_ms,
                                 &a->text);
        return Stream(stream);
    }
};

#define STILL_PROTOCOL "/still/1.0.0"

enum { NEGOTIATION_MS = 10000 }; /* NODE_NEGOTIATION_NS_MAX */

/* A node on a runtime of its own without threads, which has a turn only when the
 * test gives it one: a peer that is there, but does not answer. */
struct Still {
    struct p2p_runtime *runtime;
    Node node;

    explicit Still(struct p2p_runtime *its) : runtime(its), node(its)
    {
        node.start();
        EXPECT_EQ(p2p_node_handle(node.node, STILL_PROTOCOL, 0, nullptr, nullptr), 0);
    }
};

class StreamStill : public StreamTest
{
public:
    struct p2p_runtime *still_runtime = nullptr;
    std::unique_ptr<Still> still;

    void SetUp() override
    {
        StreamTest::SetUp();
        if (!runtime)
            return;
        ASSERT_EQ(make_runtime(&still_runtime, {GetParam().driver, false}, nullptr, nullptr), 0);
        still = std::make_unique<Still>(still_runtime);
    }

    void TearDown() override
    {
        if (still) { /* the end of the connection does not wait for one who has no turn */
            p2p_node_disconnect(a->node, still->node.id().c_str());
            EXPECT_TRUE(until_still([&] { return still->node.counter("connections") == 0; }));
        }
        still.reset();
        p2p_runtime_free(still_runtime);
        StreamTest::TearDown();
    }

    /* The same as until(), and the still one is turned meanwhile. */
    template <typename Condition> bool until_still(Condition condition)
    {
        return until([&] {
            p2p_runtime_turn(still_runtime, 0);
            return condition();
        });
    }

    /* Connects `a` to it, and waits until all is quiet. */
    void join_still()
    {
        struct p2p_event event;
        int identified = 0;
        ASSERT_EQ(p2p_node_connect_start(a->node, 1, still->node.address().c_str(), TEST_PATIENCE_MS, &a->text), 0);
        ASSERT_TRUE(until_still([&] {
            for (Node *each : {a.get(), &still->node})
                while (p2p_node_next_event(each->node, &event) == 0)
                    identified += event.type == P2P_EVENT_PEER_IDENTIFIED;
            return identified == 2 && a->counter("streams") == 0 && still->node.counter("streams") == 0;
        }));
    }
};

/* The stream's next read, which waits: bytes or an error. */
inline int64_t read_some(const Stream &stream, std::string *out, size_t capacity = 65536)
{
    out->resize(capacity);
    int64_t count = p2p_stream_read_wait(stream.get(), &(*out)[0], capacity, TEST_PATIENCE_MS);
    out->resize(count > 0 ? static_cast<size_t>(count) : 0);
    return count;
}

inline void expect_bytes(const Stream &stream, const std::string &expected)
{
    std::string got(expected.size(), '\0');
    ASSERT_EQ(p2p_stream_read_full(stream.get(), &got[0], got.size(), TEST_PATIENCE_MS),
              static_cast<int64_t>(expected.size()));
    EXPECT_TRUE(got == expected);
}

inline void send(const Stream &stream, const std::string &bytes)
{
    ASSERT_EQ(p2p_stream_write_wait(stream.get(), bytes.data(), bytes.size(), TEST_PATIENCE_MS),
              static_cast<int64_t>(bytes.size()));
}

/* Bytes pass both ways. */
inline void expect_alive(const Ends &ends, uint64_t key = 1)
{
    send(ends.ours, flow(key, 1000));
    expect_bytes(ends.theirs, flow(key, 1000));
    send(ends.theirs, flow(key + 1, 1000));
    expect_bytes(ends.ours, flow(key + 1, 1000));
}

/* What is left to read, and the end that follows. */
inline int64_t read_to_end(const Stream &stream, Digest *digest)
{
    std::string bytes;
    int64_t count;
    while ((count = read_some(stream, &bytes)) > 0)
        digest->add(bytes.data(), bytes.size());
    return count;
}

#endif
