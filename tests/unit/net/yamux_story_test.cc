#include "yamux_support.h"

/* Whole connections: many streams, any cuts, any order. */

TEST(Yamux, AThousandStreamsEcho)
{
    Peer client(true), server(false);
    const int total = 1000;
    int opened = 0;
    size_t done = 0;

    server.consuming = client.consuming = false;
    while (done < (size_t)total) {
        while (opened < total && client.yamux.unacked < YAMUX_ACK_BACKLOG_STREAMS_MAX) {
            Stream *stream = client.open();
            ASSERT_NE(stream, nullptr);
            client.write(*stream, std::string(100 + opened % 3000, (char)('a' + opened % 26)));
            yamux_close_write(&client.yamux, &stream->yamux);
            opened++;
        }
        settle(client, server);
        for (auto it = server.streams.begin(); it != server.streams.end();) {
            Stream &stream = *(it++)->second;
            std::string echo = stream.in;
            server.consume(stream, echo.size());
            server.write(stream, echo);
            yamux_close_write(&server.yamux, &stream.yamux);
        }
        settle(client, server);
        for (auto it = client.streams.begin(); it != client.streams.end();) {
            Stream &stream = *(it++)->second;
            ASSERT_TRUE(yamux_finished(&stream.yamux));
            EXPECT_EQ(stream.received_hash, stream.sent_hash);
            server.forget(stream.yamux.id);
            client.forget(stream.yamux.id);
            done++;
        }
    }
    EXPECT_EQ(client.yamux.buckets, nullptr);
    EXPECT_EQ(server.yamux.buckets, nullptr);
    EXPECT_EQ(client.yamux.unacked + client.yamux.streams_out + server.yamux.streams_in, 0u);
}

namespace {

/* Two ends that do whatever a seed says. */
struct Story {
    struct yamux_budget budget = {0, 4 << 20};
    Random random;
    Peer client, server;
    std::map<uint32_t, std::pair<uint64_t, uint64_t>> closed; /* hashes of what one end sent to its FIN */

    explicit Story(uint64_t seed) : random(seed), client(true, &budget), server(false, &budget)
    {
        client.consuming = server.consuming = false;
    }

    std::string payload()
    {
        static const size_t sizes[] = {1, 10, 1000, 20000, 100000, 300000};
        std::string bytes(1 + random.below(sizes[random.below(6)]), '\0');
        uint64_t word = random.next();

        for (char &byte : bytes)
            byte = (char)(word = word * 6364136223846793005u + 1);
        return bytes;
    }

    void act(Peer &peer)
    {
        Stream *stream = nullptr;

        if (peer.streams.empty() || random.below(8) == 0) {
            peer.open();
            return;
        }
        auto it = peer.streams.begin();
        std::advance(it, (long)random.below(peer.streams.size()));
        stream = it->second.get();
        bool closing = (stream->yamux.state & 4) != 0; /* CLOSING */
        switch (random.below(12)) {
        case 0: case 1: case 2: case 3:
            if (!closing && !yamux_finished(&stream->yamux))
                peer.write(*stream, payload());
            break;
        case 4: case 5: case 6: case 7:
            if (!stream->in.empty())
                peer.consume(*stream, 1 + random.below(stream->in.size()));
            break;
        case 8:
            if (random.below(4) == 0)
                yamux_close_write(&peer.yamux, &stream->yamux);
            break;
        case 9:
            if (random.below(20) == 0 && !yamux_finished(&stream->yamux)) {
                yamux_reset(&peer.yamux, &stream->yamux, (uint32_t)random.next());
                stream->clear();
            }
            break;
        case 10:
            yamux_ping(&peer.yamux, peer.now_ns);
            break;
        default:
            if (yamux_finished(&stream->yamux) || random.below(50) == 0)
                peer.forget(stream->yamux.id);
        }
    }

    void carry(Peer &from, Peer &to)
    {
        struct yamux_chunk chunk;

        from.payload_max = (uint32_t)(1 + random.below(YAMUX_PAYLOAD_BYTES_MAX));
        for (size_t i = random.below(6); i > 0 && from.send_one(&chunk); i--)
            ;
        ASSERT_EQ(to.feed(from.take_wire(random.below(3) ? SIZE_MAX : random.below(50))), 0);
    }

