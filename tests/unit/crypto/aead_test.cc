#include <gtest/gtest.h>

#include <openssl/crypto.h>
#include <sodium.h>

#include <atomic>
#include <memory>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/aead.h"
#include "crypto/crypto.h"
#include "crypto/sha256.h"
}
#include "support.h"

/* OpenSSL lets its allocator be replaced only before it is first used. */
static std::atomic<long> allocations;

static void *count_malloc(size_t size, const char *, int)
{
    allocations++;
    return malloc(size);
}

static void *count_realloc(void *old, size_t size, const char *, int)
{
    allocations++;
    return realloc(old, size);
}

static void plain_free(void *old, const char *, int)
{
    free(old);
}

static const int counting = CRYPTO_set_mem_functions(count_malloc, count_realloc, plain_free);

struct FreeAead {
    void operator()(struct aead_context *context) { aead_context_free(context); }
};
using Aead = std::unique_ptr<struct aead_context, FreeAead>;

static const uint8_t key[AEAD_KEY_BYTES] = {1, 2, 3, 4};

static Bytes seal(struct aead_context *context, uint64_t nonce, const Bytes &text, const Bytes &ad = {})
{
    Bytes out(text.size() + AEAD_TAG_BYTES);
    struct aead_piece piece = {text.data(), text.size()};

    EXPECT_EQ(aead_seal(context, key, nonce, ad.data(), ad.size(), out.data(), &piece, 1), 0);
    return out;
}

static int open(struct aead_context *context, uint64_t nonce, const Bytes &sealed, Bytes *text, const Bytes &ad = {})
{
    text->assign(sealed.size() < AEAD_TAG_BYTES ? 0 : sealed.size() - AEAD_TAG_BYTES, 0xee);
    return aead_open(context, key, nonce, ad.data(), ad.size(), text->data(), sealed.data(), sealed.size());
}

TEST(CryptoSelfTest, Passes)
{
    EXPECT_EQ(crypto_init(), 0);
    EXPECT_EQ(crypto_init(), 0) << "again is harmless";
    EXPECT_EQ(crypto_self_test(), 0);
}

TEST(Aead, BothLibrariesMakeTheSameBytesAtEverySize)
{
    Aead context(aead_context_new());
    Bytes ad = Random(1).bytes(13), text;

    ASSERT_NE(context, nullptr);
    for (size_t size = 0; size < 1200; size++) {
        Bytes plain = Random(size + 1).bytes(size);

        aead_context_choose(context.get(), 0);
        Bytes evp = seal(context.get(), size, plain, ad), evp_bare = seal(context.get(), size, plain);
        aead_context_choose(context.get(), SIZE_MAX);
        EXPECT_EQ(to_hex(seal(context.get(), size, plain, ad)), to_hex(evp)) << size;
        EXPECT_EQ(to_hex(seal(context.get(), size, plain)), to_hex(evp_bare)) << size;
        EXPECT_EQ(open(context.get(), size, evp, &text, ad), 0);
        EXPECT_EQ(text, plain);
        aead_context_choose(context.get(), 0);
        EXPECT_EQ(open(context.get(), size, evp, &text, ad), 0);
        EXPECT_EQ(text, plain);
    }
}

TEST(Aead, SealsAndOpensInPlace)
{
    Aead context(aead_context_new());

    for (size_t size : {0, 1, 64, 511, 512, 513, 16384, 65519}) {
        Bytes plain = Random(size + 1).bytes(size), expect = seal(context.get(), 5, plain), buffer = plain;
        struct aead_piece piece = {buffer.data(), size};

        buffer.resize(size + AEAD_TAG_BYTES);
        piece.data = buffer.data();
        ASSERT_EQ(aead_seal(context.get(), key, 5, nullptr, 0, buffer.data(), &piece, 1), 0);
        EXPECT_EQ(buffer, expect);
        ASSERT_EQ(aead_open(context.get(), key, 5, nullptr, 0, buffer.data(), buffer.data(), buffer.size()), 0);
        buffer.resize(size);
        EXPECT_EQ(buffer, plain);
    }
}

