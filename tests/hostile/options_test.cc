#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <sstream>

/* The command line of the program: what does not hold is refused with a sentence,
 * and the help says what does. */

namespace {

enum { EXIT_STATUS_USAGE = 2, EXIT_STATUS_IDENTITY = 5, HELP_COLUMNS = 79 };

const std::string somebody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

using Words = std::vector<std::string>;

class Options : public testing::Test
{
protected:
    Directory directory;
    std::string output, errors;

    int run(const Words &arguments, const Process::Setup &setup = Process::Setup())
    {
        Words command = {CHORUS_P2P_PROGRAM};
        command.insert(command.end(), arguments.begin(), arguments.end());
        Process process(command, setup);
        process.close_input();
        int status = process.wait();
        output = process.output();
        errors = process.errors();
        return status;
    }

    /* One line, with all of these in it, and nothing else. */
    void is_refused(const Words &arguments, const Words &wanted, int wanted_status = EXIT_STATUS_USAGE)
    {
        std::string all;
        for (const std::string &word : arguments)
            all += word.substr(0, 60) + " ";
        EXPECT_EQ(run(arguments), wanted_status) << all << "\n" << errors;
        EXPECT_EQ(output, "") << all;
        EXPECT_EQ(errors.find('\n'), errors.size() - 1) << all << "\n" << errors;
        for (const std::string &word : wanted)
            EXPECT_NE(errors.find(word), std::string::npos) << all << "\n" << errors;
    }
};

/* What is no UTF-8 (an overlong slash, half a surrogate pair, beyond the last
 * character) or controls a terminal is shown in ASCII, and all else as it is. */
TEST_F(Options, AreQuotedForATerminal)
{
    is_refused({"key", "convert", "a\xff\x1b[1m\xc2\x9b\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82"},
               {"'a\\xff\\x1b[1m\\xc2\\x9b\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xe2\\x82'"});
    is_refused({"key", "convert", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"}, {"'\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80'"});
}

TEST_F(Options, AreRefusedWithASentence)
{
    const struct { std::string option, value; Words wanted; } cases[] = {
        {"--network-id", std::string(5000, 'x'), {"xxxxxxxxxx", "too long"}},
        {"--network-id", "a\nb", {"a\\x0ab", "control"}},
        {"--network-id", "bad\xff", {"bad", "UTF-8"}},
        {"--listen", "nowhere", {"nowhere"}},
        {"--listen", "", {"/ip4/ADDRESS/tcp/PORT"}},
        {"--workers", "65", {"65", "0 to 64"}},
        {"--max-connections", "-1", {"-1"}},
        {"--status-interval", "soon", {"soon", "seconds"}},
        {"--log-level", "loud", {"loud", "error, warn, info, debug or trace"}},
        {"--log-format", "xml", {"xml", "text or json"}},
    };
    for (const auto &each : cases) {
        is_refused({"run", "--data-dir", directory.path, each.option, each.value}, {each.option});
        is_refused({"run", "--data-dir", directory.path, each.option, each.value}, each.wanted);
    }
    std::string twice = "/ip4/127.0.0.1/tcp/7";
    is_refused({"run", "--data-dir", directory.path, "--listen", twice, "--listen", twice}, {"--listen", twice, "once"});
    Words many = {"run", "--data-dir", directory.path};
    for (int i = 1; i <= 17; i++)
        many.insert(many.end(), {"--listen", "/ip4/127.0.0.1/tcp/" + std::to_string(i)});
    is_refused(many, {"--listen", "/tcp/17", "16"});
}

TEST_F(Options, OfClientsAreRefusedWithASentence)
{
    is_refused({"ping", somebody, "-n", "0"}, {"--count", "'0'", "1 to 1000000"});
    for (const char *value : {"0", "-1", "1e3", "inf", "86401", "1.2.3", ".", "10s"})
        is_refused({"ping", somebody, "--timeout", value}, {"--timeout", value, "0.5"});
    for (const char *value : {"1K", "10X", "-1", "", "9223372036854775808", "9223372037G"})
        is_refused({"echo", somebody, "--bytes", value}, {"--bytes", value, "k, M or G", "Ki, Mi or Gi"});
    is_refused({"ping"}, {"ping needs ADDR"});
    is_refused({"ping", somebody, "more"}, {"'more'", "one argument too many"});
}

TEST_F(Options, OfKeysAreRefusedWithASentence)
{
    std::string path = directory.path + "/key";
    is_refused({"key", "generate", "--out", path, "--bits", "99999"}, {"--bits", "2048 to 8192"});
    is_refused({"key", "generate", "--out", path, "--bits", "2050", "--type", "rsa"}, {"--bits", "2050", "multiple of 8"});
    is_refused({"key", "generate", "--out", path, "--bits", "2048"}, {"--bits", "RSA"});
    is_refused({"key", "generate", "--out", path, "--type", "dsa"}, {"--type", "dsa", "ed25519"});
    is_refused({"key", "generate", path}, {path, "help key generate"});
    is_refused({"key", "generate"}, {"--out FILE"});
    is_refused({"key"}, {"key", "help key"});
    is_refused({"key", "bogus"}, {"'bogus'", "help key"});
    is_refused({"key", "convert", "bogus"}, {"'bogus'", "12D3Koo"});
    is_refused({"key", "show", path}, {path, "no key file"}, EXIT_STATUS_IDENTITY);
    is_refused({"key", "show", directory.path}, {directory.path, "not a plain file"}, EXIT_STATUS_IDENTITY);
    ASSERT_EQ(run({"key", "generate", "--out", path}), 0) << errors;
    is_refused({"key", "generate", "--out", path}, {"--out", path, "exists already"}, EXIT_STATUS_IDENTITY);
}

/* Taken silently they would make somebody believe in them. */
TEST_F(Options, ThatAreNotForACommandAreRefused)
{
    const struct { Words arguments; std::string option, taker; } cases[] = {
        {{"id", "--type", "rsa"}, "--type", "key generate"},
        {{"run", "--bytes", "5"}, "--bytes", "echo"},
        {{"run", "--json"}, "--json", "ping"},
        {{"--json"}, "--json", "ping"},
        {{"ping", somebody, "--download", "1"}, "--download", "perf"},
        {{"ping", somebody, "--max-connections", "1"}, "--max-connections", "run"},
        {{"--out", "file", "key", "show", "file"}, "--out", "key generate"},
        {{"version", "--cid"}, "--cid", "key show"},
    };
    for (const auto &each : cases)
        is_refused(each.arguments, {"does not take " + each.option, each.taker});
}

TEST_F(Options, OfAKeyAskForItsIdAsACid)
{
    std::string path = directory.path + "/key";
    ASSERT_EQ(run({"key", "generate", "--out", path, "--cid"}), 0) << errors;
    std::string cid = output;
    EXPECT_EQ(cid.substr(0, 4), "bafz") << cid;
    ASSERT_EQ(run({"key", "show", path, "--cid"}), 0) << errors;
    EXPECT_NE(output.find("id   " + cid), std::string::npos) << output;
}

TEST_F(Options, ADriverThatIsNoneIsNamed)
{
    EXPECT_EQ(run({"run", "--data-dir", directory.path}, {{"CHORUS_P2P_DRIVER=kqueue"}, nullptr}), EXIT_STATUS_USAGE);
    for (const char *words : {"CHORUS_P2P_DRIVER", "kqueue", "uring", "epoll"})
        EXPECT_NE(errors.find(words), std::string::npos) << errors;
}

TEST_F(Options, UnknownOnesAndCommandsAreRefused)
{
    is_refused({"bogus"}, {"'bogus'", "--help"});
    is_refused({"help", "bogus"}, {"'bogus'", "--help"});
    is_refused({"help", "key", "bogus"}, {"'key bogus'", "--help"});
    EXPECT_EQ(run({"--bogus"}), EXIT_STATUS_USAGE);
    EXPECT_NE(errors.find("--bogus"), std::string::npos) << errors;
}

TEST_F(Options, HelpExplainsEachCommandAndFitsATerminal)
{
    ASSERT_EQ(run({"--help"}), 0) << errors;
    std::string all = output;
    for (const char *other : {"help", "--usage", "-?"}) {
        EXPECT_EQ(run({other}), 0) << errors;
        EXPECT_EQ(output, all) << other;
    }
    std::istringstream lines(all);
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), HELP_COLUMNS) << line;
        EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
    }
    for (const Words &command : std::vector<Words>{{"run"}, {"id"}, {"key", "generate"}, {"key", "show"},
                                                   {"key", "convert"}, {"ping"}, {"identify"}, {"perf"}, {"echo"},
                                                   {"version"}, {"help"}}) {
        Words about = {"help"}, with_option = command;
        about.insert(about.end(), command.begin(), command.end());
        with_option.push_back("--help");
        EXPECT_EQ(run(with_option), 0) << errors;
        std::string told = output;
        EXPECT_EQ(told.find("chorus-p2p " + command[0]), 0u) << told;
        EXPECT_EQ(run(about), 0) << errors;
        EXPECT_EQ(output, told);
    }
    ASSERT_EQ(run({"ping", "--help"}), 0);
    EXPECT_NE(output.find("--count"), std::string::npos) << output;
    EXPECT_EQ(output.find("--listen"), std::string::npos) << output;
    ASSERT_EQ(run({"key", "--help"}), 0);
    EXPECT_NE(output.find("key convert"), std::string::npos) << output;
}

