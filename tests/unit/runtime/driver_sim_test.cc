// The world in memory, with real workers and actors in it.

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

extern "C" {
#include "runtime/actor.h"
#include "runtime/buffer.h"
#include "runtime/driver_sim.h"
#include "runtime/worker.h"
}

namespace {

constexpr uint64_t millisecond = 1000000;
constexpr uint64_t second = 1000 * millisecond;

sockaddr_in address_of(uint16_t port)
{
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// ---- An actor that sends back what it receives, on each connection.

struct Echo {
    driver *drive;
    int listening;
    unsigned open;
};

int echo_init(actor_context *context, void *state, const void *)
{
    auto *echo = static_cast<Echo *>(state);
    sockaddr_in address = address_of(3333);
    sockaddr_storage bound;

    echo->drive = worker_driver(context->worker);
    echo->listening = driver_listen(echo->drive, reinterpret_cast<sockaddr *>(&address), sizeof(address), 0, &bound);
    driver_accept(echo->drive, echo->listening, context->self);
    return 0;
}

void echo_receive(actor_context *context, void *state, message *message)
{
    auto *echo = static_cast<Echo *>(state);
    auto socket = static_cast<int>(message->body.i64[1]);

    switch (message->type) {
    case MESSAGE_IO_ACCEPTED:
        echo->open++;
        driver_receive(echo->drive, static_cast<int>(message->body.i64[0]), context->self);
        break;
    case MESSAGE_IO_RECEIVED:
        if (message->body.i64[0] <= 0) {
            driver_close_socket(echo->drive, socket, DRIVER_CLOSE_ORDERLY);
            if (--echo->open == 0) {
                driver_close_socket(echo->drive, echo->listening, DRIVER_CLOSE_ORDERLY);
                actor_exit(context);
            }
            break;
        }
        // Answers are one byte: one send is never short.
        driver_receive_stop(echo->drive, socket);
        driver_send(echo->drive, socket, context->self, message->buffer, message->offset, 1);
        message->buffer = nullptr;
        break;
    case MESSAGE_IO_SENT:
        driver_receive(echo->drive, socket, context->self);
        break;
    default:
        break;
    }
}

const actor_class echo_class = {"echo", sizeof(Echo), 64, echo_init, echo_receive, nullptr, nullptr};

// ---- An actor that sends a byte ten times, and waits a while between.

unsigned callers_done;

struct Caller {
    driver *drive;
    int socket;
    unsigned rounds;
};

void caller_send(actor_context *context, Caller *caller)
{
    buffer *buffer = buffer_new(worker_buffers(context->worker), 1);

    buffer->data[0] = 'x';
    driver_send(caller->drive, caller->socket, context->self, buffer, 0, 1);
}

int caller_init(actor_context *context, void *state, const void *)
{
    auto *caller = static_cast<Caller *>(state);
    sockaddr_in address = address_of(3333);

    caller->drive = worker_driver(context->worker);
    caller->socket =
        driver_connect(caller->drive, reinterpret_cast<sockaddr *>(&address), sizeof(address), context->self);
    return 0;
}

void caller_receive(actor_context *context, void *state, message *message)
{
    auto *caller = static_cast<Caller *>(state);
    uint8_t chance;

    switch (message->type) {
    case MESSAGE_IO_CONNECTED:
        EXPECT_EQ(message->body.i64[0], 0);
        driver_receive(caller->drive, caller->socket, context->self);
        caller_send(context, caller);
        break;
    case MESSAGE_IO_RECEIVED:
        driver_entropy(caller->drive, &chance, 1);
        actor_deadline(context, context->now_ns + chance * millisecond);
        break;
    case MESSAGE_TIMER:
        if (++caller->rounds < 10) {
            caller_send(context, caller);
            break;
        }
        driver_close_socket(caller->drive, caller->socket, DRIVER_CLOSE_ORDERLY);
        callers_done++;
        actor_exit(context);
        break;
    default:
        break;
    }
}

const actor_class caller_class = {"caller", sizeof(Caller), 64, caller_init, caller_receive, nullptr, nullptr};

runtime *runtime_in(sim_world *world, unsigned workers)
{
    runtime_config config;
    runtime *runtime = nullptr;

    runtime_config_init(&config);
    config.workers = workers;
    config.threads = false;
    config.driver = DRIVER_SIM;
    config.sim = world;
    EXPECT_EQ(runtime_new(&runtime, &config), 0);
    return runtime;
}

bool is_gone(void *argument)
{
    scope_stats stats;

    scope_stats_read(static_cast<scope *>(argument), &stats);
    return stats.actors_live == 0;
}

// Twenty callers in a runtime with two workers, one server in another runtime: what happened, as one number.
uint64_t trace_of(uint64_t seed, uint64_t *took_ns)
{
    constexpr unsigned callers = 20;
    sim_world *world = sim_world_new(seed);
    runtime *server = runtime_in(world, 1), *client = runtime_in(world, 2);
    scope *there = scope_new(server, nullptr), *here = scope_new(client, nullptr);
    actor_ref ref;

    callers_done = 0;
    EXPECT_EQ(actor_spawn(runtime_worker(server, 0), &ref, &echo_class, there, nullptr), 0);
    for (unsigned i = 0; i < callers; i++) {
        EXPECT_EQ(actor_spawn(runtime_worker(client, i % 2), &ref, &caller_class, here, nullptr), 0);
    }
    uint64_t begin_ns = sim_world_now_ns(world);
    EXPECT_TRUE(sim_world_run(world, is_gone, there, 60 * second));
    EXPECT_TRUE(sim_world_run(world, is_gone, here, second));
    *took_ns = sim_world_now_ns(world) - begin_ns;
    EXPECT_EQ(callers_done, callers);
    uint64_t trace = sim_world_trace(world);
    scope_free(there);
    scope_free(here);
    runtime_free(server);
    runtime_free(client);
    sim_world_free(world);
    return trace;
}

TEST(SimWorld, TheSameSeedGivesTheSameRun)
{
    uint64_t one_ns, two_ns, three_ns;
    uint64_t one = trace_of(1, &one_ns), two = trace_of(1, &two_ns), three = trace_of(2, &three_ns);

    EXPECT_EQ(one, two);
    EXPECT_EQ(one_ns, two_ns);
    EXPECT_NE(one, three);
    // Ten pauses of 0 to 255 ms each, and next to nothing beside.
    EXPECT_GT(one_ns, second);
    EXPECT_LT(one_ns, 3 * second);
}

TEST(SimWorld, AFrozenWorkerIsSilentAndLosesNothing)
{
    sim_world *world = sim_world_new(4);
    runtime *server = runtime_in(world, 1), *client = runtime_in(world, 1);
    scope *there = scope_new(server, nullptr), *here = scope_new(client, nullptr);
    actor_ref ref;

    callers_done = 0;
    EXPECT_EQ(actor_spawn(runtime_worker(server, 0), &ref, &echo_class, there, nullptr), 0);
    EXPECT_EQ(actor_spawn(runtime_worker(client, 0), &ref, &caller_class, here, nullptr), 0);
    EXPECT_FALSE(sim_world_run(world, is_gone, here, 100 * millisecond));
    sim_world_freeze(world, runtime_worker(server, 0), true);
    uint64_t begin_ns = sim_world_now_ns(world);
    EXPECT_FALSE(sim_world_run(world, is_gone, here, 3600 * second));
    EXPECT_EQ(sim_world_now_ns(world), begin_ns + 3600 * second); // the others' time goes on
    sim_world_freeze(world, runtime_worker(server, 0), false);
    EXPECT_TRUE(sim_world_run(world, is_gone, here, 60 * second));
    EXPECT_TRUE(sim_world_run(world, is_gone, there, second));
    EXPECT_EQ(callers_done, 1u);
    scope_free(there);
    scope_free(here);
    runtime_free(server);
    runtime_free(client);
    sim_world_free(world);
}

TEST(SimWorld, AnEmptyWorldReachesItsEnd)
{
    sim_world *world = sim_world_new(1);
    runtime *runtime = runtime_in(world, 1);
    uint64_t begin_ns = sim_world_now_ns(world);

    EXPECT_FALSE(sim_world_run(world, nullptr, nullptr, 3600 * second));
    EXPECT_EQ(sim_world_now_ns(world), begin_ns + 3600 * second);
    runtime_free(runtime);
    sim_world_free(world);
}

// ---- Two actors on two workers that throw a ball.

struct Player {
    actor_ref other;
    unsigned caught;
    uint64_t rang_ns;
};

int player_init(actor_context *context, void *, const void *)
{
    actor_deadline(context, context->now_ns + second);
    return 0;
}

void player_receive(actor_context *context, void *state, message *message_)
{
    auto *player = static_cast<Player *>(state);
    message ball = {};

    if (message_->type == MESSAGE_TIMER) {
        player->rang_ns = context->now_ns;
        return;
    }
    player->caught++;
    if (player->caught > 1000)
        return;
    ball.type = MESSAGE_OWN;
    ball.to = player->other;
    EXPECT_EQ(actor_tell(context, &ball), 0);
}

const actor_class player_class = {"player", sizeof(Player), 64, player_init, player_receive, nullptr, nullptr};

bool both_rang(void *argument)
{
    auto **players = static_cast<Player **>(argument);
    return players[0]->rang_ns && players[1]->rang_ns;
}

TEST(SimWorld, TimeDoesNotJumpWhileMailIsUnderWay)
{
    sim_world *world = sim_world_new(3);
    runtime *runtime = runtime_in(world, 2);
    scope *scope = scope_new(runtime, nullptr);
    actor_ref refs[2];
    Player *players[2];
    message ball = {};
    uint64_t begin_ns = sim_world_now_ns(world);

    for (unsigned i = 0; i < 2; i++) {
        ASSERT_EQ(actor_spawn(runtime_worker(runtime, i), &refs[i], &player_class, scope, nullptr), 0);
        players[i] = static_cast<Player *>(actor_state(runtime_worker(runtime, i), refs[i], &player_class));
    }
    players[0]->other = refs[1];
    players[1]->other = refs[0];
    ball.type = MESSAGE_OWN;
    ball.to = refs[0];
    ASSERT_EQ(runtime_post(runtime, &ball), 0);
    EXPECT_TRUE(sim_world_run(world, both_rang, players, 10 * second));
    EXPECT_GE(players[0]->caught, 1000u); // before the clock rang, not after
    EXPECT_EQ(players[0]->rang_ns, begin_ns + second);
    EXPECT_EQ(players[1]->rang_ns, begin_ns + second);
    for (actor_ref ref : refs) {
        actor_context context = actor_context_of(runtime_worker(runtime, ref.slot >> 24), ref);
        actor_exit(&context);
    }
    EXPECT_TRUE(sim_world_run(world, is_gone, scope, second));
    scope_free(scope);
    runtime_free(runtime);
    sim_world_free(world);
}

} // namespace
