#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

extern "C" {
#include "actors/app.h"
#include "actors/registry_identity.h"
#include "net/peer_record.h"
#include "actors/waiter.h"
}

namespace {

struct peer_id id_of(unsigned number)
{
    uint8_t seed[KEY_SEED_BYTES] = {};
    struct peer_id id;
    struct key *key = nullptr;

    memcpy(seed, &number, sizeof(number));
    EXPECT_EQ(key_new_seed(&key, seed), 0);
    peer_id_from_public_key(&id, key_public(key));
    key_free(key);
    return id;
}

struct multiaddr address_of(const std::string &text)
{
    struct multiaddr address = {};
    EXPECT_EQ(multiaddr_from_text(&address, text.c_str(), nullptr, 0), 0) << text;
    return address;
}

/* What a peer tells, in memory of its own. */
struct Told {
    struct identify_result result = {};
    std::vector<std::string> protocols;
    std::vector<struct multiaddr> addresses;
    std::vector<struct wire_span> protocol_spans, address_spans;

    Told(const char *agent, std::vector<std::string> names, std::vector<std::string> texts = {})
        : protocols(std::move(names))
    {
        for (const auto &text : texts)
            addresses.push_back(address_of(text));
        for (const auto &name : protocols)
            protocol_spans.push_back({reinterpret_cast<const uint8_t *>(name.data()), name.size()});
        for (const auto &address : addresses)
            address_spans.push_back({address.bytes, address.length});
        strcpy(result.agent_version, agent);
        strcpy(result.protocol_version, "CHORUS-network");
        result.protocols = protocol_spans.data();
        result.protocol_count = protocol_spans.size();
        result.addrs = address_spans.data();
        result.addr_count = address_spans.size();
        result.observed = address_of("/ip4/127.0.0.1/tcp/4001");
    }
};

struct RegistryTest : testing::Test {
    int error = 0;
    struct p2p_node node = {};
    struct registry *registry = nullptr;
    std::map<uint32_t, struct registry_connection> connections; /* by the session's number */

    void SetUp() override
    {
        node.app = app_new(&error);
        node.depot = depot_new();
        registry = node.registry = registry_new(&node, 42);
    }

    void TearDown() override
    {
        registry_free(registry);
        depot_free(node.depot); /* asserts that nothing is left */
        app_free(node.app);
    }

    static struct actor_ref session(uint32_t number) { return {number, 1}; }

    int add(unsigned peer, uint32_t number, bool outbound = false, uint64_t opened_ns = 1000)
    {
        struct registry_connection &connection = connections[number];
        struct multiaddr remote = address_of("/ip4/127.0.0.1/tcp/" + std::to_string(number % 60000 + 1));
        struct peer_id id = id_of(peer);
        connection = {};
        connection.session = session(number);
        registry_set_remote(&connection, &remote);
        connection.outbound = outbound;
        connection.opened_ns = opened_ns;
        return registry_add(registry, &connection, &id);
    }

    void remove(uint32_t number, int why = P2P_ERR_CONN_CLOSED)
    {
        registry_remove(registry, &connections[number], why, nullptr);
    }

    uint32_t identified(unsigned peer, uint32_t number, const Told &told)
    {
        struct peer_id id = id_of(peer);
        return registry_identified(registry, session(number), &id, &told.result);
    }

    struct p2p_event next()
    {
        struct p2p_event event;
        if (app_next(node.app, &event) < 0)
            event.type = P2P_EVENT_NONE;
        return event;
    }

