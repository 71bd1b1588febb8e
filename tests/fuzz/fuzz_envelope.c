/* Signed envelopes: from a stranger, and our own around the input. */
#include <assert.h>
#include <string.h>

#include "crypto/crypto.h"
#include "crypto/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char domain[] = "libp2p-peer-record";
static const uint8_t type[] = {3, 1};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct key *key;
    static uint8_t out[ENVELOPE_BYTES_MAX];
    uint8_t seed[KEY_SEED_BYTES] = {1};
    struct envelope envelope;
    size_t length;

    if (key == NULL) {
        assert(crypto_init() == 0);
        assert(key_new_seed(&key, seed) == 0);
    }
    if (envelope_open(&envelope, data, size, domain, type, sizeof(type)) == 0)
        assert(envelope.payload.length <= size);
    if (size > ENVELOPE_PAYLOAD_BYTES_MAX)
        return 0;
    assert(envelope_seal(out, sizeof(out), &length, key, domain, type, sizeof(type), data, size) == 0);
    assert(envelope_open(&envelope, out, length, domain, type, sizeof(type)) == 0);
    assert(envelope.payload.length == size && (size == 0 || memcmp(envelope.payload.data, data, size) == 0));
    return 0;
}
