#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

extern "C" {
#include "actors/hosts.h"
}

namespace {

std::vector<std::string> texts(const struct sockaddr_storage *list, size_t count)
{
    std::vector<std::string> out;
    for (size_t i = 0; i < count; i++) {
        char text[INET6_ADDRSTRLEN] = "";
        const void *address = list[i].ss_family == AF_INET
            ? static_cast<const void *>(&reinterpret_cast<const struct sockaddr_in *>(&list[i])->sin_addr)
            : &reinterpret_cast<const struct sockaddr_in6 *>(&list[i])->sin6_addr;
        inet_ntop(list[i].ss_family, address, text, sizeof(text));
        out.push_back(text);
    }
    return out;
}

std::vector<std::string> find(std::string file, const char *name, int family = AF_UNSPEC)
{
    struct sockaddr_storage found[HOSTS_ADDRESSES_MAX];
    FILE *stream = fmemopen(file.data(), file.size(), "r");
    size_t count = hosts_find(found, HOSTS_ADDRESSES_MAX, stream, name, family);
    fclose(stream);
    return texts(found, count);
}

std::vector<std::string> local(const char *name, int family = AF_UNSPEC)
{
    struct sockaddr_storage found[HOSTS_ADDRESSES_MAX];
    return texts(found, hosts_local(found, HOSTS_ADDRESSES_MAX, name, family));
}

using strings = std::vector<std::string>;

const char file[] = "# comment\n127.0.0.1\tlocalhost\n10.0.0.1  alpha alpha.example # trailing beta\n"
                    "fe80::1 alpha\n\nnonsense alpha\n10.0.0.2 BETA\n10.0.0.3";

TEST(Hosts, FindsANameAmongTheWordsOfALine)
{
    EXPECT_EQ(find(file, "alpha"), (strings{"10.0.0.1", "fe80::1"}));
    EXPECT_EQ(find(file, "alpha.example"), (strings{"10.0.0.1"}));
    EXPECT_EQ(find(file, "ALPHA.example."), (strings{"10.0.0.1"}));
    EXPECT_EQ(find(file, "beta"), (strings{"10.0.0.2"}));
    EXPECT_EQ(find(file, "10.0.0.1"), strings{});
    EXPECT_EQ(find(file, "gamma"), strings{});
}

TEST(Hosts, KeepsToAFamily)
{
    EXPECT_EQ(find(file, "alpha", AF_INET), (strings{"10.0.0.1"}));
    EXPECT_EQ(find(file, "alpha", AF_INET6), (strings{"fe80::1"}));
}

TEST(Hosts, HasABound)
{
    std::string many;
    for (int i = 0; i < 100; i++)
        many += "10.0.0." + std::to_string(i) + " name\n";
    EXPECT_EQ(find(many, "name").size(), static_cast<size_t>(HOSTS_ADDRESSES_MAX));
}

TEST(Hosts, LocalhostNeverLeavesTheMachine)
{
    EXPECT_EQ(local("localhost"), (strings{"::1", "127.0.0.1"}));
    EXPECT_EQ(local("LocalHost."), (strings{"::1", "127.0.0.1"}));
    EXPECT_EQ(local("a.localhost", AF_INET), (strings{"127.0.0.1"}));
    EXPECT_EQ(local("notlocalhost"), strings{});
    EXPECT_EQ(local("localhost.example"), strings{});
    EXPECT_EQ(local("host"), strings{});
}

}  // namespace
