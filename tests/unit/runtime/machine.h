#pragma once

// A runtime for tests, and actors whose handlers are functions of the test.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

extern "C" {
#include "chorus/p2p.h"
#include "runtime/actor.h"
#include "runtime/buffer.h"
#include "runtime/driver_sim.h"
#include "runtime/log.h"
#include "runtime/worker.h"
}

// What an actor of a test does.  Outlives the actor.
struct Script {
    std::function<int(actor_context *)> init;
    std::function<void(actor_context *, message *)> receive;
    std::function<void(actor_context *)> pump;
    std::function<void(actor_context *)> fini;
};

struct ScriptState {
    Script *script;
};

// The script comes as init's argument, or with MESSAGE_START in body.pointer[2].
inline const actor_class *script_class(uint32_t mail_max)
{
    static actor_class classes[3];
    actor_class *it = &classes[mail_max == 4 ? 1 : mail_max == 65535 ? 2 : 0];
    static bool once = [] {
        for (actor_class &c : classes) {
            c.name = "script";
            c.state_bytes = sizeof(ScriptState);
            c.init = [](actor_context *context, void *state, const void *argument) {
                auto *self = static_cast<ScriptState *>(state);
                EXPECT_EQ(self->script, nullptr) << "state is zeroed";
                self->script = static_cast<Script *>(const_cast<void *>(argument));
                return self->script && self->script->init ? self->script->init(context) : 0;
            };
            c.receive = [](actor_context *context, void *state, message *m) {
                auto *self = static_cast<ScriptState *>(state);
                if (m->type == MESSAGE_START)
                    self->script = static_cast<Script *>(const_cast<void *>(m->body.pointer[2]));
                if (self->script && self->script->receive)
                    self->script->receive(context, m);
            };
            c.pump = [](actor_context *context, void *state) {
                auto *self = static_cast<ScriptState *>(state);
                if (self->script && self->script->pump)
                    self->script->pump(context);
            };
            c.fini = [](actor_context *context, void *state) {
                auto *self = static_cast<ScriptState *>(state);
                if (self->script && self->script->fini)
                    self->script->fini(context);
            };
        }
        classes[0].mail_max = 1024;
        classes[1].mail_max = 4;
        classes[2].mail_max = 65535;
        return true;
    }();
    (void)once;
    return it;
}

enum { OWN = MESSAGE_OWN, OWN_2, OWN_3 };

inline message to(actor_ref ref, uint16_t type, message_kind kind = MESSAGE_CONTROL, uint32_t request_id = 0)
{
    message m = {};
    m.type = type;
    m.kind = static_cast<uint8_t>(kind);
    m.request_id = request_id;
    m.to = ref;
    return m;
}

inline bool until(const std::function<bool()> &holds, int milliseconds = 20000)
{
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
}

class Machine {
public:
    struct runtime *runtime = nullptr;
    struct scope *scope = nullptr;

    explicit Machine(unsigned workers, bool threads = true, const std::function<void(runtime_config *)> &more = {})
    {
        runtime_config config;
        runtime_config_init(&config);
        config.workers = workers;
        config.threads = threads;
        if (more)
            more(&config);
        EXPECT_EQ(runtime_new(&runtime, &config), 0);
        scope = scope_new(runtime, "");
    }

    ~Machine()
    {
        if (!runtime_threaded(runtime))
            turn(3);
        EXPECT_TRUE(until([&] { return live() == 0; }));
        scope_free(scope);
        runtime_free(runtime);
    }

    struct worker *worker(unsigned index = 0) { return runtime_worker(runtime, index); }

    uint64_t live()
    {
        scope_stats stats;
        scope_stats_read(scope, &stats);
        return stats.actors_live;
    }

    actor_ref spawn(Script *script, uint32_t mail_max = 1024)
    {
        actor_ref ref = {};
        EXPECT_EQ(actor_spawn(worker(), &ref, script_class(mail_max), scope, script), 0);
        return ref;
    }

    // Any thread, any worker; the script receives MESSAGE_START first.
    void spawn_at(unsigned index, Script *script, uint32_t mail_max = 1024)
    {
        message m = {};
        m.body.pointer[2] = script;
        EXPECT_EQ(runtime_spawn(runtime, index, script_class(mail_max), scope, &m), 0);
    }

    void turn(unsigned times = 1)
    {
        while (times--)
            runtime_turn(runtime, 0);
    }

    int post(message m) { return runtime_post(runtime, &m); }

    // A machine without threads: the actor's end, in a turn.
    void stop(actor_ref ref)
    {
        actor_context context = actor_context_of(worker(), ref);
        actor_exit(&context);
        turn();
    }
};

struct World {
    sim_world *world = nullptr;
    ~World()
    {
        if (world)
            sim_world_free(world);
    }
};

// A machine whose turns the test makes.
class Still : private World, public Machine {
public:
    explicit Still(driver_kind kind = DRIVER_AUTO)
        : Machine(1, false, [this, kind](runtime_config *config) {
              config->driver = kind;
              if (kind == DRIVER_SIM)
                  config->sim = world = sim_world_new(1);
          })
    {
    }

    // Turns, and lets time pass, until it holds.
    void run_until(const std::function<bool()> &holds)
    {
        auto call = [](void *argument) { return (*static_cast<const std::function<bool()> *>(argument))(); };
        if (world) {
            EXPECT_TRUE(sim_world_run(world, call, const_cast<std::function<bool()> *>(&holds), UINT64_MAX / 2));
        }
        while (!holds())
            runtime_turn(runtime, UINT64_MAX);
    }
};

// Ends with MESSAGE_STOP.
inline void stops(actor_context *context, message *m)
{
    if (m->type == MESSAGE_STOP)
        actor_exit(context);
}
