#include <gtest/gtest.h>

#include <sodium.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/crypto.h"
#include "crypto/key.h"
}
#include "support.h"

static const enum key_type all_types[] = {KEY_RSA, KEY_ED25519, KEY_SECP256K1, KEY_ECDSA};

static Bytes public_bytes(const struct public_key *key)
{
    return Bytes(key->bytes, key->bytes + key->length);
}

static Bytes private_bytes(const struct key *key)
{
    Bytes out(KEY_PRIVATE_BYTES_MAX);
    size_t length = 0;

    EXPECT_EQ(key_to_protobuf(key, out.data(), out.size(), &length), 0);
    out.resize(length);
    return out;
}

static struct key *read_private(const Bytes &bytes)
{
    struct key *key = nullptr;

    EXPECT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), 0);
    return key;
}

static int read_public(struct public_key *key, const Bytes &bytes)
{
    return public_key_from_protobuf(key, bytes.data(), bytes.size());
}

static Bytes protobuf(unsigned type, const Bytes &data)
{
    Bytes head = {8, (uint8_t)type, 18};

    if (data.size() >= 128)
        head.push_back((uint8_t)(data.size() | 0x80));
    head.push_back((uint8_t)(data.size() >= 128 ? data.size() >> 7 : data.size()));
    return concat({head, data});
}

/* Made once: RSA takes its time. */
static const struct key *a_key(enum key_type type)
{
    static struct key *keys[4];

    if (keys[type] == nullptr) {
        EXPECT_EQ(crypto_init(), 0);
        EXPECT_EQ(key_new_random(&keys[type], type, 2048), 0);
    }
    return keys[type];
}

TEST(Key, ReadsAndWritesThePublishedKeysByteForByte)
{
    std::vector<Record> records = read_records("keys.txt");

    ASSERT_EQ(records.size(), 8u);
    for (const Record &record : records) {
        SCOPED_TRACE(record.text("name"));
        struct key *key = read_private(record.bytes("private"));

        ASSERT_NE(key, nullptr);
        EXPECT_EQ(to_hex(private_bytes(key)), record.text("private"));
        if (record.has("public")) {
            struct public_key read;

            EXPECT_EQ(to_hex(public_bytes(key_public(key))), record.text("public"));
            ASSERT_EQ(read_public(&read, record.bytes("public")), 0);
            EXPECT_TRUE(public_key_equal(&read, key_public(key)));
        }
        key_free(key);
    }
}

TEST(Key, VerifiesTheSignaturesOfGo)
{
    Bytes message = bytes_of("Libp2p is the _best_!");
    int seen = 0;

    for (const Record &record : read_records("keys.txt")) {
        struct public_key key;
        Bytes sig = record.bytes("sig");

        if (!record.has("sig"))
            continue;
        ASSERT_EQ(read_public(&key, record.bytes("public")), 0);
        EXPECT_EQ(public_key_verify(&key, message.data(), message.size(), sig.data(), sig.size()), 0)
            << record.text("name");
        sig[sig.size() / 2] ^= 1;
        EXPECT_EQ(public_key_verify(&key, message.data(), message.size(), sig.data(), sig.size()),
                  P2P_ERR_CALL_CRYPTO);
        seen++;
    }
    EXPECT_EQ(seen, 3);
}

TEST(Key, SignsRsaAsGoDoes)
{
    Bytes message = bytes_of("Libp2p is the _best_!");

    for (const Record &record : read_records("keys.txt")) {
        uint8_t signature[KEY_SIGNATURE_BYTES_MAX];
        size_t length;

        if (record.text("name") != "go rsa")
            continue;
        struct key *key = read_private(record.bytes("private"));
        ASSERT_EQ(key_sign(key, signature, &length, message.data(), message.size()), 0);
        EXPECT_EQ(to_hex(signature, length), record.text("sig")) << "PKCS#1 v1.5 leaves no choice";
        key_free(key);
    }
}

TEST(Key, SignsAndVerifiesWithEveryType)
{
    for (enum key_type type : all_types) {
        SCOPED_TRACE(static_cast<int>(type));
        const struct key *key = a_key(type);
        struct public_key read;

        ASSERT_EQ(read_public(&read, public_bytes(key_public(key))), 0);
        for (size_t size : {0, 1, 55, 56, 64, 1000}) {
            Bytes message = Random(size).bytes(size);
            uint8_t signature[KEY_SIGNATURE_BYTES_MAX];
            size_t length = 0;

            ASSERT_EQ(key_sign(key, signature, &length, message.data(), message.size()), 0);
            EXPECT_EQ(public_key_verify(&read, message.data(), message.size(), signature, length), 0);
            message.push_back(0);
            EXPECT_EQ(public_key_verify(&read, message.data(), message.size(), signature, length),
                      P2P_ERR_CALL_CRYPTO);
        }
    }
}

