#include <assert.h>
#include <stdlib.h>

#include "net/peer_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct key *fixed_key(void)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {1};
    struct key *key;
    if (key_new_seed(&key, seed) != 0)
        abort();
    return key;
}

static size_t walk(const struct peer_record *record)
{
    struct multiaddr addr;
    size_t offset = 0, count = 0;
    while (peer_record_next(record, &offset, &addr)) {
        assert(!multiaddr_is_none(&addr));
        count++;
    }
    return count;
}

/* The input as an envelope; and, as nobody guesses signatures, as the payload of one of our own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t payload_type[] = {3, 1};
    static uint8_t sealed[PEER_RECORD_SEALED_BYTES_MAX];
    struct peer_record record;
    size_t length;
    if (peer_record_open(&record, data, size) == 0)
        walk(&record);
    struct key *key = fixed_key();
    if (envelope_seal(sealed, sizeof(sealed), &length, key, PEER_RECORD_DOMAIN, payload_type,
                      sizeof(payload_type), data, size) == 0 &&
        peer_record_open(&record, sealed, length) == 0) {
        assert(peer_id_matches_key(&record.peer, key_public(key)));
        assert(walk(&record) <= size / 4);
    }
    key_free(key);
    return 0;
}
