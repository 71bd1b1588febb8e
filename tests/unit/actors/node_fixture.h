#ifndef TESTS_NODE_FIXTURE_H
#define TESTS_NODE_FIXTURE_H

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <chrono>
#include <functional>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "chorus/p2p.h"

extern "C" {
#include "actors/api_runtime.h"
#include "runtime/driver_sim.h"
}

/* Nodes of this process that talk to each other, for tests that read like the
 * application's own code. */

struct World {
    enum driver_kind driver;
    bool threads;
};

inline std::string world_name(const testing::TestParamInfo<World> &info)
{
    if (info.param.driver == DRIVER_SIM)
        return "sim";
    return std::string(info.param.driver == DRIVER_URING ? "uring" : "epoll") +
           (info.param.threads ? "_threads" : "_turned");
}

using Clock = std::chrono::steady_clock;

inline long milliseconds_since(Clock::time_point begin)
{
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
}

enum { TEST_PATIENCE_MS = 30000 };

class Node
{
public:
    struct p2p_node *node = nullptr;
    struct p2p_error_text text = {};

    Node(struct p2p_runtime *runtime, const std::function<void(struct p2p_config *)> &setup = nullptr)
    {
        struct p2p_config *config = p2p_config_new();
        p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", nullptr);
        if (setup)
            setup(config);
        EXPECT_EQ(p2p_node_new(&node, config, runtime, &text), 0) << text.text;
        p2p_config_free(config);
    }

    ~Node() { p2p_node_free(node); }
    Node(const Node &) = delete;
    Node &operator=(const Node &) = delete;

    Node &start()
    {
        EXPECT_EQ(p2p_node_start(node, &text), 0) << text.text;
        return *this;
    }

    std::string id() const
    {
        char out[P2P_ID_TEXT_BYTES];
        p2p_node_id(node, out);
        return out;
    }

    std::string address()
    {
        struct p2p_address out = {};
        size_t count = 0;
        p2p_node_addresses(node, &out, 1, &count);
        EXPECT_GE(count, 1u);
        return out.text;
    }

    int connect(const std::string &to, int timeout_ms = TEST_PATIENCE_MS)
    {
        char got[P2P_ID_TEXT_BYTES];
        text.text[0] = '\0';
        return p2p_node_connect(node, got, to.c_str(), timeout_ms, &text);
    }

    int connect(Node &to) { return connect(to.address()); }

    /* The next event of that type; others are passed over. */
    struct p2p_event await(enum p2p_event_type type, int timeout_ms = TEST_PATIENCE_MS)
    {
        struct p2p_event event = {};
        auto begin = Clock::now();
        while (milliseconds_since(begin) < timeout_ms) {
            if (p2p_node_wait_event(node, &event, timeout_ms) == 0 && event.type == type)
                return event;
        }
        ADD_FAILURE() << "no event of type " << type;
        return {};
    }

    int64_t counter(const char *name)
    {
        int64_t value = -1;
        EXPECT_EQ(p2p_node_counter(node, &value, name), 0) << name;
        return value;
    }

    /* Until the counter has that value. */
    bool reaches(const char *name, int64_t value, int timeout_ms = TEST_PATIENCE_MS)
    {
        auto begin = Clock::now();
        struct p2p_event event;
        while (counter(name) != value) {
            if (milliseconds_since(begin) > timeout_ms)
                return false;
            p2p_node_wait_event(node, &event, 5);
        }
        return true;
    }

    struct p2p_stream *open(const std::string &to, const char *protocol)
    {
        struct p2p_stream *stream = nullptr;
        EXPECT_EQ(p2p_stream_open(node, &stream, to.c_str(), &protocol, 1, TEST_PATIENCE_MS, &text), 0) << text.text;
        return stream;
    }
};

/* What was sent comes back. */
inline void expect_echo(struct p2p_stream *stream, const std::string &bytes)
{
    std::string back(bytes.size(), '\0');
    ASSERT_EQ(p2p_stream_write_wait(stream, bytes.data(), bytes.size(), TEST_PATIENCE_MS),
              static_cast<int64_t>(bytes.size()));
    ASSERT_EQ(p2p_stream_read_full(stream, back.data(), back.size(), TEST_PATIENCE_MS),
              static_cast<int64_t>(back.size()));
    EXPECT_TRUE(back == bytes);
}

/* A listener that takes connections and says nothing. */
struct Mute {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::string address;

    Mute()
    {
        struct sockaddr_in in = {};
        socklen_t length = sizeof(in);
        in.sin_family = AF_INET;
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(bind(descriptor, reinterpret_cast<struct sockaddr *>(&in), sizeof(in)), 0);
        EXPECT_EQ(listen(descriptor, 8), 0);
        getsockname(descriptor, reinterpret_cast<struct sockaddr *>(&in), &length);
        address = "/ip4/127.0.0.1/tcp/" + std::to_string(ntohs(in.sin_port)) +
                  "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    }

    ~Mute() { close(descriptor); }
};

/* A runtime of that kind; in the simulator's case one that lives in `sim`. */
inline int make_runtime(struct p2p_runtime **out, const World &world, struct sim_world *sim,
                        struct p2p_error_text *text)
{
    struct runtime_config config;
    runtime_config_init(&config);
    config.driver = world.driver;
    config.threads = world.threads;
    config.workers = world.threads || world.driver == DRIVER_SIM ? 2 : 1;
    config.sim = sim;
    return api_runtime_new(out, &config, text);
}

class NodeTest : public testing::TestWithParam<World>
{
public:
    struct p2p_runtime *runtime = nullptr;
    struct sim_world *world = nullptr;

    void SetUp() override
    {
        struct p2p_error_text text = {};
        if (GetParam().driver == DRIVER_SIM)
            world = sim_world_new(1);
        int error = make_runtime(&runtime, GetParam(), world, &text);
        if (error && GetParam().driver == DRIVER_URING)
            GTEST_SKIP() << "no io_uring here: " << text.text;
        ASSERT_EQ(error, 0) << text.text;
    }

    void TearDown() override
    {
        p2p_runtime_free(runtime);
        if (world)
            sim_world_free(world);
    }
};

#define REAL_WORLDS                                                                    \
    World{DRIVER_URING, true}, World{DRIVER_EPOLL, true}, World{DRIVER_URING, false},  \
        World{DRIVER_EPOLL, false}

#endif
