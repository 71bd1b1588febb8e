#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "net/ping.h"
}
#include "tests/unit/crypto/support.h"

static Bytes echo(struct ping_server *server, const Bytes &input, size_t piece)
{
    Bytes out;
    uint8_t payload[PING_PAYLOAD_BYTES];

    for (size_t at = 0; at < input.size();) {
        size_t length = std::min(piece, input.size() - at);
        size_t taken = ping_server_recv(server, input.data() + at, length);

        EXPECT_LE(taken, length);
        at += taken;
        while (ping_server_send(server, payload))
            out.insert(out.end(), payload, payload + sizeof(payload));
    }
    return out;
}

TEST(Ping, ServerEchoesWholePayloadsWhateverTheCuts)
{
    Bytes input = Random(1).bytes(10 * PING_PAYLOAD_BYTES + 5);

    for (size_t piece : {1, 7, 31, 32, 33, 64, 1000}) {
        struct ping_server server;

        ping_server_init(&server);
        EXPECT_EQ(echo(&server, input, piece), Bytes(input.begin(), input.begin() + 320));
    }
}

TEST(Ping, ServerHoldsOnePayloadOnly)
{
    Bytes input = Random(2).bytes(100);
    struct ping_server server;
    uint8_t payload[PING_PAYLOAD_BYTES];

    ping_server_init(&server);
    EXPECT_FALSE(ping_server_send(&server, payload));
    EXPECT_EQ(ping_server_recv(&server, input.data(), input.size()), 32u);
    EXPECT_EQ(ping_server_recv(&server, input.data() + 32, 68), 0u);
    EXPECT_TRUE(ping_server_send(&server, payload));
    EXPECT_EQ(memcmp(payload, input.data(), 32), 0);
    EXPECT_EQ(ping_server_recv(&server, nullptr, 0), 0u);
}

TEST(Ping, ClientMeasuresTheRoundTrip)
{
    Bytes random = Random(3).bytes(PING_PAYLOAD_BYTES);
    struct ping_client client;
    uint64_t rtt_ns = 9;

    ping_client_init(&client);
    for (uint64_t round = 0; round < 3; round++) {
        EXPECT_EQ(ping_client_outstanding_ns(&client), 0u);
        ASSERT_EQ(ping_client_begin(&client, random.data(), 1000), 0);
        EXPECT_EQ(ping_client_begin(&client, random.data(), 1500), P2P_ERR_CALL_STATE);
        EXPECT_EQ(ping_client_outstanding_ns(&client), 1000u);
        EXPECT_EQ(ping_client_recv(&client, &rtt_ns, random.data(), 10, 2000), 0);
        EXPECT_EQ(rtt_ns, 0u);
        EXPECT_EQ(ping_client_recv(&client, &rtt_ns, random.data() + 10, 22, 4000), 0);
        EXPECT_EQ(rtt_ns, 3000u);
    }
    ASSERT_EQ(ping_client_begin(&client, random.data(), 0), 0);
    EXPECT_EQ(ping_client_recv(&client, &rtt_ns, random.data(), 32, 0), 0);
    EXPECT_EQ(rtt_ns, 1u);
}

TEST(Ping, ClientRefusesWhatItDidNotSend)
{
    Bytes random = Random(4).bytes(PING_PAYLOAD_BYTES + 1), wrong = random;
    struct ping_client client;
    uint64_t rtt_ns;

    wrong[31] ^= 1;
    ping_client_init(&client);
    EXPECT_EQ(ping_client_recv(&client, &rtt_ns, nullptr, 0, 5), 0);
    EXPECT_EQ(ping_client_recv(&client, &rtt_ns, random.data(), 1, 5), P2P_ERR_STREAM_PROTOCOL);
    ASSERT_EQ(ping_client_begin(&client, random.data(), 1), 0);
    EXPECT_EQ(ping_client_recv(&client, &rtt_ns, random.data(), 33, 5), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(ping_client_recv(&client, &rtt_ns, wrong.data(), 31, 5), 0);
    EXPECT_EQ(ping_client_recv(&client, &rtt_ns, wrong.data() + 31, 1, 5), P2P_ERR_STREAM_PROTOCOL);
    EXPECT_EQ(rtt_ns, 0u);
}