TEST(Key, RefusesASignatureWithAnyBitFlippedOrByteCut)
{
    Bytes message = bytes_of("noise-libp2p-static-key:");

    for (enum key_type type : all_types) {
        SCOPED_TRACE(static_cast<int>(type));
        const struct key *key = a_key(type);
        Bytes signature(KEY_SIGNATURE_BYTES_MAX);
        size_t length = 0;

        ASSERT_EQ(key_sign(key, signature.data(), &length, message.data(), message.size()), 0);
        signature.resize(length);
        auto verifies = [&](const Bytes &candidate) {
            return public_key_verify(key_public(key), message.data(), message.size(),
                                     candidate.data(), candidate.size()) == 0;
        };
        ASSERT_TRUE(verifies(signature));
        for (size_t bit = 0; bit < length * 8; bit += 3) {
            Bytes bad = signature;

            bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
            EXPECT_FALSE(verifies(bad)) << bit;
        }
        for (size_t cut = 0; cut < length; cut++)
            EXPECT_FALSE(verifies(Bytes(signature.begin(), signature.begin() + cut)));
        signature.push_back(0);
        EXPECT_FALSE(verifies(signature));
        EXPECT_FALSE(verifies(Bytes(KEY_SIGNATURE_BYTES_MAX + 1)));
    }
}

TEST(Key, ReadsBackWhatItWrites)
{
    for (enum key_type type : all_types) {
        const struct key *key = a_key(type);
        Bytes written = private_bytes(key);
        struct key *again = read_private(written);

        ASSERT_NE(again, nullptr);
        EXPECT_EQ(to_hex(private_bytes(again)), to_hex(written));
        EXPECT_TRUE(public_key_equal(key_public(key), key_public(again)));
        key_free(again);
    }
}

TEST(Key, WritesOnlyWhereThereIsRoom)
{
    for (enum key_type type : all_types) {
        const struct key *key = a_key(type);
        Bytes whole = private_bytes(key);
        size_t length = 99;

        for (size_t capacity = 0; capacity < whole.size(); capacity += type == KEY_RSA ? 41 : 1) {
            Bytes out(capacity + 1, 0xee);

            EXPECT_EQ(key_to_protobuf(key, out.data(), capacity, &length), P2P_ERR_CALL_SHORT);
            EXPECT_EQ(out[capacity], 0xee);
            EXPECT_EQ(length, 99u);
        }
    }
}

TEST(Key, AnEd25519KeyComesFromItsSeed)
{
    uint8_t seed[32] = {0};
    struct key *key = nullptr;

    /* the all-zero seed of libp2p's perf servers: 12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN */
    ASSERT_EQ(key_new_seed(&key, seed), 0);
    EXPECT_EQ(to_hex(public_bytes(key_public(key))),
              "080112203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");
    key_free(key);
}

TEST(Key, ReadsTheOldEd25519FormAndVerifiesItsCopy)
{
    Bytes data = private_bytes(a_key(KEY_ED25519));
    Bytes inside(data.begin() + 4, data.end());
    Bytes old_form = concat({inside, Bytes(inside.begin() + 32, inside.end())});
    struct key *key = read_private(protobuf(KEY_ED25519, old_form));

    ASSERT_NE(key, nullptr);
    EXPECT_EQ(to_hex(private_bytes(key)), to_hex(data)) << "written in the new form";
    key_free(key);
    for (size_t at : {40, 63, 64, 95}) {
        Bytes bad = old_form;

        bad[at] ^= 1;
        bad = protobuf(KEY_ED25519, bad);
        EXPECT_EQ(key_from_protobuf(&key, bad.data(), bad.size()), P2P_ERR_CALL_MALFORMED) << at;
    }
}

TEST(Key, RefusesPrivateKeysCutAnywhere)
{
    for (enum key_type type : all_types) {
        Bytes whole = private_bytes(a_key(type));

        for (size_t cut = 0; cut < whole.size(); cut += type == KEY_RSA ? 17 : 1) {
            struct key *key = nullptr;

            EXPECT_NE(key_from_protobuf(&key, whole.data(), cut), 0) << cut;
            EXPECT_EQ(key, nullptr);
        }
    }
}

