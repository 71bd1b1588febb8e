#ifndef TESTS_NET_YAMUX_SUPPORT_H
#define TESTS_NET_YAMUX_SUPPORT_H

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/table.h"
#include "net/yamux.h"
}
#include "tests/unit/crypto/support.h"

enum { DATA = 0, WINDOW = 1, PING = 2, GOAWAY = 3 };
enum { SYN = 1, ACK = 2, FIN = 4, RST = 8 };

struct Frame {
    unsigned type, flags;
    uint32_t id, length;
    std::string payload;
};

inline std::string header(unsigned type, unsigned flags, uint32_t id, uint32_t length, unsigned version = 0)
{
    const uint32_t words[] = {version << 24 | type << 16 | flags, id, length};
    std::string out;

    for (uint32_t word : words)
        for (int shift = 24; shift >= 0; shift -= 8)
            out += (char)(word >> shift);
    return out;
}

inline std::string data_frame(unsigned flags, uint32_t id, const std::string &payload)
{
    return header(DATA, flags, id, (uint32_t)payload.size()) + payload;
}

/* What the machine said, frame by frame. */
inline std::deque<Frame> frames_of(const std::string &bytes)
{
    std::deque<Frame> frames;

    for (size_t at = 0; at < bytes.size();) {
        auto word = [&](size_t offset) {
            uint32_t value = 0;
            for (size_t i = 0; i < 4; i++)
                value = value << 8 | (uint8_t)bytes[at + offset + i];
            return value;
        };
        Frame frame = {word(0) >> 16, word(0) & 0xffff, word(4), word(8), ""};
        at += YAMUX_HEADER_BYTES;
        if (frame.type == DATA) {
            frame.payload = bytes.substr(at, frame.length);
            at += frame.length;
        }
        frames.push_back(frame);
    }
    return frames;
}

/* What a session keeps of a stream. */
struct Stream {
    struct yamux_stream yamux = {}; /* first: the machine's pointer is ours */
    std::string out;                /* queued; sent up to out_at */
    size_t out_at = 0;
    std::string in;                 /* received, not yet consumed */
    uint64_t sent_bytes = 0, received_bytes = 0;
    uint64_t sent_hash = 0, received_hash = 0;
    bool fin = false, reset = false, acked = false, writable = false;
    uint32_t code = 0;

    size_t waiting() const { return out.size() - out_at; }
    void clear() { out.clear(), out_at = 0; }
};

/* One end of a connection, with the queues that the machine does not keep. */
struct Peer {
    struct yamux yamux;
    std::map<uint32_t, std::unique_ptr<Stream>> streams;
    std::vector<std::pair<yamux_event_type, uint32_t>> events;
    std::string wire; /* said, not yet carried over */
    uint64_t now_ns = 1000000000;
    uint32_t payload_max = YAMUX_PAYLOAD_BYTES_MAX;
    uint32_t goaway_code = 0xffffffff;
    uint64_t pong_rtt_ns = 0;
    bool accepting = true, consuming = true;
    uint32_t refuse_code = 7;
    std::set<uint32_t> refused;

    explicit Peer(bool client, struct yamux_budget *budget = nullptr, uint32_t growth_max = 64 << 20)
    {
        yamux_init(&yamux, client, 42, budget, growth_max);
    }
    ~Peer()
    {
        while (!streams.empty())
            forget(streams.begin()->first);
        yamux_fini(&yamux);
    }
    Peer(const Peer &) = delete;

    Stream &at(uint32_t id) { return *streams.at(id); }

    Stream *open(int *error = nullptr)
    {
        auto stream = std::make_unique<Stream>();
        int result = yamux_open(&yamux, &stream->yamux, now_ns);

        if (error != nullptr)
            *error = result;
        if (result != 0)
            return nullptr;
        return (streams[stream->yamux.id] = std::move(stream)).get();
    }

    void write(Stream &stream, const std::string &bytes)
    {
        stream.out += bytes;
        yamux_queue(&yamux, &stream.yamux, (uint32_t)bytes.size());
    }

    void consume(Stream &stream, size_t bytes)
    {
        stream.in.erase(0, bytes);
        yamux_consumed(&yamux, &stream.yamux, (uint32_t)bytes, now_ns);
    }

    void forget(uint32_t id)
    {
        yamux_forget(&yamux, &at(id).yamux);
        streams.erase(id);
    }

