#include "program.h"

#include <stdlib.h>
#include <string.h>

/* ping and identify: what every libp2p peer answers. */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* By nearest rank: the smallest that so many percent do not exceed. */
static double percentile_us(const uint64_t *sorted, size_t count, unsigned percent)
{
    size_t rank = (count * percent + 99) / 100;

    return count == 0 ? 0 : (double)sorted[rank > 0 ? rank - 1 : 0] / 1000;
}

static void print_pings(const struct options *options, const char *id, uint64_t *rtts, size_t count, int error)
{
    size_t lost = error != 0 && !signals_seen();

    qsort(rtts, count, sizeof(*rtts), compare);
    if (options->json)
        print_json(with_error(json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f}", "id", id, "count", (json_int_t)count,
                                        "lost", (json_int_t)lost, "min_us", percentile_us(rtts, count, 0), "p50_us",
                                        percentile_us(rtts, count, 50), "p99_us", percentile_us(rtts, count, 99),
                                        "max_us", percentile_us(rtts, count, 100)), error));
    else
        print("%zu answered, %zu lost: min %.1f us, median %.1f us, p99 %.1f us, max %.1f us\n", count, lost,
              percentile_us(rtts, count, 0), percentile_us(rtts, count, 50), percentile_us(rtts, count, 99),
              percentile_us(rtts, count, 100));
}

static int ping(struct p2p_node *node, const struct options *options, const char *id)
{
    size_t wanted = (size_t)options->count, count = 0;
    uint64_t *rtts = calloc(wanted, sizeof(*rtts));
    int error = rtts == NULL ? P2P_ERR_CALL_NOMEM : 0;

    while (error == 0 && count < wanted) {
        error = p2p_node_ping(node, &rtts[count], id, (int)options->timeout_ms);
        if (error == 0 && !options->json && wanted <= 20)
            print("pong from %s: %.1f us\n", id, (double)rtts[count] / 1000);
        count += error == 0;
    }
    if (error != 0)
        complain("ping %s: %s", options->arguments[0], client_reason(error));
    if (rtts != NULL)
        print_pings(options, id, rtts, count, error);
    free(rtts);
    return client_exit(error);
}

int command_ping(const struct options *options)
{
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED;
    struct p2p_node *node = dial_of(options, id, &status);

    if (node == NULL)
        return status;
    status = ping(node, options, id);
    hang_up(node);
    return status;
}

/* ---- identify ------------------------------------------------------------- */

static json_t *strings(char **texts, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static const char *key_name(enum p2p_key_type type)
{
    static const char *const names[] = {"rsa", "ed25519", "secp256k1", "ecdsa"};

    return (unsigned)type < 4 ? names[type] : "unknown";
}

static void print_identity(const struct options *options, const struct p2p_identity *identity)
{
    if (options->json) {
        print_json(json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:I}", "id", identity->id, "agentVersion",
                             identity->agent_version, "protocolVersion", identity->protocol_version, "keyType",
                             key_name(identity->key_type), "observedAddress", identity->observed_address, "protocols",
                             strings(identity->protocols, identity->protocol_count), "addresses",
                             strings(identity->addresses, identity->address_count), "signedRecord",
                             identity->signed_record, "signedRecordSeq", (json_int_t)identity->signed_record_seq));
        return;
    }
    print("id                %s (%s)\nagent             %s\nprotocol version  %s\nsees us at        %s\n"
          "signed record     %s\n", identity->id, key_name(identity->key_type), identity->agent_version,
          identity->protocol_version, identity->observed_address, identity->signed_record ? "valid" : "none");
    for (size_t i = 0; i < identity->address_count; i++)
        print("address           %s\n", identity->addresses[i]);
    for (size_t i = 0; i < identity->protocol_count; i++)
        print("protocol          %s\n", identity->protocols[i]);
}

int command_identify(const struct options *options)
{
    struct p2p_identity *identity = NULL;
    char id[P2P_ID_TEXT_BYTES];
    int status = EXIT_FAILED, error;
    struct p2p_node *node = dial_of(options, id, &status);

    if (node == NULL)
        return status;
    error = p2p_node_identify(node, &identity, id, (int)options->timeout_ms);
    if (error == 0)
        print_identity(options, identity);
    else
        complain("identify %s: %s", options->arguments[0], client_reason(error));
    p2p_identity_free(identity);
    hang_up(node);
    return client_exit(error);
}
