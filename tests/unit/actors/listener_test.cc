#include "tests/unit/actors/node_fixture.h"

#include <arpa/inet.h>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" {
#include "actors/node_private.h"
#include "actors/status_reporter.h"
}

namespace {

/* The lines that a node logs. */
class Lines
{
public:
    static void write(void *argument, enum p2p_log_level level, const char *line, size_t length)
    {
        auto *self = static_cast<Lines *>(argument);
        std::lock_guard<std::mutex> guard(self->mutex);
        self->text.append(line, length);
        (void)level;
    }

    size_t count(const std::string &part)
    {
        std::lock_guard<std::mutex> guard(mutex);
        size_t found = 0;
        for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
            found++;
        return found;
    }

    std::string all()
    {
        std::lock_guard<std::mutex> guard(mutex);
        return text;
    }

    bool waits_for(const std::string &part)
    {
        for (auto begin = Clock::now(); milliseconds_since(begin) < TEST_PATIENCE_MS; usleep(1000))
            if (count(part) > 0)
                return true;
        return false;
    }

private:
    std::mutex mutex;
    std::string text;
};

struct sockaddr_in socket_address(Node &node)
{
    struct sockaddr_in in = {};
    std::string address = node.address();
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in.sin_port = htons(static_cast<uint16_t>(atoi(address.c_str() + strlen("/ip4/127.0.0.1/tcp/"))));
    return in;
}

/* A connection of the test's own that says nothing. */
struct Caller {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error;

    explicit Caller(const struct sockaddr_in &to)
        : error(connect(descriptor, reinterpret_cast<const struct sockaddr *>(&to), sizeof(to)) < 0 ? errno : 0)
    {
    }

    ~Caller() { close(descriptor); }

