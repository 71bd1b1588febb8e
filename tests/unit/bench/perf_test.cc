#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <jansson.h>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <set>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

extern "C" {
#include <chorus/p2p.h>

#include "bench/redis.h"
}

/* `chorus-bench perf`: the libp2p project's contracts for such programs. */

namespace {

int listen_somewhere(int &port)
{
    sockaddr_in address = {};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&address), length), 0);
    EXPECT_EQ(listen(fd, 8), 0);
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length), 0);
    port = ntohs(address.sin_port);
    return fd;
}

/* A Redis that knows GET and SET, for as many clients as come. */
class Redis
{
public:
    int port = 0;

    Redis() : listening(listen_somewhere(port)), thread([this] { accept_all(); }) {}
    ~Redis()
    {
        shutdown(listening, SHUT_RDWR);
        thread.join();
        {
            std::lock_guard<std::mutex> guard(lock);
            for (int fd : open)
                shutdown(fd, SHUT_RDWR);
        }
        for (std::thread &client : clients)
            client.join();
        close(listening);
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(port); }
    std::string get(const std::string &key)
    {
        std::lock_guard<std::mutex> guard(lock);
        return values[key];
    }
    void set(const std::string &key, const std::string &value)
    {
        std::lock_guard<std::mutex> guard(lock);
        values[key] = value;
    }

private:
    int listening;
    std::mutex lock;
    std::map<std::string, std::string> values;
    std::vector<std::thread> clients;
    std::set<int> open;
    std::thread thread;

    void accept_all()
    {
        for (int fd; (fd = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
            std::lock_guard<std::mutex> guard(lock);
            open.insert(fd);
            clients.emplace_back([this, fd] { serve(fd); });
        }
    }

    void serve(int fd)
    {
        FILE *in = fdopen(fd, "r");
        char line[256];

        while (fgets(line, sizeof(line), in) != nullptr) {
            std::vector<std::string> words(static_cast<size_t>(atoi(line + 1)));
            for (std::string &word : words) {
                char text[5000];
                if (fgets(line, sizeof(line), in) == nullptr || fgets(text, sizeof(text), in) == nullptr)
                    break;
                word.assign(text, static_cast<size_t>(atoi(line + 1)));
            }
            std::string answer = obey(words);
            if (write(fd, answer.data(), answer.size()) < 0)
                break;
        }
        std::lock_guard<std::mutex> guard(lock);
        open.erase(fd);
        fclose(in);
    }

    std::string obey(const std::vector<std::string> &words)
    {
        std::lock_guard<std::mutex> guard(lock);
        if (words.size() == 3 && words[0] == "SET") {
            values[words[1]] = words[2];
            return "+OK\r\n";
        }
        auto found = words.size() == 2 && words[0] == "GET" ? values.find(words[1]) : values.end();
        if (found == values.end())
            return "$-1\r\n";
        if (found->second == "a list")
            return "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        if (found->second == "an escape")
            return "-ERR \033]0;owned\a\033[31mred\r\n";
        return "$" + std::to_string(found->second.size()) + "\r\n" + found->second + "\r\n";
    }
};

TEST(BenchRedis, SetsAndGets)
{
    Redis server;
    redis *client = redis_open(server.address().c_str());
    char value[64];

    ASSERT_NE(client, nullptr);
    EXPECT_EQ(redis_get(client, value, sizeof(value), "a"), REDIS_NONE);
    EXPECT_TRUE(redis_set(client, "a", "one two"));
    EXPECT_EQ(redis_get(client, value, sizeof(value), "a"), REDIS_FOUND);
    EXPECT_STREQ(value, "one two");
    server.set("b", "a list");
    EXPECT_EQ(redis_get(client, value, sizeof(value), "b"), REDIS_FAILED);
    EXPECT_NE(std::string(redis_error(client)).find("WRONGTYPE"), std::string::npos);
    EXPECT_EQ(redis_get(client, value, sizeof(value), "a"), REDIS_FOUND) << "goes on after an error";
    server.set("c", std::string(100, 'x'));
    EXPECT_EQ(redis_get(client, value, sizeof(value), "c"), REDIS_FAILED) << "too long for its room";
    EXPECT_EQ(redis_get(client, value, sizeof(value), "a"), REDIS_FAILED) << "and its bytes are nobody's answer";
    redis_close(client);
}

TEST(BenchRedis, SaysThatItIsGone)
{
    char value[64];
    redis *client;
    {
        Redis server;
        client = redis_open(server.address().c_str());
        ASSERT_NE(client, nullptr);
        EXPECT_EQ(redis_get(client, value, sizeof(value), "a"), REDIS_NONE);
    }
    EXPECT_EQ(redis_get(client, value, sizeof(value), "a"), REDIS_FAILED);
    EXPECT_STRNE(redis_error(client), "");
    EXPECT_FALSE(redis_set(client, "a", "b"));
    redis_close(client);
}

TEST(BenchRedis, SaysThatNobodyIsThere)
{
    int port;
    close(listen_somewhere(port));
    testing::internal::CaptureStderr();

    EXPECT_EQ(redis_open(("127.0.0.1:" + std::to_string(port)).c_str()), nullptr);
    EXPECT_EQ(redis_open("nonsense"), nullptr);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("HOST:PORT"), std::string::npos);
}

