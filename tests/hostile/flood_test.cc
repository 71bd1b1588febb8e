#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <algorithm>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

/* Many strangers at once, slow ones, and descriptors that run out. */

namespace {

enum {
    HALF_OPEN = 10000,
    PENDING_HANDSHAKES = 128,  /* the default */
    HANDSHAKE_MS_MAX = 10000,  /* a whole inbound handshake */
    SLACK_MS = 10000,          /* of a busy machine; what time things take is told in virtual time elsewhere */
};

void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = std::min(count, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
}

size_t count_of(const std::string &text, const std::string &part)
{
    size_t count = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        count++;
    return count;
}

class Flood : public testing::TestWithParam<Driver>
{
};

INSTANTIATE_TEST_SUITE_P(, Flood, both_drivers, driver_suffix);

/* As many as there is room for are waited for, all others are refused plainly;
 * who is connected is served meanwhile. */
TEST_P(Flood, RefusesStrangersBeyondTheirBound)
{
    allow_descriptors(HALF_OPEN + 2000);
    auto victim = Victim::node(GetParam());
    ASSERT_TRUE(victim);
    good_peer_is_served(*victim);
    Inventory before(*victim);
    int64_t rss_kb = victim->process->rss_kb();
    Attacker known(victim->port);
    ASSERT_TRUE(known.reach(Stage::MUXED));
    {
        std::vector<int> strangers;
        int64_t handshakes = 0, ping_ms = 0;
        for (int i = 0; i < HALF_OPEN; i++) {
            strangers.push_back(dial(victim->port)); /* some are refused before they know that they are connected */
            if (i % 500 != 499)
                continue;
            handshakes = std::max(handshakes, victim->counter("handshakes_in"));
            ping_ms = std::max(ping_ms, known.ping_ms());
        }
        EXPECT_LE(handshakes, PENDING_HANDSHAKES + 2); /* each worker counts one in before it refuses it */
        size_t descriptors = victim->process->descriptors();
        for (int64_t begin_ms = now_ms(); descriptors > 64u + PENDING_HANDSHAKES && now_ms() - begin_ms < PATIENCE_MS;
             descriptors = victim->process->descriptors())
            poll(nullptr, 0, 10); /* those of the refused are on their way to be closed */
        EXPECT_LE(descriptors, 64u + PENDING_HANDSHAKES);
        EXPECT_GE(victim->counter("refused_limit"), HALF_OPEN / 2); /* all but those whose time was over meanwhile */
        EXPECT_LE(victim->process->rss_kb() - rss_kb, 20000);
        EXPECT_LE(ping_ms, SLACK_MS);
        printf("    %d strangers: %d waited for, ping at most %d ms, RSS grew by %d KiB\n", HALF_OPEN, int(handshakes),
               int(ping_ms), int(victim->process->rss_kb() - rss_kb));
        for (int stranger : strangers)
            close(stranger);
    }
    EXPECT_TRUE(known.pings());
    known.close();
    before.settles();
    good_peer_is_served(*victim);
    EXPECT_EQ(victim->stop(), 0) << victim->process->errors();
}

/* Says one byte of what it has to say each second. */
struct Slow {
    Attacker attacker;
    std::string words;
    size_t said = 0;
    int64_t begin_ms, end_ms = 0;

    Slow(uint16_t port, Stage stage, bool early) : attacker(port, early), begin_ms(now_ms())
    {
        EXPECT_TRUE(attacker.reach(stage));
        if (stage == Stage::CONNECTED)
            words = proposal("/noise");
        else if (stage == Stage::SELECTED)
            words = attacker.handshake_message("");
        else if (stage == Stage::HALF)
            words = attacker.handshake_message(attacker.payload());
        else
            words = attacker.record(proposal("/yamux/1.0.0"));
    }

    void say_one()
    {
        if (end_ms == 0 && said < words.size())
            attacker.send(words.substr(said++, 1));
    }

