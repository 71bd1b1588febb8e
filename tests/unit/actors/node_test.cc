#include "tests/unit/actors/node_fixture.h"

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
#include "crypto/key.h"
}

namespace {

void serve_echo(struct p2p_config *config)
{
    p2p_config_serve_echo(config, true);
}

INSTANTIATE_TEST_SUITE_P(Drivers, NodeTest, testing::Values(REAL_WORLDS, World{DRIVER_SIM, false}), world_name);

/* Where sockets of the test's own take part. */
struct RealNodeTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, RealNodeTest, testing::Values(REAL_WORLDS), world_name);

TEST_P(NodeTest, StartsAndClosesAndLeavesNothing)
{
    Node node(runtime);
    EXPECT_EQ(node.connect("/ip4/127.0.0.1/tcp/1/p2p/" + node.id()), P2P_ERR_CALL_STATE);
    node.start();
    EXPECT_NE(node.address().find("/ip4/127.0.0.1/tcp/"), std::string::npos);
    EXPECT_NE(node.address().find("/p2p/" + node.id()), std::string::npos);
    EXPECT_EQ(p2p_node_start(node.node, &node.text), P2P_ERR_CALL_STATE);
    EXPECT_EQ(p2p_node_close(node.node, 3000), 0);
    EXPECT_EQ(node.counter("actors"), 0);
    node.await(P2P_EVENT_NODE_CLOSED);
    EXPECT_EQ(p2p_node_close(node.node, 0), 0);
    EXPECT_EQ(node.connect("/ip4/127.0.0.1/tcp/1/p2p/" + node.id()), P2P_ERR_NODE_CLOSING);
}

TEST_P(NodeTest, IsClosedWithoutAStartToo)
{
    Node node(runtime);
    EXPECT_EQ(p2p_node_close(node.node, 0), 0);
    node.await(P2P_EVENT_NODE_CLOSED);
    EXPECT_LT(p2p_node_start(node.node, &node.text), 0);
}

TEST_P(NodeTest, ConnectsIdentifiesPingsAndDisconnects)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    for (int round = 0; round < 2; round++) {
        ASSERT_EQ(a.connect(b), 0) << a.text.text;
        EXPECT_EQ(a.await(P2P_EVENT_PEER_CONNECTED).id, b.id());
        EXPECT_EQ(b.await(P2P_EVENT_PEER_CONNECTED).id, a.id());
        EXPECT_EQ(a.await(P2P_EVENT_PEER_IDENTIFIED).id, b.id());
        EXPECT_EQ(b.await(P2P_EVENT_PEER_IDENTIFIED).id, a.id());
        EXPECT_EQ(p2p_node_peers(a.node), 1u);
        uint64_t rtt_ns = 0;
        ASSERT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), TEST_PATIENCE_MS), 0);
        EXPECT_GT(rtt_ns, 0u);
        struct p2p_peer peer;
        size_t count = 0;
        p2p_node_connected_peers(a.node, &peer, 1, &count);
        ASSERT_EQ(count, 1u);
        EXPECT_EQ(peer.id, b.id());
        EXPECT_TRUE(peer.outbound);
        EXPECT_TRUE(peer.identified);
        EXPECT_EQ(std::string(peer.address) + "/p2p/" + b.id(), b.address());
        EXPECT_EQ(p2p_node_disconnect(a.node, b.id().c_str()), 0);
        EXPECT_EQ(a.await(P2P_EVENT_PEER_DISCONNECTED).id, b.id());
        EXPECT_EQ(b.await(P2P_EVENT_PEER_DISCONNECTED).id, a.id());
        EXPECT_EQ(p2p_node_disconnect(a.node, b.id().c_str()), P2P_ERR_CALL_NOT_FOUND);
        EXPECT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), 1000), P2P_ERR_CALL_NOT_FOUND);
        EXPECT_TRUE(a.reaches("connections", 0));
        EXPECT_TRUE(b.reaches("connections", 0));
        EXPECT_EQ(b.counter("handshakes_in"), 0);
    }
}

