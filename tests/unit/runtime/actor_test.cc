#include "machine.h"

#include <vector>

namespace {

struct Seen {
    uint16_t type;
    uint32_t request_id;
    uint64_t value;
    actor_ref from;
};

// Notes what it receives.
struct Recorder : Script {
    std::vector<Seen> seen;
    unsigned pumps = 0, ended = 0;
    Recorder()
    {
        receive = [this](actor_context *context, message *m) {
            seen.push_back({m->type, m->request_id, m->body.u64[0], m->from});
            stops(context, m);
        };
        pump = [this](actor_context *) { pumps++; };
        fini = [this](actor_context *) { ended++; };
    }
};

class Actor : public testing::TestWithParam<driver_kind> {};

INSTANTIATE_TEST_SUITE_P(All, Actor, testing::Values(DRIVER_URING, DRIVER_EPOLL, DRIVER_SIM),
                         [](const testing::TestParamInfo<driver_kind> &it) {
                             return it.param == DRIVER_URING ? "Uring" : it.param == DRIVER_EPOLL ? "Epoll" : "Sim";
                         });

// Acts as `self` outside a turn.
int tell(Machine &machine, actor_ref self, message m)
{
    actor_context context = actor_context_of(machine.worker(), self);
    return actor_tell(&context, &m);
}

message numbered(actor_ref ref, uint64_t number, message_kind kind = MESSAGE_DATA)
{
    message m = to(ref, OWN, kind);
    m.body.u64[0] = number;
    return m;
}

TEST_P(Actor, GetsItsMailInOrderAndThenOnePump)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref sender = machine.spawn(&a), receiver = machine.spawn(&b);
    for (uint64_t i = 0; i < 10; i++)
        EXPECT_EQ(tell(machine, sender, numbered(receiver, i)), 0);
    EXPECT_TRUE(b.seen.empty()) << "nothing runs in the sender's call";
    machine.turn();
    ASSERT_EQ(b.seen.size(), 10u);
    for (uint64_t i = 0; i < 10; i++) {
        EXPECT_EQ(b.seen[i].value, i);
        EXPECT_TRUE(actor_ref_equal(b.seen[i].from, sender));
    }
    EXPECT_EQ(b.pumps, 1u);
    EXPECT_EQ(a.pumps, 0u);
    machine.stop(sender);
    machine.stop(receiver);
}

TEST_P(Actor, ThatFailsToStartWasNeverThere)
{
    Still machine(GetParam());
    Recorder script;
    script.init = [](actor_context *context) {
        actor_deadline(context, context->now_ns);
        message m = to(context->self, OWN);
        actor_tell(context, &m);
        return -7;
    };
    actor_ref ref = {};
    EXPECT_EQ(actor_spawn(machine.worker(), &ref, script_class(1024), machine.scope, &script), -7);
    machine.turn();
    EXPECT_TRUE(script.seen.empty());
    EXPECT_EQ(script.ended, 0u) << "no fini without init";
    EXPECT_EQ(machine.live(), 0u);
}

TEST_P(Actor, MayTellItselfFromInit)
{
    Still machine(GetParam());
    Recorder script;
    script.init = [](actor_context *context) {
        message m = to(context->self, OWN_2);
        return actor_tell(context, &m);
    };
    actor_ref ref = machine.spawn(&script);
    machine.turn();
    ASSERT_EQ(script.seen.size(), 1u);
    EXPECT_EQ(script.seen[0].type, OWN_2);
    machine.stop(ref);
}

TEST_P(Actor, MailboxTakesDataUpToItsBoundAndControlBeyond)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref sender = machine.spawn(&a), receiver = machine.spawn(&b, 4);
    for (uint64_t i = 0; i < 4; i++)
        EXPECT_EQ(tell(machine, sender, numbered(receiver, i)), 0);
    message full = numbered(receiver, 99);
    full.buffer = buffer_new_foreign(1);
    EXPECT_EQ(tell(machine, sender, full), P2P_ERR_CALL_FULL);
    EXPECT_EQ(full.buffer->refs, 1u) << "refused: the buffer stays the caller's";
    EXPECT_EQ(tell(machine, sender, to(receiver, OWN, MESSAGE_REQUEST)), P2P_ERR_CALL_FULL);
    EXPECT_EQ(tell(machine, sender, to(receiver, OWN_2)), 0) << "control has room";
    machine.turn();
    EXPECT_EQ(b.seen.size(), 5u);
    EXPECT_EQ(tell(machine, sender, full), 0);
    machine.turn();
    EXPECT_EQ(b.seen.back().value, 99u);
    machine.stop(sender);
    machine.stop(receiver);
}

