#include "actors/node_actor.h"

#include "actors/addresses.h"
#include "actors/app.h"
#include "actors/config.h"
#include "actors/data_dir.h"
#include "actors/lender.h"
#include "actors/protocols.h"
#include "actors/registry.h"
#include "actors/session_protocols.h"
#include "actors/stream.h"
#include "actors/text.h"
#include "actors/waiter.h"
#include "crypto/crypto.h"
#include "net/identify.h"
#include "runtime/buffer.h"
#include "runtime/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* How long p2p_node_close() waits for the root actor's own last breath. */
#define LAST_BREATH_NS 1000000000ull
#define START_MS_MAX 30000 /* to bind a few sockets; if it takes longer something is broken */

/* ---- identity ---- */

static int make_key(struct p2p_node *node, struct p2p_error_text *text)
{
    const struct p2p_config *config = &node->config;
    int error;

    if (config->identity)
        error = key_from_protobuf(&node->key, config->identity, config->identity_length);
    else if (config->data_dir)
        return data_dir_key(&node->key, config->data_dir, text);
    else
        error = key_new_random(&node->key, KEY_ED25519, 0);
    if (error)
        text_set(text, "the identity is not usable: %s", p2p_error_string(error));
    return error;
}

static int make_identity(struct p2p_node *node, struct p2p_error_text *text)
{
    struct driver *driver = worker_driver(runtime_worker(node->runtime, 0));
    uint8_t seed[NOISE_SEED_BYTES];
    int error = make_key(node, text);

    if (error)
        return error;
    peer_id_from_public_key(&node->id, key_public(node->key));
    peer_id_to_text(&node->id, node->id_text);
    driver_entropy(driver, &node->hash_seed, sizeof(node->hash_seed));
    driver_entropy(driver, seed, sizeof(seed));
    error = noise_static_new(&node->statics, node->key, seed);
    crypto_wipe(seed, sizeof(seed));
    return error;
}

/* ---- making and freeing ---- */

static void write_line(void *argument, enum log_level level, const char *line, size_t length)
{
    struct p2p_node *node = argument;

    node->config.log_write(node->config.log_argument, (enum p2p_log_level)level, line, length);
}

static void start_log(struct p2p_node *node)
{
    struct log_sink sink = {
        .write = write_line,
        .argument = node,
        .level = (enum log_level)node->config.log_level,
        .format = (enum log_format)node->config.log_format,
    };

    if (node->config.log_write)
        scope_log_to(node->scope, &sink);
}

static int make_runtime(struct p2p_node *node, struct p2p_runtime *given, struct p2p_error_text *text)
{
    struct node_private *own = node->own;

    if (!given) {
        int error = p2p_runtime_new(&node->own_runtime, node->config.workers, true, node->config.driver, text);
        if (error)
            return error;
    }
    own->runtime = given ? given : node->own_runtime;
    node->runtime = own->runtime->runtime;
    node->depot = own->runtime->depot;
    __atomic_add_fetch(&own->runtime->nodes, 1, __ATOMIC_RELAXED);
    own->home = __atomic_fetch_add(&own->runtime->placed, 1, __ATOMIC_RELAXED) % runtime_workers(node->runtime);
    return 0;
}

/* Then neither the machine's interfaces nor its descriptors count. */
static bool is_simulated(struct p2p_node *node)
{
    return strcmp(runtime_driver_name(node->runtime), "sim") == 0;
}

/* Descriptors from here on are kept for files and what else is not a
 * connection. */
static int64_t descriptors_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return 0;
    return limit.rlim_cur > (rlim_t)2 * NODE_DESCRIPTOR_RESERVE ? (int64_t)limit.rlim_cur - NODE_DESCRIPTOR_RESERVE :
                                                           (int64_t)limit.rlim_cur;
}

static void rouse(void *runtime)
{
    api_runtime_rouse(runtime);
}

static int make_parts(struct p2p_node *node, struct p2p_error_text *text)
{
    char prefix[PEER_ID_SHORT_SIZE];
    int error = make_identity(node, text);

    if (error)
        return error;
    peer_id_to_short(&node->id, prefix);
    node->scope = scope_new(node->runtime, prefix);
    if (!node->scope)
        return P2P_ERR_CALL_NOMEM;
    scope_set_owner(node->scope, node);
    start_log(node);
    node->app = app_new(&error);
    if (error == P2P_ERR_NODE_SYSTEM)
        text_set(text, "the node got no descriptor for its events; raise the limit of open files (ulimit -n)");
    if (!node->app)
        return error;
    app_wake_with(node->app, rouse, node->runtime);
    node->lender = lender_new(node);
    node->registry = registry_new(node, node->hash_seed);
    node->memory = memory_new(node->config.memory_bytes, runtime_workers(node->runtime));
    node->own->protocols = protocols_new();
    node->own->addresses = addresses_new();
    if (!node->lender || !node->registry || !node->memory || !node->own->protocols || !node->own->addresses)
        return P2P_ERR_CALL_NOMEM;
    if (!is_simulated(node))
        node->own->descriptors_max = descriptors_max();
    return session_register_protocols(node);
}