TEST_P(NodeTest, TellsWhatAPeerSaysOfItself)
{
    Node a(runtime), b(runtime, [](struct p2p_config *config) {
        p2p_config_network_id(config, "a-network");
        p2p_config_agent_version(config, "an-agent/1");
        p2p_config_serve_echo(config, true);
    });
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_identity *identity = nullptr;
    ASSERT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), TEST_PATIENCE_MS), 0);
    EXPECT_EQ(identity->id, b.id());
    EXPECT_STREQ(identity->agent_version, "an-agent/1");
    EXPECT_STREQ(identity->protocol_version, "a-network");
    EXPECT_EQ(std::string(identity->observed_address).rfind("/ip4/127.0.0.1/tcp/", 0), 0u);
    EXPECT_TRUE(identity->signed_record);
    EXPECT_GT(identity->signed_record_seq, 1700000000000000000u);
    EXPECT_EQ(identity->key_type, P2P_KEY_ED25519);
    ASSERT_EQ(identity->address_count, 1u);
    EXPECT_EQ(std::string(identity->addresses[0]) + "/p2p/" + b.id(), b.address());
    std::vector<std::string> protocols(identity->protocols, identity->protocols + identity->protocol_count);
    for (const char *wanted : {"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/echo/1.0.0"})
        EXPECT_NE(std::find(protocols.begin(), protocols.end(), wanted), protocols.end()) << wanted;
    p2p_identity_free(identity);
    EXPECT_EQ(p2p_node_identify(a.node, &identity, a.id().c_str(), 0), P2P_ERR_CALL_NOT_FOUND);
}

TEST_P(NodeTest, TellsPeersOfANewProtocol)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_identity *identity = nullptr;
    ASSERT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), TEST_PATIENCE_MS), 0);
    p2p_identity_free(identity);
    b.await(P2P_EVENT_PEER_IDENTIFIED);
    ASSERT_EQ(p2p_node_handle(b.node, "/new/1.0.0", 0, nullptr, nullptr), 0);
    auto begin = Clock::now();
    bool told = false;
    while (!told && milliseconds_since(begin) < TEST_PATIENCE_MS) {
        struct p2p_event event;
        p2p_node_wait_event(a.node, &event, 5);
        ASSERT_EQ(p2p_node_identify(a.node, &identity, b.id().c_str(), 0), 0);
        for (size_t i = 0; i < identity->protocol_count; i++)
            told |= strcmp(identity->protocols[i], "/new/1.0.0") == 0;
        p2p_identity_free(identity);
    }
    EXPECT_TRUE(told);
}

TEST_P(NodeTest, EchoesThroughAStreamOfEvents)
{
    Node a(runtime), b(runtime, serve_echo);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
    ASSERT_NE(stream, nullptr);
    expect_echo(stream, "hello");
    expect_echo(stream, std::string(300000, 'x'));
    EXPECT_EQ(p2p_stream_close_write(stream), 0);
    char byte;
    EXPECT_EQ(p2p_stream_read_wait(stream, &byte, 1, TEST_PATIENCE_MS), P2P_ERR_STREAM_EOF);
    p2p_stream_close(stream);
    EXPECT_TRUE(a.reaches("streams", 0, 2000)); /* at once: streams linger for 10 s when the peer does not end them */
    EXPECT_TRUE(b.reaches("streams", 0, 2000));
}

TEST_P(NodeTest, WritesAndClosesBeforeTheProtocolIsAgreed)
{
    Node a(runtime), b(runtime, serve_echo);
    char back[16];
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    for (int i = 0; i < 20; i++) {
        struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
        ASSERT_NE(stream, nullptr);
        EXPECT_EQ(p2p_stream_write_wait(stream, "hello", 5, TEST_PATIENCE_MS), 5);
        EXPECT_EQ(p2p_stream_close_write(stream), 0);
        EXPECT_EQ(p2p_stream_write_wait(stream, "more", 4, TEST_PATIENCE_MS), P2P_ERR_STREAM_CLOSED);
        EXPECT_EQ(p2p_stream_read_full(stream, back, sizeof(back), TEST_PATIENCE_MS), 5);
        p2p_stream_close(stream);
    }
    EXPECT_TRUE(a.reaches("streams", 0, 2000));
    EXPECT_TRUE(b.reaches("streams", 0, 2000));
}

