#include "actors/config.h"

#include "actors/session.h"
#include "actors/text.h"
#include "crypto/crypto.h"
#include "net/identify.h"
#include "net/yamux.h"

#include <stdlib.h>
#include <string.h>

#define AGENT "chorus-p2p/" CHORUS_VERSION

static int init(struct p2p_config *config)
{
    *config = (struct p2p_config){
        .connections_max = CONFIG_CONNECTIONS_MAX,
        .pending_handshakes_max = NODE_PENDING_HANDSHAKES,
        .dials_max = CONFIG_DIALS_MAX,
        .connection_timeout_ms = CONFIG_CONNECTION_TIMEOUT_MS,
        .keep_alive_ms = (uint32_t)(NODE_KEEP_ALIVE_NS / 1000000),
        .status_interval_ms = CONFIG_STATUS_INTERVAL_MS,
        .streams_max = CONFIG_STREAMS_MAX,
        .connection_memory_bytes = SESSION_RECV_BYTES_MAX,
        .memory_bytes = NODE_MEMORY_BYTES_MAX,
        .security = true,
        .log_level = P2P_LOG_INFO,
    };
    config->network_id = strdup(CONFIG_NETWORK_ID);
    config->agent_version = strdup(AGENT);
    config->listen[0] = strdup(CONFIG_LISTEN_IP4);
    config->listen[1] = strdup(CONFIG_LISTEN_IP6);
    config->listen_count = 2;
    if (config->network_id && config->agent_version && config->listen[0] && config->listen[1])
        return 0;
    config_fini(config);
    return P2P_ERR_CALL_NOMEM;
}

static void listen_on_none(struct p2p_config *config)
{
    for (unsigned i = 0; i < P2P_LISTEN_ADDRESSES_MAX; i++) {
        free(config->listen[i]);
        config->listen[i] = NULL;
    }
    config->listen_count = 0;
}

static void forget_identity(struct p2p_config *config)
{
    if (config->identity)
        crypto_wipe(config->identity, config->identity_length);
    free(config->identity);
    config->identity = NULL;
    config->identity_length = 0;
}

void config_fini(struct p2p_config *config)
{
    listen_on_none(config);
    forget_identity(config);
    free(config->data_dir);
    free(config->network_id);
    free(config->agent_version);
    memset(config, 0, sizeof(*config));
}

/* A copy of `text`; NULL stays NULL. */
static bool copy_text(char **to, const char *text)
{
    *to = text ? strdup(text) : NULL;
    return !text || *to;
}

int config_copy(struct p2p_config *to, const struct p2p_config *from)
{
    if (!from)
        return init(to);
    *to = *from;
    to->identity = NULL;
    memset(to->listen, 0, sizeof(to->listen));
    bool copied = copy_text(&to->data_dir, from->data_dir);
    copied &= copy_text(&to->network_id, from->network_id);
    copied &= copy_text(&to->agent_version, from->agent_version);
    for (unsigned i = 0; i < from->listen_count; i++)
        copied &= copy_text(&to->listen[i], from->listen[i]);
    if (from->identity) {
        to->identity = malloc(from->identity_length);
        copied &= to->identity != NULL;
        if (to->identity)
            memcpy(to->identity, from->identity, from->identity_length);
    }
    if (copied)
        return 0;
    config_fini(to);
    return P2P_ERR_CALL_NOMEM;
}

struct p2p_config *p2p_config_new(void)
{
    struct p2p_config *config = malloc(sizeof(*config));

    if (config && init(config) < 0) {
        free(config);
        return NULL;
    }
    return config;
}

void p2p_config_free(struct p2p_config *config)
{
    if (!config)
        return;
    config_fini(config);
    free(config);
}

/* What we can listen on, in canonical text; NULL with *error and its sentence. */
static char *listen_text(const char *address, int *error, struct p2p_error_text *text)
{
    struct multiaddr parsed;
    struct multiaddr_component peer;
    char why[MULTIADDR_ERROR_SIZE] = "";
    char canonical[P2P_ADDRESS_TEXT_BYTES];

    *error = multiaddr_from_text(&parsed, address, why, sizeof(why));
    if (*error) {
        text_set(text, "%s", why);
        return NULL;
    }
    *error = P2P_ERR_CALL_UNSUPPORTED;
    if (multiaddr_find(&parsed, MULTIADDR_P2P, &peer)) {
        text_set(text, "%s: a listening address has no /p2p part; leave it out", address);
        return NULL;
    }
    if (!multiaddr_is_tcp(&parsed) || multiaddr_to_text(&parsed, canonical, sizeof(canonical)) < 0) {
        text_set(text, "%s: can listen on /ip4/ADDRESS/tcp/PORT and /ip6/ADDRESS/tcp/PORT only", address);
        return NULL;
    }
    char *copy = strdup(canonical);
    *error = copy ? 0 : P2P_ERR_CALL_NOMEM;
    return copy;
}

int p2p_config_listen(struct p2p_config *config, const char *address, struct p2p_error_text *text)
{
    int error;

    if (!address || !*address) {
        listen_on_none(config);
        config->listen_set = true;
        return 0;
    }
    if (config->listen_set && config->listen_count == P2P_LISTEN_ADDRESSES_MAX) {
        text_set(text, "%s: there are %d listening addresses already, the most there may be", address,
                 P2P_LISTEN_ADDRESSES_MAX);
        return P2P_ERR_CALL_FULL;
    }
    char *canonical = listen_text(address, &error, text);
    if (!canonical)
        return error;
    if (!config->listen_set)
        listen_on_none(config);
    config->listen_set = true;
    for (unsigned i = 0; i < config->listen_count; i++) {
        if (strcmp(config->listen[i], canonical) == 0 && !strstr(canonical, "/tcp/0")) {
            free(canonical);
            text_set(text, "%s is among the listening addresses already; give each of them once", address);
            return P2P_ERR_CALL_EXISTS;
        }
    }
    config->listen[config->listen_count++] = canonical;
    return 0;
}

