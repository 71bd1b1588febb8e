#include "crypto/aead.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"

/* The tags go in and out as parameters, which are built once: EVP_CIPHER_CTX_ctrl()
 * builds them anew each time, and takes a sixth of a 1 KiB record for it. */
struct aead_context {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
    OSSL_PARAM tag[2]; /* where it lies is said for each record */
    bool wide;         /* the CPU has vector registers of more than 128 bits */
    size_t evp_bytes_min;
};

/* OpenSSL 3.0 leaves their upper parts in use, and whoever comes next pays for
 * that with each older vector instruction: 140 ns in its own code alone. */
#if defined(__x86_64__)
static bool has_wide(void)
{
    return __builtin_cpu_supports("avx");
}

__attribute__((target("avx"))) static void narrow(void)
{
    __builtin_ia32_vzeroupper();
}
#else
static bool has_wide(void)
{
    return false;
}

static void narrow(void)
{
}
#endif

struct aead_context *aead_context_new(void)
{
    struct aead_context *context = calloc(1, sizeof(*context));
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);

    if (context == NULL || cipher == NULL)
        goto fail;
    context->wide = has_wide();
    context->evp_bytes_min = AEAD_EVP_BYTES_MIN;
    context->tag[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, AEAD_TAG_BYTES);
    context->tag[1] = OSSL_PARAM_construct_end();
    context->seal = EVP_CIPHER_CTX_new();
    context->open = EVP_CIPHER_CTX_new();
    if (context->seal == NULL || EVP_EncryptInit_ex2(context->seal, cipher, NULL, NULL, NULL) != 1)
        goto fail;
    if (context->open == NULL || EVP_DecryptInit_ex2(context->open, cipher, NULL, NULL, NULL) != 1)
        goto fail;
    EVP_CIPHER_free(cipher); /* the two hold it now */
    return context;

fail:
    EVP_CIPHER_free(cipher);
    aead_context_free(context);
    return NULL;
}

void aead_context_free(struct aead_context *context)
{
    if (context == NULL)
        return;
    EVP_CIPHER_CTX_free(context->seal); /* wipes */
    EVP_CIPHER_CTX_free(context->open);
    free(context);
}

void aead_context_choose(struct aead_context *context, size_t evp_bytes_min)
{
    context->evp_bytes_min = evp_bytes_min;
}

/* ns to seal on the machine this was chosen on, libsodium and OpenSSL: 44 B 356
 * and 489, 128 B 477 and 517, 192 B 610 and 516, 256 B 526 and 540, 320 B 634
 * and 634, 396 B 896 and 749, 524 B 709 and 763, 1,036 B 1,077 and 850, 16 KiB
 * 12,135 and 5,113; opening is the same. */
static_assert(AEAD_EVP_BYTES_MIN == 192, "measure again");

void aead_make_iv(uint8_t iv[AEAD_IV_BYTES], uint64_t nonce)
{
    memset(iv, 0, 4);
    for (int i = 0; i < 8; i++)
        iv[4 + i] = (uint8_t)(nonce >> (8 * i));
}

/* The same, as one store.  The libraries read it by two words that overlap, and
 * bytes of two stores reach a word only when both have left the CPU: 60 ns. */
static void make_iv(uint8_t iv[AEAD_IV_BYTES + 4], uint64_t nonce)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair value = {nonce << 32, nonce >> 32}; /* our machines are little-endian */

    memcpy(iv, &value, sizeof(value));
}

static bool update(EVP_CIPHER_CTX *evp, uint8_t *out, const uint8_t *in, size_t length)
{
    int done = 0;

    if (length == 0)
        return true;
    return EVP_CipherUpdate(evp, out, &done, in, (int)length) == 1 && (out == NULL || (size_t)done == length);
}

/* Small pieces are copied to their place and sealed there together, large ones
 * are sealed from where they lie. */
static bool seal_pieces(EVP_CIPHER_CTX *evp, uint8_t *out,
                        const struct aead_piece *pieces, size_t piece_count)
{
    size_t start = 0, at = 0; /* out[start..at) is copied, not sealed yet */

    for (size_t i = 0; i < piece_count; i++) {
        size_t length = pieces[i].length;

        if (length >= AEAD_GATHER_BYTES) {
            if (!update(evp, out + start, out + start, at - start) ||
                !update(evp, out + at, pieces[i].data, length))
                return false;
            start = at + length;
        } else if (length > 0 && pieces[i].data != out + at) {
            memcpy(out + at, pieces[i].data, length);
        }
        at += length;
    }
    return update(evp, out + start, out + start, at - start);
}

