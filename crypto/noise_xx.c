#include "crypto/noise_xx.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/aead.h"
#include "crypto/crypto.h"
#include "crypto/sha256.h"
#include "crypto/x25519.h"

/* Names and rules are those of the Noise specification, sections 5.1 to 5.3. */

static const char protocol_name[] = "Noise_XX_25519_ChaChaPoly_SHA256";

enum {
    DH_BYTES = NOISE_XX_KEY_BYTES,
    TAG_BYTES = AEAD_TAG_BYTES,
};

static_assert(sizeof(protocol_name) - 1 == SHA256_BYTES, "a name of HASHLEN bytes is h itself");

/* ---- SymmetricState ---- */

static void mix_hash(struct noise_xx *xx, const uint8_t *data, size_t length)
{
    struct sha256 sha;

    sha256_init(&sha);
    sha256_update(&sha, xx->h, sizeof(xx->h));
    sha256_update(&sha, data, length);
    sha256_final(&sha, xx->h);
}

static void mix_key(struct noise_xx *xx, const uint8_t dh[DH_BYTES])
{
    uint8_t out[2 * SHA256_BYTES];

    sha256_hkdf(out, sizeof(out), xx->ck, sizeof(xx->ck), dh, DH_BYTES, NULL, 0);
    memcpy(xx->ck, out, SHA256_BYTES);
    memcpy(xx->k, out + SHA256_BYTES, SHA256_BYTES);
    xx->n = 0;
    xx->has_k = true;
    crypto_wipe(out, sizeof(out));
}

/* Handshake payloads are small and few: no context is worth its while. */
static size_t encrypt_and_hash(struct noise_xx *xx, uint8_t *out, const uint8_t *plain, size_t length)
{
    uint8_t nonce[AEAD_IV_BYTES];

    if (xx->has_k) {
        aead_make_iv(nonce, xx->n++);
        crypto_aead_chacha20poly1305_ietf_encrypt_detached(out, out + length, NULL, plain, length,
                                                           xx->h, sizeof(xx->h), NULL, nonce, xx->k);
        length += TAG_BYTES;
    } else if (length > 0) {
        memmove(out, plain, length);
    }
    mix_hash(xx, out, length);
    return length;
}

/* `out` may not overlap `sealed`.  `length` includes the tag if there is one, and is no shorter. */
static int decrypt_and_hash(struct noise_xx *xx, uint8_t *out, const uint8_t *sealed, size_t length)
{
    uint8_t nonce[AEAD_IV_BYTES];

    if (xx->has_k) {
        size_t plain = length - TAG_BYTES;

        aead_make_iv(nonce, xx->n++);
        if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                out, NULL, sealed, plain, sealed + plain, xx->h, sizeof(xx->h), nonce, xx->k) != 0)
            return P2P_ERR_CONN_AUTH;
    } else if (length > 0) {
        memmove(out, sealed, length);
    }
    mix_hash(xx, sealed, length);
    return 0;
}

/* MixKey(DH(secret, remote)).  A result of zero comes from a point of low
 * order: the remote would choose our key. */
static int mix_dh(struct noise_xx *xx, const uint8_t *secret, const uint8_t *remote)
{
    uint8_t dh[DH_BYTES];
    int error = 0;

    if (crypto_scalarmult_curve25519(dh, secret, remote) != 0)
        error = P2P_ERR_CONN_AUTH;
    else
        mix_key(xx, dh);
    crypto_wipe(dh, sizeof(dh));
    return error;
}

/* ---- HandshakeState ---- */

void noise_xx_init(struct noise_xx *xx, bool initiator, const uint8_t *prologue, size_t prologue_length,
                   const uint8_t s[32], const uint8_t s_public[32], const uint8_t e[32])
{
    memset(xx, 0, sizeof(*xx));
    xx->initiator = initiator;
    memcpy(xx->h, protocol_name, sizeof(xx->h));
    memcpy(xx->ck, protocol_name, sizeof(xx->ck));
    mix_hash(xx, prologue, prologue_length);
    memcpy(xx->s, s, DH_BYTES);
    memcpy(xx->s_public, s_public, DH_BYTES);
    memcpy(xx->e, e, DH_BYTES);
}

void noise_xx_fini(struct noise_xx *xx)
{
    crypto_wipe(xx, sizeof(*xx));
}

bool noise_xx_writes(const struct noise_xx *xx)
{
    return !noise_xx_done(xx) && (xx->step % 2 == 0) == xx->initiator;
}

bool noise_xx_reads(const struct noise_xx *xx)
{
    return !noise_xx_done(xx) && (xx->step % 2 == 0) != xx->initiator;
}

size_t noise_xx_overhead(const struct noise_xx *xx)
{
    static const size_t overhead[NOISE_XX_MESSAGES + 1] = {
        DH_BYTES,                                    /* e */
        DH_BYTES + DH_BYTES + TAG_BYTES + TAG_BYTES, /* e, sealed s, tag of the payload */
        DH_BYTES + TAG_BYTES + TAG_BYTES,            /* sealed s, tag of the payload */
        0,
    };

    return overhead[xx->step];
}

