#include "tests/unit/actors/node_fixture.h"

#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <set>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

extern "C" {
#include "actors/dialer.h"
#include "crypto/key.h"
#include "runtime/worker.h"
}

namespace {

const std::string somebody = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

std::string made_up_id(unsigned number)
{
    uint8_t seed[KEY_SEED_BYTES] = {7};
    char text[PEER_ID_TEXT_SIZE];
    struct peer_id id;
    struct key *key = nullptr;
    memcpy(seed + 1, &number, sizeof(number));
    key_new_seed(&key, seed);
    peer_id_from_public_key(&id, key_public(key));
    peer_id_to_text(&id, text);
    key_free(key);
    return text;
}

TEST(DialerCheck, SplitsAnAddressFromWhomToExpect)
{
    struct multiaddr address;
    struct peer_id id;
    struct p2p_error_text why = {};
    char text[512];
    const char *direct[] = {"/ip4/1.2.3.4/tcp/3333", "/ip6/2001:db8::1/tcp/1", "/dns4/example.org/tcp/4001",
                            "/ip6zone/lo/ip6/fe80::1/tcp/1"};
    for (const char *each : direct) {
        ASSERT_EQ(dialer_check(&address, &id, (std::string(each) + "/p2p/" + somebody).c_str(), &why), 0) << why.text;
        multiaddr_to_text(&address, text, sizeof(text));
        EXPECT_STREQ(text, each);
        peer_id_to_text(&id, text);
        EXPECT_EQ(text, somebody);
    }
    std::string question = "/dnsaddr/example.org/p2p/" + somebody; /* the id is part of what is asked */
    ASSERT_EQ(dialer_check(&address, &id, question.c_str(), &why), 0) << why.text;
    multiaddr_to_text(&address, text, sizeof(text));
    EXPECT_EQ(text, question);
}

TEST(DialerCheck, NamesWhatIsWrongAndTheRemedy)
{
    struct multiaddr address;
    struct peer_id id;
    struct p2p_error_text why = {};
    const struct { std::string address; int error; const char *hint; } cases[] = {
        {"/ip4/1.2.3.4/tcp/3333", P2P_ERR_CALL_INVALID, "append /p2p/"},
        {"/ip4/1.2.3.4/p2p/" + somebody, P2P_ERR_CALL_UNSUPPORTED, "/tcp/PORT"},
        {"/ip6/fe80::1/tcp/1/p2p/" + somebody, P2P_ERR_CALL_UNSUPPORTED, "/ip6zone/"},
        {"/ip4/1.2.3.4/tcp/1/p2p/" + somebody + "/p2p-circuit", P2P_ERR_CALL_UNSUPPORTED, "relays"},
        {"/p2p/" + somebody + "/p2p-circuit", P2P_ERR_CALL_UNSUPPORTED, "relays"},
        {"/memory/1/p2p/" + somebody, P2P_ERR_CALL_UNSUPPORTED, "/tcp/PORT"},
        {"/dns4/example.org/tcp/443/wss/p2p/" + somebody, P2P_ERR_CALL_UNSUPPORTED, "WebSocket"},
        {std::string(5000, 'x'), P2P_ERR_CALL_MALFORMED, ""},
    };
    for (const auto &each : cases) {
        EXPECT_EQ(dialer_check(&address, &id, each.address.c_str(), &why), each.error) << each.address;
        EXPECT_NE(std::string(why.text).find(each.hint), std::string::npos) << why.text;
    }
}

struct DialerTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, DialerTest,
                         testing::Values(World{DRIVER_URING, true}, World{DRIVER_EPOLL, true}, World{DRIVER_EPOLL, false},
                                         World{DRIVER_SIM, false}),
                         world_name);

TEST_P(DialerTest, ManyDialsWaitForTheirTurn)
{
    Node a(runtime, [](struct p2p_config *config) {
        p2p_config_max_dials(config, 3);
        p2p_config_max_connections(config, 0);
    });
    std::vector<std::unique_ptr<Node>> others;
    a.start();
    for (uint64_t i = 0; i < 20; i++) {
        others.push_back(std::make_unique<Node>(runtime));
        others.back()->start();
        ASSERT_EQ(p2p_node_connect_start(a.node, i, others.back()->address().c_str(), -1, &a.text), 0);
    }
    std::set<uint64_t> requests;
    for (int i = 0; i < 20; i++)
        requests.insert(a.await(P2P_EVENT_CONNECTED).request);
    EXPECT_EQ(requests.size(), 20u);
    EXPECT_EQ(p2p_node_peers(a.node), 20u);
    EXPECT_EQ(a.counter("connections"), 20);
}