    void look()
    {
        if (end_ms == 0 && attacker.ending(0) != Ending::OPEN)
            end_ms = now_ms();
    }
};

/* On both drivers at once: it takes its time. */
TEST(Slow, IsNotWaitedForLongerThanAHandshakeMayTake)
{
    std::vector<std::unique_ptr<Victim>> victims;
    std::vector<std::unique_ptr<Slow>> slow;
    std::vector<std::unique_ptr<Attacker>> known;
    std::vector<Inventory> before;

    for (Driver driver : {Driver::URING, Driver::EPOLL}) {
        victims.push_back(Victim::program(driver, {"--max-connections", "0"}));
        Victim *victim = victims.back().get();
        ASSERT_TRUE(victim);
        good_peer_is_served(*victim);
        before.emplace_back(*victim);
        for (Stage stage : {Stage::CONNECTED, Stage::SELECTED, Stage::HALF, Stage::SECURED}) {
            for (int i = 0; i < 10; i++)
                slow.push_back(std::make_unique<Slow>(victim->port, stage, stage != Stage::SECURED));
        }
        for (int i = 0; i < 10; i++) { /* they say nothing at all */
            slow.push_back(std::make_unique<Slow>(victim->port, Stage::CONNECTED, true));
            slow.back()->words.clear();
        }
        known.push_back(std::make_unique<Attacker>(victim->port));
        ASSERT_TRUE(known.back()->reach(Stage::MUXED));
    }
    int64_t begin_ms = now_ms(), second = 0, ping_ms = 0;
    auto open = [&] { return std::any_of(slow.begin(), slow.end(), [](const auto &one) { return one->end_ms == 0; }); };
    while (open() && now_ms() - begin_ms < HANDSHAKE_MS_MAX + SLACK_MS) {
        if ((now_ms() - begin_ms) / 1000 > second) {
            second++;
            for (auto &one : slow)
                one->say_one();
            for (auto &one : known)
                ping_ms = std::max(ping_ms, one->ping_ms());
        }
        for (auto &one : slow)
            one->look();
        poll(nullptr, 0, 20); /* the clock is what we wait for */
    }
    for (auto &one : slow) {
        ASSERT_NE(one->end_ms, 0);
        EXPECT_LE(one->end_ms - one->begin_ms, HANDSHAKE_MS_MAX + SLACK_MS);
        EXPECT_GE(one->end_ms - one->begin_ms, HANDSHAKE_MS_MAX / 2) << "an honest slow peer needs time";
    }
    EXPECT_LE(ping_ms, SLACK_MS);
    slow.clear();
    known.clear();
    for (size_t i = 0; i < victims.size(); i++) {
        good_peer_is_served(*victims[i]);
        before[i].settles();
        EXPECT_EQ(victims[i]->stop(), 0);
    }
}

/* Accepting pauses, says so once, and goes on when there are descriptors again. */
TEST_P(Flood, SurvivesWithoutDescriptors)
{
    Process::Setup setup;
    setup.in_child = [] {
        struct rlimit limit = {100, 100};
        setrlimit(RLIMIT_NOFILE, &limit);
    };
    auto victim = Victim::program(GetParam(), {"--max-connections", "0", "--workers", "1"}, setup);
    ASSERT_TRUE(victim);
    good_peer_is_served(*victim);
    Inventory before(*victim);
    Attacker known(victim->port);
    ASSERT_TRUE(known.reach(Stage::MUXED));
    {
        std::vector<Attacker> strangers;
        int64_t begin_ms = now_ms();
        for (int i = 0; i < 150; i++)
            strangers.emplace_back(victim->port);
        EXPECT_TRUE(victim->process->says("accept_paused")) << victim->process->errors();
        int64_t paused_ms = now_ms();
        while (now_ms() - paused_ms < 500) /* it tries again meanwhile */
            EXPECT_TRUE(known.pings());
        std::string errors = victim->process->errors();
        if (now_ms() - begin_ms < HANDSHAKE_MS_MAX) { /* else the first have been given up, and there is room */
            EXPECT_EQ(count_of(errors, "accept_paused"), 1u) << errors;
            EXPECT_EQ(count_of(errors, "accept_resumed"), 0u);
        }
    }
    EXPECT_TRUE(victim->process->says("accept_resumed")) << victim->process->errors();
    good_peer_is_served(*victim);
    EXPECT_TRUE(known.pings());
    known.close();
    before.settles();
    EXPECT_EQ(victim->stop(), 0);
}

/* A cap on connections: who is over it is refused, and a place that is free again is given away. */
TEST_P(Flood, RefusesConnectionsOverTheCap)
{
    auto victim = Victim::program(GetParam(), {"--max-connections", "5"});
    ASSERT_TRUE(victim);
    good_peer_is_served(*victim);
    Inventory before(*victim);
    {
        std::vector<Attacker> peers;
        for (int i = 0; i < 5; i++) {
            peers.emplace_back(victim->port);
            ASSERT_TRUE(peers.back().reach(Stage::MUXED));
        }
        for (int i = 0; i < 20; i++) {
            Attacker more(victim->port);
            EXPECT_NE(more.ending(), Ending::OPEN);
        }
        for (Attacker &peer : peers)
            EXPECT_TRUE(peer.pings());
    }
    before.settles();
    good_peer_is_served(*victim);
    EXPECT_EQ(victim->stop(), 0);
}

/* SIGTERM in the middle of all this: the way down takes its 3 s at most. */
TEST_P(Flood, GoesDownInOrderUnderAttack)
{
    auto victim = Victim::program(GetParam(), {"--max-connections", "0"});
    ASSERT_TRUE(victim);
    std::vector<Attacker> attackers;
    for (Stage stage : {Stage::CONNECTED, Stage::SELECTED, Stage::HALF, Stage::MUXED}) {
        for (int i = 0; i < 10; i++) {
            attackers.emplace_back(victim->port);
            ASSERT_TRUE(attackers.back().reach(stage));
        }
    }
    Attacker deaf(victim->port);
    ASSERT_TRUE(deaf.reach(Stage::MUXED));
    deaf.deaf = true;
    for (uint32_t id = 1; id < 200; id += 2)
        ASSERT_TRUE(deaf.say(data(SYN | FIN, id, proposal("/perf/1.0.0") + std::string(8, '\x7f'))));
    int64_t begin_ms = now_ms();
    victim->process->signal(SIGTERM);
    EXPECT_EQ(victim->process->wait(10000), 0) << victim->process->errors();
    EXPECT_LE(now_ms() - begin_ms, 3000 + SLACK_MS);
}

} // namespace