static void free_parts(struct p2p_node *node)
{
    struct node_private *own = node->own;

    if (node->app) /* no session is left: the handles are the last references, but for mail */
        app_drop_held(node->app, stream_drop);
    if (node->scope) {
        scope_log_to(node->scope, NULL);
        scope_free(node->scope);
    }
    lender_leave(node->lender);
    registry_free(node->registry);
    app_free(node->app);
    protocols_free(own->protocols);
    addresses_free(own->addresses);
    memory_unref(node->memory);
    noise_static_free(node->statics);
    key_free(node->key);
    if (own->runtime)
        __atomic_sub_fetch(&own->runtime->nodes, 1, __ATOMIC_RELEASE);
    p2p_runtime_free(node->own_runtime);
    data_dir_unlock(own->data_dir_lock);
    config_fini(&node->config);
    pthread_mutex_destroy(&own->mutex);
    free(own->close_waiters);
    free(own);
    free(node);
}

int p2p_node_new(struct p2p_node **out, const struct p2p_config *config, struct p2p_runtime *runtime,
                 struct p2p_error_text *text)
{
    struct p2p_node *node = calloc(1, sizeof(*node));
    struct node_private *own = calloc(1, sizeof(*own));

    text_set(text, "%s", "");
    if (!node || !own || config_copy(&node->config, config) < 0) {
        free(own);
        free(node);
        return P2P_ERR_CALL_NOMEM;
    }
    node->own = own;
    own->data_dir_lock = -1;
    pthread_mutex_init(&own->mutex, NULL);
    int error = make_runtime(node, runtime, text);
    if (!error)
        error = make_parts(node, text);
    if (error) {
        if (text && !text->text[0])
            text_set(text, "the node could not be made: %s", p2p_error_string(error));
        free_parts(node);
        return error;
    }
    *out = node;
    return 0;
}

/* ---- start and close ---- */

/* Nothing on any worker knows the node.  Mail first: what nobody takes becomes an
 * actor.  Acquire pairs with the release at its end. */
static bool is_forgotten(struct p2p_node *node)
{
    bool mail = __atomic_load_n(&node->stream_mail, __ATOMIC_ACQUIRE) > 0;
    struct scope_stats stats;

    scope_stats_read(node->scope, &stats);
    return !mail && stats.actors_live == 0;
}

static void await_forgotten(struct p2p_node *node, uint64_t deadline_ns)
{
    while (!is_forgotten(node) && api_runtime_now_ns(node->runtime) < deadline_ns) {
        if (runtime_threaded(node->runtime))
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        else
            runtime_turn(node->runtime, 0);
    }
}

/* The root has finished those who wait a moment before it is gone itself. */
static void await_last_breath(struct p2p_node *node)
{
    await_forgotten(node, api_runtime_now_ns(node->runtime) + LAST_BREATH_NS);
}

/* There was no memory for the root, which takes its node out of the message. */
static void start_dropped(void *data)
{
    struct p2p_node *node;

    memcpy(&node, data, sizeof(node));
    if (node)
        node_closed(node, P2P_ERR_CALL_NOMEM);
}

/* What fails after the message is there finishes the waiter. */
static int begin_start(struct p2p_node *node, struct waiter *waiter)
{
    struct node_private *own = node->own;
    struct message message = {.type = NODE_MSG_START, .kind = MESSAGE_CONTROL};
    int error = 0;

    message.buffer = buffer_new_parcel(sizeof(node), start_dropped);
    if (!message.buffer)
        return P2P_ERR_CALL_NOMEM;
    memset(message.buffer->data, 0, sizeof(node));

    pthread_mutex_lock(&own->mutex);
    if (own->phase != NODE_NEW) {
        text_set(&own->start_text, "the node was started before; a node starts once");
        error = P2P_ERR_CALL_STATE;
    } else if (node->config.data_dir) {
        error = data_dir_lock(&own->data_dir_lock, node->config.data_dir, &own->start_text);
    }
    if (!error) {
        own->phase = NODE_STARTING;
        own->start_waiter = waiter;
    }
    pthread_mutex_unlock(&own->mutex);
    if (error) {
        buffer_unref(message.buffer);
        return error;
    }
    memcpy(message.buffer->data, &node, sizeof(node));
    (void)runtime_spawn(node->runtime, own->home, &node_actor_class, node->scope, &message);
    return 0;
}

static void learn_interfaces(struct p2p_node *node)
{
    struct sockaddr_storage list[ADDRESSES_INTERFACE_MAX];
    int count = is_simulated(node) ? 0 : addresses_of_interfaces(list, ADDRESSES_INTERFACE_MAX);

    if (count > 0)
        addresses_set_interfaces(node->own->addresses, list, (size_t)count);
}

