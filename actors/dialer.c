#include "actors/dial.h"

#include "actors/node_private.h"
#include "actors/registry.h"
#include "actors/resolver.h"
#include "actors/session.h"
#include "actors/text.h"
#include "crypto/table.h"
#include "net/yamux.h"
#include "runtime/buffer.h"
#include "runtime/log.h"
#include "runtime/semaphore.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What an answer belongs to, by its request id. */
struct dial_pending {
    enum pending_kind { PENDING_ATTEMPT, PENDING_QUESTION, PENDING_PERMIT } kind;
    struct dial *dial;           /* NULL: it was decided without this answer */
    struct dial_pending *next, *previous; /* of the same dial */
    struct actor_ref session;    /* of an attempt, once it has said so */
    struct multiaddr address;    /* of an attempt or a question */
};

struct dialer {
    struct actor_ref permits;
    struct actor_ref resolver;
    struct table dials;          /* peer id -> struct dial */
    struct table pending;        /* request id -> struct dial_pending */
    struct dial *head, *tail;
    unsigned request_count;
    unsigned attempt_count;      /* of all dials, and those decided without them */
    unsigned next_worker;
    uint32_t next_request;
    uint64_t timer_ns;           /* no later than anything is due */
    bool stopping;
};

/* ---- asking, from any thread ---- */

/* What a message carries; its waiter is finished even if nobody reads it. */
struct parcel {
    struct waiter *waiter; /* NULL: taken */
    struct multiaddr address;
    struct peer_id id;
    uint64_t deadline_ns;
};

static void drop_parcel(void *data)
{
    struct parcel *parcel = data;

    if (!parcel->waiter)
        return;
    text_set(&parcel->waiter->text, "the node is closing");
    waiter_finish(parcel->waiter, P2P_ERR_NODE_CLOSING);
}

int dialer_connect(struct p2p_node *node, const struct multiaddr *address, const struct peer_id *id,
                   uint64_t deadline_ns, struct waiter *waiter)
{
    struct message message = {
        .type = DIALER_MSG_CONNECT,
        .kind = MESSAGE_DATA,
        .to = node->own->dialer,
        .buffer = buffer_new_parcel(sizeof(struct parcel), drop_parcel),
        .length = sizeof(struct parcel),
    };

    if (!message.buffer)
        return P2P_ERR_CALL_NOMEM;
    struct parcel *parcel = (struct parcel *)(void *)message.buffer->data;
    *parcel = (struct parcel){waiter, *address, *id, deadline_ns};
    int error = node_post(node, &message);
    if (error) {
        parcel->waiter = NULL;
        buffer_unref(message.buffer);
    }
    return error;
}

/* ---- pending answers ---- */

static struct dial_pending *pending_new(struct dialer *dialer, struct dial *dial, enum pending_kind kind, uint32_t *id)
{
    struct dial_pending *pending = calloc(1, sizeof(*pending));

    if (!pending)
        return NULL;
    do {
        *id = ++dialer->next_request;
    } while (*id == 0 || table_find(&dialer->pending, id, NULL));
    if (table_insert_pointer(&dialer->pending, id, pending) < 0) {
        free(pending);
        return NULL;
    }
    pending->kind = kind;
    pending->dial = dial;
    pending->next = dial->pending;
    if (pending->next)
        pending->next->previous = pending;
    dial->pending = pending;
    return pending;
}

static void pending_unlink(struct dial_pending *pending)
{
    if (!pending->dial)
        return;
    *(pending->previous ? &pending->previous->next : &pending->dial->pending) = pending->next;
    if (pending->next)
        pending->next->previous = pending->previous;
    pending->next = pending->previous = NULL;
    pending->dial = NULL;
}

static void pending_free(struct dialer *dialer, uint32_t id, struct dial_pending *pending)
{
    pending_unlink(pending);
    table_remove(&dialer->pending, &id, NULL);
    free(pending);
}

/* ---- dials ---- */

static struct dial *dial_new(struct dialer *dialer, const struct peer_id *id)
{
    struct dial *dial = calloc(1, sizeof(*dial));

    if (!dial)
        return NULL;
    dial->id = *id;
    if (table_insert_pointer(&dialer->dials, id, dial) < 0) {
        free(dial);
        return NULL;
    }
    dial->previous = dialer->tail;
    *(dialer->tail ? &dialer->tail->next : &dialer->head) = dial;
    dialer->tail = dial;
    return dial;
}

