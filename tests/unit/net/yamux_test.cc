#include "yamux_support.h"

#include <algorithm>

TEST(Yamux, OpensWithASynAndTakesTheAck)
{
    Peer client(true), server(false);
    Stream *stream = client.open();
    auto said = client.said();

    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], WINDOW, SYN, 1, 0);
    EXPECT_FALSE(stream->acked);
    EXPECT_EQ(server.feed(header(WINDOW, SYN, 1, 0)), 0);
    said = server.said();
    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], WINDOW, ACK, 1, 0);
    EXPECT_EQ(client.feed(header(WINDOW, ACK, 1, 0)), 0);
    EXPECT_TRUE(stream->acked);
    EXPECT_EQ(client.open()->yamux.id, 3u);
    EXPECT_EQ(server.open()->yamux.id, 2u);
}

TEST(Yamux, ALittlePayloadRidesOnSynAndAckButFinComesAlone)
{
    Peer client(true), server(false);
    Stream *stream = client.open();
    std::string wire;

    client.write(*stream, "request");
    yamux_close_write(&client.yamux, &stream->yamux);
    wire = client.say();
    ASSERT_EQ(frames_of(wire).size(), 2u);
    expect_frame(frames_of(wire)[0], DATA, SYN, 1, 7);
    expect_frame(frames_of(wire)[1], DATA, FIN, 1, 0);
    server.consuming = false;
    EXPECT_EQ(server.feed(wire), 0);
    EXPECT_EQ(server.at(1).in, "request");
    EXPECT_TRUE(server.at(1).fin);
    server.write(server.at(1), "answer");
    yamux_close_write(&server.yamux, &server.at(1).yamux);
    wire = server.say();
    ASSERT_EQ(frames_of(wire).size(), 2u);
    expect_frame(frames_of(wire)[0], DATA, ACK, 1, 6);
    expect_frame(frames_of(wire)[1], DATA, FIN, 1, 0);
    EXPECT_TRUE(yamux_finished(&server.at(1).yamux));
    EXPECT_EQ(client.feed(wire), 0);
    EXPECT_TRUE(yamux_finished(&stream->yamux));
    client.forget(1);
    server.forget(1);
    EXPECT_EQ(client.say() + server.say(), "");
}

TEST(Yamux, TheFrontOfLargePayloadRidesOnItsSyn)
{
    const uint32_t rest = 200000 - YAMUX_RIDE_BYTES_MAX;
    Peer client(true);
    Stream *stream = client.open();

    client.write(*stream, std::string(200000, 'x'));
    yamux_close_write(&client.yamux, &stream->yamux);
    auto said = client.said();
    ASSERT_EQ(said.size(), 6u);
    expect_frame(said[0], DATA, SYN, 1, YAMUX_RIDE_BYTES_MAX);
    expect_frame(said[1], DATA, 0, 1, YAMUX_PAYLOAD_BYTES_MAX);
    expect_frame(said[4], DATA, 0, 1, rest - 3 * YAMUX_PAYLOAD_BYTES_MAX);
    expect_frame(said[5], DATA, FIN, 1, 0);
}

/* zig reads the flags of data frames only, jvm one flag of a frame. */
TEST(Yamux, WithBytesToSendAllFlagsGoOneByOneInDataFrames)
{
    for (size_t bytes : {size_t(1), size_t(YAMUX_RIDE_BYTES_MAX), size_t(5000)}) {
        Peer client(true);
        Stream *closed = client.open();
        client.write(*closed, std::string(bytes, 'x'));
        yamux_close_write(&client.yamux, &closed->yamux);
        Stream *reset = client.open();
        client.write(*reset, "x");
        struct yamux_chunk chunk;
        ASSERT_TRUE(client.send_one(&chunk) && client.send_one(&chunk)); /* SYN */
        yamux_reset(&client.yamux, &reset->yamux, 0);
        reset->clear();
        auto said = client.said();
        for (const Frame &frame : said) {
            EXPECT_EQ(frame.type, (unsigned)DATA);
            EXPECT_LE(__builtin_popcount(frame.flags), 1);
        }
        EXPECT_EQ(std::count_if(said.begin(), said.end(), [](const Frame &frame) { return frame.flags == RST; }), 1);
    }
}

