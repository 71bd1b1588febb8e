#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/obj_mac.h>
#include <string.h>

#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/der.h"
#include "crypto/key_scheme.h"

/* secp256k1 and ECDSA P-256: the same mathematics, different clothes. */

enum {
    SCALAR_BYTES = 32,
    COMPRESSED_BYTES = 33,
    POINT_BYTES = 65, /* uncompressed */
};

static const struct curve {
    int nid;
    const char *name;
} curve_secp256k1 = {NID_secp256k1, "secp256k1"}, curve_p256 = {NID_X9_62_prime256v1, "prime256v1"};

/* RFC 5480: SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 65 bytes } */
static const uint8_t p256_public_head[] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
};

/* RFC 5915: SEQUENCE { 1, OCTET STRING, [0] prime256v1, [1] BIT STRING of 65 bytes } */
static const uint8_t p256_private_head[] = {0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20};
static const uint8_t p256_private_middle[] = {
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00,
};
static const uint8_t p256_oid[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

/* The library's key: public when `scalar` is NULL.  NULL when the point is not
 * on the curve. */
static EVP_PKEY *make_key(const struct curve *curve, const uint8_t *point, size_t point_length,
                          const uint8_t *scalar)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    int selection = scalar == NULL ? EVP_PKEY_PUBLIC_KEY : EVP_PKEY_KEYPAIR;
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM parameters[4];
    uint8_t number[SCALAR_BYTES];
    int used = 0;

    parameters[used++] =
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curve->name, 0);
    parameters[used++] =
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point, point_length);
    for (int i = 0; scalar != NULL && i < SCALAR_BYTES; i++)
        number[i] = scalar[SCALAR_BYTES - 1 - i]; /* little-endian, as our machines are */
    if (scalar != NULL)
        parameters[used++] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, number, SCALAR_BYTES);
    parameters[used] = OSSL_PARAM_construct_end();
    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, selection, parameters) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(context);
    crypto_wipe(number, sizeof(number));
    return pkey;
}

static int check_point(const struct curve *curve, const uint8_t *point, size_t length)
{
    EVP_PKEY *pkey = make_key(curve, point, length, NULL);

    EVP_PKEY_free(pkey);
    return pkey == NULL ? P2P_ERR_CALL_MALFORMED : 0;
}

static int verify_point(const struct curve *curve, const uint8_t *point, size_t point_length,
                        const uint8_t *message, size_t length,
                        const uint8_t *signature, size_t signature_length)
{
    EVP_PKEY *pkey = make_key(curve, point, point_length, NULL);
    int error = P2P_ERR_CALL_CRYPTO;

    if (pkey != NULL)
        error = key_evp_verify(pkey, message, length, signature, signature_length);
    EVP_PKEY_free(pkey);
    return error;
}

/* The point of a scalar in 1 .. order - 1, in the form asked for. */
static int multiply(const struct curve *curve, uint8_t *point, size_t point_length, const uint8_t *scalar)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(curve->nid);
    BIGNUM *number = BN_secure_new();
    EC_POINT *product = group == NULL ? NULL : EC_POINT_new(group);
    point_conversion_form_t form =
        point_length == POINT_BYTES ? POINT_CONVERSION_UNCOMPRESSED : POINT_CONVERSION_COMPRESSED;
    int error = P2P_ERR_CALL_MALFORMED;

    if (product != NULL && number != NULL && BN_bin2bn(scalar, SCALAR_BYTES, number) != NULL &&
        !BN_is_zero(number) && BN_cmp(number, EC_GROUP_get0_order(group)) < 0 &&
        EC_POINT_mul(group, product, number, NULL, NULL, NULL) == 1 &&
        EC_POINT_point2oct(group, product, form, point, point_length, NULL) == point_length)
        error = 0;
    EC_POINT_free(product);
    BN_clear_free(number);
    EC_GROUP_free(group);
    return error;
}

/* Fills both halves from the scalar. */
static int set_scalar(struct key *key, const uint8_t *scalar, enum key_type type)
{
    uint8_t data[sizeof(p256_public_head) + POINT_BYTES];
    const struct curve *curve = type == KEY_ECDSA ? &curve_p256 : &curve_secp256k1;
    size_t head = type == KEY_ECDSA ? sizeof(p256_public_head) : 0;
    size_t point_length = type == KEY_ECDSA ? POINT_BYTES : COMPRESSED_BYTES;
    int error;

    memcpy(data, p256_public_head, sizeof(p256_public_head));
    error = multiply(curve, data + head, point_length, scalar);
    if (error != 0)
        return error;
    key->pkey = make_key(curve, data + head, point_length, scalar);
    if (key->pkey == NULL)
        return P2P_ERR_CALL_CRYPTO;
    key_public_set(&key->public_key, type, data, head + point_length);
    return 0;
}