static void dial_free(struct dialer *dialer, struct dial *dial)
{
    *(dial->previous ? &dial->previous->next : &dialer->head) = dial->next;
    *(dial->next ? &dial->next->previous : &dialer->tail) = dial->previous;
    free(dial->candidates);
    free(dial);
}

static void finish_request(struct dialer *dialer, struct dial *dial, struct dial_request *request, int error)
{
    struct waiter *waiter = request->waiter;

    peer_id_to_text(&dial->id, waiter->id);
    if (error && !waiter->text.text[0])
        waiter->text = dial->text;
    dialer->request_count--;
    waiter_finish(waiter, error);
    free(request);
}

/* Its attempts that are still under way lose: those that we know are told, the
 * others when they answer. */
static void abandon_pending(struct actor_context *context, struct dial *dial)
{
    while (dial->pending) {
        struct dial_pending *pending = dial->pending;
        pending_unlink(pending);
        if (pending->kind == PENDING_ATTEMPT && !actor_ref_is_none(pending->session))
            session_tell_close(node_of(context), pending->session, YAMUX_GOAWAY_NORMAL);
    }
}

/* The outcome for all who wait, and the end of the dial. */
static void settle(struct actor_context *context, struct dialer *dialer, struct dial *dial, int error)
{
    while (dial->requests) {
        struct dial_request *request = dial->requests;
        dial->requests = request->next;
        finish_request(dialer, dial, request, error);
    }
    if (dial->permit != DIAL_PERMIT_NONE)
        semaphore_release(context, dialer->permits, dial->permit_request);
    abandon_pending(context, dial);
    table_remove(&dialer->dials, &dial->id, NULL);
    dial_free(dialer, dial);
}

static void ask_resolver(struct actor_context *context, struct dialer *dialer, struct dial *dial,
                         const struct multiaddr *address)
{
    uint32_t id;
    struct dial_pending *pending = pending_new(dialer, dial, PENDING_QUESTION, &id);
    int error = pending ? resolver_tell(context, dialer->resolver, id, address) : P2P_ERR_CALL_NOMEM;

    if (error) {
        dial_failed(dial, address, error, "too many names are being looked up; try again later");
        if (pending)
            pending_free(dialer, id, pending);
        return;
    }
    pending->address = *address;
    dial->questions++;
}

/* ---- attempts ---- */

/* Counts a connection in, if there is room. */
static bool reserve(struct p2p_node *node)
{
    int64_t connections = __atomic_add_fetch(&node->connections, 1, __ATOMIC_RELAXED);

    if (!node->config.connections_max || connections <= node->config.connections_max)
        return true;
    __atomic_sub_fetch(&node->connections, 1, __ATOMIC_RELAXED);
    return false;
}

static void try_candidate(struct actor_context *context, struct dialer *dialer, struct dial *dial,
                          struct dial_candidate *candidate)
{
    struct session_dial session_dial;
    struct dial_pending *pending;
    uint32_t id;

    if (dial_take(&session_dial, dial, candidate) < 0) {
        dial_failed(dial, &candidate->address, P2P_ERR_CALL_NOT_FOUND, "this machine has no such interface");
        return;
    }
    pending = pending_new(dialer, dial, PENDING_ATTEMPT, &id);
    if (!pending) {
        dial_failed(dial, &candidate->address, P2P_ERR_CALL_NOMEM, NULL);
        return;
    }
    if (!reserve(node_of(context))) {
        pending_free(dialer, id, pending);
        dial_failed(dial, &candidate->address, P2P_ERR_CONN_LIMIT, NULL);
        return;
    }
    pending->address = candidate->address;
    dial->attempts++;
    dialer->attempt_count++;
    dial->next_ns = context->now_ns + DIALER_STAGGER_NS;
    session_tell_dial(context, dialer->next_worker++ % runtime_workers(worker_runtime(context->worker)), id,
                      &session_dial);
}

static void be_back_by(struct dialer *dialer, uint64_t due_ns)
{
    if (due_ns < dialer->timer_ns)
        dialer->timer_ns = due_ns;
}