TEST(Key, RefusesPrivateKeysThatDoNotFitTogether)
{
    for (enum key_type type : all_types) {
        Bytes whole = private_bytes(a_key(type));
        Random random(type + 1);

        for (int i = 0; i < 60; i++) {
            Bytes bad = whole;
            struct key *key = nullptr;

            bad[4 + random.below(bad.size() - 4)] ^= (uint8_t)(1 << random.below(8));
            if (key_from_protobuf(&key, bad.data(), bad.size()) == 0) {
                /* secp256k1 has no public half to compare; for the others nothing may pass but
                 * a bit that carries no number (an RSA exponent that is never used). */
                EXPECT_TRUE(type == KEY_SECP256K1 || type == KEY_RSA);
                key_free(key);
            }
        }
    }
}

TEST(Key, RefusesScalarsOffTheirRange)
{
    /* 0, the order of secp256k1 and of P-256, and all ones */
    Bytes zero(32), ones(32, 0xff);
    Bytes order = hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    Bytes p256 = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    struct key *key = nullptr;

    for (const Bytes &scalar : {zero, ones, order}) {
        Bytes bytes = protobuf(KEY_SECP256K1, scalar);

        EXPECT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), P2P_ERR_CALL_MALFORMED);
    }
    for (const Bytes &scalar : {zero, ones, p256}) {
        Bytes bytes = protobuf(KEY_ECDSA, concat({hex("30310201010420"), scalar,
                                                  hex("a00a06082a8648ce3d030107")}));

        EXPECT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), P2P_ERR_CALL_MALFORMED);
    }
}

TEST(Key, ReadsAnEcdsaKeyWithoutItsPublicHalf)
{
    Bytes whole = private_bytes(a_key(KEY_ECDSA));
    Bytes bytes = protobuf(KEY_ECDSA, concat({hex("30310201010420"), Bytes(whole.begin() + 11, whole.begin() + 43),
                                              hex("a00a06082a8648ce3d030107")}));
    struct key *key = read_private(bytes);

    ASSERT_NE(key, nullptr);
    EXPECT_EQ(to_hex(private_bytes(key)), to_hex(whole));
    key_free(key);
}

TEST(Key, RefusesSizesOfRsaBeyondTheBounds)
{
    struct key *key = nullptr;

    EXPECT_EQ(key_new_random(&key, KEY_RSA, 1024), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(key_new_random(&key, KEY_RSA, 8200), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(key_new_random(&key, KEY_RSA, 2049), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(key_new_random(&key, (enum key_type)4, 0), P2P_ERR_CALL_INVALID);
}

TEST(Key, SecpSignaturesHaveTheLowerS)
{
    const struct key *key = a_key(KEY_SECP256K1);

    for (uint8_t i = 0; i < 20; i++) {
        uint8_t signature[KEY_SIGNATURE_BYTES_MAX];
        size_t length, r_length;

        ASSERT_EQ(key_sign(key, signature, &length, &i, 1), 0);
        r_length = signature[3];
        const uint8_t *s = signature + 4 + r_length;
        ASSERT_EQ(s[0], 0x02);
        EXPECT_LE(s[1], 32u) << "33 bytes would be a number beyond 2^255";
        EXPECT_LT(s[2], 0x80) << "and its top bit would make it negative";
        EXPECT_EQ(length, 6 + r_length + s[1]);
    }
}

/* ---- public keys that must be refused ---- */

TEST(PublicKey, RefusesTruncationAtEachLength)
{
    for (enum key_type type : all_types) {
        Bytes whole = public_bytes(key_public(a_key(type)));
        struct public_key key;

        for (size_t cut = 0; cut < whole.size(); cut++)
            EXPECT_NE(public_key_from_protobuf(&key, whole.data(), cut), 0) << cut;
        whole.push_back(0);
        EXPECT_NE(read_public(&key, whole), 0) << "a byte too many";
    }
}

TEST(PublicKey, ComesOutCanonicalWhateverTheEncoding)
{
    Bytes data(32, 7);
    Bytes canonical = protobuf(KEY_ED25519, data);
    struct public_key key;

    for (const Bytes &odd : {concat({hex("1220"), data, hex("0801")}),          /* fields turned round */
                             concat({hex("088100"), hex("1220"), data}),        /* a longer varint */
                             concat({hex("0801"), hex("12a000"), data}),        /* a longer length */
                             concat({hex("0801"), hex("1220"), data, hex("1801")}), /* another field */
                             concat({hex("08021203616263"), canonical})}) {     /* the last one counts */
        ASSERT_EQ(read_public(&key, odd), 0) << to_hex(odd);
        EXPECT_EQ(to_hex(public_bytes(&key)), to_hex(canonical));
    }
}

TEST(PublicKey, RefusesUnknownTypesAndMissingFields)
{
    Bytes data(32, 7);
    struct public_key key;

    EXPECT_EQ(read_public(&key, protobuf(4, data)), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, concat({hex("08ffffffffffffffffff01"), hex("1220"), data})), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, concat({hex("1220"), data})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, hex("0801")), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, Bytes()), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, concat({hex("0a0101"), hex("1220"), data})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, hex("08011220")), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, hex("08011005")), P2P_ERR_CALL_MALFORMED) << "data as a number";
    EXPECT_EQ(read_public(&key, protobuf(KEY_ED25519, Bytes(31))), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, protobuf(KEY_ED25519, Bytes(33))), P2P_ERR_CALL_MALFORMED);
}

