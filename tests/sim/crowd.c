#include "tests/sim/sim.h"

#include "runtime/actor.h"
#include "runtime/semaphore.h"

#include <stdlib.h>
#include <string.h>

/* Actors beside the node's, on all its workers, that check the machine: they
 * tell, ask, watch, wait for permits, sleep, die and are born again, and know
 * what each other did.  No mail to a stranger, mail in order, every request
 * answered once, every permit back, clocks in the order in which they were
 * armed. */

enum {
    CROWD_PERMITS = 3,
    CROWD_REQUESTS_MAX = 16384, /* a ring of what was asked */
    CROWD_DEAD_MAX = 1024,      /* a ring of actors that are no more */
    CROWD_MAYFLIES = 100,      /* born together, to use up places */
    CROWD_CLOCKS = 4,          /* of each worker */
    CROWD_BURST = WORKER_LANE_MESSAGES, /* more than a lane takes of data */
};

#define STEP_NS 20000000ull
#define PATIENCE_NS (90 * SIM_SECOND)

static const struct actor_class member_class;

enum crowd_message { CROWD_MSG_DATA = MESSAGE_OWN, CROWD_MSG_ASK, CROWD_MSG_ANSWER };

struct heard { /* the last message of one who told */
    struct actor_ref from;
    uint64_t number;
};

struct member {
    struct crowd *crowd;
    struct actor_ref self;
    unsigned place;
    bool alive, waits_permit, has_permit;
    uint32_t permit_request;
    uint64_t permit_since_ns;
    struct heard *last; /* of each place */
};

struct asked {
    struct actor_ref by;
    uint64_t since_ns;
    uint32_t id;
    bool open;
};

struct clocks {
    uint64_t deadline_ns[CROWD_CLOCKS], armed[CROWD_CLOCKS];
    struct actor_ref refs[CROWD_CLOCKS];
    uint64_t last_deadline_ns, last_armed;
};

struct crowd {
    struct sim_process *process;
    struct runtime *runtime;
    struct scope *scope;
    struct actor_ref semaphore, *refs;
    struct member **members; /* NULL: being born */
    unsigned places, workers;
    struct asked asked[CROWD_REQUESTS_MAX];
    struct clocks *clocks;
    struct actor_ref dead[CROWD_DEAD_MAX];
    uint64_t numbers, armed;
    uint32_t requests, deaths;
    bool stopping, semaphore_told;
};

static struct sim *sim_of(const struct crowd *crowd)
{
    return crowd->process->owner->sim;
}

static uint64_t pack(struct actor_ref ref)
{
    return (uint64_t)ref.slot << 32 | ref.generation;
}

/* ---- members ----------------------------------------------------------------------- */

static void arm(struct actor_context *context, struct member *member)
{
    actor_deadline(context, context->now_ns + STEP_NS * (1 + sim_below(sim_of(member->crowd), 50)));
}

static int tell(struct actor_context *context, struct member *member, struct actor_ref to, bool ask)
{
    struct crowd *crowd = member->crowd;
    struct message message = {.type = ask ? CROWD_MSG_ASK : CROWD_MSG_DATA,
                              .kind = ask ? MESSAGE_REQUEST : MESSAGE_DATA, .to = to};
    struct asked *asked = &crowd->asked[(crowd->requests + 1) % CROWD_REQUESTS_MAX];
    int error;

    if (ask && asked->open)
        return 0;
    message.body.u64[0] = pack(message.to);
    message.body.u64[1] = crowd->numbers + 1;
    message.body.u64[2] = member->place;
    message.request_id = ask ? crowd->requests + 1 : 0;
    error = actor_tell(context, &message);
    if (error != 0)
        return error;
    crowd->numbers++;
    if (ask)
        *asked = (struct asked){context->self, context->now_ns, ++crowd->requests, true};
    return 0;
}

static void die(struct actor_context *context, struct member *member)
{
    struct crowd *crowd = member->crowd;

    member->alive = false;
    crowd->dead[crowd->deaths++ % CROWD_DEAD_MAX] = context->self;
    for (unsigned i = 0; i < CROWD_REQUESTS_MAX; i++)
        if (crowd->asked[i].open && actor_ref_equal(crowd->asked[i].by, context->self))
            crowd->asked[i].open = false;
    actor_exit(context);
}

/* ---- those who live for one message: places are used again and again */

static void mayfly_receive(struct actor_context *context, void *state, struct message *message)
{
    struct crowd *crowd = (struct crowd *)(uintptr_t)message->body.pointer[0];

    (void)state;
    if (message->type != MESSAGE_START)
        sim_fail(sim_current, NULL, "no stranger", "mail of type %u came to an actor that nobody knows", message->type);
    if (sim_below(sim_of(crowd), 8) == 0)
        crowd->dead[crowd->deaths++ % CROWD_DEAD_MAX] = context->self;
    actor_exit(context);
}

