#include "command.h"

#include "bench.h"
#include "node.h"
#include "perf.h"
#include "redis.h"
#include "stats.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* `perf`: the libp2p project's own contracts for perf programs, so that its
 * dashboards can include us.  The older one is a command line (test-plans,
 * perf/README.md); the newer one is environment variables and Redis
 * (unified-testing, docs/write-a-perf-test-app.md). */

enum perf_limits {
    SAMPLES_MAX = 1000000,      /* of a measurement that goes by time */
    LISTENER_WAIT_S_MAX = 60,   /* for its address to appear */
    PORT = 4001,                /* what its programs listen on */
};

/* An Ed25519 key of a seed of zeros, as a libp2p private key: the older contract's
 * server has it, so that clients know its id. */
#define ZERO_ID "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"

static const uint8_t zero_public[32] = {
    0x3b, 0x6a, 0x27, 0xbc, 0xce, 0xb6, 0xa4, 0x2d, 0x62, 0xa3, 0xa8, 0xd0, 0x2a, 0x6f, 0x0d, 0x73,
    0x65, 0x32, 0x15, 0x77, 0x1d, 0xe2, 0x43, 0xa6, 0x3a, 0xc0, 0x48, 0xa1, 0x8b, 0x59, 0xda, 0x29,
};

/* ---- Nodes ---------------------------------------------------------------------------- */

static struct p2p_node *make_node(const char *listen, bool zero_key)
{
    uint8_t key[4 + 64] = {0x08, 0x01, 0x12, 0x40}; /* Type Ed25519, Data of seed and public key */
    struct p2p_config *config = p2p_config_new();
    struct p2p_error_text text = {""};
    struct p2p_node *node;

    memcpy(key + 4 + 32, zero_public, sizeof(zero_public));
    if (config == NULL)
        bench_die("no memory");
    if (p2p_config_listen(config, listen, &text) != 0)
        bench_die("%s", text.text);
    if (zero_key)
        node_check(p2p_config_identity(config, key, sizeof(key)), "identity");
    node_check(p2p_config_max_connections(config, 0), "max_connections");
    node_check(p2p_config_serve_perf(config, true), "serve_perf");
    node_check(p2p_config_status_interval_ms(config, 0), "status_interval");
    node_check(p2p_config_workers(config, 1), "workers");
    if (p2p_node_new(&node, config, NULL, &text) != 0 || p2p_node_start(node, &text) != 0)
        bench_die("%s", text.text);
    p2p_config_free(config);
    return node;
}

static void serve_until_killed(struct p2p_node *node, const sigset_t *signals)
{
    int number;

    (void)sigwait(signals, &number); /* whichever it is */
    p2p_node_free(node);
}

static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, signals, NULL) != 0)
        bench_die("signals cannot be blocked");
}

/* ---- The command line ------------------------------------------------------------------- */

struct parsing {
    bool server;
    const char *address;
    uint64_t up, down;
};

static struct perf_progress told; /* when the last line was printed */
static double begun_s;            /* before connecting */

static void print_progress(const char *type, double seconds, uint64_t up, uint64_t down)
{
    printf("{\"type\":\"%s\",\"timeSeconds\":%.9f,\"uploadBytes\":%" PRIu64 ",\"downloadBytes\":%" PRIu64 "}\n", type,
           seconds, up, down);
    fflush(stdout);
}

/* What has moved since the line before. */
static void tell(const struct perf_progress *progress)
{
    print_progress("intermediary", progress->seconds - told.seconds, progress->up - told.up,
                   progress->down - told.down);
    told = *progress;
}

/* "127.0.0.1:4001" as a multiaddr. */
static void to_multiaddr(char *out, size_t size, const char *address, const char *id)
{
    const char *colon = strrchr(address, ':'), *kind;
    int host = colon != NULL ? (int)(colon - address) : 0;
    bool six = memchr(address, ':', (size_t)host) != NULL, bracket = address[0] == '[';

    kind = six ? "ip6" : strspn(address, "0123456789.") >= (size_t)host ? "ip4" : "dns";
    snprintf(out, size, "/%s/%.*s/tcp/%s%s%s", kind, bracket ? host - 2 : host, bracket ? address + 1 : address,
             colon + 1, id != NULL ? "/p2p/" : "", id != NULL ? id : "");
}

static int by_command_line(const struct parsing *parsing)
{
    char address[P2P_ADDRESS_TEXT_BYTES], id[P2P_ID_TEXT_BYTES];
    struct p2p_node *node;
    sigset_t signals;

    block_signals(&signals);
    to_multiaddr(address, sizeof(address), parsing->address, parsing->server ? NULL : ZERO_ID);
    node = make_node(parsing->server ? address : NULL, parsing->server);
    if (parsing->server) {
        serve_until_killed(node, &signals);
        return COMMAND_DONE;
    }
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    begun_s = bench_now_s();
    node_connect(node, id, address);
    (void)perf_exchange(node, id, parsing->up, parsing->down, tell);
    print_progress("final", bench_now_s() - begun_s, parsing->up, parsing->down);
    p2p_node_free(node);
    return COMMAND_DONE;
}

