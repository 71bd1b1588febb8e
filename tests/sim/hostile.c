#include "tests/sim/sim.h"

#include "runtime/actor.h"
#include "runtime/buffer.h"
#include "runtime/worker.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* A host whose actor breaks the rules: it listens and dials, and says what no
 * peer should, cut where no peer would, or nothing at all.  Before the channel is
 * secure: what comes after takes a key, and is the hostile suite's. */

enum { CALLS_MAX = 8, TEXT_MAX = 8192 };

struct call {
    int socket; /* -1: none */
    uint8_t text[TEXT_MAX];
    uint32_t length, sent;
    bool sending;
};

struct hostile {
    struct sim_node *node;
    struct driver *driver;
    int listening;
    struct call calls[CALLS_MAX];
};

static struct sim *sim_of(const struct hostile *hostile)
{
    assert(hostile->node);
    return hostile->node->sim;
}

/* ---- what it says ------------------------------------------------------------------- */

static void say(struct call *call, const void *bytes, uint32_t length)
{
    if (length > TEXT_MAX - call->length)
        length = TEXT_MAX - call->length;
    memcpy(call->text + call->length, bytes, length);
    call->length += length;
}

static void say_noise(struct hostile *hostile, struct call *call, uint32_t length)
{
    for (; length > 0; length--) {
        uint8_t byte = (uint8_t)sim_chance(sim_of(hostile));

        say(call, &byte, 1);
    }
}

static void compose(struct hostile *hostile, struct call *call)
{
    static const char hello[] = "\x13/multistream/1.0.0\n", noise[] = "\x07/noise\n";
    static const char plain[] = "\x11/plaintext/2.0.0\n";
    static const uint8_t longest[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    struct sim *sim = sim_of(hostile);
    uint32_t what = sim_below(sim, 12);

    if (what > 1)
        say(call, hello, sizeof(hello) - 1);
    if (what == 0)
        say_noise(hostile, call, sim_below(sim, 4000));
    else if (what == 1)
        say(call, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35);
    else if (what == 2)
        say(call, longest, sizeof(longest));
    else if (what == 3)
        say(call, "\x00\x00\x00\x00", 4);
    else if (what == 4)
        for (int i = 0; i < 400; i++)
            say(call, "\x04/no\n", 5);
    else if (what == 5)
        say(call, "\x03ls\n", 4);
    else if (what >= 6)
        say(call, what == 11 ? plain : noise, what == 11 ? sizeof(plain) - 1 : sizeof(noise) - 1);
    if (what == 7)
        say(call, "\x00\x00", 2);
    else if (what == 8)
        say(call, "\xff\xff", 2);
    else if (what == 9)
        say(call, "\x00\x20", 2);
    if (what >= 8)
        say_noise(hostile, call, 1 + sim_below(sim, what == 9 ? 32 : 3000));
    if (sim_below(sim, 3) == 0 && call->length > 0) /* cut anywhere */
        call->length = sim_below(sim, call->length) + 1;
}

/* ---- calls ---------------------------------------------------------------------------- */

static void hang_up(struct hostile *hostile, struct call *call)
{
    driver_close_socket(hostile->driver, call->socket,
                        sim_below(sim_of(hostile), 2) ? DRIVER_CLOSE_RESET : DRIVER_CLOSE_ORDERLY);
    call->socket = -1;
}

static struct call *call_of(struct hostile *hostile, int socket)
{
    for (unsigned i = 0; i < CALLS_MAX; i++)
        if (hostile->calls[i].socket == socket)
            return &hostile->calls[i];
    return NULL;
}

static void speak(struct actor_context *context, struct hostile *hostile, struct call *call)
{
    uint32_t left = call->length - call->sent;
    uint32_t part = left && sim_below(sim_of(hostile), 2) ? 1 + sim_below(sim_of(hostile), left) : left;
    struct buffer *buffer;

    if (left == 0 || call->sending)
        return;
    buffer = buffer_new_foreign(part);
    memcpy(buffer->data, call->text + call->sent, part);
    call->sending = true;
    driver_send(hostile->driver, call->socket, context->self, buffer, 0, part);
}

static void take_up(struct actor_context *context, struct hostile *hostile, struct call *call, int socket)
{
    *call = (struct call){.socket = socket};
    compose(hostile, call);
    driver_receive(hostile->driver, socket, context->self);
    speak(context, hostile, call);
}

static void dial(struct actor_context *context, struct hostile *hostile)
{
    struct sim *sim = sim_of(hostile);
    const struct sim_node *to = &sim->nodes[sim_below(sim, sim->what.nodes)];
    struct call *call = call_of(hostile, -1);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(SIM_PORT)};
    int socket;

    address.sin_addr.s_addr = htonl(10u << 24 | (to->index + 1));
    if (!call || to->hostile)
        return;
    socket = driver_connect(hostile->driver, (struct sockaddr *)&address, sizeof(address), context->self);
    if (socket >= 0)
        *call = (struct call){.socket = socket};
}

/* ---- the actor -------------------------------------------------------------------------- */

