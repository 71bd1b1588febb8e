// One suite for all drivers: what runtime/driver.h promises holds for each of them.

#include "tests/unit/runtime/driver_support.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <random>

INSTANTIATE_TEST_SUITE_P(All, DriverTest,
                         testing::Values(Kind::Uring, Kind::UringOfTheFloor, Kind::UringPlain, Kind::Epoll, Kind::Sim),
                         kind_name);

// ---- Connections ---------------------------------------------------------

TEST_P(DriverTest, ConnectsAcceptsAndEchoes)
{
    Pair pair = connected();

    driver_receive(drive(), pair.far, receiver);
    driver_receive(drive(), pair.near, receiver);
    send(first(), pair.near, "ping");
    EXPECT_EQ(receive(first(), pair.far, 4), "ping");
    send(first(), pair.far, "pong");
    EXPECT_EQ(receive(first(), pair.near, 4), "pong");
}

TEST_P(DriverTest, AddressesEachCompletionToItsOwner)
{
    Address bound;
    int listening = listen(first(), &bound);

    driver_accept(drive(), listening, acceptor);
    int near = connect(first(), bound);
    EXPECT_TRUE(actor_ref_equal(await(first(), MESSAGE_IO_CONNECTED, near).to, dialer));
    message accepted = await(first(), MESSAGE_IO_ACCEPTED, listening);
    EXPECT_TRUE(actor_ref_equal(accepted.to, acceptor));
    EXPECT_EQ(accepted.kind, MESSAGE_CONTROL);
    int far = static_cast<int>(accepted.body.i64[0]);
    driver_receive(drive(), far, receiver);
    driver_send(drive(), near, sender, buffer_with("x", 1), 0, 1);
    EXPECT_TRUE(actor_ref_equal(await(first(), MESSAGE_IO_SENT, near).to, sender));
    message received = await(first(), MESSAGE_IO_RECEIVED, far);
    EXPECT_TRUE(actor_ref_equal(received.to, receiver));
    EXPECT_EQ(received.length, 1u);
    buffer_unref(received.buffer);
}

TEST_P(DriverTest, NamesBothEnds)
{
    Pair pair = connected();
    Address near_local, near_remote, far_local, far_remote;

    ASSERT_EQ(driver_names(drive(), pair.near, &near_local.storage, &near_remote.storage), 0);
    ASSERT_EQ(driver_names(drive(), pair.far, &far_local.storage, &far_remote.storage), 0);
    EXPECT_EQ(memcmp(&near_local, &far_remote, sizeof(Address)), 0);
    EXPECT_EQ(memcmp(&near_remote, &far_local, sizeof(Address)), 0);
    EXPECT_NE(near_local.port(), near_remote.port());
}

TEST_P(DriverTest, ConnectsOverVersionSix)
{
    Address bound;
    int listening = listen(first(), &bound, DRIVER_LISTEN_V6ONLY, "::1");

    if (listening == -EADDRNOTAVAIL || listening == -EAFNOSUPPORT)
        GTEST_SKIP() << "this machine has no IPv6";
    ASSERT_GE(listening, 0);
    driver_accept(drive(), listening, acceptor);
    int near = connect(first(), bound);
    EXPECT_EQ(await(first(), MESSAGE_IO_CONNECTED, near).body.i64[0], 0);
    EXPECT_GE(await(first(), MESSAGE_IO_ACCEPTED, listening).body.i64[0], 0);
}

TEST_P(DriverTest, SaysThatAConnectWasRefused)
{
    Address bound;
    int listening = listen(first(), &bound);

    first().close(listening);
    ASSERT_TRUE(until([&] { return first().stats().sockets_open == 0; }));
    int near = connect(first(), bound);
    if (near < 0)
        EXPECT_EQ(near, -ECONNREFUSED);
    else
        EXPECT_EQ(await(first(), MESSAGE_IO_CONNECTED, near).body.i64[0], -ECONNREFUSED);
}