TEST(Aead, PiecesMakeTheBytesOfTheirSum)
{
    Aead context(aead_context_new());
    Random random(7);
    const size_t sizes[] = {0, 1, 12, 63, 64, 100, 511, 4096, 16383, 16384, 16385, 20000, 40000};

    for (int round = 0; round < 60; round++) {
        std::vector<Bytes> parts;
        std::vector<struct aead_piece> pieces;
        Bytes whole;
        size_t count = random.below(7);

        for (size_t i = 0; i < count; i++) {
            parts.push_back(random.bytes(sizes[random.below(13)]));
            whole = concat({whole, parts.back()});
        }
        for (const Bytes &part : parts)
            pieces.push_back({part.data(), part.size()});
        Bytes out(whole.size() + AEAD_TAG_BYTES);
        ASSERT_EQ(aead_seal(context.get(), key, round, nullptr, 0, out.data(), pieces.data(), pieces.size()), 0);
        EXPECT_EQ(out, seal(context.get(), round, whole));
    }
}

TEST(Aead, RefusesEveryFlippedBitAndZeroesItsOutput)
{
    Aead context(aead_context_new());

    for (size_t library : {(size_t)0, (size_t)SIZE_MAX}) {
        Bytes plain = Random(3).bytes(70), sealed, text;

        aead_context_choose(context.get(), library);
        sealed = seal(context.get(), 9, plain);
        for (size_t bit = 0; bit < sealed.size() * 8; bit++) {
            Bytes bad = sealed;

            bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
            EXPECT_EQ(open(context.get(), 9, bad, &text), P2P_ERR_CALL_CRYPTO);
            EXPECT_EQ(text, Bytes(70, 0));
        }
        for (size_t cut = 0; cut < sealed.size(); cut++)
            EXPECT_EQ(open(context.get(), 9, Bytes(sealed.begin(), sealed.begin() + cut), &text), P2P_ERR_CALL_CRYPTO);
        EXPECT_EQ(open(context.get(), 8, sealed, &text), P2P_ERR_CALL_CRYPTO) << "another nonce";
        EXPECT_EQ(open(context.get(), 9, sealed, &text, hex("00")), P2P_ERR_CALL_CRYPTO) << "other data";
        EXPECT_EQ(open(context.get(), 9, sealed, &text), 0) << "a failure leaves nothing behind";
    }
}

