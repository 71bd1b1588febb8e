#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

extern "C" {
#include "actors/app.h"
#include "actors/node.h"
#include "actors/waiter.h"
}

namespace {

using clock_type = std::chrono::steady_clock;

struct WaiterTest : testing::Test {
    int error = 0;
    struct p2p_node node = {};

    WaiterTest() { node.app = app_new(&error); }
    ~WaiterTest() override { app_free(node.app); }
};

std::atomic<int> abandoned_count;

void count_abandoned(struct waiter *waiter)
{
    EXPECT_EQ(waiter->object, &abandoned_count);
    abandoned_count++;
}

TEST_F(WaiterTest, ReturnsWhatItWasFinishedWith)
{
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    std::thread finisher([waiter] {
        waiter->value = 42;
        strcpy(waiter->text.text, "why");
        waiter_finish(waiter, P2P_ERR_CONN_RESET);
    });
    EXPECT_EQ(waiter_wait(waiter, -1), P2P_ERR_CONN_RESET);
    EXPECT_EQ(waiter->value, 42u);
    EXPECT_STREQ(waiter->text.text, "why");
    waiter_done(waiter);
    finisher.join();
}

TEST_F(WaiterTest, FinishedBeforeTheWaitItReturnsAtOnce)
{
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    waiter_finish(waiter, 0);
    EXPECT_EQ(waiter_wait(waiter, 0), 0);
    waiter_done(waiter);
}

TEST_F(WaiterTest, TimesOutWhenNobodyFinishesIt)
{
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    auto begin = clock_type::now();
    EXPECT_EQ(waiter_wait(waiter, 30), P2P_ERR_CALL_TIMEOUT);
    EXPECT_GE(clock_type::now() - begin, std::chrono::milliseconds(29));
    EXPECT_TRUE(waiter_given_up(waiter));
    waiter_done(waiter);
    waiter_finish(waiter, 0); /* the other holder frees it */
}

TEST_F(WaiterTest, GivesUpWhatCameTooLate)
{
    for (bool before_done : {true, false}) {
        struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
        abandoned_count = 0;
        waiter->abandoned = count_abandoned;
        EXPECT_EQ(waiter_wait(waiter, 0), P2P_ERR_CALL_TIMEOUT);
        if (!before_done)
            waiter_done(waiter);
        waiter->object = &abandoned_count;
        waiter_finish(waiter, 0);
        EXPECT_EQ(abandoned_count, 1);
        if (before_done)
            waiter_done(waiter);
    }
}

TEST_F(WaiterTest, KeepsWhatCameInTime)
{
    struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
    abandoned_count = 0;
    waiter->abandoned = count_abandoned;
    waiter->object = &abandoned_count;
    waiter_finish(waiter, 0);
    EXPECT_EQ(waiter_wait(waiter, 0), 0);
    waiter_done(waiter);
    EXPECT_EQ(abandoned_count, 0);
}

TEST_F(WaiterTest, EndsInAnEventWhenNobodyWaits)
{
    struct p2p_event event;
    struct waiter *waiter = waiter_new(&node, WAITER_CONNECT_EVENT, 9);
    strcpy(waiter->id, "somebody");
    waiter_finish(waiter, 0);
    ASSERT_EQ(app_next(node.app, &event), 0);
    EXPECT_EQ(event.type, P2P_EVENT_CONNECTED);
    EXPECT_EQ(event.request, 9u);
    EXPECT_STREQ(event.id, "somebody");

    waiter = waiter_new(&node, WAITER_OPEN_EVENT, 10);
    strcpy(waiter->text.text, "no such protocol");
    waiter_finish(waiter, P2P_ERR_STREAM_REFUSED);
    ASSERT_EQ(app_next(node.app, &event), 0);
    EXPECT_EQ(event.type, P2P_EVENT_STREAM_OPEN_FAILED);
    EXPECT_EQ(event.error, P2P_ERR_STREAM_REFUSED);
    EXPECT_STREQ(event.text.text, "no such protocol");
}

TEST_F(WaiterTest, SurvivesACrossingOfTimeOutAndFinish)
{
    for (int round = 0; round < 200; round++) {
        struct waiter *waiter = waiter_new(&node, WAITER_BLOCKING, 0);
        std::thread finisher([waiter] { waiter_finish(waiter, 0); });
        int result = waiter_wait(waiter, 0);
        EXPECT_TRUE(result == 0 || result == P2P_ERR_CALL_TIMEOUT);
        waiter_done(waiter);
        finisher.join();
    }
}

}  // namespace