static const struct actor_class mayfly_class = {.name = "crowd_mayfly", .state_bytes = 8, .mail_max = 8,
                                                .receive = mayfly_receive};

static void hatch(struct actor_context *context, struct crowd *crowd)
{
    unsigned worker = sim_below(sim_of(crowd), crowd->workers);

    for (unsigned i = 0; i < CROWD_MAYFLIES; i++) {
        struct message message = {.body.pointer = {crowd}};

        actor_spawn_on(context, worker, &mayfly_class, crowd->scope, &message);
    }
}

/* ---- what members do */

static void use_permit(struct actor_context *context, struct member *member)
{
    struct crowd *crowd = member->crowd;

    if (member->has_permit) {
        semaphore_release(context, crowd->semaphore, member->permit_request);
        member->has_permit = false;
    } else {
        member->permit_request++;
        member->waits_permit = true;
        member->permit_since_ns = context->now_ns;
        /* A few go first: not so many that others would never get one. */
        semaphore_acquire(context, crowd->semaphore, member->permit_request,
                          member->place < 2 ? SEMAPHORE_PRIORITY_USER : SEMAPHORE_PRIORITY_NORMAL);
    }
}

/* One of the things that actors do. */
static void act(struct actor_context *context, struct member *member)
{
    struct crowd *crowd = member->crowd;
    struct sim *sim = sim_of(crowd);
    uint32_t what = sim_below(sim, 64), ask = sim_below(sim, 2);
    unsigned place = sim_below(sim, crowd->places), burst = what == 0 ? CROWD_BURST : what < 8 ? 20 : 1;

    if (what == 1) {
        die(context, member);
        return;
    }
    if (what == 2)
        actor_watch(context, crowd->refs[place]);
    if (what == 3)
        hatch(context, crowd);
    for (unsigned i = 0; i < burst; i++)
        if (tell(context, member, crowd->refs[place], ask) != 0)
            break;
    if (what < 16)
        (void)tell(context, member, crowd->dead[sim_below(sim, CROWD_DEAD_MAX)], ask);
    if (what >= 40 && !member->waits_permit)
        use_permit(context, member);
}

/* The one that is being handled does not wait any more. */
static void check_mail(const struct actor_context *context, const struct member *member)
{
    unsigned waiting = sim_mail_waiting(context->worker, context->self);

    if (waiting >= member_class.mail_max)
        sim_fail(sim_of(member->crowd), member->crowd->process->owner, "limits", "%u messages wait behind one, of %u",
                 waiting, member_class.mail_max);
}

static void on_words(struct actor_context *context, struct member *member, const struct message *message)
{
    struct crowd *crowd = member->crowd;
    struct heard *last = &member->last[message->body.u64[2]];
    bool same = actor_ref_equal(last->from, message->from); /* or one that was born in its place, or died there */

    check_mail(context, member);
    if (message->body.u64[0] != pack(context->self))
        sim_fail(sim_of(crowd), crowd->process->owner, "no stranger", "mail for actor %llx came to %llx",
                 (unsigned long long)message->body.u64[0], (unsigned long long)pack(context->self));
    if (same && message->body.u64[1] <= last->number)
        sim_fail(sim_of(crowd), crowd->process->owner, "mail in order", "message %llu after %llu",
                 (unsigned long long)message->body.u64[1], (unsigned long long)last->number);
    *last = (struct heard){message->from, message->body.u64[1]};
    if (message->type == CROWD_MSG_ASK) {
        struct message answer = {.type = CROWD_MSG_ANSWER};

        actor_answer(context, message, &answer);
    }
}

static void on_answer(struct actor_context *context, struct member *member, const struct message *message)
{
    struct crowd *crowd = member->crowd;
    struct asked *asked = &crowd->asked[message->request_id % CROWD_REQUESTS_MAX];

    if (asked->id != message->request_id || !asked->open || !actor_ref_equal(asked->by, context->self))
        sim_fail(sim_of(crowd), crowd->process->owner, "answered once", "request %u of an actor was answered twice",
                 message->request_id);
    asked->open = false;
}

static void on_grant(struct actor_context *context, struct member *member, const struct message *message)
{
    (void)context;
    if (!member->waits_permit || message->request_id != member->permit_request)
        sim_fail(sim_of(member->crowd), member->crowd->process->owner, "permits", "a grant that nobody asked for");
    member->waits_permit = false;
    member->has_permit = message->type == MESSAGE_GRANT && message->body.u64[0] == 1;
}

