#include "yamux_support.h"

#include <atomic>
#include <thread>
#include <vector>

/* ---- windows ---- */

TEST(Yamux, UpdatesTheWindowWhenHalfWasConsumed)
{
    Peer server(false);
    const uint32_t half = YAMUX_WINDOW_BYTES_MIN / 2;

    server.consuming = false;
    EXPECT_EQ(server.feed(data_frame(SYN, 1, std::string(YAMUX_WINDOW_BYTES_MIN, 'x'))), 0);
    server.say();
    server.consume(server.at(1), half - 1);
    EXPECT_EQ(server.say(), "");
    server.consume(server.at(1), 1);
    server.consume(server.at(1), 10); /* goes with it */
    auto said = server.said();
    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], WINDOW, 0, 1, half + 10);
    EXPECT_EQ(server.feed(data_frame(0, 1, std::string(half + 10, 'x'))), 0);
    EXPECT_EQ(server.feed(header(DATA, 0, 1, 1)), P2P_ERR_CONN_FLOW);
}

TEST(Yamux, TellsWhenThereIsRoomAgain)
{
    Peer client(true), server(false);
    Stream *stream = client.open();

    server.consuming = false;
    settle(client, server);
    client.write(*stream, std::string(YAMUX_WINDOW_BYTES_MIN - 1, 'x'));
    EXPECT_EQ(yamux_send_room(&stream->yamux), 1u);
    client.write(*stream, std::string(1000, 'x'));
    EXPECT_EQ(yamux_send_room(&stream->yamux), 0u);
    settle(client, server);
    EXPECT_EQ(stream->sent_bytes, (uint64_t)YAMUX_WINDOW_BYTES_MIN);
    EXPECT_EQ(stream->waiting(), 999u);
    EXPECT_FALSE(stream->writable);
    server.consume(server.at(1), 200000);
    settle(client, server);
    EXPECT_TRUE(stream->writable);
    EXPECT_EQ(stream->waiting(), 0u);
    EXPECT_EQ(yamux_send_room(&stream->yamux), 200000u - 999);
    stream->writable = false;
    EXPECT_EQ(client.feed(header(WINDOW, 0, 1, 5)), 0); /* there was room all along */
    EXPECT_FALSE(stream->writable);
}

TEST(Yamux, AClosingStreamSendsItsTailWhenTheWindowOpens)
{
    Peer client(true), server(false);
    Stream *stream = client.open();

    server.consuming = false;
    client.write(*stream, std::string(YAMUX_WINDOW_BYTES_MIN + 10, 'x'));
    yamux_close_write(&client.yamux, &stream->yamux);
    settle(client, server);
    EXPECT_FALSE(server.at(1).fin);
    server.consume(server.at(1), YAMUX_WINDOW_BYTES_MIN);
    settle(client, server);
    EXPECT_TRUE(server.at(1).fin);
    EXPECT_FALSE(stream->writable);
    EXPECT_EQ(server.at(1).received_hash, stream->sent_hash);
}

/* One end sends all the window allows each `rtt`; the other reads it at once. */
static void rounds(Peer &client, Peer &server, Stream &stream, int count, uint64_t rtt_ns)
{
    for (int i = 0; i < count; i++) {
        client.write(stream, std::string(yamux_send_room(&stream.yamux), 'x'));
        std::string wire = client.say();
        server.now_ns = client.now_ns += rtt_ns / 2;
        ASSERT_EQ(server.feed(wire), 0);
        wire = server.say();
        server.now_ns = client.now_ns += rtt_ns / 2;
        ASSERT_EQ(client.feed(wire), 0);
    }
}

static void measure_rtt(Peer &client, Peer &server, uint64_t rtt_ns)
{
    yamux_ping(&server.yamux, server.now_ns);
    std::string wire = server.say();
    ASSERT_EQ(client.feed(wire), 0);
    server.now_ns = client.now_ns += rtt_ns;
    ASSERT_EQ(server.feed(client.say()), 0);
    ASSERT_EQ(server.yamux.rtt_ns, rtt_ns);
}