TEST(PublicKey, RefusesPointsOffTheCurve)
{
    struct public_key key;
    Bytes p256 = public_bytes(key_public(a_key(KEY_ECDSA)));
    int refused = 0;

    p256[p256.size() - 1] ^= 1;
    EXPECT_EQ(read_public(&key, p256), P2P_ERR_CALL_MALFORMED);
    for (uint8_t x = 1; x < 30; x++) { /* about half of all x have no point */
        Bytes point(33);

        point[0] = 2;
        point[32] = x;
        refused += read_public(&key, protobuf(KEY_SECP256K1, point)) == P2P_ERR_CALL_MALFORMED;
    }
    EXPECT_GT(refused, 5);
    EXPECT_LT(refused, 25);
    EXPECT_EQ(read_public(&key, protobuf(KEY_SECP256K1, Bytes(33, 0xff))), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, protobuf(KEY_SECP256K1, concat({hex("02"), Bytes(32, 0xff)}))),
              P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, protobuf(KEY_SECP256K1, concat({hex("04"), Bytes(64, 1)}))), P2P_ERR_CALL_MALFORMED);
}

TEST(PublicKey, RefusesOtherCurves)
{
    /* a P-384 key's opening, and P-256 with a compressed point */
    struct public_key key;
    Bytes p384 = concat({hex("3076301006072a8648ce3d020106052b8104002203620004"), Bytes(96, 1)});
    Bytes compressed = concat({hex("3039301306072a8648ce3d020106082a8648ce3d03010703220002"), Bytes(32, 1)});

    EXPECT_EQ(read_public(&key, protobuf(KEY_ECDSA, p384)), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, protobuf(KEY_ECDSA, compressed)), P2P_ERR_CALL_UNSUPPORTED);
}

static Bytes der(uint8_t tag, const Bytes &contents)
{
    Bytes head = {tag};

    if (contents.size() >= 256) {
        head.push_back(0x82);
        head.push_back((uint8_t)(contents.size() >> 8));
    } else if (contents.size() >= 128) {
        head.push_back(0x81);
    }
    head.push_back((uint8_t)contents.size());
    return concat({head, contents});
}

static Bytes rsa(const Bytes &modulus, const Bytes &exponent,
                 const Bytes &algorithm = hex("300d06092a864886f70d0101010500"))
{
    Bytes key = der(0x30, concat({der(2, modulus), der(2, exponent)}));

    return protobuf(KEY_RSA, der(0x30, concat({algorithm, der(3, concat({hex("00"), key}))})));
}

static Bytes modulus_of(size_t bytes)
{
    Bytes modulus(bytes + 1, 0xab);

    modulus[0] = 0;
    return modulus;
}

