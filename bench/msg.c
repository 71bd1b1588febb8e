#include "bench.h"

#include "chorus/p2p.h"
#include "runtime/actor.h"
#include "runtime/worker.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Messages between actors: on one worker, and to another one that is running.
 * A source keeps a window of messages under way; the sink answers every
 * WINDOW / 2 of them.  The reference is a function call through a pointer with
 * a copy of the same 64 bytes. */

/* Wide enough that neither side runs dry and sleeps: the receiver is a running
 * worker. */
enum { WINDOW = 2048, MSG_ITEM = MESSAGE_OWN, MSG_CREDIT };

struct flow {
    struct actor_ref sink;
    uint64_t count, sent, credit;
    double begin_s;
    double *seconds;
    int *done;
};

struct sink {
    uint64_t received;
};

static int sink_init(struct actor_context *context, void *state, const void *argument)
{
    (void)context;
    (void)state;
    (void)argument;
    return 0;
}

static void sink_receive(struct actor_context *context, void *state, struct message *message)
{
    struct sink *sink = state;

    if (message->type == MESSAGE_STOP) {
        actor_exit(context);
        return;
    }
    if (message->type != MSG_ITEM || ++sink->received % (WINDOW / 2) != 0)
        return;
    struct message credit = {.type = MSG_CREDIT, .kind = MESSAGE_CONTROL, .to = message->from};

    (void)actor_tell(context, &credit); /* control mail cannot be refused */
}

static const struct actor_class sink_class = {
    .name = "sink", .state_bytes = sizeof(struct sink), .mail_max = 4 * WINDOW, .init = sink_init,
    .receive = sink_receive,
};

static int source_init(struct actor_context *context, void *state, const void *argument)
{
    (void)context;
    memcpy(state, argument, sizeof(struct flow));
    return 0;
}

static void source_receive(struct actor_context *context, void *state, struct message *message)
{
    struct flow *flow = state;

    (void)context;
    if (message->type == MESSAGE_START) {
        flow->sink = (struct actor_ref){(uint32_t)message->body.u64[0], (uint32_t)message->body.u64[1]};
        flow->begin_s = bench_now_s();
        flow->credit = WINDOW;
    } else if (message->type == MSG_CREDIT) {
        flow->credit += WINDOW / 2;
    }
}

static void source_pump(struct actor_context *context, void *state)
{
    struct flow *flow = state;

    while (flow->credit > 0 && flow->sent < flow->count) {
        struct message item = {.type = MSG_ITEM, .kind = MESSAGE_DATA, .to = flow->sink};

        item.body.u64[0] = flow->sent;
        if (actor_tell(context, &item) != 0)
            return; /* the next credit tries again */
        flow->sent++;
        flow->credit--;
    }
    if (flow->sent == flow->count && flow->credit >= WINDOW) {
        struct message stop = {.type = MESSAGE_STOP, .kind = MESSAGE_CONTROL, .to = flow->sink};

        *flow->seconds = bench_now_s() - flow->begin_s;
        (void)actor_tell(context, &stop); /* control mail cannot be refused */
        __atomic_store_n(flow->done, 1, __ATOMIC_RELEASE);
        actor_exit(context);
    }
}

static const struct actor_class source_class = {
    .name = "source", .state_bytes = sizeof(struct flow), .mail_max = 4 * WINDOW, .init = source_init,
    .receive = source_receive, .pump = source_pump,
};

/* A host actor spawns both on its own worker, or the sink on the other. */
struct host {
    struct flow flow;
};

static int host_init(struct actor_context *context, void *state, const void *argument)
{
    (void)context;
    (void)state;
    (void)argument;
    return 0;
}

static void host_receive(struct actor_context *context, void *state, struct message *message)
{
    struct flow flow = {0};
    struct message start = {.type = MESSAGE_START, .kind = MESSAGE_CONTROL};
    struct actor_ref source;

    (void)state;
    if (message->type == MESSAGE_START) {
        /* From outside: pointer to the flow, and the sink if it is elsewhere. */
        memcpy(&flow, message->body.pointer[0], sizeof(flow));
        if (actor_ref_is_none(flow.sink) &&
            actor_spawn(context->worker, &flow.sink, &sink_class, context->scope, NULL) != 0)
            bench_die("no actor");
        start.body.u64[0] = flow.sink.slot;
        start.body.u64[1] = flow.sink.generation;
        if (actor_spawn(context->worker, &source, &source_class, context->scope, &flow) != 0)
            bench_die("no actor");
        start.to = source;
        (void)actor_tell(context, &start); /* control mail cannot be refused */
        actor_exit(context);
    }
}

