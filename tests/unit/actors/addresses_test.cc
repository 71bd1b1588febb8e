#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

extern "C" {
#include "actors/addresses.h"
#include "net/peer_record.h"
}

namespace {

using strings = std::vector<std::string>;

struct sockaddr_storage socket_address(const char *text)
{
    struct multiaddr address = {};
    struct sockaddr_storage out = {};
    socklen_t length = 0;
    EXPECT_EQ(multiaddr_from_text(&address, text, nullptr, 0), 0) << text;
    EXPECT_EQ(multiaddr_to_sockaddr(&address, &out, &length, 0), 0) << text;
    return out;
}

struct AddressesTest : testing::Test {
    struct addresses *addresses = addresses_new();
    struct key *key = nullptr;

    AddressesTest()
    {
        const uint8_t seed[KEY_SEED_BYTES] = {1};
        EXPECT_EQ(key_new_seed(&key, seed), 0);
    }

    ~AddressesTest() override
    {
        addresses_free(addresses);
        key_free(key);
    }

    void listen(const char *text)
    {
        struct sockaddr_storage bound = socket_address(text);
        EXPECT_EQ(addresses_listen(addresses, &bound), 0);
    }

    bool interfaces(const strings &texts)
    {
        std::vector<struct sockaddr_storage> list;
        for (const auto &text : texts)
            list.push_back(socket_address((text + "/tcp/0").c_str()));
        return addresses_set_interfaces(addresses, list.data(), list.size());
    }

    strings list()
    {
        struct multiaddr found[NODE_ANNOUNCE_ADDRESSES_MAX];
        char text[P2P_ADDRESS_TEXT_BYTES];
        strings out;
        size_t count = addresses_list(addresses, found, NODE_ANNOUNCE_ADDRESSES_MAX);
        for (size_t i = 0; i < count; i++) {
            multiaddr_to_text(&found[i], text, sizeof(text));
            out.push_back(text);
        }
        return out;
    }

    uint64_t record_seq(const struct multiaddr *of, size_t count, uint64_t wall_ns)
    {
        uint8_t bytes[4096];
        size_t length = 0;
        struct peer_record record;
        EXPECT_EQ(addresses_record(addresses, bytes, &length, sizeof(bytes), key, of, count, wall_ns), 0);
        EXPECT_EQ(peer_record_open(&record, bytes, length), 0);
        return record.seq;
    }
};

TEST_F(AddressesTest, AWildcardStandsForTheInterfacesOfItsFamily)
{
    listen("/ip4/0.0.0.0/tcp/3333");
    EXPECT_EQ(list(), strings{});
    EXPECT_TRUE(interfaces({"/ip4/127.0.0.1", "/ip6/::1", "/ip4/10.0.0.5"}));
    EXPECT_EQ(list(), (strings{"/ip4/127.0.0.1/tcp/3333", "/ip4/10.0.0.5/tcp/3333"}));
    listen("/ip6/::/tcp/4444");
    EXPECT_EQ(list().back(), "/ip6/::1/tcp/4444");
    EXPECT_FALSE(interfaces({"/ip4/127.0.0.1", "/ip6/::1", "/ip4/10.0.0.5"}));
    EXPECT_TRUE(interfaces({"/ip4/127.0.0.1", "/ip6/::1"}));
    EXPECT_EQ(list(), (strings{"/ip4/127.0.0.1/tcp/3333", "/ip6/::1/tcp/4444"}));
    addresses_clear(addresses);
    EXPECT_EQ(list(), strings{});
}

TEST_F(AddressesTest, AConcreteAddressStandsForItself)
{
    listen("/ip4/192.0.2.1/tcp/1");
    EXPECT_FALSE(interfaces({"/ip4/127.0.0.1"}));
    EXPECT_EQ(list(), (strings{"/ip4/192.0.2.1/tcp/1"}));
}

TEST_F(AddressesTest, KnowsTheMachinesInterfaces)
{
    struct sockaddr_storage found[ADDRESSES_INTERFACE_MAX];
    EXPECT_GE(addresses_of_interfaces(found, ADDRESSES_INTERFACE_MAX), 1);
    EXPECT_EQ(addresses_of_interfaces(found, 1), 1);
}

TEST_F(AddressesTest, SignsTheSameAddressesOnce)
{
    struct multiaddr some[2] = {};
    multiaddr_from_text(&some[0], "/ip4/10.0.0.1/tcp/1", nullptr, 0);
    multiaddr_from_text(&some[1], "/ip4/10.0.0.2/tcp/1", nullptr, 0);
    EXPECT_EQ(record_seq(some, 2, 1000), 1000u);
    EXPECT_EQ(record_seq(some, 2, 2000), 1000u);
    EXPECT_EQ(record_seq(some, 1, 3000), 3000u);
    EXPECT_EQ(record_seq(some, 2, 4000), 1000u);
    EXPECT_EQ(record_seq(some, 0, 100), 3001u); /* the wall clock went back: records do not */
}

TEST_F(AddressesTest, SignsAnewWhenTheAddressesHaveChanged)
{
    struct multiaddr some[1] = {};
    multiaddr_from_text(&some[0], "/ip4/10.0.0.1/tcp/1", nullptr, 0);
    listen("/ip4/0.0.0.0/tcp/3333");
    EXPECT_EQ(record_seq(some, 1, 1000), 1000u);
    interfaces({"/ip4/127.0.0.1"});
    EXPECT_EQ(record_seq(some, 1, 2000), 2000u);
}

}  // namespace