static int ask_permit(struct actor_context *context, struct dialer *dialer, struct dial *dial)
{
    struct dial_pending *pending = pending_new(dialer, dial, PENDING_PERMIT, &dial->permit_request);

    if (!pending)
        return P2P_ERR_CALL_NOMEM;
    dial->permit = DIAL_PERMIT_ASKED;
    semaphore_acquire(context, dialer->permits, dial->permit_request, SEMAPHORE_PRIORITY_USER);
    return 0;
}

/* Does what is due for a dial; it may be gone afterwards. */
static void drive(struct actor_context *context, struct dialer *dialer, struct dial *dial)
{
    struct dial_candidate *candidate;

    if (dial->permit == DIAL_PERMIT_NONE && dial->candidate_count > 0 && ask_permit(context, dialer, dial) != 0) {
        settle(context, dialer, dial, P2P_ERR_CALL_NOMEM);
        return;
    }
    while (dial->permit == DIAL_PERMIT_HELD && dial->attempts < DIALER_ATTEMPTS_MAX &&
           (dial->attempts == 0 || context->now_ns >= dial->next_ns) && (candidate = dial_next(dial)))
        try_candidate(context, dialer, dial, candidate);
    if (dial->permit == DIAL_PERMIT_HELD && dial->attempts < DIALER_ATTEMPTS_MAX && dial_next(dial))
        be_back_by(dialer, dial->next_ns);
    if (dial->attempts > 0 || dial->questions > 0 || dial_next(dial))
        return;
    settle(context, dialer, dial, dial->error ? dial->error : P2P_ERR_CONN_UNREACHABLE);
}

/* ---- handlers ---- */

static void refuse(struct waiter *waiter, const struct peer_id *id, int error, const char *why)
{
    peer_id_to_text(id, waiter->id);
    text_set(&waiter->text, "%s: %s", waiter->id, why);
    waiter_finish(waiter, error);
}

/* Finishes what needs no dial. */
static bool answer_at_once(struct actor_context *context, struct dialer *dialer, const struct parcel *parcel)
{
    struct p2p_node *node = node_of(context);
    struct actor_ref session;

    if (dialer->stopping) {
        refuse(parcel->waiter, &parcel->id, P2P_ERR_NODE_CLOSING, dial_remedy(P2P_ERR_NODE_CLOSING));
    } else if (peer_id_equal(&parcel->id, &node->id)) {
        refuse(parcel->waiter, &parcel->id, P2P_ERR_CALL_INVALID,
               "this is the id of this node itself; give the address of another one");
    } else if (registry_find(node->registry, &session, &parcel->id)) {
        peer_id_to_text(&parcel->id, parcel->waiter->id);
        waiter_finish(parcel->waiter, 0);
    } else if (dialer->request_count == DIALER_REQUESTS_MAX) {
        refuse(parcel->waiter, &parcel->id, P2P_ERR_CALL_FULL, "too many dials wait; try again later");
    } else {
        return false;
    }
    return true;
}

static void on_connect(struct actor_context *context, struct dialer *dialer, struct message *message)
{
    struct parcel *carried = (struct parcel *)(void *)message->buffer->data;
    struct parcel parcel = *carried;

    carried->waiter = NULL;
    if (answer_at_once(context, dialer, &parcel))
        return;
    struct dial *dial = table_find_pointer(&dialer->dials, &parcel.id);
    struct dial_request *request = calloc(1, sizeof(*request));
    if (!request || (!dial && !(dial = dial_new(dialer, &parcel.id)))) {
        free(request);
        refuse(parcel.waiter, &parcel.id, P2P_ERR_CALL_NOMEM, p2p_error_string(P2P_ERR_CALL_NOMEM));
        return;
    }
    request->waiter = parcel.waiter;
    request->deadline_ns = parcel.deadline_ns;
    request->address = parcel.address;
    request->next = dial->requests;
    dial->requests = request;
    dialer->request_count++;
    be_back_by(dialer, request->deadline_ns);
    if (multiaddr_is_resolvable(&parcel.address))
        ask_resolver(context, dialer, dial, &parcel.address);
    else
        dial_add(dial, &parcel.address);
    drive(context, dialer, dial);
}

