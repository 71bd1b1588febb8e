#include <gtest/gtest.h>

#include <map>

extern "C" {
#include "chorus/p2p.h"
#include "net/dnsaddr.h"
}
#include "tests/unit/crypto/support.h"

namespace {

const std::string ID = "/p2p/12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV";
const std::string OTHER = "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC";

struct multiaddr addr(const std::string &text)
{
    struct multiaddr m = {};

    EXPECT_EQ(multiaddr_from_text(&m, text.c_str(), nullptr, 0), 0) << text;
    return m;
}

std::string text_of(const struct multiaddr &m)
{
    char text[MULTIADDR_TEXT_SIZE];

    EXPECT_GE(multiaddr_to_text(&m, text, sizeof(text)), 0);
    return text;
}

int parse(const std::string &txt, struct multiaddr *m)
{
    return dnsaddr_parse(m, txt.data(), txt.size());
}

using Zone = std::map<std::string, std::vector<std::string>>;

struct Resolution {
    std::vector<std::string> asked, found;
};

/* Resolves `question` in a zone of names and their TXT records. */
Resolution resolve(const Zone &zone, const std::string &question)
{
    struct multiaddr m = addr(question);
    struct dnsaddr_walk walk;
    char name[DNSADDR_NAME_SIZE];
    Resolution all;

    EXPECT_EQ(dnsaddr_walk_init(&walk, &m), 0);
    while (dnsaddr_walk_next(&walk, name)) {
        all.asked.push_back(name);
        auto records = zone.find(name);
        if (records == zone.end())
            continue;
        for (const std::string &txt : records->second)
            EXPECT_EQ(dnsaddr_walk_txt(&walk, txt.data(), txt.size()), 0);
    }
    while (dnsaddr_walk_result(&walk, &m))
        all.found.push_back(text_of(m));
    dnsaddr_walk_fini(&walk);
    return all;
}

using Strings = std::vector<std::string>;

} // namespace

TEST(Dnsaddr, BuildsTheNameToAskFor)
{
    struct multiaddr m = addr("/dnsaddr/bootstrap.libp2p.io" + ID);
    char name[DNSADDR_NAME_SIZE];

    ASSERT_EQ(dnsaddr_name(name, sizeof(name), &m), 0);
    EXPECT_STREQ(name, "_dnsaddr.bootstrap.libp2p.io");
    EXPECT_EQ(dnsaddr_name(name, strlen(name), &m), P2P_ERR_CALL_SHORT);
    m = addr("/dns/example.com/tcp/1");
    EXPECT_EQ(dnsaddr_name(name, sizeof(name), &m), P2P_ERR_CALL_NOT_FOUND);
    m = addr("/dnsaddr/" + std::string(251, 'a'));
    ASSERT_EQ(dnsaddr_name(name, sizeof(name), &m), 0);
    EXPECT_EQ(strlen(name), 260u);
}

