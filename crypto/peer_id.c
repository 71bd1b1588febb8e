#include "crypto/peer_id.h"

#include "chorus/p2p.h"
#include "crypto/base.h"
#include "crypto/key_scheme.h"
#include "crypto/multihash.h"
#include "crypto/sha256.h"
#include "crypto/wire.h"

enum {
    CID_VERSION = 1,
    CODEC_LIBP2P_KEY = 0x72, /* multicodec table */
    CID_BYTES_MAX = 2 + PEER_ID_BYTES_MAX,
};

static_assert(PEER_ID_BYTES_MAX >= 2 + SHA256_BYTES, "either form must fit");
static_assert(CID_BYTES_MAX * 155 / 100 + 4 <= PEER_ID_TEXT_SIZE, "the longest text must fit");
static_assert(CID_BYTES_MAX * 8 / 5 + 3 <= PEER_ID_TEXT_SIZE, "base32 too");

void peer_id_from_public_key(struct peer_id *id, const struct public_key *key)
{
    struct wire_writer writer = wire_writer_of(id->bytes, sizeof(id->bytes));

    memset(id, 0, sizeof(*id));
    if (key->length <= PEER_ID_INLINE_KEY_BYTES_MAX)
        multihash_write(&writer, MULTIHASH_IDENTITY, key->bytes, key->length);
    else
        multihash_write_sha256(&writer, key->bytes, key->length);
    assert(!writer.failed);
    id->length = (uint8_t)writer.length;
}

int peer_id_from_bytes(struct peer_id *id, const uint8_t *data, size_t length)
{
    struct multihash hash;

    if (length > PEER_ID_BYTES_MAX || multihash_parse(&hash, data, length) != 0)
        return P2P_ERR_CALL_MALFORMED;
    if (hash.code == MULTIHASH_IDENTITY) {
        if (!key_public_form_ok(hash.digest.data, hash.digest.length))
            return P2P_ERR_CALL_MALFORMED;
    } else if (hash.code != MULTIHASH_SHA2_256) {
        return P2P_ERR_CALL_MALFORMED;
    }
    memset(id, 0, sizeof(*id));
    memcpy(id->bytes, data, length);
    id->length = (uint8_t)length;
    return 0;
}

static int from_cid(struct peer_id *id, const uint8_t *data, size_t length)
{
    struct wire_reader reader = wire_reader_of(data, length);

    if (wire_read_varint_strict(&reader) != CID_VERSION ||
        wire_read_varint_strict(&reader) != CODEC_LIBP2P_KEY)
        return P2P_ERR_CALL_MALFORMED;
    return peer_id_from_bytes(id, data + reader.offset, length - reader.offset);
}

int peer_id_from_text(struct peer_id *id, const char *text, size_t length)
{
    uint8_t data[CID_BYTES_MAX];
    size_t data_length;
    bool plain = length > 0 && (text[0] == '1' || (length > 1 && text[0] == 'Q' && text[1] == 'm'));
    int error;

    if (plain)
        error = base_decode(data, sizeof(data), &data_length, BASE_58, text, length);
    else
        error = base_decode_multibase(data, sizeof(data), &data_length, text, length);
    if (error != 0)
        return P2P_ERR_CALL_MALFORMED;
    return plain ? peer_id_from_bytes(id, data, data_length) : from_cid(id, data, data_length);
}

static size_t to_text(char *text, enum base_kind kind, const uint8_t *data, size_t length)
{
    size_t written = 0;
    int error = base_encode(text, PEER_ID_TEXT_SIZE - 1, &written, kind, data, length);

    assert(error == 0);
    return written;
}

size_t peer_id_to_text(const struct peer_id *id, char *text)
{
    return to_text(text, BASE_58, id->bytes, id->length);
}

static size_t to_cid(const struct peer_id *id, char *text, char prefix, enum base_kind kind)
{
    uint8_t cid[CID_BYTES_MAX] = {CID_VERSION, CODEC_LIBP2P_KEY};

    if (peer_id_is_none(id)) {
        text[0] = '\0';
        return 0;
    }
    memcpy(cid + 2, id->bytes, id->length);
    text[0] = prefix;
    return 1 + to_text(text + 1, kind, cid, 2 + (size_t)id->length);
}

size_t peer_id_to_cid(const struct peer_id *id, char *text)
{
    return to_cid(id, text, 'b', BASE_32);
}

size_t peer_id_to_cid36(const struct peer_id *id, char *text)
{
    return to_cid(id, text, 'k', BASE_36);
}

void peer_id_to_short(const struct peer_id *id, char *text)
{
    char whole[PEER_ID_TEXT_SIZE];
    size_t length = peer_id_to_text(id, whole);
    size_t skip = length < PEER_ID_SHORT_SIZE ? 0 : length - (PEER_ID_SHORT_SIZE - 1);

    memcpy(text, whole + skip, length - skip + 1);
}

int peer_id_public_key(const struct peer_id *id, struct public_key *key)
{
    struct multihash hash;

    if (multihash_parse(&hash, id->bytes, id->length) != 0 || hash.code != MULTIHASH_IDENTITY)
        return P2P_ERR_CALL_NOT_FOUND;
    return public_key_from_protobuf(key, hash.digest.data, hash.digest.length);
}

bool peer_id_matches_key(const struct peer_id *id, const struct public_key *key)
{
    struct peer_id other;

    peer_id_from_public_key(&other, key);
    return peer_id_equal(id, &other);
}