TEST_P(DialerTest, TriesEveryAddressThatCallsGive)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    std::string nowhere = "/ip4/127.0.0.1/tcp/1/p2p/" + b.id();
    ASSERT_EQ(p2p_node_connect_start(a.node, 1, nowhere.c_str(), -1, &a.text), 0);
    ASSERT_EQ(p2p_node_connect_start(a.node, 2, b.address().c_str(), -1, &a.text), 0);
    struct p2p_event event;
    bool second = false;
    while (!second) { /* the first may have failed before the second came, or have joined it */
        ASSERT_EQ(p2p_node_wait_event(a.node, &event, TEST_PATIENCE_MS), 0);
        if (event.type == P2P_EVENT_CONNECT_FAILED) {
            EXPECT_EQ(event.request, 1u);
            EXPECT_EQ(event.error, P2P_ERR_CONN_REFUSED);
        }
        second = event.type == P2P_EVENT_CONNECTED && event.request == 2;
    }
    EXPECT_EQ(p2p_node_peers(a.node), 1u);
}

struct RealDialerTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, RealDialerTest, testing::Values(World{DRIVER_URING, true}, World{DRIVER_EPOLL, true}),
                         world_name);

/* Answers one connection with a few words, and hangs up. */
struct Scripted : Mute {
    std::string words;
    std::thread thread;

    explicit Scripted(const std::string &what) : words(what), thread([this] { run(); }) {}
    ~Scripted() { thread.join(); }

    void run() const
    {
        char heard[4096];
        int peer = accept(descriptor, nullptr, nullptr);
        (void)!recv(peer, heard, sizeof(heard), 0);
        (void)!send(peer, words.data(), words.size(), MSG_NOSIGNAL);
        shutdown(peer, SHUT_WR);
        while (recv(peer, heard, sizeof(heard), 0) > 0)
            ;
        close(peer);
    }
};

TEST_P(RealDialerTest, SaysWhatItWasAboutWhenThePeerHungUp)
{
    const std::string header = "\x13/multistream/1.0.0\n";
    const struct { std::string words; int error; const char *occasion, *reason; } cases[] = {
        {"", P2P_ERR_CONN_RESET, "choosing the security protocol (we propose /noise), ", "hung up"},
        {header, P2P_ERR_CONN_RESET, "choosing the security protocol (we propose /noise), ", "hung up"},
        {header + "\x03na\n", P2P_ERR_CONN_NEGOTIATION, "choosing the security protocol (we propose /noise), ",
         "refuses what we propose"},
        {header + "\x07/noise\n", P2P_ERR_CONN_RESET, "during the security handshake, ", "hung up"},
        {"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
         P2P_ERR_CONN_PROTOCOL, "choosing the security protocol", "check the port"},
    };
    Node a(runtime);
    a.start();
    for (const auto &each : cases) {
        Scripted peer(each.words);
        EXPECT_EQ(a.connect(peer.address), each.error) << a.text.text;
        EXPECT_NE(std::string(a.text.text).find(each.occasion), std::string::npos) << a.text.text;
        EXPECT_NE(std::string(a.text.text).find(each.reason), std::string::npos) << a.text.text;
    }
}

TEST_P(RealDialerTest, HasABoundOfCallsThatWait)
{
    Mute mute; /* has the only permit */
    Node a(runtime, [](struct p2p_config *config) { p2p_config_max_dials(config, 1); });
    a.start();
    ASSERT_EQ(p2p_node_connect_start(a.node, 0, mute.address.c_str(), -1, &a.text), 0);
    ASSERT_TRUE(a.reaches("sessions", 1));
    const int more = DIALER_REQUESTS_MAX + 500;
    int refused = 0;
    for (int i = 0; i < more; i++) {
        std::string address = "/ip4/127.0.0.1/tcp/1/p2p/" + made_up_id(static_cast<unsigned>(i));
        int error = p2p_node_connect_start(a.node, 1, address.c_str(), -1, &a.text);
        EXPECT_TRUE(error == 0 || error == P2P_ERR_CALL_FULL) << error;
        refused += error != 0;
    }
    EXPECT_EQ(p2p_node_close(a.node, -1), 0);
    int full = 0, closed = 0;
    struct p2p_event event;
    while (p2p_node_next_event(a.node, &event) == 0) {
        EXPECT_TRUE(event.type == P2P_EVENT_CONNECT_FAILED || event.type == P2P_EVENT_NODE_CLOSED);
        full += event.error == P2P_ERR_CALL_FULL;
        closed += event.error == P2P_ERR_NODE_CLOSING;
    }
    EXPECT_EQ(refused + full + closed, more + 1);
    EXPECT_GE(refused + full, 500);
    EXPECT_EQ(a.counter("connections"), 0);
    EXPECT_EQ(a.counter("sessions"), 0);
}