TEST_P(DriverTest, RefusesATakenPort)
{
    Party &other = add_party();
    Address bound, again;

    ASSERT_GE(listen(first(), &bound), 0);
    EXPECT_EQ(listen(first(), &again, 0, "127.0.0.1", bound.port()), -EADDRINUSE);
    EXPECT_EQ(listen(other, &again, 0, "0.0.0.0", bound.port()), -EADDRINUSE);
}

TEST_P(DriverTest, SharesAListenerBetweenDrivers)
{
    constexpr unsigned connections = 64;
    Party &other = add_party();
    Address bound, again;
    unsigned accepted = 0;

    int one = listen(first(), &bound);
    int two = listen(other, &again, DRIVER_LISTEN_SHARED, "127.0.0.1", bound.port());
    ASSERT_GE(two, 0) << strerror(-two);
    driver_accept(drive(), one, acceptor);
    driver_accept(other.drive, two, acceptor);
    for (unsigned i = 0; i < connections; i++)
        ASSERT_GE(connect(first(), bound), 0);
    EXPECT_TRUE(until([&] {
        while (first().take(MESSAGE_IO_ACCEPTED, one).type != MESSAGE_NONE)
            accepted++;
        while (other.take(MESSAGE_IO_ACCEPTED, two).type != MESSAGE_NONE)
            accepted++;
        return accepted == connections;
    }));
}

TEST_P(DriverTest, ASendThatIsDoneHasNotArrived)
{
    Pair pair = connected();
    uint64_t before = driver_arrived(drive());

    driver_send(drive(), pair.near, sender, buffer_with("hello", 5), 0, 5);
    ASSERT_TRUE(until([&] { return first().take(MESSAGE_IO_SENT, pair.near).type != MESSAGE_NONE; }));
    EXPECT_EQ(driver_arrived(drive()), before);
    driver_receive(drive(), pair.far, receiver);
    EXPECT_EQ(receive(first(), pair.far, 5), "hello");
    EXPECT_GT(driver_arrived(drive()), before);
}

TEST_P(DriverTest, HandsASocketToAnotherDriver)
{
    Party &other = add_party();
    Pair pair = connected();

    first().release(pair.far);
    other.adopt(pair.far);
    driver_receive(other.drive, pair.far, receiver);
    driver_receive(drive(), pair.near, receiver);
    send(first(), pair.near, "hello");
    EXPECT_EQ(receive(other, pair.far, 5), "hello");
    send(other, pair.far, "world");
    EXPECT_EQ(receive(first(), pair.near, 5), "world");
}

TEST_P(DriverTest, ReleasesASocketWhoseReceiveWasStopped)
{
    Party &other = add_party();
    Pair pair = connected();

    driver_receive(drive(), pair.far, receiver);
    driver_receive_stop(drive(), pair.far);
    ASSERT_TRUE(until([&] { return driver_receive_idle(drive(), pair.far); }));
    first().release(pair.far);
    other.adopt(pair.far);
    driver_receive(other.drive, pair.far, receiver);
    send(first(), pair.near, "hello");
    EXPECT_EQ(receive(other, pair.far, 5), "hello");
}

TEST_P(DriverTest, HoldsAThousandSockets)
{
    constexpr unsigned pairs = 500;
    Address bound;
    std::vector<int> near, far;
    int listening = listen(first(), &bound);

    driver_accept(drive(), listening, acceptor);
    for (unsigned i = 0; i < pairs; i++) {
        near.push_back(connect(first(), bound));
        ASSERT_GE(near.back(), 0) << strerror(-near.back());
    }
    ASSERT_TRUE(until([&] {
        message accepted;
        while ((accepted = first().take(MESSAGE_IO_ACCEPTED, listening)).type != MESSAGE_NONE)
            far.push_back(static_cast<int>(accepted.body.i64[0]));
        return far.size() == pairs;
    }));
    for (int socket : far)
        driver_receive(drive(), socket, receiver);
    for (int socket : near)
        driver_send(drive(), socket, sender, buffer_with("x", 1), 0, 1);
    for (int socket : far)
        EXPECT_EQ(receive(first(), socket, 1), "x");
    EXPECT_EQ(first().stats().sockets_open, 2 * pairs + 1);
}