TEST(Yamux, AWindowGrowsWhileThePeerWaitsForIt)
{
    const uint64_t rtt_ns = 50000000;
    struct yamux_budget budget = {0, 100 << 20};
    Peer client(true), server(false, &budget);
    Stream *stream = client.open();

    settle(client, server);
    rounds(client, server, *stream, 3, rtt_ns); /* the round trip is not known yet */
    EXPECT_EQ(server.at(1).yamux.recv_window_max, (uint32_t)YAMUX_WINDOW_BYTES_MIN);
    measure_rtt(client, server, rtt_ns);
    rounds(client, server, *stream, 10, rtt_ns);
    EXPECT_EQ(server.at(1).yamux.recv_window_max, (uint32_t)YAMUX_WINDOW_BYTES_MAX);
    EXPECT_EQ(budget.used_bytes, (uint64_t)YAMUX_WINDOW_BYTES_MAX - YAMUX_WINDOW_BYTES_MIN);
    EXPECT_EQ(server.yamux.window_growth_bytes, budget.used_bytes);
    EXPECT_EQ(yamux_send_room(&stream->yamux), (uint32_t)YAMUX_WINDOW_BYTES_MAX);
    server.forget(1);
    EXPECT_EQ(budget.used_bytes, 0u);
    EXPECT_EQ(server.yamux.window_growth_bytes, 0u);
}

TEST(Yamux, AWindowIsEnoughForASlowReader)
{
    const uint64_t rtt_ns = 50000000;
    Peer client(true), server(false);
    Stream *stream = client.open();

    settle(client, server);
    measure_rtt(client, server, rtt_ns);
    for (int i = 0; i < 10; i++) { /* half a window in two round trips */
        client.write(*stream, std::string(YAMUX_WINDOW_BYTES_MIN / 2, 'x'));
        server.now_ns = client.now_ns += YAMUX_WINDOW_GROWTH_RTTS * rtt_ns;
        settle(client, server);
    }
    EXPECT_EQ(stream->sent_bytes, 10u * YAMUX_WINDOW_BYTES_MIN / 2);
    EXPECT_EQ(server.at(1).yamux.recv_window_max, (uint32_t)YAMUX_WINDOW_BYTES_MIN);
}

/* The first measurement waits for all that a new connection has to do. */
TEST(Yamux, AWindowGrowsByTheShortestRoundTrip)
{
    const uint64_t rtt_ns = 1000000;
    Peer client(true), server(false);
    Stream *stream = client.open();

    settle(client, server);
    measure_rtt(client, server, 100 * rtt_ns);
    rounds(client, server, *stream, 1, rtt_ns); /* grows, and asks how long it takes now */
    EXPECT_EQ(server.at(1).yamux.recv_window_max, 2u * YAMUX_WINDOW_BYTES_MIN);
    EXPECT_NE(yamux_ping_outstanding_ns(&server.yamux), 0u);
    ASSERT_EQ(server.feed(client.say()), 0);
    EXPECT_LE(server.yamux.rtt_ns, rtt_ns);
    for (int i = 0; i < 10; i++) { /* half a window in four such round trips */
        client.write(*stream, std::string(YAMUX_WINDOW_BYTES_MIN, 'x'));
        server.now_ns = client.now_ns += 4 * rtt_ns;
        settle(client, server);
    }
    EXPECT_EQ(server.at(1).yamux.recv_window_max, 2u * YAMUX_WINDOW_BYTES_MIN);
}

TEST(Yamux, GrowthStaysWithinTheConnectionAndTheBudget)
{
    const uint64_t rtt_ns = 50000000;
    struct yamux_budget budget = {0, 1000000};

    for (bool by_budget : {true, false}) {
        Peer client(true), server(false, by_budget ? &budget : nullptr, by_budget ? 8 << 20 : 1000000);

        measure_rtt(client, server, rtt_ns);
        for (int i = 0; i < 3; i++) {
            Stream *stream = client.open();
            settle(client, server);
            rounds(client, server, *stream, 10, rtt_ns);
            EXPECT_EQ(stream->sent_hash, server.at(stream->yamux.id).received_hash);
        }
        EXPECT_LE(server.yamux.window_growth_bytes, 1000000u);
        EXPECT_GT(server.yamux.window_growth_bytes, 1000000u - YAMUX_WINDOW_GROWTH_BYTES_MIN);
        if (by_budget) {
            EXPECT_EQ(budget.used_bytes, server.yamux.window_growth_bytes);
            yamux_reset(&server.yamux, &server.at(1).yamux, 0); /* gives its own back */
            EXPECT_EQ(budget.used_bytes, server.yamux.window_growth_bytes);
            EXPECT_LT(budget.used_bytes, 600000u);
        }
    }
    EXPECT_EQ(budget.used_bytes, 0u);
}

