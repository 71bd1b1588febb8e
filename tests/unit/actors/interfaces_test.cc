#include "tests/unit/actors/node_fixture.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <thread>

namespace {

/* ---- a network of our own ---- */

/* A request about an interface, in the network of the calling thread. */
void ask_kernel(unsigned long request, struct ifreq *about)
{
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(ioctl(descriptor, request, about), 0) << about->ifr_name << ": " << strerror(errno);
    close(descriptor);
}

void set_flag(const char *interface, short flag, bool on)
{
    struct ifreq about = {};
    strcpy(about.ifr_name, interface);
    ask_kernel(SIOCGIFFLAGS, &about);
    about.ifr_flags = static_cast<short>(on ? about.ifr_flags | flag : about.ifr_flags & ~flag);
    ask_kernel(SIOCSIFFLAGS, &about);
}

/* "lo:1" is a second address of lo; it goes when it is set down. */
void add_address(const char *interface, const char *text)
{
    struct ifreq about = {};
    strcpy(about.ifr_name, interface);
    auto *address = reinterpret_cast<struct sockaddr_in *>(&about.ifr_addr);
    address->sin_family = AF_INET;
    inet_pton(AF_INET, text, &address->sin_addr);
    ask_kernel(SIOCSIFADDR, &about);
}

/* Runs `body` in a thread whose network, and that of the threads it starts, is
 * a loopback interface and nothing else. */
void in_a_network_of_our_own(const std::function<void()> &body)
{
    int error = 0;
    std::thread([&] {
        error = unshare(CLONE_NEWNET) == 0 ? 0 : errno;
        if (error)
            return;
        set_flag("lo", IFF_UP, true);
        body();
    }).join();
    const char *ci = getenv("CI");
    if (error && ci && strcmp(ci, "true") == 0)
        FAIL() << "no network namespace of our own: " << strerror(error);
    if (error)
        GTEST_SKIP() << "no network namespace of our own (that needs root): " << strerror(error);
}

/* ---- what a node says ---- */

std::vector<std::string> addresses_of(Node &node)
{
    std::vector<struct p2p_address> list(64);
    size_t count = 0;
    EXPECT_EQ(p2p_node_addresses(node.node, list.data(), list.size(), &count), 0);
    std::vector<std::string> out;
    for (size_t i = 0; i < count && i < list.size(); i++)
        out.push_back(list[i].text);
    return out;
}

bool has(const std::vector<std::string> &list, const std::string &part)
{
    return std::any_of(list.begin(), list.end(),
                       [&](const std::string &text) { return text.find(part) != std::string::npos; });
}

void everywhere(struct p2p_config *config)
{
    p2p_config_listen(config, "/ip4/0.0.0.0/tcp/0", nullptr);
    p2p_config_status_interval_ms(config, 0);
}

/* What `node` knows of its peer by identify. */
std::vector<std::string> told(Node &node, const std::string &id)
{
    struct p2p_identity *identity = nullptr;
    std::vector<std::string> out;
    EXPECT_EQ(p2p_node_identify(node.node, &identity, id.c_str(), TEST_PATIENCE_MS), 0);
    for (size_t i = 0; identity && i < identity->address_count; i++)
        out.push_back(identity->addresses[i]);
    p2p_identity_free(identity);
    return out;
}

/* Until `node` knows (or knows no more) that its peer is there. */
bool knows(Node &node, const std::string &id, const std::string &part, bool wanted = true)
{
    struct p2p_event event;
    for (auto begin = Clock::now(); milliseconds_since(begin) < TEST_PATIENCE_MS;) {
        if (has(told(node, id), part) == wanted)
            return true;
        p2p_node_wait_event(node.node, &event, 5);
    }
    return false;
}

class InterfacesTest : public NodeTest
{
public:
    std::unique_ptr<Node> listening(const std::function<void(struct p2p_config *)> &setup = everywhere)
    {
        auto node = std::make_unique<Node>(runtime, setup);
        node->start();
        return node;
    }

