#include "machine.h"

#include <vector>

extern "C" {
#include "runtime/semaphore.h"
}

namespace {

// Someone who asks for permits, and what came of it.
struct Asker : Script {
    std::vector<std::pair<uint32_t, uint64_t>> granted; // request_id, permits
    std::vector<uint32_t> gone;
    actor_ref ref = {};
    Asker()
    {
        receive = [this](actor_context *context, message *m) {
            if (m->type == MESSAGE_GRANT)
                granted.emplace_back(m->request_id, m->body.u64[0]);
            if (m->type == MESSAGE_GONE)
                gone.push_back(m->request_id);
            stops(context, m);
        };
    }
};

class Semaphore : public ::testing::Test {
protected:
    Still machine;
    actor_ref semaphore = {};
    std::vector<Asker *> askers;

    void begin(uint32_t permits, uint32_t reserved = 0)
    {
        semaphore_config config = {permits, reserved};
        ASSERT_EQ(semaphore_spawn(machine.worker(), &semaphore, machine.scope, &config), 0);
    }
    Asker &asker()
    {
        askers.push_back(new Asker);
        askers.back()->ref = machine.spawn(askers.back());
        return *askers.back();
    }
    void acquire(Asker &who, uint32_t id, semaphore_priority priority = SEMAPHORE_PRIORITY_NORMAL)
    {
        actor_context context = actor_context_of(machine.worker(), who.ref);
        semaphore_acquire(&context, semaphore, id, priority);
        machine.turn(2);
    }
    void release(Asker &who, uint32_t id)
    {
        actor_context context = actor_context_of(machine.worker(), who.ref);
        semaphore_release(&context, semaphore, id);
        machine.turn(2);
    }
    semaphore_stats stats()
    {
        semaphore_stats out;
        semaphore_stats_read(machine.worker(), semaphore, &out);
        return out;
    }
    void TearDown() override
    {
        machine.stop(semaphore);
        for (Asker *who : askers)
            if (actor_context_of(machine.worker(), who->ref).scope)
                machine.stop(who->ref);
        machine.turn(4);
        for (Asker *who : askers)
            delete who;
    }
};

using Grants = std::vector<std::pair<uint32_t, uint64_t>>;

TEST_F(Semaphore, GrantsWhatItHasAndTheRestInOrder)
{
    begin(2);
    Asker &a = asker();
    for (uint32_t id = 1; id <= 4; id++)
        acquire(a, id);
    EXPECT_EQ(a.granted, (Grants{{1, 1}, {2, 1}}));
    EXPECT_EQ(stats().held, 2u);
    EXPECT_EQ(stats().waiting, 2u);
    release(a, 2);
    EXPECT_EQ(a.granted, (Grants{{1, 1}, {2, 1}, {3, 1}}));
    release(a, 1);
    EXPECT_EQ(a.granted.back(), (std::pair<uint32_t, uint64_t>{4, 1}));
    release(a, 3);
    release(a, 4);
    EXPECT_EQ(stats().held, 0u);
    EXPECT_EQ(stats().granted, 4u);
}

TEST_F(Semaphore, ServesByPriorityThenAge)
{
    begin(1);
    Asker &a = asker();
    acquire(a, 1);
    acquire(a, 2, SEMAPHORE_PRIORITY_UPKEEP);
    acquire(a, 3, SEMAPHORE_PRIORITY_NORMAL);
    acquire(a, 4, SEMAPHORE_PRIORITY_USER);
    acquire(a, 5, SEMAPHORE_PRIORITY_NORMAL);
    for (uint32_t id : {1, 4, 3, 5, 2})
        release(a, id);
    EXPECT_EQ(a.granted, (Grants{{1, 1}, {4, 1}, {3, 1}, {5, 1}, {2, 1}}));
}

TEST_F(Semaphore, KeepsTheReservedPermitForTheUser)
{
    begin(2, 1);
    Asker &a = asker();
    acquire(a, 1);
    acquire(a, 2);
    EXPECT_EQ(a.granted.size(), 1u);
    acquire(a, 3, SEMAPHORE_PRIORITY_USER);
    EXPECT_EQ(a.granted, (Grants{{1, 1}, {3, 1}}));
    release(a, 3);
    EXPECT_EQ(a.granted.size(), 2u);
    release(a, 1);
    EXPECT_EQ(a.granted.back().first, 2u);
}

TEST_F(Semaphore, AReservationNeverStarvesTheOthers)
{
    begin(1, 1);
    Asker &a = asker();
    acquire(a, 1);
    EXPECT_EQ(a.granted.size(), 1u);
}

TEST_F(Semaphore, TakesBackWhatTheDeadHeldAndWaitedFor)
{
    begin(2);
    Asker &a = asker(), &b = asker();
    acquire(a, 1);
    acquire(a, 2);
    acquire(a, 3);
    acquire(b, 1);
    EXPECT_TRUE(b.granted.empty());
    machine.stop(a.ref);
    machine.turn(3);
    EXPECT_EQ(b.granted, (Grants{{1, 1}}));
    EXPECT_EQ(stats().held, 1u);
    EXPECT_EQ(stats().waiting, 0u);
}

TEST_F(Semaphore, APermitComesBackOnceOnly)
{
    begin(1);
    Asker &a = asker(), &b = asker(), &c = asker();
    acquire(a, 1);
    release(a, 1);
    release(a, 1);
    machine.stop(a.ref);
    machine.turn(2);
    acquire(b, 1);
    acquire(c, 1);
    EXPECT_EQ(b.granted.size(), 1u);
    EXPECT_TRUE(c.granted.empty()) << "there is one permit, not three";
    EXPECT_EQ(stats().held, 1u);
}

TEST_F(Semaphore, AWaitIsTakenBack)
{
    begin(1);
    Asker &a = asker(), &b = asker();
    acquire(a, 1);
    acquire(b, 2);
    release(b, 2);
    EXPECT_EQ(b.gone, std::vector<uint32_t>{2});
    release(a, 1);
    EXPECT_TRUE(b.granted.empty());
    EXPECT_EQ(stats().waiting, 0u);
}

TEST_F(Semaphore, RefusesWhenTooManyWait)
{
    begin(1);
    Asker &a = asker();
    acquire(a, 0);
    for (uint32_t id = 1; id <= SEMAPHORE_WAITERS_MAX; id++) {
        actor_context context = actor_context_of(machine.worker(), a.ref);
        semaphore_acquire(&context, semaphore, id, SEMAPHORE_PRIORITY_NORMAL);
        if (id % 32 == 0)
            machine.turn();
    }
    machine.turn(3);
    EXPECT_EQ(stats().waiting, static_cast<uint32_t>(SEMAPHORE_WAITERS_MAX));
    acquire(a, 99999);
    EXPECT_EQ(a.granted.back(), (std::pair<uint32_t, uint64_t>{99999, 0}));
    EXPECT_EQ(stats().refused, 1u);
}

TEST_F(Semaphore, ANumberInUseIsRefused)
{
    begin(5);
    Asker &a = asker();
    acquire(a, 1);
    acquire(a, 1);
    EXPECT_EQ(a.granted, (Grants{{1, 1}, {1, 0}}));
    EXPECT_EQ(stats().held, 1u);
}

TEST_F(Semaphore, WithoutALimitGrantsAll)
{
    begin(0);
    Asker &a = asker();
    for (uint32_t id = 0; id < 100; id++)
        acquire(a, id);
    EXPECT_EQ(a.granted.size(), 100u);
}

TEST_F(Semaphore, ItsEndIsToldToThoseWhoWait)
{
    begin(1);
    Asker &a = asker(), &b = asker();
    acquire(a, 1);
    acquire(b, 7);
    machine.stop(semaphore);
    machine.turn(3);
    EXPECT_EQ(b.gone, std::vector<uint32_t>{7});
    acquire(a, 8);
    EXPECT_EQ(a.gone, std::vector<uint32_t>{8}) << "and to those who ask later";
}

} // namespace