/* Connections of several workers grow from one budget. */
TEST(Yamux, ABudgetIsSharedBetweenThreads)
{
    enum { CONNECTIONS = 4, CYCLES = 8 };
    const uint64_t rtt_ns = 50000000;
    struct yamux_budget budget = {0, 600000};
    std::atomic<uint64_t> most{0};
    std::vector<std::thread> threads;

    for (int i = 0; i < CONNECTIONS; i++)
        threads.emplace_back([&] {
            for (int cycle = 0; cycle < CYCLES; cycle++) {
                Peer client(true), server(false, &budget);
                Stream *stream = client.open();
                settle(client, server);
                measure_rtt(client, server, rtt_ns);
                rounds(client, server, *stream, 2, rtt_ns);
                uint64_t used = __atomic_load_n(&budget.used_bytes, __ATOMIC_RELAXED), before = most;
                while (used > before && !most.compare_exchange_weak(before, used))
                    ;
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    EXPECT_GT(most, 0u);
    EXPECT_LE(most, budget.max_bytes);
    EXPECT_EQ(budget.used_bytes, 0u);
}

/* ---- fairness ---- */

TEST(Yamux, SmallStreamsAreNotHeldUpByABulkOne)
{
    Peer client(true);
    Stream *bulk = client.open();
    std::vector<Stream *> small;
    struct yamux_chunk chunk;
    size_t bulk_bytes = 0;

    for (int i = 0; i < 100; i++)
        small.push_back(client.open());
    client.say();
    EXPECT_EQ(client.feed(header(WINDOW, ACK, 1, 100 << 20)), 0);
    client.write(*bulk, std::string(10 << 20, 'b'));
    ASSERT_TRUE(client.send_one(&chunk));
    EXPECT_EQ(chunk.length, (uint32_t)YAMUX_PAYLOAD_BYTES_MAX); /* alone: whole frames */
    for (Stream *stream : small)
        client.write(*stream, std::string(100, 's'));
    for (int i = 0; i < 101; i++) {
        ASSERT_TRUE(client.send_one(&chunk));
        if (chunk.stream == &bulk->yamux) {
            EXPECT_LE(chunk.length, (uint32_t)YAMUX_QUANTUM_BYTES);
            bulk_bytes += chunk.length;
        }
    }
    for (Stream *stream : small)
        EXPECT_EQ(stream->sent_bytes, 100u);
    EXPECT_EQ(bulk_bytes, (size_t)YAMUX_QUANTUM_BYTES); /* one turn of it for one of each of them */
    ASSERT_TRUE(client.send_one(&chunk));
    EXPECT_EQ(chunk.length, (uint32_t)YAMUX_PAYLOAD_BYTES_MAX);
}

TEST(Yamux, BulkStreamsShareWhateverTheRecordSize)
{
    for (uint32_t payload_max : {100u, 1000u, 16384u, 20000u, 65507u}) {
        Peer client(true);
        struct yamux_chunk chunk;

        client.payload_max = payload_max;
        for (int i = 0; i < 4; i++)
            client.write(*client.open(), std::string(200000, 'b'));
        uint64_t sent = 0;
        while (sent < 400000) {
            ASSERT_TRUE(client.send_one(&chunk));
            sent += chunk.length;
        }
        for (auto &entry : client.streams) {
            EXPECT_GE(entry.second->sent_bytes, 100000u - 2 * YAMUX_QUANTUM_BYTES) << payload_max;
            EXPECT_LE(entry.second->sent_bytes, 100000u + 2 * YAMUX_QUANTUM_BYTES) << payload_max;
        }
    }
}

TEST(Yamux, WithoutRoomForPayloadOnlyControlIsSaid)
{
    Peer client(true);
    struct yamux_chunk chunk;
    Stream *stream = client.open();

    client.write(*stream, "x");
    client.payload_max = 0;
    ASSERT_TRUE(client.send_one(&chunk));
    EXPECT_EQ(chunk.length, 0u);
    EXPECT_FALSE(client.send_one(&chunk));
    EXPECT_TRUE(yamux_wants_send(&client.yamux));
    client.payload_max = 1;
    ASSERT_TRUE(client.send_one(&chunk));
    EXPECT_EQ(chunk.length, 1u);
}
