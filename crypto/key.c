#include "crypto/key.h"

#include <assert.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/key_scheme.h"
#include "crypto/wire.h"

/* peer-ids.md, "Keys": message PublicKey, message PrivateKey */
enum {
    FIELD_TYPE = 1,
    FIELD_DATA = 2,
};

static const struct key_scheme *const schemes[] = {
    [KEY_RSA] = &key_scheme_rsa,
    [KEY_ED25519] = &key_scheme_ed25519,
    [KEY_SECP256K1] = &key_scheme_secp256k1,
    [KEY_ECDSA] = &key_scheme_ecdsa,
};

/* What a stranger's bytes left in the thread's error queue must not be read
 * as TLS's error later. */
static int forget_errors(int error)
{
    if (error != 0)
        ERR_clear_error();
    return error;
}

static const struct key_scheme *scheme_of(uint64_t type)
{
    return type < sizeof(schemes) / sizeof(schemes[0]) ? schemes[type] : NULL;
}

/* Both fields must be there; of repeated ones the last counts, and others are skipped. */
static int parse(enum key_type *type, struct wire_span *data, const uint8_t *protobuf, size_t length)
{
    struct wire_reader reader = wire_reader_of(protobuf, length);
    struct wire_field field;
    bool has_type = false, has_data = false;
    uint64_t number = 0;

    while (wire_field_next(&reader, &field)) {
        if (field.number == FIELD_TYPE && field.type == WIRE_TYPE_VARINT) {
            number = field.value;
            has_type = true;
        } else if (field.number == FIELD_DATA && field.type == WIRE_TYPE_BYTES) {
            *data = field.bytes;
            has_data = true;
        } else if (field.number == FIELD_TYPE || field.number == FIELD_DATA) {
            return P2P_ERR_CALL_MALFORMED;
        }
    }
    if (reader.failed || !has_type || !has_data)
        return P2P_ERR_CALL_MALFORMED;
    if (scheme_of(number) == NULL)
        return P2P_ERR_CALL_UNSUPPORTED;
    *type = (enum key_type)number;
    return 0;
}

void key_public_set(struct public_key *key, enum key_type type, const uint8_t *data, size_t length)
{
    struct wire_writer writer = wire_writer_of(key->bytes, sizeof(key->bytes));

    wire_field_varint(&writer, FIELD_TYPE, type);
    wire_field_bytes(&writer, FIELD_DATA, data, length);
    assert(!writer.failed);
    key->type = type;
    key->length = (uint16_t)writer.length;
    key->data_offset = (uint16_t)(writer.length - length);
}

static const uint8_t *public_data(const struct public_key *key)
{
    return key->bytes + key->data_offset;
}

static size_t public_data_length(const struct public_key *key)
{
    return (size_t)(key->length - key->data_offset);
}

int public_key_from_protobuf(struct public_key *key, const uint8_t *data, size_t length)
{
    struct wire_span inside;
    enum key_type type;
    int error = parse(&type, &inside, data, length);

    if (error == 0)
        error = scheme_of(type)->public_check(inside.data, inside.length);
    if (error == 0)
        key_public_set(key, type, inside.data, inside.length);
    return forget_errors(error);
}

bool key_public_form_ok(const uint8_t *protobuf, size_t length)
{
    struct public_key key;
    struct wire_span inside;
    enum key_type type;

    if (parse(&type, &inside, protobuf, length) != 0)
        return false;
    if (scheme_of(type)->public_check_form(inside.data, inside.length) != 0)
        return false;
    key_public_set(&key, type, inside.data, inside.length);
    return key.length == length && memcmp(key.bytes, protobuf, length) == 0;
}

int public_key_verify(const struct public_key *key, const uint8_t *message, size_t length,
                      const uint8_t *signature, size_t signature_length)
{
    const struct key_scheme *scheme = scheme_of(key->type);

    assert(scheme != NULL && key->length > 0);
    if (signature_length > KEY_SIGNATURE_BYTES_MAX)
        return P2P_ERR_CALL_CRYPTO;
    return forget_errors(scheme->verify(public_data(key), public_data_length(key), message, length,
                                        signature, signature_length));
}