/* ---- The environment ------------------------------------------------------------------------ */

static const char *variable(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : otherwise;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = variable(name, "");
    char *end;
    uint64_t value;

    if (*text == '\0')
        return otherwise;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || value == 0)
        bench_die("%s: '%s' is no number from 1", name, text);
    return value;
}

static void require(const char *name, const char *spoken)
{
    const char *value = variable(name, spoken);

    if (strcmp(value, spoken) != 0)
        bench_die("%s: '%s' is not spoken here, but %s is", name, value, spoken);
}

static void print_list(const char *name, const double *values, size_t count, int digits)
{
    printf("  %s: [", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%.*f", i > 0 ? ", " : "", digits, values[i]);
    printf("]\n");
}

/* Least and most leave out what is further from the quartiles than one and a half
 * times their distance. */
static void print_measurement(const char *title, const char *name, double *values, size_t count, const char *unit,
                              int digits)
{
    double q1, q3, low, high;
    size_t first = 0, last = count;
    double *outliers = calloc(count, sizeof(*outliers));

    if (outliers == NULL)
        bench_die("no memory");
    stats_sort(values, count);
    q1 = stats_sorted_quantile(values, count, 0.25);
    q3 = stats_sorted_quantile(values, count, 0.75);
    low = q1 - 1.5 * (q3 - q1);
    high = q3 + 1.5 * (q3 - q1);
    while (first < count && values[first] < low)
        first++;
    while (last > first && values[last - 1] > high)
        last--;
    memcpy(outliers, values, first * sizeof(*values));
    memcpy(outliers + first, values + last, (count - last) * sizeof(*values));
    printf("# %s measurement\n%s:\n  iterations: %zu\n  min: %.*f\n  q1: %.*f\n", title, name, count, digits,
           values[first], digits, q1);
    printf("  median: %.*f\n  q3: %.*f\n  max: %.*f\n", digits, stats_sorted_quantile(values, count, 0.5), digits, q3,
           digits, values[last - 1]);
    print_list("outliers", outliers, first + count - last, digits);
    print_list("samples", values, count, digits);
    printf("  unit: %s\n\n", unit);
    free(outliers);
}

/* What the contract knows: Gbps of the bytes that go either way, or, of round
 * trips (no bytes to count), ms. */
enum unit { GBPS, MS };

static double figure_of(enum unit unit, uint64_t bytes, double seconds)
{
    return unit == GBPS ? (double)bytes * 8 / seconds / 1e9 : seconds * 1000;
}

/* Exchanges as often as the variable says, or, where it says `null`, for
 * DURATION seconds. */
static size_t measure(struct p2p_node *node, const char *id, const char *variable_name, uint64_t otherwise,
                      enum unit unit, uint64_t up, uint64_t down, double **out)
{
    bool timed = strcmp(variable(variable_name, ""), "null") == 0;
    uint64_t most = timed ? SAMPLES_MAX : number_of(variable_name, otherwise);
    double until_s = bench_now_s() + (timed ? (double)number_of("DURATION", 20) : 1e9);
    size_t count = 0;

    if (most > SAMPLES_MAX)
        bench_die("%s must be from 1 to %d", variable_name, SAMPLES_MAX);
    *out = calloc(most, sizeof(**out));
    if (*out == NULL)
        bench_die("no memory");
    do {
        double seconds = perf_exchange(node, id, up, down, NULL);

        (*out)[count++] = figure_of(unit, up > down ? up : down, seconds);
    } while (count < most && bench_now_s() < until_s);
    return count;
}

static void dial_and_measure(const char *address)
{
    static const struct {
        const char *title, *name, *iterations, *bytes;
        enum unit unit;
        uint64_t otherwise;
        int digits;
    } all[] = {{"Upload", "upload", "UPLOAD_ITERATIONS", "UPLOAD_BYTES", GBPS, 10, 2},
               {"Download", "download", "DOWNLOAD_ITERATIONS", "DOWNLOAD_BYTES", GBPS, 10, 2},
               {"Latency", "latency", "LATENCY_ITERATIONS", NULL, MS, 100, 3}};
    struct p2p_node *node = make_node(NULL, false);
    char id[P2P_ID_TEXT_BYTES];
    double *values[3];
    size_t counts[3];

    node_connect(node, id, address);
    for (int i = 0; i < 3; i++) {
        uint64_t bytes = all[i].bytes != NULL ? number_of(all[i].bytes, 1 << 30) : 1;

        counts[i] = measure(node, id, all[i].iterations, all[i].otherwise, all[i].unit, i != 1 ? bytes : 0,
                            i != 0 ? bytes : 0, &values[i]);
    }
    for (int i = 0; i < 3; i++) {
        print_measurement(all[i].title, all[i].name, values[i], counts[i], all[i].unit == GBPS ? "Gbps" : "ms",
                          all[i].digits);
        free(values[i]);
    }
    p2p_node_free(node);
}

/* The first address that other machines can dial, or one of loopback. */
static void own_address(struct p2p_node *node, char out[P2P_ADDRESS_TEXT_BYTES])
{
    struct p2p_address addresses[16];
    size_t count = 0, best = 0;

    node_check(p2p_node_addresses(node, addresses, 16, &count), "addresses");
    if (count == 0)
        bench_die("no address to dial");
    for (size_t i = count > 16 ? 16 : count; i-- > 0;) {
        if (strncmp(addresses[i].text, "/ip4/127.", 9) != 0)
            best = i;
    }
    snprintf(out, P2P_ADDRESS_TEXT_BYTES, "%s", addresses[best].text);
}

static void listen_and_tell(struct redis *redis, const char *key)
{
    char address[P2P_ADDRESS_TEXT_BYTES];
    struct p2p_node *node;
    sigset_t signals;

    block_signals(&signals);
    snprintf(address, sizeof(address), "/ip4/%s/tcp/%d", variable("LISTENER_IP", "0.0.0.0"), PORT);
    node = make_node(address, false);
    own_address(node, address);
    if (!redis_set(redis, key, address))
        bench_die("Redis did not take %s: %s", key, redis_error(redis));
    serve_until_killed(node, &signals);
}

static void require_all(void)
{
    const char *dials = variable("IS_DIALER", "false");

    if (strcmp(dials, "true") != 0 && strcmp(dials, "false") != 0)
        bench_die("IS_DIALER: '%s' is neither true nor false", dials);
    require("TRANSPORT", "tcp");
    require("SECURE_CHANNEL", "noise");
    require("MUXER", "yamux");
}

static int by_environment(void)
{
    struct redis *redis = redis_open(variable("REDIS_ADDR", "redis:6379"));
    char key[256], address[REDIS_VALUE_BYTES_MAX];
    enum redis_answer answer = REDIS_NONE;

    if (redis == NULL)
        return COMMAND_FAILED;
    snprintf(key, sizeof(key), "%s_listener_multiaddr", variable("TEST_KEY", "default"));
    if (strcmp(variable("IS_DIALER", "false"), "true") != 0) {
        listen_and_tell(redis, key);
    } else {
        for (int tenth = 0; answer == REDIS_NONE && tenth < 10 * LISTENER_WAIT_S_MAX; tenth++) {
            answer = redis_get(redis, address, sizeof(address), key);
            if (answer == REDIS_NONE)
                usleep(100000);
        }
        if (answer == REDIS_FAILED)
            bench_die("Redis, %s: %s", key, redis_error(redis));
        if (answer == REDIS_NONE)
            bench_die("nobody left an address as %s within %d s", key, LISTENER_WAIT_S_MAX);
        dial_and_measure(address);
    }
    redis_close(redis);
    return COMMAND_DONE;
}

/* ---- The command ------------------------------------------------------------------------------- */

enum { OPTION_SERVER = 256, OPTION_ADDRESS, OPTION_TRANSPORT, OPTION_UP, OPTION_DOWN };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;

    switch (key) {
    case OPTION_SERVER:
        parsing->server = true;
        break;
    case OPTION_ADDRESS:
        if (strrchr(argument, ':') == NULL || *argument == ':')
            argp_error(state, "--server-address: '%s' is not HOST:PORT", argument);
        parsing->address = argument;
        break;
    case OPTION_TRANSPORT:
        if (strcmp(argument, "tcp") != 0)
            argp_error(state, "--transport: '%s' is not spoken here, but tcp is", argument);
        break;
    case OPTION_UP:
        parsing->up = (uint64_t)command_number(state, "upload-bytes", argument, 0, 1e15);
        break;
    case OPTION_DOWN:
        parsing->down = (uint64_t)command_number(state, "download-bytes", argument, 0, 1e15);
        break;
    case ARGP_KEY_END:
        if (parsing->address == NULL && getenv("IS_DIALER") == NULL)
            argp_error(state, "needs --server-address, or IS_DIALER in its environment");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int command_perf(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"run-server", OPTION_SERVER, NULL, 0, "serve, with the key of a seed of zeros, until killed", 0},
        {"server-address", OPTION_ADDRESS, "HOST:PORT", 0, "to listen on, or to dial", 0},
        {"transport", OPTION_TRANSPORT, "tcp", 0, "the only one there is", 0},
        {"upload-bytes", OPTION_UP, "N", 0, "on one stream", 0},
        {"download-bytes", OPTION_DOWN, "N", 0, "behind them", 0},
        {0},
    };
    static const struct argp argp = {
        options, parse, NULL,
        "The libp2p project's perf contracts: by command line, and without one by environment "
        "variables (IS_DIALER, REDIS_ADDR, TEST_KEY, LISTENER_IP, UPLOAD_BYTES, DOWNLOAD_BYTES, UPLOAD_ITERATIONS, "
        "DOWNLOAD_ITERATIONS, LATENCY_ITERATIONS, DURATION, TRANSPORT, SECURE_CHANNEL, MUXER).", NULL, NULL, NULL};
    struct parsing parsing = {.server = false};

    argp_err_exit_status = COMMAND_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parsing) != 0)
        return COMMAND_USAGE;
    if (parsing.address != NULL)
        return by_command_line(&parsing);
    require_all();
    return by_environment();
}
