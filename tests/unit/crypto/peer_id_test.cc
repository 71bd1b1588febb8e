#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/base.h"
#include "crypto/key.h"
#include "crypto/peer_id.h"
}
#include "support.h"

static int from_text(struct peer_id *id, const std::string &text)
{
    return peer_id_from_text(id, text.data(), text.size());
}

static std::string text_of(const struct peer_id *id, size_t (*print)(const struct peer_id *, char *))
{
    char text[PEER_ID_TEXT_SIZE];
    size_t length = print(id, text);

    EXPECT_EQ(strlen(text), length);
    return text;
}

static int from_bytes(struct peer_id *id, const Bytes &bytes)
{
    return peer_id_from_bytes(id, bytes.data(), bytes.size());
}

static const char *const rsa_text = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
static const char *const rsa_cid = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
static const char *const ed25519_text = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

TEST(PeerId, ReadsBothTextsOfTheSpec)
{
    /* peer-ids.md, "Decoding", examples: the first two are one id */
    struct peer_id a, b, c;

    ASSERT_EQ(from_text(&a, rsa_text), 0);
    ASSERT_EQ(from_text(&b, rsa_cid), 0);
    EXPECT_TRUE(peer_id_equal(&a, &b));
    EXPECT_EQ(text_of(&a, peer_id_to_text), rsa_text);
    EXPECT_EQ(text_of(&a, peer_id_to_cid), rsa_cid);
    ASSERT_EQ(from_text(&c, ed25519_text), 0);
    EXPECT_EQ(text_of(&c, peer_id_to_text), ed25519_text);
    EXPECT_FALSE(peer_id_equal(&a, &c));
    EXPECT_NE(peer_id_compare(&a, &c), 0);
}

TEST(PeerId, ReadsEveryMultibaseItMayMeet)
{
    struct peer_id id, again;

    for (const char *text : {rsa_text, ed25519_text}) {
        ASSERT_EQ(from_text(&id, text), 0);
        std::string cid36 = text_of(&id, peer_id_to_cid36);
        EXPECT_EQ(cid36[0], 'k');
        ASSERT_EQ(from_text(&again, cid36), 0);
        EXPECT_TRUE(peer_id_equal(&id, &again));
        const std::pair<char, enum base_kind> forms[] = {{'z', BASE_58}, {'f', BASE_16}, {'u', BASE_64_URL}};
        for (const auto &form : forms) {
            Bytes cid = concat({hex("0172"), Bytes(id.bytes, id.bytes + id.length)});
            char out[128];

            ASSERT_EQ(base_encode(out, sizeof(out), nullptr, form.second, cid.data(), cid.size()), 0);
            ASSERT_EQ(from_text(&again, form.first + std::string(out)), 0);
            EXPECT_TRUE(peer_id_equal(&id, &again));
        }
    }
}

TEST(PeerId, ComesFromTheKeysOfTheSpec)
{
    const std::pair<const char *, const char *> expected[] = {
        {"spec ecdsa", "Qm"}, {"spec ed25519", "12D3KooW"}, {"spec secp256k1", "16Uiu2HA"}, {"spec rsa", "Qm"},
    };
    int seen = 0;

    for (const Record &record : read_records("keys.txt")) {
        struct key *key = nullptr;
        struct public_key inside;
        struct peer_id id, again;
        Bytes bytes = record.bytes("private");

        ASSERT_EQ(key_from_protobuf(&key, bytes.data(), bytes.size()), 0);
        peer_id_from_public_key(&id, key_public(key));
        if (record.has("id")) {
            EXPECT_EQ(text_of(&id, peer_id_to_text), record.text("id"));
        }
        for (const auto &row : expected) {
            if (record.text("name") != row.first)
                continue;
            EXPECT_EQ(text_of(&id, peer_id_to_text).substr(0, strlen(row.second)), row.second);
            seen++;
        }
        EXPECT_TRUE(peer_id_matches_key(&id, key_public(key)));
        ASSERT_EQ(peer_id_from_bytes(&again, id.bytes, id.length), 0);
        EXPECT_TRUE(peer_id_equal(&id, &again));
        if (key_public(key)->length <= PEER_ID_INLINE_KEY_BYTES_MAX) {
            ASSERT_EQ(peer_id_public_key(&id, &inside), 0);
            EXPECT_TRUE(public_key_equal(&inside, key_public(key)));
        } else {
            EXPECT_EQ(peer_id_public_key(&id, &inside), P2P_ERR_CALL_NOT_FOUND);
        }
        key_free(key);
    }
    EXPECT_EQ(seen, 4);
}

