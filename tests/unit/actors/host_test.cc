#include "node_fixture.h"

#include <poll.h>
#include <thread>

/* A host with a loop of its own: it turns a runtime without threads when that
 * one's descriptor says so, and never else. */

namespace {

class HostTest : public testing::TestWithParam<enum p2p_driver>
{
protected:
    void SetUp() override
    {
        struct p2p_error_text text = {};
        if (p2p_runtime_new(&runtime, 1, false, GetParam(), &text) != 0)
            GTEST_SKIP() << text.text;
        ASSERT_EQ(p2p_runtime_new(&other, 1, true, P2P_DRIVER_AUTO, &text), 0) << text.text;
    }

    void TearDown() override
    {
        p2p_runtime_free(runtime);
        p2p_runtime_free(other);
    }

    bool is_readable(int timeout_ms)
    {
        struct pollfd wait = {p2p_runtime_fd(runtime), POLLIN, 0};
        return poll(&wait, 1, timeout_ms) == 1;
    }

    /* Not only seen to be readable when the time is over. */
    bool wakes_us()
    {
        auto begin = Clock::now();
        return is_readable(TEST_PATIENCE_MS) && milliseconds_since(begin) < TEST_PATIENCE_MS;
    }

    void turn()
    {
        while (p2p_runtime_turn(runtime, 0) == 1)
            ;
    }

    struct p2p_event turn_for(Node &node, enum p2p_event_type type)
    {
        struct p2p_event event = {};
        do {
            turn();
            while (p2p_node_next_event(node.node, &event) == 0) {
                if (event.type == type)
                    return event;
            }
        } while (wakes_us());
        ADD_FAILURE() << "the descriptor stayed quiet";
        return {};
    }

    struct p2p_runtime *runtime = nullptr, *other = nullptr;
};

TEST_P(HostTest, HearsOfEverythingThatAConnectionNeeds)
{
    Node here(runtime), there(other);
    here.start(), there.start();
    ASSERT_EQ(p2p_node_connect_start(here.node, 7, there.address().c_str(), TEST_PATIENCE_MS, nullptr), 0);
    EXPECT_EQ(turn_for(here, P2P_EVENT_CONNECTED).request, 7u);
    EXPECT_EQ(turn_for(here, P2P_EVENT_PEER_IDENTIFIED).id, there.id());
    EXPECT_EQ(p2p_node_disconnect(there.node, here.id().c_str()), 0);
    EXPECT_EQ(turn_for(here, P2P_EVENT_PEER_DISCONNECTED).id, there.id());
}

TEST_P(HostTest, HearsThatATimeIsUp)
{
    Node here(runtime), there(other);
    here.start(), there.start();
    int silent = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {};
    socklen_t length = sizeof(address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(bind(silent, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(silent, 1), 0);
    ASSERT_EQ(getsockname(silent, reinterpret_cast<struct sockaddr *>(&address), &length), 0);
    std::string to = "/ip4/127.0.0.1/tcp/" + std::to_string(ntohs(address.sin_port)) + "/p2p/" + there.id();

    ASSERT_EQ(p2p_node_connect_start(here.node, 1, to.c_str(), 100, nullptr), 0);
    EXPECT_NE(turn_for(here, P2P_EVENT_CONNECT_FAILED).error, 0);
    close(silent);
}

TEST_P(HostTest, SleepsWhenThereIsNothingToDo)
{
    Node here(runtime), there(other);
    here.start(), there.start();
    ASSERT_EQ(here.connect(there), 0);
    turn_for(here, P2P_EVENT_PEER_IDENTIFIED);
    bool quiet = false;
    for (int i = 0; i < 1000 && !quiet; i++) {
        turn();
        quiet = !is_readable(10);
    }
    EXPECT_TRUE(quiet);
}

TEST_P(HostTest, IsToldByOtherThreads)
{
    Node here(runtime), there(other);
    here.start(), there.start();
    ASSERT_EQ(here.connect(there), 0);
    std::thread stranger([&] { EXPECT_EQ(p2p_node_disconnect(here.node, there.id().c_str()), 0); });
    turn_for(here, P2P_EVENT_PEER_DISCONNECTED);
    stranger.join();
}

TEST_P(HostTest, HasOneDescriptor)
{
    int descriptor = p2p_runtime_fd(runtime);
    EXPECT_GE(descriptor, 0);
    EXPECT_TRUE(is_readable(0)) << "the first turn is due";
    turn();
    EXPECT_EQ(p2p_runtime_fd(runtime), descriptor);
    EXPECT_EQ(p2p_runtime_fd(other), -1) << "that one has threads";
}

INSTANTIATE_TEST_SUITE_P(Drivers, HostTest, testing::Values(P2P_DRIVER_URING, P2P_DRIVER_EPOLL),
                         [](const testing::TestParamInfo<enum p2p_driver> &it) {
                             return it.param == P2P_DRIVER_URING ? "uring" : "epoll";
                         });

} // namespace

TEST(RuntimeSpin, IsSetAndTold)
{
    struct p2p_runtime *runtime = nullptr;

    ASSERT_EQ(p2p_runtime_new(&runtime, 1, true, P2P_DRIVER_AUTO, nullptr), 0);
    unsigned told = p2p_runtime_spin_us(runtime);
    EXPECT_TRUE(told == 30 || told == 0); /* of one CPU */
    EXPECT_EQ(p2p_runtime_set_spin_us(runtime, 1001), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_runtime_spin_us(runtime), told);
    EXPECT_EQ(p2p_runtime_set_spin_us(runtime, 7), 0);
    EXPECT_EQ(p2p_runtime_spin_us(runtime), told == 0 ? 0u : 7u);
    EXPECT_EQ(p2p_runtime_set_spin_us(runtime, 0), 0);
    EXPECT_EQ(p2p_runtime_spin_us(runtime), 0u);
    p2p_runtime_free(runtime);
}
