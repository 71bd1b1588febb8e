#include "actors/session_state.h"

#include "actors/probes.h"
#include "actors/registry.h"
#include "actors/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* What session_accept() hands to init. */
struct accepted {
    int socket;
    const struct sockaddr_storage *remote;
};

static void set_remote(struct session *session, const struct sockaddr_storage *address)
{
    struct sockaddr_storage plain = *address;
    struct multiaddr remote;

    if (plain.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&plain)->sin6_scope_id = 0;
    if (multiaddr_from_sockaddr(&remote, (const struct sockaddr *)&plain) == 0)
        registry_set_remote(&session->entry, &remote);
}

const struct peer_id *session_peer(const struct session *session)
{
    static const struct peer_id none;

    if (session->entry.id != NULL)
        return session->entry.id;
    return session->handshake != NULL ? &session->handshake->peer : &none;
}

struct actor_context session_context(struct session *session)
{
    return actor_context_of(session->local->worker, session->entry.session);
}

void session_wake(struct session *session)
{
    if ((session->flags & SESSION_PUMPING) == 0)
        actor_wake(session->local->worker, session->entry.session);
}

static void count(struct session *session, enum node_counter counter, int64_t delta)
{
    scope_count(session->node->scope, session->local->worker, counter, delta);
}

/* ---- Beginning ---------------------------------------------------------- */

static void join_worker(struct session *session)
{
    struct local *local = session->local;

    session->next = local->sessions;
    if (session->next != NULL)
        session->next->previous = session;
    local->sessions = session;
}

static void leave_worker(struct session *session)
{
    *(session->previous != NULL ? &session->previous->next : &session->local->sessions) = session->next;
    if (session->next != NULL)
        session->next->previous = session->previous;
}

static int on_init(struct actor_context *context, void *state, const void *argument)
{
    struct session *session = state;
    const struct accepted *accepted = argument;
    int error;

    session->node = node_of(context);
    session->local = worker_local(context->worker);
    session->entry.session = context->self;
    session_be_idle(session);
    session->socket = -1;
    session->last_recv_ns = context->now_ns;
    session->entry.opened_ns = context->now_ns;
    if (accepted == NULL) {
        join_worker(session);
        return 0; /* dialled: the first message says where */
    }
    set_remote(session, accepted->remote);
    error = session_handshake_begin(session, false, NULL, context->now_ns + NODE_HANDSHAKE_NS_MAX);
    if (error != 0) {
        session_handshake_free(session); /* no fini comes */
        return error;
    }
    join_worker(session);
    session->socket = accepted->socket;
    session->flags |= SESSION_COUNTED_HANDSHAKE;
    session->phase = SESSION_SECURING;
    count(session, NODE_SESSIONS_LIVE, 1);
    session->flags |= SESSION_MULTISHOT;
    driver_receive(session->local->driver, session->socket, session->entry.session);
    actor_deadline(context, session->handshake->deadline_ns);
    return 0;
}

int session_accept(struct actor_context *context, int socket, const struct sockaddr_storage *remote)
{
    struct p2p_node *node = node_of(context);
    struct accepted accepted = {.socket = socket, .remote = remote};
    struct actor_ref ref;
    int error = actor_spawn(context->worker, &ref, &session_class, context->scope, &accepted);

    if (error != 0) {
        driver_close_socket(worker_driver(context->worker), socket, DRIVER_CLOSE_RESET);
        __atomic_sub_fetch(&node->connections, 1, __ATOMIC_RELAXED);
        __atomic_sub_fetch(&node->handshakes_in, 1, __ATOMIC_RELAXED);
        return error;
    }
    /* The listener's side speaks first, too: its multistream header. */
    actor_wake(context->worker, ref);
    PROBE_ACCEPT(socket);
    return 0;
}

void session_tell_dial(struct actor_context *context, unsigned worker_index, uint32_t request_id,
                       const struct session_dial *dial)
{
    struct message message = {.type = SESSION_MSG_DIAL, .kind = MESSAGE_REQUEST, .request_id = request_id};

    message.buffer = buffer_new_foreign(sizeof(*dial));
    if (message.buffer != NULL) {
        memcpy(message.buffer->data, dial, sizeof(*dial));
        message.length = sizeof(*dial);
    }
    actor_spawn_on(context, worker_index, &session_class, context->scope, &message);
}