bool public_key_equal(const struct public_key *a, const struct public_key *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static int finish(struct key **key, struct key *made, int error)
{
    if (error != 0) {
        key_free(made);
        return forget_errors(error);
    }
    *key = made;
    return 0;
}

int key_new_random(struct key **key, enum key_type type, unsigned rsa_bits)
{
    const struct key_scheme *scheme = scheme_of(type);
    struct key *made;

    if (rsa_bits == 0)
        rsa_bits = KEY_RSA_BITS_MIN;
    if (scheme == NULL || rsa_bits < KEY_RSA_BITS_MIN || rsa_bits > KEY_RSA_BITS_MAX || rsa_bits % 8 != 0)
        return P2P_ERR_CALL_INVALID;
    made = calloc(1, sizeof(*made));
    if (made == NULL)
        return P2P_ERR_CALL_NOMEM;
    return finish(key, made, scheme->generate(made, rsa_bits));
}

int key_new_seed(struct key **key, const uint8_t seed[KEY_SEED_BYTES])
{
    struct key *made = calloc(1, sizeof(*made));

    if (made == NULL)
        return P2P_ERR_CALL_NOMEM;
    key_ed25519_from_seed(made, seed);
    *key = made;
    return 0;
}

/* A private key whose signature its own public half does not verify would only be noticed by others. */
static int check_pair(const struct key *key)
{
    static const uint8_t message[] = "a key must verify what it signs";
    uint8_t signature[KEY_SIGNATURE_BYTES_MAX];
    size_t length;

    if (key_sign(key, signature, &length, message, sizeof(message)) != 0)
        return P2P_ERR_CALL_MALFORMED;
    if (public_key_verify(&key->public_key, message, sizeof(message), signature, length) != 0)
        return P2P_ERR_CALL_MALFORMED;
    return 0;
}

int key_from_protobuf(struct key **key, const uint8_t *data, size_t length)
{
    struct wire_span inside;
    enum key_type type;
    struct key *made;
    int error;

    if (length > KEY_PRIVATE_BYTES_MAX)
        return P2P_ERR_CALL_MALFORMED;
    error = parse(&type, &inside, data, length);
    if (error != 0)
        return error;
    made = calloc(1, sizeof(*made));
    if (made == NULL)
        return P2P_ERR_CALL_NOMEM;
    error = scheme_of(type)->private_read(made, inside.data, inside.length);
    if (error == 0)
        error = check_pair(made);
    return finish(key, made, error);
}

int key_to_protobuf(const struct key *key, uint8_t *out, size_t capacity, size_t *length)
{
    uint8_t data[KEY_PRIVATE_BYTES_MAX];
    struct wire_writer inside = wire_writer_of(data, sizeof(data));
    struct wire_writer writer = wire_writer_of(out, capacity);
    int error = scheme_of(key->public_key.type)->private_write(key, &inside);

    if (error == 0) {
        wire_field_varint(&writer, FIELD_TYPE, key->public_key.type);
        wire_field_bytes(&writer, FIELD_DATA, data, inside.length);
        error = inside.failed || writer.failed ? P2P_ERR_CALL_SHORT : 0;
    }
    if (error == 0)
        *length = writer.length;
    crypto_wipe(data, sizeof(data));
    return error;
}

const struct public_key *key_public(const struct key *key)
{
    return &key->public_key;
}

int key_sign(const struct key *key, uint8_t *signature, size_t *signature_length,
             const uint8_t *message, size_t length)
{
    const struct key_scheme *scheme = scheme_of(key->public_key.type);

    return forget_errors(scheme->sign(key, signature, signature_length, message, length));
}

void key_free(struct key *key)
{
    if (key == NULL)
        return;
    EVP_PKEY_free(key->pkey);
    crypto_wipe(key, sizeof(*key));
    free(key);
}

int key_evp_sign(EVP_PKEY *pkey, uint8_t *signature, size_t *signature_length,
                 const uint8_t *message, size_t length)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t made = KEY_SIGNATURE_BYTES_MAX;
    int error = P2P_ERR_CALL_CRYPTO;

    if (context == NULL)
        return P2P_ERR_CALL_NOMEM;
    if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pkey) == 1 &&
        EVP_DigestSign(context, signature, &made, message, length) == 1) {
        *signature_length = made;
        error = 0;
    }
    EVP_MD_CTX_free(context);
    return error;
}

int key_evp_verify(EVP_PKEY *pkey, const uint8_t *message, size_t length,
                   const uint8_t *signature, size_t signature_length)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int error = P2P_ERR_CALL_CRYPTO;

    if (context != NULL && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, pkey) == 1 &&
        EVP_DigestVerify(context, signature, signature_length, message, length) == 1)
        error = 0;
    EVP_MD_CTX_free(context);
    return error;
}
