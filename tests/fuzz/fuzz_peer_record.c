#include <assert.h>

#include "net/peer_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct multiaddr addrs[PEER_RECORD_ADDRS_MAX];
static uint8_t sealed[PEER_RECORD_SEALED_BYTES_MAX];

static size_t read_addrs(const struct peer_record *record)
{
    size_t offset = 0, count = 0;
    while (count < PEER_RECORD_ADDRS_MAX && peer_record_next(record, &offset, &addrs[count]))
        count++;
    return count;
}

/* As many of the addresses as have room, under our own signature. */
static void seal_again(const struct key *key, size_t count, size_t capacity)
{
    struct peer_record record;
    size_t length;
    if (peer_record_seal(sealed, capacity, &length, key, capacity, addrs, count) != 0)
        return;
    assert(length <= capacity);
    assert(peer_record_open(&record, sealed, length) == 0);
    assert(record.seq == capacity && read_addrs(&record) <= count);
}

/* The input as an envelope; and, as nobody guesses signatures, as the payload of one of our own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t payload_type[] = {3, 1}, seed[KEY_SEED_BYTES] = {1};
    struct peer_record record;
    struct key *key = NULL;
    size_t length;
    assert(key_new_seed(&key, seed) == 0);
    if (peer_record_open(&record, data, size) == 0)
        seal_again(key, read_addrs(&record), sizeof(sealed));
    if (envelope_seal(sealed, sizeof(sealed), &length, key, PEER_RECORD_DOMAIN, payload_type,
                      sizeof(payload_type), data, size) == 0 &&
        peer_record_open(&record, sealed, length) == 0) {
        assert(peer_id_matches_key(&record.peer, key_public(key)));
        seal_again(key, read_addrs(&record), size);
    }
    key_free(key);
    return 0;
}