TEST(Yamux, AFinWaitsForTheWindowUpdateBeforeIt)
{
    Peer client(true);
    Stream *stream = client.open();

    client.say();
    ASSERT_EQ(client.feed(data_frame(ACK, 1, std::string(200000, 'x'))), 0); /* consumed: an update is due */
    yamux_close_write(&client.yamux, &stream->yamux);
    auto said = client.said();
    ASSERT_EQ(said.size(), 2u);
    expect_frame(said[0], WINDOW, 0, 1, 200000);
    expect_frame(said[1], DATA, FIN, 1, 0);
    EXPECT_EQ(client.say(), "");
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
        ASSERT_EQ(order.size(), 3u);
        EXPECT_EQ(order[0], YAMUX_EVENT_OPEN);
        EXPECT_EQ(order[1], YAMUX_EVENT_DATA);
        EXPECT_EQ(order[2], YAMUX_EVENT_FIN);
        EXPECT_EQ(server.at(1).received_bytes, 5u);
    }
}

TEST(Yamux, SaysWhatItIsAskedInOrderOfOpening)
{
    Peer client(true);

    for (int i = 0; i < 10; i++) {
        Stream *stream = client.open();
        client.write(*stream, std::string(i % 2 ? 10 : 5000, 'x'));
    }
    uint32_t expected = 1;
    for (const Frame &frame : client.said()) {
        if (!(frame.flags & SYN))
            continue;
        EXPECT_EQ(frame.id, expected);
        expected += 2;
    }
    EXPECT_EQ(expected, 21u);
}

TEST(Yamux, TakesFlagsOnEitherTypeOfFrame)
{
    Peer client(true);
    Stream *a = client.open(), *b = client.open(), *c = client.open(), *d = client.open();

    client.say();
    EXPECT_EQ(client.feed(data_frame(ACK | FIN, 1, "")), 0);
    EXPECT_TRUE(a->acked && a->fin);
    EXPECT_EQ(client.feed(header(WINDOW, ACK | FIN, 3, 1000)), 0);
    EXPECT_TRUE(b->acked && b->fin);
    EXPECT_EQ(yamux_send_room(&b->yamux), YAMUX_WINDOW_BYTES_MIN + 1000u);
    EXPECT_EQ(client.feed(header(WINDOW, ACK | RST, 5, 0x1003)), 0);
    EXPECT_TRUE(c->reset);
    EXPECT_EQ(c->code, 0x1003u);
    EXPECT_EQ(client.feed(data_frame(RST, 7, "late")), 0);
    EXPECT_TRUE(d->reset);
    EXPECT_EQ(d->code, 0u);
    EXPECT_EQ(d->received_bytes, 0u);
}

TEST(Yamux, AStreamIsAcknowledgedOnceAndByAnyAnswer)
{
    Peer client(true);
    Stream *a = client.open(), *b = client.open();

    client.say();
    EXPECT_EQ(client.yamux.unacked, 2u);
    std::string ack = header(WINDOW, ACK, 1, 0);
    EXPECT_EQ(client.feed(ack + ack + data_frame(ACK, 1, "x")), 0);
    EXPECT_TRUE(a->acked);
    EXPECT_EQ(client.feed(data_frame(0, 3, "x") + header(WINDOW, ACK, 3, 0)), 0);
    EXPECT_TRUE(b->acked);
    EXPECT_EQ(client.yamux.unacked, 0u);
}

TEST(Yamux, BacklogOfUnacknowledgedStreamsIsBounded)
{
    Peer client(true), server(false);
    int error = 0;

    for (int i = 0; i < YAMUX_ACK_BACKLOG_STREAMS_MAX; i++)
        ASSERT_NE(client.open(), nullptr);
    EXPECT_EQ(client.open(&error), nullptr);
    EXPECT_EQ(error, P2P_ERR_CALL_FULL);
    client.forget(1); /* never said: the peer hears nothing of it */
    EXPECT_NE(client.open(), nullptr);
    EXPECT_EQ(client.open(), nullptr);
    settle(client, server);
    EXPECT_EQ(server.streams.size(), 256u);
    EXPECT_EQ(server.streams.count(1), 0u);
    EXPECT_NE(client.open(), nullptr);
}