    uint32_t find(unsigned peer)
    {
        struct peer_id id = id_of(peer);
        struct actor_ref ref = {};
        return registry_find(registry, &ref, &id) ? ref.slot : 0;
    }
};

TEST_F(RegistryTest, TellsOfAPeersFirstAndLastConnectionOnly)
{
    char text[PEER_ID_TEXT_SIZE];
    struct peer_id id = id_of(1);
    peer_id_to_text(&id, text);

    EXPECT_EQ(add(1, 10), 0);
    EXPECT_EQ(add(1, 11), 0);
    EXPECT_EQ(registry_peers(registry), 1u);
    auto event = next();
    EXPECT_EQ(event.type, P2P_EVENT_PEER_CONNECTED);
    EXPECT_STREQ(event.id, text);
    EXPECT_EQ(next().type, P2P_EVENT_NONE);
    remove(10);
    remove(10);
    EXPECT_EQ(next().type, P2P_EVENT_NONE);
    remove(11, P2P_ERR_CONN_RESET);
    event = next();
    EXPECT_EQ(event.type, P2P_EVENT_PEER_DISCONNECTED);
    EXPECT_EQ(event.error, P2P_ERR_CONN_RESET);
    EXPECT_EQ(registry_peers(registry), 0u);
}

TEST_F(RegistryTest, PrefersTheNewestIdentifiedConnection)
{
    Told told("agent", {});
    EXPECT_EQ(find(1), 0u);
    add(1, 10);
    EXPECT_EQ(find(1), 10u);
    add(1, 11);
    EXPECT_EQ(find(1), 11u);
    identified(1, 10, told);
    EXPECT_EQ(find(1), 10u);
    add(1, 12);
    EXPECT_EQ(find(1), 10u);
    identified(1, 12, told);
    EXPECT_EQ(find(1), 12u);
    remove(12);
    EXPECT_EQ(find(1), 10u);
}

TEST_F(RegistryTest, AConnectionAboutToEndCarriesNothingNew)
{
    struct peer_id id = id_of(1);
    struct actor_ref first = session(10);
    Told told("agent", {});
    add(1, 10);
    registry_identified(registry, first, &id, &told.result);
    add(1, 11);
    EXPECT_EQ(find(1), 10u);
    registry_retire(registry, &connections[10]);
    EXPECT_EQ(find(1), 11u);
    registry_retire_peer(registry, &id);
    EXPECT_EQ(find(1), 0u);
    EXPECT_EQ(registry_sessions(registry, nullptr, 0, &id), 2u);
    add(1, 12);
    EXPECT_EQ(find(1), 12u);
}

TEST_F(RegistryTest, KeepsWhatIdentifyTold)
{
    Told told("go-libp2p/0.48", {"/ipfs/ping/1.0.0", "/echo/1.0.0"},
              {"/ip4/127.0.0.1/tcp/4001", "/ip4/192.168.1.2/tcp/4001", "/ip4/0.0.0.0/tcp/1"});
    struct peer_id id = id_of(1);
    struct p2p_identity *identity = nullptr;
    add(1, 10);
    next();
    EXPECT_EQ(registry_identity(registry, &identity, &id), P2P_ERR_CALL_AGAIN);
    told.result.has_signed_record = true;
    told.result.record_seq = 77;
    identified(1, 10, told);
    EXPECT_EQ(next().type, P2P_EVENT_PEER_IDENTIFIED);
    ASSERT_EQ(registry_identity(registry, &identity, &id), 0);
    EXPECT_STREQ(identity->agent_version, "go-libp2p/0.48");
    EXPECT_STREQ(identity->protocol_version, "CHORUS-network");
    EXPECT_STREQ(identity->observed_address, "/ip4/127.0.0.1/tcp/4001");
    ASSERT_EQ(identity->protocol_count, 2u);
    EXPECT_STREQ(identity->protocols[0], "/ipfs/ping/1.0.0");
    EXPECT_STREQ(identity->protocols[1], "/echo/1.0.0");
    ASSERT_EQ(identity->address_count, 2u); /* the unspecified one is nobody's address */
    EXPECT_STREQ(identity->addresses[0], "/ip4/127.0.0.1/tcp/4001");
    EXPECT_STREQ(identity->addresses[1], "/ip4/192.168.1.2/tcp/4001");
    EXPECT_TRUE(identity->signed_record);
    EXPECT_EQ(identity->signed_record_seq, 77u);
    EXPECT_EQ(identity->key_type, P2P_KEY_ED25519);
    p2p_identity_free(identity);
    EXPECT_TRUE(registry_speaks(registry, &id, "/echo/1.0.0"));
    EXPECT_FALSE(registry_speaks(registry, &id, "/echo/1.0"));
    EXPECT_FALSE(registry_speaks(registry, &id, "/echo/1.0.0/x"));
    struct peer_id other = id_of(2);
    EXPECT_FALSE(registry_speaks(registry, &other, "/echo/1.0.0"));
    EXPECT_EQ(registry_identity(registry, &identity, &other), P2P_ERR_CALL_NOT_FOUND);
}

/* Tells a record that nobody has opened, and asks what became of it. */
struct RecordTest : RegistryTest {
    uint64_t seq = 0;

