#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <csignal>
#include <fcntl.h>
#include <functional>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The commands of the program when somebody interrupts them, when nobody takes
 * what they print, and when an option makes no sense. */

namespace {

enum { EXIT_STATUS_FAILED = 1, EXIT_STATUS_INTERRUPTED = 130 };

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
    ends_in_order({"ping", victim->address, "-n", "1000000"}, "connections", 1);
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

/* Every command with its standard output there. */
void all_are_told_of_the_loss(const std::function<void(Process::Setup &)> &lose, const std::string &reason)
{
    auto victim = Victim::node(Driver::EPOLL);
    Directory home;
    std::string key = home.path + "/key", id = stranger.substr(5);
    ASSERT_TRUE(victim);
    ASSERT_EQ(Process({CHORUS_P2P_PROGRAM, "key", "generate", "--out", key}).wait(), 0);
    for (const std::vector<std::string> &arguments : std::vector<std::vector<std::string>>{
             {"version"}, {"version", "--json"}, {"--version"}, {"--help"}, {"help", "ping"},
             {"id", "--data-dir", home.path}, {"key", "show", key}, {"key", "convert", id, "--json"},
             {"ping", victim->address, "-n", "1"}, {"ping", victim->address, "-n", "1", "--json"},
             {"identify", victim->address}, {"identify", victim->address, "--json"},
             {"perf", victim->address, "--upload", "1", "--download", "1"},
             {"echo", victim->address, "--bytes", "1"}, {"echo", victim->address, "--bytes", "1", "--json"},
             {"run", "--data-dir", home.path, "--listen", "/ip4/127.0.0.1/tcp/0", "--log-level", "error"}}) {
        std::vector<std::string> command = {CHORUS_P2P_PROGRAM};
        command.insert(command.end(), arguments.begin(), arguments.end());
        Process::Setup setup;
        lose(setup);
        Process process(command, setup);
        if (setup.out >= 0)
            close(setup.out);
        process.close_input();
        EXPECT_EQ(process.wait(), EXIT_STATUS_FAILED) << arguments[0] << process.errors();
        EXPECT_EQ(process.errors().find("chorus-p2p: standard output: " + reason), 0u) << process.errors();
        EXPECT_EQ(process.errors().find('\n'), process.errors().size() - 1) << process.errors();
    }
}

TEST(Output, ThatIsLostIsAnError)
{
    all_are_told_of_the_loss([](Process::Setup &setup) { setup.out = open("/dev/full", O_WRONLY | O_CLOEXEC); },
                             "No space left on device");
}

/* Nor does a socket become the standard output. */
TEST(Output, ThatWasClosedIsAnError)
{
    all_are_told_of_the_loss([](Process::Setup &setup) { setup.in_child = [] { close(STDOUT_FILENO); }; },
                             "Bad file descriptor");
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

} // namespace