TEST(PeerId, TheZeroSeedGivesTheWellKnownId)
{
    uint8_t seed[32] = {0};
    struct key *key = nullptr;
    struct peer_id id;
    char text[PEER_ID_SHORT_SIZE];

    ASSERT_EQ(key_new_seed(&key, seed), 0);
    peer_id_from_public_key(&id, key_public(key));
    EXPECT_EQ(text_of(&id, peer_id_to_text), "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
    peer_id_to_short(&id, text);
    EXPECT_STREQ(text, "4kx6nXTN");
    key_free(key);
}

TEST(PeerId, NoPeerIdHasEmptyTexts)
{
    struct peer_id none = {0, {0}};
    char text[PEER_ID_SHORT_SIZE] = "x";
    struct public_key key;

    EXPECT_TRUE(peer_id_is_none(&none));
    EXPECT_EQ(text_of(&none, peer_id_to_text), "");
    EXPECT_EQ(text_of(&none, peer_id_to_cid), "");
    peer_id_to_short(&none, text);
    EXPECT_STREQ(text, "");
    EXPECT_EQ(peer_id_public_key(&none, &key), P2P_ERR_CALL_NOT_FOUND);
}

TEST(PeerId, RefusesBytesThatAreNoId)
{
    Bytes key = concat({hex("08011220"), Bytes(32, 7)});
    struct peer_id id = {0, {0}};
    const Bytes bad[] = {
        Bytes(),
        hex("00"),
        hex("0000"),                                        /* an identity of nothing */
        concat({hex("0003"), hex("010203")}),               /* no key inside */
        concat({hex("0024"), hex("08041220"), Bytes(32)}),  /* unknown key type */
        concat({hex("0024"), hex("08001220"), Bytes(32)}),  /* RSA of 32 bytes */
        concat({hex("0024"), hex("1220"), Bytes(32, 7), hex("0801")}), /* not canonical */
        concat({hex("0025"), hex("0881001220"), Bytes(32, 7)}),        /* a longer varint */
        concat({hex("0024"), key, hex("00")}),              /* a byte too many */
        concat({hex("a400"), key}),
        concat({hex("00a400"), key}),                       /* a length not minimal */
        concat({hex("0025"), hex("08021221"), hex("05"), Bytes(32, 1)}), /* no compressed point */
        concat({hex("1114"), Bytes(20)}),                   /* sha1 */
        concat({hex("1340"), Bytes(64)}),                   /* sha2-512 */
        concat({hex("121f"), Bytes(31)}),
        concat({hex("1b20"), Bytes(32)}),                   /* keccak-256 */
        Bytes(200, 0),
    };

    for (const Bytes &bytes : bad) {
        EXPECT_EQ(from_bytes(&id, bytes), P2P_ERR_CALL_MALFORMED) << to_hex(bytes);
        EXPECT_EQ(id.length, 0) << "left alone";
    }
    EXPECT_EQ(from_bytes(&id, concat({hex("0024"), key})), 0);
}

TEST(PeerId, RefusesTextsThatAreNoId)
{
    struct peer_id id = {0, {0}};
    std::string ok = ed25519_text, cid = rsa_cid;

    for (const std::string &text : {
             std::string(), std::string("1"), std::string("Qm"), std::string("b"), std::string("k"),
             ok.substr(1), ok + "1", ok + " ", " " + ok, ok.substr(0, ok.size() - 1), "m" + ok, "Q" + ok,
             /* another codec, from go-libp2p */
             std::string("bafkreifoybygix7fh3r3g5rqle3wcnhqldgdg4shzf4k3ulyw3gn7mabt4"),
             cid.substr(0, cid.size() - 2), cid + "a", "B" + cid.substr(1), std::string(300, '1'),
             std::string("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S0"), /* no base58 */
             "z" + std::string(rsa_text), /* a CIDv0 under a multibase prefix */
             std::string("fabc"), std::string("f0172"), std::string("f00721220"),
         })
        EXPECT_EQ(from_text(&id, text), P2P_ERR_CALL_MALFORMED) << text;
    EXPECT_TRUE(peer_id_is_none(&id));
}

TEST(PeerId, RefusesEveryTruncationOfItsTextAndBytes)
{
    struct peer_id id, other;

    for (const char *whole : {rsa_text, rsa_cid, ed25519_text}) {
        ASSERT_EQ(from_text(&id, whole), 0);
        for (size_t cut = 0; cut < strlen(whole); cut++)
            EXPECT_EQ(peer_id_from_text(&other, whole, cut), P2P_ERR_CALL_MALFORMED);
        for (size_t cut = 0; cut < id.length; cut++)
            EXPECT_EQ(peer_id_from_bytes(&other, id.bytes, cut), P2P_ERR_CALL_MALFORMED);
    }
}
