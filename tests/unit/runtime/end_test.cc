#include "machine.h"

#include <vector>

extern "C" {
#define _Static_assert static_assert
#include "runtime/driver_inner.h"
#include "runtime/inner.h"
}

// The end of a runtime waits for what its driver has in flight.

namespace {

constexpr uint64_t turn_ns = 10000000;

// Takes the place of a worker's driver for its end.  What is in flight follows a
// plan, a number for each turn, and stays at the last.
struct Ending : driver {
    driver_operations mine;
    driver *real;
    std::vector<uint64_t> plan;
    unsigned turns = 0;
    uint64_t clock_ns = 1;

    Ending(struct worker *its, std::vector<uint64_t> numbers)
        : driver(*its->driver), mine(*its->driver->operations), real(its->driver), plan(std::move(numbers))
    {
        mine.turn = [](driver *self, uint64_t deadline_ns) { return of(self)->turn_until(deadline_ns); };
        mine.wake = [](driver *) {};
        mine.now_ns = [](driver *self) { return of(self)->clock_ns; };
        mine.free = [](driver *self) { driver_free(of(self)->real); };
        operations = &mine;
        stats.operations_in_flight = plan[0];
        its->driver = this;
    }

    static Ending *of(driver *self) { return static_cast<Ending *>(self); }

    unsigned turn_until(uint64_t deadline_ns)
    {
        EXPECT_EQ(deadline_ns, clock_ns + turn_ns);
        clock_ns = deadline_ns; // nothing wakes it
        turns++;
        stats.operations_in_flight = plan[std::min<size_t>(turns, plan.size() - 1)];
        return 0;
    }
};

unsigned turns_of(std::vector<uint64_t> plan)
{
    runtime_config config;
    runtime *runtime = nullptr;
    runtime_config_init(&config);
    config.threads = false;
    config.driver = DRIVER_EPOLL;
    EXPECT_EQ(runtime_new(&runtime, &config), 0);
    Ending ending(runtime_worker(runtime, 0), std::move(plan));
    runtime_free(runtime);
    return ending.turns;
}

TEST(End, HasNothingToWaitForWhenNothingIsInFlight)
{
    EXPECT_EQ(turns_of({0}), 0u);
    EXPECT_EQ(turns_of({3, 2, 0}), 2u);
}

// After 2 s of standstill it is a mistake of the driver's.
TEST(End, DoesNotWaitForWhatNeverEnds)
{
    std::vector<uint64_t> plan(200, 7);
    plan.push_back(0);
    EXPECT_EQ(turns_of(plan), 200u);
    plan.insert(plan.begin(), 8);
    EXPECT_EQ(turns_of(plan), 201u);
    plan.insert(plan.begin() + 1, 7);
    EXPECT_DEATH(turns_of(plan), "operations_in_flight == 0");
}

TEST(End, WaitsAsLongAsTheyBecomeFewer)
{
    std::vector<uint64_t> plan;
    for (unsigned left = 40; left-- > 0;)
        plan.insert(plan.end(), 100, left); // one in a second
    EXPECT_EQ(turns_of(plan), 3900u);
}

TEST(End, IsNotPutOffByWhatComesAndGoes)
{
    std::vector<uint64_t> plan;
    for (unsigned i = 0; i < 10000; i++)
        plan.push_back(i % 2 ? 5 : 6);
    plan.push_back(0);
    EXPECT_DEATH(turns_of(plan), "operations_in_flight == 0");
}

} // namespace
