#include "tests/unit/actors/node_fixture.h"

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sys/mman.h>

/* A node's life with the n-th piece of memory refused, for each n: whatever it
 * is, the call that needs it says so, and nothing crashes, hangs or is left.
 * The linker leads our own calls here (not those of the libraries). */

namespace {

std::atomic<bool> armed{false};
std::atomic<unsigned> asked{0}, first{0}, last{0};
std::mutex mutex;

/* What is held of what was asked for: bytes by address; never destroyed, for
 * memory goes back after main(), too. */
std::map<void *, size_t> &held = *new std::map<void *, size_t>;

bool is_refused()
{
    if (!armed)
        return false;
    unsigned number = ++asked;
    if (number < first || number > last)
        return false;
    errno = ENOMEM;
    return true;
}

void *note(void *memory, size_t bytes)
{
    std::lock_guard<std::mutex> lock(mutex);
    if (memory && armed)
        held[memory] = bytes;
    return memory;
}

void forget(void *memory)
{
    std::lock_guard<std::mutex> lock(mutex);
    held.erase(memory);
}

} // namespace

extern "C" {

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
void __real_free(void *memory);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int descriptor, off_t offset);
int __real_munmap(void *memory, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return is_refused() ? nullptr : note(__real_malloc(bytes), bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_refused() ? nullptr : note(__real_calloc(count, bytes), count * bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    if (is_refused())
        return nullptr;
    forget(memory);
    return note(__real_realloc(memory, bytes), bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return is_refused() ? nullptr : note(__real_aligned_alloc(alignment, bytes), bytes);
}

char *__wrap_strdup(const char *text)
{
    return is_refused() ? nullptr : static_cast<char *>(note(__real_strdup(text), 0));
}

void __wrap_free(void *memory)
{
    forget(memory);
    __real_free(memory);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int descriptor, off_t offset)
{
    if (is_refused())
        return MAP_FAILED;
    void *memory = __real_mmap(at, bytes, protection, flags, descriptor, offset);
    return memory == MAP_FAILED ? memory : note(memory, bytes);
}

int __wrap_munmap(void *memory, size_t bytes)
{
    forget(memory);
    return __real_munmap(memory, bytes);
}
}

namespace {

enum { HURRY_MS = 1000 }; /* for what memory may have ended without a word to this side */

struct Echo {
    static void readable(struct p2p_stream *stream, void *)
    {
        char bytes[4096];
        int64_t count;
        while ((count = p2p_stream_read(stream, bytes, sizeof(bytes))) > 0)
            p2p_stream_write(stream, bytes, static_cast<size_t>(count));
        if (count != P2P_ERR_CALL_AGAIN)
            p2p_stream_close(stream);
    }

    static void failed(struct p2p_stream *stream, void *, int) { p2p_stream_close(stream); }
};

/* A node that says why it could not be. */
struct Life {
    struct p2p_node *node = nullptr;
    bool begun = false;

    explicit Life(struct p2p_runtime *runtime)
    {
        static const struct p2p_stream_callbacks callbacks = {nullptr, Echo::readable, nullptr, Echo::failed};
        struct p2p_error_text text = {};
        struct p2p_config *config = p2p_config_new();
        if (!config || p2p_config_listen(config, "/ip4/127.0.0.1/tcp/0", nullptr) < 0) {
            p2p_config_free(config);
            return;
        }
        int error = p2p_node_new(&node, config, runtime, &text);
        p2p_config_free(config);
        if (error == 0)
            error = p2p_node_handle(node, "/echo", 0, &callbacks, nullptr);
        if (error == 0)
            error = p2p_node_start(node, &text);
        begun = node && error == 0;
        if (!begun) {
            EXPECT_LT(error, 0) << "at " << asked;
        }
    }

    ~Life()
    {
        if (begun) {
            EXPECT_EQ(p2p_node_close(node, TEST_PATIENCE_MS), 0) << "at " << asked;
        }
        p2p_node_free(node);
    }

    std::string address() const
    {
        struct p2p_address out = {};
        size_t count = 0;
        p2p_node_addresses(node, &out, 1, &count);
        return count > 0 ? out.text : "";
    }
};

/* How far it came. */
enum Stage { NO_RUNTIME, NO_NODE, NO_CONNECTION, NO_STREAM, NO_ECHO, WHOLE };

Stage talk(const Life &a, const Life &b, int patience_ms)
{
    char id[P2P_ID_TEXT_BYTES], back[4000];
    const char *protocol = "/echo";
    struct p2p_error_text text = {};
    struct p2p_stream *stream = nullptr;
    std::string bytes(sizeof(back), 'x');
    struct p2p_identity *identity = nullptr;

    if (p2p_node_connect(a.node, id, b.address().c_str(), patience_ms, &text) != 0)
        return NO_CONNECTION;
    if (p2p_node_identify(a.node, &identity, id, patience_ms) == 0)
        p2p_identity_free(identity);
    if (p2p_stream_open(a.node, &stream, id, &protocol, 1, patience_ms, &text) != 0)
        return NO_STREAM;
    int64_t sent = p2p_stream_write_wait(stream, bytes.data(), bytes.size(), patience_ms);
    int64_t got = sent < 0 ? -1 : p2p_stream_read_full(stream, back, static_cast<size_t>(sent), patience_ms);
    p2p_stream_close(stream);
    if (got != static_cast<int64_t>(sizeof(back)))
        return NO_ECHO;
    EXPECT_EQ(std::string(back, sizeof(back)), bytes);
    uint64_t rtt_ns;
    return p2p_node_ping(a.node, &rtt_ns, id, patience_ms) == 0 ? WHOLE : NO_ECHO;
}

Stage live(const World &world, int patience_ms)
{
    struct p2p_runtime *runtime = nullptr;
    struct p2p_error_text text = {};
    Stage stage = NO_NODE;

    if (make_runtime(&runtime, world, nullptr, &text) != 0)
        return NO_RUNTIME;
    {
        Life a(runtime), b(runtime);
        if (a.begun && b.begun)
            stage = talk(a, b, patience_ms);
    }
    p2p_runtime_free(runtime);
    return stage;
}

struct Nomem : testing::TestWithParam<World> {
    /* A life in which pieces from number `from` to number `to` are refused. */
    Stage live_without(unsigned from, unsigned to, int patience_ms = HURRY_MS)
    {
        asked = 0;
        first = from;
        last = to;
        armed = true;
        Stage stage = live(GetParam(), patience_ms);
        armed = false;
        std::lock_guard<std::mutex> lock(mutex);
        EXPECT_EQ(held.size(), 0u) << held.begin()->second << " bytes are left when " << from << " to " << to
                                   << " were refused";
        held.clear();
        return stage;
    }

    unsigned measure()
    {
        EXPECT_EQ(live_without(0, 0, TEST_PATIENCE_MS), WHOLE);
        return asked;
    }
};

INSTANTIATE_TEST_SUITE_P(Drivers, Nomem,
                         testing::Values(World{DRIVER_URING, false}, World{DRIVER_EPOLL, false}, World{DRIVER_EPOLL, true}),
                         world_name);

TEST_P(Nomem, OnePieceIsRefused)
{
    unsigned count = measure(), whole = 0;
    for (unsigned n = 1; n <= count && !HasFailure(); n++)
        whole += live_without(n, n) == WHOLE;
    printf("%u pieces; without one, %u lives were whole\n", count, whole);
}

/* Nothing is left, and that to the end. */
TEST_P(Nomem, AllPiecesFromOneOnAreRefused)
{
    unsigned count = measure(), step = count / 60 + 1;
    for (unsigned n = 1; n <= count && !HasFailure(); n += step)
        live_without(n, UINT_MAX, HURRY_MS / 10);
}

} // namespace