static int member_init(struct actor_context *context, void *state, const void *argument)
{
    struct member *member = state;

    (void)argument;
    (void)context;
    memset(member, 0, sizeof(*member));
    return 0;
}

static void on_start(struct actor_context *context, struct member *member, const struct message *message)
{
    member->crowd = (struct crowd *)(uintptr_t)message->body.pointer[0];
    member->place = (unsigned)message->body.u64[1];
    member->self = context->self;
    member->alive = true;
    member->last = calloc(member->crowd->places, sizeof(*member->last));
    member->crowd->members[member->place] = member;
    member->crowd->refs[member->place] = context->self;
    arm(context, member);
}

static void member_receive(struct actor_context *context, void *state, struct message *message)
{
    struct member *member = state;

    switch (message->type) {
    case MESSAGE_START:
        on_start(context, member, message);
        break;
    case MESSAGE_STOP:
        die(context, member);
        break;
    case MESSAGE_TIMER:
        arm(context, member);
        act(context, member);
        break;
    case CROWD_MSG_DATA:
    case CROWD_MSG_ASK:
        on_words(context, member, message);
        break;
    case MESSAGE_GONE:
        if (actor_ref_equal(message->from, member->crowd->semaphore)) {
            on_grant(context, member, message);
            break;
        }
        on_answer(context, member, message);
        break;
    case CROWD_MSG_ANSWER:
        on_answer(context, member, message);
        break;
    case MESSAGE_GRANT:
        on_grant(context, member, message);
        break;
    default:
        break;
    }
}

static void be_born(struct crowd *crowd, unsigned place);

static void member_fini(struct actor_context *context, void *state)
{
    struct member *member = state;

    (void)context;
    free(member->last);
    if (!member->crowd)
        return;
    if (member->crowd->members[member->place] == member)
        member->crowd->members[member->place] = NULL;
    if (!member->crowd->stopping)
        be_born(member->crowd, member->place);
}

static const struct actor_class member_class = {
    .name = "crowd_member",
    .state_bytes = sizeof(struct member),
    .mail_max = 64,
    .init = member_init,
    .receive = member_receive,
    .fini = member_fini,
};

static void be_born(struct crowd *crowd, unsigned place)
{
    struct message message = {.body.pointer = {crowd}};

    message.body.u64[1] = place;
    (void)runtime_spawn(crowd->runtime, sim_below(sim_of(crowd), crowd->workers), &member_class, crowd->scope,
                        &message);
}

/* ---- clocks ---------------------------------------------------------------------------- */

struct clock {
    struct crowd *crowd;
    unsigned worker, place;
};

static void clock_arm(struct actor_context *context, struct clock *clock)
{
    struct clocks *clocks = &clock->crowd->clocks[clock->worker];
    uint64_t deadline_ns = (context->now_ns / STEP_NS + 1 + sim_below(sim_of(clock->crowd), 3)) * STEP_NS;

    clocks->deadline_ns[clock->place] = deadline_ns;
    clocks->armed[clock->place] = ++clock->crowd->armed;
    actor_deadline(context, deadline_ns);
}

/* Of equal deadlines the one armed first, and none before its time. */
static void clock_rings(struct actor_context *context, struct clock *clock)
{
    struct clocks *clocks = &clock->crowd->clocks[clock->worker];
    uint64_t deadline_ns = clocks->deadline_ns[clock->place], armed = clocks->armed[clock->place];
    bool late = deadline_ns < clocks->last_deadline_ns ||
                (deadline_ns == clocks->last_deadline_ns && armed < clocks->last_armed);

    if (late || context->now_ns < deadline_ns)
        sim_fail(sim_of(clock->crowd), clock->crowd->process->owner, "timers in order",
                 "a clock set for %llu rang after one set for %llu", (unsigned long long)deadline_ns,
                 (unsigned long long)clocks->last_deadline_ns);
    clocks->last_deadline_ns = deadline_ns;
    clocks->last_armed = armed;
    clock_arm(context, clock);
}

static void clock_receive(struct actor_context *context, void *state, struct message *message)
{
    struct clock *clock = state;

    if (message->type == MESSAGE_START) {
        clock->crowd = (struct crowd *)(uintptr_t)message->body.pointer[0];
        clock->worker = (unsigned)(message->body.u64[1] >> 32);
        clock->place = (unsigned)message->body.u64[1];
        clock->crowd->clocks[clock->worker].refs[clock->place] = context->self;
        clock_arm(context, clock);
    } else if (message->type == MESSAGE_TIMER) {
        clock_rings(context, clock);
    } else if (message->type == MESSAGE_STOP) {
        actor_exit(context);
    }
}