    /* What one end sent on a stream is what the other received so far, or a beginning of it. */
    void check(const Peer &from, const Peer &to)
    {
        for (const auto &entry : from.streams) {
            const Stream &sent = *entry.second;
            auto there = to.streams.find(entry.first);

            EXPECT_LE(sent.yamux.recv_window + sent.in.size(), (size_t)YAMUX_WINDOW_BYTES_MAX);
            if (there == to.streams.end())
                continue;
            EXPECT_LE(there->second->received_bytes, sent.sent_bytes);
            if (there->second->fin) {
                EXPECT_EQ(there->second->received_bytes, sent.sent_bytes);
                EXPECT_EQ(there->second->received_hash, sent.sent_hash);
            }
        }
        EXPECT_LE(from.yamux.window_growth_bytes, budget.used_bytes);
    }

    void run(int steps)
    {
        for (int i = 0; i < steps; i++) {
            client.now_ns = server.now_ns += random.below(100000);
            act(random.below(2) ? client : server);
            carry(client, server);
            carry(server, client);
            if (i % 100 == 0) {
                check(client, server);
                check(server, client);
            }
            if (testing::Test::HasFailure())
                return;
        }
    }

    /* All that is owed is delivered. */
    void finish()
    {
        client.payload_max = server.payload_max = YAMUX_PAYLOAD_BYTES_MAX;
        for (Peer *peer : {&client, &server}) {
            peer->consuming = true;
            for (auto &entry : peer->streams) {
                if (!entry.second->in.empty())
                    peer->consume(*entry.second, entry.second->in.size());
                yamux_close_write(&peer->yamux, &entry.second->yamux);
            }
        }
        ASSERT_EQ(server.feed(client.take_wire()), 0);
        ASSERT_EQ(client.feed(server.take_wire()), 0);
        settle(client, server);
        for (auto &entry : server.streams) /* accepted meanwhile */
            yamux_close_write(&server.yamux, &entry.second->yamux);
        for (auto &entry : client.streams)
            yamux_close_write(&client.yamux, &entry.second->yamux);
        settle(client, server);
        for (Peer *peer : {&client, &server}) {
            for (auto &entry : peer->streams) {
                EXPECT_TRUE(yamux_finished(&entry.second->yamux)) << entry.first;
                EXPECT_TRUE(entry.second->waiting() == 0);
            }
        }
        check(client, server);
        check(server, client);
        for (Peer *peer : {&client, &server}) {
            while (!peer->streams.empty())
                peer->forget(peer->streams.begin()->first);
            peer->say();
            EXPECT_EQ(peer->yamux.unacked + peer->yamux.streams_out + peer->yamux.streams_in, 0u);
            EXPECT_EQ(peer->yamux.buckets, nullptr);
            EXPECT_EQ(peer->yamux.farewells, nullptr);
            EXPECT_EQ(peer->yamux.pongs, nullptr);
        }
        EXPECT_EQ(budget.used_bytes, 0u);
    }
};

} // namespace

TEST(Yamux, WhateverTheSeedWhatGoesInComesOut)
{
    for (uint64_t seed = 1; seed <= 25; seed++) {
        Story story(seed);

        SCOPED_TRACE(seed);
        story.run(1000);
        ASSERT_FALSE(HasFailure());
        story.finish();
        ASSERT_FALSE(HasFailure());
    }
}

TEST(Yamux, ByteAtATime)
{
    Peer client(true), server(false);
    Stream *stream = client.open();

    client.write(*stream, std::string(3000, 'q'));
    yamux_close_write(&client.yamux, &stream->yamux);
    yamux_ping(&client.yamux, client.now_ns);
    for (char byte : client.say())
        ASSERT_EQ(server.feed(std::string(1, byte)), 0);
    EXPECT_TRUE(server.at(1).fin);
    EXPECT_EQ(server.at(1).received_hash, stream->sent_hash);
    EXPECT_EQ(server.at(1).received_bytes, 3000u);
    for (char byte : server.say())
        ASSERT_EQ(client.feed(std::string(1, byte)), 0);
    EXPECT_TRUE(stream->acked);
    EXPECT_GT(client.pong_rtt_ns, 0u);
}

TEST(Yamux, IdsMayBeUsedUp)
{
    Peer client(true);
    int error = 0;

    client.yamux.next_id = UINT32_MAX - 4;
    EXPECT_NE(client.open(), nullptr);
    EXPECT_EQ(client.open(&error), nullptr);
    EXPECT_EQ(error, P2P_ERR_CONN_LIMIT);
}