TEST_F(Options, TheVersionIsToldInAnyWay)
{
    ASSERT_EQ(run({"version"}), 0);
    std::string version = output;
    EXPECT_EQ(version.find("chorus-p2p "), 0u) << version;
    for (const char *other : {"--version", "-V"}) {
        EXPECT_EQ(run({other}), 0) << errors;
        EXPECT_EQ(output, version);
    }
}

TEST_F(Options, OfTheLogHoldForClientsToo)
{
    auto victim = Victim::program(Driver::EPOLL, {"--insecure-plaintext"});
    ASSERT_TRUE(victim);
    auto ping = [&](const Words &more) {
        Words arguments = {"ping", victim->address, "-n", "1", "--insecure-plaintext"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        EXPECT_EQ(run(arguments), 0) << errors;
    };
    ping({});
    EXPECT_NE(errors.find("WARN security_off"), std::string::npos) << errors;
    EXPECT_EQ(errors.find("INFO"), std::string::npos) << errors;
    ping({"--log-level", "error"});
    EXPECT_EQ(errors, "");
    ping({"--log-level", "info"});
    EXPECT_NE(errors.find("INFO node_started"), std::string::npos) << errors;
    EXPECT_EQ(errors.find("DEBUG"), std::string::npos) << errors;
    ping({"--log-level", "debug", "--log-format", "json"});
    EXPECT_NE(errors.find("\"level\":\"debug\""), std::string::npos) << errors;
}

TEST_F(Options, TheStatusLineComesAsOftenAsAsked)
{
    auto often = Victim::program(Driver::EPOLL, {"--status-interval", "0.02"});
    ASSERT_TRUE(often);
    EXPECT_TRUE(often->process->says("node_status")) << often->process->errors();
}

} // namespace
