#include "machine.h"

extern "C" {
#include "runtime/log_line.h"
}

#include <malloc.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct Sink {
    std::mutex lock;
    std::vector<std::string> lines;
    std::atomic<bool> stuck{false}, inside{false};

    static void write(void *argument, enum log_level, const char *line, size_t length)
    {
        auto *self = static_cast<Sink *>(argument);
        self->inside = true;
        while (self->stuck)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        std::lock_guard<std::mutex> guard(self->lock);
        self->lines.emplace_back(line, length);
        self->inside = false;
    }
    log_sink of(log_level level, log_format format) { return {write, this, level, format}; }
    size_t count()
    {
        std::lock_guard<std::mutex> guard(lock);
        return lines.size();
    }
    std::string at(size_t index)
    {
        EXPECT_TRUE(until([&] { return count() > index; }));
        std::lock_guard<std::mutex> guard(lock);
        return index < lines.size() ? lines[index] : "";
    }
};

// A line without its time.
std::string rest(const std::string &line)
{
    EXPECT_GT(line.size(), 25u);
    EXPECT_EQ(line.substr(0, 2), "20");
    EXPECT_EQ(line[23], 'Z');
    return line.substr(25);
}

class Log : public ::testing::Test {
protected:
    Sink sink;
    struct runtime *runtime = nullptr;
    struct scope *scope = nullptr;

    void begin(log_level level, log_format format, const char *prefix = "", unsigned workers = 1)
    {
        runtime_config config;
        runtime_config_init(&config);
        config.workers = workers;
        config.threads = workers > 1;
        config.driver = DRIVER_EPOLL;
        ASSERT_EQ(runtime_new(&runtime, &config), 0);
        scope = scope_new(runtime, prefix);
        log_sink to = sink.of(level, format);
        scope_log_to(scope, &to);
    }
    void TearDown() override
    {
        scope_free(scope);
        runtime_free(runtime);
    }
};

TEST_F(Log, WritesALineOfText)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_write(scope, nullptr, LOG_LEVEL_INFO, "conn_open", "peer=%s streams=%u", "12D3Koo", 2u);
    EXPECT_EQ(rest(sink.at(0)), "INFO conn_open peer=12D3Koo streams=2\n");
}

TEST_F(Log, BeginsWithThePrefixOfItsScope)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "alpha");
    log_write(scope, nullptr, LOG_LEVEL_ERROR, "x", "a=%d", -1);
    log_write(scope, nullptr, LOG_LEVEL_WARN, "nothing", " ");
    EXPECT_EQ(rest(sink.at(0)), "ERROR x node=alpha a=-1\n");
    EXPECT_EQ(rest(sink.at(1)), "WARN nothing node=alpha\n");
}

TEST_F(Log, WhatAPeerSaidCannotForgeFields)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_write(scope, nullptr, LOG_LEVEL_INFO, "id", "agent=%s n=%d", "evil 1.0 level=error\n\x1b[31m\"q\"\\", 3);
    EXPECT_EQ(rest(sink.at(0)),
              "INFO id agent=\"evil 1.0 level=error\\u000a\\u001b[31m\\\"q\\\"\\\\\" n=3\n");
    log_write(scope, nullptr, LOG_LEVEL_INFO, "id", "agent=%s", "");
    EXPECT_EQ(rest(sink.at(1)), "INFO id agent=\"\"\n");
}

TEST_F(Log, WritesJson)
{
    begin(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, "n1");
    log_write(scope, nullptr, LOG_LEVEL_DEBUG, "event", "text=%s number=%u digits=%s both=%s:%u", "a b", 7u, "12",
              "h", 3333u);
    std::string line = sink.at(0);
    EXPECT_EQ(line.substr(0, 11), "{\"time\":\"20");
    EXPECT_EQ(line.substr(line.find("\"level\"")),
              "\"level\":\"debug\",\"event\":\"event\",\"node\":\"n1\",\"text\":\"a b\",\"number\":7,"
              "\"digits\":\"12\",\"both\":\"h:3333\"}\n");
}

