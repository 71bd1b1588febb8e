/* Public and private keys as protobufs; the first byte chooses.  Once at the
 * start also fresh keys, which need no input. */
#include <assert.h>
#include <string.h>

#include "crypto/crypto.h"
#include "crypto/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Input: two bytes of length, the key, and the rest is a signature. */
static void public_half(const uint8_t *data, size_t size)
{
    struct public_key key, again;
    size_t length;

    if (size < 2)
        return;
    length = (size_t)data[0] << 8 | data[1];
    data += 2;
    size -= 2;
    if (length > size)
        length = size;
    if (public_key_from_protobuf(&key, data, length) != 0)
        return;
    assert(key.length <= KEY_PUBLIC_BYTES_MAX && key.data_offset < key.length);
    assert(public_key_from_protobuf(&again, key.bytes, key.length) == 0);
    assert(public_key_equal(&key, &again));
    (void)public_key_verify(&key, (const uint8_t *)"message", 7, data + length, size - length);
}

static void private_half(const uint8_t *data, size_t size)
{
    uint8_t out[KEY_PRIVATE_BYTES_MAX], more[KEY_PRIVATE_BYTES_MAX];
    size_t length, more_length;
    struct key *key, *again;

    if (key_from_protobuf(&key, data, size) != 0)
        return;
    assert(key_to_protobuf(key, out, sizeof(out), &length) == 0);
    assert(key_from_protobuf(&again, out, length) == 0);
    assert(key_to_protobuf(again, more, sizeof(more), &more_length) == 0);
    assert(more_length == length && memcmp(out, more, length) == 0);
    key_free(again);
    key_free(key);
}

static void fresh_keys(void)
{
    uint8_t out[KEY_PRIVATE_BYTES_MAX], signature[KEY_SIGNATURE_BYTES_MAX];
    size_t length;
    struct key *key;

    for (int type = KEY_RSA; type <= KEY_ECDSA; type++) {
        assert(key_new_random(&key, (enum key_type)type, 0) == 0);
        assert(key_sign(key, signature, &length, out, 0) == 0);
        assert(public_key_verify(key_public(key), out, 0, signature, length) == 0);
        assert(key_to_protobuf(key, out, sizeof(out), &length) == 0);
        key_free(key);
        private_half(out, length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;

    if (!started) {
        assert(crypto_init() == 0 && crypto_self_test() == 0);
        fresh_keys();
        started = true;
    }
    if (size > 0 && data[0] % 2 == 0)
        public_half(data + 1, size - 1);
    else if (size > 0)
        private_half(data + 1, size - 1);
    return 0;
}
