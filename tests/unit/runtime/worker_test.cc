#include "machine.h"

#include <atomic>
#include <csignal>
#include <fstream>
#include <mutex>
#include <vector>

#include <unistd.h>

extern "C" {
#include "runtime/cpus.h"
}

namespace {

// An actor of any worker that tells its reference.
struct Announced : Script {
    std::atomic<uint64_t> packed{0};
    std::atomic<bool> ended{false};
    std::function<void(actor_context *, message *)> on_mail;
    Announced()
    {
        receive = [this](actor_context *context, message *m) {
            if (m->type == MESSAGE_START)
                packed = uint64_t{context->self.slot} << 32 | context->self.generation;
            if (on_mail)
                on_mail(context, m);
            stops(context, m);
        };
        fini = [this](actor_context *) { ended = true; };
    }
    // Its actor must have been told to stop.
    ~Announced() { EXPECT_TRUE(until([&] { return ended.load(); })); }
    actor_ref ref()
    {
        EXPECT_TRUE(until([&] { return packed != 0; }));
        uint64_t value = packed;
        return {static_cast<uint32_t>(value >> 32), static_cast<uint32_t>(value)};
    }
};

TEST(Worker, SpawnsWhereItIsTold)
{
    Machine machine(2);
    Announced a, b;
    machine.spawn_at(0, &a);
    machine.spawn_at(1, &b);
    EXPECT_EQ(actor_ref_worker(a.ref()), 0u);
    EXPECT_EQ(actor_ref_worker(b.ref()), 1u);
    machine.post(to(a.ref(), MESSAGE_STOP));
    machine.post(to(b.ref(), MESSAGE_STOP));
}

TEST(Worker, BallsBetweenTwoWorkersArriveInOrder)
{
    Machine machine(2);
    const uint64_t rounds = 5000, window = 20;
    Announced a, b;
    std::atomic<bool> done{false};
    std::atomic<uint64_t> wrong{0};
    uint64_t returned = 0, expected = 0;
    actor_ref server = (b.on_mail = [&](actor_context *context, message *m) {
        if (m->type != OWN)
            return;
        if (m->body.u64[0] != expected++)
            wrong++;
        message back = to(m->from, OWN_2, MESSAGE_DATA);
        back.body = m->body;
        if (actor_tell(context, &back))
            wrong++;
    }, machine.spawn_at(1, &b), b.ref());
    a.on_mail = [&](actor_context *context, message *m) {
        auto serve = [&](uint64_t number) {
            message ball = to(server, OWN, MESSAGE_DATA);
            ball.body.u64[0] = number;
            if (actor_tell(context, &ball))
                wrong++;
        };
        if (m->type == OWN)
            for (uint64_t i = 0; i < window; i++)
                serve(i);
        if (m->type != OWN_2)
            return;
        if (m->body.u64[0] != returned++)
            wrong++;
        if (returned + window <= rounds)
            serve(returned + window - 1);
        done = returned == rounds;
    };
    machine.spawn_at(0, &a);
    machine.post(to(a.ref(), OWN));
    EXPECT_TRUE(until([&] { return done.load(); }));
    EXPECT_EQ(wrong, 0u);
    machine.post(to(a.ref(), MESSAGE_STOP));
    machine.post(to(b.ref(), MESSAGE_STOP));
}

TEST(Worker, MailFromFourThreadsArrivesWholeAndInOrder)
{
    Machine machine(2);
    const uint64_t each = 20000;
    Announced script;
    uint64_t next[4] = {};
    std::atomic<uint64_t> got{0}, wrong{0};
    script.on_mail = [&](actor_context *, message *m) {
        if (m->type != OWN)
            return;
        if (m->body.u64[1] != next[m->body.u64[0]]++ || m->buffer->data[0] != m->body.u64[0])
            wrong++;
        got++;
    };
    machine.spawn_at(1, &script, 65535);
    actor_ref ref = script.ref();
    std::vector<std::thread> threads;
    for (uint64_t thread = 0; thread < 4; thread++)
        threads.emplace_back([&, thread] {
            for (uint64_t i = 0; i < each; i++) {
                message m = to(ref, OWN, MESSAGE_DATA);
                m.body.u64[0] = thread;
                m.body.u64[1] = i;
                m.buffer = buffer_new_foreign(1);
                m.buffer->data[0] = static_cast<uint8_t>(thread);
                while (machine.post(m))
                    std::this_thread::yield();
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    EXPECT_TRUE(until([&] { return got == 4 * each; }));
    EXPECT_EQ(wrong, 0u);
    machine.post(to(ref, MESSAGE_STOP));
}

TEST(Worker, ThreadsOutsideRunOutOfCreditForDataButNotForControl)
{
    Still machine;
    uint64_t data = 0, control = 0;
    Script script;
    script.receive = [&](actor_context *context, message *m) {
        (m->type == OWN ? data : control)++;
        stops(context, m);
    };
    actor_ref ref = machine.spawn(&script, 65535);
    uint64_t admitted = 0;
    while (machine.post(to(ref, OWN, MESSAGE_DATA)) == 0)
        admitted++;
    EXPECT_EQ(admitted, uint64_t{WORKER_FOREIGN_MESSAGES_MAX} / 8 * 7);
    for (int i = 0; i < 10000; i++)
        EXPECT_EQ(machine.post(to(ref, OWN_2)), 0);
    EXPECT_EQ(machine.post(to(ref, OWN, MESSAGE_DATA)), P2P_ERR_CALL_FULL);
    while (control < 10000)
        machine.turn();
    EXPECT_EQ(data, admitted) << "what was admitted came before";
    EXPECT_EQ(machine.post(to(ref, OWN, MESSAGE_DATA)), 0) << "credit is back";
    machine.post(to(ref, MESSAGE_STOP));
    while (machine.live())
        machine.turn();
}

TEST(Worker, MailOfOthersWaitsForAFullMailboxAndIsNotLost)
{
    Still machine;
    std::vector<uint64_t> seen;
    Script script, sender;
    script.receive = [&](actor_context *context, message *m) {
        seen.push_back(m->body.u64[0]);
        stops(context, m);
    };
    actor_ref ref = machine.spawn(&script, 4), other = machine.spawn(&sender);
    for (uint64_t i = 0; i < 100; i++) {
        message m = to(ref, OWN, MESSAGE_DATA);
        m.body.u64[0] = i;
        EXPECT_EQ(machine.post(m), 0);
    }
    machine.turn();
    EXPECT_EQ(seen.size(), 4u) << "the mailbox's bound holds";
    actor_context context = actor_context_of(machine.worker(), other);
    machine.turn(60);
    ASSERT_EQ(seen.size(), 100u);
    for (uint64_t i = 0; i < 100; i++)
        EXPECT_EQ(seen[i], i);
    actor_exit(&context);
    machine.stop(ref);
}

// One worker floods another that is stuck: data is refused at the lane's bound,
// control is not, order holds, and the sender is told when there is room.
TEST(Worker, AFullLaneRefusesDataAndKeepsControl)
{
    Machine machine(2);
    std::atomic<bool> open{false}, flooded{false}, resumed{false};
    std::atomic<uint64_t> data{0}, control{0}, wrong{0}, got{0};
    uint64_t next = 0;
    Announced slow, flood;
    slow.on_mail = [&](actor_context *, message *m) {
        if (m->type == OWN_3)
            until([&] { return open.load(); });
        if (m->type != OWN && m->type != OWN_2)
            return;
        if (m->body.u64[0] != next++)
            wrong++;
        got++;
    };
    machine.spawn_at(1, &slow, 65535);
    actor_ref target = slow.ref();
    flood.on_mail = [&](actor_context *context, message *m) {
        if (m->type != OWN)
            return;
        uint64_t number = 0;
        for (;; number++) {
            message one = to(target, OWN, MESSAGE_DATA);
            one.body.u64[0] = number;
            if (actor_tell(context, &one))
                break;
        }
        data = number;
        for (int i = 0; i < 6000; i++, number++) {
            message one = to(target, OWN_2);
            one.body.u64[0] = number;
            if (actor_tell(context, &one))
                wrong++;
        }
        message refused = to(target, OWN, MESSAGE_DATA);
        if (!actor_tell(context, &refused))
            wrong++;
        control = 6000;
        flooded = true;
    };
    flood.pump = [&](actor_context *) { resumed = resumed || got > 0; };
    machine.spawn_at(0, &flood);
    machine.post(to(target, OWN_3));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    machine.post(to(flood.ref(), OWN));
    EXPECT_TRUE(until([&] { return flooded.load(); }));
    EXPECT_GE(data, uint64_t{WORKER_LANE_MESSAGES} - WORKER_LANE_CONTROL_RESERVE);
    EXPECT_LE(data, uint64_t{WORKER_LANE_MESSAGES});
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    open = true;
    EXPECT_TRUE(until([&] { return got == data + control; }));
    EXPECT_TRUE(until([&] { return resumed.load(); })) << "the sender hears of the room";
    EXPECT_EQ(wrong, 0u);
    machine.post(to(target, MESSAGE_STOP));
    machine.post(to(flood.ref(), MESSAGE_STOP));
}

TEST(Worker, MailOfAnotherWorkerKeepsToTheMailboxesBound)
{
    Machine machine(2);
    std::atomic<uint64_t> got{0}, wrong{0}, sent{0};
    uint64_t next = 0;
    Announced slow, source;
    slow.on_mail = [&](actor_context *, message *m) {
        if (m->type != OWN)
            return;
        if (m->body.u64[0] != next++)
            wrong++;
        got++;
    };
    machine.spawn_at(1, &slow, 4);
    actor_ref target = slow.ref();
    source.pump = [&](actor_context *context) {
        while (sent < 20000) {
            message m = to(target, OWN, MESSAGE_DATA);
            m.body.u64[0] = sent;
            if (actor_tell(context, &m))
                return;
            sent++;
        }
    };
    machine.spawn_at(0, &source);
    EXPECT_TRUE(until([&] { return got == 20000; }, 60000)) << sent << " sent, " << got << " got";
    EXPECT_EQ(wrong, 0u);
    machine.post(to(target, MESSAGE_STOP));
    machine.post(to(source.ref(), MESSAGE_STOP));
}

// Targets die on one worker while watchers on the other take aim.
TEST(Worker, EveryWatchAcrossWorkersEndsInOneDeath)
{
    Machine machine(2);
    const uint64_t pairs = 400;
    std::atomic<uint64_t> deaths{0}, finished{0};
    Announced watcher;
    Script target;
    target.receive = [](actor_context *context, message *m) {
        message hello = to(m->from, OWN_2);
        if (m->type == MESSAGE_START)
            actor_tell(context, &hello);
        actor_exit(context);
    };
    watcher.on_mail = [&](actor_context *context, message *m) {
        if (m->type == OWN)
            for (uint64_t i = 0; i < pairs; i++) {
                message start = {};
                start.body.pointer[2] = &target;
                actor_spawn_on(context, 1, script_class(1024), machine.scope, &start);
            }
        if (m->type == OWN_2)
            actor_watch(context, m->from);
        if (m->type == MESSAGE_DEATH)
            deaths++;
        finished += m->type == OWN_2;
    };
    machine.spawn_at(0, &watcher);
    machine.post(to(watcher.ref(), OWN));
    EXPECT_TRUE(until([&] { return deaths == pairs && finished == pairs; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(deaths, pairs);
    machine.post(to(watcher.ref(), MESSAGE_STOP));
}

TEST(Worker, UnwatchedAcrossWorkersSaysNothing)
{
    Machine machine(2);
    std::atomic<uint64_t> deaths{0};
    Announced watcher, target;
    machine.spawn_at(1, &target);
    actor_ref ref = target.ref();
    watcher.on_mail = [&](actor_context *context, message *m) {
        if (m->type == OWN) {
            actor_watch(context, ref);
            actor_unwatch(context, ref);
            message stop = to(ref, MESSAGE_STOP);
            actor_tell(context, &stop);
        }
        deaths += m->type == MESSAGE_DEATH;
    };
    machine.spawn_at(0, &watcher);
    machine.post(to(watcher.ref(), OWN));
    EXPECT_TRUE(until([&] { return machine.live() == 1; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(deaths, 0u);
    machine.post(to(watcher.ref(), MESSAGE_STOP));
}

TEST(Worker, ASpawnThatFailsElsewhereIsAnsweredWithGone)
{
    Machine machine(2);
    std::atomic<uint32_t> gone{0};
    Announced asker;
    static const actor_class failing = {"failing", 8, 1,
                                        [](actor_context *, void *, const void *) { return -1; },
                                        [](actor_context *, void *, message *) { FAIL(); }, nullptr, nullptr};
    buffer *watched = buffer_new_foreign(1);
    asker.on_mail = [&](actor_context *context, message *m) {
        if (m->type == OWN) {
            message start = {};
            start.request_id = 9;
            start.buffer = buffer_ref(watched);
            actor_spawn_on(context, 1, &failing, machine.scope, &start);
        }
        if (m->type == MESSAGE_GONE)
            gone = m->request_id;
    };
    machine.spawn_at(0, &asker);
    machine.post(to(asker.ref(), OWN));
    EXPECT_TRUE(until([&] { return gone == 9; }));
    EXPECT_TRUE(until([&] { return __atomic_load_n(&watched->refs, __ATOMIC_ACQUIRE) == 1; }));
    buffer_unref(watched);
    machine.post(to(asker.ref(), MESSAGE_STOP));
}

TEST(Worker, ARequestThatCrossesADeathIsAnsweredWithGone)
{
    Machine machine(2);
    std::atomic<uint64_t> answers{0};
    Announced asker, server;
    machine.spawn_at(1, &server);
    actor_ref ref = server.ref();
    asker.on_mail = [&](actor_context *context, message *m) {
        if (m->type == OWN) {
            message stop = to(ref, MESSAGE_STOP);
            actor_tell(context, &stop);
            for (uint32_t i = 0; i < 100; i++) {
                message request = to(ref, OWN, MESSAGE_REQUEST, i);
                actor_tell(context, &request);
            }
        }
        answers += m->type == MESSAGE_GONE;
    };
    machine.spawn_at(0, &asker);
    machine.post(to(asker.ref(), OWN));
    EXPECT_TRUE(until([&] { return answers == 100; }));
    machine.post(to(asker.ref(), MESSAGE_STOP));
}

// Buffers of either pool are in lanes, mailboxes and the stack when all ends.
TEST(Worker, StopsWithMailInFlight)
{
    for (int round = 0; round < 10; round++) {
        Machine machine(2);
        Announced a, b;
        auto bounce = [](actor_context *context, message *m) {
            if (m->type != OWN)
                return;
            for (int i = 0; i < 2; i++) {
                message more = to(m->from, OWN, MESSAGE_DATA);
                more.buffer = buffer_new(worker_buffers(context->worker), 100);
                if (!more.buffer || actor_tell(context, &more))
                    buffer_unref(more.buffer);
            }
        };
        a.on_mail = b.on_mail = bounce;
        machine.spawn_at(0, &a);
        machine.spawn_at(1, &b);
        actor_ref one = a.ref(), two = b.ref();
        message first = to(one, OWN);
        first.from = two;
        machine.post(first);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        machine.post(to(two, MESSAGE_STOP));
        machine.post(to(one, MESSAGE_STOP));
        for (int i = 0; i < 50; i++) {
            message late = to(two, OWN, MESSAGE_REQUEST);
            late.buffer = buffer_new_foreign(10);
            late.from = one;
            if (machine.post(late))
                buffer_unref(late.buffer);
        }
    }
}

TEST(Worker, ASleepingWorkerUsesNoCpuAndIsWoken)
{
    Machine machine(1);
    std::atomic<uint64_t> got{0};
    Announced script;
    script.on_mail = [&](actor_context *, message *m) { got += m->type == OWN; };
    machine.spawn_at(0, &script);
    actor_ref ref = script.ref();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    for (uint64_t i = 1; i <= 20; i++) {
        machine.post(to(ref, OWN));
        EXPECT_TRUE(until([&] { return got == i; }));
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    clock_t before = clock();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LT(clock() - before, CLOCKS_PER_SEC / 50);
    machine.post(to(ref, MESSAGE_STOP));
}

TEST(Worker, ItsThreadIsNamedAndBlocksSignals)
{
    Machine machine(2);
    Announced script;
    std::atomic<bool> blocked{false};
    char name[16] = "";
    std::mutex lock;
    script.on_mail = [&](actor_context *, message *) {
        sigset_t set;
        pthread_sigmask(SIG_SETMASK, nullptr, &set);
        blocked = sigismember(&set, SIGINT) && sigismember(&set, SIGTERM) && sigismember(&set, SIGPIPE);
        std::lock_guard<std::mutex> guard(lock);
        pthread_getname_np(pthread_self(), name, sizeof(name));
    };
    machine.spawn_at(1, &script);
    script.ref();
    EXPECT_TRUE(until([&] { return blocked.load(); }));
    machine.post(to(script.ref(), MESSAGE_STOP));
    EXPECT_TRUE(until([&] { return machine.live() == 0; }));
    std::lock_guard<std::mutex> guard(lock);
    EXPECT_STREQ(name, "p2p-worker-1");
}

TEST(Worker, TellsWhoseTurnItIs)
{
    Still machine;
    Script script;
    struct worker *during = nullptr;
    script.pump = [&](actor_context *) { during = worker_current(); };
    actor_ref ref = machine.spawn(&script);
    actor_wake(machine.worker(), ref);
    EXPECT_EQ(worker_current(), nullptr);
    machine.turn();
    EXPECT_EQ(during, machine.worker());
    EXPECT_EQ(worker_current(), nullptr);
    machine.stop(ref);
}

TEST(Worker, LocalIsMadeAndFreedOnItsOwnThread)
{
    static std::atomic<int> made{0}, freed{0};
    struct Local {
        std::thread::id thread;
    };
    {
        Machine machine(2, true, [](runtime_config *config) {
            config->local_new = [](struct worker *worker, void *argument) -> void * {
                EXPECT_EQ(argument, &made);
                EXPECT_EQ(worker_current(), worker);
                made++;
                return new Local{std::this_thread::get_id()};
            };
            config->local_free = [](struct worker *, void *local) {
                auto *mine = static_cast<Local *>(local);
                EXPECT_EQ(mine->thread, std::this_thread::get_id());
                freed++;
                delete mine;
            };
            config->local_argument = &made;
        });
        EXPECT_EQ(made, 2);
        EXPECT_NE(worker_local(machine.worker(1)), nullptr);
    }
    EXPECT_EQ(freed, 2);
}

TEST(Runtime, TurnsWaitForMailFromOutside)
{
    Still machine;
    std::atomic<bool> got{false};
    Script script;
    script.receive = [&](actor_context *context, message *m) {
        got = true;
        stops(context, m);
    };
    actor_ref ref = machine.spawn(&script);
    std::thread poster([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        machine.post(to(ref, MESSAGE_STOP));
    });
    while (!got)
        runtime_turn(machine.runtime, UINT64_MAX);
    poster.join();
}

TEST(Runtime, SaysWhichDriverCannotBeHad)
{
    runtime_config config;
    runtime_config_init(&config);
    char text[200] = "";
    config.error_text = text;
    config.error_text_bytes = sizeof(text);
    setenv("CHORUS_P2P_DRIVER", "kqueue", 1);
    struct runtime *runtime = nullptr;
    EXPECT_EQ(runtime_new(&runtime, &config), P2P_ERR_NODE_CONFIG);
    EXPECT_NE(strstr(text, "CHORUS_P2P_DRIVER=kqueue"), nullptr) << text;
    setenv("CHORUS_P2P_DRIVER", "epoll", 1);
    ASSERT_EQ(runtime_new(&runtime, &config), 0);
    EXPECT_STREQ(runtime_driver_name(runtime), "epoll");
    runtime_free(runtime);
    unsetenv("CHORUS_P2P_DRIVER");
}

TEST(Runtime, CountsTheCpusOfItsQuota)
{
    EXPECT_GE(cpus_usable(), 1u);
    EXPECT_EQ(cpus_quota("max 100000\n"), 0u);
    EXPECT_EQ(cpus_quota("200000 100000\n"), 2u);
    EXPECT_EQ(cpus_quota("150000 100000\n"), 2u);
    EXPECT_EQ(cpus_quota("50000 100000\n"), 1u);
    EXPECT_EQ(cpus_quota("1 0\n"), 0u);
    EXPECT_EQ(cpus_quota(""), 0u);
}

TEST(Runtime, DumpsItsLastEvents)
{
    Still machine;
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    Script script;
    script.pump = [&](actor_context *) { runtime_dump_events(ends[1]); };
    actor_ref ref = machine.spawn(&script);
    actor_wake(machine.worker(), ref);
    machine.turn();
    char text[4096] = "";
    ASSERT_GT(read(ends[0], text, sizeof(text) - 1), 0);
    EXPECT_NE(strstr(text, "spawn"), nullptr) << text;
    EXPECT_NE(strstr(text, "script"), nullptr) << text;
    close(ends[0]);
    close(ends[1]);
    machine.stop(ref);
}

TEST(Scope, CountsItsOwn)
{
    Machine machine(2);
    struct scope *other = scope_new(machine.runtime, "other");
    Announced a, b;
    auto count = [](actor_context *context, message *m) {
        if (m->type == OWN)
            scope_count(context->scope, context->worker, 3, m->body.i64[0]);
    };
    a.on_mail = b.on_mail = count;
    machine.spawn_at(0, &a);
    machine.spawn_at(1, &b);
    for (int i = 0; i < 100; i++) {
        for (Announced *script : {&a, &b}) {
            message m = to(script->ref(), OWN);
            m.body.i64[0] = script == &a ? 5 : -2;
            machine.post(m);
        }
        scope_count(machine.scope, nullptr, 3, 1);
    }
    EXPECT_TRUE(until([&] { return scope_counter(machine.scope, 3) == 400; }));
    EXPECT_EQ(scope_counter_of(machine.scope, 0, 3), 500);
    EXPECT_EQ(scope_counter_of(machine.scope, 1, 3), -200);
    EXPECT_EQ(scope_counter(other, 3), 0);
    scope_set_owner(other, &a);
    EXPECT_EQ(scope_owner(other), &a);
    scope_free(other);
    machine.post(to(a.ref(), MESSAGE_STOP));
    machine.post(to(b.ref(), MESSAGE_STOP));
}

} // namespace