/* A dial that ended before there was a handshake to remember its dialer. */
static void refuse_dial(struct actor_context *context, struct session *session, struct message *message, int error)
{
    struct message answer = {.type = SESSION_MSG_DIALLED, .kind = MESSAGE_CONTROL};

    answer.body.i64[0] = error;
    actor_answer(context, message, &answer);
    session_end(session, error);
}

static void tell_dialling(struct actor_context *context, const struct message *message)
{
    struct message news = {.type = SESSION_MSG_DIALLING, .kind = MESSAGE_CONTROL, .to = message->from,
                           .request_id = message->request_id};

    (void)actor_tell(context, &news); /* control mail cannot be refused */
}

static void on_dial(struct actor_context *context, struct session *session, struct message *message)
{
    struct session_dial dial;
    int error;

    count(session, NODE_SESSIONS_LIVE, 1);
    session->flags |= SESSION_INITIATOR;
    if (message->buffer == NULL) {
        refuse_dial(context, session, message, P2P_ERR_CALL_NOMEM);
        return;
    }
    memcpy(&dial, message->buffer->data, sizeof(dial));
    set_remote(session, &dial.address);
    error = session_handshake_begin(session, true, &dial.expected, dial.deadline_ns);
    if (error != 0) {
        refuse_dial(context, session, message, error);
        return;
    }
    tell_dialling(context, message);
    session->handshake->dialer = message->from;
    session->handshake->dial_request = message->request_id;
    session->socket = driver_connect(session->local->driver, (const struct sockaddr *)&dial.address,
                                     dial.address_length, session->entry.session);
    if (session->socket < 0) {
        session_end(session, session->socket == -ENOMEM || session->socket == -EMFILE || session->socket == -ENFILE
                                 ? P2P_ERR_CONN_LIMIT : P2P_ERR_CONN_UNREACHABLE);
        return;
    }
    actor_deadline(context, dial.deadline_ns);
}

static int connect_error(int64_t result)
{
    switch (-result) {
    case ECONNREFUSED:
        return P2P_ERR_CONN_REFUSED;
    case ETIMEDOUT:
        return P2P_ERR_CONN_TIMEOUT;
    case ECONNRESET:
        return P2P_ERR_CONN_RESET;
    default:
        return P2P_ERR_CONN_UNREACHABLE;
    }
}

static void on_connected(struct actor_context *context, struct session *session, struct message *message)
{
    (void)context;
    if (session->phase != SESSION_CONNECTING)
        return;
    if (message->body.i64[0] < 0) {
        session_end(session, connect_error(message->body.i64[0]));
        return;
    }
    session->phase = SESSION_SECURING;
    session->handshake->tcp_connected = true;
    session->last_recv_ns = context->now_ns;
    session->flags |= SESSION_MULTISHOT;
    driver_receive(session->local->driver, session->socket, session->entry.session);
}

/* ---- The end ------------------------------------------------------------ */

static enum session_step step_of(const struct session *session)
{
    if (!session->handshake->tcp_connected)
        return SESSION_STEP_CONNECTING;
    if (session->flags & SESSION_MUXER_AGREED)
        return SESSION_STEP_DONE;
    if (session->flags & SESSION_SECURE)
        return SESSION_STEP_MUXER;
    return session->handshake->select_done ? SESSION_STEP_HANDSHAKE : SESSION_STEP_SECURITY;
}

static void tell_dialer(struct session *session, int error)
{
    struct session_handshake *handshake = session->handshake;
    struct actor_context context = session_context(session);
    struct message answer = {.type = SESSION_MSG_DIALLED, .kind = MESSAGE_CONTROL};

    if (handshake == NULL || actor_ref_is_none(handshake->dialer))
        return;
    answer.to = handshake->dialer;
    answer.request_id = handshake->dial_request;
    answer.body.i64[0] = error;
    answer.body.u64[1] = step_of(session);
    handshake->dialer = (struct actor_ref){0};
    (void)actor_tell(&context, &answer); /* control mail cannot be refused */
}

static void log_end(struct session *session, int error)
{
    struct actor_context context = session_context(session);
    char peer[PEER_ID_SHORT_SIZE] = "";
    char text[MULTIADDR_TEXT_SIZE];
    struct multiaddr remote;

    if (!log_enabled(session->node->scope, LOG_LEVEL_DEBUG))
        return;
    peer_id_to_short(session_peer(session), peer); /* "" before the handshake has told it */
    registry_remote(&session->entry, &remote);
    if (multiaddr_to_text(&remote, text, sizeof(text)) < 0)
        text[0] = '\0';
    LOG(&context, LOG_LEVEL_DEBUG, "connection_closed", "peer=%s address=%s reason=%s bytes_in=%llu bytes_out=%llu",
        peer, text, p2p_error_name(error), (unsigned long long)session->entry.bytes_in,
        (unsigned long long)session->entry.bytes_out);
}

