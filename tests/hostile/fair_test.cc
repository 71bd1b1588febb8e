#include "tests/hostile/attacker.h"
#include "tests/hostile/victim.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <poll.h>
#include <vector>

#include "chorus/p2p.h"

/* Streams share a connection: a hundred that ask and answer, beside one in bulk. */

namespace {

enum {
    ECHOES = 100,
    MESSAGE_BYTES = 64,
    SAMPLES = 20000,
    PHASE_MS_MAX = 3000,
    /* Of the bulk that goes while a question and its answer are on their way: what
     * the sockets' buffers may hold in front of them.  No busy machine makes it
     * more; who waits behind a stream's queue or window sees all of it, and the next. */
    PASSED_BYTES_MAX = 8 << 20,
};

int64_t now_us()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* All streams of one connection run on its worker: no lock is needed. */
struct Client {
    std::vector<int64_t> samples, passed; /* us, and bytes of the bulk meanwhile */
    std::atomic<int> opened{0}, failed{0}, closed{0}, ended{0};
    std::atomic<size_t> taken{0};
    std::atomic<bool> stop{false};
    std::atomic<int64_t> bulk_bytes{0};

    /* Whoever waits for what callbacks say; bounded. */
    template <typename Condition> bool until(Condition condition, int patience_ms = PATIENCE_MS)
    {
        int64_t deadline_ms = now_ms() + patience_ms;
        while (!condition() && now_ms() < deadline_ms)
            poll(nullptr, 0, 1);
        return condition();
    }
};

struct Echo {
    Client *client;
    int64_t sent_us = 0, bulk_bytes = 0;
    size_t got = 0;
};

void ask(struct p2p_stream *stream, Echo *echo)
{
    static const char message[MESSAGE_BYTES] = "how long does this take?";
    echo->sent_us = now_us();
    echo->bulk_bytes = echo->client->bulk_bytes;
    echo->got = 0;
    if (p2p_stream_write(stream, message, sizeof(message)) != sizeof(message))
        echo->client->failed++;
}

void end(struct p2p_stream *stream, Client *client)
{
    p2p_stream_close(stream);
    client->closed++;
}

void echo_opened(struct p2p_stream *stream, void *user)
{
    static_cast<Echo *>(user)->client->opened++;
    ask(stream, static_cast<Echo *>(user));
}

void echo_readable(struct p2p_stream *stream, void *user)
{
    auto *echo = static_cast<Echo *>(user);
    Client *client = echo->client;
    char in[MESSAGE_BYTES];
    int64_t count;

    while ((count = p2p_stream_read(stream, in, sizeof(in) - echo->got)) > 0) {
        echo->got += static_cast<size_t>(count);
        if (echo->got < MESSAGE_BYTES)
            continue;
        client->samples.push_back(now_us() - echo->sent_us);
        client->passed.push_back(client->bulk_bytes - echo->bulk_bytes);
        client->taken++;
        if (client->stop)
            break;
        ask(stream, echo);
    }
    if (client->stop || count != P2P_ERR_CALL_AGAIN)
        end(stream, client);
}

void stream_failed(struct p2p_stream *stream, void *user, int)
{
    Client *client = static_cast<Echo *>(user)->client;
    client->failed++;
    end(stream, client);
}

const struct p2p_stream_callbacks echo_callbacks = {echo_opened, echo_readable, nullptr, stream_failed};

void bulk_write(struct p2p_stream *stream, void *user)
{
    Client *client = static_cast<Echo *>(user)->client;
    static const std::vector<char> bytes(262144, 'b');

    while (!client->stop) {
        int64_t count = p2p_stream_write(stream, bytes.data(), bytes.size());
        if (count > 0)
            client->bulk_bytes += count;
        if (count != static_cast<int64_t>(bytes.size()))
            return;
    }
    p2p_stream_reset(stream, 0);
    client->closed++;
}

/* /perf/1.0.0: eight zeros (nothing is to come back), then as much as there is. */
void bulk_opened(struct p2p_stream *stream, void *user)
{
    static const char header[8] = {};
    static_cast<Echo *>(user)->client->opened++;
    p2p_stream_write(stream, header, sizeof(header));
    bulk_write(stream, user);
}

const struct p2p_stream_callbacks bulk_callbacks = {bulk_opened, nullptr, bulk_write, stream_failed};

int64_t percentile(std::vector<int64_t> samples, int percent)
{
    std::sort(samples.begin(), samples.end());
    return samples.empty() ? -1 : samples[(samples.size() - 1) * static_cast<size_t>(percent) / 100];
}

class Fair : public testing::TestWithParam<Driver>
{
protected:
    std::unique_ptr<Victim> victim = Victim::node(GetParam());
    struct p2p_node *node = nullptr;

