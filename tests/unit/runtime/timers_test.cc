#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

extern "C" {
#include "runtime/timers.h"
}

namespace {

struct Timers {
    timers all;
    std::vector<timer> list;

    explicit Timers(size_t count) : list(count)
    {
        timers_init(&all);
        for (timer &t : list) {
            timer_init(&t);
            EXPECT_EQ(timers_reserve(&all), 0);
        }
    }
    ~Timers()
    {
        for (timer &t : list)
            timers_release(&all, &t);
        EXPECT_EQ(all.count, 0u);
        timers_fini(&all);
    }
    void arm(size_t index, uint64_t deadline_ns) { timers_arm(&all, &list[index], deadline_ns); }
    // The index of the next one that is due, or -1.
    int due(uint64_t now_ns)
    {
        timer *t = timers_due(&all, now_ns);
        return t ? static_cast<int>(t - list.data()) : -1;
    }
};

TEST(Timers, AreDueInTheOrderOfTheirDeadlines)
{
    Timers timers(4);
    timers.arm(0, 30);
    timers.arm(1, 10);
    timers.arm(2, 20);
    EXPECT_EQ(timers_next(&timers.all), 10u);
    EXPECT_EQ(timers.due(9), -1);
    EXPECT_EQ(timers.due(20), 1);
    EXPECT_EQ(timers.due(20), 2);
    EXPECT_EQ(timers.due(20), -1);
    EXPECT_EQ(timers.due(30), 0);
    EXPECT_EQ(timers_next(&timers.all), TIMER_NEVER);
}

TEST(Timers, OfEqualDeadlinesTheOneArmedFirstComesFirst)
{
    Timers timers(100);
    for (size_t i = 0; i < 100; i++)
        timers.arm((i * 37) % 100, 5);
    for (size_t i = 0; i < 100; i++)
        EXPECT_EQ(timers.due(5), static_cast<int>((i * 37) % 100));
}

TEST(Timers, MovedLaterComesLater)
{
    Timers timers(2);
    timers.arm(0, 10);
    timers.arm(1, 20);
    timers.arm(0, 30);
    EXPECT_EQ(timers.due(25), 1);
    EXPECT_EQ(timers.due(25), -1);
    EXPECT_EQ(timers_next(&timers.all), 30u);
    EXPECT_EQ(timers.due(30), 0);
}

TEST(Timers, MovedLaterStaysInOrderWhenBothAreOverdue)
{
    Timers timers(2);
    timers.arm(0, 10);
    timers.arm(1, 15);
    timers.arm(0, 20);
    EXPECT_EQ(timers.due(100), 1);
    EXPECT_EQ(timers.due(100), 0);
}

TEST(Timers, MovedEarlierComesEarlier)
{
    Timers timers(2);
    timers.arm(0, 100);
    timers.arm(1, 50);
    timers.arm(0, 10);
    EXPECT_EQ(timers.due(10), 0);
    EXPECT_EQ(timers.due(100), 1);
    EXPECT_EQ(timers.due(100), -1);
}

TEST(Timers, TakenAwayNeverComes)
{
    Timers timers(2);
    timers.arm(0, 10);
    timers.arm(0, TIMER_NEVER);
    EXPECT_EQ(timers.due(1000), -1);
    timers.arm(1, TIMER_NEVER);
    EXPECT_EQ(timers_next(&timers.all), TIMER_NEVER);
}

TEST(Timers, ALaterDeadlineMovesNothing)
{
    Timers timers(1);
    timers.arm(0, 10);
    uint32_t order = timers.all.order;
    for (uint64_t i = 11; i < 1000; i++)
        timers.arm(0, i);
    EXPECT_EQ(timers.all.order, order);
    EXPECT_EQ(timers.due(998), -1);
    EXPECT_EQ(timers.due(999), 0);
}

TEST(Timers, DoWhatAMultimapDoes)
{
    const int count = 500;
    Timers timers(count);
    std::mt19937 random(1);
    std::vector<uint64_t> wanted(count, TIMER_NEVER);
    uint64_t now_ns = 0;
    for (int round = 0; round < 20000; round++) {
        size_t index = random() % count;
        wanted[index] = random() % 10 == 0 ? TIMER_NEVER : now_ns + random() % 1000;
        timers.arm(index, wanted[index]);
        if (round % 7)
            continue;
        now_ns += random() % 50;
        uint64_t last = 0;
        for (int due; (due = timers.due(now_ns)) >= 0; wanted[due] = TIMER_NEVER) {
            EXPECT_LE(wanted[due], now_ns);
            EXPECT_GE(wanted[due], last);
            last = wanted[due];
        }
        uint64_t earliest = *std::min_element(wanted.begin(), wanted.end());
        EXPECT_GT(earliest, now_ns);
        EXPECT_LE(timers_next(&timers.all), earliest);
    }
}

TEST(Timers, ReleasedOnesLeaveTheHeap)
{
    Timers timers(10);
    for (size_t i = 0; i < 10; i++)
        timers.arm(i, 100 - i);
    timers_release(&timers.all, &timers.list[9]);
    EXPECT_EQ(timers_reserve(&timers.all), 0);
    EXPECT_EQ(timers.due(91), -1);
    EXPECT_EQ(timers.due(92), 8);
}

} // namespace
