#include "actors/registry.h"

#include "actors/app.h"
#include "actors/intern.h"
#include "actors/peer_table.h"
#include "actors/registry_identity.h"
#include "actors/waiter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct awaiter {
    struct awaiter *next;
    struct waiter *waiter;
};

struct peer {
    struct peer_link link;
    struct peer *next, *previous; /* in the order they came */
    uint32_t connection_count;
    uint32_t awaiter_count;
    struct registry_connection *connections; /* the newest first */
    struct awaiter *awaiters;
    struct registry_told told;
};

static_assert(sizeof(struct registry_connection) <= 88, "part of a session");
static_assert(offsetof(struct peer, link) == 0, "a link that was found is its peer");
static_assert(sizeof(struct peer) <= 128, "design: a peer's entry");

struct registry {
    struct p2p_node *node;
    pthread_mutex_t mutex;
    struct peer_table peers;
    struct peer *head, *tail;
    size_t peer_count;
    size_t connection_count;
    struct interns interns;
};

struct registry *registry_new(struct p2p_node *node, uint64_t hash_seed)
{
    struct registry *registry = calloc(1, sizeof(*registry));

    if (!registry)
        return NULL;
    registry->node = node;
    pthread_mutex_init(&registry->mutex, NULL);
    peer_table_init(&registry->peers, hash_seed);
    intern_init(&registry->interns, hash_seed);
    return registry;
}

static struct depot *depot_of(const struct registry *registry)
{
    return registry->node->depot;
}

/* ---- peers ---- */

static struct peer *find_peer(struct registry *registry, const struct peer_id *id)
{
    return (struct peer *)peer_table_find(&registry->peers, id); /* NULL is NULL: the link comes first */
}

static struct peer *add_peer(struct registry *registry, const struct peer_id *id)
{
    struct peer *peer = NULL;

    if (registry->peer_count < REGISTRY_PEERS_MAX)
        peer = depot_take(depot_of(registry), sizeof(*peer));
    if (!peer)
        return NULL;
    peer->link.id = *id;
    if (peer_table_add(&registry->peers, &peer->link)) {
        depot_give(depot_of(registry), peer, sizeof(*peer));
        return NULL;
    }
    peer->previous = registry->tail;
    *(registry->tail ? &registry->tail->next : &registry->head) = peer;
    registry->tail = peer;
    registry->peer_count++;
    return peer;
}

static void unlink_peer(struct registry *registry, struct peer *peer)
{
    peer_table_remove(&registry->peers, &peer->link);
    *(peer->previous ? &peer->previous->next : &registry->head) = peer->next;
    *(peer->next ? &peer->next->previous : &registry->tail) = peer->previous;
    registry->peer_count--;
}

/* Finishes those who wait for its identity: with it, or with `error`. */
static void finish_awaiters(struct peer *peer, int error)
{
    while (peer->awaiters) {
        struct awaiter *awaiter = peer->awaiters;
        struct waiter *waiter = awaiter->waiter;
        struct p2p_identity *identity = NULL;
        int result = error ? error : registry_told_copy(&peer->told, &identity, &peer->link.id);

        peer->awaiters = awaiter->next;
        waiter->object = identity;
        waiter_finish(waiter, result);
        free(awaiter);
    }
    peer->awaiter_count = 0;
}

/* Why nothing will be told of it; 0 when it is known, or may yet be. */
static int identify_error(const struct peer *peer)
{
    const struct registry_connection *at = peer->connections;
    int error = at ? at->identify_error : 0;

    while (at && at->identify_error)
        at = at->next;
    return at || peer->told.texts ? 0 : error;
}

/* A connection fewer may tell of it. */
static void settle_awaiters(struct peer *peer)
{
    int error = identify_error(peer);

    if (error)
        finish_awaiters(peer, error);
}

static void free_peer(struct registry *registry, struct peer *peer, int error)
{
    finish_awaiters(peer, error);
    registry_told_clear(&peer->told, &registry->interns, depot_of(registry));
    depot_give(depot_of(registry), peer, sizeof(*peer));
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    while (registry->head) {
        struct peer *peer = registry->head;
        unlink_peer(registry, peer);
        free_peer(registry, peer, P2P_ERR_NODE_CLOSING);
    }
    peer_table_fini(&registry->peers);
    intern_fini(&registry->interns);
    pthread_mutex_destroy(&registry->mutex);
    free(registry);
}

