#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <arpa/inet.h>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <netinet/in.h>
#include <sstream>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the program says when its files, its disk or its port are not what they
 * should be: one sentence with the input, the reason and the remedy, and an exit
 * status of its own. */

namespace {

enum { EXIT_STATUS_FAILED = 1, EXIT_STATUS_IDENTITY = 5, EXIT_STATUS_LISTEN = 6, EXIT_STATUS_IN_USE = 7 };

class Key : public testing::Test
{
protected:
    Directory directory;
    std::string path = directory.path + "/identity.key";
    std::string errors;

    int run(const std::string &data_dir, const Process::Setup &setup = Process::Setup())
    {
        Process process({CHORUS_P2P_PROGRAM, "run", "--listen", "/ip4/127.0.0.1/tcp/0", "--data-dir", data_dir}, setup);
        int status = process.wait();
        errors = process.errors();
        return status;
    }

    void put(const std::string &bytes, mode_t mode = 0600)
    {
        std::ofstream(path, std::ios::binary) << bytes;
        chmod(path.c_str(), mode);
    }

    std::string get()
    {
        std::ostringstream out;
        out << std::ifstream(path, std::ios::binary).rdbuf();
        return out.str();
    }

    bool says(const std::string &words) const { return errors.find(words) != std::string::npos; }
};

TEST_F(Key, IsMadeOnceAndKept)
{
    auto first = Victim::program(Driver::EPOLL, {"--data-dir", directory.path});
    ASSERT_TRUE(first);
    struct stat status;
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(first->stop(), 0);
    auto second = Victim::program(Driver::EPOLL, {"--data-dir", directory.path});
    ASSERT_TRUE(second);
    EXPECT_EQ(second->id, first->id);
    EXPECT_EQ(second->stop(), 0);
}

TEST_F(Key, IsRefusedWhenOthersMayReadIt)
{
    Process generate({CHORUS_P2P_PROGRAM, "key", "generate", "--out", path});
    ASSERT_EQ(generate.wait(), 0) << generate.errors();
    ASSERT_EQ(chmod(path.c_str(), 0644), 0);
    EXPECT_EQ(run(directory.path), EXIT_STATUS_IDENTITY) << errors;
    EXPECT_TRUE(says(path) && says("0644") && says("chmod 600")) << errors;
}

TEST_F(Key, IsNeverOverwrittenWhenItIsDamaged)
{
    for (const std::string &bytes : {std::string(), noise_bytes(68), noise_bytes(100000), std::string(68, '\0'),
                                     std::string("\x08\x01\x12\x40", 4) + noise_bytes(64)}) {
        put(bytes);
        EXPECT_EQ(run(directory.path), EXIT_STATUS_IDENTITY) << bytes.size() << errors;
        EXPECT_TRUE(says(path)) << errors;
        EXPECT_TRUE(get() == bytes) << bytes.size();
    }
}

TEST_F(Key, IsNoFolderAndNoPipe)
{
    std::filesystem::create_directory(path);
    EXPECT_EQ(run(directory.path), EXIT_STATUS_IDENTITY) << errors;
    EXPECT_TRUE(says(path)) << errors;
    std::filesystem::remove(path);
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(run(directory.path), EXIT_STATUS_IDENTITY) << errors;
    EXPECT_TRUE(says(path)) << errors;
    std::filesystem::remove(path);
    std::filesystem::create_symlink("/dev/zero", path);
    EXPECT_EQ(run(directory.path), EXIT_STATUS_IDENTITY) << errors;
}

TEST_F(Key, NeedsADirectoryThatCanBe)
{
    put("a file, where a directory should be");
    EXPECT_EQ(run(path + "/below"), EXIT_STATUS_IDENTITY) << errors;
    EXPECT_TRUE(says(path)) << errors;
}

/* Somebody who may read and enter the directory, but not write there. */
TEST_F(Key, NeedsADirectoryThatCanBeWritten)
{
    Process::Setup setup;
    if (geteuid() == 0) {
        setup.in_child = [] {
            if (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
                _exit(77);
        };
        if (Process({"/usr/bin/test", "-x", CHORUS_P2P_PROGRAM}, setup).wait() != 0)
            GTEST_SKIP() << "another user may not run the program where it lies";
    }
    chmod(directory.path.c_str(), 0555);
    EXPECT_EQ(run(directory.path, setup), EXIT_STATUS_IDENTITY) << errors;
    EXPECT_TRUE(says(directory.path) && says("ermission denied")) << errors;
    chmod(directory.path.c_str(), 0700);
    EXPECT_FALSE(std::filesystem::exists(path));
    put(noise_bytes(68));
    if (geteuid() == 0) {
        chmod(directory.path.c_str(), 0555);
        EXPECT_EQ(run(directory.path, setup), EXIT_STATUS_IDENTITY) << errors;
        EXPECT_TRUE(says(path)) << errors;
    }
    chmod(directory.path.c_str(), 0700);
}

/* A file that may not grow is a disk that is full after so many bytes. */
TEST_F(Key, IsWrittenWholeOrNotAtAll)
{
    for (rlim_t bytes : {0, 1, 67}) {
        Process::Setup setup;
        setup.in_child = [=] {
            struct rlimit limit = {bytes, bytes};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &limit);
        };
        EXPECT_EQ(run(directory.path, setup), EXIT_STATUS_IDENTITY) << errors;
        EXPECT_TRUE(says(path) && says("too large")) << errors;
        EXPECT_TRUE(std::filesystem::is_empty(directory.path)) << bytes;
    }
}

TEST_F(Key, FindsTheDiskFull)
{
    const std::string script = "mount -t tmpfs -o size=4k tmpfs \"$1\" && cd \"$1\" && head -c 4096 /dev/zero > full && "
                               "{ \"$2\" run --listen /ip4/127.0.0.1/tcp/0 --data-dir \"$1\"; echo status $?; ls -A; }";
    if (Process({"/usr/bin/unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", directory.path}).wait() != 0)
        GTEST_SKIP() << "no file system of our own here";
    Process process({"/usr/bin/unshare", "-rm", "sh", "-c", script, "sh", directory.path, CHORUS_P2P_PROGRAM});
    EXPECT_EQ(process.line(), "status 5") << process.errors();
    EXPECT_EQ(process.line(), "full");
    process.wait();
    EXPECT_NE(process.errors().find("No space left on device"), std::string::npos) << process.errors();
}

/* Two nodes with one identity would take each other's connections. */
TEST_F(Key, BelongsToOneRunningNode)
{
    auto first = Victim::program(Driver::EPOLL, {"--data-dir", directory.path});
    ASSERT_TRUE(first);
    EXPECT_EQ(run(directory.path), EXIT_STATUS_IN_USE) << errors;
    EXPECT_TRUE(says(directory.path) && says("process " + std::to_string(first->process->pid()))) << errors;
    Process id({CHORUS_P2P_PROGRAM, "id", "--data-dir", directory.path});
    EXPECT_EQ(id.line(), first->id); /* who only reads it may */
    EXPECT_EQ(id.wait(), 0) << id.errors();
    good_peer_is_served(*first);
    first->process->signal(SIGKILL);
    first->process->wait();
    auto second = Victim::program(Driver::EPOLL, {"--data-dir", directory.path});
    ASSERT_TRUE(second); /* a node that was killed holds nothing */
    EXPECT_EQ(second->stop(), 0);
}

/* ---- The standard streams ---- */

class Streams : public testing::TestWithParam<Driver>
{
};

INSTANTIATE_TEST_SUITE_P(Program, Streams, both_drivers, driver_suffix);

TEST_P(Streams, ALogThatCannotBeWrittenStopsNothing)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT_GE(full, 0);
    Process::Setup setup;
    setup.err = full;
    auto victim = Victim::program(GetParam(), {"--log-level", "trace"}, setup);
    close(full);
    ASSERT_TRUE(victim);
    good_peer_is_served(*victim);
    EXPECT_EQ(victim->stop(), 0);
}

