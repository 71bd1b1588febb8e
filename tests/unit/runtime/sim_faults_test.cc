// What goes wrong between hosts of the simulated world, seen from their sockets.

#include "driver_support.h"

#include <cerrno>

namespace {

constexpr uint64_t minute = 60 * second;

struct SimFaults : testing::Test {
    sim_world *world = sim_world_new(5);
    sim_host *hosts[2] = {host("10.0.0.1"), host("10.0.0.2")};
    std::vector<std::unique_ptr<Party>> parties; // one at each host, and who comes later
    Address bound;
    int listening = -1, near = -1, far = -1;

    static constexpr actor_ref owner = {21, 1};

    sim_host *host(const char *text)
    {
        Address address = Address::of(text, 0);
        return sim_host_new(world, address.get(), address.length());
    }

    Party &settle(sim_host *at)
    {
        sim_world_settle(world, at);
        parties.push_back(std::make_unique<Party>(Kind::Sim, world, 64 << 20));
        return *parties.back();
    }

    void SetUp() override
    {
        settle(hosts[0]);
        settle(hosts[1]);
    }

    void TearDown() override
    {
        for (auto &party : parties)
            for (int socket : std::set<int>(party->open))
                party->close(socket);
        parties.clear();
        sim_world_free(world);
    }

    void link(uint64_t latency_ns, uint64_t bytes_second = 0, uint32_t stall_ppm = 0, uint32_t reset_ppm = 0)
    {
        sim_link faults = {latency_ns, 0, bytes_second, stall_ppm, reset_ppm};
        for (sim_host *each : hosts)
            sim_host_link(each, &faults);
    }

    uint64_t now_ns() const { return sim_world_now_ns(world); }

    // True when it holds within that time.
    bool until(uint64_t within_ns, const std::function<bool()> &holds)
    {
        uint64_t end_ns = now_ns() + within_ns;
        while (!holds()) {
            if (now_ns() >= end_ns)
                return false;
            for (auto &party : parties)
                driver_turn(party->drive, end_ns);
            sim_world_advance(world);
        }
        return true;
    }

    int listen_at(Party &party, const char *address, uint16_t port = 4001)
    {
        Address to = Address::of(address, port);
        int socket = driver_listen(party.drive, to.get(), to.length(), 0, &bound.storage);
        if (socket < 0)
            return socket;
        party.open.insert(socket);
        driver_accept(party.drive, socket, owner);
        return socket;
    }

    int connect_from(Party &party)
    {
        int socket = driver_connect(party.drive, bound.get(), bound.length(), owner);
        if (socket >= 0)
            party.open.insert(socket);
        return socket;
    }

    int64_t result(Party &party, message_type type, int socket, uint64_t within_ns = 10 * minute)
    {
        EXPECT_TRUE(until(within_ns, [&] { return party.has(type, socket); })) << type;
        message found = party.take(type, socket);
        buffer_unref(found.buffer);
        return found.body.i64[0];
    }

    void join()
    {
        listening = listen_at(*parties[1], "10.0.0.2");
        near = connect_from(*parties[0]);
        ASSERT_EQ(result(*parties[0], MESSAGE_IO_CONNECTED, near), 0);
        far = static_cast<int>(result(*parties[1], MESSAGE_IO_ACCEPTED, listening));
    }