/* Told under the mutex, so that events keep the order of what happened. */
static void tell_app(struct registry *registry, enum p2p_event_type type, const struct peer_id *id, int error,
                     const struct p2p_error_text *why)
{
    struct p2p_event event = {.type = type, .error = error};

    if (why)
        event.text = *why;
    peer_id_to_text(id, event.id);
    app_push(registry->node->app, &event);
}

/* ---- connections ---- */

void registry_set_remote(struct registry_connection *connection, const struct multiaddr *remote)
{
    assert(remote->length <= REGISTRY_REMOTE_BYTES_MAX);
    connection->remote_length = (uint8_t)remote->length;
    memcpy(connection->remote, remote->bytes, remote->length);
}

void registry_remote(const struct registry_connection *connection, struct multiaddr *out)
{
    out->length = connection->remote_length;
    memcpy(out->bytes, connection->remote, connection->remote_length);
}

static int add_locked(struct registry *registry, struct registry_connection *connection, const struct peer_id *id)
{
    struct peer *peer = find_peer(registry, id);

    if (__atomic_load_n(&registry->node->closing, __ATOMIC_ACQUIRE))
        return P2P_ERR_NODE_CLOSING;
    if (peer && peer->connection_count == REGISTRY_PEER_CONNECTIONS_MAX)
        return P2P_ERR_CONN_LIMIT;
    if (!peer && !(peer = add_peer(registry, id)))
        return P2P_ERR_CALL_NOMEM;
    connection->id = &peer->link.id;
    connection->next = peer->connections;
    peer->connections = connection;
    registry->connection_count++;
    if (peer->connection_count++ == 0)
        tell_app(registry, P2P_EVENT_PEER_CONNECTED, id, 0, NULL);
    return 0;
}

int registry_add(struct registry *registry, struct registry_connection *connection, const struct peer_id *id)
{
    pthread_mutex_lock(&registry->mutex);
    int error = add_locked(registry, connection, id);
    pthread_mutex_unlock(&registry->mutex);
    return error;
}

static struct peer *peer_of(const struct registry_connection *connection)
{
    return (struct peer *)((uintptr_t)connection->id - offsetof(struct peer, link.id));
}

static void unlink_connection(struct registry_connection *connection)
{
    struct registry_connection **at = &peer_of(connection)->connections;

    while (*at != connection) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = connection->next;
}

void registry_remove(struct registry *registry, struct registry_connection *connection, int error,
                     const struct p2p_error_text *why)
{
    if (!connection->id)
        return;
    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = peer_of(connection);
    unlink_connection(connection);
    connection->id = NULL;
    registry->connection_count--;
    if (--peer->connection_count == 0) {
        unlink_peer(registry, peer);
        tell_app(registry, P2P_EVENT_PEER_DISCONNECTED, &peer->link.id, error, why);
        free_peer(registry, peer, P2P_ERR_CALL_NOT_FOUND);
    } else {
        settle_awaiters(peer);
    }
    pthread_mutex_unlock(&registry->mutex);
}

void registry_retire(struct registry *registry, struct registry_connection *connection)
{
    pthread_mutex_lock(&registry->mutex);
    connection->retired = true;
    pthread_mutex_unlock(&registry->mutex);
}

void registry_retire_peer(struct registry *registry, const struct peer_id *id)
{
    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = find_peer(registry, id);
    for (struct registry_connection *at = peer ? peer->connections : NULL; at; at = at->next)
        at->retired = true;
    pthread_mutex_unlock(&registry->mutex);
}

/* The peer's connection of that session, or NULL. */
static struct registry_connection *find_connection(struct peer *peer, struct actor_ref session)
{
    struct registry_connection *at = peer ? peer->connections : NULL;

    while (at && !actor_ref_equal(at->session, session))
        at = at->next;
    return at;
}

/* False: it is not there. */
static bool remote_of(struct registry *registry, struct multiaddr *out, struct actor_ref session,
                      const struct peer_id *id)
{
    pthread_mutex_lock(&registry->mutex);
    const struct registry_connection *at = find_connection(find_peer(registry, id), session);
    if (at)
        registry_remote(at, out);
    pthread_mutex_unlock(&registry->mutex);
    return at != NULL;
}