TEST_P(DriverTest, ClosesAListenerWhileConnectsArrive)
{
    Address bound;
    std::vector<int> near;
    int listening = listen(first(), &bound);

    driver_accept(drive(), listening, acceptor);
    for (unsigned i = 0; i < 50; i++)
        near.push_back(connect(first(), bound));
    turn(0);
    first().close(listening);
    size_t accepted = 0;
    for (const message &message : first().mail)
        accepted += message.type == MESSAGE_IO_ACCEPTED;
    for (int socket : near)
        if (socket >= 0)
            await(first(), MESSAGE_IO_CONNECTED, socket);
    size_t accepted_after = 0;
    for (const message &message : first().mail)
        accepted_after += message.type == MESSAGE_IO_ACCEPTED;
    EXPECT_EQ(accepted_after, accepted) << "a message about a closed socket";
}

TEST_P(DriverTest, KeepsConnectionsInTheBacklogWhileAcceptIsStopped)
{
    Address bound;
    int listening = listen(first(), &bound);

    driver_accept(drive(), listening, acceptor);
    turn(0);
    driver_accept_stop(drive(), listening);
    ASSERT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
    int near = connect(first(), bound);
    EXPECT_EQ(await(first(), MESSAGE_IO_CONNECTED, near).body.i64[0], 0);
    turn(millisecond);
    EXPECT_FALSE(first().has(MESSAGE_IO_ACCEPTED, listening));
    driver_accept(drive(), listening, acceptor);
    EXPECT_GE(await(first(), MESSAGE_IO_ACCEPTED, listening).body.i64[0], 0);
}

// ---- Bytes ---------------------------------------------------------------

// One connection that carries the pattern from end to end.
class Stream {
public:
    Stream(Party &owner, int near, int far) : party(owner), from(near), to(far) {}

    void feed(uint64_t total)
    {
        message message;
        while ((message = party.take(MESSAGE_IO_SENT, from)).type != MESSAGE_NONE) {
            ASSERT_GT(message.body.i64[0], 0);
            sent += static_cast<uint64_t>(message.body.i64[0]);
            sending = false;
        }
        if (sending || sent == total)
            return;
        auto length = static_cast<uint32_t>(std::min<uint64_t>(chunk, total - sent));
        buffer *buffer = buffer_new_foreign(chunk);
        pattern.fill(sent, buffer->data, length);
        driver_send(party.drive, from, {13, 1}, buffer, 0, length);
        sending = true;
    }

    // One message received, if there is any: its type.
    unsigned taste()
    {
        message message = party.take(MESSAGE_IO_RECEIVED, to);
        if (message.type == MESSAGE_NONE)
            return MESSAGE_NONE;
        last = message.body.i64[0];
        if (last > 0) {
            EXPECT_EQ(static_cast<uint32_t>(last), message.length);
            right = right && pattern.matches(received, message.buffer->data + message.offset, message.length);
            received += message.length;
        }
        lent = message.buffer;
        buffer_unref(message.buffer);
        return message.type;
    }

    static constexpr uint32_t chunk = 256 << 10;
    Party &party;
    int from, to;
    uint64_t sent = 0, received = 0;
    bool sending = false, right = true;
    int64_t last = 0;
    buffer *lent = nullptr; // only to be compared
    Pattern pattern;
};

TEST_P(DriverTest, ReceivesAllBytesInOrder)
{
    constexpr uint64_t total = 64 << 20;
    Pair pair = connected();
    Stream stream(first(), pair.near, pair.far);

    driver_receive(drive(), pair.far, receiver);
    ASSERT_TRUE(until([&] {
        stream.feed(total);
        while (stream.taste() != MESSAGE_NONE)
            continue;
        return stream.received == total || !stream.right;
    }));
    EXPECT_TRUE(stream.right);
    EXPECT_EQ(stream.sent, total);
    EXPECT_GE(driver_acknowledged(drive(), pair.near), simulated() ? total : 1);
}