static int get_scalar(const struct key *key, uint8_t scalar[SCALAR_BYTES])
{
    BIGNUM *number = NULL;
    int error = P2P_ERR_CALL_CRYPTO;

    if (EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_PRIV_KEY, &number) == 1 &&
        BN_bn2binpad(number, scalar, SCALAR_BYTES) == SCALAR_BYTES)
        error = 0;
    BN_clear_free(number);
    return error;
}

static int generate_on(struct key *key, const struct curve *curve, enum key_type type)
{
    uint8_t scalar[SCALAR_BYTES];
    struct key drawn = {.pkey = EVP_EC_gen(curve->name)};
    int error = P2P_ERR_CALL_CRYPTO;

    if (drawn.pkey != NULL)
        error = get_scalar(&drawn, scalar);
    if (error == 0)
        error = set_scalar(key, scalar, type);
    EVP_PKEY_free(drawn.pkey);
    crypto_wipe(scalar, sizeof(scalar));
    return error;
}

/* ---- ECDSA P-256 ---- */

static int ecdsa_check_form(const uint8_t *data, size_t length)
{
    if (length < sizeof(p256_public_head) || data[0] != p256_public_head[0])
        return P2P_ERR_CALL_MALFORMED;
    if (length != sizeof(p256_public_head) + POINT_BYTES ||
        memcmp(data, p256_public_head, sizeof(p256_public_head)) != 0 || data[sizeof(p256_public_head)] != 4)
        return P2P_ERR_CALL_UNSUPPORTED; /* another curve, or a compressed point, which nobody writes */
    return 0;
}

static int ecdsa_check(const uint8_t *data, size_t length)
{
    int error = ecdsa_check_form(data, length);

    return error != 0 ? error : check_point(&curve_p256, data + sizeof(p256_public_head), POINT_BYTES);
}

static int ecdsa_verify(const uint8_t *data, size_t data_length, const uint8_t *message, size_t length,
                        const uint8_t *signature, size_t signature_length)
{
    (void)data_length;
    return verify_point(&curve_p256, data + sizeof(p256_public_head), POINT_BYTES,
                        message, length, signature, signature_length);
}

static int ecdsa_generate(struct key *key, unsigned rsa_bits)
{
    (void)rsa_bits;
    return generate_on(key, &curve_p256, KEY_ECDSA);
}

/* The optional parts of an ECPrivateKey: the curve must be named, the point may be. */
static int parse_sec1(uint8_t scalar[SCALAR_BYTES], struct wire_span *point,
                      const uint8_t *data, size_t length)
{
    static const uint8_t version[] = {0x02, 0x01, 0x01};
    struct wire_reader reader = wire_reader_of(data, length), key, curve, bits;
    struct wire_span number;

    key = der_enter(&reader, DER_SEQUENCE);
    der_expect(&key, version, sizeof(version));
    number = der_read(&key, DER_OCTET_STRING);
    curve = der_enter(&key, DER_CONTEXT_0);
    if (der_is(&key, DER_CONTEXT_1)) {
        bits = der_enter(&key, DER_CONTEXT_1);
        *point = der_read_bits(&bits);
        key.failed = key.failed || !wire_done(&bits);
    }
    if (!wire_done(&reader) || !wire_done(&key) || number.length == 0 || number.length > SCALAR_BYTES)
        return P2P_ERR_CALL_MALFORMED;
    der_expect(&curve, p256_oid, sizeof(p256_oid));
    if (!wire_done(&curve))
        return P2P_ERR_CALL_UNSUPPORTED;
    memset(scalar, 0, SCALAR_BYTES);
    memcpy(scalar + SCALAR_BYTES - number.length, number.data, number.length);
    return 0;
}

static int ecdsa_private_read(struct key *key, const uint8_t *data, size_t length)
{
    struct wire_span point = {NULL, 0};
    uint8_t scalar[SCALAR_BYTES];
    const uint8_t *ours;
    int error = parse_sec1(scalar, &point, data, length);

    if (error == 0)
        error = set_scalar(key, scalar, KEY_ECDSA);
    crypto_wipe(scalar, sizeof(scalar));
    if (error != 0 || point.length == 0)
        return error;
    ours = key->public_key.bytes + key->public_key.length - POINT_BYTES;
    if (point.length != POINT_BYTES || memcmp(point.data, ours, POINT_BYTES) != 0)
        return P2P_ERR_CALL_MALFORMED;
    return 0;
}

