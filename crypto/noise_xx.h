#ifndef CRYPTO_NOISE_XX_H
#define CRYPTO_NOISE_XX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The handshake Noise_XX_25519_ChaChaPoly_SHA256 (Noise revision 34) with raw
 * payloads: what lies under the libp2p handshake of noise.h, and what the
 * published vectors test.  No framing, no identities.
 *
 *     -> e
 *     <- e, ee, s, es
 *     -> s, se
 */

enum {
    NOISE_XX_KEY_BYTES = 32,
    NOISE_XX_MESSAGES = 3,
    NOISE_XX_MESSAGE_BYTES_MAX = 65535, /* Noise, section 3 */
};

/* Caller's memory.  Holds secrets: wipe it with noise_xx_fini. */
struct noise_xx {
    uint8_t ck[32];        /* chaining key */
    uint8_t h[32];         /* handshake hash */
    uint8_t k[32];         /* cipher key, once has_k */
    uint64_t n;            /* its nonce */
    uint8_t s[32];         /* our static pair */
    uint8_t s_public[32];
    struct x25519_pairs *pairs; /* that it comes from; NULL at first: from none */
    uint8_t e[32];         /* our ephemeral pair; before it is sent, its seed */
    uint8_t e_public[32];
    uint8_t rs[32];        /* the remote's static and ephemeral key */
    uint8_t re[32];
    bool has_k;
    bool initiator;
    uint8_t step;          /* messages written and read: 0 to 3 */
};

/* Keys are raw X25519 scalars; s_public belongs to s. */
void noise_xx_init(struct noise_xx *xx, bool initiator, const uint8_t *prologue, size_t prologue_length,
                   const uint8_t s[32], const uint8_t s_public[32], const uint8_t e[32]);
void noise_xx_fini(struct noise_xx *xx);

/* True when the next message is ours to write (read). */
bool noise_xx_writes(const struct noise_xx *xx);
bool noise_xx_reads(const struct noise_xx *xx);
static inline bool noise_xx_done(const struct noise_xx *xx)
{
    return xx->step == NOISE_XX_MESSAGES;
}

/* Bytes that the next message has beyond its payload. */
size_t noise_xx_overhead(const struct noise_xx *xx);

/* Writes the next message.  Returns 0, P2P_ERR_CALL_STATE (not our turn),
 * P2P_ERR_CALL_SHORT, P2P_ERR_CALL_INVALID (beyond 65,535 bytes),
 * P2P_ERR_CONN_AUTH (the remote's key is of low order).  On error the state is as before. */
int noise_xx_write(struct noise_xx *xx, uint8_t *out, size_t capacity, size_t *written,
                   const uint8_t *payload, size_t payload_length);

/* Reads the next message; the payload goes to `payload`, which has room for
 * length - noise_xx_overhead() bytes.  Returns 0, P2P_ERR_CALL_STATE,
 * P2P_ERR_CONN_PROTOCOL (too short or too long), P2P_ERR_CONN_AUTH (a tag does not
 * verify, or a key is of low order).  On error the state is as before. */
int noise_xx_read(struct noise_xx *xx, uint8_t *payload, size_t *payload_length,
                  const uint8_t *message, size_t length);

/* After the last message: the two transport keys, ours to send and to receive with. */
void noise_xx_split(const struct noise_xx *xx, uint8_t send_key[32], uint8_t recv_key[32]);

#endif