TEST_P(DriverTest, AQuietReceiveReceivesAllTheSame)
{
    Pair pair = connected();

    driver_receive_quietly(drive(), pair.far); /* it is off: nothing happens */
    driver_receive(drive(), pair.far, receiver);
    for (int i = 0; i < 20; i++) {
        std::string text = "message " + std::to_string(i);
        if (i % 3 != 0)
            driver_receive_quietly(drive(), pair.far);
        if (i % 2 == 0)
            for (int k = 0; k < 4; k++) /* the poll stands, or its beginning is under way */
                turn(0);
        driver_receive_quietly(drive(), pair.far); /* again */
        send(first(), pair.near, text);
        EXPECT_EQ(receive(first(), pair.far, text.size()), text);
    }
    driver_receive_quietly(drive(), pair.far);
    for (int k = 0; k < 4; k++)
        turn(0);
    driver_receive_stop(drive(), pair.far);
    ASSERT_TRUE(until([&] { return driver_receive_idle(drive(), pair.far); }));
    send(first(), pair.near, "later");
    EXPECT_FALSE(first().has(MESSAGE_IO_RECEIVED, pair.far));
    driver_receive(drive(), pair.far, receiver);
    EXPECT_EQ(receive(first(), pair.far, 5), "later");
    driver_receive_quietly(drive(), pair.far);
    turn(0);
    driver_shutdown_write(drive(), pair.near);
    EXPECT_EQ(await(first(), MESSAGE_IO_RECEIVED, pair.far).body.i64[0], 0) << "the end is told, too";
}

TEST_P(DriverTest, AQuietReceiveCanBeClosed)
{
    Pair pair = connected();

    driver_receive(drive(), pair.far, receiver);
    driver_receive_quietly(drive(), pair.far);
    for (int k = 0; k < 4; k++)
        turn(0);
    first().close(pair.far);
    EXPECT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
}

TEST_P(DriverTest, LosesNoByteWhenTheKindOfReceiveChanges)
{
    constexpr uint64_t total = 32 << 20;
    Pair pair = connected();
    Stream stream(first(), pair.near, pair.far);
    std::mt19937 random(7);
    enum { Multishot, Stopping, Into } mode = Multishot;
    buffer *into = nullptr;
    uint64_t switches = 0;

    driver_receive(drive(), pair.far, receiver);
    auto step = [&] {
        stream.feed(total);
        while (stream.taste() != MESSAGE_NONE) {
            if (mode != Into || stream.lent != into)
                continue;
            switches++;
            mode = random() % 2 ? Multishot : Stopping;
            if (mode == Multishot)
                driver_receive(drive(), pair.far, receiver);
        }
        if (mode == Multishot && random() % 4 == 0)
            driver_receive_quietly(drive(), pair.far);
        if (mode == Multishot && random() % 4 == 0) {
            driver_receive_stop(drive(), pair.far);
            mode = Stopping;
        }
        if (mode == Stopping && random() % 8 == 0) { // changed its mind
            driver_receive(drive(), pair.far, receiver);
            mode = Multishot;
        }
        // Both as the header allows: at once, or when it is idle.
        if (mode == Stopping && (random() % 2 || driver_receive_idle(drive(), pair.far))) {
            into = buffer_new(first().pool, BUFFER_LARGE_BYTES);
            driver_receive_into(drive(), pair.far, receiver, into, random() % 1000);
            mode = Into;
        }
        return stream.received == total || !stream.right;
    };
    ASSERT_TRUE(until(step));
    EXPECT_TRUE(stream.right);
    EXPECT_GT(switches, 10u);
}

TEST_P(DriverTest, SendsShortWhenThePeerDoesNotRead)
{
    Pair pair = connected();
    Stream stream(first(), pair.near, pair.far);
    constexpr uint64_t total = 64 << 20;

    auto stuck = [&] {
        uint64_t before = stream.sent;
        for (unsigned i = 0; i < 20; i++) {
            stream.feed(total);
            turn(millisecond);
        }
        return stream.sent == before && stream.sending;
    };
    while (!stuck())
        ASSERT_LT(stream.sent, total) << "nothing holds it back";
    driver_receive(drive(), pair.far, receiver);
    EXPECT_TRUE(until([&] {
        stream.feed(total);
        while (stream.taste() != MESSAGE_NONE)
            continue;
        return stream.received == total || !stream.right;
    }));
    EXPECT_TRUE(stream.right);
}

