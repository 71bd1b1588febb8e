#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <csignal>
#include <fcntl.h>
#include <functional>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* The commands of the program when somebody interrupts them, when nobody takes
 * what they print, and when the peer is not what it should be. */

namespace {

enum { EXIT_STATUS_FAILED = 1, EXIT_STATUS_UNREACHABLE = 3, EXIT_STATUS_INTERRUPTED = 130 };

const std::string stranger = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

bool port_is_open(uint16_t port)
{
    struct sockaddr_in address = {};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    bool open = connect(descriptor, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) == 0;
    close(descriptor);
    return open;
}

/* ---- interrupted ---- */

class Interrupted : public testing::TestWithParam<int>
{
protected:
    std::unique_ptr<Victim> victim = Victim::node(Driver::EPOLL);

    /* The command is interrupted when the victim has counted so many more. */
    void ends_in_order(const std::vector<std::string> &arguments, const std::string &counter, int64_t value)
    {
        Inventory inventory(*victim);
        value += victim->counter(counter);
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
        output = process.output();
        inventory.settles();
    }

    bool tells(const std::string &words) const { return output.find(words) != std::string::npos; }

    std::string output;
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
    ends_in_order({"ping", victim->address, "-n", "1000000"}, "streams_in", 2);
    EXPECT_TRUE(tells(" answered, 0 lost: ")) << output;
    ends_in_order({"ping", victim->address, "-n", "1000000", "--json"}, "streams_in", 2);
    EXPECT_TRUE(tells("\"p99_us\":") && tells("\"error\":\"interrupted\"}\n")) << output;
}

TEST_P(Interrupted, ATransferEndsInOrder)
{
    ASSERT_TRUE(victim);
    ends_in_order({"perf", victim->address, "--upload", "1000G", "--download", "0"}, "bytes_in", 1000000);
    EXPECT_TRUE(tells("upload   ") && tells("download 0 bytes in 0.0")) << output;
    ends_in_order({"perf", victim->address, "--upload", "0", "--download", "1000G", "--json"}, "bytes_out", 1000000);
    EXPECT_TRUE(tells("\"downloadBytes\":") && tells("\"error\":\"interrupted\"}\n")) << output;
    EXPECT_FALSE(tells("\"downloadBytes\":0,")) << output;
}

TEST_P(Interrupted, AnEchoThatWaitsForItsInputEndsInOrder)
{
    ASSERT_TRUE(victim);
    ends_in_order({"echo", victim->address}, "streams_in", 2); /* the other is identify's */
    EXPECT_EQ(output, "");
}

TEST_P(Interrupted, AnEchoTellsWhatCameBack)
{
    ASSERT_TRUE(victim);
    ends_in_order({"echo", victim->address, "--bytes", "1000G", "--json"}, "bytes_out", 10000000);
    EXPECT_TRUE(tells("{\"bytes\":") && tells("\"error\":\"interrupted\"}\n")) << output;
}

/* Its log is not read: it waits for that a second, and the second signal does not. */
TEST_P(Interrupted, ANodeEndsAtOnceTheSecondTime)
{
    int stuck[2], status = 0;
    ASSERT_EQ(pipe2(stuck, O_CLOEXEC | O_NONBLOCK), 0);
    while (write(stuck[1], "x", 1) == 1)
        ;
    fcntl(stuck[1], F_SETFL, 0);
    Process::Setup setup;
    setup.err = stuck[1];
    for (int i = 0; i < 10 && status == 0; i++) { /* 0: the second one came too late */
        auto node = Victim::program(Driver::EPOLL, {}, setup);
        ASSERT_TRUE(node);
        node->process->signal(GetParam());
        for (int64_t deadline_ms = now_ms() + PATIENCE_MS; port_is_open(node->port) && now_ms() < deadline_ms;)
            poll(nullptr, 0, 2);
        node->process->signal(GetParam());
        status = node->process->wait();
    }
    EXPECT_EQ(status, EXIT_STATUS_INTERRUPTED);
    close(stuck[0]);
    close(stuck[1]);
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
             {"perf", victim->address, "--upload", "1", "--download", "1"}, {"echo", victim->address},
             {"echo", victim->address, "--bytes", "1"}, {"echo", victim->address, "--bytes", "1", "--json"},
             {"run", "--data-dir", home.path, "--listen", "/ip4/127.0.0.1/tcp/0", "--log-level", "error"}}) {
        std::vector<std::string> command = {CHORUS_P2P_PROGRAM};
        command.insert(command.end(), arguments.begin(), arguments.end());
        Process::Setup setup;
        lose(setup);
        Process process(command, setup);
        if (setup.out >= 0)
            close(setup.out);
        if (arguments[0] == "echo" && arguments.size() == 2)
            process.write("hi\n");
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

/* ---- peers ---- */

/* A command that is under way with a peer of its own. */
class Peer : public testing::Test
{
protected:
    std::unique_ptr<Victim> victim = Victim::node(Driver::EPOLL);
    std::unique_ptr<Process> process;

    void begin(std::vector<std::string> arguments)
    {
        arguments.insert(arguments.begin(), CHORUS_P2P_PROGRAM);
        process = std::make_unique<Process>(arguments);
    }

    bool counts_up_to(const std::string &counter, int64_t value)
    {
        for (int64_t deadline_ms = now_ms() + PATIENCE_MS; victim->counter(counter) < value; poll(nullptr, 0, 2)) {
            if (now_ms() > deadline_ms)
                return false;
        }
        return true;
    }

    void ends(int status, const std::vector<std::string> &words)
    {
        EXPECT_EQ(process->wait(), status) << process->errors();
        for (const std::string &word : words)
            EXPECT_NE(process->errors().find(word), std::string::npos) << word << ": " << process->errors();
    }
};

TEST_F(Peer, ThatAcceptsAndSaysNothingIsNoConnection)
{
    uint16_t port;
    int listening = listen_somewhere(&port);
    ASSERT_GE(listening, 0);
    std::string address = "/ip4/127.0.0.1/tcp/" + std::to_string(port) + stranger;
    for (const char *command : {"ping", "identify", "perf", "echo"}) {
        begin({command, address, "--timeout", "0.05"});
        ends(EXIT_STATUS_UNREACHABLE, {address, "no answer in time"});
    }
    close(listening);
}

TEST_F(Peer, ThatIsStoppedIsNoConnection)
{
    ASSERT_TRUE(victim);
    victim->process->signal(SIGSTOP);
    begin({"ping", victim->address, "--timeout", "0.05"});
    ends(EXIT_STATUS_UNREACHABLE, {"no answer in time"});
    victim->process->signal(SIGCONT);
}

TEST_F(Peer, ThatDoesNotAnswerInTimeIsToldWithTheRemedy)
{
    ASSERT_TRUE(victim);
    begin({"echo", victim->address, "--timeout", "0.5"});
    ASSERT_TRUE(counts_up_to("streams_in", 2));
    victim->process->signal(SIGSTOP);
    ASSERT_TRUE(process->write("anybody there?\n"));
    ends(EXIT_STATUS_FAILED, {victim->address, "did not answer", "--timeout"});
    EXPECT_EQ(process->output(), "");
    victim->process->signal(SIGCONT);
}

TEST_F(Peer, ThatIsKilledIsNotSaidToHaveClosedInOrder)
{
    ASSERT_TRUE(victim);
    begin({"ping", victim->address, "-n", "1000000"});
    ASSERT_TRUE(counts_up_to("streams_in", 2));
    victim->process->signal(SIGKILL);
    ends(EXIT_STATUS_UNREACHABLE, {victim->address, "its program ended"});
    EXPECT_EQ(process->errors().find("in order"), std::string::npos) << process->errors();
}

/* What stands in the way is not the limit of connections. */
TEST_F(Peer, ThatNoDescriptorIsLeftForIsToldSo)
{
    ASSERT_TRUE(victim);
    int refused = 0, status = -1;
    for (rlim_t files = 3; files < 40 && status != 0; files++) {
        Process::Setup setup;
        setup.in_child = [=] {
            struct rlimit limit = {files, files};
            setrlimit(RLIMIT_NOFILE, &limit);
        };
        setup.environment = {"LD_BIND_NOW=1"};
        Process ping({CHORUS_P2P_PROGRAM, "ping", victim->address, "-n", "1"}, setup);
        status = ping.wait();
        if (status == 127)
            continue; /* its libraries could not be opened */
        refused += status != 0;
        EXPECT_TRUE(status == 0 || ping.errors().find("open files") != std::string::npos)
            << files << ": " << ping.errors();
    }
    EXPECT_EQ(status, 0);
    EXPECT_GT(refused, 0);
}

/* ---- echo by hand ---- */

TEST_F(Peer, EchoesEachLineAsItComes)
{
    ASSERT_TRUE(victim);
    begin({"echo", victim->address});
    for (const char *line : {"one", "two", "three"}) {
        ASSERT_TRUE(process->write(line + std::string("\n")));
        EXPECT_EQ(process->line(), line);
    }
    process->close_input();
    ends(0, {});
}

/* The time-out is the peer's. */
TEST_F(Peer, WaitsForWhoTypesAsLongAsItTakes)
{
    ASSERT_TRUE(victim);
    begin({"echo", victim->address, "--timeout", "2"});
    ASSERT_TRUE(process->write("one\n"));
    EXPECT_EQ(process->line(), "one");
    EXPECT_EQ(process->wait(2500), -1) << process->errors(); /* still there */
    ASSERT_TRUE(process->write("two\n"));
    EXPECT_EQ(process->line(), "two");
    process->close_input();
    ends(0, {});
}

TEST_F(Peer, EchoesWhatIsMadeUp)
{
    ASSERT_TRUE(victim);
    for (const char *bytes : {"0", "1", "262145", "3M"}) {
        begin({"echo", victim->address, "--bytes", bytes});
        ends(0, {});
        EXPECT_NE(process->output().find(" bytes came back unchanged in "), std::string::npos);
    }
}

/* ---- figures ---- */

double figure(const std::string &json, const std::string &name)
{
    size_t at = json.find("\"" + name + "\":");
    return at == std::string::npos ? -1 : std::stod(json.substr(at + name.size() + 3));
}

/* The clock began after the first piece had come, which here is all of it. */
TEST_F(Peer, GivesNoMoreThanAMachineCan)
{
    ASSERT_TRUE(victim);
    for (int i = 0; i < 5; i++) {
        begin({"perf", victim->address, "--upload", "100k", "--download", "100k", "--json"});
        ends(0, {});
        std::string json = process->output();
        EXPECT_EQ(figure(json, "downloadBytes"), 100000) << json;
        EXPECT_GT(figure(json, "downloadMBps"), 0) << json;
        EXPECT_LT(figure(json, "downloadMBps"), 20000) << json;
        EXPECT_LT(figure(json, "uploadMBps"), 20000) << json;
    }
}

/* By nearest rank: of few pings the 99th percentile is the longest. */
TEST_F(Peer, GivesThePercentilesOfPings)
{
    ASSERT_TRUE(victim);
    begin({"ping", victim->address, "-n", "3", "--json"});
    ends(0, {});
    std::string json = process->output();
    EXPECT_EQ(figure(json, "count"), 3) << json;
    EXPECT_EQ(figure(json, "p99_us"), figure(json, "max_us")) << json;
    EXPECT_GE(figure(json, "p50_us"), figure(json, "min_us")) << json;
    EXPECT_LE(figure(json, "p50_us"), figure(json, "max_us")) << json;
}

} // namespace