TEST_P(NodeTest, DialsAnewRightAfterDisconnecting)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    for (int i = 0; i < 10; i++) {
        uint64_t rtt_ns;
        ASSERT_EQ(a.connect(b), 0) << a.text.text;
        EXPECT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), TEST_PATIENCE_MS), 0) << i;
        EXPECT_EQ(p2p_node_disconnect(a.node, b.id().c_str()), 0);
    }
}

TEST_P(NodeTest, FreesTheStreamsThatTheApplicationForgot)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(p2p_node_handle(b.node, "/kept/1.0.0", 0, nullptr, nullptr), 0);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/kept/1.0.0");
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(p2p_stream_write_wait(stream, "hello", 5, TEST_PATIENCE_MS), 5);
    auto incoming = b.await(P2P_EVENT_STREAM_INCOMING);
    ASSERT_NE(incoming.stream, nullptr);
    char bytes[5];
    EXPECT_EQ(p2p_stream_read_full(incoming.stream, bytes, 5, TEST_PATIENCE_MS), 5);
    /* Neither is closed. */
}

TEST_P(NodeTest, TellsWhenACloseGoesOnLongerThanItsCaller)
{
    Node a(runtime), b(runtime, serve_echo);
    a.start();
    b.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
    int error = p2p_node_close(a.node, 0);
    EXPECT_TRUE(error == 0 || error == P2P_ERR_CALL_TIMEOUT) << error;
    EXPECT_EQ(p2p_node_connect(a.node, nullptr, b.address().c_str(), 0, nullptr), P2P_ERR_NODE_CLOSING);
    a.await(P2P_EVENT_NODE_CLOSED);
    EXPECT_EQ(p2p_node_close(a.node, 3000), 0);
    EXPECT_EQ(a.counter("actors"), 0);
    char byte;
    EXPECT_LT(p2p_stream_read(stream, &byte, 1), 0); /* still safe to use */
    EXPECT_LT(p2p_stream_write(stream, &byte, 1), 0);
    p2p_stream_close(stream);
}

TEST_P(NodeTest, RefusesAnotherPeerThanExpected)
{
    Node a(runtime), b(runtime), c(runtime);
    a.start();
    b.start();
    std::string wrong = b.address();
    wrong.replace(wrong.find(b.id()), std::string::npos, c.id());
    EXPECT_EQ(a.connect(wrong), P2P_ERR_CONN_PEER_ID);
    EXPECT_NE(std::string(a.text.text).find(wrong), std::string::npos) << a.text.text;
    EXPECT_EQ(p2p_node_peers(a.node), 0u);
    EXPECT_TRUE(b.reaches("connections", 0));
    EXPECT_EQ(p2p_node_peers(b.node), 0u);
    EXPECT_TRUE(a.reaches("connections", 0));
}

TEST_P(NodeTest, SaysWhyAConnectionFailed)
{
    Node a(runtime);
    a.start();
    const std::string id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const struct { std::string address; int error; const char *hint; } cases[] = {
        {"/ip4/127.0.0.1/tcp/1/p2p/" + id, P2P_ERR_CONN_REFUSED, "nobody listens"},
        {"/ip4/127.0.0.1/tcp/1", P2P_ERR_CALL_INVALID, "append /p2p/"},
        {"/ip4/127.0.0.1/tcp/0/p2p/" + id, P2P_ERR_CALL_UNSUPPORTED, "port 0"},
        {"/ip4/0.0.0.0/tcp/1/p2p/" + id, P2P_ERR_CALL_UNSUPPORTED, "unspecified"},
        {"/ip4/127.0.0.1/udp/1/quic-v1/p2p/" + id, P2P_ERR_CALL_UNSUPPORTED, "TCP"},
        {"/ip4/127.0.0.1/tcp/1/ws/p2p/" + id, P2P_ERR_CALL_UNSUPPORTED, "WebSocket"},
        {"/ip4/127.0.0.1/tcp/1/p2p/nonsense", P2P_ERR_CALL_MALFORMED, "p2p"},
        {"127.0.0.1:3333", P2P_ERR_CALL_MALFORMED, "/"},
        {"", P2P_ERR_CALL_MALFORMED, ""},
        {a.address(), P2P_ERR_CALL_INVALID, "itself"},
        {"/ip4/127.0.0.1/tcp/1/p2p/" + id + "/p2p-circuit/p2p/" + a.id(), P2P_ERR_CALL_UNSUPPORTED, "relay"},
    };
    for (const auto &each : cases) {
        EXPECT_EQ(a.connect(each.address), each.error) << each.address << ": " << a.text.text;
        EXPECT_NE(std::string(a.text.text).find(each.hint), std::string::npos) << a.text.text;
    }
    EXPECT_EQ(p2p_node_connect(a.node, nullptr, nullptr, 0, nullptr), P2P_ERR_CALL_INVALID);
    EXPECT_TRUE(a.reaches("connections", 0));
}

