#include <assert.h>
#include <string.h>

#include "net/identify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct multiaddr addrs[IDENTIFY_ADDRS_MAX];
static char names[IDENTIFY_PROTOCOLS_MAX][IDENTIFY_PROTOCOL_BYTES_MAX + 1];
static const char *protocols[IDENTIFY_PROTOCOLS_MAX];

/* What was read, told on: fits, and can be read. */
static void tell(const struct identify_result *got, const struct peer_id *peer)
{
    static uint8_t out[IDENTIFY_ENCODED_BYTES_MAX];
    struct identify_info info = {got->public_key, addrs, 0, protocols, got->protocol_count, &got->observed,
                                 got->protocol_version, got->agent_version, got->signed_record};
    struct identify_reader reader;
    struct identify_result again;
    size_t written;
    if (info.public_key.length > KEY_PUBLIC_BYTES_MAX) /* ours never is; a peer may pad its own */
        info.public_key.length = 0;
    for (size_t i = 0; i < got->addr_count; i++) {
        identify_addr(got, i, &addrs[info.addr_count]);
        info.addr_count += identify_accept_filter(&addrs[info.addr_count], &got->observed);
    }
    for (size_t i = 0; i < got->protocol_count; i++) {
        memcpy(names[i], got->protocols[i].data, got->protocols[i].length);
        names[i][got->protocols[i].length] = '\0';
        protocols[i] = names[i];
    }
    assert(identify_encode(out, sizeof(out), &written, &info) == 0);
    identify_reader_init(&reader);
    assert(identify_recv(&reader, out, written) == 0);
    assert(identify_finish(&reader, &again, peer) == 0);
    identify_reader_fini(&reader);
}

/* The first byte is the size of the pieces in which the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* "spec ed25519" of keys.txt */
    static const char text[] = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    struct peer_id peer = {0};
    struct identify_reader reader;
    struct identify_result result;
    size_t piece = size ? data[0] + 1u : 1;
    assert(peer_id_from_text(&peer, text, sizeof(text) - 1) == 0);
    identify_reader_init(&reader);
    reader.defer_record = piece % 2;
    for (size_t at = 1; at < size; at += piece)
        (void)identify_recv(&reader, data + at, size - at < piece ? size - at : piece);
    if (identify_finish(&reader, &result, &peer) == 0)
        tell(&result, &peer);
    assert(reader.capacity <= IDENTIFY_READER_BYTES_MAX);
    identify_reader_fini(&reader);
    return 0;
}
