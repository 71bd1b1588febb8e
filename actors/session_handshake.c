#include "actors/session_state.h"

#include "actors/probes.h"
#include "actors/registry.h"
#include "crypto/x25519.h"

#include <stdlib.h>
#include <string.h>

#define NOISE_PROTOCOL "/noise"
#define PLAINTEXT_PROTOCOL "/plaintext/2.0.0"
#define YAMUX_PROTOCOL "/yamux/1.0.0"

static const char *const noise_names[] = {NOISE_PROTOCOL};
static const char *const plaintext_names[] = {PLAINTEXT_PROTOCOL};
static const char *const muxer_names[] = {YAMUX_PROTOCOL};

static bool is_initiator(const struct session *session)
{
    return (session->flags & SESSION_INITIATOR) != 0;
}

static const char *const *security_names(const struct session *session)
{
    return session->node->config.security ? noise_names : plaintext_names;
}

/* Moves all that multistream has to say to a queue. */
static int collect_select(struct session *session, struct slices *queue)
{
    struct multistream *select = &session->handshake->select;

    while (multistream_wants_send(select)) {
        uint8_t out[MULTISTREAM_TOKEN_BYTES_MAX];
        size_t written = 0;
        int error = multistream_send(select, out, sizeof(out), &written);

        if (error != 0)
            return error;
        if (slices_copy_in(queue, NULL, out, written) != written)
            return P2P_ERR_CALL_NOMEM;
    }
    return 0;
}

static int collect_noise(struct session *session)
{
    uint8_t out[NOISE_HANDSHAKE_SEND_BYTES_MAX];
    size_t written = 0;
    int error = noise_handshake_send(session->handshake->noise, out, sizeof(out), &written);

    if (error != 0 || written == 0)
        return error;
    PROBE_HANDSHAKE(session->socket, (int)written);
    return slices_copy_in(&session->handshake->out, NULL, out, written) == written ? 0 : P2P_ERR_CALL_NOMEM;
}

static int collect_plaintext(struct session *session)
{
    uint8_t out[PLAINTEXT_SEND_BYTES_MAX];
    size_t written = 0;
    int error = plaintext_send(session->handshake->plaintext, out, sizeof(out), &written);

    if (error != 0 || written == 0)
        return error;
    return slices_copy_in(&session->handshake->out, NULL, out, written) == written ? 0 : P2P_ERR_CALL_NOMEM;
}

static int collect_security(struct session *session)
{
    return session->handshake->noise != NULL ? collect_noise(session) : collect_plaintext(session);
}

static int security_new(struct session *session, const struct peer_id *expected)
{
    struct session_handshake *handshake = session->handshake;
    struct p2p_node *node = session->node;
    uint8_t seed[NOISE_SEED_BYTES];

    if (!node->config.security) {
        handshake->plaintext = plaintext_new(key_public(node->key), expected);
        return handshake->plaintext != NULL ? 0 : P2P_ERR_CALL_NOMEM;
    }
    driver_entropy(session->local->driver, seed, sizeof(seed));
    handshake->noise = noise_handshake_new(node->statics, is_initiator(session), expected, seed, muxer_names, 1);
    explicit_bzero(seed, sizeof(seed));
    if (handshake->noise == NULL)
        return P2P_ERR_CALL_NOMEM;
    x25519_pairs_expect(session->local->pairs, session->local->handshake_count);
    noise_handshake_share(handshake->noise, session->local->verified, session->local->pairs);
    return 0;
}

int session_handshake_begin(struct session *session, bool initiator, const struct peer_id *expected,
                            uint64_t deadline_ns)
{
    struct session_handshake *handshake = calloc(1, sizeof(*handshake));
    int error;

    if (handshake == NULL)
        return P2P_ERR_CALL_NOMEM;
    session->handshake = handshake;
    handshake->session = session;
    handshake->next = session->local->handshakes;
    if (handshake->next != NULL)
        handshake->next->previous = handshake;
    session->local->handshakes = handshake;
    session->local->handshake_count++;
    handshake->deadline_ns = deadline_ns;
    uint64_t growth = session->node->config.connection_memory_bytes / 2; /* see session_budget.c */
    yamux_init(&session->yamux, initiator, session->node->hash_seed, &session->node->memory->windows,
               growth > UINT32_MAX ? UINT32_MAX : (uint32_t)growth);
    if (expected != NULL)
        handshake->expected = *expected;
    error = security_new(session, expected);
    if (error != 0) {
        session_handshake_free(session);
        return error;
    }
    if (initiator) {
        multistream_init_dialer(&handshake->select, security_names(session), 1);
    } else {
        multistream_init_listener(&handshake->select);
    }
    error = collect_select(session, &handshake->out);
    /* One proposal: the first message of the handshake goes with it. */
    if (error == 0 && multistream_optimistic(&handshake->select))
        error = collect_security(session);
    return error;
}

