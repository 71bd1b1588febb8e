#include <assert.h>
#include <stdlib.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "net/plaintext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct key *own_key(void)
{
    static const uint8_t seed[KEY_SEED_BYTES] = {1};
    static struct key *key;
    if (key == NULL && (crypto_init() != 0 || key_new_seed(&key, seed) != 0))
        abort();
    return key;
}

/* The first byte is the size of the pieces in which the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plaintext *plaintext = plaintext_new(key_public(own_key()), NULL);
    uint8_t out[PLAINTEXT_SEND_BYTES_MAX];
    size_t piece = size ? data[0] + 1u : 1, taken = 1, written;
    int result = 0;
    assert(plaintext != NULL);
    assert(plaintext_send(plaintext, out, sizeof(out), &written) == 0 && written > 0);
    for (size_t at = 1; at < size && result == 0 && taken > 0; at += taken) {
        result = plaintext_recv(plaintext, data + at, size - at < piece ? size - at : piece, &taken);
        assert(taken <= piece && at + taken - 1 <= PLAINTEXT_SEND_BYTES_MAX);
    }
    if (plaintext_done(plaintext)) {
        assert(result == 0 && !peer_id_is_none(plaintext_remote_id(plaintext)));
    }
    assert(plaintext_send(plaintext, out, sizeof(out), &written) == 0 && written == 0);
    plaintext_free(plaintext);
    return 0;
}