TEST_P(Actor, ThatMetAFullMailboxIsPumpedWhenThereIsRoom)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref receiver = machine.spawn(&b, 4);
    uint64_t sent = 0, refusals = 0;
    a.pump = [&](actor_context *context) {
        while (sent < 100) {
            message m = numbered(receiver, sent);
            if (actor_tell(context, &m)) {
                refusals++;
                return;
            }
            sent++;
        }
    };
    actor_ref sender = machine.spawn(&a);
    actor_wake(machine.worker(), sender);
    machine.turn(60);
    EXPECT_EQ(b.seen.size(), 100u);
    EXPECT_GT(refusals, 10u);
    for (uint64_t i = 0; i < b.seen.size(); i++)
        EXPECT_EQ(b.seen[i].value, i);
    machine.stop(sender);
    machine.stop(receiver);
}

TEST_P(Actor, TakesABatchATurnAndTheOthersDoNotWait)
{
    Still machine(GetParam());
    Recorder a, b, c;
    actor_ref sender = machine.spawn(&a), busy = machine.spawn(&b), idle = machine.spawn(&c);
    for (uint64_t i = 0; i < 200; i++)
        EXPECT_EQ(tell(machine, sender, numbered(busy, i)), 0);
    EXPECT_EQ(tell(machine, sender, numbered(idle, 0)), 0);
    machine.turn();
    EXPECT_EQ(b.seen.size(), static_cast<size_t>(ACTOR_BATCH_MESSAGES_MAX));
    EXPECT_EQ(c.seen.size(), 1u);
    EXPECT_TRUE(runtime_turn(machine.runtime, 0)) << "more is due at once";
    machine.turn(3);
    EXPECT_EQ(b.seen.size(), 200u);
    EXPECT_FALSE(runtime_turn(machine.runtime, 0));
    for (actor_ref ref : {sender, busy, idle})
        machine.stop(ref);
}

TEST_P(Actor, HasAWholeBatchInEachTurn)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref sender = machine.spawn(&a), receiver = machine.spawn(&b);
    for (uint64_t i = 0; i < 3 * ACTOR_BATCH_MESSAGES_MAX; i++) {
        EXPECT_EQ(tell(machine, sender, numbered(receiver, i)), 0);
        machine.turn();
        ASSERT_EQ(b.seen.size(), i + 1) << "what it took in earlier turns does not count";
    }
    for (actor_ref ref : {sender, receiver})
        machine.stop(ref);
}

TEST_P(Actor, TwoThatTellEachOtherForEverLeaveTheTurn)
{
    Still machine(GetParam());
    Recorder a, b, c;
    actor_ref one = machine.spawn(&a), two = machine.spawn(&b), third = machine.spawn(&c);
    auto bounce = [](actor_context *context, message *m) {
        message back = to(m->from, OWN, MESSAGE_DATA);
        if (m->type == MESSAGE_STOP)
            actor_exit(context);
        else
            actor_tell(context, &back);
    };
    a.receive = b.receive = bounce;
    tell(machine, one, to(two, OWN, MESSAGE_DATA));
    machine.turn();
    tell(machine, one, to(third, OWN));
    machine.turn(2);
    EXPECT_EQ(c.seen.size(), 1u);
    for (actor_ref ref : {one, two, third})
        machine.stop(ref);
}

