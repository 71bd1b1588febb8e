#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <vector>

extern "C" {
#include "bench/plan.h"
}

namespace {

const char *const PEERS[] = {"go", "rust", "js"};

std::vector<plan_row> all_rows()
{
    const plan_row *rows;
    size_t count = plan_rows(&rows);
    return {rows, rows + count};
}

std::vector<std::string> series_of(const char *row, bool quick, size_t peers = 3)
{
    plan_mode mode;
    plan_series series[PLAN_SERIES_MAX];
    plan_mode_init(&mode, quick);
    size_t count = plan_make_series(series, plan_find(row), &mode, PEERS, peers);
    std::vector<std::string> names;
    for (size_t i = 0; i < count; i++)
        names.push_back(std::string(series[i].dialler) + ">" + series[i].listener);
    return names;
}

bool has(const std::vector<std::string> &names, const char *name)
{
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::string keys_of(const char *row, unsigned index = 0)
{
    plan_mode mode;
    char out[256];
    plan_mode_init(&mode, false);
    plan_keys(out, sizeof(out), plan_find(row), &mode, index);
    return out;
}

TEST(Plan, EveryRowHasANameOfItsOwnAndSeries)
{
    std::set<std::string> names;
    for (const plan_row &row : all_rows()) {
        EXPECT_TRUE(names.insert(row.name).second) << row.name;
        EXPECT_FALSE(series_of(row.name, false).empty()) << row.name;
        EXPECT_STREQ(plan_find(row.name)->title, row.title);
    }
    EXPECT_EQ(plan_find("nothing"), nullptr);
}

TEST(Plan, EveryWorkHasARow)
{
    std::set<int> works;
    for (const plan_row &row : all_rows())
        works.insert(row.work);
    EXPECT_EQ(works.size(), size_t{PLAN_PART + 1});
}

TEST(Plan, PairsArePeersWithTheirKindAndOursBothWays)
{
    std::vector<std::string> bulk = series_of("bulk-up", false), idle = series_of("idle-100", false);

    EXPECT_EQ(bulk.front(), "ours>ours");
    for (const char *pair : {"go>go", "ours>go", "go>ours", "js>js", "raw>raw", "raw-aead>raw-aead",
                             "ours-epoll>ours-epoll", "ours-2w>ours-2w"})
        EXPECT_TRUE(has(bulk, pair)) << pair;
    EXPECT_FALSE(has(bulk, "go>rust"));
    EXPECT_TRUE(has(idle, "ours>go"));
    EXPECT_FALSE(has(idle, "go>ours"));
    EXPECT_EQ(series_of("bulk-up", false, 0).size(), 5u);
}

TEST(Plan, QuickDoesFewerRowsAndPairs)
{
    struct plan_mode full, quick;
    size_t rows = 0, quick_rows = 0;

    plan_mode_init(&full, false);
    plan_mode_init(&quick, true);
    for (const plan_row &row : all_rows()) {
        rows += plan_selected(&row, &full, nullptr, 0);
        quick_rows += plan_selected(&row, &quick, nullptr, 0);
    }
    EXPECT_EQ(rows, all_rows().size());
    EXPECT_GT(quick_rows, 0u);
    EXPECT_LT(quick_rows, rows);
    EXPECT_TRUE(has(series_of("rtt", false), "ours>go"));
    EXPECT_FALSE(has(series_of("rtt", true), "ours>go"));
}

/* As on two cores: what a slow one takes is of js-libp2p. */
double planned_s(const plan_row &row, const plan_mode &mode)
{
    plan_series series[PLAN_SERIES_MAX];
    size_t count = plan_make_series(series, &row, &mode, PEERS, 3);
    double sum_s = 0;

    for (size_t i = 0; i < count; i++) {
        plan_mode own = mode;
        for (const char *name : {series[i].dialler, series[i].listener})
            own.start_s += strcmp(name, "js") == 0 ? 1 : 0.05;
        if (own.start_s > 1) {
            own.warm_s = 1;
            own.connects_s = PLAN_SLOW_CONNECTS_S;
        }
        if (own.start_s < 1 || plan_suits_slow(&row, &series[i]))
            sum_s += plan_row_s(&row, &own, 1);
    }
    return sum_s;
}

TEST(Plan, TheTimesAreKept)
{
    for (bool quick : {false, true}) {
        struct plan_mode mode;
        double sum_s = 0;

        plan_mode_init(&mode, quick);
        for (const plan_row &row : all_rows()) {
            if (plan_selected(&row, &mode, nullptr, 0))
                sum_s += planned_s(row, mode);
        }
        /* The rest of 5 and 60 minutes is for runs that are repeated, and for what comes after all rows. */
        EXPECT_LT(sum_s, quick ? 280 : 3200);
        EXPECT_GT(sum_s, quick ? 60 : 600);
    }
}

TEST(Plan, SlowOnesDoWhatTheyCanInSomeSeconds)
{
    auto suits = [](const char *row, const char *dialler, const char *listener) {
        plan_series series = {};
        snprintf(series.dialler, sizeof(series.dialler), "%s", dialler);
        snprintf(series.listener, sizeof(series.listener), "%s", listener);
        return plan_suits_slow(plan_find(row), &series);
    };

    for (const char *row : {"bulk-up", "handshake-50", "rr-32-100", "streams-32"})
        EXPECT_TRUE(suits(row, "js", "js")) << row;
    EXPECT_TRUE(suits("bulk-up", "js", "ours"));
    EXPECT_TRUE(suits("idle-1000", "ours", "js"));
    EXPECT_TRUE(suits("fanout-100", "ours", "js"));
    EXPECT_FALSE(suits("rr-32-100", "ours", "js"));
    EXPECT_FALSE(suits("rr-32-1000", "js", "js"));
    EXPECT_FALSE(suits("idle-10000", "ours", "js"));
    EXPECT_FALSE(suits("fanout-1000", "ours", "js"));
    EXPECT_FALSE(suits("storm-200", "js", "js"));
}

TEST(Plan, PatternsSelectRowsWhateverTheMode)
{
    struct plan_mode quick;
    const char *patterns[] = {"rr-64k-*"};

    plan_mode_init(&quick, true);
    EXPECT_TRUE(plan_selected(plan_find("rr-64k-10"), &quick, patterns, 1));
    EXPECT_FALSE(plan_selected(plan_find("rr-32-100"), &quick, patterns, 1));
}

TEST(Plan, KeysAreThoseOfTheContract)
{
    EXPECT_EQ(keys_of("bulk-up"), "connections=1 streams=1 direction=up warm=0.25 seconds=0.9");
    EXPECT_EQ(keys_of("handshake-50"), "parallel=50 warm=0.25 seconds=0.9");
    EXPECT_EQ(keys_of("handshake-50-distinct"), "parallel=50 distinct=1 warm=0.25 seconds=0.9");
    EXPECT_EQ(keys_of("rtt-load"), "rate=100 load=1 warm=0.25 seconds=0.9");
    EXPECT_EQ(keys_of("rr-1k-10"), "connections=10 size=1024 warm=0.25 seconds=0.9");
    EXPECT_EQ(keys_of("streams-32"), "inflight=32 warm=0.25 seconds=0.9");
    EXPECT_EQ(keys_of("idle-10000"), "connections=5000 warm=25 seconds=30");
    EXPECT_EQ(keys_of("storm-200"), "connections=200");
}

TEST(Plan, ManyConnectionsAreDealtToSeveralProcesses)
{
    for (const plan_row &row : all_rows()) {
        unsigned sum = 0, most = 0;
        for (unsigned i = 0; i < plan_diallers(&row); i++) {
            sum += plan_connections(&row, i);
            most = std::max(most, plan_connections(&row, i));
        }
        EXPECT_EQ(sum, row.connections) << row.name;
        EXPECT_LE(most, row.nodes > 0 ? unsigned{PLAN_LISTENER_CONNECTIONS_MAX}
                                      : unsigned{PLAN_DIALLER_CONNECTIONS_MAX}) << row.name;
        EXPECT_LE(row.connections, plan_listeners(&row) * PLAN_LISTENER_CONNECTIONS_MAX) << row.name;
    }
    EXPECT_EQ(plan_diallers(plan_find("rr-32-100")), 1u);
    const struct plan_row *mesh = plan_find("idle-100000");
    EXPECT_EQ(plan_listeners(mesh), 6u);
    EXPECT_EQ(plan_diallers(mesh), 6u) << "each has a process of the other side for itself";
    for (unsigned i = 0; i < 6; i++)
        EXPECT_LE(plan_connections(mesh, i), mesh->nodes * mesh->nodes) << "no two nodes have two";
}

TEST(Plan, PeersMayNotTakeOurNames)
{
    EXPECT_TRUE(plan_peer_name("nim-libp2p_2.0"));
    EXPECT_TRUE(plan_peer_name("rawlibp2p")) << "only whole names are taken";
    for (const char *name : plan_own_names) {
        EXPECT_FALSE(plan_peer_name(name)) << name;
        EXPECT_TRUE(plan_own_name(name)) << name;
    }
    for (const char *name : {"", "Go", "a b", "a->b", "a`b`", "a'b", "a-name-that-is-longer-than-a-name-may-be"})
        EXPECT_FALSE(plan_peer_name(name)) << name;
}

} // namespace
