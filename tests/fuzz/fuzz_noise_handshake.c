/* The libp2p handshake with fixed keys.  First byte: bit 0 our role, bit 1
 * whether the rest is raw bytes for us or the payload of a peer who encrypts
 * it properly (message 2 or 3), bit 2 whether we expect somebody.  Second
 * byte: the size of the cuts. */
#include <assert.h>
#include <sodium.h>

#include "crypto/crypto.h"
#include "crypto/noise.h"
#include "crypto/noise_xx.h"
#include "crypto/verified.h"
#include "crypto/x25519.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const muxers[] = {"/yamux/1.0.0", "/other"};

static void feed(struct noise_handshake *ours, const uint8_t *data, size_t size, size_t cut)
{
    uint8_t out[NOISE_HANDSHAKE_SEND_BYTES_MAX];
    size_t taken = 1, written;

    while (size > 0 && taken > 0) {
        (void)noise_handshake_recv(ours, data, cut < size ? cut : size, &taken);
        assert(taken <= size);
        data += taken;
        size -= taken;
        (void)noise_handshake_send(ours, out, sizeof(out), &written);
    }
}

/* The peer's side, in the order of its role, ours in between. */
static void converse(struct noise_handshake *ours, bool we_start, const uint8_t *data, size_t size, size_t cut)
{
    static const uint8_t s[32] = {0, 7}, e[32] = {0, 8};
    uint8_t s_public[32], wire[NOISE_HANDSHAKE_SEND_BYTES_MAX], plain[NOISE_HANDSHAKE_SEND_BYTES_MAX];
    struct noise_xx peer;
    size_t length = 0, plain_length;

    crypto_scalarmult_curve25519_base(s_public, s);
    noise_xx_init(&peer, !we_start, NULL, 0, s, s_public, e);
    while (!noise_xx_done(&peer)) {
        bool payload = peer.step > 0 && noise_xx_writes(&peer);

        if (noise_xx_reads(&peer)) {
            assert(noise_handshake_send(ours, wire, sizeof(wire), &length) == 0 && length > 2);
            assert(noise_xx_read(&peer, plain, &plain_length, wire + 2, length - 2) == 0);
            continue;
        }
        if (noise_xx_write(&peer, wire + 2, sizeof(wire) - 2, &length, data, payload ? size : 0) != 0)
            return; /* too long to be sent */
        wire[0] = (uint8_t)(length >> 8);
        wire[1] = (uint8_t)length;
        for (size_t at = 0, taken; at < length + 2; at += taken) {
            size_t part = length + 2 - at < cut ? length + 2 - at : cut;

            if (noise_handshake_recv(ours, wire + at, part, &taken) != 0)
                return;
            assert(taken == part);
        }
    }
}

static void check_result(struct noise_handshake *ours)
{
    struct noise_keys keys;

    if (!noise_handshake_done(ours))
        return;
    assert(peer_id_matches_key(noise_handshake_remote_id(ours), noise_handshake_remote_key(ours)));
    (void)noise_handshake_muxer(ours);
    noise_handshake_split(ours, &keys);
    noise_keys_wipe(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct noise_static *statics;
    static const uint8_t seed[32] = {0, 1}, ephemeral[32] = {0, 2};
    static struct peer_id expected;
    static struct verified *verified;
    struct noise_handshake *ours;
    struct x25519_pairs *pairs = NULL;
    struct key *key;

    if (statics == NULL) {
        assert(crypto_init() == 0 && key_new_seed(&key, seed) == 0 && noise_static_new(&statics, key, seed) == 0);
        peer_id_from_public_key(&expected, key_public(key));
        key_free(key);
        verified = verified_new();
        assert(verified != NULL);
    }
    if (size < 2)
        return 0;
    ours = noise_handshake_new(statics, data[0] & 1, (data[0] & 4) != 0 ? &expected : NULL, ephemeral, muxers, 2);
    assert(ours != NULL);
    if ((data[0] & 8) != 0) {
        pairs = x25519_pairs_new();
        assert(pairs != NULL);
        x25519_pairs_expect(pairs, data[0] >> 4);
        noise_handshake_share(ours, verified, pairs);
    }
    if ((data[0] & 2) != 0)
        converse(ours, data[0] & 1, data + 2, size - 2, (size_t)data[1] + 1);
    else
        feed(ours, data + 2, size - 2, (size_t)data[1] + 1);
    check_result(ours);
    noise_handshake_free(ours);
    x25519_pairs_free(pairs);
    return 0;
}
