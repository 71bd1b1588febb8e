#include "actors/shedder.h"

#include "actors/node_private.h"
#include "actors/session.h"
#include "runtime/buffer.h"
#include "runtime/log.h"

#include <string.h>

enum shedder_message {
    WEIGHER_MSG_WEIGH = MESSAGE_START,
    SHEDDER_MSG_OVER = MESSAGE_OWN + 96,
    SHEDDER_MSG_WEIGHED, /* body: struct weighed */
};

/* Requests for weights have their worker's number, that to close has the next one. */
enum { SHED_REQUEST = ACTOR_WORKERS_MAX };

enum shedder_phase { RESTING, WEIGHING, SHEDDING };

struct weighed {
    struct actor_ref session;
    uint64_t bytes; /* 0: none */
    uint64_t opened_ns;
};

struct shedder {
    enum shedder_phase phase;
    unsigned asked;       /* workers that have not answered yet */
    struct weighed most;
};

_Static_assert(sizeof(struct weighed) <= sizeof(((struct message *)NULL)->body), "fits a message");

void shedder_tell_over(struct p2p_node *node)
{
    struct message message = {.type = SHEDDER_MSG_OVER, .kind = MESSAGE_CONTROL, .to = node->own->shedder};

    if (!actor_ref_is_none(message.to))
        (void)node_post(node, &message); /* control mail cannot be refused */
}

/* ---- weighing, on every worker ---- */

static void weigh_here(struct actor_context *context, void *state, struct message *message)
{
    struct message answer = {.type = SHEDDER_MSG_WEIGHED, .kind = MESSAGE_CONTROL};
    struct weighed weighed = {.bytes = 0};

    (void)state;
    buffer_pool_squeeze(worker_buffers(context->worker));
    session_heaviest(context, &weighed.session, &weighed.bytes, &weighed.opened_ns);
    memcpy(answer.body.bytes, &weighed, sizeof(weighed));
    actor_answer(context, message, &answer);
    actor_exit(context);
}

static const struct actor_class weigher_class = {
    .name = "weigher",
    .state_bytes = 1,
    .mail_max = 1,
    .receive = weigh_here,
};

static void weigh(struct actor_context *context, struct shedder *shedder)
{
    shedder->phase = WEIGHING;
    shedder->asked = runtime_workers(worker_runtime(context->worker));
    shedder->most = (struct weighed){.bytes = 0};
    for (unsigned i = 0; i < shedder->asked; i++) {
        struct message message = {.type = WEIGHER_MSG_WEIGH, .kind = MESSAGE_REQUEST, .request_id = i};
        actor_spawn_on(context, i, &weigher_class, context->scope, &message);
    }
}

/* ---- closing ---- */

static void rest(struct actor_context *context, struct shedder *shedder)
{
    shedder->phase = RESTING;
    if (memory_settled(node_of(context)->memory))
        weigh(context, shedder);
}

static void shed(struct actor_context *context, struct shedder *shedder)
{
    if (!memory_is_over(node_of(context)->memory)) {
        rest(context, shedder);
        return;
    }
    shedder->phase = SHEDDING;
    if (shedder->most.bytes == 0 || session_tell_shed(context, shedder->most.session, SHED_REQUEST) < 0)
        actor_deadline(context, context->now_ns + SHEDDER_RETRY_NS);
}

static void on_weighed(struct actor_context *context, struct shedder *shedder, const struct message *message)
{
    struct weighed weighed = {.bytes = 0}; /* of a worker where no weigher could be spawned */

    if (message->type == SHEDDER_MSG_WEIGHED)
        memcpy(&weighed, message->body.bytes, sizeof(weighed));
    if (weighed.bytes > shedder->most.bytes ||
        (weighed.bytes == shedder->most.bytes && weighed.opened_ns > shedder->most.opened_ns))
        shedder->most = weighed;
    if (--shedder->asked == 0)
        shed(context, shedder);
}

/* It holds nothing more, or was gone already. */
static void on_shed(struct actor_context *context, struct shedder *shedder)
{
    if (memory_is_over(node_of(context)->memory))
        weigh(context, shedder);
    else
        rest(context, shedder);
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct shedder *shedder = state;

    switch (message->type) {
    case MESSAGE_STOP:
        actor_exit(context);
        break;
    case SHEDDER_MSG_OVER:
        if (shedder->phase == RESTING)
            weigh(context, shedder);
        break;
    case SHEDDER_MSG_WEIGHED:
    case SESSION_MSG_SHED_DONE:
    case MESSAGE_GONE:
        if (message->request_id == SHED_REQUEST)
            on_shed(context, shedder);
        else
            on_weighed(context, shedder, message);
        break;
    case MESSAGE_TIMER:
        if (shedder->phase == SHEDDING)
            weigh(context, shedder);
        break;
    default:
        break;
    }
}

const struct actor_class shedder_class = {
    .name = "shedder",
    .state_bytes = sizeof(struct shedder),
    .mail_max = 16,
    .receive = receive,
};