/* Runs it to its end. */
struct Output {
    std::string text;
    int status;

    explicit Output(const std::string &command)
    {
        FILE *output = popen(command.c_str(), "r");
        char line[4096];
        while (fgets(line, sizeof(line), output) != nullptr)
            text += line;
        int ended = pclose(output);
        status = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
    }
};

/* Runs it until the test ends. */
class Server
{
public:
    explicit Server(const std::string &command)
    {
        pid = fork();
        if (pid != 0)
            return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/bin/sh", "sh", "-c", ("exec " + command).c_str(), nullptr);
        _exit(127);
    }
    ~Server()
    {
        int status;
        kill(pid, SIGTERM);
        waitpid(pid, &status, 0);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "it ends in order";
    }

private:
    pid_t pid;
};

/* Until somebody listens there. */
void wait_for(int port)
{
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int connected = -1; connected != 0;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connected = connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof(address));
        close(fd);
        if (connected != 0)
            std::this_thread::yield();
    }
}

int free_port()
{
    int port;
    close(listen_somewhere(port));
    return port;
}

TEST(Perf, KeepsTheCommandLineContract)
{
    int port = free_port();
    std::string address = " --server-address 127.0.0.1:" + std::to_string(port) + " --transport tcp ";
    Server server(CHORUS_BENCH " perf --run-server" + address);

    wait_for(port);
    Output client(CHORUS_BENCH " perf" + address + "--upload-bytes 3000000 --download-bytes 5000001");
    EXPECT_EQ(client.status, 0);
    std::string last = client.text.substr(client.text.rfind('\n', client.text.size() - 2) + 1);
    json_t *final = json_loads(last.c_str(), 0, nullptr);
    EXPECT_STREQ(json_string_value(json_object_get(final, "type")), "final") << client.text;
    EXPECT_EQ(json_integer_value(json_object_get(final, "uploadBytes")), 3000000);
    EXPECT_EQ(json_integer_value(json_object_get(final, "downloadBytes")), 5000001);
    EXPECT_GT(json_number_value(json_object_get(final, "timeSeconds")), 0);
    json_decref(final);
}

/* A node with the key that the contract's server has, which ends each perf stream
 * at once and reads nothing. */
class Hasty
{
public:
    std::string port;