int p2p_node_start(struct p2p_node *node, struct p2p_error_text *text)
{
    if (worker_current())
        return P2P_ERR_CALL_THREAD;
    struct waiter *waiter = waiter_new(node, WAITER_BLOCKING, 0);
    if (!waiter)
        return P2P_ERR_CALL_NOMEM;
    learn_interfaces(node);
    int error = begin_start(node, waiter);
    if (error)
        waiter_finish(waiter, error);
    error = waiter_wait(waiter, START_MS_MAX);
    waiter_done(waiter);
    if (error == P2P_ERR_NODE_LISTEN)
        await_last_breath(node);
    const char *why = node->own->start_text.text;
    text_set(text, "%s", !error ? "" : why[0] ? why : p2p_error_string(error));
    return error;
}

/* Puts the waiter on the list; false when there is no memory for that. */
static bool will_be_told(struct node_private *own, struct waiter *waiter)
{
    struct waiter **grown = waiter ? realloc(own->close_waiters, (own->close_waiter_count + 1) * sizeof(*grown)) : NULL;

    if (!grown)
        return false;
    own->close_waiters = grown;
    own->close_waiters[own->close_waiter_count++] = waiter;
    return true;
}

static bool is_closed(struct node_private *own)
{
    pthread_mutex_lock(&own->mutex);
    bool closed = own->phase == NODE_CLOSED;
    pthread_mutex_unlock(&own->mutex);
    return closed;
}

/* Without memory for a waiter: looks again and again. */
static int await_closed(struct p2p_node *node, int timeout_ms)
{
    uint64_t begin_ns = api_runtime_now_ns(node->runtime);
    uint64_t most_ns = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000;

    while (!is_closed(node->own)) {
        if (api_runtime_now_ns(node->runtime) - begin_ns > most_ns)
            return P2P_ERR_CALL_TIMEOUT;
        if (runtime_threaded(node->runtime))
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        else
            runtime_turn(node->runtime, 0);
    }
    return 0;
}

static int close_and_wait(struct p2p_node *node, int timeout_ms)
{
    struct node_private *own = node->own;
    struct message message = {.type = MESSAGE_STOP, .kind = MESSAGE_CONTROL};
    struct waiter *waiter = waiter_new(node, WAITER_BLOCKING, 0);

    pthread_mutex_lock(&own->mutex);
    bool closed = own->phase == NODE_CLOSED, told = !closed && will_be_told(own, waiter);
    if (!closed) {
        own->phase = NODE_CLOSING;
        message.to = own->root;
        __atomic_store_n(&node->closing, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&own->mutex);
    if (!actor_ref_is_none(message.to))
        node_post(node, &message); /* control mail cannot be refused */
    if (waiter && !told)
        waiter_finish(waiter, 0);
    int error = told ? waiter_wait(waiter, timeout_ms) : await_closed(node, timeout_ms);
    if (waiter)
        waiter_done(waiter);
    return error;
}

int p2p_node_close(struct p2p_node *node, int timeout_ms)
{
    struct node_private *own = node->own;

    if (worker_current())
        return P2P_ERR_CALL_THREAD;
    pthread_mutex_lock(&own->mutex);
    bool fresh = own->phase == NODE_NEW;
    if (fresh)
        own->phase = NODE_CLOSING;
    pthread_mutex_unlock(&own->mutex);
    if (fresh) {
        __atomic_store_n(&node->closing, 1, __ATOMIC_RELEASE);
        node_closed(node, 0);
    }
    int error = close_and_wait(node, timeout_ms);
    if (!error)
        await_last_breath(node);
    return error;
}

/* Buffers of ours that the application has not given back may still come, but no
 * longer tell us. */
static void leave_lender(struct p2p_node *node)
{
    struct actor_context outside = {.scope = node->scope};
    uint64_t buffers = lender_buffers(node->lender);

    if (buffers > 0)
        LOG(&outside, LOG_LEVEL_WARN, "buffers_lent", "count=%llu remedy=%s", (unsigned long long)buffers,
            "give each back with p2p_buffer_free(): their memory stays until then");
    lender_leave(node->lender);
    node->lender = NULL;
}

void p2p_node_free(struct p2p_node *node)
{
    if (!node || p2p_node_close(node, -1) < 0)
        return;
    leave_lender(node);
    await_forgotten(node, UINT64_MAX);
    free_parts(node);
}

void node_closed(struct p2p_node *node, int start_error)
{
    struct node_private *own = node->own;
    struct p2p_event event = {.type = P2P_EVENT_NODE_CLOSED};

    app_push(node->app, &event);
    pthread_mutex_lock(&own->mutex);
    struct waiter **waiters = own->close_waiters;
    size_t count = own->close_waiter_count;
    struct waiter *start = own->start_waiter;
    own->close_waiters = NULL;
    own->close_waiter_count = 0;
    own->start_waiter = NULL;
    own->phase = NODE_CLOSED;
    pthread_mutex_unlock(&own->mutex);
    addresses_clear(own->addresses);
    if (start)
        waiter_finish(start, start_error ? start_error : P2P_ERR_NODE_CLOSING);
    for (size_t i = 0; i < count; i++)
        waiter_finish(waiters[i], 0);
    free(waiters);
}