    /* The node ends it: by RST, or (bytes of it are there) goes on. */
    bool is_reset()
    {
        char byte;
        struct pollfd poll_of = {descriptor, POLLIN, 0};
        poll(&poll_of, 1, TEST_PATIENCE_MS);
        return recv(descriptor, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET;
    }
};

struct ListenerTest : NodeTest {
};

INSTANTIATE_TEST_SUITE_P(Drivers, ListenerTest, testing::Values(World{DRIVER_URING, true}, World{DRIVER_EPOLL, true}),
                         world_name);

TEST_P(ListenerTest, RefusesHandshakesBeyondTheirBoundAndSaysSo)
{
    Lines lines;
    Node a(runtime, [&lines](struct p2p_config *config) {
        p2p_config_pending_handshakes(config, 2);
        p2p_config_log(config, P2P_LOG_WARN, P2P_LOG_TEXT, Lines::write, &lines);
    });
    a.start();
    Caller first(socket_address(a)), second(socket_address(a));
    ASSERT_TRUE(a.reaches("handshakes_in", 2));
    for (int i = 0; i < 5; i++) {
        Caller more(socket_address(a));
        EXPECT_TRUE(more.is_reset());
    }
    EXPECT_EQ(a.counter("refused_limit"), 5);
    EXPECT_TRUE(lines.waits_for("connection_refused"));
    EXPECT_LE(lines.count("connection_refused"), 2u) << lines.all(); /* of each worker one a second */
    EXPECT_GE(lines.count("limit=PendingHandshakes used=2 max=2"), 1u) << lines.all();
    EXPECT_TRUE(a.reaches("handshakes_in", 2));
}

TEST_P(ListenerTest, KeepsDescriptorsForOtherThings)
{
    Lines lines;
    Node a(runtime, [&lines](struct p2p_config *config) {
        p2p_config_log(config, P2P_LOG_WARN, P2P_LOG_TEXT, Lines::write, &lines);
    });
    a.node->own->descriptors_max = 1; /* all are above */
    a.start();
    Caller caller(socket_address(a));
    EXPECT_TRUE(caller.is_reset());
    EXPECT_TRUE(lines.waits_for("limit=descriptors"));
    EXPECT_EQ(a.counter("connections"), 0);
    a.node->own->descriptors_max = 0;
    Node b(runtime);
    b.start();
    EXPECT_EQ(b.connect(a), 0) << b.text.text;
}

TEST_P(ListenerTest, PausesWhenDescriptorsRunOutAndGoesOnAfterwards)
{
    Lines lines;
    struct rlimit before, few;
    int caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = 100;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    Node a(runtime, [&lines](struct p2p_config *config) {
        p2p_config_log(config, P2P_LOG_INFO, P2P_LOG_TEXT, Lines::write, &lines);
    });
    a.start();
    struct sockaddr_in to = socket_address(a);
    std::vector<int> taken;
    for (int each = dup(caller); each >= 0; each = dup(caller))
        taken.push_back(each);
    EXPECT_EQ(connect(caller, reinterpret_cast<const struct sockaddr *>(&to), sizeof(to)), 0);
    EXPECT_TRUE(lines.waits_for("accept_paused")) << lines.all();
    usleep(350000); /* some retries */
    EXPECT_EQ(lines.count("accept_paused"), 1u) << lines.all();
    for (int each : taken)
        close(each);
    EXPECT_TRUE(lines.waits_for("accept_resumed")) << lines.all();
    EXPECT_TRUE(a.reaches("handshakes_in", 1));
    close(caller);
    setrlimit(RLIMIT_NOFILE, &before);
    Node b(runtime);
    b.start();
    EXPECT_EQ(b.connect(a), 0) << b.text.text;
}

TEST_P(ListenerTest, SpreadsConnectionsOverTheWorkers)
{
    Node a(runtime, [](struct p2p_config *config) {
        p2p_config_pending_handshakes(config, 1000);
        p2p_config_max_connections(config, 0);
    });
    a.start();
    std::vector<std::unique_ptr<Caller>> callers;
    for (int i = 0; i < 120; i++) {
        callers.push_back(std::make_unique<Caller>(socket_address(a)));
        ASSERT_EQ(callers.back()->error, 0);
        ASSERT_TRUE(a.reaches("sessions", i + 1));
    }
    int64_t first = scope_counter_of(a.node->scope, 0, NODE_SESSIONS_LIVE);
    int64_t second = scope_counter_of(a.node->scope, 1, NODE_SESSIONS_LIVE);
    EXPECT_EQ(first + second, 120);
    EXPECT_GE(std::min(first, second), 60 * 3 / 4 - 9) << first << " and " << second;
}

TEST_P(ListenerTest, ReportsItsStatus)
{
    Lines lines;
    Node a(runtime, [&lines](struct p2p_config *config) {
        p2p_config_status_interval_ms(config, 20);
        p2p_config_log(config, P2P_LOG_INFO, P2P_LOG_TEXT, Lines::write, &lines);
    });
    Node b(runtime);
    a.start();
    b.start();
    std::string own = a.id().substr(a.id().size() - 8), other = b.id().substr(b.id().size() - 8);
    EXPECT_TRUE(lines.waits_for("Bzzz Node Status - ID: " + own + ", Connected Peers: 0"));
    EXPECT_EQ(lines.count("Connected to"), 0u);
    ASSERT_EQ(a.connect(b), 0) << a.text.text;
    EXPECT_TRUE(lines.waits_for("Bzzz Node Status - ID: " + own + ", Connected Peers: 1")) << lines.all();
    EXPECT_TRUE(lines.waits_for("Connected to: " + other)) << lines.all();
}

TEST_P(ListenerTest, LogsWhereAConnectionCameFrom)
{
    Lines lines;
    Node a(runtime, [&lines](struct p2p_config *config) {
        p2p_config_log(config, P2P_LOG_DEBUG, P2P_LOG_TEXT, Lines::write, &lines);
    });
    Node b(runtime);
    std::string from;
    a.start();
    b.start();
    {
        Caller caller(socket_address(a));
        struct sockaddr_in own;
        socklen_t length = sizeof(own);
        ASSERT_EQ(getsockname(caller.descriptor, reinterpret_cast<struct sockaddr *>(&own), &length), 0);
        from = " address=/ip4/127.0.0.1/tcp/" + std::to_string(ntohs(own.sin_port)) + " ";
        ASSERT_TRUE(a.reaches("handshakes_in", 1));
    } /* gone before it has said who it is */
    EXPECT_TRUE(lines.waits_for(" peer=\"\"" + from + "reason=")) << lines.all();
    ASSERT_EQ(b.connect(a), 0) << b.text.text;
    std::string peer = " peer=" + b.id().substr(b.id().size() - 8) + " address=/ip4/127.0.0.1/tcp/";
    EXPECT_TRUE(lines.waits_for(peer)) << lines.all();
}

TEST_P(ListenerTest, NamesABoundedNumberOfPeersInItsStatus)
{
    Node a(runtime);
    std::vector<std::unique_ptr<Node>> others;
    char status[256], peers[512];
    a.start();
    for (int i = 0; i < STATUS_REPORTER_PEERS_MAX + 3; i++) {
        others.push_back(std::make_unique<Node>(runtime));
        others.back()->start();
        ASSERT_EQ(others.back()->connect(a), 0) << others.back()->text.text;
    }
    ASSERT_TRUE(a.reaches("peers", STATUS_REPORTER_PEERS_MAX + 3));
    status_reporter_lines(a.node, status, sizeof(status), peers, sizeof(peers));
    EXPECT_NE(std::string(status).find("Connected Peers: 35"), std::string::npos) << status;
    EXPECT_NE(std::string(peers).find(" and 3 more"), std::string::npos) << peers;
    status_reporter_lines(a.node, status, sizeof(status), peers, 20); /* cut, not overrun */
    EXPECT_EQ(strlen(peers), 19u);
}

}  // namespace