TEST(Yamux, StreamsOfThePeerAreBounded)
{
    Peer client(true), server(false);

    for (int i = 0; i < YAMUX_STREAMS_IN_MAX; i++) {
        ASSERT_NE(client.open(), nullptr);
        if (i % 200 == 0)
            settle(client, server);
    }
    settle(client, server);
    EXPECT_EQ(server.streams.size(), (size_t)YAMUX_STREAMS_IN_MAX);
    Stream *extra = client.open();
    settle(client, server);
    EXPECT_TRUE(extra->reset);
    EXPECT_EQ(extra->code, (uint32_t)YAMUX_RESET_RESOURCE_LIMIT);
    client.forget(1);
    settle(client, server);
    server.forget(1);
    extra = client.open();
    settle(client, server);
    EXPECT_TRUE(extra->acked);
}

TEST(Yamux, RefusesWithACode)
{
    Peer client(true), server(false);
    Stream *stream = client.open();

    server.accepting = false;
    client.write(*stream, "thrown away");
    settle(client, server);
    EXPECT_TRUE(stream->reset);
    EXPECT_EQ(stream->code, 7u);
    EXPECT_EQ(client.yamux.unacked, 0u);
    EXPECT_EQ(server.yamux.farewells, nullptr);
    client.forget(1);
    EXPECT_EQ(client.say(), "");
}

TEST(Yamux, AFloodOfOpensEndsInAGoAway)
{
    Peer server(false);
    int result = 0;
    uint32_t id = 1;

    server.accepting = false;
    for (; result == 0 && id < 3000; id += 2)
        result = server.feed(header(WINDOW, SYN, id, 0));
    EXPECT_EQ(result, P2P_ERR_CONN_LIMIT);
    EXPECT_EQ(server.refused.size(), YAMUX_REFUSALS_MAX + 1u);
    EXPECT_EQ(server.feed(header(WINDOW, SYN, id, 0)), P2P_ERR_CONN_LIMIT);
    auto said = server.said();
    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], GOAWAY, 0, 0, YAMUX_GOAWAY_RESOURCE_LIMIT);
}

TEST(Yamux, ClosingAThousandStreamsAtOnceIsNoFlood)
{
    Peer client(true), server(false);

    for (int i = 0; i < 1000; i++) {
        client.open();
        if (i % 100 == 0)
            settle(client, server);
    }
    settle(client, server);
    while (!client.streams.empty())
        client.forget(client.streams.begin()->first);
    while (!server.streams.empty())
        server.forget(server.streams.begin()->first);
    EXPECT_EQ(client.yamux.streams_out, 1000u); /* until it is said */
    settle(client, server);
    EXPECT_EQ(client.yamux.streams_out, 0u);
    EXPECT_EQ(server.yamux.streams_in, 0u);
    EXPECT_EQ(client.yamux.farewells, nullptr);
    EXPECT_EQ(client.yamux.buckets, nullptr);
}

TEST(Yamux, StreamsGivenUpButNotYetSaidStillCount)
{
    Peer server(false);
    uint32_t id = 1;

    for (int i = 0; i < YAMUX_STREAMS_IN_MAX; i++, id += 2) {
        ASSERT_EQ(server.feed(header(WINDOW, SYN, id, 0)), 0);
        server.forget(id);
    }
    for (int i = 0; i < YAMUX_REFUSALS_MAX; i++, id += 2)
        ASSERT_EQ(server.feed(header(WINDOW, SYN, id, 0)), 0);
    EXPECT_EQ(server.yamux.farewell_count, YAMUX_STREAMS_IN_MAX + YAMUX_REFUSALS_MAX);
    EXPECT_EQ(server.feed(header(WINDOW, SYN, id, 0)), P2P_ERR_CONN_LIMIT);
}

/* ---- what is refused ---- */

static int fed(const std::string &bytes, bool client = false)
{
    Peer peer(client);
    int result = peer.feed(bytes);

    if (result != 0) {
        auto said = peer.said();
        bool last = !said.empty() && said.back().type == GOAWAY && said.back().id == 0;
        EXPECT_TRUE(last && said.back().length == YAMUX_GOAWAY_PROTOCOL && said.size() == 1);
        EXPECT_EQ(peer.feed("x"), result);
        EXPECT_EQ(peer.say(), "");
    }
    return result;
}