TEST(PublicKey, AcceptsRsaWithinItsBoundsOnly)
{
    struct public_key key;
    Bytes e = hex("010001"), n2048 = modulus_of(256), even = n2048, n2047 = n2048;

    EXPECT_EQ(read_public(&key, rsa(n2048, e)), 0);
    EXPECT_EQ(read_public(&key, rsa(modulus_of(1024), e)), 0);
    EXPECT_EQ(read_public(&key, rsa(modulus_of(1025), e)), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, rsa(modulus_of(255), e)), P2P_ERR_CALL_UNSUPPORTED);
    n2047.erase(n2047.begin());
    n2047[0] = 0x7f;
    EXPECT_EQ(read_public(&key, rsa(n2047, e)), P2P_ERR_CALL_UNSUPPORTED);
    even.back() = 2;
    EXPECT_EQ(read_public(&key, rsa(even, e)), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, rsa(n2048, hex("03"))), 0);
    EXPECT_EQ(read_public(&key, rsa(n2048, hex("7fffffff"))), 0);
    EXPECT_EQ(read_public(&key, rsa(n2048, hex("00ffffffff"))), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, rsa(n2048, hex("0100000001"))), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, rsa(n2048, hex("01"))), P2P_ERR_CALL_UNSUPPORTED);
    EXPECT_EQ(read_public(&key, rsa(n2048, hex("04"))), P2P_ERR_CALL_MALFORMED);
}

TEST(PublicKey, RefusesRsaThatIsNotStrictDer)
{
    struct public_key key;
    Bytes e = hex("010001"), n = modulus_of(256), negative = n;

    negative.erase(negative.begin());
    EXPECT_EQ(read_public(&key, rsa(negative, e)), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, rsa(concat({hex("00"), n}), e)), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, rsa(n, hex("0003"))), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, rsa(Bytes(), e)), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, rsa(n, hex("00"))), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(read_public(&key, rsa(n, e, hex("300b06092a864886f70d010101"))), P2P_ERR_CALL_MALFORMED)
        << "without NULL parameters";
    EXPECT_EQ(read_public(&key, rsa(n, e, hex("300d06092a864886f70d01010a0500"))), P2P_ERR_CALL_MALFORMED)
        << "RSA-PSS";
}

/* ---- Wycheproof ---- */

static bool verifies(const struct public_key *key, const Record &record)
{
    Bytes message = record.bytes("msg"), signature = record.bytes("sig");

    return public_key_verify(key, message.data(), message.size(), signature.data(), signature.size()) == 0;
}

TEST(Wycheproof, Ed25519)
{
    std::vector<Record> records = read_records("wycheproof_ed25519.txt");

    ASSERT_GT(records.size(), 100u);
    for (const Record &record : records) {
        struct public_key key;

        ASSERT_EQ(read_public(&key, protobuf(KEY_ED25519, record.bytes("public"))), 0);
        EXPECT_EQ(verifies(&key, record), record.text("result") == "valid") << record.text("tc");
    }
}

static void check_ecdsa(const char *file, enum key_type type)
{
    std::vector<Record> records = read_records(file);

    ASSERT_GT(records.size(), 400u);
    for (const Record &record : records) {
        Bytes point = record.bytes("public"), data;
        struct public_key key;

        ASSERT_EQ(point.size(), 65u);
        if (type == KEY_ECDSA) {
            data = concat({hex("3059301306072a8648ce3d020106082a8648ce3d030107034200"), point});
        } else {
            data = Bytes(point.begin(), point.begin() + 33);
            data[0] = 2 + (point[64] & 1);
        }
        ASSERT_EQ(read_public(&key, protobuf(type, data)), 0) << record.text("tc");
        EXPECT_EQ(verifies(&key, record), record.text("result") == "valid") << record.text("tc");
    }
}

TEST(Wycheproof, EcdsaP256)
{
    check_ecdsa("wycheproof_ecdsa_p256.txt", KEY_ECDSA);
}

TEST(Wycheproof, EcdsaSecp256k1)
{
    check_ecdsa("wycheproof_ecdsa_secp256k1.txt", KEY_SECP256K1);
}

TEST(Wycheproof, RsaPkcs1)
{
    std::vector<Record> records = read_records("wycheproof_rsa.txt");
    struct public_key key;
    bool have = false;

    ASSERT_GT(records.size(), 200u);
    for (const Record &record : records) {
        if (record.has("public"))
            have = read_public(&key, protobuf(KEY_RSA, record.bytes("public"))) == 0;
        ASSERT_TRUE(have) << record.text("tc");
        if (record.text("result") == "acceptable")
            continue; /* old encodings of the digest's name, which a verifier may take or leave */
        EXPECT_EQ(verifies(&key, record), record.text("result") == "valid") << record.text("tc");
    }
}