    void on_event(const struct yamux_event &event, const char *span, size_t taken)
    {
        Stream *stream = (Stream *)event.stream;

        events.push_back({event.type, event.stream_id});
        switch (event.type) {
        case YAMUX_EVENT_OPEN: {
            auto fresh = std::make_unique<Stream>();

            EXPECT_EQ(streams.count(event.stream_id), 0u);
            if (!accepting) {
                refused.insert(event.stream_id);
                yamux_refuse(&yamux, refuse_code);
                break;
            }
            EXPECT_EQ(yamux_accept(&yamux, &fresh->yamux, now_ns), 0);
            EXPECT_EQ(fresh->yamux.id, event.stream_id);
            streams[event.stream_id] = std::move(fresh);
            break;
        }
        case YAMUX_EVENT_ACKED:
            EXPECT_FALSE(stream->acked);
            stream->acked = true;
            break;
        case YAMUX_EVENT_DATA: {
            ASSERT_LE(event.offset + event.length, taken);
            ASSERT_GT(event.length, 0u);
            EXPECT_FALSE(stream->fin || stream->reset);
            std::string bytes(span + event.offset, event.length);
            for (char byte : bytes)
                stream->received_hash = stream->received_hash * 31 + (uint8_t)byte;
            stream->received_bytes += event.length;
            stream->in += bytes;
            if (consuming)
                consume(*stream, event.length);
            break;
        }
        case YAMUX_EVENT_FIN:
            EXPECT_FALSE(stream->fin || stream->reset);
            stream->fin = true;
            break;
        case YAMUX_EVENT_RESET:
            EXPECT_FALSE(stream->reset);
            EXPECT_TRUE(yamux_finished(&stream->yamux));
            stream->reset = true;
            stream->code = event.code;
            stream->clear();
            break;
        case YAMUX_EVENT_WRITABLE:
            stream->writable = true;
            break;
        case YAMUX_EVENT_PONG:
            pong_rtt_ns = event.rtt_ns;
            break;
        case YAMUX_EVENT_GOAWAY:
            goaway_code = event.code;
            break;
        default:
            ADD_FAILURE() << "event " << event.type;
        }
    }

    /* Feeds bytes in memory of exactly their size. */
    int feed(const std::string &bytes)
    {
        std::vector<uint8_t> span(bytes.begin(), bytes.end());
        struct yamux_event event;
        size_t at = 0, taken;
        int result;

        do {
            result = yamux_recv(&yamux, span.data() + at, span.size() - at, &taken, &event, now_ns);
            EXPECT_LE(taken, span.size() - at);
            if (result == 0 && event.type != YAMUX_EVENT_NONE)
                on_event(event, (const char *)span.data() + at, taken);
            at += taken;
        } while (result == 0 && event.type != YAMUX_EVENT_NONE);
        if (result == 0) {
            EXPECT_EQ(at, span.size());
        }
        return result;
    }

    bool send_one(struct yamux_chunk *chunk)
    {
        if (!yamux_send(&yamux, chunk, payload_max))
            return false;
        wire.append((const char *)chunk->header, YAMUX_HEADER_BYTES);
        if (chunk->stream != nullptr) {
            Stream &stream = *(Stream *)chunk->stream;
            EXPECT_LE(chunk->length, stream.waiting());
            EXPECT_LE(chunk->length, payload_max);
            for (size_t i = 0; i < chunk->length; i++)
                stream.sent_hash = stream.sent_hash * 31 + (uint8_t)stream.out[stream.out_at + i];
            stream.sent_bytes += chunk->length;
            wire.append(stream.out, stream.out_at, chunk->length);
            stream.out_at += chunk->length;
            if (stream.waiting() == 0)
                stream.clear();
        } else {
            EXPECT_EQ(chunk->length, 0u);
        }
        return true;
    }

    std::string take_wire(size_t bytes = SIZE_MAX)
    {
        std::string out = wire.substr(0, bytes);

        wire.erase(0, out.size());
        return out;
    }

    std::string say()
    {
        struct yamux_chunk chunk;

        while (send_one(&chunk))
            ;
        EXPECT_FALSE(yamux_wants_send(&yamux));
        return take_wire();
    }

    std::deque<Frame> said() { return frames_of(say()); }
};

/* Carries everything over until both are silent. */
inline void settle(Peer &a, Peer &b)
{
    for (bool more = true; more;) {
        std::string to_b = a.say(), to_a;
        EXPECT_EQ(b.feed(to_b), 0);
        to_a = b.say();
        EXPECT_EQ(a.feed(to_a), 0);
        more = !to_a.empty() || !to_b.empty();
    }
}

inline void expect_frame(const Frame &frame, unsigned type, unsigned flags, uint32_t id, uint32_t length)
{
    EXPECT_EQ(frame.type, type);
    EXPECT_EQ(frame.flags, flags);
    EXPECT_EQ(frame.id, id);
    EXPECT_EQ(frame.length, length);
}

#endif