TEST_P(NodeTest, ReachesANameOfThisMachine)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    for (const char *name : {"/dns4/localhost", "/dns/localhost"}) {
        std::string address = b.address();
        address.replace(0, strlen("/ip4/127.0.0.1"), name);
        EXPECT_EQ(a.connect(address), 0) << address << a.text.text; /* over /dns, ::1 refuses first */
        EXPECT_EQ(p2p_node_disconnect(a.node, b.id().c_str()), 0);
        a.await(P2P_EVENT_PEER_DISCONNECTED);
    }
}

TEST_P(NodeTest, JoinsDialsToOnePeer)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    for (uint64_t request = 1; request <= 5; request++)
        ASSERT_EQ(p2p_node_connect_start(a.node, request, b.address().c_str(), TEST_PATIENCE_MS, &a.text), 0);
    uint64_t sum = 0;
    for (int i = 0; i < 5; i++) {
        auto event = a.await(P2P_EVENT_CONNECTED);
        EXPECT_EQ(event.id, b.id());
        sum += event.request;
    }
    EXPECT_EQ(sum, 15u);
    EXPECT_EQ(a.counter("connections"), 1);
    EXPECT_EQ(a.counter("connections_out"), 1);
    EXPECT_EQ(a.connect(b), 0);
    EXPECT_EQ(a.counter("connections"), 1);
    ASSERT_EQ(p2p_node_connect_start(a.node, 9, "/ip4/127.0.0.1/tcp/1/p2p/"
              "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", TEST_PATIENCE_MS, &a.text), 0);
    auto failed = a.await(P2P_EVENT_CONNECT_FAILED);
    EXPECT_EQ(failed.request, 9u);
    EXPECT_EQ(failed.error, P2P_ERR_CONN_REFUSED);
    EXPECT_NE(std::string(failed.text.text).find("/tcp/1/"), std::string::npos);
}

TEST_P(RealNodeTest, GivesUpADialWhenItsTimeIsOver)
{
    Mute mute;
    Node a(runtime), b(runtime, [](struct p2p_config *config) { p2p_config_connection_timeout_ms(config, 150); });
    a.start();
    b.start();
    auto begin = Clock::now();
    EXPECT_EQ(a.connect(mute.address, 150), P2P_ERR_CALL_TIMEOUT);
    EXPECT_GE(milliseconds_since(begin), 149);
    EXPECT_LT(milliseconds_since(begin), 3000);
    EXPECT_NE(std::string(a.text.text).find("no answer in time"), std::string::npos) << a.text.text;
    EXPECT_TRUE(a.reaches("connections", 0, 2000));
    EXPECT_EQ(b.connect(mute.address, -1), P2P_ERR_CALL_TIMEOUT); /* the node's own limit */
}

