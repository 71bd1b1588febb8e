#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/resource.h>
#include <vector>

extern "C" {
#include "actors/app.h"
}

namespace {

struct AppTest : testing::Test {
    int error = 0;
    struct app *app = app_new(&error);

    ~AppTest() override { app_free(app); }

    bool readable()
    {
        struct pollfd poll_of = {app_descriptor(app), POLLIN, 0};
        return poll(&poll_of, 1, 0) == 1;
    }

    bool push(enum p2p_event_type type, uint64_t request = 0, const char *id = "", const char *text = "")
    {
        auto event = std::make_unique<p2p_event>();
        event->type = type;
        event->request = request;
        strcpy(event->id, id);
        strcpy(event->text.text, text);
        return app_push(app, event.get());
    }

    struct p2p_event next()
    {
        struct p2p_event event;
        EXPECT_EQ(app_next(app, &event), 0);
        return event;
    }

    void nothing_waits()
    {
        struct p2p_event event;
        EXPECT_EQ(app_next(app, &event), P2P_ERR_CALL_AGAIN);
        EXPECT_EQ(event.type, P2P_EVENT_NONE);
        EXPECT_FALSE(readable());
    }
};

/* A stream that is nothing but an address. */
struct p2p_stream *stream(uintptr_t number)
{
    return reinterpret_cast<struct p2p_stream *>(number * 64);
}

TEST_F(AppTest, WhoAsksLateSeesWhatWaits)
{
    EXPECT_TRUE(push(P2P_EVENT_CONNECTED, 1));
    EXPECT_TRUE(push(P2P_EVENT_CONNECTED, 2));
    EXPECT_TRUE(readable()); /* made here */
    EXPECT_EQ(next().request, 1u);
    EXPECT_TRUE(readable());
    EXPECT_EQ(next().request, 2u);
    nothing_waits();
    EXPECT_TRUE(push(P2P_EVENT_CONNECTED, 3));
    EXPECT_TRUE(readable());
    EXPECT_EQ(next().request, 3u);
    nothing_waits();
}

TEST(App, TakesADescriptorOnlyWhenAskedForIt)
{
    struct rlimit before, none;
    struct p2p_event event = {}, taken;
    int error = 0, refused, got;
    struct app *app = app_new(&error);

    event.type = P2P_EVENT_CONNECTED;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool pushed = app_push(app, &event); /* no more than that here: sanitizers need descriptors, too */
    refused = app_descriptor(app);
    got = app_next(app, &taken);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_TRUE(pushed);
    EXPECT_EQ(refused, P2P_ERR_NODE_SYSTEM);
    EXPECT_EQ(got, 0);
    int descriptor = app_descriptor(app);
    EXPECT_GE(descriptor, 0);
    EXPECT_EQ(app_descriptor(app), descriptor);
    app_free(app);
}

TEST_F(AppTest, IsReadableOnlyWhileEventsWait)
{
    nothing_waits();
    push(P2P_EVENT_PEER_CONNECTED);
    push(P2P_EVENT_PEER_IDENTIFIED);
    EXPECT_TRUE(readable());
    EXPECT_EQ(next().type, P2P_EVENT_PEER_CONNECTED);
    EXPECT_TRUE(readable());
    EXPECT_EQ(next().type, P2P_EVENT_PEER_IDENTIFIED);
    nothing_waits();
}

TEST_F(AppTest, TellsOnceOfManyChangesOfAddresses)
{
    for (int i = 0; i < 3; i++)
        EXPECT_TRUE(push(P2P_EVENT_ADDRESSES_CHANGED));
    EXPECT_EQ(next().type, P2P_EVENT_ADDRESSES_CHANGED);
    nothing_waits();
    EXPECT_TRUE(push(P2P_EVENT_ADDRESSES_CHANGED));
    EXPECT_EQ(next().type, P2P_EVENT_ADDRESSES_CHANGED);
    nothing_waits();
}

TEST_F(AppTest, TellsEventsWholeAndInOrder)
{
    push(P2P_EVENT_CONNECT_FAILED, 7, "peer", "nobody listens there");
    push(P2P_EVENT_CONNECTED, 8, "other", "");
    auto first = next();
    EXPECT_EQ(first.type, P2P_EVENT_CONNECT_FAILED);
    EXPECT_EQ(first.request, 7u);
    EXPECT_STREQ(first.id, "peer");
    EXPECT_STREQ(first.text.text, "nobody listens there");
    auto second = next();
    EXPECT_EQ(second.request, 8u);
    EXPECT_STREQ(second.id, "other");
    EXPECT_STREQ(second.text.text, "");
    nothing_waits();
}

TEST_F(AppTest, AReadyStreamIsListedOnceWithAllItsBits)
{
    struct app_ready ready = {};
    for (int i = 0; i < 100; i++)
        app_stream_ready(app, &ready, stream(1), APP_STREAM_READABLE, 0);
    app_stream_ready(app, &ready, stream(1), APP_STREAM_WRITABLE, 0);
    app_stream_ready(app, &ready, stream(1), APP_STREAM_FAILED, P2P_ERR_STREAM_RESET);
    EXPECT_EQ(next().type, P2P_EVENT_STREAM_READABLE);
    EXPECT_EQ(next().type, P2P_EVENT_STREAM_WRITABLE);
    auto failed = next();
    EXPECT_EQ(failed.type, P2P_EVENT_STREAM_FAILED);
    EXPECT_EQ(failed.error, P2P_ERR_STREAM_RESET);
    EXPECT_EQ(failed.stream, stream(1));
    nothing_waits();
    app_stream_ready(app, &ready, stream(1), APP_STREAM_READABLE, 0);
    EXPECT_EQ(next().type, P2P_EVENT_STREAM_READABLE);
    nothing_waits();
}

TEST_F(AppTest, StreamsTakeTurns)
{
    struct app_ready ready[3] = {};
    for (uintptr_t i = 0; i < 3; i++)
        app_stream_ready(app, &ready[i], stream(i + 1), APP_STREAM_READABLE | APP_STREAM_WRITABLE, 0);
    for (uintptr_t i = 0; i < 6; i++) {
        auto event = next();
        EXPECT_EQ(event.stream, stream(i % 3 + 1));
        EXPECT_EQ(event.type, i < 3 ? P2P_EVENT_STREAM_READABLE : P2P_EVENT_STREAM_WRITABLE);
    }
    nothing_waits();
}

TEST_F(AppTest, AForgottenStreamIsNotTold)
{
    struct app_ready ready[3] = {};
    for (int forgotten = 0; forgotten < 3; forgotten++) {
        for (uintptr_t i = 0; i < 3; i++)
            app_stream_ready(app, &ready[i], stream(i + 1), APP_STREAM_READABLE, 0);
        app_stream_forget(app, &ready[forgotten]);
        app_stream_forget(app, &ready[forgotten]);
        for (int i = 0; i < 3; i++) {
            if (i != forgotten) {
                EXPECT_EQ(next().stream, stream(static_cast<uintptr_t>(i) + 1));
            }
        }
        nothing_waits();
    }
}

TEST_F(AppTest, AnnouncesAStreamBeforeItIsReady)
{
    struct app_ready ready = {};
    app_stream_ready(app, &ready, stream(1), APP_STREAM_READABLE, 0);
    push(P2P_EVENT_STREAM_INCOMING);
    EXPECT_EQ(next().type, P2P_EVENT_STREAM_INCOMING);
    EXPECT_EQ(next().type, P2P_EVENT_STREAM_READABLE);
}

TEST_F(AppTest, RefusesInboundStreamsBeyondItsBound)
{
    for (int i = 0; i < APP_INCOMING_MAX; i++)
        ASSERT_TRUE(push(P2P_EVENT_STREAM_INCOMING));
    EXPECT_FALSE(push(P2P_EVENT_STREAM_INCOMING));
    EXPECT_TRUE(push(P2P_EVENT_PEER_CONNECTED));
    next();
    EXPECT_TRUE(push(P2P_EVENT_STREAM_INCOMING));
    EXPECT_FALSE(push(P2P_EVENT_STREAM_INCOMING));
}

TEST_F(AppTest, DropsTheOldestPeerEventsButNoAnswer)
{
    push(P2P_EVENT_CONNECTED, 1);
    for (uint64_t i = 0; i < APP_EVENTS_MAX + 10; i++)
        push(P2P_EVENT_PEER_CONNECTED, i);
    push(P2P_EVENT_CONNECTED, 2);
    EXPECT_EQ(app_dropped(app), 10u);
    EXPECT_EQ(next().request, 1u);
    for (uint64_t i = 0; i < APP_EVENTS_MAX; i++)
        ASSERT_EQ(next().request, i + 10);
    EXPECT_EQ(next().request, 2u);
    nothing_waits();
}

TEST_F(AppTest, TellsThatTheNodeIsClosedLast)
{
    struct app_ready ready = {};
    push(P2P_EVENT_NODE_CLOSED);
    push(P2P_EVENT_PEER_DISCONNECTED);
    app_stream_ready(app, &ready, stream(1), APP_STREAM_FAILED, P2P_ERR_NODE_CLOSING);
    EXPECT_EQ(next().type, P2P_EVENT_PEER_DISCONNECTED);
    EXPECT_EQ(next().type, P2P_EVENT_STREAM_FAILED);
    EXPECT_TRUE(readable());
    EXPECT_EQ(next().type, P2P_EVENT_NODE_CLOSED);
    nothing_waits();
}

}  // namespace