void session_handshake_free(struct session *session)
{
    struct session_handshake *handshake = session->handshake;

    if (handshake == NULL)
        return;
    multistream_fini(&handshake->select);
    noise_handshake_free(handshake->noise);
    plaintext_free(handshake->plaintext);
    slices_clear(&handshake->deferred);
    slices_clear(&handshake->out);
    slices_clear(&handshake->muxer_out);
    if (--session->local->handshake_count == 0)
        x25519_pairs_expect(session->local->pairs, 0);
    *(handshake->previous != NULL ? &handshake->previous->next : &session->local->handshakes) = handshake->next;
    if (handshake->next != NULL)
        handshake->next->previous = handshake->previous;
    free(handshake);
    session->handshake = NULL;
}

void session_stop_handshakes(struct actor_context *context)
{
    struct local *local = worker_local(context->worker);

    for (struct session_handshake *at = local->handshakes; at != NULL; at = at->next)
        if (at->session->node->scope == context->scope)
            session_close(at->session, P2P_ERR_NODE_CLOSING, YAMUX_GOAWAY_SHUTDOWN);
}

/* ---- Open ---------------------------------------------------------------- */

static void answer_dialer(struct session *session)
{
    struct session_handshake *handshake = session->handshake;
    struct actor_context context = session_context(session);
    struct message answer = {.type = SESSION_MSG_DIALLED, .kind = MESSAGE_CONTROL};

    if (actor_ref_is_none(handshake->dialer))
        return;
    answer.to = handshake->dialer;
    answer.request_id = handshake->dial_request;
    answer.body.u64[1] = SESSION_STEP_DONE;
    (void)actor_tell(&context, &answer); /* control mail cannot be refused */
    handshake->dialer = (struct actor_ref){0};
}

static void log_open(struct session *session)
{
    struct actor_context context = session_context(session);
    char peer[PEER_ID_SHORT_SIZE];
    char text[MULTIADDR_TEXT_SIZE];
    struct multiaddr remote;

    if (!log_enabled(session->node->scope, LOG_LEVEL_DEBUG))
        return;
    peer_id_to_short(session_peer(session), peer);
    registry_remote(&session->entry, &remote);
    if (multiaddr_to_text(&remote, text, sizeof(text)) < 0)
        text[0] = '\0';
    LOG(&context, LOG_LEVEL_DEBUG, "connection_open", "peer=%s address=%s direction=%s", peer, text,
        is_initiator(session) ? "out" : "in");
}

/* Secured and multiplexed: the connection is one. */
static int open_connection(struct session *session)
{
    int error;

    session->flags |= SESSION_MUXER | SESSION_MUXER_AGREED;
    session->entry.outbound = is_initiator(session);
    session->entry.opened_ns = session_now(session);
    error = registry_add(session->node->registry, &session->entry, &session->handshake->peer);
    if (error != 0)
        return error;
    session->flags |= SESSION_REGISTERED | SESSION_UNREVIEWED;
    session->phase = SESSION_OPEN;
    if (session->flags & SESSION_COUNTED_HANDSHAKE)
        __atomic_sub_fetch(&session->node->handshakes_in, 1, __ATOMIC_RELAXED);
    session->flags &= ~(uint32_t)SESSION_COUNTED_HANDSHAKE;
    scope_count(session->node->scope, session->local->worker,
                is_initiator(session) ? NODE_CONNECTIONS_OUT : NODE_CONNECTIONS_IN, 1);
    log_open(session);
    PROBE_HANDSHAKE(session->socket, 0);
    answer_dialer(session);
    session_measure(session);
    session_identify_begin(session);
    return 0;
}

static int begin_muxing(struct session *session)
{
    struct session_handshake *handshake = session->handshake;

    session->phase = SESSION_MUXING;
    multistream_fini(&handshake->select);
    handshake->select_done = false;
    if (is_initiator(session)) {
        multistream_init_dialer(&handshake->select, muxer_names, 1);
        return collect_select(session, &handshake->muxer_out);
    }
    multistream_init_listener(&handshake->select);
    return collect_select(session, &handshake->muxer_out);
}