static const struct actor_class clock_class = {
    .name = "crowd_clock", .state_bytes = sizeof(struct clock), .mail_max = 8, .receive = clock_receive};

/* ---- life -------------------------------------------------------------------------------- */

struct crowd *sim_crowd_new(struct sim_process *process, unsigned actors)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    struct semaphore_config permits = {.permits = CROWD_PERMITS, .reserved = 1};

    crowd->process = process;
    crowd->runtime = process->runtime->runtime;
    crowd->workers = runtime_workers(crowd->runtime);
    crowd->scope = scope_new(crowd->runtime, "");
    crowd->places = actors;
    crowd->refs = calloc(actors, sizeof(*crowd->refs));
    crowd->members = calloc(actors, sizeof(*crowd->members));
    crowd->clocks = calloc(crowd->workers, sizeof(*crowd->clocks));
    if (semaphore_spawn(runtime_worker(crowd->runtime, 0), &crowd->semaphore, crowd->scope, &permits) != 0)
        sim_fail(sim_of(crowd), process->owner, "crowd", "no semaphore");
    for (unsigned i = 0; i < actors; i++)
        be_born(crowd, i);
    for (unsigned i = 0; i < crowd->workers * CROWD_CLOCKS; i++) {
        struct message message = {.body.pointer = {crowd}};

        message.body.u64[1] = (uint64_t)(i / CROWD_CLOCKS) << 32 | i % CROWD_CLOCKS;
        (void)runtime_spawn(crowd->runtime, i / CROWD_CLOCKS, &clock_class, crowd->scope, &message);
    }
    return crowd;
}

static void stop_one(struct crowd *crowd, struct actor_ref ref)
{
    struct message stop = {.type = MESSAGE_STOP, .kind = MESSAGE_CONTROL, .to = ref};

    (void)runtime_post(crowd->runtime, &stop);
}

void sim_crowd_stop(struct crowd *crowd)
{
    crowd->stopping = true;
    for (unsigned i = 0; i < crowd->workers * CROWD_CLOCKS; i++)
        stop_one(crowd, crowd->clocks[i / CROWD_CLOCKS].refs[i % CROWD_CLOCKS]);
}

/* Those who were being born when it began to stop are told when they are there;
 * the semaphore goes last, with all its permits. */
bool sim_crowd_gone(struct crowd *crowd)
{
    struct semaphore_stats permits = {0};
    struct scope_stats stats;

    scope_stats_read(crowd->scope, &stats);
    if (stats.actors_live == 0)
        return true;
    for (unsigned i = 0; i < crowd->places; i++)
        if (crowd->members[i] && crowd->members[i]->alive) {
            stop_one(crowd, crowd->refs[i]);
            crowd->members[i]->alive = false;
        }
    if (stats.actors_live > 1 || crowd->semaphore_told)
        return false;
    semaphore_stats_read(runtime_worker(crowd->runtime, 0), crowd->semaphore, &permits);
    if (permits.held == 0 && permits.waiting == 0) {
        crowd->semaphore_told = true;
        stop_one(crowd, crowd->semaphore);
    } else if (sim_now(sim_of(crowd)) - crowd->process->close_begin_ns > SIM_CLOSE_NS_MAX + crowd->process->frozen_ns) {
        sim_fail(sim_of(crowd), crowd->process->owner, "permits", "%u permits are held, and %u awaited, by the dead",
                 permits.held, permits.waiting);
    }
    return false;
}

void sim_crowd_free(struct crowd *crowd)
{
    scope_free(crowd->scope);
    free(crowd->refs);
    free(crowd->members);
    free(crowd->clocks);
    free(crowd);
}

void sim_crowd_check(struct crowd *crowd)
{
    struct sim_node *node = crowd->process->owner;
    struct sim *sim = sim_of(crowd);
    uint64_t now_ns = sim_now(sim);

    if (node->frozen || now_ns - node->trouble_ns < PATIENCE_NS || crowd->stopping)
        return;
    for (unsigned i = 0; i < CROWD_REQUESTS_MAX; i++)
        if (crowd->asked[i].open && now_ns - crowd->asked[i].since_ns > PATIENCE_NS)
            sim_fail(sim, node, "answered once", "request %u of an actor was never answered", crowd->asked[i].id);
    for (unsigned i = 0; i < crowd->places; i++)
        if (crowd->members[i] && crowd->members[i]->alive && crowd->members[i]->waits_permit &&
            now_ns - crowd->members[i]->permit_since_ns > PATIENCE_NS)
            sim_fail(sim, node, "permits", "an actor has waited %u s for a permit",
                     (unsigned)(PATIENCE_NS / SIM_SECOND));
}
