#include <assert.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "chorus/p2p.h"
#include "crypto/der.h"
#include "crypto/key_scheme.h"

enum {
    EXPONENT_BYTES_MAX = 4, /* go's crypto/rsa: below 2^31.  A longer one only makes us slow */
};

/* RFC 8017, A.1: rsaEncryption with NULL parameters */
static const uint8_t algorithm[] = {
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "make_public turns numbers around");

struct rsa_public {
    struct wire_span modulus;
    struct wire_span exponent;
};

static unsigned bits_of(struct wire_span number)
{
    unsigned bits = (unsigned)number.length * 8;

    for (uint8_t top = number.data[0]; (top & 0x80) == 0; top = (uint8_t)(top << 1))
        bits--;
    return bits;
}

static int check_numbers(const struct rsa_public *numbers)
{
    struct wire_span n = numbers->modulus, e = numbers->exponent;

    if (n.length > KEY_RSA_BITS_MAX / 8 || bits_of(n) < KEY_RSA_BITS_MIN)
        return P2P_ERR_CALL_UNSUPPORTED;
    if (e.length > EXPONENT_BYTES_MAX || bits_of(e) > 31 || bits_of(e) < 2)
        return P2P_ERR_CALL_UNSUPPORTED;
    if ((n.data[n.length - 1] & 1) == 0 || (e.data[e.length - 1] & 1) == 0)
        return P2P_ERR_CALL_MALFORMED;
    return 0;
}

/* SubjectPublicKeyInfo, strict DER: what passes is canonical. */
static int parse_public(struct rsa_public *numbers, const uint8_t *data, size_t length)
{
    struct wire_reader reader = wire_reader_of(data, length), info, bits, key;
    struct wire_span inside;

    info = der_enter(&reader, DER_SEQUENCE);
    der_expect(&info, algorithm, sizeof(algorithm));
    inside = der_read_bits(&info);
    bits = wire_reader_of(inside.data, inside.length);
    key = der_enter(&bits, DER_SEQUENCE);
    numbers->modulus = der_read_positive(&key);
    numbers->exponent = der_read_positive(&key);
    if (!wire_done(&reader) || !wire_done(&info) || !wire_done(&bits) || !wire_done(&key))
        return P2P_ERR_CALL_MALFORMED;
    return check_numbers(numbers);
}

static int public_check(const uint8_t *data, size_t length)
{
    struct rsa_public numbers;

    return parse_public(&numbers, data, length);
}

/* The library's key of these numbers, or NULL. */
static EVP_PKEY *make_public(const struct rsa_public *numbers)
{
    uint8_t n[KEY_RSA_BITS_MAX / 8], e[EXPONENT_BYTES_MAX];
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM parameters[3];

    /* OSSL_PARAM wants the machine's byte order. */
    for (size_t i = 0; i < numbers->modulus.length; i++)
        n[i] = numbers->modulus.data[numbers->modulus.length - 1 - i];
    for (size_t i = 0; i < numbers->exponent.length; i++)
        e[i] = numbers->exponent.data[numbers->exponent.length - 1 - i];
    parameters[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, numbers->modulus.length);
    parameters[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, numbers->exponent.length);
    parameters[2] = OSSL_PARAM_construct_end();
    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(context);
    return pkey;
}

static int verify(const uint8_t *data, size_t data_length, const uint8_t *message, size_t length,
                  const uint8_t *signature, size_t signature_length)
{
    struct rsa_public numbers;
    EVP_PKEY *pkey;
    int error;

    if (parse_public(&numbers, data, data_length) != 0)
        return P2P_ERR_CALL_CRYPTO;
    pkey = make_public(&numbers);
    if (pkey == NULL)
        return P2P_ERR_CALL_CRYPTO;
    error = key_evp_verify(pkey, message, length, signature, signature_length);
    EVP_PKEY_free(pkey);
    return error;
}