    /* What SetUp() does, in the thread that calls it: workers share its network. */
    void in_a_network(const std::function<void()> &body)
    {
        in_a_network_of_our_own([&] {
            TearDown();
            SetUp();
            body();
            TearDown();
            runtime = nullptr;
        });
    }
};

TEST_P(InterfacesTest, AnAddressThatComesAndGoesIsTold)
{
    in_a_network([&] {
        auto node = listening(), peer = listening();
        ASSERT_EQ(peer->connect(*node), 0) << peer->text.text;
        peer->await(P2P_EVENT_PEER_IDENTIFIED);
        EXPECT_FALSE(has(addresses_of(*node), "10.1.2.3"));

        add_address("lo:1", "10.1.2.3");
        node->await(P2P_EVENT_ADDRESSES_CHANGED);
        EXPECT_TRUE(has(addresses_of(*node), "/ip4/10.1.2.3/tcp/"));
        EXPECT_TRUE(has(addresses_of(*node), "/ip4/127.0.0.1/tcp/"));
        EXPECT_TRUE(knows(*peer, node->id(), "/ip4/10.1.2.3/tcp/")) << "by identify's push";

        set_flag("lo:1", IFF_UP, false);
        node->await(P2P_EVENT_ADDRESSES_CHANGED);
        EXPECT_FALSE(has(addresses_of(*node), "10.1.2.3"));
        EXPECT_TRUE(knows(*peer, node->id(), "10.1.2.3", false));
    });
}

TEST_P(InterfacesTest, ALinkThatGoesDownTakesItsAddresses)
{
    in_a_network([&] {
        FILE *ipv6 = fopen("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w"); /* its addresses would tell */
        if (ipv6) {
            fputs("1", ipv6);
            fclose(ipv6);
        }
        auto node = listening();
        add_address("lo:1", "10.1.2.3");
        node->await(P2P_EVENT_ADDRESSES_CHANGED);
        set_flag("lo", IFF_UP, false);
        node->await(P2P_EVENT_ADDRESSES_CHANGED);
        EXPECT_FALSE(has(addresses_of(*node), "10.1.2.3"));
        set_flag("lo", IFF_UP, true);
        node->await(P2P_EVENT_ADDRESSES_CHANGED);
        EXPECT_TRUE(has(addresses_of(*node), "10.1.2.3"));
    });
}

/* More nodes on one worker than its driver watches foreign descriptors. */
class CrowdTest : public InterfacesTest
{
public:
    static void SetUpTestSuite()
    {
        struct rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }

    /* Turns until `holds`, and then until nothing is left to do; false when that takes forever. */
    bool rests(const std::function<bool()> &holds)
    {
        unsigned turns = 0;
        for (auto begin = Clock::now(); !holds();) {
            if (milliseconds_since(begin) > 6 * TEST_PATIENCE_MS)
                return false;
            p2p_runtime_turn(runtime, 1000);
        }
        while (p2p_runtime_turn(runtime, 0))
            if (++turns > 10000)
                return false;
        return true;
    }
};

TEST_P(CrowdTest, HearsOfAnAddressAndRests)
{
    in_a_network([&] {
        std::vector<std::unique_ptr<Node>> nodes;
        auto all_have = [&](bool wanted) {
            return [&nodes, wanted] {
                return std::all_of(nodes.begin(), nodes.end(),
                                   [&](auto &node) { return has(addresses_of(*node), "10.1.2.3") == wanted; });
            };
        };
        for (unsigned i = 0; i < DRIVER_WATCHES_MAX + 44; i++)
            nodes.push_back(listening());
        EXPECT_TRUE(rests([] { return true; }));
        add_address("lo:1", "10.1.2.3");
        EXPECT_TRUE(rests(all_have(true)));
        set_flag("lo:1", IFF_UP, false);
        EXPECT_TRUE(rests(all_have(false)));
        nodes.erase(nodes.begin(), nodes.begin() + DRIVER_WATCHES_MAX); /* among them who watched for all */
        add_address("lo:1", "10.1.2.3");
        EXPECT_TRUE(rests(all_have(true)));
    });
}

INSTANTIATE_TEST_SUITE_P(Worlds, CrowdTest, testing::Values(World{DRIVER_URING, false}, World{DRIVER_EPOLL, false}),
                         world_name);

INSTANTIATE_TEST_SUITE_P(Worlds, InterfacesTest, testing::Values(World{DRIVER_URING, true}, World{DRIVER_EPOLL, true}),
                         world_name);

} // namespace
