#include "tests/unit/actors/node_fixture.h"

#include <arpa/inet.h>
#include <atomic>
#include <cstring>
#include <map>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

extern "C" {
#include "actors/node_private.h"
#include "actors/resolver.h"
}

namespace {

const std::string other_id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/* A name server that knows what it is told and nothing else. */
class NameServer
{
public:
    std::map<std::string, std::vector<std::string>> a, aaaa, txt;
    std::string address;
    std::atomic<int> questions{0};

    NameServer() : descriptor(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
    {
        struct sockaddr_in in = {};
        socklen_t length = sizeof(in);
        in.sin_family = AF_INET;
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(bind(descriptor, reinterpret_cast<struct sockaddr *>(&in), sizeof(in)), 0);
        getsockname(descriptor, reinterpret_cast<struct sockaddr *>(&in), &length);
        address = "127.0.0.1:" + std::to_string(ntohs(in.sin_port));
    }

    void start()
    {
        thread = std::thread([this] { run(); });
    }

    /* A question waits for it, before it is started. */
    bool was_asked()
    {
        struct pollfd poll_of = {descriptor, POLLIN, 0};
        return poll(&poll_of, 1, 0) == 1;
    }

    ~NameServer()
    {
        stop = true;
        if (thread.joinable())
            thread.join();
        close(descriptor);
    }

private:
    int descriptor;
    std::atomic<bool> stop{false};
    std::thread thread;

    void run()
    {
        char query[512];
        struct sockaddr_in from;
        struct pollfd poll_of = {descriptor, POLLIN, 0};
        while (!stop) {
            socklen_t length = sizeof(from);
            if (poll(&poll_of, 1, 10) != 1)
                continue;
            ssize_t got = recvfrom(descriptor, query, sizeof(query), 0, reinterpret_cast<struct sockaddr *>(&from),
                                   &length);
            if (got < 17)
                continue;
            std::string reply = answer(std::string(query, static_cast<size_t>(got)));
            sendto(descriptor, reply.data(), reply.size(), 0, reinterpret_cast<struct sockaddr *>(&from), length);
            questions++;
        }
    }

    static std::string be16(unsigned value)
    {
        return {static_cast<char>(value >> 8), static_cast<char>(value)};
    }

    std::string answer(const std::string &query) const
    {
        std::string name;
        size_t at = 12;
        while (at < query.size() && query[at] != 0) {
            name += (name.empty() ? "" : ".") + query.substr(at + 1, static_cast<uint8_t>(query[at]));
            at += 1 + static_cast<uint8_t>(query[at]);
        }
        unsigned type = static_cast<unsigned>(query[at + 1] << 8 | query[at + 2]);
        std::string question = query.substr(12, at + 5 - 12), records;
        unsigned count = 0;
        const auto &table = type == 1 ? a : type == 28 ? aaaa : txt;
        bool known = a.count(name) || aaaa.count(name) || txt.count(name);
        auto found = table.find(name);
        for (const auto &value : found == table.end() ? std::vector<std::string>() : found->second) {
            std::string data;
            if (type == 16) {
                for (size_t i = 0; i < value.size(); i += 100) { /* several strings a record */
                    std::string part = value.substr(i, 100);
                    data += static_cast<char>(part.size()) + part;
                }
            } else {
                data.resize(type == 1 ? 4 : 16);
                inet_pton(type == 1 ? AF_INET : AF_INET6, value.c_str(), data.data());
            }
            records += be16(0xc00c) + be16(type) + be16(1) + be16(0) + be16(60) + be16(static_cast<unsigned>(data.size())) + data;
            count++;
        }
        return query.substr(0, 2) + be16(known ? 0x8180 : 0x8183) + be16(1) + be16(count) + be16(0) + be16(0) +
               question + records;
    }
};

struct ResolverTest : NodeTest {
    std::string port(Node &node)
    {
        std::string address = node.address();
        size_t begin = address.find("/tcp/") + 5;
        return address.substr(begin, address.find('/', begin) - begin);
    }