/* Fills the public half from the private key. */
static int set_public(struct key *key)
{
    uint8_t data[KEY_PUBLIC_BYTES_MAX], *end = data;
    int length = i2d_PUBKEY(key->pkey, NULL);
    int error;

    if (length <= 0 || (size_t)length > sizeof(data) - 16)
        return P2P_ERR_CALL_UNSUPPORTED;
    length = i2d_PUBKEY(key->pkey, &end);
    error = public_check(data, (size_t)length);
    if (error == 0)
        key_public_set(&key->public_key, KEY_RSA, data, (size_t)length);
    return error;
}

static int generate(struct key *key, unsigned rsa_bits)
{
    key->pkey = EVP_RSA_gen(rsa_bits);
    if (key->pkey == NULL)
        return P2P_ERR_CALL_CRYPTO;
    return set_public(key) == 0 ? 0 : P2P_ERR_CALL_CRYPTO;
}

/* n = p q, and no other number longer than its modulus: nothing in a strange
 * file may make the library compute for long. */
static bool numbers_fit(EVP_PKEY *pkey)
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
        OSSL_PKEY_PARAM_RSA_FACTOR2, OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
    };
    enum { N, D, P, Q, DP, DQ, QI, NUMBERS };
    BIGNUM *numbers[NUMBERS] = {NULL}, *product = BN_new();
    BN_CTX *context = BN_CTX_new();
    bool fit = product != NULL && context != NULL;

    for (int i = 0; i < NUMBERS; i++)
        fit = fit && EVP_PKEY_get_bn_param(pkey, names[i], &numbers[i]) == 1;
    fit = fit && BN_num_bits(numbers[N]) <= KEY_RSA_BITS_MAX && BN_cmp(numbers[D], numbers[N]) < 0 &&
          BN_cmp(numbers[P], numbers[N]) < 0 && BN_cmp(numbers[Q], numbers[N]) < 0 &&
          BN_cmp(numbers[DP], numbers[P]) < 0 && BN_cmp(numbers[DQ], numbers[Q]) < 0 &&
          BN_cmp(numbers[QI], numbers[P]) < 0 &&
          BN_mul(product, numbers[P], numbers[Q], context) == 1 && BN_cmp(product, numbers[N]) == 0;
    for (int i = 0; i < NUMBERS; i++)
        BN_clear_free(numbers[i]);
    BN_clear_free(product);
    BN_CTX_free(context);
    return fit;
}

static int private_read(struct key *key, const uint8_t *data, size_t length)
{
    const uint8_t *end = data;

    key->pkey = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &end, (long)length);
    if (key->pkey == NULL || end != data + length || !EVP_PKEY_is_a(key->pkey, "RSA"))
        return P2P_ERR_CALL_MALFORMED;
    if (EVP_PKEY_get_bits(key->pkey) < KEY_RSA_BITS_MIN || EVP_PKEY_get_bits(key->pkey) > KEY_RSA_BITS_MAX)
        return P2P_ERR_CALL_UNSUPPORTED;
    if (!numbers_fit(key->pkey))
        return P2P_ERR_CALL_MALFORMED;
    return set_public(key);
}

static int private_write(const struct key *key, struct wire_writer *writer)
{
    int length = i2d_PrivateKey(key->pkey, NULL);
    uint8_t *room;

    if (length <= 0)
        return P2P_ERR_CALL_CRYPTO;
    if ((size_t)length > writer->capacity - writer->length) {
        writer->failed = true;
        return 0;
    }
    room = writer->data + writer->length;
    writer->length += (size_t)i2d_PrivateKey(key->pkey, &room);
    return 0;
}

static int sign(const struct key *key, uint8_t *signature, size_t *signature_length,
                const uint8_t *message, size_t length)
{
    return key_evp_sign(key->pkey, signature, signature_length, message, length);
}

const struct key_scheme key_scheme_rsa = {
    public_check, public_check, verify, generate, private_read, private_write, sign,
};