static int seal_evp(struct aead_context *context, const uint8_t *key, const uint8_t *iv,
                    const uint8_t *ad, size_t ad_length, uint8_t *out, size_t length,
                    const struct aead_piece *pieces, size_t piece_count)
{
    EVP_CIPHER_CTX *evp = context->seal;
    int done = 0;
    bool sealed;

    context->tag[0].data = out + length;
    sealed = EVP_EncryptInit_ex2(evp, NULL, key, iv, NULL) == 1 && update(evp, NULL, ad, ad_length) &&
             seal_pieces(evp, out, pieces, piece_count) && EVP_EncryptFinal_ex(evp, out + length, &done) == 1;
    if (context->wide)
        narrow();
    if (sealed && EVP_CIPHER_CTX_get_params(evp, context->tag) == 1)
        return 0;
    ERR_clear_error();
    return P2P_ERR_CALL_CRYPTO;
}

static int seal_sodium(const uint8_t *key, const uint8_t *iv, const uint8_t *ad, size_t ad_length,
                       uint8_t *out, size_t length, const struct aead_piece *pieces, size_t piece_count)
{
    size_t at = 0;

    for (size_t i = 0; i < piece_count; i++) {
        if (pieces[i].length > 0 && pieces[i].data != out + at)
            memcpy(out + at, pieces[i].data, pieces[i].length);
        at += pieces[i].length;
    }
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(out, out + length, NULL, out, length,
                                                       ad, ad_length, NULL, iv, key);
    return 0;
}

int aead_seal_iv(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES],
                 const uint8_t iv[AEAD_IV_BYTES], const uint8_t *ad, size_t ad_length, uint8_t *out,
                 const struct aead_piece *pieces, size_t piece_count)
{
    size_t length = 0;

    for (size_t i = 0; i < piece_count; i++) {
        if (pieces[i].length > AEAD_BYTES_MAX - length)
            return P2P_ERR_CALL_INVALID;
        length += pieces[i].length;
    }
    if (ad_length > AEAD_BYTES_MAX)
        return P2P_ERR_CALL_INVALID;
    if (length < context->evp_bytes_min)
        return seal_sodium(key, iv, ad, ad_length, out, length, pieces, piece_count);
    return seal_evp(context, key, iv, ad, ad_length, out, length, pieces, piece_count);
}

static bool open_evp(struct aead_context *context, const uint8_t *key, const uint8_t *iv,
                     const uint8_t *ad, size_t ad_length, uint8_t *out, const uint8_t *in, size_t length)
{
    EVP_CIPHER_CTX *evp = context->open;
    int done = 0;
    bool good;

    context->tag[0].data = (void *)(in + length);
    good = EVP_DecryptInit_ex2(evp, NULL, key, iv, context->tag) == 1 && update(evp, NULL, ad, ad_length) &&
           update(evp, out, in, length) && EVP_DecryptFinal_ex(evp, out + length, &done) == 1;
    if (context->wide)
        narrow();
    return good;
}

int aead_open_iv(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES],
                 const uint8_t iv[AEAD_IV_BYTES], const uint8_t *ad, size_t ad_length, uint8_t *out,
                 const uint8_t *in, size_t length)
{
    size_t text_length = length - AEAD_TAG_BYTES;
    bool good;

    if (length < AEAD_TAG_BYTES || length > AEAD_BYTES_MAX || ad_length > AEAD_BYTES_MAX)
        return P2P_ERR_CALL_CRYPTO;
    if (text_length < context->evp_bytes_min)
        good = crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                   out, NULL, in, text_length, in + text_length, ad, ad_length, iv, key) == 0;
    else
        good = open_evp(context, key, iv, ad, ad_length, out, in, text_length);
    if (good)
        return 0;
    ERR_clear_error();
    if (text_length > 0)
        memset(out, 0, text_length);
    return P2P_ERR_CALL_CRYPTO;
}

int aead_seal(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES], uint64_t nonce,
              const uint8_t *ad, size_t ad_length, uint8_t *out,
              const struct aead_piece *pieces, size_t piece_count)
{
    uint8_t iv[AEAD_IV_BYTES + 4];

    make_iv(iv, nonce);
    return aead_seal_iv(context, key, iv, ad, ad_length, out, pieces, piece_count);
}

int aead_open(struct aead_context *context, const uint8_t key[AEAD_KEY_BYTES], uint64_t nonce,
              const uint8_t *ad, size_t ad_length, uint8_t *out,
              const uint8_t *in, size_t length)
{
    uint8_t iv[AEAD_IV_BYTES + 4];

    make_iv(iv, nonce);
    return aead_open_iv(context, key, iv, ad, ad_length, out, in, length);
}
