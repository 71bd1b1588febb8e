// What the tests of the drivers share: drivers without workers, whose messages are kept in a list.

#ifndef TESTS_DRIVER_SUPPORT_H
#define TESTS_DRIVER_SUPPORT_H

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

extern "C" {
#include "runtime/buffer.h"
#include "runtime/driver_inner.h"
#include "runtime/driver_sim.h"
}

enum class Kind { Uring, UringOfTheFloor, UringPlain, Epoll, Sim };

inline std::string kind_name(const testing::TestParamInfo<Kind> &info)
{
    static const char *const names[] = {"Uring", "UringOfTheFloor", "UringPlain", "Epoll", "Sim"};
    return names[static_cast<int>(info.param)];
}

constexpr uint64_t millisecond = 1000000;
constexpr uint64_t second = 1000 * millisecond;

struct Address {
    sockaddr_storage storage{};

    const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&storage); }
    socklen_t length() const
    {
        return storage.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    }
    uint16_t port() const
    {
        if (storage.ss_family == AF_INET6)
            return ntohs(reinterpret_cast<const sockaddr_in6 *>(&storage)->sin6_port);
        return ntohs(reinterpret_cast<const sockaddr_in *>(&storage)->sin_port);
    }

    static Address of(const char *text, uint16_t port)
    {
        Address address;
        if (strchr(text, ':')) {
            auto *in6 = reinterpret_cast<sockaddr_in6 *>(&address.storage);
            in6->sin6_family = AF_INET6;
            in6->sin6_port = htons(port);
            inet_pton(AF_INET6, text, &in6->sin6_addr);
        } else {
            auto *in = reinterpret_cast<sockaddr_in *>(&address.storage);
            in->sin_family = AF_INET;
            in->sin_port = htons(port);
            inet_pton(AF_INET, text, &in->sin_addr);
        }
        return address;
    }
};

// A driver with its pool and mail.
struct Party {
    buffer_pool *pool;
    driver *drive = nullptr;
    std::deque<message> mail;
    std::set<int> open; // sockets the test has not closed

    Party(Kind kind, sim_world *world, uint64_t pool_bytes)
    {
        int error = 0;
        auto *worker = reinterpret_cast<struct worker *>(this);

        pool = buffer_pool_new(pool_bytes);
        switch (kind) {
        case Kind::Uring:
            drive = driver_uring_new(worker, pool, &error);
            break;
        case Kind::UringOfTheFloor:
            drive = driver_uring_new_with(worker, pool, URING_ALL & ~URING_MSG_WAKE, &error);
            break;
        case Kind::UringPlain:
            drive = driver_uring_new_with(worker, pool, 0, &error);
            break;
        case Kind::Epoll:
            drive = driver_epoll_new(worker, pool, &error);
            break;
        case Kind::Sim:
            drive = driver_sim_new(worker, pool, world, &error);
            break;
        }
        if (drive != nullptr)
            drive->deliver = deliver;
    }

    ~Party()
    {
        drop_mail();
        driver_free(drive);
        buffer_pool_free(pool); // asserts that all buffers came home
    }

    static void deliver(struct worker *worker, struct message *message)
    {
        auto *party = reinterpret_cast<Party *>(worker);
        if (message->type == MESSAGE_IO_ACCEPTED && message->body.i64[0] >= 0)
            party->open.insert(static_cast<int>(message->body.i64[0]));
        party->mail.push_back(*message);
    }

    void drop_mail()
    {
        for (message &message : mail)
            buffer_unref(message.buffer);
        mail.clear();
    }

    // The oldest message that fits, taken out; type MESSAGE_NONE: there is none.
    message take(message_type type, int socket)
    {
        for (auto i = mail.begin(); i != mail.end(); ++i) {
            if (i->type != type || i->body.i64[1] != socket)
                continue;
            message found = *i;
            mail.erase(i);
            return found;
        }
        return message{};
    }

    bool has(message_type type, int socket) const
    {
        for (const message &message : mail)
            if (message.type == type && message.body.i64[1] == socket)
                return true;
        return false;
    }

    driver_stats stats() const
    {
        driver_stats stats;
        driver_stats_read(drive, &stats);
        return stats;
    }

    void close(int socket, driver_close_how how = DRIVER_CLOSE_ORDERLY)
    {
        open.erase(socket);
        driver_close_socket(drive, socket, how);
    }

    void release(int socket)
    {
        open.erase(socket);
        driver_release(drive, socket);
    }

    void adopt(int socket)
    {
        open.insert(socket);
        driver_adopt(drive, socket);
    }
};

struct Pair {
    int near = -1, far = -1;
};

class DriverTest : public testing::TestWithParam<Kind> {
protected:
    static void SetUpTestSuite()
    {
        rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }

    void SetUp() override
    {
        if (simulated())
            world = sim_world_new(seed);
        begin(64 << 20);
    }

    // All closed, nothing in flight, buffers home.
    void TearDown() override
    {
        for (auto &party : parties) {
            while (!party->open.empty())
                party->close(*party->open.begin());
            EXPECT_TRUE(until([&] { return party->stats().operations_in_flight == 0; }));
            EXPECT_TRUE(until([&] { return party->stats().sockets_open == 0; }));
        }
        parties.clear();
        if (world != nullptr)
            sim_world_free(world);
    }

    bool simulated() const { return GetParam() == Kind::Sim; }

