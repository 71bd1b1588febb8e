#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The commands of the program when somebody interrupts them, when nobody takes
 * what they print, and when an option makes no sense. */

namespace {

enum { EXIT_STATUS_FAILED = 1, EXIT_STATUS_USAGE = 2, EXIT_STATUS_INTERRUPTED = 130 };

const std::string stranger = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/* ---- interrupted ---- */

class Interrupted : public testing::TestWithParam<int>
{
protected:
    std::unique_ptr<Victim> victim = Victim::node(Driver::EPOLL);

    /* The command is interrupted when the victim counts that many. */
    void ends_in_order(const std::vector<std::string> &arguments, const std::string &counter, int64_t value)
    {
        Inventory inventory(*victim);
        std::vector<std::string> command = {CHORUS_P2P_PROGRAM};
        command.insert(command.end(), arguments.begin(), arguments.end());
        Process process(command);
        for (int64_t deadline_ms = now_ms() + PATIENCE_MS; victim->counter(counter) < value;) {
            ASSERT_LT(now_ms(), deadline_ms) << process.errors();
            poll(nullptr, 0, 2);
        }
        process.signal(GetParam());
        EXPECT_EQ(process.wait(), EXIT_STATUS_INTERRUPTED) << process.errors();
        EXPECT_NE(process.errors().find("interrupted"), std::string::npos) << process.errors();
        inventory.settles();
    }
};

INSTANTIATE_TEST_SUITE_P(Program, Interrupted, testing::Values(SIGINT, SIGTERM),
                         [](const testing::TestParamInfo<int> &it) { return it.param == SIGINT ? "Int" : "Term"; });

/* A peer that accepts and says nothing keeps the dial under way. */
TEST_P(Interrupted, ADialEndsInOrder)
{
    uint16_t port;
    int listening = listen_somewhere(&port);
    ASSERT_GE(listening, 0);
    Process process({CHORUS_P2P_PROGRAM, "ping", "/ip4/127.0.0.1/tcp/" + std::to_string(port) + stranger});
    struct pollfd wait = {listening, POLLIN, 0};
    EXPECT_EQ(poll(&wait, 1, PATIENCE_MS), 1);
    int accepted = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    EXPECT_GE(accepted, 0);
    process.signal(GetParam());
    EXPECT_EQ(process.wait(), EXIT_STATUS_INTERRUPTED) << process.errors();
    close(accepted);
    close(listening);
}

TEST_P(Interrupted, PingsEndInOrder)
{
    ASSERT_TRUE(victim);
    ends_in_order({"ping", victim->address, "-n", "1000000000"}, "connections", 1);
}

TEST_P(Interrupted, ATransferEndsInOrder)
{
    ASSERT_TRUE(victim);
    ends_in_order({"perf", victim->address, "--upload", "1000G", "--download", "0"}, "bytes_in", 1000000);
}

TEST_P(Interrupted, AnEchoThatWaitsForItsInputEndsInOrder)
{
    ASSERT_TRUE(victim);
    ends_in_order({"echo", victim->address}, "streams_in", 2); /* the other is identify's */
}

/* ---- what nobody takes ---- */

TEST(Output, ThatIsLostIsAnError)
{
    auto victim = Victim::node(Driver::EPOLL);
    ASSERT_TRUE(victim);
    for (const std::vector<std::string> &arguments : std::vector<std::vector<std::string>>{
             {"version"}, {"version", "--json"}, {"ping", victim->address, "-n", "1"},
             {"ping", victim->address, "-n", "1", "--json"}, {"identify", victim->address},
             {"echo", victim->address, "--bytes", "1"}}) {
        std::vector<std::string> command = {CHORUS_P2P_PROGRAM};
        command.insert(command.end(), arguments.begin(), arguments.end());
        Process::Setup setup;
        setup.out = open("/dev/full", O_WRONLY | O_CLOEXEC);
        ASSERT_GE(setup.out, 0);
        Process process(command, setup);
        close(setup.out);
        EXPECT_EQ(process.wait(), EXIT_STATUS_FAILED) << arguments[0] << process.errors();
        EXPECT_NE(process.errors().find("standard output"), std::string::npos) << process.errors();
    }
}

TEST(Input, ThatCannotBeReadIsAnError)
{
    auto victim = Victim::node(Driver::EPOLL);
    ASSERT_TRUE(victim);
    Process::Setup setup;
    setup.in_child = [] { dup2(open("/", O_RDONLY | O_CLOEXEC), STDIN_FILENO); };
    Process process({CHORUS_P2P_PROGRAM, "echo", victim->address}, setup);
    EXPECT_EQ(process.wait(), EXIT_STATUS_FAILED);
    EXPECT_NE(process.errors().find("standard input"), std::string::npos) << process.errors();
}

/* ---- options that make no sense ---- */

TEST(Options, AreRefusedWithASentence)
{
    Directory directory;
    for (const auto &[option, value] : std::vector<std::pair<std::string, std::string>>{
             {"--network-id", std::string(5000, 'x')}, {"--network-id", "a\nb"}, {"--listen", "nowhere"},
             {"--workers", "65"}, {"--log-level", "loud"}}) {
        Process process({CHORUS_P2P_PROGRAM, "run", "--data-dir", directory.path, option, value});
        EXPECT_EQ(process.wait(), EXIT_STATUS_USAGE) << option;
        EXPECT_NE(process.errors().find(option), std::string::npos) << option << ": " << process.errors();
        EXPECT_NE(process.errors().find(value.substr(0, 10)), std::string::npos) << process.errors();
    }
}

TEST(Options, ADriverThatIsNoneIsNamed)
{
    Directory directory;
    Process process({CHORUS_P2P_PROGRAM, "run", "--data-dir", directory.path}, {{"CHORUS_P2P_DRIVER=kqueue"}, nullptr});
    EXPECT_EQ(process.wait(), EXIT_STATUS_USAGE);
    for (const char *words : {"CHORUS_P2P_DRIVER", "kqueue", "uring", "epoll"})
        EXPECT_NE(process.errors().find(words), std::string::npos) << process.errors();
}

} // namespace