TEST_P(Actor, AnswersCarryTheRequestsNumber)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref asker = machine.spawn(&a), server = machine.spawn(&b);
    b.receive = [](actor_context *context, message *m) {
        if (m->type == MESSAGE_STOP)
            return actor_exit(context);
        message answer = to({}, OWN_3);
        answer.body.u64[0] = m->body.u64[0] * 2;
        actor_answer(context, m, &answer);
    };
    message request = to(server, OWN, MESSAGE_REQUEST, 77);
    request.body.u64[0] = 21;
    EXPECT_EQ(tell(machine, asker, request), 0);
    machine.turn(2);
    ASSERT_EQ(a.seen.size(), 1u);
    EXPECT_EQ(a.seen[0].type, OWN_3);
    EXPECT_EQ(a.seen[0].request_id, 77u);
    EXPECT_EQ(a.seen[0].value, 42u);
    machine.stop(asker);
    machine.stop(server);
}

TEST_P(Actor, ARequestToTheDeadIsAnsweredWithGone)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref asker = machine.spawn(&a), dead = machine.spawn(&b);
    machine.stop(dead);
    machine.turn();
    message request = to(dead, OWN, MESSAGE_REQUEST, 5);
    request.buffer = buffer_new_foreign(10);
    buffer *watched = buffer_ref(request.buffer);
    EXPECT_EQ(tell(machine, asker, request), 0);
    EXPECT_EQ(watched->refs, 1u) << "the message's reference is gone";
    buffer_unref(watched);
    EXPECT_EQ(tell(machine, asker, to(dead, OWN, MESSAGE_DATA)), 0) << "other mail is dropped";
    EXPECT_EQ(tell(machine, asker, to({}, OWN, MESSAGE_REQUEST, 6)), 0) << "nobody is dead too";
    machine.turn();
    ASSERT_EQ(a.seen.size(), 2u);
    EXPECT_EQ(a.seen[0].type, MESSAGE_GONE);
    EXPECT_EQ(a.seen[0].request_id, 5u);
    EXPECT_TRUE(actor_ref_equal(a.seen[0].from, dead));
    EXPECT_EQ(a.seen[1].request_id, 6u);
    machine.stop(asker);
}

TEST_P(Actor, MailThatWaitsWhenItDiesDiesWithIt)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref asker = machine.spawn(&a), server = machine.spawn(&b);
    buffer *watched = buffer_new_foreign(10);
    tell(machine, asker, to(server, MESSAGE_STOP));
    for (uint32_t id = 1; id <= 3; id++) {
        message request = to(server, OWN, MESSAGE_REQUEST, id);
        request.buffer = buffer_ref(watched);
        EXPECT_EQ(tell(machine, asker, request), 0);
    }
    machine.turn(2);
    EXPECT_EQ(b.seen.size(), 1u) << "only the stop";
    EXPECT_EQ(b.ended, 1u);
    EXPECT_EQ(b.pumps, 0u) << "no pump after the exit";
    ASSERT_EQ(a.seen.size(), 3u);
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT_EQ(a.seen[i].type, MESSAGE_GONE);
        EXPECT_EQ(a.seen[i].request_id, i + 1);
    }
    EXPECT_EQ(watched->refs, 1u);
    buffer_unref(watched);
    scope_stats stats;
    scope_stats_read(machine.scope, &stats);
    EXPECT_EQ(stats.messages_dropped, 3u);
    EXPECT_EQ(stats.actors_live, 1u);
    machine.stop(asker);
}

TEST_P(Actor, ABufferThatAHandlerDoesNotTakeIsUnreffed)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref sender = machine.spawn(&a), receiver = machine.spawn(&b);
    buffer *kept = nullptr;
    b.receive = [&](actor_context *context, message *m) {
        stops(context, m);
        if (m->type == OWN_2) {
            kept = m->buffer;
            m->buffer = nullptr;
        }
    };
    buffer *one = buffer_new_foreign(1), *two = buffer_new_foreign(1);
    buffer_ref(one);
    message m = to(receiver, OWN);
    m.buffer = one;
    tell(machine, sender, m);
    m = to(receiver, OWN_2);
    m.buffer = two;
    tell(machine, sender, m);
    machine.turn();
    EXPECT_EQ(one->refs, 1u);
    EXPECT_EQ(kept, two);
    buffer_unref(one);
    buffer_unref(two);
    machine.stop(sender);
    machine.stop(receiver);
}