/* Nobody reads it: a pipe that is full blocks who writes there. */
TEST_P(Streams, ALogThatIsNotReadStopsNothing)
{
    int stuck[2];
    ASSERT_EQ(pipe2(stuck, O_CLOEXEC), 0);
    fcntl(stuck[1], F_SETPIPE_SZ, 4096);
    Process::Setup setup;
    setup.err = stuck[1];
    auto victim = Victim::program(GetParam(), {"--log-level", "trace"}, setup);
    ASSERT_TRUE(victim);
    for (int i = 0; i < 30; i++)
        good_peer_is_served(*victim);
    victim->process->signal(SIGTERM);
    close(stuck[0]); /* now it can end: what it waits for is gone */
    close(stuck[1]);
    EXPECT_EQ(victim->process->wait(), 0);
}

TEST(Signals, AnAbortFromOutsideEndsIt)
{
    auto victim = Victim::program(Driver::EPOLL, {});
    ASSERT_TRUE(victim);
    victim->process->signal(SIGABRT);
    EXPECT_EQ(victim->process->wait(), 256 + SIGABRT);
}

TEST_P(Streams, AddressesThatCannotBePrintedAreAnError)
{
    Directory directory;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT_GE(full, 0);
    Process::Setup setup;
    setup.out = full;
    Process process({CHORUS_P2P_PROGRAM, "run", "--listen", "/ip4/127.0.0.1/tcp/0", "--data-dir", directory.path}, setup);
    close(full);
    EXPECT_EQ(process.wait(), EXIT_STATUS_FAILED) << process.errors();
}

