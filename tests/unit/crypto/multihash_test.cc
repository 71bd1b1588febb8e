#include <gtest/gtest.h>

extern "C" {
#include "chorus/p2p.h"
#include "crypto/multihash.h"
#include "crypto/sha256.h"
}
#include "support.h"

static int parse(struct multihash *hash, const Bytes &bytes)
{
    return multihash_parse(hash, bytes.data(), bytes.size());
}

TEST(Multihash, ReadsIdentitySha256AndOthers)
{
    /* multiformats/multihash README: sha1 and sha2-256 of "multihash" */
    struct multihash hash;
    Bytes sha = hex("12209cbc07c3f991725836a3aa2a581ca2029198aa420b9d99bc0e131d9f3e2cbe47");
    Bytes sha1 = hex("111488c2f11fb2ce392acb5b2986e640211c4690073e");
    Bytes identity = hex("0003616263"), empty = hex("0000");

    ASSERT_EQ(parse(&hash, sha), 0);
    EXPECT_EQ(hash.code, (uint64_t)MULTIHASH_SHA2_256);
    EXPECT_EQ(hash.digest.length, 32u);
    ASSERT_EQ(parse(&hash, sha1), 0);
    EXPECT_EQ(hash.code, 0x11u);
    EXPECT_EQ(hash.digest.length, 20u);
    ASSERT_EQ(parse(&hash, identity), 0);
    EXPECT_EQ(hash.code, (uint64_t)MULTIHASH_IDENTITY);
    EXPECT_EQ(hash.digest.data, identity.data() + 2);
    EXPECT_EQ(hash.digest.length, 3u);
    ASSERT_EQ(parse(&hash, empty), 0);
    EXPECT_EQ(hash.digest.length, 0u);
}

TEST(Multihash, WritesSha256)
{
    uint8_t out[34];
    struct wire_writer writer = wire_writer_of(out, sizeof(out));

    multihash_write_sha256(&writer, (const uint8_t *)"multihash", 9);
    ASSERT_FALSE(writer.failed);
    EXPECT_EQ(to_hex(out, writer.length), "12209cbc07c3f991725836a3aa2a581ca2029198aa420b9d99bc0e131d9f3e2cbe47");
}

TEST(Multihash, RefusesTruncationAtEachLength)
{
    Bytes whole = hex("12209cbc07c3f991725836a3aa2a581ca2029198aa420b9d99bc0e131d9f3e2cbe47");
    struct multihash hash;

    for (size_t cut = 0; cut < whole.size(); cut++)
        EXPECT_EQ(multihash_parse(&hash, whole.data(), cut), P2P_ERR_CALL_MALFORMED) << cut;
    whole.push_back(0);
    EXPECT_EQ(parse(&hash, whole), P2P_ERR_CALL_MALFORMED) << "a byte too many";
}

TEST(Multihash, RefusesWrongAndOverlongLengths)
{
    struct multihash hash;

    EXPECT_EQ(parse(&hash, concat({hex("121f"), Bytes(31)})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(parse(&hash, concat({hex("1221"), Bytes(33)})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(parse(&hash, concat({hex("92002000"), Bytes(32)})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(parse(&hash, concat({hex("12a000"), Bytes(32)})), P2P_ERR_CALL_MALFORMED);
    EXPECT_EQ(parse(&hash, concat({hex("008001"), Bytes(128)})), 0);
    EXPECT_EQ(parse(&hash, concat({hex("008101"), Bytes(129)})), P2P_ERR_CALL_MALFORMED);
}

TEST(Sha256, GivesThePublishedDigests)
{
    /* FIPS 180-4 examples */
    const struct {
        const char *text, *digest;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };

    for (const auto &row : rows) {
        uint8_t digest[32];

        sha256_digest(digest, row.text, strlen(row.text));
        EXPECT_EQ(to_hex(digest, 32), row.digest);
    }
}

TEST(Sha256, TakesItsInputInAnyCuts)
{
    Bytes data = Random(3).bytes(300);
    uint8_t whole[32], parts[32];

    sha256_digest(whole, data.data(), data.size());
    for (size_t cut = 0; cut <= data.size(); cut++) {
        struct sha256 sha;

        sha256_init(&sha);
        sha256_update(&sha, data.data(), cut);
        sha256_update(&sha, data.data() + cut, data.size() - cut);
        sha256_final(&sha, parts);
        EXPECT_EQ(to_hex(parts, 32), to_hex(whole, 32));
    }
}