    void disconnect(Node &a, Node &b)
    {
        EXPECT_EQ(p2p_node_disconnect(a.node, b.id().c_str()), 0);
        a.await(P2P_EVENT_PEER_DISCONNECTED);
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, ResolverTest, testing::Values(REAL_WORLDS), world_name);

TEST_P(ResolverTest, FindsNamesInAZone)
{
    Node a(runtime), b(runtime);
    b.start();
    std::string txt = "dnsaddr=" + b.address();
    std::string stranger = "dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/" + other_id;
    std::string link = "dnsaddr=/dnsaddr/deeper.test/p2p/" + b.id();
    std::string host = "dnsaddr=/dns4/host.test/tcp/" + port(b) + "/p2p/" + b.id();
    std::string quic = "dnsaddr=/ip4/127.0.0.1/udp/1/quic-v1/p2p/" + b.id();
    const struct resolver_record records[] = {
        {"host.test", RESOLVER_RECORD_A, "127.0.0.1"},
        {"six.test", RESOLVER_RECORD_AAAA, "::1"},
        {"_dnsaddr.peers.test", RESOLVER_RECORD_TXT, stranger.c_str()},
        {"_dnsaddr.peers.test", RESOLVER_RECORD_TXT, "v=spf1 -all"},
        {"_dnsaddr.peers.test", RESOLVER_RECORD_TXT, txt.c_str()},
        {"_dnsaddr.links.test", RESOLVER_RECORD_TXT, link.c_str()},
        {"_dnsaddr.deeper.test", RESOLVER_RECORD_TXT, host.c_str()},
        {"_dnsaddr.quic.test", RESOLVER_RECORD_TXT, quic.c_str()},
    };
    const struct resolver_zone zone = {records, sizeof(records) / sizeof(records[0])};
    a.node->own->zone = &zone;
    a.start();
    const std::string end = "/tcp/" + port(b) + "/p2p/" + b.id();
    for (const std::string &address : {"/dns4/host.test" + end, "/dns/host.test" + end, "/dns4/HOST.test" + end,
                                       "/dnsaddr/peers.test/p2p/" + b.id(), "/dnsaddr/links.test/p2p/" + b.id()}) {
        EXPECT_EQ(a.connect(address), 0) << address << ": " << a.text.text;
        if (p2p_node_peers(a.node) == 1)
            disconnect(a, b);
    }
    EXPECT_EQ(a.connect("/dns4/nobody.test" + end), P2P_ERR_CONN_UNREACHABLE);
    EXPECT_NE(std::string(a.text.text).find("nobody.test"), std::string::npos) << a.text.text;
    EXPECT_EQ(a.connect("/dns6/host.test" + end), P2P_ERR_CONN_UNREACHABLE);
    EXPECT_EQ(a.connect("/dnsaddr/quic.test/p2p/" + b.id()), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_NE(std::string(a.text.text).find("TCP"), std::string::npos) << a.text.text;
    EXPECT_EQ(a.connect("/dnsaddr/peers.test/p2p/" + a.id()), P2P_ERR_CALL_INVALID);
}

/* Records that lead to ever more names: somewhere it is enough. */
TEST_P(ResolverTest, FollowsSoManyLinksAndNoMore)
{
    Node a(runtime), b(runtime);
    b.start();
    std::vector<std::string> texts;
    std::vector<struct resolver_record> records;
    const std::string end = "/p2p/" + b.id();
    for (int i = 0; i < 3 * RESOLVER_LINKS_MAX; i++) {
        texts.push_back("dnsaddr=/dnsaddr/" + std::to_string(i) + ".test" + end);
        texts.push_back("_dnsaddr." + std::to_string(i) + ".test");
    }
    for (size_t i = 0; i < texts.size(); i += 2)
        records.push_back({"_dnsaddr.many.test", RESOLVER_RECORD_TXT, texts[i].c_str()});
    std::string good = "dnsaddr=" + b.address();
    std::string early = texts[2 * (RESOLVER_LINKS_MAX - 2) + 1], late = texts[2 * (RESOLVER_LINKS_MAX - 1) + 1];
    records.push_back({late.c_str(), RESOLVER_RECORD_TXT, good.c_str()});
    struct resolver_zone zone = {records.data(), records.size()};
    a.node->own->zone = &zone;
    a.start();
    EXPECT_EQ(a.connect("/dnsaddr/many.test" + end), P2P_ERR_CONN_UNREACHABLE) << a.text.text;
    records.back().name = early.c_str();
    EXPECT_EQ(a.connect("/dnsaddr/many.test" + end), 0) << a.text.text;
}

TEST_P(ResolverTest, TriesTheNextAddressWhenOneIsMute)
{
    Node a(runtime), b(runtime);
    b.start();
    /* A listener on another address of the same port that says nothing. */
    struct sockaddr_in in = {};
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    in.sin_port = htons(static_cast<uint16_t>(std::stoi(port(b))));
    int mute = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(bind(mute, reinterpret_cast<struct sockaddr *>(&in), sizeof(in)), 0);
    ASSERT_EQ(listen(mute, 8), 0);
    const struct resolver_record records[] = {
        {"two.test", RESOLVER_RECORD_A, "127.0.0.2"},
        {"two.test", RESOLVER_RECORD_A, "127.0.0.1"},
    };
    const struct resolver_zone zone = {records, 2};
    a.node->own->zone = &zone;
    a.start();
    auto begin = Clock::now();
    EXPECT_EQ(a.connect("/dns4/two.test/tcp/" + port(b) + "/p2p/" + b.id()), 0) << a.text.text;
    EXPECT_GE(milliseconds_since(begin), 200); /* RFC 8305: 250 ms later */
    EXPECT_LT(milliseconds_since(begin), 3000);
    EXPECT_TRUE(a.reaches("connections", 1)); /* the loser is gone */
    EXPECT_TRUE(a.reaches("sessions", 1));
    close(mute);
}

TEST_P(ResolverTest, AsksNameServers)
{
    NameServer server;
    Node a(runtime), b(runtime);
    b.start();
    server.a["host.example"] = {"127.0.0.1"};
    server.aaaa["both.example"] = {"::1"};
    server.a["both.example"] = {"127.0.0.1"};
    server.txt["_dnsaddr.peers.example"] = {"dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/" + other_id, "dnsaddr=" + b.address(),
                                            std::string(300, 'x')};
    a.node->own->name_servers = server.address.c_str();
    server.start();
    a.start();
    const std::string end = "/tcp/" + port(b) + "/p2p/" + b.id();
    for (const std::string &address : {"/dns4/host.example" + end, "/dns/both.example" + end,
                                       "/dnsaddr/peers.example/p2p/" + b.id()}) {
        EXPECT_EQ(a.connect(address), 0) << address << ": " << a.text.text;
        if (p2p_node_peers(a.node) == 1)
            disconnect(a, b);
    }
    EXPECT_EQ(a.connect("/dns4/nobody.example" + end), P2P_ERR_CONN_UNREACHABLE) << a.text.text;
    EXPECT_NE(std::string(a.text.text).find("nobody.example"), std::string::npos) << a.text.text;
    EXPECT_GE(server.questions, 4);
    for (uint64_t i = 0; i < 20; i++)
        EXPECT_EQ(p2p_node_connect_start(a.node, i, ("/dns4/host.example" + end).c_str(), -1, &a.text), 0);
    for (int i = 0; i < 20; i++)
        a.await(P2P_EVENT_CONNECTED);
}

TEST_P(ResolverTest, ClosesWhileAQuestionIsUnderWay)
{
    NameServer server; /* never started: mute */
    Node a(runtime);
    a.node->own->name_servers = server.address.c_str();
    a.start();
    ASSERT_EQ(p2p_node_connect_start(a.node, 1, ("/dns4/host.example/tcp/1/p2p/" + other_id).c_str(), -1, &a.text), 0);
    struct p2p_event event;
    EXPECT_EQ(p2p_node_wait_event(a.node, &event, 50), P2P_ERR_CALL_TIMEOUT);
    auto begin = Clock::now();
    EXPECT_EQ(p2p_node_close(a.node, 3000), 0);
    EXPECT_LT(milliseconds_since(begin), 3000);
    EXPECT_EQ(a.await(P2P_EVENT_CONNECT_FAILED).error, P2P_ERR_NODE_CLOSING);
    EXPECT_EQ(a.counter("actors"), 0);
}

struct TurnedResolverTest : ResolverTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, TurnedResolverTest,
                         testing::Values(World{DRIVER_URING, false}, World{DRIVER_EPOLL, false}), world_name);

TEST_P(TurnedResolverTest, LooksNowAndThenAtSocketsThatCannotBeWatched)
{
    NameServer server;
    Node a(runtime), b(runtime);
    b.start();
    server.a["host.example"] = {"127.0.0.1"};
    a.node->own->name_servers = server.address.c_str();
    a.start();
    struct driver *driver = worker_driver(runtime_worker(runtime->runtime, 0));
    std::vector<int> others;
    for (unsigned i = 0; i < DRIVER_WATCHES_MAX; i++) {
        others.push_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        driver_watch(driver, others.back(), POLLIN, {1, 1});
    }
    ASSERT_EQ(p2p_node_connect_start(a.node, 1, ("/dns4/host.example/tcp/" + port(b) + "/p2p/" + b.id()).c_str(), -1,
                                     &a.text), 0);
    while (!server.was_asked())
        p2p_runtime_turn(runtime, 1000);
    unsigned turns = 0;
    while (p2p_runtime_turn(runtime, 0) && turns <= 1000)
        turns++;
    EXPECT_LE(turns, 1000u) << "it does not turn in circles";
    server.start();
    a.await(P2P_EVENT_CONNECTED);
    for (int other : others) {
        driver_unwatch(driver, other);
        close(other);
    }
}

}  // namespace