    void say(Party &party, int socket, uint32_t bytes = 1)
    {
        buffer *words = buffer_new_foreign(bytes);
        memset(words->data, 'x', bytes);
        driver_send(party.drive, socket, owner, words, 0, bytes);
    }
};

TEST_F(SimFaults, LatencyAndBandwidthTakeTheirTime)
{
    link(50 * millisecond, 1000000);
    uint64_t begin_ns = now_ns();
    join();
    EXPECT_GE(now_ns() - begin_ns, 200 * millisecond); // there and back, both hosts' share
    driver_receive(parties[1]->drive, far, owner);
    begin_ns = now_ns();
    uint64_t got = 0;
    for (int i = 0; i < 10; i++) {
        say(*parties[0], near, 20000);
        ASSERT_GT(result(*parties[0], MESSAGE_IO_SENT, near), 0);
    }
    while (until(second, [&] { return parties[1]->has(MESSAGE_IO_RECEIVED, far); }))
        got += static_cast<uint64_t>(result(*parties[1], MESSAGE_IO_RECEIVED, far));
    EXPECT_GT(got, 100000u);
    EXPECT_GE(now_ns() - begin_ns, got * 1000 + 100 * millisecond);
}

TEST_F(SimFaults, LostSegmentsComeLateAndInOrder)
{
    link(millisecond, 0, 300000);
    join();
    Pattern pattern;
    uint64_t sent = 0, got = 0, begin_ns = now_ns();
    driver_receive(parties[1]->drive, far, owner);
    while (got < 200000) {
        if (!parties[0]->has(MESSAGE_IO_SENT, near) && sent < 200000) {
            buffer *words = buffer_new_foreign(5000);
            pattern.fill(sent, words->data, 5000);
            driver_send(parties[0]->drive, near, owner, words, 0, 5000);
            sent += static_cast<uint64_t>(result(*parties[0], MESSAGE_IO_SENT, near));
        }
        ASSERT_TRUE(sent < 200000 || until(10 * second, [&] { return parties[1]->has(MESSAGE_IO_RECEIVED, far); }));
        while (parties[1]->has(MESSAGE_IO_RECEIVED, far)) {
            message found = parties[1]->take(MESSAGE_IO_RECEIVED, far);
            ASSERT_GT(found.body.i64[0], 0);
            ASSERT_TRUE(pattern.matches(got, found.buffer->data + found.offset, found.length));
            got += found.length;
            buffer_unref(found.buffer);
        }
    }
    EXPECT_GE(now_ns() - begin_ns, 200 * millisecond);
    sim_world_stats stats;
    sim_world_stats_read(world, &stats);
    EXPECT_GT(stats.stalls, 0u);
}

TEST_F(SimFaults, ResetsReachBothEnds)
{
    link(millisecond, 0, 0, 1000000);
    join();
    driver_receive(parties[0]->drive, near, owner);
    driver_receive(parties[1]->drive, far, owner);
    say(*parties[0], near);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_RECEIVED, near), -ECONNRESET);
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_RECEIVED, far), -ECONNRESET);
}

TEST_F(SimFaults, APartitionHoldsBytesBackUntilItHeals)
{
    join();
    driver_receive(parties[1]->drive, far, owner);
    sim_host_group(hosts[1], 1);
    say(*parties[0], near);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_SENT, near), 1);
    EXPECT_EQ(driver_acknowledged(parties[0]->drive, near), 0u);
    EXPECT_FALSE(until(minute, [&] { return parties[1]->has(MESSAGE_IO_RECEIVED, far); }));
    sim_host_group(hosts[1], 0);
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_RECEIVED, far, 3 * minute), 1);
    EXPECT_EQ(driver_acknowledged(parties[0]->drive, near), 1u);
}

TEST_F(SimFaults, WhoeverWaitsTooLongForAnswersTimesOut)
{
    join();
    driver_receive(parties[0]->drive, near, owner);
    driver_receive(parties[1]->drive, far, owner);
    sim_host_block(hosts[1], true, true);
    say(*parties[0], near);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_RECEIVED, near, 20 * minute), -ETIMEDOUT);
    EXPECT_FALSE(parties[1]->has(MESSAGE_IO_RECEIVED, far)); // half open
    sim_host_block(hosts[1], false, false);
    say(*parties[1], far);
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_RECEIVED, far), -ECONNRESET);
}