    // The first driver anew, with such a pool.
    void begin(uint64_t pool_bytes)
    {
        parties.clear();
        add_party(pool_bytes);
    }

    Party &add_party(uint64_t pool_bytes = 64 << 20)
    {
        parties.push_back(std::make_unique<Party>(GetParam(), world, pool_bytes));
        if (parties.back()->drive == nullptr)
            abort();
        return *parties.back();
    }

    Party &first() { return *parties[0]; }
    driver *drive() { return parties[0]->drive; }

    // Each driver one turn; with two, they wait in slices.
    void turn(uint64_t wait_ns = 5 * millisecond)
    {
        for (auto &party : parties) {
            uint64_t share = parties.size() > 1 && wait_ns > millisecond ? millisecond : wait_ns;
            driver_turn(party->drive, wait_ns == 0 ? 0 : driver_now_ns(party->drive) + share);
        }
        if (world != nullptr)
            sim_world_advance(world);
    }

    // Turns until it holds; false after ten seconds of the drivers' time.
    bool until(const std::function<bool()> &holds)
    {
        uint64_t deadline_ns = driver_now_ns(drive()) + 10 * second;
        while (!holds()) {
            if (driver_now_ns(drive()) > deadline_ns)
                return false;
            turn();
        }
        return true;
    }

    message await(Party &party, message_type type, int socket)
    {
        EXPECT_TRUE(until([&] { return party.has(type, socket); })) << "no message of type " << type;
        return party.take(type, socket);
    }

    int listen(Party &party, Address *bound, unsigned flags = 0, const char *host = "127.0.0.1", uint16_t port = 0)
    {
        Address address = Address::of(host, port);
        int socket = driver_listen(party.drive, address.get(), address.length(), flags, &bound->storage);
        if (socket >= 0)
            party.open.insert(socket);
        return socket;
    }

    int connect(Party &party, const Address &to, actor_ref owner = dialer)
    {
        int socket = driver_connect(party.drive, to.get(), to.length(), owner);
        if (socket >= 0)
            party.open.insert(socket);
        return socket;
    }

    // A connection, both ends of it with the first driver.
    Pair connected()
    {
        Address bound;
        Pair pair;
        int listening = listen(first(), &bound);

        EXPECT_GE(listening, 0);
        driver_accept(drive(), listening, acceptor);
        pair.near = connect(first(), bound);
        EXPECT_EQ(await(first(), MESSAGE_IO_CONNECTED, pair.near).body.i64[0], 0);
        pair.far = static_cast<int>(await(first(), MESSAGE_IO_ACCEPTED, listening).body.i64[0]);
        first().close(listening);
        return pair;
    }

    static buffer *buffer_with(const void *bytes, size_t length)
    {
        buffer *buffer = buffer_new_foreign(static_cast<uint32_t>(length));
        memcpy(buffer->data, bytes, length);
        return buffer;
    }

    // The whole of it, however many sends that takes.  The peer must be read meanwhile, or take it all.
    void send(Party &party, int socket, const std::string &text)
    {
        size_t sent = 0;
        while (sent < text.size()) {
            driver_send(party.drive, socket, sender, buffer_with(text.data(), text.size()),
                        static_cast<uint32_t>(sent), static_cast<uint32_t>(text.size() - sent));
            message message = await(party, MESSAGE_IO_SENT, socket);
            ASSERT_GT(message.body.i64[0], 0);
            sent += static_cast<size_t>(message.body.i64[0]);
        }
    }

    // Takes what has been received on a socket; false: the end or an error came, which is kept in `result`.
    bool drain(Party &party, int socket, std::string *out, int64_t *result)
    {
        while (party.has(MESSAGE_IO_RECEIVED, socket)) {
            message message = party.take(MESSAGE_IO_RECEIVED, socket);
            *result = message.body.i64[0];
            if (*result > 0)
                out->append(reinterpret_cast<char *>(message.buffer->data) + message.offset, message.length);
            buffer_unref(message.buffer);
            if (*result <= 0)
                return false;
        }
        return true;
    }

    std::string receive(Party &party, int socket, size_t length)
    {
        std::string received;
        int64_t result;
        EXPECT_TRUE(until([&] {
            return !drain(party, socket, &received, &result) || received.size() >= length;
        }));
        return received;
    }

    static constexpr actor_ref dialer = {11, 1}, acceptor = {12, 1}, sender = {13, 1}, receiver = {14, 1},
                               watcher = {15, 1};
    uint64_t seed = 1;
    sim_world *world = nullptr;
    std::vector<std::unique_ptr<Party>> parties;
};

// A long text of which any part can be compared.
class Pattern {
public:
    Pattern()
    {
        uint32_t state = 1;
        for (size_t i = 0; i < text.size(); i++) {
            state = state * 1664525 + 1013904223;
            text[i] = i < period ? static_cast<char>(state >> 24) : text[i - period];
        }
    }

    void fill(uint64_t position, uint8_t *out, size_t length) const
    {
        memcpy(out, text.data() + position % period, length);
    }

    bool matches(uint64_t position, const uint8_t *bytes, size_t length) const
    {
        return memcmp(bytes, text.data() + position % period, length) == 0;
    }

private:
    static constexpr size_t period = 65521; // prime: a lost or doubled block of any size shows
    std::vector<char> text = std::vector<char>(period + BUFFER_LARGE_BYTES);
};

#endif