    void SetUp() override
    {
        struct p2p_error_text text = {};
        struct p2p_config *config = p2p_config_new();
        p2p_config_listen(config, nullptr, nullptr);
        p2p_config_workers(config, 1);
        p2p_config_driver(config, GetParam() == Driver::URING ? P2P_DRIVER_AUTO : P2P_DRIVER_EPOLL);
        ASSERT_EQ(p2p_node_new(&node, config, nullptr, &text), 0) << text.text;
        p2p_config_free(config);
        ASSERT_EQ(p2p_node_start(node, &text), 0) << text.text;
        ASSERT_TRUE(victim);
        ASSERT_EQ(p2p_node_connect(node, nullptr, victim->address.c_str(), PATIENCE_MS, &text), 0) << text.text;
    }

    void TearDown() override
    {
        p2p_node_free(node);
        EXPECT_EQ(victim->stop(), 0) << victim->process->errors();
    }

    void open(const char *protocol, const struct p2p_stream_callbacks *callbacks, Echo *echo)
    {
        ASSERT_EQ(p2p_stream_open_inline(node, victim->id.c_str(), &protocol, 1, callbacks, echo), 0);
    }

    /* With or without the bulk; the 99th percentile of its bytes that went before an answer. */
    int64_t measure(bool bulk)
    {
        Client client;
        std::vector<Echo> echoes(ECHOES + 1, Echo{&client});
        int streams = ECHOES + (bulk ? 1 : 0);

        client.samples.reserve(SAMPLES * 4);
        client.passed.reserve(SAMPLES * 4);
        int64_t begin_us = now_us();
        if (bulk)
            open("/perf/1.0.0", &bulk_callbacks, &echoes[ECHOES]);
        for (int i = 0; i < ECHOES; i++)
            open("/echo/1.0.0", &echo_callbacks, &echoes[i]);
        client.until([&] { return client.taken >= SAMPLES; }, PHASE_MS_MAX);
        int64_t took_us = now_us() - begin_us;
        client.stop = true;
        EXPECT_TRUE(client.until([&] { return client.closed == streams; })) << client.closed << " of " << streams;
        EXPECT_EQ(client.failed, 0);
        EXPECT_GE(client.samples.size(), size_t(ECHOES)) << "starved";
        printf("    %s: %zu answers, p50 %d us, p99 %d us; bulk %d MB/s\n", bulk ? "with bulk   " : "without bulk",
               client.samples.size(), int(percentile(client.samples, 50)), int(percentile(client.samples, 99)),
               int(client.bulk_bytes / (took_us > 0 ? took_us : 1)));
        return percentile(client.passed, 99);
    }
};

INSTANTIATE_TEST_SUITE_P(, Fair, both_drivers, driver_suffix);

TEST_P(Fair, AnswersComeBesideBulk)
{
    EXPECT_EQ(measure(false), 0);
    int64_t passed_bytes = measure(true);
    printf("    %d KiB of the bulk went before an answer (p99)\n", int(passed_bytes / 1024));
    EXPECT_LE(passed_bytes, PASSED_BYTES_MAX);
}

} // namespace
