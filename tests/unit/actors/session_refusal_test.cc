#include "tests/unit/actors/node_fixture.h"

extern "C" {
#include "actors/node.h"
#include "actors/registry.h"
#include "crypto/peer_id.h"
}

/* Connections that a node ends because it has no room for them: the peer hears
 * why before it sees the end. */

namespace {

struct RefusalTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, RefusalTest, testing::Values(REAL_WORLDS, World{DRIVER_SIM, false}), world_name);

/* Of that peer, without sessions. */
class Crowd
{
public:
    Crowd(Node &node, Node &peer) : registry_(node.node->registry)
    {
        EXPECT_EQ(peer_id_from_text(&id_, peer.id().data(), peer.id().size()), 0);
        for (uint32_t i = 0; i < REGISTRY_PEER_CONNECTIONS_MAX; i++) {
            entries_[i].session = {i + 1, UINT32_MAX};
            EXPECT_EQ(registry_add(registry_, &entries_[i], &id_), 0);
        }
    }

    ~Crowd()
    {
        struct p2p_error_text why = {};
        for (struct registry_connection &entry : entries_)
            registry_remove(registry_, &entry, P2P_ERR_CONN_CLOSED, &why);
    }

    void retire() { registry_retire_peer(registry_, &id_); }

private:
    struct registry *registry_;
    struct peer_id id_;
    struct registry_connection entries_[REGISTRY_PEER_CONNECTIONS_MAX] = {};
};

TEST_P(RefusalTest, AConnectionMoreThanAPeerMayHaveIsSentAway)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    {
        Crowd crowd(b, a);
        ASSERT_EQ(a.connect(b), 0) << a.text.text; /* on this side it is one */
        EXPECT_EQ(a.await(P2P_EVENT_PEER_DISCONNECTED).error, P2P_ERR_CONN_GOAWAY);
        EXPECT_TRUE(b.reaches("connections", 0));
    }
    EXPECT_EQ(a.connect(b), 0) << a.text.text;
    EXPECT_TRUE(b.reaches("connections", 1));
}

/* A node that is closing takes no more connections, and then whoever dials must hear of it, too. */
TEST_P(RefusalTest, ANodeClosesHoweverFarItsDialIs)
{
    enum { STEPS = 60 }; /* more than a dial takes */
    Node listening(runtime);
    listening.start();
    for (int steps = 0; steps < STEPS; steps++) {
        Node dialling(runtime);
        dialling.start();
        ASSERT_EQ(p2p_node_connect_start(dialling.node, 1, listening.address().c_str(), TEST_PATIENCE_MS,
                                         &dialling.text), 0) << dialling.text.text;
        for (int i = 0; i < steps && !GetParam().threads; i++)
            (void)p2p_runtime_turn(runtime, 0);
        ASSERT_EQ(p2p_node_close(dialling.node, TEST_PATIENCE_MS), 0) << "after " << steps << " turns";
    }
}

/* The one who dials has no room when the handshake is over: its call fails, and
 * the peer hears why. */
TEST_P(RefusalTest, ADialThatFindsNoRoomAtItsEndFails)
{
    Node a(runtime), b(runtime);
    a.start();
    b.start();
    {
        Crowd crowd(a, b);
        crowd.retire(); /* or one of them would be connection enough */
        EXPECT_EQ(a.connect(b), P2P_ERR_CONN_LIMIT);
        EXPECT_NE(strstr(a.text.text, "as many connections to this peer"), nullptr) << a.text.text;
        EXPECT_EQ(strstr(a.text.text, "choosing"), nullptr) << a.text.text;
        EXPECT_EQ(b.await(P2P_EVENT_PEER_DISCONNECTED).error, P2P_ERR_CONN_GOAWAY);
    }
    EXPECT_TRUE(a.reaches("connections", 0));
    EXPECT_EQ(a.connect(b), 0) << a.text.text;
}

} // namespace
