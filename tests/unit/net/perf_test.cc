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