TEST(Yamux, RefusesWhatIsMalformed)
{
    EXPECT_EQ(fed(header(DATA, SYN, 1, 0, 1)), P2P_ERR_CONN_PROTOCOL);        /* version */
    EXPECT_EQ(fed(header(4, 0, 0, 0)), P2P_ERR_CONN_PROTOCOL);                /* type */
    EXPECT_EQ(fed(header(255, SYN, 1, 0)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(WINDOW, SYN, 2, 0)), P2P_ERR_CONN_PROTOCOL);         /* our own parity */
    EXPECT_EQ(fed(header(WINDOW, SYN, 1, 0), true), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(WINDOW, SYN, 0, 0)), P2P_ERR_CONN_PROTOCOL);         /* the session's id */
    EXPECT_EQ(fed(header(DATA, 0, 0, 0)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(PING, SYN, 1, 0)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(GOAWAY, 0, 1, 0)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(WINDOW, SYN, 1, 0) + header(WINDOW, SYN, 1, 0)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(data_frame(SYN, 1, "a") + data_frame(SYN, 1, "b")), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(data_frame(SYN | FIN, 1, "a") + data_frame(0, 1, "b")), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(WINDOW, SYN, 1, 0)), 0);
    EXPECT_EQ(fed(header(WINDOW, SYN, 2, 0), true), 0);
}

TEST(Yamux, AWindowMayBeFilledButNotOverrun)
{
    Peer server(false);
    std::string half(YAMUX_WINDOW_BYTES_MIN / 2, 'x');

    server.consuming = false;
    EXPECT_EQ(server.feed(data_frame(SYN, 1, half) + data_frame(0, 1, half)), 0);
    EXPECT_EQ(server.at(1).in.size(), (size_t)YAMUX_WINDOW_BYTES_MIN);
    server.say();
    EXPECT_EQ(server.feed(header(DATA, 0, 1, 1)), P2P_ERR_CONN_FLOW);
    auto said = server.said();
    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], GOAWAY, 0, 0, YAMUX_GOAWAY_PROTOCOL);
    EXPECT_EQ(fed(header(DATA, SYN, 1, YAMUX_WINDOW_BYTES_MIN + 1)), P2P_ERR_CONN_FLOW);
}

TEST(Yamux, AWindowUpdateIsADeltaAndMayNotOverflow)
{
    const uint32_t most = UINT32_MAX - YAMUX_WINDOW_BYTES_MIN;
    Peer server(false);

    EXPECT_EQ(server.feed(header(WINDOW, SYN, 1, most)), 0);
    EXPECT_EQ(yamux_send_room(&server.at(1).yamux), UINT32_MAX);
    EXPECT_EQ(server.feed(header(WINDOW, 0, 1, 0)), 0);
    EXPECT_EQ(server.feed(header(WINDOW, RST, 3, UINT32_MAX)), 0);
    EXPECT_EQ(server.feed(header(WINDOW, 0, 1, 1)), P2P_ERR_CONN_PROTOCOL);
    EXPECT_EQ(fed(header(WINDOW, SYN, 1, most + 1)), P2P_ERR_CONN_PROTOCOL);
}

TEST(Yamux, WhatConcernsUnknownStreamsIsDrained)
{
    for (size_t piece : {1, 5, 12, 13, 100}) {
        Peer server(false);
        std::string wire = data_frame(0, 1, "nobody") + header(WINDOW, 0, 3, UINT32_MAX) +
                           data_frame(FIN, 5, "") + header(WINDOW, RST, 7, 1) +
                           data_frame(ACK, 8, std::string(300, 'x')) + data_frame(SYN | RST, 11, "gone") + data_frame(SYN, 9, "known");

        for (size_t at = 0; at < wire.size(); at += piece)
            ASSERT_EQ(server.feed(wire.substr(at, piece)), 0);
        EXPECT_EQ(server.streams.size(), 1u);
        EXPECT_EQ(server.at(9).received_bytes, 5u);
    }
}

/* ---- closing ---- */