static void release_counts(struct session *session)
{
    struct p2p_node *node = session->node;

    if (session->flags & SESSION_COUNTED_HANDSHAKE)
        __atomic_sub_fetch(&node->handshakes_in, 1, __ATOMIC_RELAXED);
    session->flags &= ~(uint32_t)SESSION_COUNTED_HANDSHAKE;
    __atomic_sub_fetch(&node->connections, 1, __ATOMIC_RELAXED);
    count(session, NODE_SESSIONS_LIVE, -1);
    count(session, session->flags & SESSION_REGISTERED ? NODE_CONNECTIONS_CLOSED : NODE_HANDSHAKES_FAILED, 1);
}

/* For the application: which limit was met. */
static void explain_end(const struct session *session, struct p2p_error_text *out)
{
    out->text[0] = '\0';
    if (session->flags & SESSION_SHED)
        text_set(out, "the node's memory of %llu bytes (p2p_config_memory) was used up, and this connection held most "
                 "of it; read its streams, or raise the limit", (unsigned long long)session->node->memory->max_bytes);
}

void session_end(struct session *session, int error)
{
    struct p2p_error_text why;
    bool orderly = error == P2P_ERR_CONN_CLOSED || error == P2P_ERR_CONN_GOAWAY ||
                   session->phase == SESSION_DRAINING;

    if (session->phase == SESSION_DEAD)
        return;
    session->phase = SESSION_DEAD;
    if (session->error == 0)
        session->error = (int16_t)error;
    error = session->error;
    log_end(session, error);
    session_fail_streams(session, error, false);
    session_ping_free(session, error);
    session_identify_free(session);
    explain_end(session, &why);
    if (session->flags & SESSION_REGISTERED)
        registry_remove(session->node->registry, &session->entry, error, &why);
    session->told_bytes = 0;
    session_count_memory(session);
    release_counts(session);
    tell_dialer(session, error);
    if (session->socket >= 0)
        driver_close_socket(session->local->driver, session->socket,
                            orderly ? DRIVER_CLOSE_ORDERLY : DRIVER_CLOSE_RESET);
    session->socket = -1;
    session_wake(session);
}

void session_close(struct session *session, int error, uint32_t code)
{
    if (session->phase >= SESSION_CLOSING)
        return;
    if (session->error == 0)
        session->error = (int16_t)error;
    if (session->phase < SESSION_OPEN) {
        session_end(session, error);
        return;
    }
    session->phase = SESSION_CLOSING;
    registry_retire(session->node->registry, &session->entry);
    session->close_code = code;
    session->deadline_ns = session_now(session) + NODE_CLOSE_FLUSH_NS;
    session_stop_writing(session);
    session_wake(session);
}

static void on_fini(struct actor_context *context, void *state)
{
    struct session *session = state;

    (void)context;
    session_end(session, P2P_ERR_CONN_CLOSED);
    session_handshake_free(session);
    buffer_unref(session->record);
    buffer_unref(session->sending);
    session->record = session->sending = NULL;
    session->flags &= ~(uint32_t)SESSION_RECEIVING_INTO;
    session_count_memory(session);
    leave_worker(session);
    session_be_idle(session);
    yamux_fini(&session->yamux);
    noise_keys_wipe(&session->keys);
}

/* Streams take no more, but what they had queued still goes out; then the GoAway,
 * then the FIN. */
static void pump_closing(struct session *session)
{
    if (session->phase == SESSION_CLOSING) {
        if (session->flags & SESSION_SENDING || session->sending != NULL)
            return;
        if ((session->flags & SESSION_GOAWAY_SENT) == 0) {
            session->flags |= SESSION_GOAWAY_SENT;
            yamux_goaway(&session->yamux, session->close_code);
            session_flush(session);
            if (session->flags & SESSION_SENDING)
                return;
        }
        driver_shutdown_write(session->local->driver, session->socket);
        session->phase = SESSION_DRAINING;
        session->deadline_ns = session_now(session) + NODE_CLOSE_DRAIN_NS;
    }
    if (session->phase == SESSION_DRAINING && session->flags & SESSION_EOF)
        session_end(session, P2P_ERR_CONN_CLOSED);
}