TEST_P(Actor, AStaleReferenceNeverReachesTheNextTenant)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref sender = machine.spawn(&a);
    actor_ref old = machine.spawn(&b);
    machine.stop(old);
    machine.turn();
    std::vector<actor_ref> tenants;
    bool reused = false;
    for (int i = 0; i < 1000; i++) {
        actor_ref ref = machine.spawn(&b);
        reused = reused || ref.slot == old.slot;
        EXPECT_FALSE(actor_ref_equal(ref, old));
        tenants.push_back(ref);
    }
    EXPECT_TRUE(reused) << "slots are used again";
    EXPECT_EQ(actor_state(machine.worker(), old, script_class(1024)), nullptr);
    tell(machine, sender, to(old, OWN));
    machine.turn();
    EXPECT_TRUE(b.seen.empty());
    for (actor_ref ref : tenants)
        machine.stop(ref);
    machine.stop(sender);
}

TEST_P(Actor, WatchersHearOfADeathOnce)
{
    Still machine(GetParam());
    Recorder a, b, c;
    actor_ref watcher = machine.spawn(&a), other = machine.spawn(&c), target = machine.spawn(&b);
    actor_context context = actor_context_of(machine.worker(), watcher);
    actor_watch(&context, target);
    actor_context context_2 = actor_context_of(machine.worker(), other);
    actor_watch(&context_2, target);
    actor_unwatch(&context_2, target);
    machine.turn();
    EXPECT_TRUE(a.seen.empty());
    machine.stop(target);
    machine.turn(3);
    ASSERT_EQ(a.seen.size(), 1u);
    EXPECT_EQ(a.seen[0].type, MESSAGE_DEATH);
    EXPECT_TRUE(actor_ref_equal(a.seen[0].from, target));
    EXPECT_TRUE(c.seen.empty());
    actor_watch(&context, target);
    machine.turn(2);
    EXPECT_EQ(a.seen.size(), 2u) << "at once when it is dead already";
    machine.stop(watcher);
    machine.stop(other);
}

TEST_P(Actor, WatchersThatComeAndGoLeaveNothingBehind)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref target = machine.spawn(&a);
    for (int i = 0; i < 5000; i++) {
        actor_ref watcher = machine.spawn(&b);
        actor_context context = actor_context_of(machine.worker(), watcher);
        actor_watch(&context, target);
        machine.stop(watcher);
        machine.turn();
    }
    worker_stats before, after;
    worker_stats_read(machine.worker(), &before);
    machine.stop(target);
    machine.turn();
    worker_stats_read(machine.worker(), &after);
    EXPECT_LT(after.dropped - before.dropped, 200u) << "the list was pruned";
}

TEST_P(Actor, TimerComesOnceAndAfterTheMail)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref ref = machine.spawn(&a), other = machine.spawn(&b);
    actor_context context = actor_context_of(machine.worker(), ref);
    actor_deadline(&context, context.now_ns);
    tell(machine, other, to(ref, OWN));
    machine.turn(3);
    ASSERT_EQ(a.seen.size(), 2u);
    EXPECT_EQ(a.seen[0].type, OWN);
    EXPECT_EQ(a.seen[1].type, MESSAGE_TIMER);
    machine.stop(ref);
    machine.stop(other);
}

TEST_P(Actor, TimerWaitsForItsDeadline)
{
    Still machine(GetParam());
    Recorder a;
    actor_ref ref = machine.spawn(&a);
    uint64_t fired_ns = 0;
    a.receive = [&](actor_context *now, message *m) {
        if (m->type == MESSAGE_TIMER)
            fired_ns = now->now_ns;
    };
    actor_context context = actor_context_of(machine.worker(), ref);
    uint64_t deadline_ns = context.now_ns + 30000000;
    actor_deadline(&context, deadline_ns);
    machine.turn(2);
    EXPECT_EQ(fired_ns, 0u);
    machine.run_until([&] { return fired_ns != 0; });
    EXPECT_GE(fired_ns, deadline_ns);
    EXPECT_LT(fired_ns, deadline_ns + 500000000);
    machine.stop(ref);
}