TEST(Yamux, EitherHalfMayCloseFirst)
{
    for (bool client_first : {true, false}) {
        Peer client(true), server(false);
        client.open();
        settle(client, server);
        Peer &first = client_first ? client : server, &second = client_first ? server : client;

        yamux_close_write(&first.yamux, &first.at(1).yamux);
        settle(client, server);
        EXPECT_TRUE(second.at(1).fin);
        EXPECT_FALSE(yamux_finished(&first.at(1).yamux) || yamux_finished(&second.at(1).yamux));
        second.write(second.at(1), std::string(600000, 'y')); /* more than a window: updates still flow */
        yamux_close_write(&second.yamux, &second.at(1).yamux);
        settle(client, server);
        EXPECT_EQ(first.at(1).received_bytes, 600000u);
        EXPECT_TRUE(yamux_finished(&first.at(1).yamux) && yamux_finished(&second.at(1).yamux));
        client.forget(1);
        server.forget(1);
        EXPECT_EQ(client.say() + server.say(), "");
    }
}

TEST(Yamux, NoWindowUpdatesAfterTheEnd)
{
    Peer server(false);

    server.consuming = false;
    EXPECT_EQ(server.feed(data_frame(SYN | FIN, 1, std::string(200000, 'x'))), 0);
    server.say();
    server.consume(server.at(1), 200000);
    EXPECT_EQ(server.say(), "");
    EXPECT_EQ(server.feed(data_frame(SYN, 3, std::string(200000, 'x'))), 0);
    server.say();
    server.consume(server.at(3), 200000);
    EXPECT_EQ(server.feed(data_frame(FIN, 3, "")), 0); /* the update was due, but not said yet */
    EXPECT_EQ(server.say(), "");
}

TEST(Yamux, AResetTellsItsCodeAndDropsTheQueue)
{
    Peer client(true), server(false);
    Stream *stream = client.open();

    settle(client, server);
    client.write(*stream, std::string(1000, 'x'));
    yamux_reset(&client.yamux, &stream->yamux, 0x1234);
    stream->clear();
    EXPECT_TRUE(yamux_finished(&stream->yamux));
    EXPECT_EQ(yamux_send_room(&stream->yamux), 0u);
    yamux_queue(&client.yamux, &stream->yamux, 5);
    yamux_close_write(&client.yamux, &stream->yamux);
    yamux_reset(&client.yamux, &stream->yamux, 9);
    auto said = frames_of(client.wire = client.say());
    ASSERT_EQ(said.size(), 1u);
    expect_frame(said[0], WINDOW, RST, 1, 0x1234);
    EXPECT_EQ(server.feed(client.take_wire()), 0);
    EXPECT_TRUE(server.at(1).reset);
    EXPECT_EQ(server.at(1).code, 0x1234u);
    EXPECT_EQ(server.at(1).received_bytes, 0u);
}

TEST(Yamux, AStreamNeverMentionedIsResetInSilence)
{
    Peer client(true);
    Stream *stream = client.open();

    client.write(*stream, "x");
    yamux_reset(&client.yamux, &stream->yamux, 1);
    EXPECT_EQ(client.say(), "");
    client.forget(1);
    EXPECT_EQ(client.say(), "");
    EXPECT_EQ(client.yamux.unacked + client.yamux.streams_out, 0u);
}

TEST(Yamux, LateDataAfterAResetIsDrainedWhetherForgottenOrNot)
{
    for (bool forgotten : {false, true}) {
        Peer server(false);

        EXPECT_EQ(server.feed(header(WINDOW, SYN, 1, 0)), 0);
        server.say();
        yamux_reset(&server.yamux, &server.at(1).yamux, 3);
        if (forgotten)
            server.forget(1);
        for (int i = 0; i < 10; i++) /* far beyond the window */
            ASSERT_EQ(server.feed(data_frame(0, 1, std::string(100000, 'x'))), 0);
        EXPECT_EQ(server.feed(header(WINDOW, 0, 1, UINT32_MAX) + data_frame(FIN, 1, "")), 0);
        EXPECT_EQ(server.feed(header(WINDOW, RST, 1, 5)), 0);
        EXPECT_EQ(server.events.size(), 1u);
        auto said = server.said();
        ASSERT_EQ(said.size(), 1u);
        expect_frame(said[0], WINDOW, RST, 1, 3);
    }
}

