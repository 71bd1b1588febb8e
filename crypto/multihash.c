#include "crypto/multihash.h"

#include "chorus/p2p.h"
#include "crypto/sha256.h"

int multihash_parse(struct multihash *hash, const uint8_t *data, size_t length)
{
    struct wire_reader reader = wire_reader_of(data, length);
    uint64_t code = wire_read_varint_strict(&reader);
    struct wire_span digest = wire_read_prefixed(&reader);

    if (!wire_done(&reader) || digest.length > MULTIHASH_DIGEST_BYTES_MAX)
        return P2P_ERR_CALL_MALFORMED;
    if (code == MULTIHASH_SHA2_256 && digest.length != SHA256_BYTES)
        return P2P_ERR_CALL_MALFORMED;
    hash->code = code;
    hash->digest = digest;
    return 0;
}

void multihash_write(struct wire_writer *writer, uint64_t code, const uint8_t *digest, size_t length)
{
    wire_write_varint(writer, code);
    wire_write_prefixed(writer, digest, length);
}

void multihash_write_sha256(struct wire_writer *writer, const uint8_t *data, size_t length)
{
    uint8_t digest[SHA256_BYTES];

    sha256_digest(digest, data, length);
    multihash_write(writer, MULTIHASH_SHA2_256, digest, sizeof(digest));
}