TEST_P(DriverTest, ServesASmallStreamBesideAFlood)
{
    Pair flood = connected(), small = connected();
    Stream stream(first(), flood.near, flood.far);
    unsigned turns = 0, echoes = 0;

    driver_receive(drive(), flood.far, receiver);
    driver_receive(drive(), small.far, receiver);
    driver_send(drive(), small.near, sender, buffer_with("x", 1), 0, 1);
    for (; echoes < 100 && turns < 20000; turns++) {
        stream.feed(UINT64_MAX);
        turn();
        while (stream.taste() != MESSAGE_NONE)
            continue;
        message message = first().take(MESSAGE_IO_RECEIVED, small.far);
        if (message.type == MESSAGE_NONE)
            continue;
        buffer_unref(message.buffer);
        echoes++;
        if (!first().has(MESSAGE_IO_SENT, small.near))
            turn();
        first().take(MESSAGE_IO_SENT, small.near);
        driver_send(drive(), small.near, sender, buffer_with("x", 1), 0, 1);
    }
    EXPECT_EQ(echoes, 100u) << "after " << turns << " turns";
    EXPECT_LT(turns, 1000u);
    EXPECT_TRUE(stream.right);
}

TEST_P(DriverTest, GoesOnWhenBuffersHaveRunOutAndComeBack)
{
    constexpr uint64_t total = 8 << 20;
    begin(1 << 20);
    Pair pair = connected();
    Stream stream(first(), pair.near, pair.far);

    driver_receive(drive(), pair.far, receiver);
    for (unsigned rounds = 0; stream.received < total; rounds++) {
        ASSERT_LT(rounds, 1000u);
        // Nothing is taken until no more comes.
        size_t before;
        do {
            before = first().mail.size();
            for (unsigned i = 0; i < 10; i++) {
                stream.feed(total);
                turn(millisecond);
            }
        } while (first().mail.size() > before);
        ASSERT_GT(before, 0u);
        while (stream.taste() != MESSAGE_NONE)
            continue;
        ASSERT_TRUE(stream.right);
    }
    // And without a buffer it does not turn in circles.
    send(first(), pair.far, "x");
    std::vector<buffer *> all;
    for (buffer *buffer; (buffer = buffer_new(first().pool, BUFFER_SMALL_BYTES)) != nullptr;)
        all.push_back(buffer);
    uint64_t turns = first().stats().turns, begin_ns = driver_now_ns(drive());
    while (driver_now_ns(drive()) < begin_ns + 50 * millisecond)
        turn(50 * millisecond);
    EXPECT_LT(first().stats().turns - turns, 100u);
    for (buffer *buffer : all)
        buffer_unref(buffer);
}

TEST_P(DriverTest, HoldsFewBuffersWhenABurstIsOver)
{
    constexpr uint64_t total = 16 << 20;
    if (GetParam() == Kind::UringPlain)
        GTEST_SKIP() << "without deferred completions it cannot";
    Pair pair = connected();
    Stream stream(first(), pair.near, pair.far);
    buffer_pool_stats stats;

    // The whole burst waits in the mailbox, and goes from there in no order.
    driver_receive(drive(), pair.far, receiver);
    ASSERT_TRUE(until([&] {
        stream.feed(total);
        uint64_t waiting = 0;
        for (const message &message : first().mail)
            waiting += message.type == MESSAGE_IO_RECEIVED ? message.length : 0;
        return waiting == total;
    }));
    std::shuffle(first().mail.begin(), first().mail.end(), std::mt19937(1));
    send(first(), pair.near, std::string(8 << 20, 'x'));
    ASSERT_TRUE(until([&] {
        for (unsigned i = 0; i < 100 && !first().mail.empty(); i++) {
            buffer_unref(first().mail.front().buffer);
            first().mail.pop_front();
        }
        return first().mail.empty();
    }));
    // With the next traffic it gathers them, after half a second, and the pool frees what is idle for long.
    send(first(), pair.near, "x");
    EXPECT_EQ(receive(first(), pair.far, 1), "x");
    uint64_t later_ns = driver_now_ns(drive());
    EXPECT_TRUE(until([&] {
        for (unsigned i = 0; i < 2; i++)
            buffer_pool_collect(first().pool, later_ns += 100 * second);
        buffer_pool_stats_read(first().pool, &stats);
        return stats.bytes_mapped <= 4u << 20;
    })) << stats.bytes_mapped;
}