TEST(Aead, RefusesWhatNoLibraryCanCount)
{
    Aead context(aead_context_new());
    uint8_t out[32];
    struct aead_piece long_one = {out, (size_t)AEAD_BYTES_MAX + 1};
    struct aead_piece two[] = {{out, AEAD_BYTES_MAX}, {out, SIZE_MAX}};

    EXPECT_EQ(aead_seal(context.get(), key, 0, nullptr, 0, out, &long_one, 1), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(aead_seal(context.get(), key, 0, nullptr, 0, out, two, 2), P2P_ERR_CALL_INVALID);
}

TEST(Aead, AllocatesNothingPerRecord)
{
    Aead context(aead_context_new());
    Bytes buffer(2048 + AEAD_TAG_BYTES);
    struct aead_piece piece = {buffer.data(), 2048};

    ASSERT_EQ(counting, 1);
    ASSERT_GT(allocations, 0);
    for (int warm = 0; warm < 2; warm++) {
        long before = allocations;

        for (uint64_t nonce = 0; nonce < 100; nonce++) {
            ASSERT_EQ(aead_seal(context.get(), key, nonce, nullptr, 0, buffer.data(), &piece, 1), 0);
            ASSERT_EQ(aead_open(context.get(), key, nonce, nullptr, 0, buffer.data(), buffer.data(), buffer.size()), 0);
        }
        if (warm == 1) {
            EXPECT_EQ(allocations, before);
        }
    }
}

TEST(Wycheproof, ChaCha20Poly1305)
{
    Aead context(aead_context_new());
    std::vector<Record> records = read_records("wycheproof_chacha20_poly1305.txt");
    int checked = 0;

    ASSERT_GT(records.size(), 300u);
    for (const Record &record : records) {
        Bytes k = record.bytes("key"), iv = record.bytes("iv"), ad = record.bytes("aad"), msg = record.bytes("msg");
        Bytes sealed = concat({record.bytes("ct"), record.bytes("tag")}), out(msg.size() + AEAD_TAG_BYTES);
        bool valid = record.text("result") == "valid";
        struct aead_piece piece = {msg.data(), msg.size()};

        if (iv.size() != AEAD_IV_BYTES || k.size() != AEAD_KEY_BYTES)
            continue;
        checked++;
        for (size_t library : {(size_t)0, (size_t)SIZE_MAX}) {
            aead_context_choose(context.get(), library);
            ASSERT_EQ(aead_seal_iv(context.get(), k.data(), iv.data(), ad.data(), ad.size(), out.data(), &piece, 1), 0);
            EXPECT_EQ(out == sealed, valid) << record.text("tc");
            Bytes text(sealed.size());
            int error = aead_open_iv(context.get(), k.data(), iv.data(), ad.data(), ad.size(), text.data(),
                                     sealed.data(), sealed.size());
            EXPECT_EQ(error == 0, valid) << record.text("tc");
            text.resize(msg.size());
            if (valid) {
                EXPECT_EQ(text, msg);
            }
        }
    }
    EXPECT_GT(checked, 250);
}

TEST(Wycheproof, HkdfSha256)
{
    std::vector<Record> records = read_records("wycheproof_hkdf_sha256.txt");

    ASSERT_GT(records.size(), 50u);
    for (const Record &record : records) {
        Bytes ikm = record.bytes("ikm"), salt = record.bytes("salt"), info = record.bytes("info");
        size_t size = std::stoul(record.text("size"));
        Bytes out(size);

        if (size > SHA256_HKDF_BYTES_MAX) {
            EXPECT_EQ(record.text("result"), "invalid");
            continue;
        }
        sha256_hkdf(out.data(), size, salt.data(), salt.size(), ikm.data(), ikm.size(), info.data(), info.size());
        EXPECT_EQ(to_hex(out) == record.text("okm"), record.text("result") == "valid") << record.text("tc");
    }
}

TEST(Wycheproof, HmacSha256)
{
    std::vector<Record> records = read_records("wycheproof_hmac_sha256.txt");

    ASSERT_GT(records.size(), 100u);
    for (const Record &record : records) {
        Bytes k = record.bytes("key"), msg = record.bytes("msg");
        size_t bytes = std::stoul(record.text("bits")) / 8;
        uint8_t tag[SHA256_BYTES];

        sha256_hmac(tag, k.data(), k.size(), msg.data(), msg.size());
        EXPECT_EQ(to_hex(tag, bytes) == record.text("tag"), record.text("result") == "valid") << record.text("tc");
    }
}

TEST(Wycheproof, X25519)
{
    std::vector<Record> records = read_records("wycheproof_x25519.txt");

    ASSERT_GT(records.size(), 400u);
    for (const Record &record : records) {
        Bytes scalar = record.bytes("private"), point = record.bytes("public");
        uint8_t shared[32];
        int refused = crypto_scalarmult_curve25519(shared, scalar.data(), point.data());
        bool zero = record.bytes("shared") == Bytes(32, 0);

        EXPECT_EQ(refused != 0, zero) << record.text("tc");
        if (refused == 0) {
            EXPECT_EQ(to_hex(shared, 32), record.text("shared")) << record.text("tc");
        }
    }
}