TEST_F(SimFaults, WhoIsBehindANatCanCallButNotBeCalled)
{
    listening = listen_at(*parties[1], "10.0.0.2");
    sim_host_hide(hosts[1], SIM_HIDDEN_DROPS);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_CONNECTED, connect_from(*parties[0])), -ETIMEDOUT);
    sim_host_hide(hosts[1], SIM_HIDDEN_REFUSES);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_CONNECTED, connect_from(*parties[0])), -ECONNREFUSED);
    listen_at(*parties[0], "10.0.0.1");
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_CONNECTED, connect_from(*parties[1])), 0);
}

TEST_F(SimFaults, ACrashedHostIsSilentAndARestartedOneKnowsNothing)
{
    join();
    driver_receive(parties[0]->drive, near, owner);
    driver_receive(parties[1]->drive, far, owner);
    sim_host_crash(hosts[1]);
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_RECEIVED, far), -ECONNRESET); // whoever was there has no network
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_CONNECTED, connect_from(*parties[1])), -ENETUNREACH);
    say(*parties[0], near);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_SENT, near), 1);
    EXPECT_FALSE(until(minute, [&] { return parties[0]->has(MESSAGE_IO_RECEIVED, near); }));
    sim_host_start(hosts[1]);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_RECEIVED, near), -ECONNRESET);
    Party &anew = settle(hosts[1]);
    EXPECT_GE(listen_at(anew, "10.0.0.2"), 0); // the port is free, though the old one has not closed
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_CONNECTED, connect_from(*parties[0])), 0);
}

TEST_F(SimFaults, DescriptorsRunOut)
{
    sim_host_descriptors(hosts[1], 2);
    join();
    int second_try = connect_from(*parties[0]);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_CONNECTED, second_try), 0);
    EXPECT_EQ(result(*parties[1], MESSAGE_IO_ACCEPTED, listening), -EMFILE);
    EXPECT_FALSE(until(second, [&] { return parties[1]->has(MESSAGE_IO_ACCEPTED, listening); })); // it is off
    EXPECT_EQ(connect_from(*parties[1]), -EMFILE);
    parties[1]->close(far);
    driver_accept(parties[1]->drive, listening, owner);
    EXPECT_GE(result(*parties[1], MESSAGE_IO_ACCEPTED, listening), 0);
}

TEST_F(SimFaults, AcceptAndConnectFailForNoReason)
{
    sim_host_errors(hosts[0], 1000000);
    listening = listen_at(*parties[1], "10.0.0.2");
    EXPECT_LT(result(*parties[0], MESSAGE_IO_CONNECTED, connect_from(*parties[0])), 0);
    sim_host_errors(hosts[0], 0);
    sim_host_errors(hosts[1], 1000000);
    EXPECT_EQ(result(*parties[0], MESSAGE_IO_CONNECTED, connect_from(*parties[0])), 0);
    EXPECT_LT(result(*parties[1], MESSAGE_IO_ACCEPTED, listening), 0);
}

TEST_F(SimFaults, WallClocksJumpAndTheOthersDoNot)
{
    uint64_t wall_ns = driver_wall_ns(parties[0]->drive), mono_ns = driver_now_ns(parties[0]->drive);
    sim_host_wall(hosts[0], -static_cast<int64_t>(3600 * second));
    EXPECT_EQ(driver_wall_ns(parties[0]->drive), wall_ns - 3600 * second);
    EXPECT_EQ(driver_wall_ns(parties[1]->drive), wall_ns);
    EXPECT_EQ(driver_now_ns(parties[0]->drive), mono_ns);
}

TEST_F(SimFaults, AHostListensOnItsOwnAddressOnly)
{
    EXPECT_EQ(listen_at(*parties[0], "10.0.0.2"), -EADDRNOTAVAIL);
    EXPECT_GE(listen_at(*parties[0], "0.0.0.0"), 0);
    EXPECT_GE(listen_at(*parties[1], "0.0.0.0"), 0); // the same port, another host
}

} // namespace