/* Under the mutex: what identify said of the connection's peer. */
static uint32_t identified_locked(struct registry *registry, struct peer *peer, struct registry_connection *connection,
                                  const struct identify_result *result, const struct registry_lists *lists)
{
    const struct peer_id *id = &peer->link.id;
    bool first = !peer->told.texts;

    if (registry_told_set(&peer->told, &registry->interns, depot_of(registry), result, lists, id)) {
        connection->identify_error = P2P_ERR_CALL_NOMEM;
        settle_awaiters(peer);
        return 0;
    }
    connection->identified = true;
    if (first)
        tell_app(registry, P2P_EVENT_PEER_IDENTIFIED, id, 0, NULL);
    finish_awaiters(peer, 0);
    return registry_told_bytes(&peer->told);
}

uint32_t registry_identified(struct registry *registry, struct actor_ref session, const struct peer_id *id,
                             const struct identify_result *result)
{
    struct registry_lists lists;
    struct multiaddr remote;

    if (result->key_mismatch || !remote_of(registry, &remote, session, id))
        return 0;
    registry_lists_pack(&lists, result, &remote);
    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = find_peer(registry, id);
    struct registry_connection *at = find_connection(peer, session);
    uint32_t bytes = at ? identified_locked(registry, peer, at, result, &lists) : 0;
    pthread_mutex_unlock(&registry->mutex);
    return bytes;
}

void registry_identify_failed(struct registry *registry, struct actor_ref session, const struct peer_id *id, int error)
{
    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = find_peer(registry, id);
    struct registry_connection *at = find_connection(peer, session);
    if (at) {
        at->identify_error = (int16_t)error;
        settle_awaiters(peer);
    }
    pthread_mutex_unlock(&registry->mutex);
}

uint32_t registry_review(struct registry *registry, const struct peer_id *id)
{
    uint8_t sealed[IDENTIFY_DEFERRED_RECORD_BYTES_MAX];
    size_t length = 0;
    uint32_t bytes = 0;

    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = find_peer(registry, id);
    if (peer) {
        length = registry_told_sealed(&peer->told, sealed);
        bytes = registry_told_bytes(&peer->told);
    }
    pthread_mutex_unlock(&registry->mutex);
    if (length == 0)
        return bytes;
    bool valid = registry_record_valid(sealed, length, id); /* nobody else has to wait for that */
    pthread_mutex_lock(&registry->mutex);
    peer = find_peer(registry, id);
    if (peer) {
        registry_told_judge(&peer->told, sealed, length, valid);
        bytes = registry_told_bytes(&peer->told);
    }
    pthread_mutex_unlock(&registry->mutex);
    return bytes;
}

void registry_measured(struct registry *registry, struct registry_connection *connection, uint64_t rtt_ns)
{
    pthread_mutex_lock(&registry->mutex);
    connection->rtt_ns = rtt_ns;
    pthread_mutex_unlock(&registry->mutex);
}

/* ---- questions ---- */

bool registry_find(struct registry *registry, struct actor_ref *session, const struct peer_id *id)
{
    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = find_peer(registry, id);
    const struct registry_connection *best = NULL;
    for (const struct registry_connection *at = peer ? peer->connections : NULL; at; at = at->next)
        if (!at->retired && (!best || (at->identified && !best->identified)))
            best = at;
    if (best)
        *session = best->session;
    pthread_mutex_unlock(&registry->mutex);
    return best != NULL;
}

bool registry_speaks(struct registry *registry, const struct peer_id *id, const char *protocol)
{
    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = find_peer(registry, id);
    bool speaks = peer && registry_told_speaks(&peer->told, protocol);
    pthread_mutex_unlock(&registry->mutex);
    return speaks;
}

size_t registry_peers(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
    size_t count = registry->peer_count;
    pthread_mutex_unlock(&registry->mutex);
    return count;
}

static size_t list_sessions(const struct peer *peer, struct actor_ref *out, size_t capacity, size_t count)
{
    for (const struct registry_connection *at = peer->connections; at; at = at->next, count++)
        if (count < capacity)
            out[count] = at->session;
    return count;
}

size_t registry_sessions(struct registry *registry, struct actor_ref *out, size_t capacity, const struct peer_id *id)
{
    size_t count = 0;

    pthread_mutex_lock(&registry->mutex);
    struct peer *peer = id ? find_peer(registry, id) : registry->head;
    for (; peer; peer = id ? NULL : peer->next)
        count = list_sessions(peer, out, capacity, count);
    pthread_mutex_unlock(&registry->mutex);
    return count;
}