TEST_P(RealNodeTest, ClosesWhileADialIsUnderWay)
{
    Mute mute;
    Node a(runtime);
    a.start();
    ASSERT_EQ(p2p_node_connect_start(a.node, 1, mute.address.c_str(), -1, &a.text), 0);
    ASSERT_TRUE(a.reaches("sessions", 1));
    auto begin = Clock::now();
    EXPECT_EQ(p2p_node_close(a.node, 3000), 0);
    EXPECT_LT(milliseconds_since(begin), 3000);
    EXPECT_EQ(a.await(P2P_EVENT_CONNECT_FAILED).error, P2P_ERR_NODE_CLOSING);
    a.await(P2P_EVENT_NODE_CLOSED);
    EXPECT_EQ(a.counter("actors"), 0);
}

TEST_P(RealNodeTest, ClosesWhileHandshakesAreUnderWay)
{
    Node a(runtime);
    a.start();
    std::string address = a.address();
    struct sockaddr_in in = {};
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in.sin_port = htons(static_cast<uint16_t>(atoi(address.c_str() + strlen("/ip4/127.0.0.1/tcp/"))));
    int sockets[5];
    for (int &each : sockets) {
        each = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_EQ(connect(each, reinterpret_cast<struct sockaddr *>(&in), sizeof(in)), 0);
    }
    ASSERT_TRUE(a.reaches("handshakes_in", 5));
    auto begin = Clock::now();
    EXPECT_EQ(p2p_node_close(a.node, 3000), 0);
    EXPECT_LT(milliseconds_since(begin), 3000);
    EXPECT_EQ(a.counter("actors"), 0);
    EXPECT_EQ(a.counter("connections"), 0);
    EXPECT_EQ(a.counter("handshakes_in"), 0);
    for (int each : sockets)
        close(each);
}

TEST_P(NodeTest, ClosingOneOfThreeLeavesTheOthersAlone)
{
    Node a(runtime), b(runtime, serve_echo), c(runtime, serve_echo);
    a.start();
    b.start();
    c.start();
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    ASSERT_EQ(a.connect(c), 0) << a.text.text;
    ASSERT_EQ(c.connect(b), 0) << c.text.text;
    struct p2p_stream *to_b = a.open(b.id(), "/echo/1.0.0");
    struct p2p_stream *to_c = a.open(c.id(), "/echo/1.0.0");
    ASSERT_NE(to_b, nullptr);
    ASSERT_NE(to_c, nullptr);
    expect_echo(to_b, std::string(100000, 'b'));
    expect_echo(to_c, std::string(100000, 'c'));
    std::string bytes(100000, 'd'); /* under way while c closes */
    ASSERT_EQ(p2p_stream_write_wait(to_b, bytes.data(), bytes.size(), TEST_PATIENCE_MS), 100000);
    ASSERT_GT(p2p_stream_write_wait(to_c, bytes.data(), bytes.size(), TEST_PATIENCE_MS), 0);
    auto begin = Clock::now();
    EXPECT_EQ(p2p_node_close(c.node, 3000), 0);
    EXPECT_LT(milliseconds_since(begin), 3000);
    EXPECT_EQ(c.counter("actors"), 0);
    EXPECT_EQ(c.counter("streams"), 0);
    std::string back(bytes.size(), '\0');
    EXPECT_EQ(p2p_stream_read_full(to_b, back.data(), back.size(), TEST_PATIENCE_MS), 100000);
    EXPECT_TRUE(back == bytes);
    expect_echo(to_b, "still here");
    EXPECT_EQ(a.await(P2P_EVENT_PEER_DISCONNECTED).id, c.id());
    char byte;
    int64_t read = p2p_stream_read_wait(to_c, &byte, 1, TEST_PATIENCE_MS);
    while (read > 0)
        read = p2p_stream_read_wait(to_c, &byte, 1, TEST_PATIENCE_MS);
    EXPECT_LT(read, 0);
    p2p_stream_close(to_b);
    p2p_stream_close(to_c);
    EXPECT_EQ(p2p_node_peers(b.node), 1u);
}

