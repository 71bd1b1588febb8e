#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "chorus/p2p.h"

namespace {

struct Key {
    std::vector<uint8_t> bytes = std::vector<uint8_t>(4800);

    explicit Key(enum p2p_key_type type, unsigned bits = 0)
    {
        size_t length = bytes.size();
        EXPECT_EQ(p2p_key_generate(bytes.data(), &length, type, bits), 0);
        bytes.resize(length);
    }

    std::string id() const
    {
        char text[P2P_ID_TEXT_BYTES];
        EXPECT_EQ(p2p_key_id(text, bytes.data(), bytes.size()), 0);
        return text;
    }
};

TEST(ApiKeys, EveryTypeHasAnIdAndASize)
{
    const struct { enum p2p_key_type type; unsigned bits; unsigned told; const char *prefix; } cases[] = {
        {P2P_KEY_ED25519, 0, 256, "12D3KooW"},
        {P2P_KEY_SECP256K1, 0, 256, "16Uiu2HA"},
        {P2P_KEY_ECDSA, 0, 256, "Qm"},
        {P2P_KEY_RSA, 0, 2048, "Qm"},
        {P2P_KEY_RSA, 3072, 3072, "Qm"},
    };
    for (const auto &each : cases) {
        Key key(each.type, each.bits);
        enum p2p_key_type type;
        unsigned bits = 0;
        EXPECT_EQ(key.id().rfind(each.prefix, 0), 0u) << key.id();
        ASSERT_EQ(p2p_key_info(&type, &bits, key.bytes.data(), key.bytes.size()), 0);
        EXPECT_EQ(type, each.type);
        EXPECT_EQ(bits, each.told);
        EXPECT_EQ(p2p_key_info(nullptr, nullptr, key.bytes.data(), key.bytes.size()), 0);
    }
}

TEST(ApiKeys, SaysHowMuchRoomAKeyNeeds)
{
    uint8_t small[10];
    size_t length = sizeof(small);
    EXPECT_EQ(p2p_key_generate(small, &length, P2P_KEY_ED25519, 0), P2P_ERR_CALL_SHORT);
    EXPECT_EQ(length, 68u);
}

TEST(ApiKeys, RefusesWhatIsNoKey)
{
    char id[P2P_ID_TEXT_BYTES];
    const uint8_t bytes[] = {1, 2, 3};
    size_t length = 0;
    EXPECT_LT(p2p_key_id(id, bytes, sizeof(bytes)), 0);
    EXPECT_EQ(p2p_key_id(id, nullptr, 0), P2P_ERR_CALL_INVALID);
    EXPECT_EQ(p2p_key_generate(nullptr, &length, static_cast<enum p2p_key_type>(7), 0), P2P_ERR_CALL_INVALID);
}

struct ApiKeyFiles : testing::Test {
    std::string directory;
    struct p2p_error_text text = {};

    void SetUp() override
    {
        char name[] = "/tmp/chorus-keys-XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        directory = name;
    }

    void TearDown() override
    {
        unlink((directory + "/key").c_str());
        rmdir(directory.c_str());
    }
};

TEST_F(ApiKeyFiles, AreWrittenOnceForTheirOwnerOnlyAndReadBack)
{
    Key key(P2P_KEY_ED25519);
    std::string path = directory + "/key";
    ASSERT_EQ(p2p_key_write_file(path.c_str(), key.bytes.data(), key.bytes.size(), &text), 0) << text.text;
    struct stat status;
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_EQ(p2p_key_write_file(path.c_str(), key.bytes.data(), key.bytes.size(), &text), P2P_ERR_CALL_EXISTS);
    EXPECT_NE(std::string(text.text).find(path), std::string::npos) << text.text;
    uint8_t read[4800];
    size_t length = sizeof(read);
    ASSERT_EQ(p2p_key_read_file(read, &length, path.c_str(), &text), 0) << text.text;
    EXPECT_EQ(std::vector<uint8_t>(read, read + length), key.bytes);
}

TEST_F(ApiKeyFiles, ThatOthersMayReadAreRefused)
{
    Key key(P2P_KEY_ED25519);
    std::string path = directory + "/key";
    uint8_t read[4800];
    size_t length = sizeof(read);
    ASSERT_EQ(p2p_key_write_file(path.c_str(), key.bytes.data(), key.bytes.size(), &text), 0);
    chmod(path.c_str(), 0644);
    EXPECT_EQ(p2p_key_read_file(read, &length, path.c_str(), &text), P2P_ERR_NODE_KEY);
    EXPECT_NE(std::string(text.text).find(path), std::string::npos) << text.text;
    EXPECT_EQ(p2p_key_read_file(read, &length, (directory + "/none").c_str(), &text), P2P_ERR_CALL_NOT_FOUND);
}

TEST(ApiIds, AreReadInBothFormsAndWrittenInEither)
{
    const char *base58 = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"; /* peer-ids.md */
    char cid[P2P_ID_TEXT_BYTES], back[P2P_ID_TEXT_BYTES];
    ASSERT_EQ(p2p_id_convert(cid, base58, true), 0);
    EXPECT_EQ(cid[0], 'b');
    ASSERT_EQ(p2p_id_convert(back, cid, false), 0);
    EXPECT_STREQ(back, base58);
    EXPECT_LT(p2p_id_convert(back, "12D3KooW", false), 0);
    EXPECT_LT(p2p_id_convert(back, "", false), 0);
}

TEST(ApiAddresses, AreCheckedAndMadeCanonical)
{
    char out[P2P_ADDRESS_TEXT_BYTES];
    struct p2p_error_text text = {};
    ASSERT_EQ(p2p_address_parse(out, "/ip6/0:0:0:0:0:0:0:1/tcp/3333", &text), 0);
    EXPECT_STREQ(out, "/ip6/::1/tcp/3333");
    EXPECT_LT(p2p_address_parse(out, "/ip4/1.2.3/tcp/3333", &text), 0);
    EXPECT_NE(std::string(text.text).find("ip4"), std::string::npos) << text.text;
    EXPECT_LT(p2p_address_parse(out, "", &text), 0);
}

TEST(ApiErrors, HaveNamesAndSentences)
{
    EXPECT_STREQ(p2p_error_name(P2P_ERR_CONN_RESET), "P2P_ERR_CONN_RESET");
    EXPECT_STREQ(p2p_error_name(0), "P2P_OK");
    EXPECT_STRNE(p2p_error_string(P2P_ERR_NODE_KEY), "");
    EXPECT_STREQ(p2p_error_name(-999), "P2P_ERR_UNKNOWN");
    EXPECT_EQ(p2p_abi_version(), P2P_ABI_VERSION);
    EXPECT_EQ(std::string(p2p_version()), std::to_string(P2P_VERSION_MAJOR) + "." +
              std::to_string(P2P_VERSION_MINOR) + "." + std::to_string(P2P_VERSION_PATCH));
}

}  // namespace