    Hasty()
    {
        static const p2p_stream_callbacks callbacks = {[](p2p_stream *stream, void *) { p2p_stream_close_write(stream); },
                                                       [](p2p_stream *, void *) {}, nullptr,
                                                       [](p2p_stream *stream, void *, int) { p2p_stream_close(stream); }};
        uint8_t key[68] = {0x08, 0x01, 0x12, 0x40}, seed[32] = {};
        static const uint8_t zero_public[32] = {
            0x3b, 0x6a, 0x27, 0xbc, 0xce, 0xb6, 0xa4, 0x2d, 0x62, 0xa3, 0xa8, 0xd0, 0x2a, 0x6f, 0x0d, 0x73,
            0x65, 0x32, 0x15, 0x77, 0x1d, 0xe2, 0x43, 0xa6, 0x3a, 0xc0, 0x48, 0xa1, 0x8b, 0x59, 0xda, 0x29};
        p2p_config *config = p2p_config_new();
        p2p_address address = {};
        size_t count;

        memcpy(key + 4, seed, 32);
        memcpy(key + 36, zero_public, 32);
        EXPECT_EQ(p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", nullptr), 0);
        EXPECT_EQ(p2p_config_identity(config, key, sizeof(key)), 0);
        EXPECT_EQ(p2p_config_workers(config, 1), 0);
        EXPECT_EQ(p2p_node_new(&node, config, nullptr, nullptr), 0);
        EXPECT_EQ(p2p_node_handle(node, "/perf/1.0.0", 0, &callbacks, nullptr), 0);
        EXPECT_EQ(p2p_node_start(node, nullptr), 0);
        EXPECT_EQ(p2p_node_addresses(node, &address, 1, &count), 0);
        port = std::to_string(atoi(strstr(address.text, "/tcp/") + 5));
        p2p_config_free(config);
    }
    ~Hasty() { p2p_node_free(node); }

private:
    p2p_node *node = nullptr;
};

TEST(Perf, IsNotDoneWhenThePeerEndsBeforeItHasTakenAll)
{
    Hasty peer;
    Output client(CHORUS_BENCH " perf --server-address 127.0.0.1:" + peer.port + " --upload-bytes 100000000 2>&1");

    EXPECT_EQ(client.status, 1) << client.text;
    EXPECT_EQ(client.text.find("final"), std::string::npos) << client.text;
}

/* An address of loopback that no other test has: listeners of that contract have a
 * fixed port. */
std::string own_loopback()
{
    unsigned number = static_cast<unsigned>(getpid());

    return "127." + std::to_string(number >> 16 & 127) + "." + std::to_string(number >> 8 & 255) + "." +
           std::to_string(number & 255);
}

TEST(Perf, KeepsTheContractOfTheEnvironment)
{
    Redis redis;
    std::string known = "env TEST_KEY=abc REDIS_ADDR=" + redis.address() +
                        " TRANSPORT=tcp SECURE_CHANNEL=noise MUXER=yamux LISTENER_IP=" + own_loopback() + " ";
    Server listener(known + "IS_DIALER=false " CHORUS_BENCH " perf");

    Output dialer(known + "IS_DIALER=true UPLOAD_BYTES=100000 DOWNLOAD_BYTES=200000 UPLOAD_ITERATIONS=3 "
                          "DOWNLOAD_ITERATIONS=4 LATENCY_ITERATIONS=null DURATION=1 " CHORUS_BENCH " perf");
    EXPECT_EQ(dialer.status, 0);
    EXPECT_EQ(redis.get("abc_listener_multiaddr").rfind("/ip4/" + own_loopback() + "/tcp/4001/p2p/12D3", 0), 0u);
    for (const char *part : {"upload:\n  iterations: 3\n", "download:\n  iterations: 4\n", "latency:\n  iterations: ",
                             "  median: ", "  outliers: [", "  samples: [", "  unit: Gbps\n", "  unit: ms\n"})
        EXPECT_NE(dialer.text.find(part), std::string::npos) << part << " in\n" << dialer.text;
    EXPECT_EQ(dialer.text.find("latency:\n  iterations: 1\n"), std::string::npos) << "a second is time for more";
}

/* What is counted in Gbps stays so, however few the bytes are. */
TEST(Perf, TheUnitDoesNotDependOnTheBytes)
{
    Redis redis;
    std::string known = "env TEST_KEY=abc REDIS_ADDR=" + redis.address() + " LISTENER_IP=" + own_loopback() + " ";
    Server listener(known + "IS_DIALER=false " CHORUS_BENCH " perf");

    Output dialer(known + "IS_DIALER=true UPLOAD_BYTES=1 DOWNLOAD_BYTES=1 UPLOAD_ITERATIONS=1 DOWNLOAD_ITERATIONS=1 "
                          "LATENCY_ITERATIONS=1 " CHORUS_BENCH " perf");
    EXPECT_EQ(dialer.status, 0);
    EXPECT_NE(dialer.text.find("upload:\n  iterations: 1\n  min: 0.00\n"), std::string::npos)
        << "a byte is no hundredth of a Gbps\n" << dialer.text;
}

TEST(Perf, RefusesWhatIsNoNumber)
{
    Redis redis;
    Server listener("env REDIS_ADDR=" + redis.address() + " LISTENER_IP=" + own_loopback() +
                    " IS_DIALER=false " CHORUS_BENCH " perf");

    for (const char *wrong : {"-1", "0", "x", "1x", " 1", "99999999999999999999"}) {
        Output output("env REDIS_ADDR=" + redis.address() + " IS_DIALER=true UPLOAD_BYTES='" + wrong +
                      "' " CHORUS_BENCH " perf 2>&1");
        EXPECT_EQ(output.status, 1) << wrong;
        EXPECT_NE(output.text.find("UPLOAD_BYTES"), std::string::npos) << output.text;
    }
}

/* An error is not "nobody yet", which is waited out. */
TEST(Perf, SaysWhatRedisSays)
{
    Redis redis;
    redis.set("abc_listener_multiaddr", "a list");
    Output output("env TEST_KEY=abc IS_DIALER=true REDIS_ADDR=" + redis.address() + " " CHORUS_BENCH " perf 2>&1");

    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("WRONGTYPE"), std::string::npos) << output.text;
}

