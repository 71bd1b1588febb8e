#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

extern "C" {
#include "bench/bench.h"
#include "bench/dial.h"
}

namespace {

/* Listens on loopback; without IPv6 on this machine `port` is "". */
struct Listener {
    int fd;
    std::string port;

    explicit Listener(int family, int backlog = 8) : fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in four = {};
        sockaddr_in6 six = {};
        four.sin_family = AF_INET;
        four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        six.sin6_family = AF_INET6;
        six.sin6_addr = in6addr_loopback;
        sockaddr *address = family == AF_INET ? reinterpret_cast<sockaddr *>(&four)
                                              : reinterpret_cast<sockaddr *>(&six);
        socklen_t length = family == AF_INET ? sizeof(four) : sizeof(six);
        if (bind(fd, address, length) == 0 && listen(fd, backlog) == 0 && getsockname(fd, address, &length) == 0)
            port = std::to_string(ntohs(family == AF_INET ? four.sin_port : six.sin6_port));
    }
    ~Listener() { close(fd); }
    Listener(const Listener &) = delete;
    Listener &operator=(const Listener &) = delete;
};

/* Whether it connects. */
bool reaches(const std::string &address, const char *otherwise = nullptr, double seconds = 30)
{
    const char *reason = nullptr;
    int fd = dial_tcp(address.c_str(), otherwise, bench_now_s() + seconds, &reason);

    if (fd < 0) {
        EXPECT_NE(*reason, '\0') << "it says why";
        return false;
    }
    close(fd);
    return true;
}

TEST(Dial, ReachesHostsAndPorts)
{
    Listener four(AF_INET);

    EXPECT_TRUE(reaches("127.0.0.1:" + four.port));
    EXPECT_TRUE(reaches("localhost:" + four.port)) << "whichever of its addresses comes first";
    EXPECT_TRUE(reaches("127.0.0.1", four.port.c_str()));
    EXPECT_TRUE(reaches("127.0.0.1:" + four.port, "1"));
}

TEST(Dial, ReachesAddressesWithColons)
{
    Listener six(AF_INET6);

    if (six.port.empty())
        GTEST_SKIP() << "no IPv6 here";
    EXPECT_TRUE(reaches("[::1]:" + six.port));
    EXPECT_TRUE(reaches("[::1]", six.port.c_str()));
    EXPECT_TRUE(reaches("::1", six.port.c_str()));
}

TEST(Dial, RefusesWhatIsNoHostAndPort)
{
    for (const char *wrong : {"", "nonsense", ":80", "a:", "[::1", "[::1]80", "::1", "[]:80"})
        EXPECT_FALSE(reaches(wrong)) << wrong;
    EXPECT_FALSE(reaches("127.0.0.1:no-port"));
}

TEST(Dial, SaysThatNobodyIsThere)
{
    std::string port = Listener(AF_INET).port;

    EXPECT_FALSE(reaches("127.0.0.1:" + port));
}

TEST(Dial, WaitsForWhatIsReadyThoughItIsLate)
{
    int ends[2];

    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EXPECT_FALSE(dial_wait(ends[0], POLLIN, bench_now_s() - 1));
    EXPECT_FALSE(dial_wait(ends[0], POLLIN, bench_now_s() + 0.01));
    EXPECT_EQ(write(ends[1], "a", 1), 1);
    EXPECT_TRUE(dial_wait(ends[0], POLLIN, bench_now_s() - 1)) << "it came before we looked";
    close(ends[0]);
    close(ends[1]);
}

/* A listener whose backlog is full answers nobody. */
TEST(Dial, GivesUpInTime)
{
    Listener full(AF_INET, 0);
    std::vector<int> waiting;
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(full.port)));

    for (int i = 0; i < 8; i++) {
        waiting.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        connect(waiting.back(), reinterpret_cast<sockaddr *>(&address), sizeof(address));
    }
    EXPECT_FALSE(reaches("127.0.0.1:" + full.port, nullptr, 0.1));
    for (int fd : waiting)
        close(fd);
}

} // namespace