TEST(Yamux, AStreamMayGoInTheMiddleOfAFrame)
{
    for (bool forgotten : {false, true}) {
        Peer server(false);

        EXPECT_EQ(server.feed(data_frame(SYN | FIN, 1, "abcdef").substr(0, 15)), 0);
        EXPECT_EQ(server.at(1).in.size() + server.at(1).received_bytes, 3u);
        if (forgotten)
            server.forget(1);
        else
            yamux_reset(&server.yamux, &server.at(1).yamux, 0);
        EXPECT_EQ(server.feed("def" + data_frame(SYN, 3, "next")), 0);
        EXPECT_EQ(server.at(3).received_bytes, 4u);
        for (auto &event : server.events)
            EXPECT_NE(event.first, YAMUX_EVENT_FIN);
    }
}

TEST(Yamux, WhatAForgottenStreamOwesIsStillSaid)
{
    Peer server(false);

    EXPECT_EQ(server.feed(data_frame(SYN | FIN, 1, "")), 0); /* answered with FIN: ACK and FIN are owed */
    yamux_close_write(&server.yamux, &server.at(1).yamux);
    server.forget(1);
    EXPECT_EQ(server.feed(data_frame(SYN, 3, "")), 0); /* not finished: RST */
    yamux_close_write(&server.yamux, &server.at(3).yamux);
    server.forget(3);
    EXPECT_EQ(server.feed(data_frame(SYN | FIN, 5, "")), 0); /* its queue was not sent: RST */
    server.write(server.at(5), "lost");
    yamux_close_write(&server.yamux, &server.at(5).yamux);
    server.forget(5);
    EXPECT_EQ(server.feed(data_frame(SYN, 7, "")), 0);
    yamux_reset(&server.yamux, &server.at(7).yamux, 77);
    server.forget(7);
    EXPECT_EQ(server.yamux.buckets, nullptr);
    EXPECT_EQ(server.yamux.streams_in, 4u);
    auto said = server.said();
    ASSERT_EQ(said.size(), 4u);
    expect_frame(said[0], DATA, ACK | FIN, 1, 0);
    expect_frame(said[1], DATA, RST, 3, 0);
    expect_frame(said[2], DATA, RST, 5, 0);
    expect_frame(said[3], WINDOW, RST, 7, 77);
    EXPECT_EQ(server.yamux.streams_in, 0u);
    EXPECT_EQ(server.yamux.farewells, nullptr);
}

TEST(Yamux, AnswersAResetByForgettingOnly)
{
    Peer client(true);
    Stream *stream = client.open();

    client.write(*stream, std::string(5000, 'x'));
    yamux_close_write(&client.yamux, &stream->yamux);
    EXPECT_EQ(client.feed(header(WINDOW, RST, 1, 9)), 0);
    EXPECT_TRUE(stream->reset);
    EXPECT_EQ(client.say(), "");
    client.forget(1);
    EXPECT_EQ(client.say(), "");
}

/* ---- pings and GoAway ---- */

TEST(Yamux, PingsAreAnsweredAheadOfAllElse)
{
    Peer server(false);

    EXPECT_EQ(server.feed(data_frame(SYN, 1, "x")), 0);
    server.write(server.at(1), std::string(5000, 'x'));
    for (uint32_t i = 0; i < YAMUX_PONGS_MAX + 10; i++)
        EXPECT_EQ(server.feed(header(PING, SYN, 0, 0xfffffff0 + i)), 0);
    auto said = server.said();
    ASSERT_GT(said.size(), (size_t)YAMUX_PONGS_MAX);
    for (uint32_t i = 0; i < YAMUX_PONGS_MAX; i++)
        expect_frame(said[i], PING, ACK, 0, 0xfffffff0 + i);
    EXPECT_NE(said[YAMUX_PONGS_MAX].type, (unsigned)PING);
    EXPECT_EQ(server.yamux.pongs, nullptr);
}