static const struct actor_class host_class = {
    .name = "host", .state_bytes = sizeof(struct host), .mail_max = 8, .init = host_init, .receive = host_receive,
};

/* Tells its reference to whoever waits outside. */
static int beacon_init(struct actor_context *context, void *state, const void *argument)
{
    (void)context;
    (void)argument;
    memset(state, 0, sizeof(struct sink));
    return 0;
}

static void beacon_receive(struct actor_context *context, void *state, struct message *message)
{
    if (message->type == MESSAGE_START) {
        struct actor_ref *out = (struct actor_ref *)(uintptr_t)message->body.pointer[0];

        out->slot = context->self.slot;
        __atomic_store_n(&out->generation, context->self.generation, __ATOMIC_RELEASE);
        return;
    }
    sink_receive(context, state, message);
}

static const struct actor_class beacon_class = {
    .name = "sink", .state_bytes = sizeof(struct sink), .mail_max = 4 * WINDOW, .init = beacon_init,
    .receive = beacon_receive,
};

static double flow_once(struct runtime *runtime, struct scope *scope, bool across, uint64_t count)
{
    double seconds = 0;
    int done = 0;
    struct flow flow = {.count = count, .seconds = &seconds, .done = &done};
    struct message start = {.type = MESSAGE_START, .kind = MESSAGE_CONTROL};

    if (across) {
        start.body.pointer[0] = &flow.sink;
        if (runtime_spawn(runtime, 1, &beacon_class, scope, &start) != 0)
            bench_die("no actor");
        while (__atomic_load_n(&flow.sink.generation, __ATOMIC_ACQUIRE) == 0)
            ;
    }
    start = (struct message){.type = MESSAGE_START, .kind = MESSAGE_CONTROL};
    start.body.pointer[0] = &flow;
    if (runtime_spawn(runtime, 0, &host_class, scope, &start) != 0)
        bench_die("no actor");
    while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) == 0) {
        struct timespec nap = {0, 1000000};

        nanosleep(&nap, NULL);
    }
    return seconds / (double)count * 1e9;
}

static void (*volatile copy_call)(struct message *to, const struct message *from);

static void copy_message(struct message *to, const struct message *from)
{
    memcpy(to, from, sizeof(*to));
}

static double call_once(uint64_t count)
{
    static struct message ring[WINDOW];
    struct message item = {.type = MSG_ITEM};
    double begin_s = bench_now_s();

    copy_call = copy_message;
    for (uint64_t i = 0; i < count; i++) {
        item.body.u64[0] = i;
        copy_call(&ring[i % WINDOW], &item);
    }
    return (bench_now_s() - begin_s) / (double)count * 1e9;
}

int bench_msg(const struct bench_options *options)
{
    struct runtime_config config;
    struct runtime *runtime;
    struct scope *scope;
    struct bench_samples same = {0}, across = {0}, call = {0};
    uint64_t count = options->count > 0 ? options->count : 5000000;

    count = (count + WINDOW - 1) / WINDOW * WINDOW; /* the last credit comes, too */
    runtime_config_init(&config);
    config.workers = 2;
    config.threads = true;
    config.driver = DRIVER_AUTO;
    config.pin = true;
    if (runtime_new(&runtime, &config) != 0)
        bench_die("no runtime");
    scope = scope_new(runtime, "bench");
    for (unsigned run = 0; run < options->runs; run++) {
        bench_add(&call, call_once(count));
        bench_add(&same, flow_once(runtime, scope, false, count));
        bench_add(&across, flow_once(runtime, scope, true, count));
    }
    bench_row(options, "message, same worker", "ns", &same, &call, "call and copy");
    bench_row(options, "message, to a running worker", "ns", &across, &call, "call and copy");
    for (;;) {
        struct scope_stats stats;
        struct timespec nap = {0, 1000000};

        scope_stats_read(scope, &stats);
        if (stats.actors_live == 0)
            break;
        nanosleep(&nap, NULL);
    }
    scope_free(scope);
    runtime_free(runtime);
    return 0;
}