TEST_P(NodeTest, ATakenPortIsAnErrorAlsoAmongOurselves)
{
    Node a(runtime);
    a.start();
    std::string taken = a.address();
    taken.resize(taken.find("/p2p/"));
    Node b(runtime, [&taken](struct p2p_config *config) {
        p2p_config_listen(config, taken.c_str(), nullptr);
    });
    EXPECT_EQ(p2p_node_start(b.node, &b.text), P2P_ERR_NODE_LISTEN);
    EXPECT_NE(std::string(b.text.text).find(taken), std::string::npos) << b.text.text;
    EXPECT_NE(std::string(b.text.text).find("taken"), std::string::npos) << b.text.text;
    EXPECT_EQ(b.counter("actors"), 0);
    EXPECT_EQ(p2p_node_close(b.node, 0), 0);
    Node c(runtime);
    c.start();
    EXPECT_EQ(c.connect(a), 0) << c.text.text;
}

TEST_P(NodeTest, RefusesConnectionsBeyondItsLimit)
{
    auto one = [](struct p2p_config *config) { p2p_config_max_connections(config, 1); };
    Node a(runtime, one), b(runtime), c(runtime);
    a.start();
    b.start();
    c.start();
    ASSERT_EQ(b.connect(a), 0) << b.text.text;
    a.await(P2P_EVENT_PEER_CONNECTED); // b is done as soon as its own side is
    EXPECT_LT(c.connect(a), 0);
    EXPECT_EQ(a.counter("refused_limit"), 1);
    EXPECT_EQ(a.connect(c), P2P_ERR_CONN_LIMIT);
    EXPECT_NE(std::string(a.text.text).find("limit"), std::string::npos) << a.text.text;
    EXPECT_EQ(p2p_node_peers(a.node), 1u);
    EXPECT_EQ(p2p_node_disconnect(a.node, b.id().c_str()), 0);
    ASSERT_TRUE(a.reaches("connections", 0));
    EXPECT_EQ(c.connect(a), 0) << c.text.text;
}

TEST_P(RealNodeTest, ListensOnEveryInterfaceAndTellsTheirAddresses)
{
    Node a(runtime, [](struct p2p_config *config) {
        p2p_config_listen(config, nullptr, nullptr);
        p2p_config_listen(config, "/ip4/0.0.0.0/tcp/0", nullptr);
    });
    a.start();
    struct p2p_address list[64];
    size_t count = 0;
    p2p_node_addresses(a.node, list, 64, &count);
    ASSERT_GE(count, 1u);
    for (size_t i = 0; i < count && i < 64; i++)
        EXPECT_EQ(std::string(list[i].text).find("/ip4/0.0.0.0/"), std::string::npos);
    Node b(runtime);
    b.start();
    EXPECT_EQ(b.connect(list[0].text), 0) << b.text.text;
}

TEST_P(NodeTest, MayListenOnNothing)
{
    Node a(runtime, [](struct p2p_config *config) { p2p_config_listen(config, nullptr, nullptr); }), b(runtime);
    a.start();
    b.start();
    size_t count = 1;
    p2p_node_addresses(a.node, nullptr, 0, &count);
    EXPECT_EQ(count, 0u);
    EXPECT_EQ(a.connect(b), 0) << a.text.text;
}

TEST_P(NodeTest, TalksInTheClearOnlyToThoseWhoDoToo)
{
    auto clear = [](struct p2p_config *config) { p2p_config_security(config, false); };
    Node a(runtime, clear), b(runtime, clear), c(runtime);
    a.start();
    b.start();
    c.start();
    EXPECT_EQ(a.connect(b), 0) << a.text.text;
    EXPECT_LT(a.connect(c), 0);
}

/* Whoever is refused hears why: a `na` that what he said meanwhile does not take
 * away from him. */
TEST_P(NodeTest, SecurityOnOneSideOnlyIsAFailedNegotiation)
{
    Node plain(runtime, [](struct p2p_config *config) { p2p_config_security(config, false); }), noise(runtime);
    plain.start();
    noise.start();
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(plain.connect(noise), P2P_ERR_CONN_NEGOTIATION) << plain.text.text;
        EXPECT_EQ(noise.connect(plain), P2P_ERR_CONN_NEGOTIATION) << noise.text.text;
    }
    EXPECT_TRUE(plain.reaches("sessions", 0));
    EXPECT_TRUE(noise.reaches("sessions", 0));
}