static void on_resolved(struct actor_context *context, struct dialer *dialer, struct dial *dial,
                        const struct multiaddr *question, const struct message *message)
{
    struct resolver_answer answer = {.error = P2P_ERR_CONN_UNREACHABLE, .why = "the resolver is gone"};

    dial->questions--;
    if (message->type == RESOLVER_MSG_RESOLVED && message->buffer)
        memcpy(&answer, message->buffer->data, sizeof(answer));
    for (uint32_t i = 0; i < answer.count; i++)
        dial_add(dial, &answer.addresses[i]);
    if (answer.error && answer.others > 0)
        dial_failed(dial, question, P2P_ERR_CALL_UNSUPPORTED,
                     "its names lead to no plain TCP address; use another address of the peer");
    else if (answer.error)
        dial_failed(dial, question, answer.error, answer.why[0] ? answer.why : NULL);
    drive(context, dialer, dial);
}

/* dial_remedy() speaks of our own bound, which is looked at before a session is made. */
static const char *remedy_of_session(int error, enum session_step step)
{
    if (error != P2P_ERR_CONN_LIMIT)
        return dial_remedy(error);
    if (step == SESSION_STEP_DONE)
        return "there are as many connections to this peer as there may be; use one of them, or close one";
    return step != SESSION_STEP_CONNECTING
               ? "the handshake met a limit of this node; try again later"
               : "no descriptor or memory is left for a connection; close some, or raise the limit of open files "
                 "(ulimit -n)";
}

/* What the two were about when the attempt failed; "" before they were connected. */
static const char *occasion(const struct p2p_node *node, enum session_step step)
{
    switch (step) {
    case SESSION_STEP_SECURITY:
        return node->config.security ? "choosing the security protocol (we propose /noise), "
                                     : "choosing the security protocol (we propose /plaintext/2.0.0), ";
    case SESSION_STEP_HANDSHAKE:
        return "during the security handshake, ";
    case SESSION_STEP_MUXER:
        return "choosing the muxer (we propose /yamux/1.0.0), ";
    default:
        return "";
    }
}

static void attempt_failed(struct actor_context *context, struct dial *dial, const struct multiaddr *address,
                           int error, enum session_step step)
{
    struct p2p_error_text why;

    text_set(&why, "%s%s", occasion(node_of(context), step), remedy_of_session(error, step));
    dial_failed(dial, address, error, why.text);
}

static void on_dialled(struct actor_context *context, struct dialer *dialer, struct dial *dial,
                       const struct multiaddr *address, const struct message *message)
{
    int error = message->type == MESSAGE_GONE ? P2P_ERR_CALL_NOMEM : (int)message->body.i64[0];

    dial->attempts--;
    if (!error) {
        settle(context, dialer, dial, 0);
        return;
    }
    attempt_failed(context, dial, address, error,
                   message->type == MESSAGE_GONE ? SESSION_STEP_CONNECTING : (enum session_step)message->body.u64[1]);
    dial->next_ns = context->now_ns; /* the next one need not wait for a lost one */
    drive(context, dialer, dial);
}

static void on_grant(struct actor_context *context, struct dialer *dialer, struct dial *dial,
                     const struct message *message)
{
    if (message->type == MESSAGE_GRANT && message->body.u64[0] > 0) {
        dial->permit = DIAL_PERMIT_HELD;
        drive(context, dialer, dial);
        return;
    }
    dial->permit = DIAL_PERMIT_NONE;
    text_set(&dial->text, "too many dials wait; try again later");
    settle(context, dialer, dial, P2P_ERR_CALL_FULL);
}

/* An answer that came after its dial was decided. */
static void on_late(struct actor_context *context, const struct dial_pending *pending, const struct message *message)
{
    if (pending->kind == PENDING_ATTEMPT && message->type == SESSION_MSG_DIALLED && message->body.i64[0] == 0)
        session_tell_close(node_of(context), message->from, YAMUX_GOAWAY_NORMAL);
}

static void on_answer(struct actor_context *context, struct dialer *dialer, struct message *message)
{
    struct dial_pending *found = table_find_pointer(&dialer->pending, &message->request_id);

    if (!found)
        return;
    struct dial_pending pending = *found;
    struct dial *dial = pending.dial;
    pending_free(dialer, message->request_id, found);
    dialer->attempt_count -= pending.kind == PENDING_ATTEMPT;
    if (pending.kind == PENDING_ATTEMPT && message->type == MESSAGE_GONE) /* no session was there to count it */
        __atomic_sub_fetch(&node_of(context)->connections, 1, __ATOMIC_RELAXED);
    if (!dial)
        on_late(context, &pending, message);
    else if (pending.kind == PENDING_ATTEMPT)
        on_dialled(context, dialer, dial, &pending.address, message);
    else if (pending.kind == PENDING_QUESTION)
        on_resolved(context, dialer, dial, &pending.address, message);
    else
        on_grant(context, dialer, dial, message);
}

