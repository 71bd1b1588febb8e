#ifndef CRYPTO_MULTIHASH_H
#define CRYPTO_MULTIHASH_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/wire.h"

/* Multihash: varint code, varint digest length, digest (multiformats/multihash). */

enum {
    MULTIHASH_IDENTITY = 0x00, /* multicodec table */
    MULTIHASH_SHA2_256 = 0x12,
    MULTIHASH_DIGEST_BYTES_MAX = 128, /* go-multihash's bound for identity; the longest hash has 64 */
    MULTIHASH_BYTES_MAX = 9 + 2 + MULTIHASH_DIGEST_BYTES_MAX,
};

struct multihash {
    uint64_t code;
    struct wire_span digest; /* of the bytes parsed */
};

/* Reads bytes that must be one multihash and nothing more, of whatever code; a
 * sha2-256 must have 32 bytes.  0, or P2P_ERR_CALL_MALFORMED with `hash` as it was. */
int multihash_parse(struct multihash *hash, const uint8_t *data, size_t length);

/* Writes code, length and digest; the writer's failure is the only error. */
void multihash_write(struct wire_writer *writer, uint64_t code, const uint8_t *digest, size_t length);

/* Writes the sha2-256 multihash (34 bytes) of `data`. */
void multihash_write_sha256(struct wire_writer *writer, const uint8_t *data, size_t length);

#endif
