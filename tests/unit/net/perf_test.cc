#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "net/perf.h"
}
#include "tests/unit/crypto/support.h"

TEST(Perf, ServerReadsToTheEndAndThenSendsWhatWasAskedFor)
{
    for (size_t piece : {1, 3, 8, 9, 100}) {
        struct perf_server server;
        Bytes input = concat({hex("0000000100000002"), Bytes(50, 'x')});

        perf_server_init(&server);
        for (size_t at = 0; at < input.size(); at += piece)
            EXPECT_EQ(perf_server_recv(&server, input.data() + at, std::min(piece, input.size() - at)), 0);
        EXPECT_EQ(perf_server_send_left(&server), 0u);
        EXPECT_FALSE(perf_server_done(&server));
        EXPECT_EQ(perf_server_end(&server), 0);
        EXPECT_EQ(server.upload_bytes, 50u);
        EXPECT_EQ(perf_server_send_left(&server), (1ull << 32) + 2);
        perf_server_sent(&server, 1ull << 32);
        EXPECT_FALSE(perf_server_done(&server));
        perf_server_sent(&server, 2);
        EXPECT_TRUE(perf_server_done(&server));
    }
}

TEST(Perf, ServerRefusesACutHeaderAndBytesAfterTheEnd)
{
    struct perf_server server;
    Bytes header(8, 0);

    perf_server_init(&server);
    EXPECT_EQ(perf_server_end(&server), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(perf_server_recv(&server, header.data(), 7), 0);
    EXPECT_EQ(perf_server_end(&server), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(perf_server_recv(&server, header.data(), 1), 0);
    EXPECT_EQ(perf_server_end(&server), 0);
    EXPECT_TRUE(perf_server_done(&server)); /* nothing was asked for */
    EXPECT_EQ(perf_server_recv(&server, header.data(), 1), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(perf_server_recv(&server, nullptr, 0), 0);
    EXPECT_EQ(perf_server_end(&server), P2P_ERR_STREAM_PROTOCOL);
}

TEST(Perf, ClientSaysHowMuchItWantsAndCounts)
{
    struct perf_client client;
    uint8_t header[PERF_HEADER_BYTES];

    perf_client_init(&client, 100, 0x0102030405060708);
    EXPECT_EQ(perf_client_send_left(&client), 0u);
    EXPECT_TRUE(perf_client_header(&client, header));
    EXPECT_EQ(to_hex(header, 8), "0102030405060708");
    EXPECT_FALSE(perf_client_header(&client, header));
    EXPECT_EQ(perf_client_send_left(&client), 100u);
    perf_client_sent(&client, 100);
    EXPECT_EQ(perf_client_send_left(&client), 0u);
    EXPECT_EQ(perf_client_recv(&client, 8), 0);
    EXPECT_EQ(perf_client_end(&client), P2P_ERR_STREAM_PROTOCOL); /* too early */
    EXPECT_EQ(perf_client_recv(&client, 0x0102030405060700), 0);
    EXPECT_FALSE(perf_client_done(&client));
    EXPECT_EQ(perf_client_end(&client), 0);
    EXPECT_TRUE(perf_client_done(&client));
}

TEST(Perf, ClientRefusesMoreThanItAskedFor)
{
    struct perf_client client;

    perf_client_init(&client, 0, 10);
    EXPECT_EQ(perf_client_recv(&client, 11), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(perf_client_recv(&client, 10), 0);
    EXPECT_EQ(perf_client_recv(&client, 0), 0);
    EXPECT_EQ(perf_client_recv(&client, 1), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(perf_client_end(&client), 0);
    EXPECT_FALSE(perf_client_done(&client)); /* its header was never sent */
}