static void on_dialling(struct actor_context *context, struct dialer *dialer, const struct message *message)
{
    struct dial_pending *pending = table_find_pointer(&dialer->pending, &message->request_id);

    if (!pending || pending->kind != PENDING_ATTEMPT)
        return;
    pending->session = message->from;
    if (!pending->dial)
        session_tell_close(node_of(context), message->from, YAMUX_GOAWAY_NORMAL);
}

/* Those whose time has run out, and the next steps of the others. */
static void expire(struct actor_context *context, struct dialer *dialer, struct dial *dial)
{
    for (struct dial_request **at = &dial->requests; *at;) {
        struct dial_request *request = *at;
        if (context->now_ns < request->deadline_ns) {
            be_back_by(dialer, request->deadline_ns);
            at = &request->next;
            continue;
        }
        *at = request->next;
        dial_say(&request->waiter->text, dial, &request->address, dial_remedy(P2P_ERR_CALL_TIMEOUT));
        finish_request(dialer, dial, request, P2P_ERR_CALL_TIMEOUT);
    }
    if (!dial->requests)
        settle(context, dialer, dial, P2P_ERR_CALL_TIMEOUT);
    else
        drive(context, dialer, dial);
}

static void on_timer(struct actor_context *context, struct dialer *dialer)
{
    struct dial *next;

    dialer->timer_ns = UINT64_MAX;
    for (struct dial *dial = dialer->head; dial; dial = next) {
        next = dial->next;
        expire(context, dialer, dial);
    }
}

static void on_stop(struct actor_context *context, struct dialer *dialer)
{
    dialer->stopping = true;
    while (dialer->head) {
        text_set(&dialer->head->text, "the node is closing");
        settle(context, dialer, dialer->head, P2P_ERR_NODE_CLOSING);
    }
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct dialer *dialer = state;

    switch (message->type) {
    case MESSAGE_STOP:
        on_stop(context, dialer);
        break;
    case MESSAGE_TIMER:
        on_timer(context, dialer);
        break;
    case MESSAGE_GONE:
    case MESSAGE_GRANT:
    case SESSION_MSG_DIALLED:
    case RESOLVER_MSG_RESOLVED:
        on_answer(context, dialer, message);
        break;
    case SESSION_MSG_DIALLING:
        on_dialling(context, dialer, message);
        break;
    case DIALER_MSG_CONNECT:
        on_connect(context, dialer, message);
        break;
    default:
        break;
    }
}

/* Attempts under way are awaited to the end: their answers say which
 * connections to close. */
static void pump(struct actor_context *context, void *state)
{
    struct dialer *dialer = state;

    actor_deadline(context, dialer->timer_ns);
    if (dialer->stopping && dialer->attempt_count == 0)
        actor_exit(context);
}

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    const struct dialer_setup *setup = argument;
    struct dialer *dialer = state;
    uint64_t seed = node_of(context)->hash_seed;

    dialer->timer_ns = UINT64_MAX;
    dialer->permits = setup->permits;
    dialer->resolver = setup->resolver;
    table_init(&dialer->dials, sizeof(struct peer_id), DIALER_REQUESTS_MAX, seed);
    table_init(&dialer->pending, sizeof(uint32_t), 1 << 20, seed);
    return 0;
}

static void free_pending(struct dialer *dialer)
{
    size_t cursor = 0;
    uint64_t value;
    const void *key;

    while (table_next(&dialer->pending, &cursor, &key, &value))
        free((void *)(uintptr_t)value);
    table_fini(&dialer->pending);
}

static void on_fini(struct actor_context *context, void *state)
{
    struct dialer *dialer = state;

    (void)context;
    assert(!dialer->head);
    free_pending(dialer);
    table_fini(&dialer->dials);
}

const struct actor_class dialer_class = {
    .name = "dialer",
    .state_bytes = sizeof(struct dialer),
    .mail_max = DIALER_REQUESTS_MAX,
    .init = on_init,
    .receive = receive,
    .pump = pump,
    .fini = on_fini,
};