static int ecdsa_private_write(const struct key *key, struct wire_writer *writer)
{
    const struct public_key *public_key = &key->public_key;
    uint8_t scalar[SCALAR_BYTES];
    int error = get_scalar(key, scalar);

    if (error == 0) {
        wire_write_bytes(writer, p256_private_head, sizeof(p256_private_head));
        wire_write_bytes(writer, scalar, sizeof(scalar));
        wire_write_bytes(writer, p256_private_middle, sizeof(p256_private_middle));
        wire_write_bytes(writer, public_key->bytes + public_key->length - POINT_BYTES, POINT_BYTES);
    }
    crypto_wipe(scalar, sizeof(scalar));
    return error;
}

static int ecdsa_sign(const struct key *key, uint8_t *signature, size_t *signature_length,
                      const uint8_t *message, size_t length)
{
    return key_evp_sign(key->pkey, signature, signature_length, message, length);
}

/* ---- secp256k1 ---- */

static int secp256k1_check_form(const uint8_t *data, size_t length)
{
    if (length != COMPRESSED_BYTES || (data[0] != 2 && data[0] != 3))
        return P2P_ERR_CALL_MALFORMED;
    return 0;
}

static int secp256k1_check(const uint8_t *data, size_t length)
{
    int error = secp256k1_check_form(data, length);

    return error != 0 ? error : check_point(&curve_secp256k1, data, length);
}

static int secp256k1_verify(const uint8_t *data, size_t data_length, const uint8_t *message, size_t length,
                            const uint8_t *signature, size_t signature_length)
{
    return verify_point(&curve_secp256k1, data, data_length, message, length, signature, signature_length);
}

static int secp256k1_generate(struct key *key, unsigned rsa_bits)
{
    (void)rsa_bits;
    return generate_on(key, &curve_secp256k1, KEY_SECP256K1);
}

static int secp256k1_private_read(struct key *key, const uint8_t *data, size_t length)
{
    return length == SCALAR_BYTES ? set_scalar(key, data, KEY_SECP256K1) : P2P_ERR_CALL_MALFORMED;
}

static int secp256k1_private_write(const struct key *key, struct wire_writer *writer)
{
    uint8_t scalar[SCALAR_BYTES];
    int error = get_scalar(key, scalar);

    if (error == 0)
        wire_write_bytes(writer, scalar, sizeof(scalar));
    crypto_wipe(scalar, sizeof(scalar));
    return error;
}

/* BIP 62: s and order - s sign alike, and verifiers (rust-libp2p's, js-libp2p's)
 * take the lower one only. */
static int lower_s(uint8_t *signature, size_t *signature_length)
{
    const uint8_t *read = signature;
    uint8_t *write = signature;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_secp256k1);
    ECDSA_SIG *parsed = d2i_ECDSA_SIG(NULL, &read, (long)*signature_length);
    BIGNUM *r = NULL, *s = NULL, *half = BN_new();
    int error = P2P_ERR_CALL_CRYPTO;

    if (group == NULL || parsed == NULL || half == NULL ||
        BN_rshift1(half, EC_GROUP_get0_order(group)) != 1)
        goto out;
    r = BN_dup(ECDSA_SIG_get0_r(parsed));
    s = BN_dup(ECDSA_SIG_get0_s(parsed));
    if (r == NULL || s == NULL)
        goto out;
    if (BN_cmp(s, half) > 0 && BN_sub(s, EC_GROUP_get0_order(group), s) != 1)
        goto out;
    if (ECDSA_SIG_set0(parsed, r, s) != 1)
        goto out;
    r = s = NULL; /* they belong to it now */
    *signature_length = (size_t)i2d_ECDSA_SIG(parsed, &write);
    error = 0;
out:
    BN_free(r);
    BN_free(s);
    BN_free(half);
    ECDSA_SIG_free(parsed);
    EC_GROUP_free(group);
    return error;
}

static int secp256k1_sign(const struct key *key, uint8_t *signature, size_t *signature_length,
                          const uint8_t *message, size_t length)
{
    int error = key_evp_sign(key->pkey, signature, signature_length, message, length);

    return error != 0 ? error : lower_s(signature, signature_length);
}

const struct key_scheme key_scheme_ecdsa = {
    ecdsa_check, ecdsa_check_form, ecdsa_verify, ecdsa_generate,
    ecdsa_private_read, ecdsa_private_write, ecdsa_sign,
};

const struct key_scheme key_scheme_secp256k1 = {
    secp256k1_check, secp256k1_check_form, secp256k1_verify, secp256k1_generate,
    secp256k1_private_read, secp256k1_private_write, secp256k1_sign,
};
