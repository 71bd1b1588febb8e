#ifndef CRYPTO_ENVELOPE_H
#define CRYPTO_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/key.h"
#include "crypto/wire.h"

/* Signed envelopes (libp2p specs, RFC 0002).  What the payload means (peer
 * records, relay vouchers) belongs to whoever gives the domain. */

enum {
    ENVELOPE_PAYLOAD_BYTES_MAX = 8192,      /* an identify message, the largest carrier, is at most that */
    ENVELOPE_PAYLOAD_TYPE_BYTES_MAX = 32,   /* multicodec-prefixed; those in use have 2 */
    ENVELOPE_DOMAIN_BYTES_MAX = 64,         /* "libp2p-peer-record", "libp2p-relay-rsvp" */
    ENVELOPE_BYTES_MAX = ENVELOPE_PAYLOAD_BYTES_MAX + ENVELOPE_PAYLOAD_TYPE_BYTES_MAX +
                         KEY_PUBLIC_BYTES_MAX + KEY_SIGNATURE_BYTES_MAX + 32,
};

/* An envelope whose signature is right. */
struct envelope {
    struct public_key signer;
    struct wire_span payload; /* of the bytes opened */
};

/* Signs `payload` and writes the envelope.
 * Returns 0, P2P_ERR_CALL_INVALID (a part over its bound), P2P_ERR_CALL_SHORT, P2P_ERR_CALL_CRYPTO. */
int envelope_seal(uint8_t *out, size_t capacity, size_t *length, const struct key *key, const char *domain,
                  const uint8_t *payload_type, size_t payload_type_length,
                  const uint8_t *payload, size_t payload_length);

/* Parses and verifies.  The caller still compares the signer with the peer
 * that the payload speaks of.
 * Returns 0; P2P_ERR_CALL_MALFORMED; P2P_ERR_CALL_UNSUPPORTED (key type, or
 * another payload type than the one asked for); P2P_ERR_CALL_CRYPTO (signature). */
int envelope_open(struct envelope *envelope, const uint8_t *data, size_t length, const char *domain,
                  const uint8_t *payload_type, size_t payload_type_length);

#endif