TEST_P(NodeTest, BlockingCallsAreRefusedOnAWorker)
{
    struct Seen {
        std::atomic<int> ping{1}, connect{1}, close{1}, wait{1};
        struct p2p_node *node;
        std::string peer, address;
    } seen;
    struct p2p_stream_callbacks callbacks = {};
    callbacks.opened = [](struct p2p_stream *stream, void *user) {
        auto *in = static_cast<Seen *>(user);
        struct p2p_event event;
        in->ping = p2p_node_ping(in->node, nullptr, in->peer.c_str(), 1000);
        in->connect = p2p_node_connect(in->node, nullptr, in->address.c_str(), 1000, nullptr);
        in->close = p2p_node_close(in->node, 1000);
        in->wait = p2p_node_wait_event(in->node, &event, 1000);
        p2p_stream_close(stream);
    };
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    seen.node = b.node;
    seen.peer = a.id();
    seen.address = a.address();
    ASSERT_EQ(p2p_node_handle(b.node, "/inline/1.0.0", 0, &callbacks, &seen), 0);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    struct p2p_stream *stream = a.open(b.id(), "/inline/1.0.0");
    ASSERT_NE(stream, nullptr);
    char byte;
    EXPECT_EQ(p2p_stream_read_wait(stream, &byte, 1, TEST_PATIENCE_MS), P2P_ERR_STREAM_EOF);
    p2p_stream_close(stream);
    EXPECT_EQ(seen.ping, P2P_ERR_CALL_THREAD);
    EXPECT_EQ(seen.connect, P2P_ERR_CALL_THREAD);
    EXPECT_EQ(seen.close, P2P_ERR_CALL_THREAD);
    EXPECT_EQ(seen.wait, P2P_ERR_CALL_THREAD);
}

struct NodeFiles : NodeTest {
    std::string directory;

    void SetUp() override
    {
        char name[] = "/tmp/chorus-node-XXXXXX";
        NodeTest::SetUp();
        ASSERT_NE(mkdtemp(name), nullptr);
        directory = name;
    }

