/* Records under a fixed key: the input as records from a stranger, then our
 * own record of the input (an odd one gets a long piece behind it), whole and
 * with the byte damaged that it names. */
#include <assert.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t record[NOISE_HEADER_BYTES + NOISE_RECORD_BODY_BYTES_MAX];

static void open_stranger(struct noise_keys *keys, struct aead_context *aead, const uint8_t *data, size_t size)
{
    size_t plain;

    while (size >= NOISE_HEADER_BYTES) {
        size_t body = (size_t)data[0] << 8 | data[1];

        data += NOISE_HEADER_BYTES;
        size -= NOISE_HEADER_BYTES;
        if (body > size)
            return;
        memcpy(record, data, body);
        if (noise_open(keys, aead, record, body, &plain) != 0)
            return;
        data += body;
        size -= body;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t tail[AEAD_GATHER_BYTES];
    static struct aead_context *aead;
    struct noise_keys keys = {{1}, {1}, 0, 0}; /* talks to itself */
    size_t cut = size > 2 ? data[0] % size : 0, total = size + size % 2 * sizeof(tail), written, plain;
    struct aead_piece pieces[] = {{data, cut}, {data + cut, size - cut}, {tail, total - size}};

    if (aead == NULL) {
        assert(crypto_init() == 0);
        aead = aead_context_new();
    }
    if (total > NOISE_PLAIN_BYTES_MAX)
        return 0;
    open_stranger(&keys, aead, data, size);
    keys.send_nonce = keys.recv_nonce;
    assert(noise_seal(&keys, aead, record, sizeof(record), &written, pieces, 3) == 0);
    assert(written == noise_record_bytes(total));
    record[NOISE_HEADER_BYTES + cut] ^= 1;
    assert(noise_open(&keys, aead, record + 2, written - 2, &plain) == P2P_ERR_CONN_AUTH);
    assert(noise_seal(&keys, aead, record, sizeof(record), &written, pieces, 3) == 0);
    keys.recv_nonce++;
    assert(noise_open(&keys, aead, record + 2, written - 2, &plain) == 0 && plain == total);
    assert(size == 0 || memcmp(record + 2, data, size) == 0);
    return 0;
}