int p2p_config_identity(struct p2p_config *config, const uint8_t *bytes, size_t length)
{
    struct key *key;
    int error = crypto_init();

    if (error)
        return error;
    if (!bytes || length == 0 || length > KEY_PRIVATE_BYTES_MAX)
        return P2P_ERR_CALL_INVALID;
    error = key_from_protobuf(&key, bytes, length);
    if (error)
        return error;
    key_free(key);
    uint8_t *copy = malloc(length);
    if (!copy)
        return P2P_ERR_CALL_NOMEM;
    memcpy(copy, bytes, length);
    forget_identity(config);
    config->identity = copy;
    config->identity_length = length;
    return 0;
}

static int replace_text(char **to, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return P2P_ERR_CALL_NOMEM;
    free(*to);
    *to = copy;
    return 0;
}

int p2p_config_data_dir(struct p2p_config *config, const char *path)
{
    if (!path || !*path) {
        free(config->data_dir);
        config->data_dir = NULL;
        return 0;
    }
    if (strlen(path) >= CONFIG_PATH_BYTES_MAX)
        return P2P_ERR_CALL_INVALID;
    return replace_text(&config->data_dir, path);
}

/* No longer than other peers keep it. */
static bool can_be_told(const char *text, size_t bytes_max)
{
    size_t length = strnlen(text, bytes_max + 1);

    return length <= bytes_max && identify_is_text((struct wire_span){(const uint8_t *)text, length});
}

int p2p_config_network_id(struct p2p_config *config, const char *network_id)
{
    if (!network_id || !can_be_told(network_id, IDENTIFY_VERSION_SIZE - 1))
        return P2P_ERR_CALL_INVALID;
    return replace_text(&config->network_id, network_id);
}

int p2p_config_agent_version(struct p2p_config *config, const char *agent)
{
    if (!agent || !can_be_told(agent, NODE_AGENT_BYTES_MAX - 1))
        return P2P_ERR_CALL_INVALID;
    return replace_text(&config->agent_version, agent);
}

int p2p_config_max_connections(struct p2p_config *config, uint32_t connections)
{
    config->connections_max = connections;
    return 0;
}

int p2p_config_connection_timeout_ms(struct p2p_config *config, uint32_t timeout_ms)
{
    if (timeout_ms == 0)
        return P2P_ERR_CALL_INVALID;
    config->connection_timeout_ms = timeout_ms;
    return 0;
}

int p2p_config_security(struct p2p_config *config, bool enabled)
{
    config->security = enabled;
    return 0;
}

int p2p_config_serve_perf(struct p2p_config *config, bool enabled)
{
    config->serve_perf = enabled;
    return 0;
}

int p2p_config_serve_echo(struct p2p_config *config, bool enabled)
{
    config->serve_echo = enabled;
    return 0;
}

int p2p_config_max_dials(struct p2p_config *config, uint32_t dials)
{
    if (dials == 0)
        return P2P_ERR_CALL_INVALID;
    config->dials_max = dials;
    return 0;
}

int p2p_config_pending_handshakes(struct p2p_config *config, uint32_t handshakes)
{
    if (handshakes == 0)
        return P2P_ERR_CALL_INVALID;
    config->pending_handshakes_max = handshakes;
    return 0;
}

int p2p_config_keep_alive_ms(struct p2p_config *config, uint32_t interval_ms)
{
    config->keep_alive_ms = interval_ms;
    return 0;
}

int p2p_config_max_streams(struct p2p_config *config, uint32_t streams)
{
    if (streams == 0 || streams > YAMUX_STREAMS_OUT_MAX)
        return P2P_ERR_CALL_INVALID;
    config->streams_max = streams;
    return 0;
}

int p2p_config_connection_memory(struct p2p_config *config, uint64_t bytes)
{
    if (bytes < CONFIG_CONNECTION_MEMORY_BYTES_MIN)
        return P2P_ERR_CALL_INVALID;
    config->connection_memory_bytes = bytes;
    return 0;
}

int p2p_config_memory(struct p2p_config *config, uint64_t bytes)
{
    if (bytes < CONFIG_MEMORY_BYTES_MIN || bytes > INT64_MAX / 2)
        return P2P_ERR_CALL_INVALID;
    config->memory_bytes = bytes;
    return 0;
}

int p2p_config_status_interval_ms(struct p2p_config *config, uint32_t interval_ms)
{
    config->status_interval_ms = interval_ms;
    return 0;
}

int p2p_config_workers(struct p2p_config *config, unsigned workers)
{
    if (workers > ACTOR_WORKERS_MAX)
        return P2P_ERR_CALL_INVALID;
    config->workers = workers;
    return 0;
}

int p2p_config_driver(struct p2p_config *config, enum p2p_driver driver)
{
    if ((unsigned)driver > P2P_DRIVER_EPOLL)
        return P2P_ERR_CALL_INVALID;
    config->driver = driver;
    return 0;
}

int p2p_config_log(struct p2p_config *config, enum p2p_log_level level, enum p2p_log_format format,
                   void (*write)(void *argument, enum p2p_log_level level, const char *line, size_t length),
                   void *argument)
{
    if ((unsigned)level > P2P_LOG_TRACE || (unsigned)format > P2P_LOG_JSON)
        return P2P_ERR_CALL_INVALID;
    config->log_level = level;
    config->log_format = format;
    config->log_write = write;
    config->log_argument = argument;
    return 0;
}
