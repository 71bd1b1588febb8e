#include <assert.h>
#include <stdlib.h>

#include "net/identify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The peer of the kept streams: the Ed25519 key of libp2p's peer-ids.md. */
static struct peer_id fixed_peer(void)
{
    static const char text[] = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    struct peer_id id;
    if (peer_id_from_text(&id, text, sizeof(text) - 1) != 0)
        abort();
    return id;
}

/* What was read, written again: fits, and can be read. */
static void write_again(const struct identify_result *result, const struct peer_id *peer)
{
    static uint8_t out[IDENTIFY_ENCODED_BYTES_MAX];
    static struct multiaddr addrs[IDENTIFY_ADDRS_MAX];
    struct identify_info info = {.public_key = result->public_key, .addrs = addrs, .addr_count = result->addr_count,
                                 .observed = &result->observed, .agent_version = result->agent_version,
                                 .signed_record = result->signed_record};
    struct identify_reader reader;
    struct identify_result again;
    size_t written;
    for (size_t i = 0; i < result->addr_count; i++)
        identify_addr(result, i, &addrs[i]);
    assert(result->public_key.length > KEY_PUBLIC_BYTES_MAX ||
           identify_encode(out, sizeof(out), &written, &info) == 0);
    if (result->public_key.length > KEY_PUBLIC_BYTES_MAX)
        return;
    identify_reader_init(&reader);
    assert(identify_recv(&reader, out, written) == 0);
    assert(identify_finish(&reader, &again, peer) == 0);
    assert(again.addr_count <= result->addr_count || result->has_signed_record);
    identify_reader_fini(&reader);
}

/* The first byte is the size of the pieces in which the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peer_id peer = fixed_peer();
    struct identify_reader reader;
    struct identify_result result;
    size_t piece = size ? data[0] + 1u : 1;
    identify_reader_init(&reader);
    for (size_t at = 1; at < size; at += piece) {
        if (identify_recv(&reader, data + at, size - at < piece ? size - at : piece) != 0)
            break;
    }
    if (identify_finish(&reader, &result, &peer) == 0)
        write_again(&result, &peer);
    assert(reader.capacity <= IDENTIFY_READER_BYTES_MAX);
    identify_reader_fini(&reader);
    return 0;
}