/* ---- Time --------------------------------------------------------------- */

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void session_measure(struct session *session)
{
    session->pinged_ns = session_now(session);
    yamux_ping(&session->yamux, session->pinged_ns);
}

enum {
    KEEP_ALIVE_BEATS = 1024,    /* of an interval: a worker that wakes asks the ten of ten thousand that are due */
    KEEP_ALIVE_LEAD_BEATS = 16, /* of who was dialled: half a second, so that its ping comes before the other's goes */
};

/* The beat at or after `due_ns`.  Were both ends to ask, each would be asked in
 * vain. */
static uint64_t beat(const struct session *session, uint64_t due_ns, uint64_t beat_ns)
{
    uint64_t lead = session->flags & SESSION_INITIATOR ? KEEP_ALIVE_LEAD_BEATS : 0;

    return beat_ns == 0 ? due_ns : ((due_ns + beat_ns - 1) / beat_ns + lead) * beat_ns;
}

static uint64_t keep_alive_deadline(const struct session *session)
{
    uint64_t interval_ns = session->node->config.keep_alive_ms * 1000000ull;
    uint64_t asked_ns = yamux_ping_outstanding_ns(&session->yamux);

    if (interval_ns == 0 || session->phase != SESSION_OPEN)
        return UINT64_MAX;
    if (asked_ns != 0)
        return (asked_ns > session->last_recv_ns ? asked_ns : session->last_recv_ns) + NODE_PONG_NS_MAX;
    /* Also while the peer is heard: the round trip changes. */
    return beat(session, earliest(session->last_recv_ns + interval_ns, session->pinged_ns + 2 * interval_ns),
                interval_ns / KEEP_ALIVE_BEATS);
}

static void keep_alive(struct session *session, uint64_t now_ns)
{
    if (now_ns < keep_alive_deadline(session))
        return;
    if (yamux_ping_outstanding_ns(&session->yamux) != 0)
        session_end(session, P2P_ERR_CONN_TIMEOUT);
    else
        session_measure(session);
}

static uint64_t stall_deadline(const struct session *session)
{
    return session->flags & SESSION_SENDING ? session->stall_look_ns : UINT64_MAX;
}

static void check_stall(struct session *session, uint64_t now_ns)
{
    uint64_t acknowledged;

    if (now_ns < stall_deadline(session))
        return;
    acknowledged = driver_acknowledged(session->local->driver, session->socket);
    if (acknowledged != session->stall_acknowledged)
        session->stall_since_ns = now_ns;
    session->stall_acknowledged = acknowledged;
    session->stall_look_ns = now_ns + NODE_STALL_LOOK_NS;
    if (now_ns - session->stall_since_ns >= NODE_STALL_NS_MAX)
        session_end(session, P2P_ERR_CONN_STALLED);
}

enum { BULK_IDLE_NS_MAX = 1000000000 }; /* a large buffer waits no longer for bytes that do not come */

static uint64_t bulk_deadline(const struct session *session)
{
    return session->flags & SESSION_RECEIVING_INTO ? session->last_recv_ns + BULK_IDLE_NS_MAX : UINT64_MAX;
}

static void check_bulk(struct session *session, uint64_t now_ns)
{
    if (now_ns >= bulk_deadline(session))
        driver_receive_stop(session->local->driver, session->socket);
}

/* What the peer told of itself is looked into when connections no longer come in. */
static uint64_t review_deadline(const struct session *session)
{
    return session->flags & SESSION_UNREVIEWED ? session->entry.opened_ns + SESSION_REVIEW_NS : UINT64_MAX;
}

static void review(struct session *session, uint64_t now_ns)
{
    if (now_ns < review_deadline(session))
        return;
    session->flags &= ~(uint32_t)SESSION_UNREVIEWED;
    session->told_bytes = registry_review(session->node->registry, session_peer(session));
    local_reviewed(session->local, session == session->local->sessions);
}

static uint64_t phase_deadline(const struct session *session)
{
    if (session->phase < SESSION_OPEN && session->handshake != NULL)
        return session->handshake->deadline_ns;
    if (session->phase == SESSION_CLOSING || session->phase == SESSION_DRAINING)
        return session->deadline_ns;
    return UINT64_MAX;
}