// ---- Ends ----------------------------------------------------------------

TEST_P(DriverTest, TellsTheEndAfterTheLastByte)
{
    Pair pair = connected();
    std::string received;
    int64_t result = 1;

    driver_receive(drive(), pair.far, receiver);
    send(first(), pair.near, "last words");
    driver_shutdown_write(drive(), pair.near);
    EXPECT_TRUE(until([&] { return !drain(first(), pair.far, &received, &result); }));
    EXPECT_EQ(received, "last words");
    EXPECT_EQ(result, 0);
    // The other direction is still open.
    driver_receive(drive(), pair.near, receiver);
    send(first(), pair.far, "answer");
    EXPECT_EQ(receive(first(), pair.near, 6), "answer");
}

TEST_P(DriverTest, ShutsDownBehindAllOfTheSendInFlight)
{
    constexpr uint32_t length = 2 << 20; // more than the kernel takes at once
    Pair pair = connected();
    std::string text(length, 'x'), received;
    int64_t result = 1;

    driver_send(drive(), pair.near, sender, buffer_with(text.data(), length), 0, length);
    driver_shutdown_write(drive(), pair.near);
    turn(millisecond);
    driver_receive(drive(), pair.far, receiver);
    EXPECT_TRUE(until([&] { return !drain(first(), pair.far, &received, &result); }));
    EXPECT_EQ(await(first(), MESSAGE_IO_SENT, pair.near).body.i64[0], length);
    EXPECT_EQ(received.size(), length);
    EXPECT_EQ(result, 0);
}

TEST_P(DriverTest, ReceiveIntoTellsTheEnd)
{
    Pair pair = connected();
    buffer *into = buffer_new(first().pool, BUFFER_LARGE_BYTES);

    driver_receive_into(drive(), pair.far, receiver, into, 10);
    driver_shutdown_write(drive(), pair.near);
    message message = await(first(), MESSAGE_IO_RECEIVED, pair.far);
    EXPECT_EQ(message.body.i64[0], 0);
    EXPECT_EQ(message.buffer, into);
    EXPECT_EQ(message.length, 0u);
    buffer_unref(message.buffer);
}

TEST_P(DriverTest, ReceiveIntoThatIsStoppedGivesItsBufferBack)
{
    Pair pair = connected();
    std::string received;
    int64_t result = 1;

    for (int round = 0; round < 3; round++) {
        buffer *into = buffer_new(first().pool, BUFFER_LARGE_BYTES);
        driver_receive_into(drive(), pair.far, receiver, into, 10);
        for (int i = 0; i < round; i++)
            turn(0);
        driver_receive_stop(drive(), pair.far);
        driver_receive_stop(drive(), pair.far); // once is enough
        message message = await(first(), MESSAGE_IO_RECEIVED, pair.far);
        EXPECT_EQ(message.body.i64[0], -ECANCELED);
        EXPECT_EQ(message.buffer, into);
        EXPECT_EQ(message.length, 0u);
        EXPECT_TRUE(driver_receive_idle(drive(), pair.far));
        buffer_unref(message.buffer);
    }
    driver_receive(drive(), pair.far, receiver);
    send(first(), pair.near, "still there");
    driver_shutdown_write(drive(), pair.near);
    EXPECT_TRUE(until([&] { return !drain(first(), pair.far, &received, &result); }));
    EXPECT_EQ(received, "still there");
    EXPECT_EQ(result, 0);
}

