// What only the kernel's drivers have: wakes, descriptors to poll, watches, socket options.

#include "tests/unit/runtime/driver_support.h"

extern "C" {
#include "runtime/driver_socket.h"
}

#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

class KernelDriverTest : public DriverTest {};

INSTANTIATE_TEST_SUITE_P(All, KernelDriverTest,
                         testing::Values(Kind::Uring, Kind::UringOfTheFloor, Kind::UringPlain, Kind::Epoll),
                         kind_name);

TEST_P(KernelDriverTest, AWakeBeforeTheWaitIsNotLost)
{
    driver_turn(drive(), 0);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t begin_ns = driver_now_ns(drive());
        driver_wake(drive());
        driver_turn(drive(), begin_ns + 10 * second);
        EXPECT_LT(driver_now_ns(drive()) - begin_ns, 5 * second);
    }
}

TEST_P(KernelDriverTest, AWakeBeforeTheFirstTurnIsNotLost)
{
    uint64_t begin_ns = driver_now_ns(drive());

    driver_wake(drive());
    driver_turn(drive(), begin_ns + 10 * second);
    EXPECT_LT(driver_now_ns(drive()) - begin_ns, 5 * second);
}

TEST_P(KernelDriverTest, ManyWakesCostOneSystemCall)
{
    for (unsigned i = 0; i < 100; i++)
        driver_wake(drive());
    EXPECT_EQ(first().stats().wakes, 1u);
    driver_turn(drive(), UINT64_MAX);
    driver_wake(drive());
    EXPECT_EQ(first().stats().wakes, 2u);
}

TEST_P(KernelDriverTest, AnotherThreadEndsEachWait)
{
    constexpr unsigned rounds = 2000;
    std::atomic<unsigned> asked{0}, answered{0};
    uint64_t longest_ns = 0;
    std::thread other([&] {
        for (unsigned i = 1; i <= rounds; i++) {
            asked.store(i, std::memory_order_release);
            driver_wake(drive());
            while (answered.load(std::memory_order_acquire) != i)
                std::this_thread::yield();
        }
    });

    for (unsigned i = 1; i <= rounds; i++) {
        while (asked.load(std::memory_order_acquire) != i) {
            uint64_t begin_ns = driver_now_ns(drive());
            driver_turn(drive(), begin_ns + 10 * second);
            longest_ns = std::max(longest_ns, driver_now_ns(drive()) - begin_ns);
        }
        answered.store(i, std::memory_order_release);
    }
    other.join();
    EXPECT_LT(longest_ns, 5 * second);
}

TEST_P(KernelDriverTest, ItsDescriptorIsReadableWhenItWasWoken)
{
    pollfd poll_ = {driver_descriptor(drive()), POLLIN, 0};
    driver_turn(drive(), 0); // a turn tells when the next is due
    EXPECT_EQ(poll(&poll_, 1, 0), 0);
    driver_wake(drive());
    EXPECT_EQ(poll(&poll_, 1, 10000), 1);
    driver_turn(drive(), UINT64_MAX);
    driver_turn(drive(), 0);
    EXPECT_EQ(poll(&poll_, 1, 0), 0);
}

TEST_P(KernelDriverTest, ItsDescriptorIsReadableWhenBytesCame)
{
    Pair pair = connected();

    driver_receive(drive(), pair.far, receiver);
    while (driver_turn(drive(), 0) > 0)
        continue;
    ASSERT_EQ(::send(pair.near, "x", 1, 0), 1);
    pollfd poll_ = {driver_descriptor(drive()), POLLIN, 0};
    EXPECT_EQ(poll(&poll_, 1, 10000), 1);
    EXPECT_EQ(receive(first(), pair.far, 1), "x");
}

TEST_P(KernelDriverTest, SaysOnceThatDescriptorsHaveRunOut)
{
    Address bound;
    int listening = listen(first(), &bound);
    rlimit before, fewer;
    std::vector<int> all;

    int near = connect(first(), bound);
    EXPECT_EQ(await(first(), MESSAGE_IO_CONNECTED, near).body.i64[0], 0);
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    fewer = before;
    fewer.rlim_cur = 256;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &fewer), 0);
    for (int descriptor; (descriptor = dup(near)) >= 0;)
        all.push_back(descriptor);
    driver_accept(drive(), listening, acceptor);
    EXPECT_EQ(await(first(), MESSAGE_IO_ACCEPTED, listening).body.i64[0], -EMFILE);
    for (unsigned i = 0; i < 10; i++)
        turn(millisecond);
    EXPECT_FALSE(first().has(MESSAGE_IO_ACCEPTED, listening));
    for (int descriptor : all)
        close(descriptor);
    setrlimit(RLIMIT_NOFILE, &before);
    driver_accept(drive(), listening, acceptor);
    EXPECT_GE(await(first(), MESSAGE_IO_ACCEPTED, listening).body.i64[0], 0);
}

TEST_P(KernelDriverTest, WatchesADescriptorOnce)
{
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);

    driver_watch(drive(), ends[0], POLLIN, watcher);
    turn(0);
    EXPECT_TRUE(first().mail.empty());
    ASSERT_EQ(write(ends[1], "x", 1), 1);
    message message = await(first(), MESSAGE_IO_READY, ends[0]);
    EXPECT_EQ(message.body.i64[0], POLLIN);
    EXPECT_TRUE(actor_ref_equal(message.to, watcher));
    turn(millisecond);
    EXPECT_TRUE(first().mail.empty()) << "it is off until watched again";
    driver_watch(drive(), ends[0], POLLIN, watcher);
    await(first(), MESSAGE_IO_READY, ends[0]);
    close(ends[1]);
    close(ends[0]);
}