enum { PAUSE_NS = 1000000 }; /* between looks whether bulk may go on: a connection is closed in less */

static void set_deadline(struct actor_context *context, struct session *session)
{
    uint64_t deadline_ns = phase_deadline(session);

    deadline_ns = earliest(deadline_ns, keep_alive_deadline(session));
    deadline_ns = earliest(deadline_ns, stall_deadline(session));
    deadline_ns = earliest(deadline_ns, bulk_deadline(session));
    deadline_ns = earliest(deadline_ns, session_streams_deadline(session));
    deadline_ns = earliest(deadline_ns, review_deadline(session));
    if (session->flags & SESSION_PAUSED)
        deadline_ns = earliest(deadline_ns, context->now_ns + PAUSE_NS);
    if (session->flags & SESSION_DEFERRED)
        deadline_ns = context->now_ns;
    actor_deadline(context, deadline_ns);
}

static void on_timer(struct actor_context *context, struct session *session, struct message *message)
{
    (void)message;
    if (session->flags & SESSION_DEFERRED)
        session_feed_deferred(session);
    if (context->now_ns >= phase_deadline(session)) {
        if (session->phase == SESSION_CLOSING) {
            /* What did not go out in a second stays unsaid. */
            session->phase = SESSION_DRAINING;
            session_end(session, session->error);
        } else {
            session_end(session, session->phase == SESSION_DRAINING ? session->error : P2P_ERR_CONN_TIMEOUT);
        }
        return;
    }
    check_bulk(session, context->now_ns);
    session_expire_streams(session, context->now_ns);
    review(session, context->now_ns);
    keep_alive(session, context->now_ns);
    if (session->phase != SESSION_DEAD)
        check_stall(session, context->now_ns);
}

/* ---- Commands ----------------------------------------------------------- */

static void on_stop(struct actor_context *context, struct session *session, struct message *message)
{
    bool closing = __atomic_load_n(&session->node->closing, __ATOMIC_ACQUIRE);

    (void)context;
    session_close(session, closing ? P2P_ERR_NODE_CLOSING : P2P_ERR_CONN_CLOSED, (uint32_t)message->body.u64[0]);
}

void session_tell_close(struct p2p_node *node, struct actor_ref session, uint32_t code)
{
    struct message message = {.type = SESSION_MSG_CLOSE, .kind = MESSAGE_CONTROL, .to = session};

    message.body.u64[0] = code;
    (void)node_post(node, &message); /* control mail cannot be refused */
}

int session_tell_shed(struct actor_context *context, struct actor_ref session, uint32_t request_id)
{
    struct message message = {.type = SESSION_MSG_SHED, .kind = MESSAGE_REQUEST, .to = session,
                              .request_id = request_id};

    return actor_tell(context, &message);
}

static void on_shed(struct actor_context *context, struct session *session, struct message *message)
{
    struct message answer = {.type = SESSION_MSG_SHED_DONE, .kind = MESSAGE_CONTROL};

    session_shed(session);
    actor_answer(context, message, &answer);
}

static void on_open_stream(struct actor_context *context, struct session *session, struct message *message)
{
    struct stream_mail mail;

    (void)context;
    stream_mail_take(&mail, message);
    session_open_stream(session, stream_ref(mail.stream));
}

static void on_ping(struct actor_context *context, struct session *session, struct message *message)
{
    struct waiter *waiter;

    (void)context;
    memcpy(&waiter, message->buffer->data, sizeof(waiter));
    memset(message->buffer->data, 0, sizeof(waiter)); /* taken: nothing is left to drop */
    session_ping_ask(session, waiter);
}

static void ping_dropped(void *data)
{
    struct waiter *waiter;

    memcpy(&waiter, data, sizeof(waiter));
    if (waiter != NULL)
        waiter_finish(waiter, P2P_ERR_CONN_CLOSED);
}

void session_tell_ping(struct p2p_node *node, struct actor_ref session, struct waiter *waiter)
{
    struct message message = {.type = SESSION_MSG_PING, .kind = MESSAGE_CONTROL, .to = session};

    message.buffer = buffer_new_parcel(sizeof(waiter), ping_dropped);
    if (message.buffer == NULL) {
        waiter_finish(waiter, P2P_ERR_CALL_NOMEM);
        return;
    }
    memcpy(message.buffer->data, &waiter, sizeof(waiter));
    (void)node_post(node, &message); /* control mail cannot be refused */
}