TEST_P(DriverTest, AnOrderlyCloseIsAnEnd)
{
    Pair pair = connected();
    std::string received;
    int64_t result = 1;

    driver_receive(drive(), pair.far, receiver);
    send(first(), pair.near, "bye");
    first().close(pair.near);
    EXPECT_TRUE(until([&] { return !drain(first(), pair.far, &received, &result); }));
    EXPECT_EQ(received, "bye");
    EXPECT_EQ(result, 0);
}

TEST_P(DriverTest, AResetIsAnError)
{
    Pair pair = connected();
    std::string received;
    int64_t result = 1;

    driver_receive(drive(), pair.far, receiver);
    first().close(pair.near, DRIVER_CLOSE_RESET);
    EXPECT_TRUE(until([&] { return !drain(first(), pair.far, &received, &result); }));
    EXPECT_EQ(result, -ECONNRESET);
    // And it is off: what is sent fails.
    driver_send(drive(), pair.far, sender, buffer_with("x", 1), 0, 1);
    EXPECT_LT(await(first(), MESSAGE_IO_SENT, pair.far).body.i64[0], 0);
    EXPECT_EQ(first().stats().operations_in_flight, 0u);
}

TEST_P(DriverTest, AResetEndsASendThatWaits)
{
    Pair pair = connected();
    int64_t result = 1;

    // More than the kernel takes: the rest waits.
    while (result > 0) {
        std::string text(BUFFER_LARGE_BYTES, 'x');
        driver_send(drive(), pair.near, sender, buffer_with(text.data(), text.size()), 0,
                    static_cast<uint32_t>(text.size()));
        for (unsigned i = 0; i < 20 && !first().has(MESSAGE_IO_SENT, pair.near); i++)
            turn(millisecond);
        if (!first().has(MESSAGE_IO_SENT, pair.near))
            break;
        result = first().take(MESSAGE_IO_SENT, pair.near).body.i64[0];
    }
    ASSERT_GT(result, 0);
    first().close(pair.far, DRIVER_CLOSE_RESET);
    message message = await(first(), MESSAGE_IO_SENT, pair.near);
    if (message.body.i64[0] > 0) { // what it took before
        driver_send(drive(), pair.near, sender, buffer_with("x", 1), 0, 1);
        message = await(first(), MESSAGE_IO_SENT, pair.near);
    }
    EXPECT_LT(message.body.i64[0], 0);
}

TEST_P(DriverTest, AClosedSocketIsSilentAndGivesItsBuffersBack)
{
    Pair pair = connected();
    std::string text(BUFFER_LARGE_BYTES, 'x');
    bool stuck = false;

    // A send that waits, a receive with bytes before it, and one for bulk that was just asked for.
    while (!stuck) {
        driver_send(drive(), pair.near, sender, buffer_with(text.data(), text.size()), 0, BUFFER_LARGE_BYTES);
        for (unsigned i = 0; i < 20 && !first().has(MESSAGE_IO_SENT, pair.near); i++)
            turn(millisecond);
        stuck = !first().has(MESSAGE_IO_SENT, pair.near);
        first().take(MESSAGE_IO_SENT, pair.near);
    }
    driver_receive(drive(), pair.near, receiver);
    driver_receive(drive(), pair.far, receiver);
    turn(0);
    first().drop_mail();
    driver_receive_stop(drive(), pair.far);
    driver_receive_into(drive(), pair.far, receiver, buffer_new(first().pool, BUFFER_LARGE_BYTES), 0);
    first().close(pair.near, DRIVER_CLOSE_RESET);
    first().close(pair.far);
    EXPECT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
    EXPECT_TRUE(until([&] { return first().stats().sockets_open == 0; }));
    EXPECT_TRUE(first().mail.empty());
}

TEST_P(DriverTest, ClosesInTheTurnInWhichAllBegan)
{
    Address bound;
    int listening = listen(first(), &bound);

    driver_accept(drive(), listening, acceptor);
    int near = connect(first(), bound);
    first().close(near, DRIVER_CLOSE_RESET);
    first().close(listening);
    EXPECT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
    EXPECT_TRUE(until([&] { return first().stats().sockets_open == 0; }));
    EXPECT_TRUE(first().mail.empty());
}