static void on_start(struct actor_context *context, struct hostile *hostile, const struct message *message)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(SIM_PORT)};
    struct sockaddr_storage bound;

    hostile->node = (struct sim_node *)(uintptr_t)message->body.pointer[0];
    hostile->driver = worker_driver(context->worker);
    for (unsigned i = 0; i < CALLS_MAX; i++)
        hostile->calls[i].socket = -1;
    hostile->listening = driver_listen(hostile->driver, (struct sockaddr *)&address, sizeof(address), 0, &bound);
    if (hostile->listening >= 0)
        driver_accept(hostile->driver, hostile->listening, context->self);
    actor_deadline(context, context->now_ns + 1);
}

static void on_timer(struct actor_context *context, struct hostile *hostile)
{
    struct sim *sim = sim_of(hostile);
    struct call *call = &hostile->calls[sim_below(sim, CALLS_MAX)];

    if (call->socket >= 0 && sim_below(sim, 2))
        hang_up(hostile, call);
    else if (call->socket >= 0)
        speak(context, hostile, call);
    else
        dial(context, hostile);
    actor_deadline(context, context->now_ns + 1 + sim_chance(sim) % (2 * SIM_SECOND));
}

static void on_accepted(struct actor_context *context, struct hostile *hostile, const struct message *message)
{
    struct call *call = call_of(hostile, -1);

    if (message->body.i64[0] < 0)
        driver_accept(hostile->driver, hostile->listening, context->self);
    else if (call)
        take_up(context, hostile, call, (int)message->body.i64[0]);
    else
        driver_close_socket(hostile->driver, (int)message->body.i64[0], DRIVER_CLOSE_RESET);
}

static void on_stop(struct actor_context *context, struct hostile *hostile)
{
    for (unsigned i = 0; i < CALLS_MAX; i++)
        if (hostile->calls[i].socket >= 0)
            hang_up(hostile, &hostile->calls[i]);
    if (hostile->listening >= 0)
        driver_close_socket(hostile->driver, hostile->listening, DRIVER_CLOSE_RESET);
    actor_exit(context);
}

static void hostile_receive(struct actor_context *context, void *state, struct message *message)
{
    struct hostile *hostile = state;
    struct call *call = hostile->node ? call_of(hostile, (int)message->body.i64[1]) : NULL;

    switch (message->type) {
    case MESSAGE_START:
        on_start(context, hostile, message);
        break;
    case MESSAGE_STOP:
        on_stop(context, hostile);
        break;
    case MESSAGE_TIMER:
        on_timer(context, hostile);
        break;
    case MESSAGE_IO_ACCEPTED:
        on_accepted(context, hostile, message);
        break;
    case MESSAGE_IO_CONNECTED:
        if (call && message->body.i64[0] == 0)
            take_up(context, hostile, call, call->socket);
        else if (call)
            hang_up(hostile, call);
        break;
    case MESSAGE_IO_RECEIVED:
        if (call && message->body.i64[0] <= 0)
            hang_up(hostile, call);
        break;
    case MESSAGE_IO_SENT:
        if (!call)
            break;
        call->sending = false;
        if (message->body.i64[0] <= 0)
            hang_up(hostile, call);
        else
            call->sent += (uint32_t)message->body.i64[0];
        break;
    default:
        break;
    }
}

static const struct actor_class hostile_class = {
    .name = "hostile", .state_bytes = sizeof(struct hostile), .mail_max = 64, .receive = hostile_receive};

/* ---- life ---------------------------------------------------------------------------------- */

void sim_hostile_start(struct sim_node *node)
{
    struct sim_process *process = calloc(1, sizeof(*process));
    struct message message = {.body.pointer = {node}};
    struct runtime_config config;

    process->owner = node;
    runtime_config_init(&config);
    config.driver = DRIVER_SIM;
    config.sim = node->sim->world;
    config.workers = 1;
    sim_world_settle(node->sim->world, node->host);
    if (api_runtime_new(&process->runtime, &config, NULL) != 0)
        sim_fail(node->sim, node, "start", "no runtime for a hostile host");
    sim_world_settle(node->sim->world, NULL);
    process->scope = scope_new(process->runtime->runtime, "");
    (void)runtime_spawn(process->runtime->runtime, 0, &hostile_class, process->scope, &message);
    node->process = process;
    node->state = NODE_UP;
}

static bool is_gone(void *argument)
{
    struct scope_stats stats;

    scope_stats_read(argument, &stats);
    return stats.actors_live == 0;
}

void sim_hostile_end(struct sim *sim)
{
    for (unsigned i = 0; i < sim->what.nodes; i++) {
        struct sim_process *process = sim->nodes[i].process;
        struct message stop = {.type = MESSAGE_STOP, .to = {1, 1}};

        if (!sim->nodes[i].hostile || !process)
            continue;
        (void)runtime_post(process->runtime->runtime, &stop);
        if (!sim_world_run(sim->world, is_gone, process->scope, SIM_SECOND))
            sim_fail(sim, &sim->nodes[i], "shutdown", "a hostile actor does not end");
        scope_free(process->scope);
        p2p_runtime_free(process->runtime);
        free(process);
        sim->nodes[i].process = NULL;
        sim->nodes[i].state = NODE_DOWN;
    }
}