TEST(Yamux, MeasuresTheRoundTrip)
{
    Peer client(true);

    EXPECT_EQ(yamux_ping_outstanding_ns(&client.yamux), 0u);
    yamux_ping(&client.yamux, 1000);
    yamux_ping(&client.yamux, 2000); /* one at a time */
    EXPECT_EQ(yamux_ping_outstanding_ns(&client.yamux), 1000u);
    EXPECT_EQ(client.feed(header(PING, ACK, 0, 1)), 0); /* before it was sent */
    auto said = client.said();
    ASSERT_EQ(said.size(), 1u);
    EXPECT_EQ(said[0].flags, (unsigned)SYN);
    client.now_ns = 51000;
    EXPECT_EQ(client.feed(header(PING, ACK, 0, said[0].length + 1)), 0);
    EXPECT_EQ(client.pong_rtt_ns, 0u);
    EXPECT_EQ(client.feed(header(PING, ACK, 0, said[0].length)), 0);
    EXPECT_EQ(client.pong_rtt_ns, 50000u);
    EXPECT_EQ(client.yamux.rtt_ns, 50000u);
    EXPECT_EQ(yamux_ping_outstanding_ns(&client.yamux), 0u);
    client.pong_rtt_ns = 0;
    EXPECT_EQ(client.feed(header(PING, ACK, 0, said[0].length)), 0); /* once */
    EXPECT_EQ(client.pong_rtt_ns, 0u);
}

TEST(Yamux, AShorterRoundTripCountsAtOnceALongerOneSlowly)
{
    Peer client(true);

    for (uint64_t rtt_ns : {8000, 4000, 12000, 4500}) {
        yamux_ping(&client.yamux, client.now_ns);
        auto said = client.said();
        ASSERT_EQ(said.size(), 1u);
        client.now_ns += rtt_ns;
        EXPECT_EQ(client.feed(header(PING, ACK, 0, said[0].length)), 0);
        EXPECT_EQ(client.pong_rtt_ns, rtt_ns);
        EXPECT_EQ(client.yamux.rtt_ns, rtt_ns == 12000 ? 5000u : rtt_ns);
    }
}

TEST(Yamux, GoAwayEndsOpening)
{
    Peer client(true), server(false);
    int error = 0;

    client.open();
    settle(client, server);
    yamux_goaway(&server.yamux, 0x1005);
    yamux_goaway(&server.yamux, 1);
    EXPECT_EQ(server.open(&error), nullptr);
    EXPECT_EQ(error, P2P_ERR_CONN_GOAWAY);
    Stream *crossing = client.open();
    EXPECT_EQ(server.feed(client.say()), 0); /* it could not know */
    EXPECT_EQ(client.feed(server.say()), 0);
    EXPECT_EQ(client.goaway_code, 0x1005u);
    EXPECT_TRUE(crossing->reset);
    EXPECT_EQ(crossing->code, (uint32_t)YAMUX_RESET_SHUTDOWN);
    EXPECT_EQ(client.open(&error), nullptr);
    EXPECT_EQ(error, P2P_ERR_CONN_GOAWAY);
    server.write(server.at(1), "streams that are open go on");
    settle(client, server);
    EXPECT_EQ(client.at(1).received_bytes, 27u);
}

TEST(Yamux, OnlyThePeersFirstGoAwayIsAnEvent)
{
    struct yamux_event event;
    size_t taken;
    std::string twice = header(GOAWAY, 0, 0, 0x1005) + header(GOAWAY, 0, 0, 1);
    auto data = reinterpret_cast<const uint8_t *>(twice.data());
    Peer client(true);

    ASSERT_EQ(yamux_recv(&client.yamux, data, twice.size(), &taken, &event, 1), 0);
    EXPECT_EQ(event.type, YAMUX_EVENT_GOAWAY);
    EXPECT_EQ(event.code, 0x1005u);
    EXPECT_EQ(taken, 12u);
    ASSERT_EQ(yamux_recv(&client.yamux, data + 12, twice.size() - 12, &taken, &event, 1), 0);
    EXPECT_EQ(event.type, YAMUX_EVENT_NONE);
    EXPECT_EQ(taken, 12u);
}

TEST(Yamux, ANormalGoAwayWaitsForThePayload)
{
    for (uint32_t code : {0u, 0x1005u}) {
        Peer client(true);
        Stream *stream = client.open();

        client.say();
        client.write(*stream, std::string(3 * YAMUX_WINDOW_BYTES_MIN, 'x'));
        yamux_goaway(&client.yamux, code);
        auto said = client.said();
        ASSERT_GE(said.size(), 5u);
        expect_frame(code == 0 ? said.back() : said.front(), GOAWAY, 0, 0, code);
    }
}