TEST_P(DriverTest, IsFreedWithSocketsOpen)
{
    connected();
    EXPECT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
    first().open.clear();
    begin(64 << 20);
}

// A socket whose receive waits for a buffer: the pool's are ours until the end.
class StarvedTest : public DriverTest {
protected:
    std::vector<buffer *> taken;
    Pair pair;

    void SetUp() override
    {
        const std::string text(65536, 'x');
        DriverTest::SetUp();
        begin(1 << 20);
        pair = connected();
        driver_receive(drive(), pair.far, receiver);
        turn(0);
        for (buffer *buffer; (buffer = buffer_new(first().pool, BUFFER_SMALL_BYTES)) != nullptr;)
            taken.push_back(buffer);
        driver_send(drive(), pair.near, sender, buffer_with(text.data(), text.size()), 0, text.size());
        for (size_t before = 0, still = 0; still < 20; still = first().mail.size() == before ? still + 1 : 0) {
            before = first().mail.size();
            if (first().take(MESSAGE_IO_SENT, pair.near).type != MESSAGE_NONE)
                driver_send(drive(), pair.near, sender, buffer_with(text.data(), text.size()), 0, text.size());
            turn(millisecond);
        }
        first().close(pair.near, DRIVER_CLOSE_RESET);
        EXPECT_TRUE(until([&] { return first().stats().sockets_open == 1; }));
    }

    void give_back()
    {
        for (buffer *buffer : taken)
            buffer_unref(buffer);
        taken.clear();
    }
};

INSTANTIATE_TEST_SUITE_P(All, StarvedTest,
                         testing::Values(Kind::Uring, Kind::UringOfTheFloor, Kind::UringPlain, Kind::Epoll, Kind::Sim),
                         kind_name);

TEST_P(StarvedTest, IsFreedRightAfterTheClose)
{
    first().close(pair.far);
    EXPECT_EQ(first().stats().operations_in_flight, 0u);
    first().drop_mail();
    give_back();
    begin(64 << 20);
}

TEST_P(StarvedTest, ReleasesTheSocket)
{
    Party &other = add_party();

    driver_receive_stop(drive(), pair.far);
    EXPECT_TRUE(until([&] { return driver_receive_idle(drive(), pair.far); }));
    first().release(pair.far);
    other.adopt(pair.far);
    first().drop_mail();
    give_back();
    turn();
}

// ---- Time and chance -----------------------------------------------------

TEST_P(DriverTest, WaitsUntilTheDeadline)
{
    for (uint64_t wait_ns : {millisecond, 3 * millisecond, 20 * millisecond}) {
        uint64_t deadline_ns = driver_now_ns(drive()) + wait_ns;
        while (driver_now_ns(drive()) < deadline_ns) {
            EXPECT_EQ(driver_turn(drive(), deadline_ns), 0u);
            if (simulated())
                sim_world_advance(world);
        }
        uint64_t late_ns = driver_now_ns(drive()) - deadline_ns;
        EXPECT_LT(late_ns, simulated() ? 1 : 200 * millisecond); // of a busy machine
    }
}

TEST_P(DriverTest, DoesNotWaitWithoutADeadline)
{
    uint64_t begin_ns = driver_now_ns(drive());

    for (unsigned i = 0; i < 100; i++)
        EXPECT_EQ(driver_turn(drive(), 0), 0u);
    EXPECT_LT(driver_now_ns(drive()) - begin_ns, second);
    EXPECT_EQ(first().stats().waits, 0u);
}

TEST_P(DriverTest, HasClocksAndEntropy)
{
    uint8_t one[32] = {0}, two[32] = {0};

    EXPECT_GT(driver_wall_ns(drive()), 1700000000 * second);
    driver_entropy(drive(), one, sizeof(one));
    driver_entropy(drive(), two, sizeof(two));
    EXPECT_NE(memcmp(one, two, sizeof(one)), 0);
}