/* ---- The port ---- */

class Port : public testing::TestWithParam<Driver>
{
protected:
    Directory directory;

    /* Starts another one there. */
    void is_refused(uint16_t port)
    {
        std::string address = "/ip4/127.0.0.1/tcp/" + std::to_string(port);
        Process process({CHORUS_P2P_PROGRAM, "run", "--listen", address, "--data-dir", directory.path},
                        {{"CHORUS_P2P_DRIVER=" + driver_name(GetParam())}, nullptr});
        EXPECT_EQ(process.wait(), EXIT_STATUS_LISTEN);
        EXPECT_NE(process.errors().find(address), std::string::npos) << process.errors();
        EXPECT_EQ(process.line(1), "");
    }
};

INSTANTIATE_TEST_SUITE_P(Program, Port, both_drivers, driver_suffix);

TEST_P(Port, TakenBySomebodyElseIsRefused)
{
    uint16_t port;
    int listening = listen_somewhere(&port);
    ASSERT_GE(listening, 0);
    is_refused(port);
    close(listening);
}

/* Even by somebody who would share it. */
TEST_P(Port, TakenBySomebodyWhoSharesIsRefused)
{
    struct sockaddr_in address = {};
    socklen_t length = sizeof(address);
    int on = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    ASSERT_EQ(bind(listening, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listening, 1), 0);
    getsockname(listening, reinterpret_cast<struct sockaddr *>(&address), &length);
    is_refused(ntohs(address.sin_port));
    close(listening);
}

TEST_P(Port, TakenByANodeOfOursIsRefused)
{
    auto first = Victim::program(GetParam());
    ASSERT_TRUE(first);
    is_refused(first->port);
    good_peer_is_served(*first);
    EXPECT_EQ(first->stop(), 0);
}

/* Connections that were open when a node ended do not hold its port. */
TEST_P(Port, IsFreeAgainAtOnce)
{
    auto first = Victim::program(GetParam(), {"--data-dir", directory.path});
    ASSERT_TRUE(first);
    Attacker attacker(first->port);
    ASSERT_TRUE(attacker.reach(Stage::MUXED));
    EXPECT_EQ(first->stop(), 0);
    auto second = Victim::program(GetParam(), {"--listen", "/ip4/127.0.0.1/tcp/" + std::to_string(first->port)});
    ASSERT_TRUE(second);
    EXPECT_EQ(second->stop(), 0);
}

} // namespace
