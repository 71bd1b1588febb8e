#include "actors/text.h"
#include "crypto/crypto.h"
#include "crypto/key.h"
#include "crypto/key_file.h"
#include "crypto/peer_id.h"
#include "net/multiaddr.h"

#include <string.h>

/* The part of the public header that needs no node: keys, ids, addresses. */

static_assert((int)P2P_KEY_RSA == (int)KEY_RSA && (int)P2P_KEY_ED25519 == (int)KEY_ED25519, "the same numbers");
static_assert((int)P2P_KEY_SECP256K1 == (int)KEY_SECP256K1 && (int)P2P_KEY_ECDSA == (int)KEY_ECDSA, "the same");
static_assert((int)P2P_ID_TEXT_BYTES >= (int)PEER_ID_TEXT_SIZE, "every id fits");

/* Writes the key's protobuf where there is room for it. */
static int put_key(uint8_t *out, size_t *length, const struct key *key)
{
    uint8_t bytes[KEY_PRIVATE_BYTES_MAX];
    size_t size = 0;
    int error = key_to_protobuf(key, bytes, sizeof(bytes), &size);

    if (!error && (!out || size > *length))
        error = P2P_ERR_CALL_SHORT;
    if (!error)
        memcpy(out, bytes, size);
    *length = size;
    crypto_wipe(bytes, sizeof(bytes));
    return error;
}

static int parse_key(struct key **key, const uint8_t *bytes, size_t length)
{
    int error = crypto_init();

    if (error)
        return error;
    if (!bytes || length == 0)
        return P2P_ERR_CALL_INVALID;
    return key_from_protobuf(key, bytes, length);
}

int p2p_key_generate(uint8_t *out, size_t *length, enum p2p_key_type type, unsigned bits)
{
    struct key *key;
    int error = crypto_init();

    if (error)
        return error;
    if (!length || (!out && *length > 0) || (unsigned)type > P2P_KEY_ECDSA)
        return P2P_ERR_CALL_INVALID;
    error = key_new_random(&key, (enum key_type)type, bits);
    if (error)
        return error;
    error = put_key(out, length, key);
    key_free(key);
    return error;
}

int p2p_key_id(char out[P2P_ID_TEXT_BYTES], const uint8_t *bytes, size_t length)
{
    struct key *key;
    struct peer_id id;
    int error = parse_key(&key, bytes, length);

    if (error)
        return error;
    peer_id_from_public_key(&id, key_public(key));
    peer_id_to_text(&id, out);
    key_free(key);
    return 0;
}

/* The size of an RSA modulus by its length in DER: SEQUENCE { SEQUENCE {...},
 * BIT STRING { SEQUENCE { INTEGER modulus, INTEGER exponent } } }. */
static unsigned rsa_bits(const struct public_key *key)
{
    struct wire_reader reader = wire_reader_of(key->bytes + key->data_offset, key->length - key->data_offset);
    static const uint8_t tags[] = {0x30, 0x30, 0x03, 0x30, 0x02};

    for (size_t i = 0; i < sizeof(tags); i++) {
        if (wire_read_u8(&reader) != tags[i])
            return 0;
        size_t length = wire_read_u8(&reader);
        if (length & 0x80) {
            unsigned octets = length & 0x7f;
            for (length = 0; octets > 0 && !reader.failed; octets--)
                length = length << 8 | wire_read_u8(&reader);
        }
        if (tags[i] == 0x02) {
            uint8_t first = wire_read_u8(&reader);
            return first == 0 ? (unsigned)(length - 1) * 8 : (unsigned)length * 8;
        }
        if (i == 1)
            wire_read_span(&reader, length); /* the algorithm */
        if (tags[i] == 0x03)
            wire_read_u8(&reader); /* no unused bits */
    }
    return 0;
}

int p2p_key_info(enum p2p_key_type *type, unsigned *bits, const uint8_t *bytes, size_t length)
{
    struct key *key;
    int error = parse_key(&key, bytes, length);

    if (error)
        return error;
    const struct public_key *public_key = key_public(key);
    if (type)
        *type = (enum p2p_key_type)public_key->type;
    if (bits)
        *bits = public_key->type == KEY_RSA ? rsa_bits(public_key) : 256;
    key_free(key);
    return 0;
}

int p2p_key_read_file(uint8_t *out, size_t *length, const char *path, struct p2p_error_text *text)
{
    char why[KEY_FILE_WHY_BYTES];
    struct key *key;
    int error = crypto_init();

    if (error)
        return error;
    if (!length || (!out && *length > 0) || !path)
        return P2P_ERR_CALL_INVALID;
    error = key_file_read(&key, why, path);
    if (error) {
        text_set(text, "%s", why);
        return error;
    }
    error = put_key(out, length, key);
    if (error)
        text_set(text, "%s: %s", path, p2p_error_string(error));
    key_free(key);
    return error;
}

int p2p_key_write_file(const char *path, const uint8_t *bytes, size_t length, struct p2p_error_text *text)
{
    char why[KEY_FILE_WHY_BYTES];
    struct key *key;

    if (!path)
        return P2P_ERR_CALL_INVALID;
    int error = parse_key(&key, bytes, length);
    if (error) {
        text_set(text, "the key for %s is not a libp2p private key: %s", path, p2p_error_string(error));
        return error;
    }
    error = key_file_write(key, why, path);
    if (error)
        text_set(text, "%s", why);
    key_free(key);
    return error;
}

int p2p_id_convert(char out[P2P_ID_TEXT_BYTES], const char *text, bool cid)
{
    struct peer_id id;
    int error = crypto_init();

    if (error)
        return error;
    if (!text)
        return P2P_ERR_CALL_INVALID;
    error = peer_id_from_text(&id, text, strlen(text));
    if (error)
        return error;
    if (cid)
        peer_id_to_cid(&id, out);
    else
        peer_id_to_text(&id, out);
    return 0;
}

int p2p_address_parse(char out[P2P_ADDRESS_TEXT_BYTES], const char *address, struct p2p_error_text *text)
{
    struct multiaddr parsed;
    char why[MULTIADDR_ERROR_SIZE] = "";
    int error = crypto_init();

    if (error)
        return error;
    if (!address)
        return P2P_ERR_CALL_INVALID;
    error = multiaddr_from_text(&parsed, address, why, sizeof(why));
    if (error) {
        text_set(text, "%s", why);
        return error;
    }
    if (multiaddr_to_text(&parsed, out, P2P_ADDRESS_TEXT_BYTES) < 0) {
        text_set(text, "the address is longer than %d characters", P2P_ADDRESS_TEXT_BYTES - 1);
        return P2P_ERR_CALL_SHORT;
    }
    return 0;
}