/* e: our public half goes out as it is. */
static size_t write_e(struct noise_xx *xx, uint8_t *out)
{
    uint8_t seed[DH_BYTES];

    memcpy(seed, xx->e, sizeof(seed));
    x25519_pairs_take(xx->pairs, xx->e, xx->e_public, seed);
    crypto_wipe(seed, sizeof(seed));
    memcpy(out, xx->e_public, DH_BYTES);
    mix_hash(xx, xx->e_public, DH_BYTES);
    return DH_BYTES;
}

static size_t read_e(struct noise_xx *xx, const uint8_t *message)
{
    memcpy(xx->re, message, DH_BYTES);
    mix_hash(xx, xx->re, DH_BYTES);
    return DH_BYTES;
}

static int write_tokens(struct noise_xx *xx, uint8_t *out, size_t *written)
{
    size_t at = 0;
    int error = 0;

    switch (xx->step) {
    case 0: /* -> e */
        at += write_e(xx, out);
        break;
    case 1: /* <- e, ee, s, es */
        at += write_e(xx, out);
        error = mix_dh(xx, xx->e, xx->re);
        if (error == 0) {
            at += encrypt_and_hash(xx, out + at, xx->s_public, DH_BYTES);
            error = mix_dh(xx, xx->s, xx->re);
        }
        break;
    default: /* -> s, se */
        at += encrypt_and_hash(xx, out, xx->s_public, DH_BYTES);
        error = mix_dh(xx, xx->s, xx->re);
    }
    *written = at;
    return error;
}

static int read_tokens(struct noise_xx *xx, const uint8_t *message, size_t *taken)
{
    size_t at = 0;
    int error = 0;

    switch (xx->step) {
    case 0: /* -> e */
        at += read_e(xx, message);
        break;
    case 1: /* <- e, ee, s, es */
        at += read_e(xx, message);
        error = mix_dh(xx, xx->e, xx->re);
        if (error == 0)
            error = decrypt_and_hash(xx, xx->rs, message + at, DH_BYTES + TAG_BYTES);
        at += DH_BYTES + TAG_BYTES;
        if (error == 0)
            error = mix_dh(xx, xx->e, xx->rs);
        break;
    default: /* -> s, se */
        error = decrypt_and_hash(xx, xx->rs, message, DH_BYTES + TAG_BYTES);
        at += DH_BYTES + TAG_BYTES;
        if (error == 0)
            error = mix_dh(xx, xx->e, xx->rs);
    }
    *taken = at;
    return error;
}

int noise_xx_write(struct noise_xx *xx, uint8_t *out, size_t capacity, size_t *written,
                   const uint8_t *payload, size_t payload_length)
{
    size_t overhead = noise_xx_overhead(xx), at = 0;
    struct noise_xx next = *xx; /* committed only on success */
    int error;

    if (!noise_xx_writes(xx)) {
        error = P2P_ERR_CALL_STATE;
    } else if (payload_length > NOISE_XX_MESSAGE_BYTES_MAX - overhead) {
        error = P2P_ERR_CALL_INVALID;
    } else if (payload_length + overhead > capacity) {
        error = P2P_ERR_CALL_SHORT;
    } else {
        error = write_tokens(&next, out, &at);
    }
    if (error == 0) {
        at += encrypt_and_hash(&next, out + at, payload, payload_length);
        next.step++;
        *xx = next;
        *written = at;
    }
    crypto_wipe(&next, sizeof(next));
    return error;
}

int noise_xx_read(struct noise_xx *xx, uint8_t *payload, size_t *payload_length,
                  const uint8_t *message, size_t length)
{
    size_t overhead = noise_xx_overhead(xx), at = 0;
    struct noise_xx next = *xx; /* committed only on success */
    int error;

    if (!noise_xx_reads(xx))
        error = P2P_ERR_CALL_STATE;
    else if (length < overhead || length > NOISE_XX_MESSAGE_BYTES_MAX)
        error = P2P_ERR_CONN_PROTOCOL;
    else
        error = read_tokens(&next, message, &at);
    if (error == 0)
        error = decrypt_and_hash(&next, payload, message + at, length - at);
    if (error == 0) {
        next.step++;
        *xx = next;
        *payload_length = length - overhead;
    }
    crypto_wipe(&next, sizeof(next));
    return error;
}

void noise_xx_split(const struct noise_xx *xx, uint8_t send_key[32], uint8_t recv_key[32])
{
    uint8_t out[2 * SHA256_BYTES]; /* the initiator's key, the responder's */

    assert(noise_xx_done(xx));
    sha256_hkdf(out, sizeof(out), xx->ck, sizeof(xx->ck), NULL, 0, NULL, 0);
    memcpy(send_key, xx->initiator ? out : out + SHA256_BYTES, SHA256_BYTES);
    memcpy(recv_key, xx->initiator ? out + SHA256_BYTES : out, SHA256_BYTES);
    crypto_wipe(out, sizeof(out));
}