    void TearDown() override
    {
        NodeTest::TearDown();
        chmod(directory.c_str(), 0700);
        (void)!system(("rm -rf " + directory).c_str());
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, NodeFiles, testing::Values(World{DRIVER_EPOLL, true}), world_name);

TEST_P(NodeFiles, KeepsItsIdentityInItsDataDirectory)
{
    auto in = [this](struct p2p_config *config) { p2p_config_data_dir(config, (directory + "/deep/er").c_str()); };
    std::string first;
    {
        Node a(runtime, in);
        first = a.id();
    }
    Node b(runtime, in);
    EXPECT_EQ(b.id(), first);
    Node c(runtime);
    EXPECT_NE(c.id(), first);
}

TEST_P(NodeFiles, SaysWhatIsWrongWithItsKeyFile)
{
    std::string path = directory + "/identity.key";
    int file = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT_EQ(write(file, "nonsense", 8), 8);
    close(file);
    struct p2p_config *config = p2p_config_new();
    struct p2p_node *node = nullptr;
    struct p2p_error_text text = {};
    p2p_config_data_dir(config, directory.c_str());
    EXPECT_EQ(p2p_node_new(&node, config, runtime, &text), P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(text.text).find(path), std::string::npos) << text.text;
    EXPECT_EQ(node, nullptr);
    p2p_config_data_dir(config, "/proc/nowhere");
    EXPECT_EQ(p2p_node_new(&node, config, runtime, &text), P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(text.text).find("/proc/nowhere"), std::string::npos) << text.text;
    p2p_config_free(config);
}

TEST_P(NodeFiles, HasItsDataDirectoryForItselfWhileItRuns)
{
    auto in = [this](struct p2p_config *config) { p2p_config_data_dir(config, directory.c_str()); };
    struct p2p_error_text text = {};
    Node second(runtime, in);
    {
        Node first(runtime, in);
        EXPECT_EQ(first.id(), second.id()); /* to read it is no harm */
        first.start();
        EXPECT_EQ(p2p_node_start(second.node, &text), P2P_ERR_NODE_IN_USE);
        EXPECT_NE(std::string(text.text).find(directory), std::string::npos) << text.text;
        EXPECT_NE(std::string(text.text).find("process " + std::to_string(getpid())), std::string::npos) << text.text;
    }
    EXPECT_EQ(p2p_node_start(second.node, &text), 0) << text.text;
    EXPECT_EQ(p2p_node_start(second.node, &text), P2P_ERR_CALL_STATE);
}

/* Not even a file can be made there: the key is all that is needed. */
TEST_P(NodeFiles, HasADirectoryForItselfThatItCannotWrite)
{
    auto in = [this](struct p2p_config *config) { p2p_config_data_dir(config, directory.c_str()); };
    struct p2p_error_text text = {};
    Node first(runtime, in), second(runtime, in);
    ASSERT_EQ(mkdir((directory + "/lock").c_str(), 0700), 0); /* root, too, finds that in the way */
    first.start();
    EXPECT_EQ(p2p_node_start(second.node, &text), P2P_ERR_NODE_IN_USE);
    EXPECT_NE(std::string(text.text).find("another process"), std::string::npos) << text.text;
}

TEST_P(NodeFiles, OneOfTwoNodesHasARuntimeOfItsOwn)
{
    Node a(nullptr, serve_echo), b(runtime);
    a.start();
    b.start();
    ASSERT_EQ(b.connect(a), 0) << b.text.text;
    struct p2p_stream *stream = b.open(a.id(), "/echo/1.0.0");
    ASSERT_NE(stream, nullptr);
    expect_echo(stream, std::string(1000000, 'x'));
    p2p_stream_close(stream);
}

/* Some hours in a world in memory; returns a hash of all that happened. */
uint64_t live(uint64_t seed)
{
    struct sim_world *world = sim_world_new(seed);
    struct p2p_runtime *runtime = nullptr;
    struct runtime_config config;
    uint64_t trace;
    runtime_config_init(&config);
    config.driver = DRIVER_SIM;
    config.threads = false;
    config.workers = 2;
    config.sim = world;
    EXPECT_EQ(api_runtime_new(&runtime, &config, nullptr), 0);
    {
        auto with_key = [](uint8_t number) {
            return [number](struct p2p_config *settings) {
                const uint8_t key_seed[KEY_SEED_BYTES] = {number};
                uint8_t bytes[KEY_PRIVATE_BYTES_MAX];
                size_t length = 0;
                struct key *key = nullptr;
                key_new_seed(&key, key_seed);
                key_to_protobuf(key, bytes, sizeof(bytes), &length);
                p2p_config_identity(settings, bytes, length);
                p2p_config_serve_echo(settings, true);
                key_free(key);
            };
        };
        Node a(runtime, with_key(1)), b(runtime, with_key(2)), c(runtime, with_key(3));
        for (Node *node : {&a, &b, &c})
            node->start();
        EXPECT_EQ(a.connect(b), 0) << a.text.text;
        EXPECT_EQ(c.connect(b), 0) << c.text.text;
        EXPECT_EQ(c.connect(a), 0) << c.text.text;
        struct p2p_stream *stream = a.open(b.id(), "/echo/1.0.0");
        expect_echo(stream, std::string(500000, 'x'));
        p2p_stream_close(stream);
        struct p2p_event event;
        EXPECT_EQ(p2p_node_wait_event(a.node, &event, 100), 0);
        while (p2p_node_wait_event(b.node, &event, 6 * 3600 * 1000) == 0) /* hours of keep-alives */
            ;
        EXPECT_EQ(p2p_node_peers(b.node), 2u);
        trace = sim_world_trace(world);
    }
    p2p_runtime_free(runtime);
    sim_world_free(world);
    return trace;
}

TEST(NodeSim, LivesTheSameHoursForTheSameSeed)
{
    uint64_t first = live(1);
    EXPECT_EQ(first, live(1));
    EXPECT_NE(first, live(2));
}

}  // namespace