TEST(Dnsaddr, ReadsTxtRecords)
{
    struct multiaddr m;

    ASSERT_EQ(parse("dnsaddr=/ip4/1.2.3.4/tcp/1" + ID, &m), 0);
    EXPECT_EQ(text_of(m), "/ip4/1.2.3.4/tcp/1" + ID);
    EXPECT_EQ(parse("v=spf1 -all", &m), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(parse("", &m), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(parse("dnsaddr", &m), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(parse("dnsaddr=", &m), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(parse("dnsaddr=/ip4/1.2.3", &m), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(parse("dnsaddr=/foo", &m), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(parse("dnsaddr=/ip4/1.2.3.4" + std::string(DNSADDR_TXT_BYTES_MAX, '/'), &m),
              P2P_ERR_CALL_UNSUPPORTED);
}

TEST(Dnsaddr, KeepsAnswersWithTheSuffixOfTheQuestion)
{
    const struct {
        std::string question, answer;
        bool matches;
    } rows[] = {
        {"/dnsaddr/a", "/ip4/1.2.3.4/tcp/1", true},
        {"/dnsaddr/a", "/ip4/1.2.3.4/tcp/1" + ID, true},
        {"/dnsaddr/a" + ID, "/ip4/1.2.3.4/tcp/1" + ID, true},
        {"/dnsaddr/a" + ID, "/dnsaddr/b" + ID, true},
        {"/dnsaddr/a" + ID, ID, true},
        {"/dnsaddr/a" + ID, "/ip4/1.2.3.4/tcp/1" + OTHER, false},
        {"/dnsaddr/a" + ID, "/ip4/1.2.3.4/tcp/1", false},
        {"/dnsaddr/a" + ID, "/ip4/1.2.3.4/tcp/1" + ID + "/p2p-circuit", false},
        {"/dnsaddr/a/tcp/1", "/ip4/1.2.3.4/tcp/1", true},
        {"/dnsaddr/a/tcp/2", "/ip4/1.2.3.4/tcp/1", false},
        /* the same last bytes, but inside a value: 06 00 01 at the end of 1.6.0.1 */
        {"/dnsaddr/a/tcp/1", "/ip4/1.6.0.1", false},
    };
    for (const auto &row : rows) {
        struct multiaddr question = addr(row.question), answer = addr(row.answer);
        EXPECT_EQ(dnsaddr_matches(&question, &answer), row.matches) << row.question << " " << row.answer;
    }
}

TEST(Dnsaddr, FollowsNamesToAddresses)
{
    Zone zone = {
        {"_dnsaddr.a", {"dnsaddr=/dnsaddr/b" + ID, "dnsaddr=/dnsaddr/c" + OTHER, "hello", "dnsaddr=/bad",
                        "dnsaddr=/ip4/1.1.1.1/tcp/1" + ID}},
        {"_dnsaddr.b", {"dnsaddr=/ip4/2.2.2.2/tcp/2" + ID, "dnsaddr=/ip4/2.2.2.2/tcp/2" + ID,
                        "dnsaddr=/ip4/2.2.2.2/tcp/2" + OTHER}},
        {"_dnsaddr.c", {"dnsaddr=/dns/c/tcp/3" + OTHER}},
    };
    Resolution one = resolve(zone, "/dnsaddr/a" + ID);
    EXPECT_EQ(one.asked, (Strings{"_dnsaddr.a", "_dnsaddr.b"}));
    EXPECT_EQ(one.found, (Strings{"/ip4/1.1.1.1/tcp/1" + ID, "/ip4/2.2.2.2/tcp/2" + ID}));

    Resolution all = resolve(zone, "/dnsaddr/a");
    EXPECT_EQ(all.asked.size(), 3u);
    EXPECT_EQ(all.found.size(), 3u);
    EXPECT_TRUE(resolve(zone, "/dnsaddr/nowhere").found.empty());
}

TEST(Dnsaddr, GoesNoDeeperThanItsBound)
{
    Zone zone;
    for (int i = 0; i < 10; i++)
        zone["_dnsaddr.n" + std::to_string(i)] = {"dnsaddr=/dnsaddr/n" + std::to_string(i + 1),
                                                  "dnsaddr=/ip4/1.1.1.1/tcp/" + std::to_string(i)};
    Resolution all = resolve(zone, "/dnsaddr/n0");
    EXPECT_EQ(all.asked.size(), (size_t)DNSADDR_DEPTH_MAX);
    EXPECT_EQ(all.found.size(), (size_t)DNSADDR_DEPTH_MAX);
}

TEST(Dnsaddr, ALoopOfNamesEnds)
{
    Zone zone = {{"_dnsaddr.a", {"dnsaddr=/dnsaddr/b"}}, {"_dnsaddr.b", {"dnsaddr=/dnsaddr/a"}}};
    EXPECT_EQ(resolve(zone, "/dnsaddr/a").asked, (Strings{"_dnsaddr.a", "_dnsaddr.b"}));
}

TEST(Dnsaddr, KeepsNoMoreThanItsBound)
{
    Zone zone;
    for (int i = 0; i < 300; i++)
        zone["_dnsaddr.a"].push_back("dnsaddr=/ip4/1.1.1.1/tcp/" + std::to_string(i));
    EXPECT_EQ(resolve(zone, "/dnsaddr/a").found.size(), (size_t)DNSADDR_ADDRS_MAX - 1);
    zone.clear();
    for (int i = 0; i < 300; i++)
        zone["_dnsaddr.a"].push_back("dnsaddr=/dnsaddr/x" + std::to_string(i));
    EXPECT_EQ(resolve(zone, "/dnsaddr/a").asked.size(), (size_t)DNSADDR_ADDRS_MAX);
}

TEST(Dnsaddr, StartsOnlyFromADnsaddr)
{
    struct multiaddr m = addr("/ip4/1.2.3.4/tcp/1"), none = {};
    struct dnsaddr_walk walk;

    EXPECT_EQ(dnsaddr_walk_init(&walk, &m), P2P_ERR_CALL_NOT_FOUND);
    EXPECT_EQ(dnsaddr_walk_init(&walk, &none), P2P_ERR_CALL_NOT_FOUND);
    dnsaddr_walk_fini(&walk);
    EXPECT_FALSE(dnsaddr_matches(&none, &m));
}