TEST(Perf, TellsTheTerminalNothing)
{
    Redis redis;
    for (const char *value : {"an escape", "/ip4/\033[31m1.2.3.4/tcp/1"}) {
        redis.set("abc_listener_multiaddr", value);
        Output output("env TEST_KEY=abc IS_DIALER=true REDIS_ADDR=" + redis.address() + " " CHORUS_BENCH " perf 2>&1");

        EXPECT_EQ(output.status, 1);
        EXPECT_NE(output.text.find("[31m"), std::string::npos) << output.text;
        EXPECT_EQ(output.text.find('\033'), std::string::npos);
        EXPECT_EQ(output.text.find('\a'), std::string::npos);
    }
}

TEST(Perf, SaysWhatItDoesNotSpeak)
{
    Redis redis;
    std::string known = "IS_DIALER=true REDIS_ADDR=" + redis.address() + " ";

    for (const char *wrong : {"TRANSPORT=quic-v1", "SECURE_CHANNEL=tls", "MUXER=mplex"}) {
        Output output(known + wrong + " " CHORUS_BENCH " perf 2>&1");
        EXPECT_EQ(output.status, 1) << wrong;
        EXPECT_NE(output.text.find(std::string(wrong).substr(0, std::string(wrong).find('='))), std::string::npos)
            << output.text;
    }
    EXPECT_EQ(Output(CHORUS_BENCH " perf 2>/dev/null").status, 2);
    EXPECT_EQ(Output(CHORUS_BENCH " perf --server-address nonsense 2>/dev/null").status, 2);
    EXPECT_EQ(Output(CHORUS_BENCH " perf --server-address 127.0.0.1:1 --transport quic-v1 2>/dev/null").status, 2);
}

} // namespace
