#include "machine.h"

#include <cstdio>
#include <sys/resource.h>
#include <vector>

extern "C" {
#define _Static_assert static_assert
#include "runtime/inner.h"
#include "runtime/semaphore.h"
}

// Watches when memory is out.

namespace {

// Takes no more memory from the system than it has by now, and has no large piece to spare.
class Poor {
public:
    Poor()
    {
        unsigned long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        (void)!fscanf(file, "%lu", &pages);
        fclose(file);
        getrlimit(RLIMIT_AS, &before_);
        rlimit now = {pages * 4096, before_.rlim_max};
        setrlimit(RLIMIT_AS, &now);
        while (auto *piece = static_cast<Piece *>(malloc(sizeof(Piece)))) {
            piece->next = pieces_;
            pieces_ = piece;
        }
    }
    ~Poor()
    {
        setrlimit(RLIMIT_AS, &before_);
        while (Piece *piece = pieces_) {
            pieces_ = piece->next;
            free(piece);
        }
    }

private:
    struct Piece {
        Piece *next;
        char bytes[1 << 20];
    };
    rlimit before_;
    Piece *pieces_ = nullptr;
};

struct Watcher : Script {
    unsigned deaths = 0, unwatched = 0;
    Watcher()
    {
        receive = [this](actor_context *context, message *m) {
            if (m->type == MESSAGE_DEATH && m->body.i64[0] == 0)
                deaths++;
            if (m->type == MESSAGE_DEATH && m->body.i64[0] == P2P_ERR_CALL_NOMEM)
                unwatched++;
            stops(context, m);
        };
    }
};

class Watch : public ::testing::Test {
protected:
    enum { MANY = 65536 }; // their table is larger than what the heap may have to spare
    Still machine;
    Watcher watcher;
    Script target;
    actor_ref from = machine.spawn(&watcher), at = machine.spawn(&target);

    void SetUp() override
    {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        GTEST_SKIP() << "a sanitizer's memory is not ours to bound";
#endif
    }

    void TearDown() override
    {
        for (actor_ref ref : {from, at})
            if (actor_context_of(machine.worker(), ref).scope)
                machine.stop(ref);
    }

    void watch()
    {
        actor_context context = actor_context_of(machine.worker(), from);
        actor_watch(&context, at);
    }

    // The next watch needs a larger table.
    unsigned fill()
    {
        unsigned count = 0;
        for (; machine.worker()->watch_count < MANY || machine.worker()->watch_count < machine.worker()->watch_capacity;
             count++)
            watch();
        return count;
    }

    void turn_until_quiet()
    {
        for (int i = 0; i < MANY / ACTOR_BATCH_MESSAGES_MAX + 4; i++)
            machine.turn();
    }
};

TEST_F(Watch, ThatFindsNoMemorySaysSoAtOnce)
{
    unsigned count = fill();
    {
        Poor poor;
        for (int i = 0; i < 3; i++)
            watch();
    }
    machine.turn(2);
    EXPECT_EQ(watcher.unwatched, 3u);
    EXPECT_EQ(watcher.deaths, 0u);
    watch(); // there is memory again
    machine.turn(2);
    EXPECT_EQ(watcher.unwatched, 3u);
    machine.stop(at);
    turn_until_quiet();
    EXPECT_EQ(watcher.deaths, count + 1);
    EXPECT_EQ(watcher.unwatched, 3u);
}

// Somebody who asks for permits.
struct Asker : Script {
    std::vector<uint64_t> granted;
    Asker()
    {
        receive = [this](actor_context *context, message *m) {
            if (m->type == MESSAGE_GRANT)
                granted.push_back(m->body.u64[0]);
            stops(context, m);
        };
    }
};

// Who cannot be watched is refused if he waits, and his permit comes back by itself.
TEST_F(Watch, ASemaphoreDoesWithoutWhomItCannotWatch)
{
    actor_ref semaphore;
    semaphore_config config = {1, 0};
    Asker first, second;
    ASSERT_EQ(semaphore_spawn(machine.worker(), &semaphore, machine.scope, &config), 0);
    actor_ref askers[] = {machine.spawn(&first), machine.spawn(&second)};
    fill();
    {
        Poor poor;
        for (actor_ref asker : askers) {
            actor_context context = actor_context_of(machine.worker(), asker);
            semaphore_acquire(&context, semaphore, 7, SEMAPHORE_PRIORITY_NORMAL);
        }
        machine.turn(3);
    }
    ASSERT_EQ(first.granted.size(), 1u);
    ASSERT_EQ(second.granted.size(), 1u);
    EXPECT_EQ(second.granted[0], 0u);
    semaphore_stats stats;
    semaphore_stats_read(machine.worker(), semaphore, &stats);
    EXPECT_EQ(stats.held, 0u);
    EXPECT_EQ(stats.waiting, 0u);
    actor_context context = actor_context_of(machine.worker(), askers[0]);
    semaphore_release(&context, semaphore, 7); // of what is not there any more
    machine.turn(3);
    for (actor_ref ref : {semaphore, askers[0], askers[1]})
        machine.stop(ref);
    machine.stop(at);
    turn_until_quiet();
}

} // namespace
