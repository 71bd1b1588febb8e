#include "machine.h"

#include <atomic>
#include <vector>

extern "C" {
#include "runtime/offload.h"
}

namespace {

struct Job {
    uint64_t number = 0;
    std::atomic<int> runs{0}, drops{0};
    std::atomic<bool> *gate = nullptr;
    std::thread::id thread;
};

void run(void *argument, uint64_t result[3])
{
    auto *job = static_cast<Job *>(argument);
    if (job->gate)
        until([&] { return job->gate->load(); });
    job->thread = std::this_thread::get_id();
    result[0] = job->number * job->number;
    job->runs++;
}

void dropped(void *argument)
{
    static_cast<Job *>(argument)->drops++;
}

TEST(Offload, RunsElsewhereAndAnswersByMail)
{
    Still machine;
    Job job;
    job.number = 12;
    uint64_t result = 0;
    uint32_t id = 0;
    Script script;
    script.receive = [&](actor_context *context, message *m) {
        if (m->type == OWN) {
            EXPECT_EQ(offload_run(context, 42, run, &job, dropped), 0);
        }
        if (m->type != MESSAGE_OFFLOADED)
            return;
        result = m->body.u64[0];
        id = m->request_id;
        actor_exit(context);
    };
    actor_ref ref = machine.spawn(&script);
    machine.post(to(ref, OWN));
    while (!result)
        runtime_turn(machine.runtime, UINT64_MAX);
    EXPECT_EQ(result, 144u);
    EXPECT_EQ(id, 42u);
    EXPECT_NE(job.thread, std::this_thread::get_id());
    EXPECT_EQ(job.drops, 0);
}

TEST(Offload, TheResultForTheDeadIsDroppedOnce)
{
    Still machine;
    std::atomic<bool> gate{false};
    Job job;
    job.gate = &gate;
    Script script;
    script.receive = [&](actor_context *context, message *) {
        EXPECT_EQ(offload_run(context, 1, run, &job, dropped), 0);
        actor_exit(context);
    };
    actor_ref ref = machine.spawn(&script);
    machine.post(to(ref, OWN));
    machine.turn();
    EXPECT_EQ(machine.live(), 0u);
    gate = true;
    while (job.drops == 0)
        machine.turn();
    EXPECT_EQ(job.runs, 1);
    EXPECT_EQ(job.drops, 1);
}

TEST(Offload, IsBounded)
{
    Still machine;
    std::atomic<bool> gate{false};
    Job job;
    job.gate = &gate;
    int admitted = 0, answers = 0;
    Script script;
    script.receive = [&](actor_context *context, message *m) {
        if (m->type == OWN)
            while (offload_run(context, 1, run, &job, dropped) == 0)
                admitted++;
        answers += m->type == MESSAGE_OFFLOADED;
        if (answers && answers == admitted)
            actor_exit(context);
    };
    actor_ref ref = machine.spawn(&script);
    machine.post(to(ref, OWN));
    machine.turn();
    EXPECT_EQ(admitted, OFFLOAD_JOBS_MAX);
    gate = true;
    while (machine.live())
        runtime_turn(machine.runtime, UINT64_MAX);
    EXPECT_EQ(answers, OFFLOAD_JOBS_MAX);
    EXPECT_EQ(job.runs, OFFLOAD_JOBS_MAX);
}

TEST(Offload, JobsThatWaitAtTheEndAreDoneAndDropped)
{
    Job job;
    Script script;
    {
        Machine machine(2);
        script.receive = [&](actor_context *context, message *) {
            for (int i = 0; i < 100; i++)
                EXPECT_EQ(offload_run(context, 1, run, &job, dropped), 0);
            actor_exit(context);
        };
        machine.spawn_at(1, &script);
        EXPECT_TRUE(until([&] { return job.runs > 0; }));
    }
    EXPECT_EQ(job.runs, 100);
    EXPECT_EQ(job.drops, 100);
}

} // namespace