TEST_F(Log, JsonIsUtf8WhateverAPeerSends)
{
    begin(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_write(scope, nullptr, LOG_LEVEL_INFO, "e", "a=%s", "gr\xc3\xbc\xc3\x9f \xff\xc3( \xed\xa0\x80 \xc0\x80");
    std::string line = sink.at(0);
    EXPECT_NE(line.find("\"a\":\"gr\xc3\xbc\xc3\x9f ?\?( ??\? ?\?\""), std::string::npos) << line;
}

TEST_F(Log, KnowsTheConversionsOfPrintf)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    const char *volatile nothing = nullptr;
    log_write(scope, nullptr, LOG_LEVEL_INFO, "e",
              "a=%lu b=%llu c=%zu d=%x e=%.*s f=%c g=%5.2f h=%% i=%ld j=0x%04x k=%hu l=%s", 1ul, 2ull, size_t{3}, 255u,
              3, "abcdef", 'z', 1.5, -9l, 10u, static_cast<unsigned short>(8), nothing);
    EXPECT_EQ(rest(sink.at(0)),
              "INFO e a=1 b=2 c=3 d=ff e=abc f=z g=\" 1.50\" h=% i=-9 j=0x000a k=8 l=-\n");
}

TEST_F(Log, LongLinesAreCutAndStayWhole)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    std::string longest(5000, 'x'), quotes(400, '"');
    log_write(scope, nullptr, LOG_LEVEL_INFO, "e", "a=%d b=%s c=%d", 1, longest.c_str(), 2);
    log_write(scope, nullptr, LOG_LEVEL_INFO, "e", "a=%d b=%s", 1, quotes.c_str());
    for (size_t i = 0; i < 2; i++) {
        std::string line = sink.at(i);
        EXPECT_LE(line.size(), static_cast<size_t>(LOG_LINE_BYTES_MAX));
        EXPECT_NE(line.find("\"a\":1"), std::string::npos) << line;
        EXPECT_EQ(line.substr(line.size() - 14), ",\"cut\":\"...\"}\n") << line;
    }
}

void take(log_line *line, const char *fields, ...)
{
    va_list arguments;
    va_start(arguments, fields);
    log_line_take(line, fields, &arguments);
    va_end(arguments);
}

TEST(LogLine, HoldsNoMoreThanItsTextWhateverTheLengths)
{
    for (size_t length = 0; length < 2 * LOG_LINE_BYTES_MAX; length++) {
        struct {
            log_line line;
            char behind[2 * LOG_LINE_BYTES_MAX];
        } memory = {};
        std::string value(length, 'a');
        take(&memory.line, "agent=%s peer=%s streams=%d", value.c_str(), value.c_str(), 7);
        ASSERT_LE(memory.line.length, sizeof(memory.line.text)) << length;
        for (char c : memory.behind)
            ASSERT_EQ(c, 0) << length;
    }
}

TEST_F(Log, LongTextEndsInDots)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_write(scope, nullptr, LOG_LEVEL_INFO, "e", "b=%s", std::string(5000, 'x').c_str());
    std::string line = sink.at(0);
    EXPECT_LE(line.size(), static_cast<size_t>(LOG_LINE_BYTES_MAX));
    EXPECT_EQ(line.substr(line.size() - 4), "...\n");
}