static int secured(struct session *session)
{
    struct session_handshake *handshake = session->handshake;
    const char *muxer = NULL;

    if (handshake->noise != NULL) {
        handshake->peer = *noise_handshake_remote_id(handshake->noise);
        muxer = noise_handshake_muxer(handshake->noise);
        noise_handshake_split(handshake->noise, &session->keys);
        noise_handshake_free(handshake->noise);
        handshake->noise = NULL;
    } else {
        handshake->peer = *plaintext_remote_id(handshake->plaintext);
        plaintext_free(handshake->plaintext);
        handshake->plaintext = NULL;
    }
    /* A connection to ourselves is of no use to anybody. */
    if (peer_id_equal(&handshake->peer, &session->node->id))
        return P2P_ERR_CONN_PEER_ID;
    session->flags |= SESSION_SECURE;
    return muxer != NULL ? open_connection(session) : begin_muxing(session);
}

/* ---- Bytes --------------------------------------------------------------- */

/* One event of the negotiation.  True in *chosen when it is settled. */
static int select_recv(struct session *session, const char *const *names, struct slices *queue, const uint8_t *data,
                       size_t length, size_t *taken, bool *chosen)
{
    struct multistream *select = &session->handshake->select;
    struct multistream_event event;
    int error = multistream_recv(select, data, length, taken, &event);

    *chosen = false;
    if (error != 0) /* behind a refusal: what it sent optimistically for the protocol that it proposed */
        return session->handshake->refused ? P2P_ERR_CONN_NEGOTIATION : P2P_ERR_CONN_PROTOCOL;
    switch (event.type) {
    case MULTISTREAM_EVENT_PROPOSED:
        if (event.name_length == strlen(names[0]) && memcmp(event.name, names[0], event.name_length) == 0) {
            multistream_accept(select, names[0]);
            *chosen = true;
        } else {
            multistream_refuse(select);
            session->handshake->refused = true;
        }
        break;
    case MULTISTREAM_EVENT_LIST:
        multistream_list(select, names, 1);
        break;
    case MULTISTREAM_EVENT_CHOSEN:
        *chosen = true;
        break;
    case MULTISTREAM_EVENT_REFUSED:
        return P2P_ERR_CONN_NEGOTIATION;
    case MULTISTREAM_EVENT_NONE:
        break;
    }
    return collect_select(session, queue);
}

static int security_recv(struct session *session, const uint8_t *data, size_t length, size_t *taken, bool *done)
{
    struct session_handshake *handshake = session->handshake;
    int error;

    if (handshake->noise != NULL) {
        error = noise_handshake_recv(handshake->noise, data, length, taken);
        if (error == 0)
            error = collect_noise(session);
        *done = error == 0 && noise_handshake_done(handshake->noise);
        return error;
    }
    error = plaintext_recv(handshake->plaintext, data, length, taken);
    if (error == 0)
        error = collect_plaintext(session);
    *done = error == 0 && plaintext_done(handshake->plaintext);
    return error;
}

int session_handshake_recv(struct session *session, const uint8_t *data, size_t length, size_t *taken)
{
    struct session_handshake *handshake = session->handshake;
    int error = 0;

    *taken = 0;
    while (error == 0 && *taken < length && (session->flags & SESSION_SECURE) == 0) {
        size_t part = 0;
        bool done = false;

        if (!handshake->select_done) {
            error = select_recv(session, security_names(session), &handshake->out, data + *taken, length - *taken,
                                &part, &handshake->select_done);
            if (error == 0 && handshake->select_done)
                error = collect_security(session);
        } else {
            error = security_recv(session, data + *taken, length - *taken, &part, &done);
            if (error == 0 && part == 0 && !done)
                error = P2P_ERR_CONN_PROTOCOL; /* it speaks out of turn */
        }
        *taken += part;
        if (error == 0 && done)
            error = secured(session);
    }
    return error;
}

int session_muxer_recv(struct session *session, const uint8_t *data, size_t length, size_t *taken)
{
    struct session_handshake *handshake = session->handshake;
    int error = 0;

    *taken = 0;
    while (error == 0 && *taken < length && (session->flags & SESSION_MUXER_AGREED) == 0) {
        size_t part = 0;
        bool chosen = false;

        error = select_recv(session, muxer_names, &handshake->muxer_out, data + *taken, length - *taken, &part,
                            &chosen);
        *taken += part;
        if (error == 0 && chosen)
            error = open_connection(session);
    }
    return error;
}
