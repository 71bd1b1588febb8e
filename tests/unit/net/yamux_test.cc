#include "yamux_support.h"

TEST(Yamux, OpensWithASynAndTakesTheAck)
{
    Peer client(true), server(false);
    Stream *stream = client.open();
    auto said = client.said();

    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], WINDOW, SYN, 1, 0);
    EXPECT_FALSE(yamux_acknowledged(&stream->yamux));
    EXPECT_EQ(server.feed(header(WINDOW, SYN, 1, 0)), 0);
    said = server.said();
    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], WINDOW, ACK, 1, 0);
    EXPECT_EQ(client.feed(header(WINDOW, ACK, 1, 0)), 0);
    EXPECT_TRUE(stream->acked);
    EXPECT_EQ(client.open()->yamux.id, 3u);
    EXPECT_EQ(server.open()->yamux.id, 2u);
}

TEST(Yamux, ALittlePayloadRidesOnSynAndAck)
{
    Peer client(true), server(false);
    Stream *stream = client.open();
    std::string wire;

    client.write(*stream, "request");
    yamux_close_write(&client.yamux, &stream->yamux);
    wire = client.say();
    ASSERT_EQ(frames_of(wire).size(), 1u);
    expect_frame(frames_of(wire)[0], DATA, SYN | FIN, 1, 7);
    server.consuming = false;
    EXPECT_EQ(server.feed(wire), 0);
    EXPECT_EQ(server.at(1).in, "request");
    EXPECT_TRUE(server.at(1).fin);
    server.write(server.at(1), "answer");
    yamux_close_write(&server.yamux, &server.at(1).yamux);
    wire = server.say();
    ASSERT_EQ(frames_of(wire).size(), 1u);
    expect_frame(frames_of(wire)[0], DATA, ACK | FIN, 1, 6);
    EXPECT_TRUE(yamux_finished(&server.at(1).yamux));
    EXPECT_EQ(client.feed(wire), 0);
    EXPECT_TRUE(yamux_finished(&stream->yamux));
    client.forget(1);
    server.forget(1);
    EXPECT_EQ(client.say() + server.say(), "");
}

TEST(Yamux, LargePayloadFollowsItsSyn)
{
    Peer client(true);
    Stream *stream = client.open();

    client.write(*stream, std::string(200000, 'x'));
    yamux_close_write(&client.yamux, &stream->yamux);
    auto said = client.said();
    ASSERT_EQ(said.size(), 5u);
    expect_frame(said[0], WINDOW, SYN, 1, 0);
    expect_frame(said[1], DATA, 0, 1, YAMUX_PAYLOAD_BYTES_MAX);
    expect_frame(said[4], DATA, FIN, 1, 200000 - 3 * YAMUX_PAYLOAD_BYTES_MAX);
}

TEST(Yamux, OneFrameYieldsOpenThenDataThenFin)
{
    std::string wire = data_frame(SYN | FIN, 1, "hello");

    for (size_t piece = 1; piece <= wire.size(); piece++) {
        Peer server(false);
        std::vector<yamux_event_type> order;

        for (size_t at = 0; at < wire.size(); at += piece)
            ASSERT_EQ(server.feed(wire.substr(at, piece)), 0);
        for (auto &event : server.events)
            if (order.empty() || event.first != order.back())
                order.push_back(event.first);
        EXPECT_EQ(order, (std::vector<yamux_event_type>{YAMUX_EVENT_OPEN, YAMUX_EVENT_DATA, YAMUX_EVENT_FIN}));
        EXPECT_EQ(server.at(1).received_bytes, 5u);
    }
}
