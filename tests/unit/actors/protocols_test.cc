#include <gtest/gtest.h>

#include <cstring>
#include <string>

extern "C" {
#include "actors/protocols.h"
}

namespace {

struct ProtocolsTest : testing::Test {
    struct protocols *protocols = protocols_new();

    ~ProtocolsTest() override { protocols_free(protocols); }

    int add(const std::string &name, unsigned flags = 0, void *user = nullptr)
    {
        struct protocol protocol = {};
        protocol.name = name.c_str();
        protocol.flags = flags;
        protocol.user = user;
        return protocols_add(protocols, &protocol);
    }

    std::string find(const std::string &name)
    {
        struct protocol found = {};
        return protocols_find(protocols, name.data(), name.size(), &found) ? found.name : "";
    }
};

TEST_F(ProtocolsTest, FindsTheExactNameBeforeAPrefix)
{
    EXPECT_EQ(add("/echo/", P2P_HANDLE_PREFIX), 0);
    EXPECT_EQ(add("/echo/1.0.0"), 0);
    EXPECT_EQ(find("/echo/1.0.0"), "/echo/1.0.0");
    EXPECT_EQ(find("/echo/2.0.0"), "/echo/");
    EXPECT_EQ(find("/echo"), "");
}

TEST_F(ProtocolsTest, FindsTheLongestPrefix)
{
    EXPECT_EQ(add("/a/b/", P2P_HANDLE_PREFIX), 0);
    EXPECT_EQ(add("/a/", P2P_HANDLE_PREFIX), 0);
    EXPECT_EQ(add("/a/b/c/", P2P_HANDLE_PREFIX), 0);
    EXPECT_EQ(find("/a/b/c"), "/a/b/");
    EXPECT_EQ(find("/a/b/c/d"), "/a/b/c/");
    EXPECT_EQ(find("/a/x"), "/a/");
    EXPECT_EQ(find("/a/"), "/a/");
    EXPECT_EQ(find("/b"), "");
}

TEST_F(ProtocolsTest, ListsTheExactNamesOnly)
{
    const char *names[4] = {};
    add("/one");
    add("/prefix/", P2P_HANDLE_PREFIX);
    add("/two");
    EXPECT_EQ(protocols_list(protocols, names, 4), 2u);
    EXPECT_STREQ(names[0], "/one");
    EXPECT_STREQ(names[1], "/two");
    EXPECT_EQ(protocols_list(protocols, names, 0), 2u);
}

TEST_F(ProtocolsTest, RefusesWhatItCannotServe)
{
    EXPECT_EQ(add(""), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(add("/with blank"), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(add("/line\n"), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(add(std::string(P2P_PROTOCOL_BYTES_MAX, 'x')), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(add(std::string(P2P_PROTOCOL_BYTES_MAX - 1, 'x')), 0);
    EXPECT_EQ(add("/flags", 8), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(add("/twice"), 0);
    EXPECT_EQ(add("/twice"), P2P_ERR_CALL_EXISTS);
    EXPECT_EQ(protocols_remove(protocols, "/other"), P2P_ERR_CALL_NOT_FOUND);
}

TEST_F(ProtocolsTest, HasABound)
{
    for (int i = 0; i < P2P_PROTOCOLS_MAX; i++)
        ASSERT_EQ(add("/p/" + std::to_string(i)), 0);
    EXPECT_EQ(add("/one/more"), P2P_ERR_CALL_FULL);
    EXPECT_EQ(protocols_remove(protocols, "/p/0"), 0);
    EXPECT_EQ(add("/one/more"), 0);
    EXPECT_EQ(find("/p/127"), "/p/127");
    EXPECT_EQ(find("/p/0"), "");
}

TEST_F(ProtocolsTest, ANameOutlivesItsProtocol)
{
    struct protocol before = {}, after = {};
    add("/echo/1.0.0");
    ASSERT_TRUE(protocols_find(protocols, "/echo/1.0.0", 11, &before));
    protocols_remove(protocols, "/echo/1.0.0");
    EXPECT_STREQ(before.name, "/echo/1.0.0");
    add("/echo/1.0.0");
    ASSERT_TRUE(protocols_find(protocols, "/echo/1.0.0", 11, &after));
    EXPECT_EQ(before.name, after.name);
}

}  // namespace