TEST_P(Actor, MailThatMovesTheTimerIsInTime)
{
    Still machine(GetParam());
    Recorder a, b;
    a.receive = [&](actor_context *context, message *m) {
        a.seen.push_back({m->type, 0, 0, {}});
        if (m->type == OWN)
            actor_deadline(context, UINT64_MAX);
    };
    actor_ref ref = machine.spawn(&a), other = machine.spawn(&b);
    actor_context context = actor_context_of(machine.worker(), ref);
    actor_deadline(&context, context.now_ns);
    tell(machine, other, to(ref, OWN));
    machine.turn(3);
    EXPECT_EQ(a.seen.size(), 1u);
    machine.stop(ref);
    machine.stop(other);
}

TEST_P(Actor, DeadOnesTimersAreGone)
{
    Still machine(GetParam());
    Recorder a;
    for (int i = 0; i < 100; i++) {
        actor_ref ref = machine.spawn(&a);
        actor_context context = actor_context_of(machine.worker(), ref);
        actor_deadline(&context, context.now_ns);
        actor_exit(&context);
    }
    machine.turn(3);
    EXPECT_TRUE(a.seen.empty());
    EXPECT_EQ(a.ended, 100u);
}

TEST_P(Actor, WakeRunsThePump)
{
    Still machine(GetParam());
    Recorder a;
    actor_ref ref = machine.spawn(&a);
    actor_wake(machine.worker(), ref);
    actor_wake(machine.worker(), ref);
    machine.turn();
    EXPECT_EQ(a.pumps, 1u);
    machine.turn();
    EXPECT_EQ(a.pumps, 1u);
    machine.stop(ref);
}

TEST_P(Actor, ThatWakesItselfRunsInTheNextTurn)
{
    Still machine(GetParam());
    Recorder a;
    actor_ref ref = machine.spawn(&a);
    a.pump = [&](actor_context *context) {
        a.pumps++;
        actor_wake(context->worker, context->self);
    };
    actor_wake(machine.worker(), ref);
    for (unsigned i = 1; i <= 5; i++) {
        machine.turn();
        EXPECT_EQ(a.pumps, i);
    }
    machine.stop(ref);
    machine.turn();
}

TEST_P(Actor, StateIsFoundByItsOwnClassOnly)
{
    Still machine(GetParam());
    Recorder a;
    actor_ref ref = machine.spawn(&a);
    EXPECT_NE(actor_state(machine.worker(), ref, script_class(1024)), nullptr);
    EXPECT_EQ(actor_state(machine.worker(), ref, script_class(4)), nullptr);
    EXPECT_EQ(actor_context_of(machine.worker(), ref).scope, machine.scope);
    machine.stop(ref);
    machine.turn();
    EXPECT_EQ(actor_context_of(machine.worker(), ref).scope, nullptr);
}

TEST_P(Actor, FiniMaySpeakButNotToItself)
{
    Still machine(GetParam());
    Recorder a, b;
    actor_ref other = machine.spawn(&b), ref = machine.spawn(&a);
    a.fini = [&](actor_context *context) {
        message last = to(other, OWN_2), self = to(context->self, OWN_2);
        actor_tell(context, &last);
        actor_tell(context, &self);
        actor_exit(context);
        actor_deadline(context, 0);
    };
    machine.stop(ref);
    machine.turn(3);
    EXPECT_EQ(b.seen.size(), 1u);
    EXPECT_TRUE(a.seen.empty());
    machine.stop(other);
}

TEST_P(Actor, AHundredThousandComeAndGo)
{
    Still machine(GetParam());
    Recorder a;
    std::vector<actor_ref> all;
    for (int i = 0; i < 100000; i++)
        all.push_back(machine.spawn(&a));
    EXPECT_EQ(machine.live(), 100000u);
    for (actor_ref ref : all)
        machine.stop(ref);
    while (machine.live())
        machine.turn();
    EXPECT_EQ(a.ended, 100000u);
}

} // namespace