static void on_push(struct actor_context *context, struct session *session, struct message *message)
{
    (void)context;
    (void)message;
    if (session->phase == SESSION_OPEN)
        session_identify_push(session);
    else if (session->phase < SESSION_OPEN)
        session->flags |= SESSION_PUSH_DUE;
}

void session_tell_push(struct p2p_node *node, struct actor_ref session)
{
    struct message message = {.type = SESSION_MSG_PUSH, .kind = MESSAGE_CONTROL, .to = session};

    (void)node_post(node, &message); /* control mail cannot be refused */
}

static void on_stream(struct actor_context *context, struct session *session, struct message *message)
{
    struct stream_mail mail;

    (void)context;
    (void)session;
    stream_mail_take(&mail, message);
    stream_absorb(mail.stream);
}

static void on_run(struct actor_context *context, struct session *session, struct message *message)
{
    struct stream_mail mail;

    (void)context;
    (void)session;
    stream_mail_take(&mail, message);
    stream_mail_run(&mail);
}

static void on_settled(struct actor_context *context, struct session *session, struct message *message)
{
    (void)context;
    (void)message;
    session->flags &= ~(uint32_t)(SESSION_SETTLING | SESSION_SWITCHING);
}

static void on_received(struct actor_context *context, struct session *session, struct message *message)
{
    (void)context;
    session_received(session, message);
}

static void on_sent(struct actor_context *context, struct session *session, struct message *message)
{
    (void)context;
    session_sent(session, message);
}

static void (*handler_of(unsigned type))(struct actor_context *, struct session *, struct message *)
{
    switch (type) {
    case MESSAGE_START:
        return on_dial;
    case MESSAGE_STOP:
    case SESSION_MSG_CLOSE:
        return on_stop;
    case MESSAGE_TIMER:
        return on_timer;
    case MESSAGE_IO_CONNECTED:
        return on_connected;
    case MESSAGE_IO_RECEIVED:
        return on_received;
    case MESSAGE_IO_SENT:
        return on_sent;
    case SESSION_MSG_SHED:
        return on_shed;
    case SESSION_MSG_OPEN_STREAM:
        return on_open_stream;
    case SESSION_MSG_PING:
        return on_ping;
    case SESSION_MSG_PUSH:
        return on_push;
    case SESSION_MSG_STREAM:
        return on_stream;
    case SESSION_MSG_RUN:
        return on_run;
    case SESSION_MSG_SETTLED:
        return on_settled;
    default:
        return NULL;
    }
}

static void receive(struct actor_context *context, void *state, struct message *message)
{
    struct session *session = state;
    void (*handler)(struct actor_context *, struct session *, struct message *) = handler_of(message->type);

    if (handler == NULL || (session->phase == SESSION_DEAD && handler != on_shed))
        return;
    session->flags |= SESSION_PUMPING;
    handler(context, session, message);
    session->flags &= ~(uint32_t)SESSION_PUMPING;
}

enum { PUMP_ROUNDS_MAX = 4 }; /* callbacks feed the wire and the wire frees room for callbacks: then the next turn */

static void pump(struct actor_context *context, void *state)
{
    struct session *session = state;
    unsigned rounds = 0;

    session->flags |= SESSION_PUMPING;
    do {
        session_run_ready(session);
        if (session->phase != SESSION_DEAD)
            session_flush(session);
    } while (session->busy->ready != NULL && ++rounds < PUMP_ROUNDS_MAX);
    if (session->busy->pending != NULL) { /* farewells that were said have made room */
        session_retry_pending(session);
        session_flush(session);
    }
    if (session->phase == SESSION_CLOSING || session->phase == SESSION_DRAINING)
        pump_closing(session);
    session->flags &= ~(uint32_t)SESSION_PUMPING;
    if (session->phase == SESSION_DEAD) {
        actor_exit(context);
        return;
    }
    session_receive_mode(session);
    session_count_memory(session);
    session->turn_bytes = 0;
    if (session->busy->ready != NULL)
        actor_wake(context->worker, session->entry.session);
    set_deadline(context, session);
    session_be_idle(session);
}

const struct actor_class session_class = {
    .name = "session",
    .state_bytes = sizeof(struct session),
    .mail_max = 1024,
    .init = on_init,
    .receive = receive,
    .pump = pump,
    .fini = on_fini,
};

_Static_assert(sizeof(struct session) <= 464, "user memory of an idle connection");