TEST_F(Log, WhatIsOffIsNotWritten)
{
    begin(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    EXPECT_FALSE(log_enabled(scope, LOG_LEVEL_INFO));
    EXPECT_TRUE(log_enabled(scope, LOG_LEVEL_ERROR));
    log_write(scope, nullptr, LOG_LEVEL_INFO, "off", "a=%d", 1);
    log_write(scope, nullptr, LOG_LEVEL_WARN, "on", "a=%d", 1);
    EXPECT_EQ(rest(sink.at(0)), "WARN on a=1\n");
    log_sink more = sink.of(LOG_LEVEL_TRACE, LOG_FORMAT_TEXT);
    scope_log_to(scope, &more);
    EXPECT_TRUE(log_enabled(scope, LOG_LEVEL_TRACE));
    scope_log_to(scope, nullptr);
    EXPECT_FALSE(log_enabled(scope, LOG_LEVEL_ERROR));
}

TEST_F(Log, TheEndOfAScopeWritesItsLastLines)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    struct scope *short_lived = scope_new(runtime, "s");
    log_sink to = sink.of(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    scope_log_to(short_lived, &to);
    for (int i = 0; i < 100; i++)
        log_write(short_lived, nullptr, LOG_LEVEL_INFO, "e", "i=%d", i);
    scope_free(short_lived);
    EXPECT_EQ(sink.count(), 100u);
}

TEST_F(Log, ScopesThatComeAndGoLeaveNothingBehind)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_sink to = sink.of(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    size_t before = 0;
    for (unsigned i = 0; i < 2100; i++) {
        struct scope *other = scope_new(runtime, "other");
        scope_log_to(other, &to);
        log_write(other, nullptr, LOG_LEVEL_INFO, "e", "a=%d", 1);
        scope_free(other);
        sink.lines.clear(); /* nobody writes there now */
        if (i == 100)
            before = mallinfo2().uordblks; /* 0 where a sanitizer stands before the heap */
    }
    EXPECT_LT(mallinfo2().uordblks, before + 65536);
}

TEST_F(Log, AFullRingCountsAndTells)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    sink.stuck = true;
    log_write(scope, nullptr, LOG_LEVEL_INFO, "first", "i=%d", 0);
    ASSERT_TRUE(until([&] { return sink.inside.load(); }));
    const int more = 1500;
    for (int i = 0; i < more; i++)
        log_write(scope, nullptr, LOG_LEVEL_INFO, "e", "i=%d", i);
    sink.stuck = false;
    ASSERT_TRUE(until([&] { return sink.count() >= LOG_RING_LINES; }));
    std::string told;
    ASSERT_TRUE(until([&] {
        std::lock_guard<std::mutex> guard(sink.lock);
        for (const std::string &line : sink.lines)
            if (line.find("log_dropped") != std::string::npos)
                told = line;
        return !told.empty();
    }));
    unsigned dropped = 0;
    ASSERT_EQ(sscanf(told.c_str() + told.find("lines="), "lines=%u", &dropped), 1) << told;
    EXPECT_EQ(sink.count() - 1 + dropped, 1u + more);
}

TEST_F(Log, WorkersAndOtherThreadsWriteTogether)
{
    begin(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "", 2);
    Script script;
    script.receive = [&](actor_context *context, message *m) {
        if (m->type == OWN)
            LOG(context, LOG_LEVEL_INFO, "from_worker", "i=%d", 1);
        stops(context, m);
    };
    for (unsigned i = 0; i < 2; i++) {
        message start = {};
        start.body.pointer[2] = &script;
        runtime_spawn(runtime, i, script_class(1024), scope, &start);
    }
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; t++)
        threads.emplace_back([&] {
            for (int i = 0; i < 200; i++) {
                log_write(scope, nullptr, LOG_LEVEL_INFO, "from_outside", "i=%d", i);
                for (uint32_t w = 0; w < 2; w++) {
                    message m = to({w << 24 | 1, 1}, OWN);
                    runtime_post(runtime, &m);
                }
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    for (uint32_t w = 0; w < 2; w++) {
        message m = to({w << 24 | 1, 1}, MESSAGE_STOP);
        runtime_post(runtime, &m);
    }
    EXPECT_TRUE(until([&] { return sink.count() == 400 + 800; })) << sink.count();
    scope_stats stats;
    EXPECT_TRUE(until([&] { return scope_stats_read(scope, &stats), stats.actors_live == 0; }));
}

// The sink hangs: workers go on, and the end comes all the same.
TEST(LogStuck, StopsNothing)
{
    static Sink sink; // the thread that hangs holds it beyond the runtime
    runtime_config config;
    runtime_config_init(&config);
    config.threads = false;
    config.driver = DRIVER_EPOLL;
    struct runtime *runtime = nullptr;
    ASSERT_EQ(runtime_new(&runtime, &config), 0);
    struct scope *scope = scope_new(runtime, "");
    log_sink to = sink.of(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    scope_log_to(scope, &to);
    sink.stuck = true;
    for (int i = 0; i < 5000; i++) {
        log_write(scope, runtime_worker(runtime, 0), LOG_LEVEL_INFO, "e", "i=%d", i);
        runtime_turn(runtime, 0);
    }
    auto before = std::chrono::steady_clock::now();
    scope_free(scope);
    runtime_free(runtime);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(4));
    EXPECT_LE(sink.count(), 0u);
    ASSERT_TRUE(until([&] { return sink.inside.load(); }));
    sink.stuck = false;
    EXPECT_TRUE(until([&] { return !sink.inside; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(sink.count(), 1u) << "the line it hung in, and none after";
}

} // namespace