    std::vector<uint8_t> record_of(unsigned number, uint64_t number_seq)
    {
        std::vector<uint8_t> sealed(1000);
        uint8_t seed[KEY_SEED_BYTES] = {};
        struct key *key = nullptr;
        size_t length = 0;

        memcpy(seed, &number, sizeof(number));
        EXPECT_EQ(key_new_seed(&key, seed), 0);
        EXPECT_EQ(peer_record_seal(sealed.data(), sealed.size(), &length, key, number_seq, nullptr, 0), 0);
        key_free(key);
        sealed.resize(length);
        return sealed;
    }

    /* In memory that is gone before anybody asks. */
    uint32_t tell(std::vector<uint8_t> sealed, uint64_t its_seq)
    {
        Told told("agent", {"/echo/1.0.0"});

        told.result.record_deferred = true;
        told.result.record_seq = its_seq;
        told.result.signed_record = {sealed.data(), sealed.size()};
        uint32_t kept = identified(1, 10, told);
        std::fill(sealed.begin(), sealed.end(), 0);
        return kept;
    }

    bool valid()
    {
        struct peer_id id = id_of(1);
        struct p2p_identity *identity = nullptr;

        EXPECT_EQ(registry_identity(registry, &identity, &id), 0);
        bool is = identity->signed_record;
        seq = identity->signed_record_seq;
        p2p_identity_free(identity);
        return is;
    }
};

TEST_F(RecordTest, IsOpenedWhenItIsAskedFor)
{
    std::vector<uint8_t> forged = record_of(1, 79);
    forged.back() ^= 1;

    add(1, 10);
    tell(record_of(1, 77), 77);
    for (int time = 0; time < 2; time++) {
        EXPECT_TRUE(valid());
        EXPECT_EQ(seq, 77u);
    }
    tell(forged, 79);
    for (int time = 0; time < 2; time++) {
        EXPECT_FALSE(valid());
        EXPECT_EQ(seq, 0u);
    }
    tell(record_of(2, 78), 78); /* somebody else's */
    EXPECT_FALSE(valid());
    tell(record_of(1, 80), 80);
    EXPECT_TRUE(valid());
    EXPECT_EQ(seq, 80u);
}

TEST_F(RecordTest, IsLetGoOnceItWasOpened)
{
    struct interns interns;
    struct registry_told told = {};
    Told first("agent", {"/echo/1.0.0"});
    std::vector<uint8_t> sealed = record_of(1, 77);
    struct peer_id id = id_of(1);
    struct multiaddr remote = address_of("/ip4/127.0.0.1/tcp/1");

    intern_init(&interns, 1);
    first.result.record_deferred = true;
    first.result.record_seq = 77;
    first.result.signed_record = {sealed.data(), sealed.size()};
    struct registry_lists lists;
    registry_lists_pack(&lists, &first.result, &remote);
    ASSERT_EQ(registry_told_set(&told, &interns, node.depot, &first.result, &lists, &id), 0);
    ASSERT_NE(told.record, nullptr);
    EXPECT_FALSE(told.signed_record);
    std::vector<uint8_t> kept(IDENTIFY_DEFERRED_RECORD_BYTES_MAX);
    kept.resize(registry_told_sealed(&told, kept.data()));
    EXPECT_EQ(kept, sealed);
    registry_told_judge(&told, kept.data(), kept.size() - 1, true);
    EXPECT_NE(told.record, nullptr); /* it was another that is true */
    EXPECT_TRUE(registry_record_valid(kept.data(), kept.size(), &id));
    registry_told_judge(&told, kept.data(), kept.size(), true);
    EXPECT_EQ(told.record, nullptr); /* its memory is gone, what it said is not */
    EXPECT_TRUE(told.signed_record);
    EXPECT_EQ(told.record_seq, 77u);
    registry_told_clear(&told, &interns, node.depot);
    intern_fini(&interns);
}

TEST_F(RecordTest, IsOpenedWhenItIsReviewed)
{
    struct peer_id id = id_of(1);
    std::vector<uint8_t> record = record_of(1, 77);

    add(1, 10);
    EXPECT_EQ(registry_review(registry, &id), 0u); /* it has told nothing */
    uint32_t young = tell(record, 77), reviewed = registry_review(registry, &id);
    EXPECT_EQ(young, reviewed + record.size());
    EXPECT_EQ(registry_review(registry, &id), reviewed);
    EXPECT_TRUE(valid());
    remove(10);
    EXPECT_EQ(registry_review(registry, &id), 0u);
}

TEST_F(RegistryTest, TellsWhatItKeepsOfAPeer)
{
    Told little("agent", {}), much("agent", {std::string(5000, 'x')}, {"/ip4/127.0.0.1/tcp/4001"});

    for (unsigned peer = 1; peer <= 4; peer++)
        add(peer, peer);
    uint32_t least = identified(1, 1, little);
    EXPECT_GT(least, 0u);
    EXPECT_EQ(identified(1, 1, much), least + 5001 + 10); /* a terminator, an address of 8 bytes and its length */
    for (unsigned peer = 2; peer <= 4; peer++) /* of the list its share */
        EXPECT_NEAR(identified(peer, peer, much), least + 10 + 5001 / peer, 20);
    EXPECT_EQ(identified(1, 5, much), 0u); /* a connection that is not there */
}

/* As a peer that tells one address with its id at the end, and without. */
TEST_F(RegistryTest, TellsAnAddressOnce)
{
    Told told("agent", {}, {"/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4002", "/ip4/127.0.0.1/tcp/4001",
                            "/ip4/127.0.0.1/tcp/4002"});
    struct peer_id id = id_of(1);
    struct p2p_identity *identity = nullptr;
    add(1, 10);
    identified(1, 10, told);
    ASSERT_EQ(registry_identity(registry, &identity, &id), 0);
    EXPECT_STREQ(identity->observed_address, "/ip4/127.0.0.1/tcp/4001"); /* which is no reason to leave it out below */
    ASSERT_EQ(identity->address_count, 2u);
    EXPECT_STREQ(identity->addresses[0], "/ip4/127.0.0.1/tcp/4001");
    EXPECT_STREQ(identity->addresses[1], "/ip4/127.0.0.1/tcp/4002");
    p2p_identity_free(identity);
}

TEST_F(RegistryTest, TakesNewsFromAPushAndTellsItOnce)
{
    struct peer_id id = id_of(1);
    add(1, 10);
    identified(1, 10, Told("agent", {"/a"}));
    identified(1, 10, Told("agent", {"/a", "/b"}));
    EXPECT_TRUE(registry_speaks(registry, &id, "/b"));
    next();
    EXPECT_EQ(next().type, P2P_EVENT_PEER_IDENTIFIED);
    EXPECT_EQ(next().type, P2P_EVENT_NONE);
    identified(1, 10, Told("agent", {}));
    EXPECT_FALSE(registry_speaks(registry, &id, "/a"));
}

TEST_F(RegistryTest, BelievesNothingOfAMessageWithAnothersKey)
{
    struct peer_id id = id_of(1);
    struct p2p_identity *identity = nullptr;
    Told told("agent", {"/a"});
    told.result.key_mismatch = true;
    add(1, 10);
    identified(1, 10, told);
    EXPECT_EQ(registry_identity(registry, &identity, &id), P2P_ERR_CALL_AGAIN);
}

TEST_F(RegistryTest, BoundsWhatAPeerMayHaveUsKeep)
{
    std::vector<std::string> many;
    struct peer_id id = id_of(1);
    struct p2p_identity *identity = nullptr;
    for (int i = 0; i < 1000; i++)
        many.push_back("/" + std::string(200, 'x') + std::to_string(i));
    std::vector<std::string> addresses(500);
    for (size_t i = 0; i < addresses.size(); i++)
        addresses[i] = "/ip4/127.0.0.1/tcp/" + std::to_string(i + 1);
    add(1, 10);
    identified(1, 10, Told("agent", many, addresses));
    ASSERT_EQ(registry_identity(registry, &identity, &id), 0);
    EXPECT_LE(identity->protocol_count, REGISTRY_PROTOCOLS_BYTES_MAX / 200u);
    EXPECT_GE(identity->protocol_count, 30u);
    EXPECT_LE(identity->address_count, REGISTRY_ADDRESSES_BYTES_MAX / 8u);
    EXPECT_GE(identity->address_count, 100u);
    EXPECT_STREQ(identity->addresses[99], "/ip4/127.0.0.1/tcp/100");
    p2p_identity_free(identity);
}

TEST_F(RegistryTest, RefusesMoreConnectionsOfOnePeerThanItsBound)
{
    for (uint32_t i = 0; i < REGISTRY_PEER_CONNECTIONS_MAX; i++)
        ASSERT_EQ(add(1, i + 1), 0);
    EXPECT_EQ(add(1, 1000), P2P_ERR_CONN_LIMIT);
    EXPECT_EQ(add(2, 1001), 0);
    remove(5);
    EXPECT_EQ(add(1, 1002), 0);
}

TEST_F(RegistryTest, TakesNobodyInWhenTheNodeCloses)
{
    node.closing = 1;
    EXPECT_EQ(add(1, 10), P2P_ERR_NODE_CLOSING);
    EXPECT_EQ(registry_peers(registry), 0u);
    EXPECT_EQ(next().type, P2P_EVENT_NONE);
}

TEST_F(RegistryTest, ListsPeersInTheOrderTheyCame)
{
    struct p2p_peer peers[2];
    for (unsigned i = 0; i < 3; i++)
        add(i, i + 1, i == 1, 1000 * (i + 1));
    add(0, 9, true, 9000);
    struct peer_id first = id_of(0);
    for (auto [number, times] : {std::pair(9u, 10u), std::pair(1u, 1u)}) {
        registry_measured(registry, &connections[number], 5 + 2 * (number == 1));
        registry_count(&connections[number].bytes_in, 10 * times);
        registry_count(&connections[number].bytes_out, 20 * times);
    }
    EXPECT_EQ(registry_list(registry, peers, 2, 10000), 3u);
    char text[PEER_ID_TEXT_SIZE];
    peer_id_to_text(&first, text);
    EXPECT_STREQ(peers[0].id, text);
    EXPECT_STREQ(peers[0].address, "/ip4/127.0.0.1/tcp/10");
    EXPECT_EQ(peers[0].connections, 2u);
    EXPECT_TRUE(peers[0].outbound);
    EXPECT_EQ(peers[0].rtt_ns, 5u);
    EXPECT_EQ(peers[0].since_ns, 9000u);
    EXPECT_EQ(peers[0].bytes_in, 110u);
    EXPECT_EQ(peers[0].bytes_out, 220u);
    EXPECT_TRUE(peers[1].outbound);
    struct peer_id ids[4];
    EXPECT_EQ(registry_ids(registry, ids, 4), 3u);
    struct peer_id second = id_of(1);
    EXPECT_TRUE(peer_id_equal(&ids[1], &second));
    struct actor_ref sessions[8];
    EXPECT_EQ(registry_sessions(registry, sessions, 8, nullptr), 4u);
    EXPECT_EQ(registry_sessions(registry, sessions, 1, &first), 2u);
    EXPECT_EQ(sessions[0].slot, 9u);
}

TEST_F(RegistryTest, WakesThoseWhoWaitForAnIdentity)
{
    struct peer_id id = id_of(1);
    struct waiter *nobody = waiter_new(&node, WAITER_BLOCKING, 0);
    registry_await_identity(registry, nobody, &id);
    EXPECT_EQ(waiter_wait(nobody, 0), P2P_ERR_CALL_NOT_FOUND);
    waiter_done(nobody);

    add(1, 10);
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    registry_await_identity(registry, waiter, &id);
    identified(1, 10, Told("agent", {}));
    ASSERT_EQ(waiter_wait(waiter, 0), 0);
    EXPECT_STREQ(static_cast<struct p2p_identity *>(waiter->object)->agent_version, "agent");
    p2p_identity_free(static_cast<struct p2p_identity *>(waiter->object));
    waiter_done(waiter);

    waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    registry_await_identity(registry, waiter, &id); /* known already */
    ASSERT_EQ(waiter_wait(waiter, 0), 0);
    p2p_identity_free(static_cast<struct p2p_identity *>(waiter->object));
    waiter_done(waiter);
}

TEST_F(RegistryTest, TellsThoseWhoWaitThatThePeerHasGone)
{
    struct peer_id id = id_of(1);
    add(1, 10);
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    registry_await_identity(registry, waiter, &id);
    remove(10);
    EXPECT_EQ(waiter_wait(waiter, 0), P2P_ERR_CALL_NOT_FOUND);
    waiter_done(waiter);
}

TEST_F(RegistryTest, TellsThoseWhoWaitThatNobodyWillTell)
{
    struct peer_id id = id_of(1);
    struct p2p_identity *identity = nullptr;
    add(1, 10);
    add(1, 11);
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    registry_await_identity(registry, waiter, &id);
    registry_identify_failed(registry, session(10), &id, P2P_ERR_STREAM_REFUSED);
    EXPECT_EQ(registry_identity(registry, &identity, &id), P2P_ERR_CALL_AGAIN) << "the other connection may";
    remove(11);
    EXPECT_EQ(waiter_wait(waiter, 0), P2P_ERR_STREAM_REFUSED);
    waiter_done(waiter);
    EXPECT_EQ(registry_identity(registry, &identity, &id), P2P_ERR_STREAM_REFUSED);
    waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    registry_await_identity(registry, waiter, &id);
    EXPECT_EQ(waiter_wait(waiter, 0), P2P_ERR_STREAM_REFUSED);
    waiter_done(waiter);

    add(1, 12);
    EXPECT_EQ(registry_identity(registry, &identity, &id), P2P_ERR_CALL_AGAIN) << "a new one may";
    registry_identify_failed(registry, session(12), &id, P2P_ERR_STREAM_RESET);
    EXPECT_EQ(registry_identity(registry, &identity, &id), P2P_ERR_STREAM_RESET);
    identified(1, 10, Told("agent", {}));
    ASSERT_EQ(registry_identity(registry, &identity, &id), 0) << "what is told counts";
    p2p_identity_free(identity);
}

TEST_F(RegistryTest, ForgetsThoseWhoStoppedWaiting)
{
    struct peer_id id = id_of(1);
    add(1, 10);
    for (int i = 0; i < 2 * REGISTRY_AWAITERS_MAX; i++) {
        struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
        registry_await_identity(registry, waiter, &id);
        ASSERT_EQ(waiter_wait(waiter, 0), P2P_ERR_CALL_TIMEOUT);
        waiter_done(waiter);
    }
    identified(1, 10, Told("agent", {})); /* what nobody waits for is freed */
}

}  // namespace