static void describe(const struct peer *peer, struct p2p_peer *out, uint64_t now_ns)
{
    struct multiaddr remote;

    memset(out, 0, sizeof(*out));
    peer_id_to_text(&peer->link.id, out->id);
    registry_remote(peer->connections, &remote);
    multiaddr_to_text(&remote, out->address, sizeof(out->address));
    out->connections = peer->connection_count;
    out->outbound = peer->connections->outbound;
    out->identified = peer->told.texts != NULL;
    for (const struct registry_connection *at = peer->connections; at; at = at->next) {
        if (!out->rtt_ns)
            out->rtt_ns = at->rtt_ns;
        out->bytes_in += __atomic_load_n(&at->bytes_in, __ATOMIC_RELAXED);
        out->bytes_out += __atomic_load_n(&at->bytes_out, __ATOMIC_RELAXED);
        if (now_ns > at->opened_ns && now_ns - at->opened_ns > out->since_ns)
            out->since_ns = now_ns - at->opened_ns;
    }
}

size_t registry_list(struct registry *registry, struct p2p_peer *out, size_t capacity, uint64_t now_ns)
{
    size_t count = 0;

    pthread_mutex_lock(&registry->mutex);
    for (const struct peer *peer = registry->head; peer && count < capacity; peer = peer->next)
        describe(peer, &out[count++], now_ns);
    count = registry->peer_count;
    pthread_mutex_unlock(&registry->mutex);
    return count;
}

size_t registry_ids(struct registry *registry, struct peer_id *out, size_t capacity)
{
    size_t count = 0;

    pthread_mutex_lock(&registry->mutex);
    for (const struct peer *peer = registry->head; peer && count < capacity; peer = peer->next)
        out[count++] = peer->link.id;
    count = registry->peer_count;
    pthread_mutex_unlock(&registry->mutex);
    return count;
}

static int identity_locked(struct registry *registry, struct p2p_identity **out, const struct peer_id *id)
{
    struct peer *peer = find_peer(registry, id);

    if (!peer)
        return P2P_ERR_CALL_NOT_FOUND;
    if (peer->told.texts)
        return registry_told_copy(&peer->told, out, id);
    int error = identify_error(peer);
    return error ? error : P2P_ERR_CALL_AGAIN;
}

int registry_identity(struct registry *registry, struct p2p_identity **out, const struct peer_id *id)
{
    pthread_mutex_lock(&registry->mutex);
    int error = identity_locked(registry, out, id);
    pthread_mutex_unlock(&registry->mutex);
    return error;
}

/* Drops those whose callers have gone away. */
static void sweep_awaiters(struct peer *peer)
{
    for (struct awaiter **at = &peer->awaiters; *at;) {
        struct awaiter *awaiter = *at;
        if (!waiter_given_up(awaiter->waiter)) {
            at = &awaiter->next;
            continue;
        }
        *at = awaiter->next;
        peer->awaiter_count--;
        waiter_finish(awaiter->waiter, P2P_ERR_CALL_CANCELLED);
        free(awaiter);
    }
}

static void drop_identity(struct waiter *waiter)
{
    p2p_identity_free(waiter->object);
    waiter->object = NULL;
}

/* 0 when it waits now, else the result. */
static int await_locked(struct registry *registry, struct waiter *waiter, const struct peer_id *id)
{
    struct p2p_identity *identity = NULL;
    int result = identity_locked(registry, &identity, id);

    waiter->object = identity;
    if (result != P2P_ERR_CALL_AGAIN)
        return result ? result : 1;
    struct peer *peer = find_peer(registry, id);
    sweep_awaiters(peer);
    if (peer->awaiter_count == REGISTRY_AWAITERS_MAX)
        return P2P_ERR_CALL_FULL;
    struct awaiter *awaiter = malloc(sizeof(*awaiter));
    if (!awaiter)
        return P2P_ERR_CALL_NOMEM;
    awaiter->waiter = waiter;
    awaiter->next = peer->awaiters;
    peer->awaiters = awaiter;
    peer->awaiter_count++;
    return 0;
}

void registry_await_identity(struct registry *registry, struct waiter *waiter, const struct peer_id *id)
{
    waiter->abandoned = drop_identity;
    pthread_mutex_lock(&registry->mutex);
    int result = await_locked(registry, waiter, id);
    pthread_mutex_unlock(&registry->mutex);
    if (result)
        waiter_finish(waiter, result > 0 ? 0 : result);
}