TEST_P(KernelDriverTest, AnUnwatchedDescriptorIsSilentAndMayBeClosedAtOnce)
{
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);

    driver_watch(drive(), ends[0], POLLIN, watcher);
    turn(0);
    ASSERT_EQ(write(ends[1], "x", 1), 1);
    driver_unwatch(drive(), ends[0]);
    driver_unwatch(drive(), ends[0]);
    close(ends[0]);
    // The number's next owner is another.
    int next = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    driver_watch(drive(), next, POLLOUT, dialer);
    message message = await(first(), MESSAGE_IO_READY, next);
    EXPECT_TRUE(actor_ref_equal(message.to, dialer));
    EXPECT_EQ(message.body.i64[0], POLLOUT);
    EXPECT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
    EXPECT_TRUE(first().mail.empty());
    close(next);
    close(ends[1]);
}

TEST_P(KernelDriverTest, WatchingAgainReplacesEventsAndOwner)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    driver_watch(drive(), event, POLLIN, watcher);
    turn(0);
    driver_watch(drive(), event, POLLIN | POLLOUT, dialer);
    message message = await(first(), MESSAGE_IO_READY, event);
    EXPECT_TRUE(actor_ref_equal(message.to, dialer));
    EXPECT_EQ(message.body.i64[0], POLLOUT);
    EXPECT_TRUE(until([&] { return first().stats().operations_in_flight == 0; }));
    EXPECT_TRUE(first().mail.empty());
    close(event);
}

TEST_P(KernelDriverTest, RefusesMoreWatchesThanItsBound)
{
    std::vector<int> events;

    for (unsigned i = 0; i < DRIVER_WATCHES_MAX + 1; i++) {
        events.push_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        driver_watch(drive(), events.back(), POLLIN, watcher);
    }
    EXPECT_EQ(await(first(), MESSAGE_IO_READY, events.back()).body.i64[0], -ENOSPC);
    for (int event : events) {
        driver_unwatch(drive(), event);
        close(event);
    }
}

TEST(DriverWatches, CompleteAfterAnyNumberOfLives)
{
    auto watches = std::make_unique<driver_watches>();
    watches->records[0].generation = DRIVER_GENERATION_MASK; // of which a completion carries 24 bits
    struct driver_watch *watch = driver_watch_open(watches.get(), 3, POLLIN, {15, 1});
    ASSERT_EQ(watch, watches->records);
    uint32_t said = watch->generation & DRIVER_GENERATION_MASK;
    EXPECT_EQ(driver_watch_at(watches.get(), 0, said), watch);
    EXPECT_EQ(driver_watch_at(watches.get(), 0, said + 1), nullptr);
    driver_watch_close(watches.get(), watch);
    EXPECT_EQ(driver_watch_at(watches.get(), 0, said), nullptr);
}

TEST_P(KernelDriverTest, EachDescriptorIsClosedOnExec)
{
    connected();
    DIR *directory = opendir("/proc/self/fd");
    ASSERT_NE(directory, nullptr);
    for (dirent *entry; (entry = readdir(directory)) != nullptr;) {
        int descriptor = atoi(entry->d_name);
        char target[64] = {0};

        if (descriptor <= 2 || readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1) < 0)
            continue;
        if (strncmp(target, "socket:", 7) == 0 || strncmp(target, "anon_inode:", 11) == 0) {
            EXPECT_TRUE(fcntl(descriptor, F_GETFD) & FD_CLOEXEC) << target;
        }
    }
    closedir(directory);
}

TEST_P(KernelDriverTest, BothEndsHaveTheOptions)
{
    Pair pair = connected();

    for (int socket : {pair.near, pair.far}) {
        int value = 0;
        socklen_t length = sizeof(value);
        ASSERT_EQ(getsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
        EXPECT_EQ(value, 1);
        ASSERT_EQ(getsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &length), 0);
        EXPECT_EQ(value, DRIVER_NOTSENT_LOWAT_BYTES);
        EXPECT_TRUE(fcntl(socket, F_GETFL) & O_NONBLOCK);
    }
}

TEST_P(KernelDriverTest, TellsWhatThePeerHasAcknowledged)
{
    Pair pair = connected();
    uint64_t before = driver_acknowledged(drive(), pair.near);

    driver_receive(drive(), pair.far, receiver);
    send(first(), pair.near, std::string(1000, 'x'));
    receive(first(), pair.far, 1000);
    EXPECT_TRUE(until([&] { return driver_acknowledged(drive(), pair.near) == before + 1000; }));
}

TEST_P(KernelDriverTest, AnIdleTurnCostsNoMoreThanOneSystemCall)
{
    Pair pair = connected();

    driver_receive(drive(), pair.far, receiver);
    while (driver_turn(drive(), 0) > 0)
        continue;
    uint64_t before = first().stats().syscalls;
    for (unsigned i = 0; i < 10; i++)
        driver_turn(drive(), driver_now_ns(drive()) + millisecond / 10);
    EXPECT_LE(first().stats().syscalls - before, 10u);
}
