#include "machine.h"

#include <random>
#include <vector>

namespace {

// Forty actors on three workers of a simulated world tell, watch, time out,
// spawn and exit at random; what they see, in order, is hashed.
struct Crowd {
    sim_world *world;
    struct runtime *runtime = nullptr;
    struct scope *scope = nullptr;
    std::mt19937_64 random;
    uint64_t trace = 14695981039346656037u, steps = 0;
    std::vector<actor_ref> all;
    Script script;

    void note(uint64_t value) { trace = (trace ^ value) * 1099511628211u; }

    explicit Crowd(uint64_t seed) : world(sim_world_new(seed)), random(seed)
    {
        script.receive = [this](actor_context *context, message *m) { on_mail(context, m); };
        runtime_config config;
        runtime_config_init(&config);
        config.workers = 3;
        config.driver = DRIVER_SIM;
        config.sim = world;
        EXPECT_EQ(runtime_new(&runtime, &config), 0);
        scope = scope_new(runtime, "");
        for (unsigned i = 0; i < 40; i++) {
            message start = {};
            start.body.pointer[2] = &script;
            EXPECT_EQ(runtime_spawn(runtime, i % 3, script_class(4), scope, &start), 0);
        }
    }

    void on_mail(actor_context *context, message *m)
    {
        note(uint64_t{context->self.slot} << 32 | m->type);
        note(context->now_ns);
        note(uint64_t{m->from.slot} << 32 | m->from.generation);
        if (m->type == MESSAGE_START)
            all.push_back(context->self);
        if (m->type == MESSAGE_STOP)
            return actor_exit(context);
        if (++steps > 20000)
            return;
        actor_deadline(context, context->now_ns + random() % 1000000);
        for (uint64_t i = random() % 3; i > 0; i--) {
            auto kind = static_cast<message_kind>(random() % 3);
            message more = to(all[random() % all.size()], OWN, kind, static_cast<uint32_t>(steps));
            note(static_cast<uint64_t>(actor_tell(context, &more)));
        }
        if (random() % 50 == 0)
            actor_watch(context, all[random() % all.size()]);
        if (random() % 100 == 0) {
            message start = {};
            start.body.pointer[2] = &script;
            actor_spawn_on(context, static_cast<unsigned>(random() % 3), script_class(4), scope, &start);
            actor_exit(context);
        }
    }

    bool empty()
    {
        scope_stats stats;
        scope_stats_read(scope, &stats);
        return stats.actors_live == 0;
    }

    uint64_t run()
    {
        sim_world_run(world, [](void *self) { return static_cast<Crowd *>(self)->steps > 20000; }, this,
                      uint64_t{1} << 40);
        note(sim_world_now_ns(world));
        for (actor_ref ref : all) {
            message stop = to(ref, MESSAGE_STOP);
            runtime_post(runtime, &stop);
        }
        EXPECT_TRUE(sim_world_run(world, [](void *self) { return static_cast<Crowd *>(self)->empty(); }, this,
                                  uint64_t{1} << 40));
        return trace;
    }

    ~Crowd()
    {
        scope_free(scope);
        runtime_free(runtime);
        sim_world_free(world);
    }
};

TEST(Replay, TheSameSeedIsTheSameRun)
{
    uint64_t first = Crowd(7).run(), again = Crowd(7).run(), other = Crowd(8).run();
    EXPECT_EQ(first, again);
    EXPECT_NE(first, other);
}

} // namespace