/* Time jumps where nobody has work. */
struct SimDialerTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, SimDialerTest, testing::Values(World{DRIVER_SIM, false}), world_name);

/* A port that takes connections, at every address, and says nothing. */
struct SimMute {
    struct driver *driver;
    struct sockaddr_storage bound = {};
    int socket;

    explicit SimMute(struct p2p_runtime *runtime) : driver(worker_driver(runtime_worker(runtime->runtime, 0)))
    {
        struct sockaddr_in in = {};
        in.sin_family = AF_INET;
        socket = driver_listen(driver, reinterpret_cast<struct sockaddr *>(&in), sizeof(in), 0, &bound);
        EXPECT_GE(socket, 0);
    }

    ~SimMute() { driver_close_socket(driver, socket, DRIVER_CLOSE_ORDERLY); }

    std::string port() const { return std::to_string(ntohs(reinterpret_cast<const struct sockaddr_in *>(&bound)->sin_port)); }
};

TEST_P(SimDialerTest, RestsWhileAsManyAddressesAsMayBeAreTried)
{
    SimMute mute(runtime);
    Node a(runtime);
    a.start();
    for (unsigned i = 1; i <= DIALER_ATTEMPTS_MAX + 4; i++) {
        std::string address = "/ip4/127.0.0." + std::to_string(i) + "/tcp/" + mute.port() + "/p2p/" + somebody;
        ASSERT_EQ(p2p_node_connect_start(a.node, i, address.c_str(), 20000, &a.text), 0);
    }
    sim_world_run(world, nullptr, nullptr, 5000000000ull);
    EXPECT_EQ(a.counter("sessions"), DIALER_ATTEMPTS_MAX);
    int rounds = 0;
    auto busy = [](void *count) { return ++*static_cast<int *>(count) > 1000; };
    EXPECT_FALSE(sim_world_run(world, busy, &rounds, 5000000000ull)) << "it turns and turns";
    for (unsigned i = 1; i <= DIALER_ATTEMPTS_MAX + 4; i++)
        EXPECT_EQ(a.await(P2P_EVENT_CONNECT_FAILED).error, P2P_ERR_CALL_TIMEOUT);
    EXPECT_TRUE(a.reaches("sessions", 0));
}

TEST_P(DialerTest, ClosesWithDialsThatWait)
{
    Node a(runtime, [](struct p2p_config *config) { p2p_config_max_dials(config, 1); });
    a.start();
    for (unsigned i = 0; i < 100; i++) {
        std::string address = "/ip4/127.0.0.1/tcp/1/p2p/" + made_up_id(i);
        ASSERT_EQ(p2p_node_connect_start(a.node, i, address.c_str(), -1, &a.text), 0);
    }
    EXPECT_EQ(p2p_node_close(a.node, 3000), 0);
    for (int i = 0; i < 100; i++) {
        auto event = a.await(P2P_EVENT_CONNECT_FAILED);
        EXPECT_TRUE(event.error == P2P_ERR_NODE_CLOSING || event.error == P2P_ERR_CONN_REFUSED) << event.error;
    }
    a.await(P2P_EVENT_NODE_CLOSED);
    EXPECT_EQ(a.counter("actors"), 0);
}

TEST_P(DialerTest, DialsOfBothSidesAtOnceBothSucceed)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    for (int round = 0; round < 5; round++) {
        ASSERT_EQ(p2p_node_connect_start(a.node, 1, b.address().c_str(), -1, &a.text), 0);
        ASSERT_EQ(p2p_node_connect_start(b.node, 2, a.address().c_str(), -1, &b.text), 0);
        EXPECT_EQ(a.await(P2P_EVENT_CONNECTED).id, b.id());
        EXPECT_EQ(b.await(P2P_EVENT_CONNECTED).id, a.id());
        EXPECT_EQ(p2p_node_peers(a.node), 1u);
        EXPECT_EQ(p2p_node_peers(b.node), 1u);
        uint64_t rtt_ns = 0;
        EXPECT_EQ(p2p_node_ping(a.node, &rtt_ns, b.id().c_str(), TEST_PATIENCE_MS), 0);
        while (p2p_node_peers(a.node) > 0 || p2p_node_peers(b.node) > 0) {
            p2p_node_disconnect(a.node, b.id().c_str());
            struct p2p_event event;
            p2p_node_wait_event(a.node, &event, 20);
        }
        EXPECT_TRUE(a.reaches("connections", 0));
        EXPECT_TRUE(b.reaches("connections", 0));
    }
}

}  // namespace
